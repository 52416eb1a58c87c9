"""What every queue promises: one set of tests, run over the queue in memory and the one on a database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from scray.dataset import Dataset, Progress
from scray.errors import (
    BadInput,
    Conflict,
    IllegalTransition,
    NotFound,
    StorageError,
    TruncatedInput,
    WorkerLost,
)
from scray.queue import Claim, Queue
from scray.retry import MAX_ATTEMPTS
from scray.rows import Document
from scray.status import CLAIMS, CONVERTIBLE, ENDS, Status

LEASE = 60.0
LONG = 3 * LEASE


class Stage(ABC):
    """A queue, and power over its time and its documents."""

    queue: Queue

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let time pass for all documents."""

    @abstractmethod
    def put(self, document: Document) -> None:
        """A document as another program left it."""

    @abstractmethod
    def row(self, uuid: str) -> Document: ...

    @abstractmethod
    def remove(self, uuid: str) -> None: ...

    def add(self, uuid: str = "d", status: Status = Status.CONVERSION_QUEUED, **fields: Any) -> Dataset:
        return self.queue.add({"uuid": uuid, "status": str(status), "user": "ann", **fields})

    def status(self, uuid: str = "d") -> Status:
        return self.queue.dataset(uuid).status

    def take(self, owner: str = "driver") -> Claim:
        claim = self.queue.claim(owner)
        assert claim is not None
        return claim


LATE: dict[str, Callable[[Queue, Claim], object]] = {
    "renew": lambda queue, claim: queue.renew(claim),
    "progress": lambda queue, claim: queue.progress(claim, Progress(percent=50), advanced=True),
    "begin_publish": lambda queue, claim: queue.begin_publish(claim),
    "finish": lambda queue, claim: queue.finish(claim, {"data_size": 1.0}),
    "fail": lambda queue, claim: queue.fail(claim, BadInput()),
    "release": lambda queue, claim: queue.release(claim),
    "cancelled": lambda queue, claim: queue.cancelled(claim),
    "cancel_wanted": lambda queue, claim: queue.cancel_wanted(claim),
}


