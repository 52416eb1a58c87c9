"""The command line as a program sees it: exit codes, one JSON document, and what it does not load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from cluster import embedded, ending, show
from cluster.clidocs import page
from cluster.commands import app
from cluster.commands_convert import read_parameters
from converters.sandbox import Sandbox
from scray.errors import BadParameter, ScrayError
from tests.trees import tree_digests

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "data" / "img3d.tif"
HEAVY = ("ray", "fastapi", "pymongo", "starlette", "uvicorn", "httpx")


def scray(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def scray_json(*words: object) -> tuple[int, Any]:
    """Exit code and the one document on stdout."""
    code, out, _ = scray(*words, "--json")
    assert out.count("\n") == 1
    return code, json.loads(out)


def test_what_goes_wrong_after_the_one_document_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    @show.command
    def up(as_json: bool = False) -> None:
        ending.result({"api": "here"}, "here", as_json=as_json)
        raise ScrayError("It keeps ending.")

    for _ in range(2):
        with pytest.raises(typer.Exit):
            up(as_json=True)
        said = capsys.readouterr()
        assert json.loads(said.out) == {"api": "here"}
        assert said.err == "It keeps ending. [internal]\n"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "result"
    code, document = scray_json("convert", SAMPLE, "--sensor", "TIFF", "--out", folder)
    assert code == 0
    assert document["verified"]
    assert document["bytes_in"] == 31 * 61 * 57 * 2
    return folder


def test_a_result_is_whole_and_equals_its_source(result: Path) -> None:
    assert scray_json("verify", result, "--against", SAMPLE) == (
        0,
        {"ok": True, "problems": [], "against": str(SAMPLE)},
    )


def test_another_source_is_a_failure_with_a_sentence(result: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((31, 61, 57), "<u2"), photometric="minisblack")
    code, document = scray_json("verify", result, "--against", other)
    assert code == 1
    assert document["problems"]


def test_info_names_shape_and_type(result: Path) -> None:
    code, document = scray_json("info", result)
    assert code == 0
    assert document["datasets"][0]["shape"] == [31, 61, 57]
    assert document["datasets"][0]["dtype"] == "<u2"


def test_parameters_of_a_conversion_and_of_a_look(result: Path, tmp_path: Path) -> None:
    code, document = scray_json("info", SAMPLE, "--param", "axes=xyz")
    assert (code, document["datasets"][0]["shape"]) == (0, [57, 61, 31])
    assert document["notes"] == ["Axes as asked for: q (31) is x, y (61) is y, x (57) is z."]
    assert document["notes"][0] in scray("info", SAMPLE, "--param", "axes=xyz")[1]
    out = tmp_path / "out"
    assert scray_json("convert", SAMPLE, "--out", out, "--param", "axes=yxt", "--param", "fill=0")[0] == 0
    assert scray_json("verify", out, "--against", SAMPLE)[0] == 0
    code, document = scray_json("info", out)
    assert (document["datasets"][0]["shape"], document["datasets"][0]["steps"]) == ([31, 61], 57)
    assert document["parameters"] == {"axes": "yxt", "fill": 0}
    for wrong, words in (("axes=zy", "q (31), y (61), x (57)"), ("fill=NaN", "holds uint16, which cannot be NaN")):
        for line in (["convert", SAMPLE, "--out", tmp_path / "none"], ["info", SAMPLE]):
            code, document = scray_json(*line, "--param", wrong)
            assert (code, document["error"]["code"]) == (2, "bad-parameter")
            assert words in document["error"]["message"]
    assert not (tmp_path / "none").exists()


def test_a_former_result_is_replaced_and_anything_else_is_not(result: Path, tmp_path: Path) -> None:
    assert scray_json("convert", SAMPLE, "--out", result, "--codec", "raw")[0] == 0, "its content says what it is"
    (tmp_path / "precious").write_text("mine")
    code, document = scray_json("convert", SAMPLE, "--sensor", "TIFF", "--out", tmp_path)
    assert (code, document["error"]["code"]) == (2, "bad-request")
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ["--sensor", "NO SUCH"],
        ["--sensor", "TIFF", "--codec", "no-such"],
        ["--sensor", "TIFF", "--profile", "no-such"],
        ["--sensor", "TIFF", "--executor", "no-such"],
        ["--sensor", "TIFF", "--param", "no-such=1"],
        ["--sensor", "TIFF", "--param", "without-a-value"],
        ["--sensor", "TIFF", "--memory", "much"],
    ],
)
def test_wrong_usage_is_2(words: list[str], tmp_path: Path) -> None:
    code, out, _ = scray("convert", SAMPLE, "--out", tmp_path / "out", *words)
    assert (code, out) == (2, "")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert scray("convert", tmp_path / "no.tif", "--sensor", "TIFF", "--out", tmp_path / "out")[0] == 2


def test_in_json_wrong_usage_is_a_document_too(tmp_path: Path) -> None:
    for words in (["convert", str(SAMPLE), "--sensor", "TIFF"], ["verify", str(tmp_path / "no")], ["no-such"]):
        line = [sys.executable, "-m", "cluster.cli", *words, "--json"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, "")
        assert json.loads(done.stdout)["error"]["code"] == "usage"


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.5, 1.0, 1.5, 2.0])
def test_ctrl_c_at_any_moment_is_one_document_and_130(seconds: float, tmp_path: Path) -> None:
    words = ["convert", str(SAMPLE), "--sensor", "TIFF", "--out", str(tmp_path / "out"), "--json"]
    code = f"""
