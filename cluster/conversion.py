"""One claimed dataset on its way from the upload folder to `converted/<uuid>`; a thread of the driver.

Hash the inputs, plan, perform, seal, publish. What it knows lies in the staging folder and the database: another driver
goes on where this one was stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cluster import checking, copying, publishing, syncing
from cluster.desk import Desk
from cluster.executor import RayExecutor
from cluster.flights import call, cluster_cpus
from cluster.hashing import digest_inputs
from cluster.reaping import superseded
from cluster.run import Run, Stopped
from cluster.tasks import prepare_task, seal_task, unpack_task
from converters.archives import archives_in
from converters.describe import read_metadata
from converters.mark import Mark
from converters.plan import Choices, Plan
from converters.prepare import Job, find_files
from converters.run import execute, finished, load_plan
from scray import arrivals
from scray.crash import reach
from scray.digests import FOLDER as DIGESTS
from scray.errors import Cancelled, ScrayError, Unsupported
from scray.log import Action
from scray.manifest import MANIFEST, FileDigest, Manifest
from scray.queue import Claim
from scray.retry import explain
from scray.sensors import read_sensor
from scray.status import ENDS, Status
from scray.storage import reap_staging

log = logging.getLogger(__name__)


class Conversion(Run):
    """The run as a thread, from its claim to its end."""

    def __init__(self, claim: Claim, desk: Desk) -> None:
        super().__init__(claim, desk)
        self.thread = threading.Thread(target=self._run, name=f"convert-{claim.uuid}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    @property
    def ended(self) -> bool:
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except (Stopped, Cancelled):
            self._leave()
        except Exception as error:
            self._fail(error)

    def _leave(self) -> None:
        """Give the claim back as ordered; whoever lost it touches nothing any more."""
        if self.order == "cancel":
            self._clear()
            self.insist(lambda: self.desk.queue.cancelled(self.claim))
            self.tell(Action.CANCELLED)
        elif self.order == "drain":
            self.insist(lambda: self.desk.queue.release(self.claim))
            self.tell(Action.GIVEN_BACK)
        else:
            self.tell(Action.LOST, level=logging.WARNING)

    def _fail(self, error: Exception) -> None:
        """Tell the queue, which decides whether it is tried again; nothing stays in staging where it is not."""
        if not isinstance(error, ScrayError):
            log.error("%s: unforeseen", self.claim.uuid, exc_info=error)
        status = self.insist(lambda: self.desk.queue.fail(self.claim, error))
        if status in ENDS:
            self._clear(kept=status is Status.SYNC_ERROR)
        action = Action.LOST if status is None else Action.FAILED if status in ENDS else Action.RETRIED
        code, message = explain(error)
        self.tell(action, message, level=logging.WARNING, code=code, attempt=self.claim.attempt)
        self.record(Action.FAILED, {"error": str(error), "status": str(status or "lost")})

    def _clear(self, *, kept: bool = False) -> None:
        """Nothing stays of work that is not gone on with; an import that failed is `kept` to be tried again."""
        reap_staging(self.desk.storage, self.claim.uuid)
        if self.claim.status is Status.SYNCING and not kept:
            syncing.clear(self.desk, self.claim.uuid)

    def _work(self) -> None:
        """What a claim is for: its dataset is fetched, checked or converted."""
        match self.claim.status:
            case Status.SYNCING:
                syncing.sync(self)
            case Status.UPLOADING:
                checking.check(self)
            case Status.CONVERTING | Status.UNZIPPING:
                self._convert()
            case other:
                raise Unsupported(f"There is nothing here that works on datasets that are {other!s}.")

    def _convert(self) -> None:
        storage, uuid = self.desk.storage, self.claim.uuid
        parent, target = storage.staging_dir(uuid), storage.converted_dir(uuid)
        publishing.put_back(parent)
        uploaded = self._job(storage.upload_dir(uuid))
        inputs = self._hash(uploaded, parent)
        reach("hashed")
        job = self._unpack(uploaded, inputs, parent)
        staging = self._prepare(job, inputs, parent)
        plan = load_plan(staging)
        reach("planned")
        if not publishing.is_published(target, plan, self._read):
            reap_staging(storage, uuid, staging.name, job.root.name, DIGESTS)
            with checking.WholeHashes(self) as whole:
                self._perform(staging, plan)
                reach("performed")
                self._seal(staging)
                reach("sealed")
                whole.require()
            self._publish(staging, target, plan)
        self._finish(plan, target)
        reap_staging(storage, uuid)

    def _job(self, folder: Path) -> Job:
        dataset, settings = self.claim.dataset, self.desk.settings
        root, files = find_files([folder])
        choices = Choices(
            settings.codec,
            settings.profile,
            settings.task_memory_bytes,
            settings.workers or cluster_cpus(),
            sandbox=settings.sandbox,
            memmaps=str(settings.memmap_folder or folder) if read_sensor(dataset.sensor) == "4D_NEXUS" else "",
        )
        return Job(root, files, dataset.sensor, dataset.conversion_parameters, choices)

    def _hash(self, job: Job, parent: Path) -> tuple[FileDigest, ...]:
        self.meter.enter("hashing", sum((job.root / name).stat().st_size for name in job.files))
        found = self._digest(job.root, job.files, parent)
        arrivals.compare(job.root, found, self.desk.catalog.arrivals(self.claim.uuid))
        return found

    def _read(self, target: Path, sizes: Mapping[str, int]) -> tuple[FileDigest, ...]:
        """A result that is there already, by tasks: ten terabytes are too much for one process."""
        self.meter.enter("checking", sum(sizes.values()))
        return self._digest(target, tuple(sizes))

    def _digest(self, root: Path, files: tuple[str, ...], parent: Path | None = None) -> tuple[FileDigest, ...]:
        return digest_inputs(
            root,
            files,
            on_bytes=partial(self.meter.add, new=False),  # or what fails after this would be tried for ever
            stop=self.check,
            on_death=self.tell_death,
            label=self.label,
            parent=parent,
        )

    def _unpack(self, job: Job, inputs: tuple[FileDigest, ...], parent: Path) -> Job:
        """The job on what its archives hold; while they are unpacked, the dataset says so."""
        if self.claim.status is Status.CONVERTING and not archives_in(job.root, job.files):
            return job
        self._enter(Status.UNZIPPING)
        self.meter.enter("unzipping")
        unpacked: Job = self._call("unpack", unpack_task, job, inputs, str(parent))
        self._enter(Status.CONVERTING)
        return unpacked

    def _enter(self, status: Status) -> None:
        if not self.insist(lambda: self.desk.queue.enter(self.claim, status)):
            self.lost()

    def _prepare(self, job: Job, inputs: tuple[FileDigest, ...], parent: Path) -> Path:
        self.meter.enter("planning")
        return Path(self._call("prepare", prepare_task, job, inputs, str(parent)))

    def _call(self, name: str, task: Any, *arguments: object) -> Any:
        """One remote call under a name that says whose it is."""
        remote = task.options(name=f"{self.label}:{name}").remote
        return call(name, lambda: remote(*arguments), self.check, self.tell_death)

    def _perform(self, staging: Path, plan: Plan) -> None:
        """Whatever has no mark yet; only new marks are progress."""
        self.meter.enter("converting", sum(task.read_bytes for task in plan.tasks))
        before = finished(plan, staging)
        self.meter.skip(sum(mark.read_bytes for mark in before.values()))

        def on_mark(mark: Mark) -> None:
            if mark.task not in before:
                self.tell(Action.TASK_DONE, task=mark.task, bytes=mark.read_bytes, seconds=sum(mark.seconds.values()))
                self.meter.add(mark.read_bytes, mark.files[-1].path if mark.files else "")

        executor = RayExecutor(label=self.label, on_death=self.tell_death)
        execute(staging, executor, on_mark=on_mark, stop=lambda: bool(self.order))

    def _seal(self, staging: Path) -> None:
        self.meter.enter("sealing")
        self._call("seal", seal_task, str(staging))

    def _publish(self, staging: Path, target: Path, plan: Plan) -> None:
        self.meter.enter("publishing")
        self.check()
        if not self.insist(lambda: self.desk.queue.begin_publish(self.claim)):
            self.stop("cancel" if self.desk.queue.cancel_wanted(self.claim) else "lost")
            raise Stopped
        reach("publish noted")
        publishing.publish(publishing.take(staging, self.claim.token), target, plan)
        reach("publish renamed")

    def _finish(self, plan: Plan, target: Path) -> None:
        """Step 5. Losing the lease here loses nothing: the next owner finds the dataset published."""
        result = describe(plan, target)
        result["seconds"] = round(time.monotonic() - self.began, 3)
        fields = {"conversion": result, "data_conversion_needed": False}
        fields |= superseded(self.desk, target) | copying.wanted(self.desk, self.claim.uuid)
        if not self.insist(lambda: self.desk.queue.finish(self.claim, fields)):
            self.lost()
        reach("done")
        self.tell(Action.CONVERTED, seconds=result["seconds"], bytes=result["bytes_in"])
        self.record(Action.CONVERTED, result)


def describe(plan: Plan, target: Path) -> dict[str, Any]:
    """What the dataset's document says about the result: the principal dataset's shape and fields, and all headers."""
    manifest = Manifest.from_json((target / MANIFEST).read_bytes())
    outputs = manifest.outputs
    datasets = (read_metadata(target) or {}).get("datasets") or [{}]
    return {
        **{name: datasets[0].get(name) for name in ("shape", "dtype", "steps", "levels", "fields")},
        "datasets": [dataset.get("idx") for dataset in datasets],
        "plan": plan.digest,
        "files": len(outputs),
        "bytes_in": sum(file.size for file in plan.inputs),
        "bytes_raw": sum(volume.total_bytes for volume in plan.source.volumes),
        "bytes_out": sum(file.size for file in outputs),
        "verified": plan.choices.verify,
        "notes": list(manifest.notes),
    }
