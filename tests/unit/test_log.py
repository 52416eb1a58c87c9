"""Events are lines of JSON with a closed set of names, without secrets; a run's log is bounded and read by pages."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray import runlog
from scray.errors import NotFound
from scray.log import FIELDS, MEANINGS, Action, Facts, Lines, line, without_secrets
from scray.runlog import RUN_BYTES, RunLog, read, run_name, runs

ROOT = Path(__file__).parents[2]
RUN = "20260102T030405Z-00112233"


def test_every_action_and_field_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Action)
    assert Facts.__annotations__.keys() <= FIELDS.keys()


@given(st.sampled_from(Action), st.text(max_size=3000), st.text(max_size=50))
def test_an_event_is_one_line_of_json(action: Action, message: str, task: str) -> None:
    text = line(action, message, task=task)
    found = json.loads(text)
    assert "\n" not in text
    assert found["action"] == action
    assert found.keys() <= FIELDS.keys()
    assert datetime.fromisoformat(found["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cannot reach mongodb://ada:swordfish@db.example.org:27017/x", "swordfish"),
        ("GET https://bucket.example.org/key?X-Amz-Signature=swordfish&b=1 failed", "swordfish"),
        ("sent Authorization: Bearer swordfish", "swordfish"),
        ("'https://a.example.org/x?token=swordfish'", "swordfish"),
    ],
)
def test_no_secret_is_in_a_line(text: str, hidden: str) -> None:
    assert hidden not in line(Action.NOTE, text, task=text)
    assert "example.org" in without_secrets(text) or "***" in without_secrets(text)


def test_records_of_others_are_notes_and_carry_their_trace() -> None:
    try:
        raise ValueError("mongodb://a:swordfish@x")
    except ValueError:
        record = logging.LogRecord("other", logging.ERROR, __file__, 1, "it %s", ("broke",), sys.exc_info())
    found = json.loads(Lines().format(record))
    assert (found["action"], found["level"], found["message"], found["logger"]) == (
        "note",
        "error",
        "it broke",
        "other",
    )
    assert "ValueError" in found["trace"]
    assert "swordfish" not in found["trace"]


def test_a_program_writes_events_to_stderr_and_of_others_only_what_is_wrong() -> None:
    code = """
import logging
from scray.log import Action, configure, event
configure(); configure()
event(Action.CLAIMED, dataset="u", attempt=1)
logging.getLogger("httpx").info("quiet")
logging.getLogger("httpx").warning("loud")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = (json.loads(text) for text in done.stderr.splitlines())
    assert (first["action"], first["dataset"], first["attempt"], done.stdout) == ("claimed", "u", 1, "")
    assert (second["action"], second["message"]) == ("note", "loud")


# --- runs ----------------------------------------------------------------------------------------


def everything(folder: Path, run: str) -> list[dict[str, Any]]:
    found, place = read(folder, run)
    while events := read(folder, run, place)[0]:
        place = read(folder, run, place)[1]
        found += events
    return found


def test_a_run_is_read_back_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "PAGE_BYTES", 500)
    log = RunLog(tmp_path / "u", RUN)
    for number in range(50):
        log.write(Action.TASK_DONE, task=str(number), bytes=number)
    found = everything(tmp_path / "u", RUN)
    assert [event["task"] for event in found] == [str(number) for number in range(50)]
    assert {event["run"] for event in found} == {RUN}


def test_a_run_that_says_too_much_still_says_how_it_ended(tmp_path: Path) -> None:
    log = RunLog(tmp_path, RUN)
    for number in range(20_000):
        log.write(Action.TASK_DONE, task=f"{number:0100}")
    log.write(Action.FAILED, "It broke.", code="internal")
    assert (tmp_path / f"{RUN}.jsonl").stat().st_size < RUN_BYTES
    assert everything(tmp_path, RUN)[-1]["action"] == "failed"


def test_the_last_runs_are_kept(tmp_path: Path) -> None:
    names = [run_name(f"token {number}", datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC)) for number in range(30)]
    (tmp_path / "precious.txt").touch()
    for name in names:
        RunLog(tmp_path, name).write(Action.CLAIMED)
    assert runs(tmp_path) == names[-runlog.KEPT_RUNS :]
    assert (tmp_path / "precious.txt").exists()
    assert "token" not in "".join(names)


def test_a_line_cut_short_is_nobodys_loss(tmp_path: Path) -> None:
    RunLog(tmp_path, RUN).write(Action.CLAIMED)
    with (tmp_path / f"{RUN}.jsonl").open("ab") as file:
        file.write(b'{"action": "cut\n[1]\n{"action": "later"}\n{"action": "under way')
    events, place = read(tmp_path, RUN)
    assert [event["action"] for event in events] == ["claimed", "later"]
    assert read(tmp_path, RUN, place) == ([], place)


@pytest.mark.parametrize("run", ["../../etc/passwd", "", RUN, RUN + "x"])
def test_only_runs_are_read(tmp_path: Path, run: str) -> None:
    with pytest.raises(NotFound):
        read(tmp_path, run)
    assert runs(tmp_path / "none") == []


def test_a_full_disk_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    RunLog(tmp_path / "file" / "u", RUN).write(Action.CLAIMED)
    Path("/dev/full").stat()
    log = RunLog(tmp_path, RUN)
    (tmp_path / f"{RUN}.jsonl").symlink_to("/dev/full")
    log.write(Action.CLAIMED)