import sys
from cluster.cli import main
sys.argv[1:] = {words!r}
print("begins", file=sys.stderr, flush=True)
main()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr
        assert process.stderr.readline() == "begins\n"
        time.sleep(seconds)  # not a wait for a state: any moment will do
        for _ in range(3):  # people press it again
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    document = json.loads(out)
    assert err == ""
    if process.returncode == 0:  # it was faster
        assert document["verified"]
    else:
        assert (process.returncode, document["error"]["code"]) == (130, "interrupted")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_ctrl_c_adds_no_second_document(words: list[str], said: bool) -> None:
    code = f"""
import os, signal, sys
from cluster import commands, ending
from cluster.cli import main
@commands.app.command()
def one(as_json: bool = commands.commands_convert.typer.Option(False, "--json")):
    if {said}:
        ending.result({{"done": True}}, "done", as_json=as_json)
    os.kill(os.getpid(), signal.SIGINT)
sys.argv[1:] = ["one", *{words!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    if words:
        document = {"done": True} if said else {"error": {"code": "interrupted", "message": "Interrupted."}}
        assert (json.loads(done.stdout), done.stderr) == (document, "")
    else:
        assert (done.stdout, done.stderr) == ("done\n" * said, "Interrupted. [interrupted]\n")


def test_what_the_system_refuses_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, document = scray_json("convert", SAMPLE, "--sensor", "TIFF", "--out", tmp_path / "file" / "out")
    assert (code, document["error"]["code"]) == (1, "storage")


def test_a_pipe_is_not_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, document = scray_json("upload", tmp_path / "pipe", "--sensor", "TIFF", "--data", tmp_path)
    assert (code, document["error"]["code"]) == (2, "bad-request")


@pytest.mark.parametrize(
    "address", ["garbage", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://a:99999", "http://[::1"]
)
@pytest.mark.parametrize("words", [["watch", "x"], ["status"]])
def test_what_is_no_address_is_wrong_usage(words: list[str], address: str, tmp_path: Path) -> None:
    code, document = scray_json(*words, "--api", address, "--data", tmp_path)
    assert (code, document["error"]["code"]) == (2, "bad-parameter")
    assert address in document["error"]["message"]


def test_status_says_which_address_refused(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        code, out, _ = scray("status", "--api", address, "--data", tmp_path)
        assert code == 1
        assert f"{address} could not be reached" in out
        assert address in scray_json("status", "--api", address, "--data", tmp_path)[1]["reason"]


@pytest.mark.parametrize(("content", "error"), [(b"", "empty-input"), (b"no picture at all", "wrong-sensor")])
def test_broken_input_is_1_with_code_and_sentence(content: bytes, error: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(content)
    code, document = scray_json("convert", broken, "--sensor", "TIFF", "--out", tmp_path / "out")
    assert (code, document["error"]["code"]) == (1, error)
    assert document["error"]["message"].endswith(".")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.tif"]


def test_without_a_stack_the_way_out_is_said(tmp_path: Path) -> None:
    code, document = scray_json("watch", "some-dataset", "--data", tmp_path)
    assert (code, document["error"]["code"]) == (1, "no-stack")
    code, document = scray_json("status", "--data", tmp_path)
    assert (code, document["running"]) == (1, False)
    assert scray_json("down", "--data", tmp_path) == (0, {"stopped": False})


def test_the_doctor_looks_at_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGO_URL", raising=False)
    monkeypatch.setattr(embedded, "REPOSITORY", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, document = scray_json("doctor", "--data", tmp_path)
    found = {check["name"]: check for check in document["checks"]}
    assert {"python", "settings", "disk", "data folder", "database", "ray", "sandbox", "stack"} <= found.keys()
    assert code == 1
    assert not found["database"]["ok"]
    assert "MONGO_URL" in found["database"]["says"]
    assert found["python"]["ok"]
    assert found["secret key"]["ok"]
    assert "auth/secret.key" in found["secret key"]["says"]


def test_the_doctor_sees_a_key_that_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth/secret.key").write_text("x")
    (tmp_path / "auth/secret.key").chmod(0o644)
    for mode, well in ((0o644, False), (0o600, True)):
        (tmp_path / "auth/secret.key").chmod(mode)
        found = {check["name"]: check for check in scray_json("doctor", "--data", tmp_path)[1]["checks"]}
        assert found["secret key"]["ok"] is well


@pytest.mark.parametrize("sealing", ["auto", "required", "off"])
def test_doctor_says_how_readers_are_sealed_off(sealing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRAY_SANDBOX", sealing)
    checks = {check["name"]: check for check in scray_json("doctor", "--data", tmp_path)[1]["checks"]}
    assert checks["sandbox"]["ok"] is (sealing != "off")
    assert f"SCRAY_SANDBOX={sealing}" in checks["sandbox"]["says"]
    monkeypatch.setattr(Sandbox, "program", "tests.unsealed_child")
    checks = {check["name"]: check for check in scray_json("doctor", "--data", tmp_path)[1]["checks"]}
    assert not checks["sandbox"]["ok"]
    assert "network, reach" in checks["sandbox"]["says"]


def test_a_conversion_is_sealed_off_where_that_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["convert", SAMPLE, "--sensor", "TIFF", "--out"]
    assert scray_json(*words, tmp_path / "plain")[0] == 0
    monkeypatch.setenv("SCRAY_SANDBOX", "required")
    assert scray_json(*words, tmp_path / "sealed")[0] == 0
    assert tree_digests(tmp_path / "sealed") == tree_digests(tmp_path / "plain")
    monkeypatch.setattr(Sandbox, "program", "tests.unsealed_child")
    code, document = scray_json(*words, tmp_path / "unsealed")
    assert (code, document["error"]["code"]) == (1, "unsealed")
    assert not (tmp_path / "unsealed").exists()


def test_a_driver_does_not_start_where_a_seal_is_required_and_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cluster.driver import main

    monkeypatch.setenv("SCRAY_SANDBOX", "required")
    monkeypatch.setattr(Sandbox, "program", "tests.unsealed_child")
    assert main([]) == 1
    assert "[unsealed]" in capsys.readouterr().err


def test_a_serial_conversion_loads_no_ray_no_server_no_database(tmp_path: Path) -> None:
    words = ["convert", str(SAMPLE), "--sensor", "TIFF", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cluster.cli", *words],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert {"cluster", "converters", "numpy", "tifffile"} <= loaded, "also of the process that does the work"
    assert loaded.isdisjoint(HEAVY)
    assert (tmp_path / "out" / "visus.idx").exists()


def test_the_list_of_commands_says_what_each_is_for_in_a_whole_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = scray("--help")
    listed = out.partition("Commands:")[2].strip().splitlines()
    assert code == 0
    assert len(listed) > 10
    assert not [line for line in listed if not line.endswith(".") or line.endswith("..")]


def test_the_page_of_commands_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == page(), "run `make docs`"


def test_parameters_are_json_where_they_can_be() -> None:
    assert read_parameters(["time=1", "axes=[1,2]", "Xs=/entry/x", "Ys=a=b", "volume=", "fill=NaN"]) == {
        "time": 1,
        "axes": [1, 2],
        "Xs": "/entry/x",
        "Ys": "a=b",
        "volume": "",
        "fill": "NaN",
    }
    for wrong, words in (("=1", "K=V"), ("colour=red", "Known are"), ("codec=best", "zip, small, fast, raw")):
        with pytest.raises(BadParameter, match=words):
            read_parameters([wrong])


def test_a_table_fits_the_terminal() -> None:
    rows = [["a", "name of a dataset", "yes"], ["b", "name", "/a/path/without/end"]]
    wide = show.table(["x", "dataset", "result"], rows)
    assert wide.splitlines()[1] == "a  name of a dataset  yes", "nothing is folded off a terminal"
    folded = show.table(["x", "dataset", "result"], rows, 24).splitlines()
    assert folded[:4] == ["x  dataset", "  result", "a  name of a dataset", "  yes"]
    assert folded[-1] == "  /a/path/without/end"
    assert show.table(["x", "dataset", "result"], rows, len(max(wide.splitlines(), key=len))) == wide


def test_progress_is_a_line_for_each_stage_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show.Progress() as progress:
        for percent in (0, 50, 100):
            progress.update("name", "hashing", percent, "of 3 MiB")
        progress.update("name", "done", 100)
    assert capsys.readouterr().err == "name: hashing 0 % of 3 MiB\nname: done 100 %\n"
    with show.Progress(as_json=True) as silent:
        silent.update("name", "hashing")
    assert capsys.readouterr().err == ""