class QueueContract:
    """Subclasses give the fixture `stage`."""

    # --- adding ---

    def test_a_dataset_is_added_once(self, stage: Stage) -> None:
        added = stage.add(name="scan", surprise={"kept": 1})
        assert (added.status, added.priority, added.attempt) == (Status.CONVERSION_QUEUED, 2, 0)
        with pytest.raises(Conflict):
            stage.add(name="other")
        assert stage.queue.dataset("d").name == "scan"
        assert stage.row("d")["surprise"] == {"kept": 1}

    def test_a_dataset_cannot_begin_at_its_end(self, stage: Stage) -> None:
        with pytest.raises(IllegalTransition):
            stage.add(status=Status.DONE)
        assert stage.queue.add({"uuid": "new"}).status is Status.SUBMITTED

    def test_what_is_new_is_found_by_itself(self, stage: Stage) -> None:
        for number, status in enumerate((Status.SYNC_QUEUED, Status.CONVERSION_QUEUED, Status.CONVERSION_QUEUED)):
            stage.add(f"old {number}", status, priority=1 + number)
        stage.wait(100)
        for priority in (3, 2, 1):
            stage.add(f"new {priority}", priority=priority)
        stage.add("later", not_before=stage.queue.now() + timedelta(hours=1))
        stage.add("no queue", Status.UPLOADING)
        assert list(stage.queue.news(50)) == ["new 1", "new 2", "new 3"]
        assert len(stage.queue.news(500)) == len(stage.queue.look()) == 6

    def test_what_is_not_there_is_not_found(self, stage: Stage) -> None:
        for ask in (stage.queue.dataset, stage.queue.request_cancel, stage.queue.requeue):
            with pytest.raises(NotFound, match="no dataset nobody"):
                ask("nobody")

    # --- claiming ---

    @pytest.mark.parametrize("waiting", CLAIMS)
    def test_a_claim_has_one_owner(self, stage: Stage, waiting: Status) -> None:
        stage.add(status=waiting)
        claim = stage.take("one")
        assert claim.status is CLAIMS[waiting] is stage.status()
        assert stage.queue.claim("two") is None
        lease = stage.queue.dataset("d").lease
        assert lease is not None
        assert (lease.owner, lease.token) == ("one", claim.token)
        left = (lease.expires_at - stage.queue.now()).total_seconds()
        assert 0 < left <= LEASE

    @pytest.mark.parametrize("status", [Status.SUBMITTED, Status.UPLOADING])
    def test_what_does_not_wait_is_not_claimed(self, stage: Stage, status: Status) -> None:
        stage.add(status=status)
        assert stage.queue.claim("driver") is None

    def test_priority_then_age_decides(self, stage: Stage) -> None:
        for uuid, priority in (("c", 2), ("d", 3), ("b", 2), ("a", 1)):
            stage.add(uuid, priority=priority)
            stage.wait(1)
        assert [stage.take().uuid for _ in range(4)] == ["a", "c", "b", "d"]

    def test_long_waiting_raises_the_priority(self, stage: Stage) -> None:
        stage.add("patient", priority=3)
        stage.wait(3 * 3600)
        stage.add("urgent", priority=1)
        assert stage.take().uuid == "patient"

    def test_users_take_turns(self, stage: Stage) -> None:
        for uuid, user in (("a1", "ann"), ("a2", "ann"), ("b1", "bob"), ("b2", "bob"), ("c1", "")):
            stage.add(uuid, user=user)
            stage.wait(1)
        running = {"ann": 1, "bob": 0}
        claim = stage.queue.claim("driver", owners_running=running)
        assert claim is not None
        assert claim.uuid == "b1"

    def test_a_crowd_keeps_nobody_out(self, stage: Stage) -> None:
        stage.add("aged", user="ann", priority=3)
        stage.wait(4 * 3600)
        for number in range(70):
            stage.add(f"crowd {number}", user="ann", priority=1)
        stage.add("other", user="bob")
        stage.put({"uuid": "nobody's", "status": "conversion queued"})
        taken = {stage.take().uuid}
        claim = stage.queue.claim("driver", owners_running={"ann": 1})
        assert claim is not None
        taken |= {claim.uuid} | {stage.take().uuid}
        assert taken >= {"aged", "nobody's"}

    def test_many_of_one_user_do_not_hold_up_the_one_of_another(self, stage: Stage) -> None:
        for number in range(1000):
            stage.queue.add({"uuid": f"a{number:04}", "status": "conversion queued", "user": "ann"})
        stage.queue.add({"uuid": "b", "status": "conversion queued", "user": "bob"})
        taken = [
            claim.uuid for claim in islice(stage.queue.take(stage.queue.look({"ann": 1}), "driver", {"ann": 1}), 3)
        ]
        assert taken == ["b", "a0000", "a0001"]

    def test_several_claims_are_each_another_dataset(self, stage: Stage) -> None:
        for uuid in ("a", "b", "c"):
            stage.queue.add({"uuid": uuid, "status": "conversion queued", "priority": 1 if uuid == "c" else 2})
        claims = list(stage.queue.take(stage.queue.look(), "driver"))
        assert [claim.uuid for claim in claims] == ["c", "a", "b"]
        assert len({claim.token for claim in claims}) == 3
        assert all(stage.queue.renew(claim) for claim in claims)

    def test_what_is_put_off_waits_for_its_time(self, stage: Stage) -> None:
        stage.queue.add({"uuid": "a", "status": "conversion queued", "priority": 1})
        stage.queue.add({"uuid": "b", "status": "conversion queued", "priority": 3})
        first = stage.take("driver")
        assert stage.queue.fail(first, StorageError()) is Status.CONVERSION_QUEUED
        assert stage.take("driver").uuid == "b"
        assert stage.queue.claim("driver") is None
        stage.wait(10)
        assert stage.take("driver").uuid == "a"

    def test_whose_cancelling_is_wanted_is_told_by_token(self, stage: Stage) -> None:
        for uuid in ("a", "b"):
            stage.queue.add({"uuid": uuid, "status": "conversion queued"})
        one, other = stage.take("driver"), stage.take("driver")
        assert stage.queue.cancels() == set()
        assert stage.queue.request_cancel(other.uuid)
        assert stage.queue.cancels() == {other.token}
        assert stage.queue.cancelled(other)
        assert stage.queue.cancels() == set()
        assert stage.queue.renew(one)

    def test_documents_of_other_programs_are_claimed(self, stage: Stage) -> None:
        stage.put({"uuid": "old", "status": "conversion queued", "user_email": "x@y", "convert": "true"})
        claim = stage.take()
        assert (claim.uuid, claim.dataset.user) == ("old", "x@y")
        assert stage.queue.finish(claim)
        assert stage.status("old") is Status.DONE

    def test_a_document_that_is_none_stops_nobody(self, stage: Stage) -> None:
        stage.put({"uuid": "strange", "status": "conversion queued", "lease": "x", "priority": {}, "revision": 3})
        stage.add()
        assert {stage.take().uuid, stage.take().uuid} == {"strange", "d"}

    # --- leases ---

    def test_renewing_keeps_the_lease(self, stage: Stage) -> None:
        stage.add()
        claim = stage.take()
        for _ in range(3):
            stage.wait(0.7 * LEASE)
            assert stage.queue.renew(claim)
            assert stage.queue.expire() == []
        assert stage.status() is Status.CONVERTING

    @pytest.mark.parametrize("act", LATE)
    def test_a_late_owner_changes_nothing(self, stage: Stage, act: str) -> None:
        stage.add()
        late = stage.take("late")
        stage.wait(1.1 * LEASE)
        assert stage.queue.expire() == ["d"]
        assert stage.status() is Status.CONVERSION_QUEUED
        before = stage.row("d")
        assert LATE[act](stage.queue, late) in (False, None)
        assert stage.row("d") == before
        stage.wait(LONG)
        stage.take("new")
        before = stage.row("d")
        assert LATE[act](stage.queue, late) in (False, None)
        assert stage.row("d") == before

    @pytest.mark.parametrize("act", LATE)
    def test_the_owner_of_a_deleted_dataset_has_lost_it(self, stage: Stage, act: str) -> None:
        stage.add()
        claim = stage.take()
        stage.remove("d")
        assert LATE[act](stage.queue, claim) in (False, None)

    def test_a_restarted_owner_takes_over_at_once(self, stage: Stage) -> None:
        for uuid in ("a", "b", "c"):
            stage.add(uuid)
        mine = [stage.take("driver") for _ in range(2)]
        stage.take("driver-2")
        adopted = stage.queue.adopt("driver")
        assert {claim.uuid for claim in adopted} == {claim.uuid for claim in mine}
        assert not any(stage.queue.renew(claim) for claim in mine)
        assert all(stage.queue.finish(claim) for claim in adopted)
        assert stage.queue.adopt("nobody") == []

    def test_losing_drivers_never_fails_a_dataset(self, stage: Stage) -> None:
        stage.add()
        for round_ in range(3 * MAX_ATTEMPTS):
            stage.take()
            stage.wait(1.1 * LEASE)
            assert stage.queue.expire() == ["d"]
            assert stage.queue.dataset("d").losses == round_ + 1
            stage.wait(LONG + 300)
        assert stage.queue.dataset("d").attempt == 0

    def test_progress_forgives_losses(self, stage: Stage) -> None:
        stage.add()
        for _ in range(2):
            assert stage.queue.progress(stage.take(), Progress(stage="convert", percent=10), advanced=True)
            stage.wait(1.1 * LEASE)
            assert stage.queue.expire() == ["d"]
            assert stage.queue.dataset("d").losses == 0
        assert stage.take().dataset.progress == Progress()

    def test_unpacking_is_a_part_of_the_claim(self, stage: Stage) -> None:
        stage.add()
        claim = stage.take()
        for status in (Status.UNZIPPING, Status.UNZIPPING, Status.CONVERTING, Status.UNZIPPING):
            assert stage.queue.enter(claim, status)
            assert stage.status() is status
            assert stage.queue.renew(claim)
        (adopted,) = stage.queue.adopt("driver")
        assert adopted.status is Status.UNZIPPING
        assert not stage.queue.enter(claim, Status.CONVERTING), "a late owner changes nothing"
        with pytest.raises(IllegalTransition):
            stage.queue.enter(adopted, Status.DONE)
        with pytest.raises(IllegalTransition):
            stage.queue.enter(adopted, Status.SYNCING)
        assert stage.queue.fail(adopted, BadInput("a link")) is Status.UNZIP_ERROR

    def test_a_silent_owner_that_unpacked_loses_the_dataset(self, stage: Stage) -> None:
        stage.add()
        stage.queue.enter(stage.take(), Status.UNZIPPING)
        stage.wait(1.1 * LEASE)
        assert stage.queue.expire() == ["d"]
        assert stage.status() is Status.CONVERSION_QUEUED

    # --- ends ---

    def test_finished_work_is_done_once(self, stage: Stage) -> None:
        stage.add()
        claim = stage.take()
        assert stage.queue.progress(claim, Progress(stage="convert", percent=99.5))
        assert stage.queue.dataset("d").progress.percent == 99.5
        assert stage.queue.begin_publish(claim)
        assert stage.queue.finish(claim, {"data_size": 0.5})
        done = stage.queue.dataset("d")
        assert (done.status, done.lease, done.publishing) == (Status.DONE, None, "")
        assert done.completed_at is not None
        assert stage.row("d")["data_size"] == 0.5
        assert not stage.queue.finish(claim)

    def test_the_result_cannot_write_what_is_the_queues(self, stage: Stage) -> None:
        stage.add()
        with pytest.raises(ValueError, match="lease, status"):
            stage.queue.finish(stage.take(), {"status": "done", "lease": None})
        assert stage.status() is Status.CONVERTING

    def test_bad_input_fails_at_once(self, stage: Stage) -> None:
        stage.add()
        assert stage.queue.fail(stage.take(), TruncatedInput("It ends at byte 7.")) is Status.CONVERSION_FAILED
        failed = stage.queue.dataset("d")
        assert (failed.error_code, failed.error_message) == ("truncated-input", "It ends at byte 7.")
        assert failed.lease is None

    def test_transient_errors_are_tried_again_later_and_not_for_ever(self, stage: Stage) -> None:
        stage.add()
        for attempt in range(1, MAX_ATTEMPTS):
            claim = stage.take()
            assert claim.attempt == attempt - 1
            assert claim.dataset.error_code == ""
            assert stage.queue.fail(claim, StorageError()) is Status.CONVERSION_QUEUED
            assert stage.queue.dataset("d").error_code == "storage"
            assert stage.queue.claim("driver") is None
            stage.wait(LONG)
        assert stage.queue.fail(stage.take(), StorageError()) is Status.CONVERSION_FAILED

    def test_progress_forgives_failures(self, stage: Stage) -> None:
        stage.add()
        for _ in range(2 * MAX_ATTEMPTS):
            claim = stage.take()
            assert stage.queue.progress(claim, Progress(), advanced=True)
            assert stage.queue.fail(claim, StorageError()) is Status.CONVERSION_QUEUED
            assert stage.queue.dataset("d").attempt == 0
            stage.wait(LONG)

    def test_losing_workers_never_fails_a_dataset(self, stage: Stage) -> None:
        stage.add()
        for _ in range(3 * MAX_ATTEMPTS):
            assert stage.queue.fail(stage.take(), WorkerLost()) is Status.CONVERSION_QUEUED
            stage.wait(LONG + 300)
        assert stage.queue.dataset("d").attempt == 0

    def test_a_retried_dataset_keeps_its_place(self, stage: Stage) -> None:
        stage.add("first")
        stage.wait(5)
        stage.add("second")
        stage.queue.fail(stage.take(), WorkerLost())
        stage.wait(LONG)
        assert stage.take().uuid == "first"

    @pytest.mark.parametrize(
        ("waiting", "failed"),
        [(Status.SYNC_QUEUED, Status.SYNC_ERROR), (Status.UPLOAD_QUEUED, Status.UPLOAD_ERROR)],
    )
    def test_every_stage_has_its_failure(self, stage: Stage, waiting: Status, failed: Status) -> None:
        stage.add(status=waiting)
        assert stage.queue.fail(stage.take(), BadInput()) is failed

    @pytest.mark.parametrize("waiting", CLAIMS)
    def test_a_drained_claim_returns_unharmed(self, stage: Stage, waiting: Status) -> None:
        stage.add(status=waiting)
        assert stage.queue.release(stage.take())
        assert stage.status() is waiting
        assert stage.take().attempt == 0

    # --- cancelling ---

    @pytest.mark.parametrize("status", [Status.SUBMITTED, Status.UPLOADING, *CLAIMS])
    def test_what_nobody_works_on_is_cancelled_at_once(self, stage: Stage, status: Status) -> None:
        stage.add(status=status)
        assert stage.queue.request_cancel("d")
        assert stage.status() is Status.CANCELLED
        assert not stage.queue.request_cancel("d")
        assert stage.queue.claim("driver") is None

    def test_an_owner_is_asked_to_cancel(self, stage: Stage) -> None:
        stage.add()
        claim = stage.take()
        assert not stage.queue.cancel_wanted(claim)
        assert stage.queue.request_cancel("d")
        assert stage.queue.cancel_wanted(claim)
        assert stage.queue.renew(claim)
        assert not stage.queue.begin_publish(claim)
        assert stage.queue.cancelled(claim)
        assert stage.status() is Status.CANCELLED

    @pytest.mark.parametrize("end", ["finish", "fail", "release"])
    def test_however_it_ends_cancelled_is_cancelled(self, stage: Stage, end: str) -> None:
        stage.add()
        claim = stage.take()
        stage.queue.request_cancel("d")
        assert LATE[end](stage.queue, claim)
        assert stage.status() is Status.CANCELLED

    def test_a_lost_owner_does_not_keep_a_dataset_from_being_cancelled(self, stage: Stage) -> None:
        stage.add()
        stage.take()
        stage.queue.request_cancel("d")
        stage.wait(1.1 * LEASE)
        assert stage.queue.expire() == ["d"]
        assert stage.status() is Status.CANCELLED

    def test_publishing_is_too_late_to_cancel(self, stage: Stage) -> None:
        stage.add()
        claim = stage.take()
        assert stage.queue.begin_publish(claim)
        assert not stage.queue.request_cancel("d")
        assert stage.queue.finish(claim)
        assert stage.status() is Status.DONE

    # --- again ---

    @pytest.mark.parametrize("status", Status)
    def test_only_what_has_ended_is_converted_again(self, stage: Stage, status: Status) -> None:
        stage.put({"uuid": "d", "status": str(status), "attempt": 3, "error_code": "storage"})
        if status not in CONVERTIBLE:
            with pytest.raises(Conflict):
                stage.queue.requeue("d")
            assert stage.status() is status
            return
        again = stage.queue.requeue("d", {"conversion_parameters": {"Xs": 1}})
        assert (again.status, again.attempt, again.error_code) == (Status.CONVERSION_QUEUED, 0, "")
        assert stage.take().dataset.conversion_parameters == {"Xs": 1}

    @pytest.mark.parametrize("status", Status)
    def test_only_what_could_not_be_imported_is_imported_again(self, stage: Stage, status: Status) -> None:
        stage.put(
            {"uuid": "d", "status": str(status), "attempt": 3, "error_code": "source-not-found", "convert": False}
        )
        if status is not Status.SYNC_ERROR:
            with pytest.raises(Conflict):
                stage.queue.refetch("d")
            assert stage.status() is status
            return
        again = stage.queue.refetch("d")
        assert (again.status, again.attempt, again.error_code) == (Status.SYNC_QUEUED, 0, "")
        assert stage.queue.finish(stage.take())
        assert stage.status() is Status.DONE

    # --- more files from elsewhere ---

    @pytest.mark.parametrize("status", Status)
    def test_an_import_is_added_to_what_nobody_works_on(self, stage: Stage, status: Status) -> None:
        old = {"uuid": "d", "status": str(status), "attempt": 3, "error_code": "storage", "needs_check": True}
        stage.put(old | {"failed_upload": {"code": "storage"}, "source_path": "old"})
        if status not in ENDS | {Status.CONVERSION_QUEUED}:
            with pytest.raises(Conflict):
                stage.queue.import_added("d", 10, {"source_path": "new"})
            assert (stage.status(), stage.row("d")["source_path"]) == (status, "old")
            return
        added = stage.queue.import_added("d", 10, {"source_path": "new"})
        assert (added.status, added.attempt, added.error_code) == (Status.SYNC_QUEUED, 0, "")
        assert stage.row("d")["source_path"] == "new"
        assert stage.queue.finish(stage.take())
        assert stage.status() is Status.UPLOAD_QUEUED, "what came before is still to be checked"
        assert stage.queue.finish(stage.take())
        assert stage.status() is Status.CONVERSION_QUEUED
        assert stage.queue.claim("driver") is None, "the settle time has not passed"
        stage.wait(10.5)
        assert stage.take().uuid == "d"

    @pytest.mark.parametrize("fields", [{"open_uploads": ["one"]}, {"lease": {"owner": "x", "token": "y"}}])
    def test_an_import_is_not_added_while_files_come_or_somebody_works(
        self, stage: Stage, fields: dict[str, Any]
    ) -> None:
        lease = {"expires_at": stage.queue.now() + timedelta(seconds=60)}
        fields = {name: {**value, **lease} if name == "lease" else value for name, value in fields.items()}
        stage.put({"uuid": "d", "status": str(Status.CONVERSION_QUEUED), **fields})
        with pytest.raises(Conflict):
            stage.queue.import_added("d", 0, {})

    # --- uploads ---

    def test_the_last_upload_starts_the_conversion_after_the_settle_time(self, stage: Stage) -> None:
        stage.add(status=Status.SUBMITTED)
        assert stage.queue.upload_opened("d", "one")
        assert stage.queue.upload_opened("d", "two")
        assert not stage.queue.upload_opened("d", "two")
        assert stage.queue.upload_closed("d", "one", settle_seconds=10)
        assert not stage.queue.upload_closed("d", "one", settle_seconds=10)
        assert stage.status() is Status.UPLOADING
        assert stage.queue.upload_closed("d", "two", settle_seconds=10)
        assert stage.status() is Status.CONVERSION_QUEUED
        assert stage.queue.claim("driver") is None
        stage.wait(10.5)
        assert stage.take().uuid == "d"

    def test_a_file_in_the_settle_time_is_waited_for(self, stage: Stage) -> None:
        stage.add(status=Status.UPLOADING, open_uploads=["one"])
        stage.queue.upload_closed("d", "one", settle_seconds=10)
        stage.wait(9)
        assert stage.queue.upload_opened("d", "two")
        stage.wait(9)
        assert stage.queue.claim("driver") is None
        stage.queue.upload_closed("d", "two")
        assert stage.take().uuid == "d"

    def test_without_conversion_the_upload_is_the_end(self, stage: Stage) -> None:
        stage.add(status=Status.UPLOADING, open_uploads=["one"], convert=False)
        stage.queue.upload_closed("d", "one")
        done = stage.queue.dataset("d")
        assert (done.status, done.completed_at is None) == (Status.DONE, False)

    @pytest.mark.parametrize("failing", ["one", "two"])
    def test_one_failed_file_stops_the_dataset(self, stage: Stage, failing: str) -> None:
        stage.add(status=Status.UPLOADING, open_uploads=["one", "two"])
        for upload in ("one", "two"):
            stage.queue.upload_closed("d", upload, failed=StorageError("lost") if upload == failing else None)
        failed = stage.queue.dataset("d")
        assert (failed.status, failed.error_code, failed.error_message) == (Status.UPLOAD_ERROR, "storage", "lost")
        stage.queue.upload_opened("d", "again")
        assert stage.queue.dataset("d").error_code == ""
        stage.queue.upload_closed("d", "again")
        assert stage.status() is Status.CONVERSION_QUEUED

    @pytest.mark.parametrize("status", [*sorted(CONVERTIBLE), Status.UPLOAD_ERROR, Status.SYNC_ERROR])
    def test_a_new_file_reopens_what_had_ended(self, stage: Stage, status: Status) -> None:
        stage.put({"uuid": "d", "status": str(status), "attempt": 2})
        stage.queue.upload_opened("d", "one")
        assert stage.status() is Status.UPLOADING
        stage.queue.upload_closed("d", "one")
        assert stage.take().attempt == 0

    @pytest.mark.parametrize("end", ["finish", "fail", "release"])
    def test_a_late_file_means_another_run(self, stage: Stage, end: str) -> None:
        stage.add()
        claim = stage.take()
        stage.queue.upload_opened("d", "late")
        assert stage.status() is Status.CONVERTING
        stage.queue.upload_closed("d", "late", settle_seconds=10)
        assert LATE[end](stage.queue, claim)
        assert stage.status() is Status.CONVERSION_QUEUED
        stage.wait(10.5)
        assert stage.queue.finish(stage.take())
        assert stage.status() is Status.DONE

    @pytest.mark.parametrize("end", ["finish", "fail", "release", "expire"])
    def test_a_run_that_ends_before_the_late_file_waits_for_it(self, stage: Stage, end: str) -> None:
        stage.add()
        claim = stage.take()
        stage.queue.upload_opened("d", "late")
        if end == "expire":
            stage.wait(1.1 * LEASE)
            stage.queue.expire()
        else:
            LATE[end](stage.queue, claim)
        assert stage.status() is Status.UPLOADING
        assert stage.queue.claim("driver") is None
        assert stage.queue.expire() == []
        stage.queue.upload_closed("d", "late")
        assert stage.status() is Status.CONVERSION_QUEUED

    def test_a_failed_late_file_is_not_forgotten(self, stage: Stage) -> None:
        stage.add()
        claim = stage.take()
        stage.queue.upload_opened("d", "late")
        stage.queue.upload_closed("d", "late", failed=StorageError())
        assert stage.queue.finish(claim)
        assert stage.status() is Status.UPLOAD_ERROR

    def test_an_upload_may_need_its_check(self, stage: Stage) -> None:
        stage.add(status=Status.UPLOADING, open_uploads=["one", "two"])
        stage.queue.upload_closed("d", "one", needs_check=True)
        stage.queue.upload_closed("d", "two")
        assert stage.status() is Status.UPLOAD_QUEUED
        claim = stage.take()
        assert claim.status is Status.UPLOADING
        assert stage.queue.finish(claim)
        assert stage.status() is Status.CONVERSION_QUEUED

    @pytest.mark.parametrize("end", ["fail", "release"])
    def test_an_unchecked_upload_stays_unchecked(self, stage: Stage, end: str) -> None:
        stage.add(status=Status.UPLOAD_QUEUED)
        claim = stage.take()
        stage.queue.upload_opened("d", "late")
        stage.queue.upload_closed("d", "late")
        LATE[end](stage.queue, claim)
        assert stage.status() is Status.UPLOAD_QUEUED

    def test_a_file_during_the_check(self, stage: Stage) -> None:
        stage.add(status=Status.UPLOAD_QUEUED)
        claim = stage.take()
        stage.queue.upload_opened("d", "late")
        assert stage.queue.finish(claim)
        assert stage.status() is Status.UPLOADING
        stage.queue.upload_closed("d", "late", needs_check=True)
        assert stage.queue.finish(stage.take())
        assert stage.status() is Status.CONVERSION_QUEUED

    def test_a_synced_dataset_is_converted(self, stage: Stage) -> None:
        stage.add(status=Status.SYNC_QUEUED)
        assert stage.queue.upload_opened("d", "more")
        assert stage.status() is Status.SYNC_QUEUED
        claim = stage.take()
        assert stage.queue.fail(claim, WorkerLost()) is Status.SYNC_QUEUED
        stage.wait(LONG)
        claim = stage.take()
        stage.queue.upload_closed("d", "more")
        assert stage.queue.finish(claim)
        assert stage.status() is Status.CONVERSION_QUEUED

    def test_uploads_of_a_cancelled_dataset_end_in_nothing(self, stage: Stage) -> None:
        stage.add(status=Status.UPLOADING, open_uploads=["one"])
        stage.queue.request_cancel("d")
        assert not stage.queue.upload_closed("d", "one")
        assert stage.status() is Status.CANCELLED

    # --- looking ---

    def test_counts_and_ages(self, stage: Stage) -> None:
        stage.add("a")
        first = stage.queue.dataset("a").queued_at
        stage.wait(0)
        stage.add("b")
        stage.put({"uuid": "old", "status": "conversion error"})
        counts = stage.queue.counts()
        assert counts[Status.CONVERSION_QUEUED] == 2
        assert counts[Status.CONVERSION_FAILED] == 1
        assert counts[Status.DONE] == 0
        oldest = stage.queue.oldest(Status.CONVERSION_QUEUED)
        assert first is not None
        assert oldest is not None
        assert abs(oldest - first) < timedelta(milliseconds=2)
        assert stage.queue.oldest(Status.CONVERTING) is None

    def test_indexes_may_be_made_twice(self, stage: Stage) -> None:
        stage.queue.ensure_indexes()
        stage.queue.ensure_indexes()
