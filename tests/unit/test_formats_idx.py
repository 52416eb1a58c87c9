"""IDX inputs: what is kept is whole, whatever wrote it; what is written anew has every sample."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import idx, registry
from converters.convert import convert
from converters.grid import grids_for
from converters.midx import MAX_MIDX, urls
from converters.plan import Choices as PlanChoices
from converters.plan import make_plan
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.task import CHECK_BYTES
from converters.verify import verify
from converters.volume import Linked, Source
from scray.errors import (
    BadInput,
    BadParameter,
    HostileInput,
    MissingSource,
    ScrayError,
    TooLarge,
    TruncatedInput,
    UnsafePath,
    Unsupported,
)
from scray.idx.reader import Dataset
from tests.formats import check_boxes, pattern, read_all
from tests.openvisus import openvisus
from tests.unit.volumes import volume

DATA = Path(__file__).parent.parent / "data" / "idx"
SHAPE = (20, 30, 40)


def made(path: Path, steps: int = 1, arco: bool = False) -> list[Any]:
    """A dataset of two fields that OpenVisus wrote; its arrays, step by step."""
    arrays = [pattern(SHAPE, "<u2", step) for step in range(steps)]
    fields = [("a", "uint16", ""), ("rgb", "uint8[3]", "")]
    writes: list[Any] = []
    for step, array in enumerate(arrays):
        writes.append((step if steps > 1 else None, "a", array))
        writes.append((step if steps > 1 else None, "rgb", pattern((*SHAPE, 3), "u1", step)))
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"arco": 8192} if arco else {"bitsperblock": 10, "blocksperfile": 4}
    if steps > 1:
        options |= {"time": [0, steps - 1, "%04d/"]}
    openvisus().create(path, SHAPE, fields, writes, "zip", **options)
    return arrays


def job(path: Path, **parameters: Any) -> Job:
    root, files = find_files([path])
    return Job(root, files, "IDX", parameters)


def run(path: Path, out: Path, **parameters: Any) -> dict[str, Any]:
    convert(job(path, **parameters), out, Serial())
    assert verify(out) == []
    assert verify(out, path) == []
    metadata: dict[str, Any] = json.loads((out / "metadata.json").read_bytes())
    return metadata


def seen(out: Path, field: str) -> Any:
    """What OpenVisus reads."""
    return openvisus().read(out / "visus.idx", field)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.bin"))


@pytest.mark.parametrize("arco", [False, True])
def test_a_header_under_another_name_is_checked_once_and_read_as_visus_idx(tmp_path: Path, arco: bool) -> None:
    (array,) = made(tmp_path / "in" / "scan.idx", arco=arco)
    source = registry.probe("IDX", *find_files([tmp_path / "in"]), {})
    assert [linked.header for linked in source.linked] == ["visus.idx"]
    run(tmp_path / "in", tmp_path / "out")
    with Dataset.open(tmp_path / "out" / "visus.idx") as dataset:
        assert np.array_equal(dataset.read(field="a"), array)
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()


def test_a_header_is_known_whatever_its_name(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "scan.idx", arco=True)
    (tmp_path / "in" / "scan.idx").rename(tmp_path / "in" / "scan.txt")
    run(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()


def test_a_header_without_a_template_takes_its_data_along(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "deep" / "scan.idx")
    path = tmp_path / "in" / "deep" / "scan.idx"
    lines = path.read_text().splitlines()
    at = lines.index("(filename_template)")
    path.write_text("\n".join(lines[:at] + lines[at + 2 :]))
    folder = next(p for p in path.parent.iterdir() if p.is_dir())
    if folder.name != "scan":
        folder.rename(path.parent / "scan")
    run(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()


def test_what_scray_itself_wrote_can_be_given_to_it_again(tmp_path: Path) -> None:
    run(DATA / "cat_rgb", tmp_path / "first")
    run(tmp_path / "first", tmp_path / "second")
    original = tmp_path / "second" / "original" / "metadata.json"
    assert original.read_bytes() == (tmp_path / "first" / "metadata.json").read_bytes()
    run(tmp_path / "second", tmp_path / "third")


def test_missing_and_cut_blocks_are_named_by_file_and_block(tmp_path: Path) -> None:
    made(tmp_path / "in" / "visus.idx", steps=2)
    _, _, *last = files_of(tmp_path / "in")
    content = last[-1].read_bytes()
    last[-1].write_bytes(content[: len(content) - 100])
    with pytest.raises(TruncatedInput, match=rf"visus\.idx promises.*block \d+ of field .*{last[-1].name}") as told:
        convert(job(tmp_path / "in"), tmp_path / "out", Serial())
    assert str(tmp_path) not in str(told.value)
    last[-1].unlink()
    with pytest.raises(MissingSource, match=rf"block \d+ of field a, time step 1, in .*{last[-1].name}.*; block"):
        convert(job(tmp_path / "in"), tmp_path / "out", Serial())
    assert not (tmp_path / "out").exists()


def test_another_header_is_checked_where_it_has_data_and_noted_where_not(tmp_path: Path) -> None:
    made(tmp_path / "in" / "visus.idx")
    made(tmp_path / "in" / "more" / "b.idx")
    shutil.copy(DATA / "cat_gray" / "gray.idx", tmp_path / "in" / "gray.idx")
    (tmp_path / "in" / "broken.idx").write_text("(version)\n6\n")
    notes = " ".join(run(tmp_path / "in", tmp_path / "out")["notes"])
    assert "gray.idx is not checked" in notes
    assert "broken.idx is not checked" in notes
    source = registry.probe("IDX", *find_files([tmp_path / "in"]), {})
    assert [linked.header for linked in source.linked] == ["visus.idx", "more/b.idx"]
    files_of(tmp_path / "in" / "more")[0].unlink()
    with pytest.raises(MissingSource, match=r"more/b\.idx"):
        convert(job(tmp_path / "in"), tmp_path / "out2", Serial())


def test_a_header_that_promises_what_its_files_cannot_hold_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "in" / "visus.idx")
    path = tmp_path / "in" / "visus.idx"
    text = path.read_text()
    path.write_text(f"{text}(time)\n0 20000000 t%d/\n(filename_template)\n./visus/0000.bin\n")
    for parameters in ({}, {"repack": True}):
        with pytest.raises(MissingSource, match=r"visus\.idx promises .* bytes"):
            registry.probe("IDX", *find_files([tmp_path / "in"]), parameters)


def test_a_dataset_in_an_archive_whose_names_have_spaces(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "my scan" / "first scan.idx")
    with zipfile.ZipFile(tmp_path / "up load.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    run(tmp_path / "up load.zip", tmp_path / "out")
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()
    assert not list(tmp_path.glob(".out*"))


def test_of_two_datasets_both_are_there_and_either_can_be_chosen(tmp_path: Path) -> None:
    (first,) = made(tmp_path / "in" / "a.idx")
    made(tmp_path / "other" / "b.idx", steps=2)
    for path in (tmp_path / "other").iterdir():
        path.rename(tmp_path / "in" / ("b" if path.is_dir() else path.name))
    header = tmp_path / "in" / "b.idx"
    header.write_text(header.read_text().replace("./visus/", "./b/"))
    run(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "out", "a").tobytes() == first.tobytes()
    with Dataset.open(tmp_path / "out" / "b.idx") as dataset:
        assert np.array_equal(dataset.read(step=1, field="a"), pattern(SHAPE, "<u2", 1))
    run(tmp_path / "in", tmp_path / "chosen", dataset="b.idx")
    found = openvisus().read(tmp_path / "chosen" / "visus.idx", "a", 1)
    assert found is not None
    assert found.tobytes() == pattern(SHAPE, "<u2", 1).tobytes()
    with pytest.raises(BadParameter, match=r"a\.idx"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {"dataset": "c.idx"})


def test_a_box_that_begins_elsewhere_is_kept_and_repacked(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "visus.idx")
    rewritten(tmp_path / "in" / "visus.idx", "0 39 0 29", "4 39 8 21")
    part = array[:, 8:22, 4:]
    run(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "out", "a").tobytes() == part.tobytes()
    metadata = run(tmp_path / "in", tmp_path / "packed", repack=True)
    assert seen(tmp_path / "packed", "a").tobytes() == part.tobytes()
    assert metadata["source"]["box"] == [[4, 39], [8, 21], [0, 19]]
    assert any(note.startswith("The box began at 4, 8, 0") for note in metadata["notes"])


@pytest.mark.parametrize("change", ["time", "field"])
def test_more_in_the_header_than_in_the_files_is_refused(tmp_path: Path, change: str) -> None:
    made(tmp_path / "in" / "visus.idx", steps=2)
    old, new = ("0 1 %04d/", "0 2 %04d/") if change == "time" else ("(bits)", "+ more float32\n(bits)")
    rewritten(tmp_path / "in" / "visus.idx", old, new)
    for parameters in ({}, {"repack": True}):
        with pytest.raises((MissingSource, TruncatedInput, BadInput), match=r"visus|\.bin"):
            convert(job(tmp_path / "in", **parameters), tmp_path / "out", Serial())
    assert not (tmp_path / "out").exists()


def rewritten(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_keys_may_come_in_any_order(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "visus.idx")
    path = tmp_path / "in" / "visus.idx"
    path.write_text(path.read_text().removeprefix("(version)\n6\n") + "(version)\n6\n")
    run(tmp_path / "in", tmp_path / "out")
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()


@pytest.mark.parametrize("time", ["time%0000d/", "t%3d/", "t%5.3d/", "t%x/", "t%02d_"])
def test_times_are_printed_as_viewers_do(tmp_path: Path, time: str) -> None:
    arrays = made(tmp_path / "in" / "visus.idx", steps=3)
    rewritten(tmp_path / "in" / "visus.idx", "%04d/", time)
    for step in range(3):
        for file in files_of(tmp_path / "in" / "visus" / f"{step:04d}"):
            target = tmp_path / "in" / "visus" / (time % step + file.name)
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
    run(tmp_path / "in", tmp_path / "out")
    for step, array in enumerate(arrays):
        found = openvisus().read(tmp_path / "out" / "visus.idx", "a", step)
        assert found is not None
        assert found.tobytes() == array.tobytes()


def test_where_viewers_would_look_elsewhere_only_repack_will_do(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "visus.idx")
    rewritten(tmp_path / "in" / "visus.idx", "./visus/", "visus/")
    with pytest.raises(Unsupported, match="repack=true"):
        convert(job(tmp_path / "in"), tmp_path / "out", Serial())
    run(tmp_path / "in", tmp_path / "out", repack=True)
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()


def test_blocks_where_the_result_has_a_name_of_its_own_are_repacked_alone(tmp_path: Path) -> None:
    (array,) = made(tmp_path / "in" / "visus.idx")
    path = tmp_path / "in" / "visus.idx"
    (tmp_path / "in" / "visus").rename(tmp_path / "in" / "manifest.json")
    path.write_text(path.read_text().replace("./visus/", "./manifest.json/"))
    with pytest.raises(Unsupported, match=r"visus\.idx: its blocks lie in manifest\.json.*repack"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {})
    run(tmp_path / "in", tmp_path / "out", repack=True)
    assert seen(tmp_path / "out", "a").tobytes() == array.tobytes()


@pytest.mark.parametrize("line", ["a?b uint16", "a uint16 default_compression(zip) + a uint16"])
def test_fields_that_viewers_do_not_find_are_refused(tmp_path: Path, line: str) -> None:
    made(tmp_path / "in" / "visus.idx")
    rewritten(tmp_path / "in" / "visus.idx", "a uint16", line)
    with pytest.raises(Unsupported, match="do not find a field"):
        convert(job(tmp_path / "in"), tmp_path / "out", Serial())


def test_a_header_that_does_not_say_its_time_steps_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "in" / "visus.idx", steps=2)
    rewritten(tmp_path / "in" / "visus.idx", "0 1 %04d/", "* * %04d/")
    for parameters in ({}, {"repack": True}):
        with pytest.raises(Unsupported, match="time steps"):
            convert(job(tmp_path / "in", **parameters), tmp_path / "out", Serial())


def test_all_steps_count_where_the_time_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "in" / "visus.idx", steps=3)
    rewritten(tmp_path / "in" / "visus.idx", "./visus/", "./")
    for folder in (tmp_path / "in" / "visus").iterdir():
        folder.rename(tmp_path / "in" / folder.name)
    stored = sum(file.stat().st_size for file in files_of(tmp_path / "in"))
    raw = 3 * 20 * 30 * 40 * 5
    monkeypatch.setattr(idx, "UNSUSPICIOUS_BYTES", 0)
    monkeypatch.setattr(idx, "MAX_RATIO", raw / stored + 0.01)
    run(tmp_path / "in", tmp_path / "out")


def test_blocks_may_be_laid_out_otherwise_than_the_header_proposes(tmp_path: Path) -> None:
    shutil.copytree(DATA / "cat_gray", tmp_path / "in")
    rewritten(tmp_path / "in" / "gray.idx", "format(0)", "")
    before = openvisus().read(DATA / "cat_gray" / "gray.idx", "data")
    run(tmp_path / "in", tmp_path / "out")
    assert before is not None
    assert seen(tmp_path / "out", "data").tobytes() == before.tobytes()


# --- midx ----------------------------------------------------------------------------------------


def midx(path: Path, *urls: str, before: str = "") -> None:
    children = "".join(f'<dataset name="d{i}" url="{url}" />' for i, url in enumerate(urls))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}<dataset typename='IdxMultipleDataset'>{children}</dataset>")


def test_a_midx_below_other_folders_and_in_another_midx_leads_to_its_datasets(tmp_path: Path) -> None:
    top = tmp_path / "in" / "flight"
    made(top / "A" / "visus.idx")
    made(top / "B" / "b.idx")
    midx(top / "visus.midx", "./A/visus.idx", "./more/inner.midx")
    midx(top / "more" / "inner.midx", "./b.idx")
    shutil.move(top / "B" / "b.idx", top / "more" / "b.idx")
    shutil.move(next(p for p in (top / "B").iterdir() if p.is_dir()), top / "more")
    metadata = run(tmp_path / "in", tmp_path / "out")
    assert [record["idx"] for record in metadata["datasets"]] == ["A/visus.idx", "more/b.idx"]
    assert (tmp_path / "out" / "visus.idx").read_text().startswith("<dataset")
    assert (tmp_path / "out" / "preview.png").exists()
    files_of(tmp_path / "in" / "flight" / "more")[0].unlink()
    with pytest.raises(MissingSource, match=r"more/b\.idx promises"):
        convert(job(tmp_path / "in"), tmp_path / "out2", Serial())


def test_a_midx_called_visus_idx_is_told_by_its_content(tmp_path: Path) -> None:
    made(tmp_path / "in" / "A" / "visus.idx")
    midx(tmp_path / "in" / "visus.idx", "./A/visus.idx")
    run(tmp_path / "in", tmp_path / "out")
    text = (tmp_path / "out" / "visus.idx").read_text()
    (tmp_path / "out" / "visus.idx").write_text(text.replace("A/visus.idx", "../visus.idx"))
    assert any("cannot be used" in problem for problem in verify(tmp_path / "out"))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("../x.idx", UnsafePath),
        ("&#46;&#46;/x.idx", UnsafePath),
        ("/etc/passwd", UnsafePath),
        ("file:///etc/passwd", UnsafePath),
        ("http://example.org/a.idx", UnsafePath),
        ("$(HOME)/a.idx", UnsafePath),
        ("./none.idx", MissingSource),
        ("./visus.midx", BadInput),
        ("./x/../visus.idx", Unsupported),
        ("A.idx", Unsupported),
        ("./A.idx'/><![CDATA[<!--]]><dataset url='/etc/passwd'/><![CDATA[-->]]><b c='", UnsafePath),
    ],
)
def test_a_midx_that_leads_out_or_nowhere_is_refused(tmp_path: Path, url: str, error: type[ScrayError]) -> None:
    midx(tmp_path / "in" / "visus.midx", url.replace("'", '"'))
    (tmp_path / "in" / "A.idx").write_text("(version)\n")
    with pytest.raises(error, match=r"visus\.midx"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {})


@pytest.mark.parametrize(("header", "shown"), [("A/visus.idx", "all.midx"), ("visus.idx", "visus.idx")])
def test_a_midx_goes_before_what_it_composes_where_the_result_can_show_it(
    tmp_path: Path, header: str, shown: str
) -> None:
    made(tmp_path / "in" / header)
    midx(tmp_path / "in" / "all.midx", f"./{header}")
    metadata = run(tmp_path / "in", tmp_path / "out")
    assert metadata["source"]["header"] == shown
    if header == "visus.idx":
        with pytest.raises(Unsupported, match=r"all\.midx names visus\.idx"):
            registry.probe("IDX", *find_files([tmp_path / "in"]), {"dataset": "all.midx"})


def test_a_midx_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "in" / "A" / "visus.idx")
    midx(tmp_path / "in" / "visus.midx", "./A/visus.idx")
    path = tmp_path / "in" / "visus.midx"
    path.write_text(path.read_text().rstrip()[:-3])
    with pytest.raises(BadInput, match=r"visus\.midx is cut short"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {})


def test_a_midx_with_entities_is_refused(tmp_path: Path) -> None:
    midx(tmp_path / "in" / "visus.midx", "&a;", before='<!DOCTYPE d [<!ENTITY a SYSTEM "/etc/passwd">]>')
    with pytest.raises(HostileInput, match="entities"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {})


def test_a_midx_of_endless_comments_or_of_others_without_end_costs_no_time(tmp_path: Path) -> None:
    made(tmp_path / "in" / "A" / "visus.idx")
    midx(
        tmp_path / "in" / "visus.midx",
        "./A/visus.idx",
        before="<!-- no dataset url='./none.idx' -->" + "<!--" * 900_000,
    )
    assert urls(tmp_path / "in", "visus.midx") == ["./A/visus.idx"]
    for number in range(MAX_MIDX + 10):
        midx(tmp_path / "ring" / f"{number}.midx", f"./{(number + 1) % (MAX_MIDX + 10)}.midx")
    with pytest.raises(TooLarge, match=r"0\.midx composes more than"):
        registry.probe("IDX", *find_files([tmp_path / "ring"]), {})


# --- repack --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arco", [False, True])
def test_repack_writes_every_sample_anew(tmp_path: Path, arco: bool) -> None:
    arrays = made(tmp_path / "in" / "scan.idx", steps=3, arco=arco)
    metadata = run(tmp_path / "in", tmp_path / "out", repack=True, codec="fast")
    assert (metadata["format"], metadata["datasets"][0]["steps"]) == ("idx", 3)
    with Dataset.open(tmp_path / "out" / "visus.idx") as dataset:
        assert dataset.header.fields[0].codec == "lz4"
        for step, array in enumerate(arrays):
            assert np.array_equal(dataset.read(step=step, field="a"), array)
            assert np.array_equal(dataset.read(step=step, field="rgb"), pattern((*SHAPE, 3), "u1", step))


def test_boxes_of_a_dataset_that_is_to_be_repacked(tmp_path: Path) -> None:
    made(tmp_path / "in" / "visus.idx", steps=2)
    root, files = find_files([tmp_path / "in"])
    for made_volume in registry.probe("IDX", root, files, {"repack": "yes"}).volumes:
        whole = read_all(registry, root, made_volume)
        assert whole.shape[:4] == (2, *SHAPE)
        check_boxes(registry, root, made_volume, whole, seed=5)


@pytest.mark.parametrize("time", ["t%d/ (1,1,1) (0,0,1)", "t%d/ (0,1,1) (1,1,1)"])
def test_repack_refuses_time_steps_that_come_twice_or_out_of_order(tmp_path: Path, time: str) -> None:
    made(tmp_path / "in" / "visus.idx", steps=2)
    path = tmp_path / "in" / "visus.idx"
    path.write_text(path.read_text().replace("0 1 %04d/", time))
    with pytest.raises(Unsupported, match="out of order"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {"repack": True})


def test_repack_refuses_what_is_missing(tmp_path: Path) -> None:
    made(tmp_path / "in" / "visus.idx")
    files_of(tmp_path / "in")[-1].unlink()
    with pytest.raises(MissingSource, match="block"):
        convert(job(tmp_path / "in", repack=True), tmp_path / "out", Serial())
    with pytest.raises(BadParameter, match="repack"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {"repack": "perhaps"})
    midx(tmp_path / "in" / "visus.midx", "visus.idx")
    with pytest.raises(Unsupported, match="dataset"):
        registry.probe("IDX", *find_files([tmp_path / "in"]), {"repack": True})


# --- plans ---------------------------------------------------------------------------------------


def test_the_check_of_a_large_dataset_is_many_tasks(tmp_path: Path) -> None:
    links = (("a.idx", "visus.idx"),)
    source = Source("idx", links=links, linked=(Linked("visus.idx", 10 * CHECK_BYTES, 1 << 20),))
    plan = make_plan(tmp_path, "IDX", (), {}, source, PlanChoices())
    checks = [task for task in plan.tasks if task.kind == "check"]
    assert [task.part for task in checks] == [(i, 10) for i in range(10)]
    assert all(task.after == ("link-0",) for task in checks)


def test_no_dataset_of_a_result_is_called_visus_where_arco_data_lie() -> None:
    names = ("visus", "Visus", "visus_", "0123abcd", "other")
    volumes = tuple(volume((4, 4), dataset=name, name=name) for name in names)
    labels = [grid.name for grid in grids_for(volumes, "cloud", 1 << 20)]
    assert len({label.lower() for label in labels}) == len(labels)
    assert not {"visus", "0123abcd"} & {label.lower() for label in labels}
