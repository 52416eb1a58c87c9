"""The driver as a Ray job, once: whoever submits it again is told that it runs.

The job's id is made from the code, so that of two who submit the same code at a time one is refused by Ray itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.version import ROOT, code_version
from scray.errors import BadParameter, ScrayError, Unreachable

ENTRY = "python -m cluster.driver"
RUNS = (JobStatus.PENDING, JobStatus.RUNNING)
READY = "runs code"  # what the driver's watchdog says when it does
START_SECONDS, LOOK_SECONDS = 120.0, 0.5


class SubmitFailed(ScrayError):
    """Ray did not take the job."""

    code = "submit-failed"


@dataclass(frozen=True)
class Submitted:
    """The job of the driver; `new` where it was not there before."""

    job: str
    status: str
    version: str
    new: bool


def submit(address: str) -> Submitted:
    """Submit the driver to the cluster whose dashboard is at `address`, unless a job with this code runs there.

    What the working folder holds is sent, except what `.rayignore` names. Returns when the driver runs. Raises
    BadParameter, Unreachable, SubmitFailed.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)  # which files it sends and which not is a page of its own
    try:
        client = JobSubmissionClient(address)
    except ValueError as error:
        raise BadParameter(
            f"{address!r} is not the address of a dashboard: write it like http://127.0.0.1:8265."
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise Unreachable(f"Ray's dashboard at {without_user(address)} could not be reached: {error}") from error
    former = [job for job in client.list_jobs() if job.entrypoint == ENTRY and job.status in RUNS]
    if same := next((job for job in former if _version(job) == code_version()), None):
        return Submitted(str(same.submission_id), same.status.value, code_version(), new=False)
    return _submit(client)


def _submit(client: JobSubmissionClient) -> Submitted:
    taken = {job.submission_id for job in client.list_jobs()}
    name = next(name for name in _names() if name not in taken)
    try:
        job = client.submit_job(
            entrypoint=ENTRY,
            submission_id=name,
            runtime_env={"working_dir": str(ROOT)},
            metadata={"scray_version": code_version()},
        )
    except RuntimeError as error:
        raise SubmitFailed(f"Ray did not take the job: {str(error).splitlines()[0]}") from error
    return Submitted(job, _started(client, job).value, code_version(), new=True)


def _started(client: JobSubmissionClient, job: str) -> JobStatus:
    """Wait until the driver runs; SubmitFailed where it does not."""
    end = time.monotonic() + START_SECONDS
    while READY not in (said := client.get_job_logs(job)):
        status = client.get_job_status(job)
        if status not in RUNS or time.monotonic() > end:
            last = (said.strip().splitlines() or [client.get_job_info(job).message or "it said nothing"])[-1]
            raise SubmitFailed(f"The driver did not start; the job {job} is {status.value.lower()}: {last}")
        time.sleep(LOOK_SECONDS)
    return JobStatus.RUNNING


def _names() -> Iterator[str]:
    """Ids in the order in which they are used up: a job that has ended keeps its own."""
    number = 0
    while True:
        number += 1
        yield f"scray-driver-{code_version()}-{number}"


def _version(job: JobDetails) -> str:
    return (job.metadata or {}).get("scray_version", "")


def without_user(address: str) -> str:
    """An address fit for printing."""
    return address.replace(f"{urlsplit(address).netloc.rpartition('@')[0]}@", "", 1) if "@" in address else address
