"""Which dataset a file belongs to, and its first records: the row is there before anything is answered."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from api.backend import Backend
from api.fields import UploadFields, read_uuid
from scray.dataset import Dataset
from scray.errors import Conflict, DatabaseError, NotFound
from scray.status import Status


@dataclass(frozen=True)
class Enrolment:
    """A file that has a dataset and a record; `created` tells whether the dataset is new."""

    job_id: str
    uuid: str
    path: str
    created: bool
    fields: UploadFields

    def fits(self, fields: UploadFields) -> bool:
        """Whether fields that came after the file leave it in the same dataset."""
        mine, theirs = self.fields, fields
        return (mine.dataset_identifier, mine.add_to_existing) == (
            theirs.dataset_identifier,
            theirs.add_to_existing,
        )


def enrol(
    backend: Backend,
    job_id: str,
    fields: UploadFields,
    filename: str,
    expected_bytes: int | None,
    session: Mapping[str, Any] | None = None,
) -> Enrolment:
    """Find or make the dataset and record the upload. Raises NotFound, Ambiguous, Conflict, UnsafePath.

    A crash after any line leaves a record that will be concluded as failed, or nothing. `session` are the fields of
    an upload that comes in pieces.
    """
    path = str(fields.path(filename))
    found = existing(backend, fields)
    target = found.uuid if found else read_uuid(fields.dataset_identifier or "") or str(uuid.uuid4())
    backend.uploads.open(
        job_id,
        {
            "dataset_uuid": target,
            "user": fields.user_email,
            "filename": filename[:1024],
            "path": path,
            "expected_bytes": expected_bytes,
            "settle_seconds": backend.settings.settle_seconds if fields.joins else 0.0,
            **(session or {}),
        },
        lasting=session is not None,
    )
    try:
        if found is None:
            backend.queue.add(_document(backend, target, job_id, path, fields))
        else:
            backend.queue.upload_opened(target, job_id)
    except DatabaseError:  # whether the row is there nobody knows: the record is, and will be concluded as failed
        raise
    except BaseException:
        backend.uploads.remove(job_id)
        raise
    return Enrolment(job_id, target, path, found is None, fields)


def withdraw(backend: Backend, enrolment: Enrolment) -> None:
    """Take an enrolment back, as if it had not been: fields after the file named another dataset."""
    if not (enrolment.created and backend.catalog.withdraw(enrolment.uuid, enrolment.job_id)):
        backend.queue.upload_closed(enrolment.uuid, enrolment.job_id, settle_seconds=0.0)
    backend.uploads.remove(enrolment.job_id)


def amend(backend: Backend, enrolment: Enrolment, fields: UploadFields, filename: str) -> Enrolment:
    """Apply fields that came after the file. A dataset's settings are those of its first file."""
    if enrolment.created and fields != enrolment.fields:
        backend.catalog.amend(enrolment.uuid, settings_of(fields))
    return replace(enrolment, fields=fields, path=str(fields.path(filename)))


def existing(backend: Backend, fields: UploadFields) -> Dataset | None:
    """The dataset that the file is to join, None for a new one. Raises NotFound, Ambiguous, Conflict."""
    identifier = fields.dataset_identifier
    if identifier is None:
        if fields.add_to_existing:
            raise NotFound("Dataset not found: add_to_existing needs a dataset_identifier.")
        return None
    try:
        found = Dataset.read(backend.catalog.find(identifier, fields.user_email))
    except NotFound:
        if fields.add_to_existing or read_uuid(identifier) is None:
            raise
        return None
    _check_joins(found, fields)
    return found


def _check_joins(found: Dataset, fields: UploadFields) -> None:
    same = (found.uuid, found.user, found.name) == (
        read_uuid(fields.dataset_identifier or ""),
        fields.user_email,
        fields.dataset_name,
    )
    if not fields.add_to_existing and not same:
        raise Conflict(f"There is a dataset {found.uuid} already; send add_to_existing=true to add files to it.")
    if found.sensor != fields.sensor:
        raise Conflict(f"The files of this dataset are of the sensor {found.sensor}, not {fields.sensor}.")


def _document(backend: Backend, target: str, job_id: str, path: str, fields: UploadFields) -> dict[str, Any]:
    folder = backend.storage.upload_dir(target)
    return backend.catalog.new_dataset(
        {
            "uuid": target,
            "name": fields.dataset_name,
            "user_email": fields.user_email,
            "sensor": fields.sensor,
            "source_path": path,
            "destination_path": str(folder),
            "job_id": job_id,
            "status": Status.UPLOADING,
            "open_uploads": [job_id],
            **settings_of(fields),
        }
    )


def settings_of(fields: UploadFields) -> dict[str, Any]:
    return {
        "convert": fields.convert,
        "data_conversion_needed": fields.convert,
        "is_public": fields.is_public,
        "is_public_downloadable": fields.is_public_downloadable,
        "publish": fields.publish,
        "folder_uuid": fields.folder_label,
        "team_uuid": fields.team_uuid,
        "tags": fields.tag_list,
        "conversion_parameters": fields.conversion_parameters,
    }
