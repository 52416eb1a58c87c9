"""NeXus files as beamlines write them: the signals that the file itself names, exactly, or a refusal by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters import registry
from converters.nxscan import normalised
from converters.prepare import find_files
from converters.volume import Array, Source
from scray.errors import BadParameter
from tests.formats import pattern
from tests.quirks import Expected, Quirk, Quirks, compare, h5, outcome

quirk = Quirks("4D_NEXUS")
CUBE = (3, 4, 5)


def group(parent: Any, name: str, kind: Any, **attributes: Any) -> Any:
    made = parent.create_group(name)
    made.attrs.update({"NX_class": kind, **attributes})
    return made


def cube(dtype: Any = "<f4", seed: int = 0) -> Array:
    return pattern(CUBE, dtype, seed)


# --- what the file calls its data ---------------------------------------------------------------


@quirk
def the_default_leads_through_entry_and_data(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file.attrs["default"] = "second"
        for name in ("first", "second"):
            entry = group(file, name, "NXentry", default="plot")
            group(entry, "other", "NXdata", signal="v")["v"] = cube(seed=1)
            group(entry, "plot", "NXdata", signal="v")["v"] = cube(seed=2)
    return {
        "/second/plot/v": cube(seed=2),
        "/first/other/v": cube(seed=1),
        "/first/plot/v": cube(seed=2),
        "/second/other/v": cube(seed=1),
    }


@quirk
def the_default_is_a_soft_link(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file.attrs["default"] = "1.1"
        entry = group(file, "1.1", "NXentry", default="plotselect")
        data = group(entry, "measurement", "NXdata", signal="det")
        data["det"], data["flat"] = cube("<u4"), np.ones((9, 9, 9))
        entry["plotselect"] = h5py.SoftLink("/1.1/measurement")
    return {"/1.1/plotselect/det": cube("<u4")}


@quirk
def the_default_names_an_entry_alone(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file.attrs["default"] = "two"
        for name, seed in (("one", 1), ("two", 2)):
            group(group(file, name, "NXentry"), "data", "NXdata", signal="v")["v"] = cube(seed=seed)
    return {"/two/data/v": cube(seed=2), "/one/data/v": cube(seed=1)}


@quirk
def the_default_of_an_entry_was_not_saved(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        entry = group(file, "entry", "NXentry", default="lost")
        group(entry, "lost", "NXdata", signal="v")["v"] = h5py.ExternalLink("gone.h5", "/v")
        group(entry, "saved", "NXdata", signal="v")["v"] = cube()
    return {"/entry/saved/v": cube()}


@quirk
def the_default_begins_at_the_entry(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        entry = group(file, "entry", "NXentry", default="shown")
        group(entry, "another", "NXdata", signal="v")["v"] = cube(seed=1)
        group(entry, "shown", "NXdata", signal="v")["v"] = cube()[0]
    return {"/entry/shown/v": cube()[0], "/entry/another/v": cube(seed=1)}


@quirk
def the_defaults_of_two_entries(folder: Path) -> Expected:
    """The one of more axes, as where nothing is said."""
    with h5(folder, "a.nxs") as file:
        for name, values in (("align", cube(seed=1)[0]), ("scan", cube())):
            entry = group(file, name, "NXentry", default="data")
            group(entry, "data", "NXdata", signal="v")["v"] = values
    return {"/scan/data/v": cube(), "/align/data/v": cube(seed=1)[0]}


@quirk
def the_default_leads_nowhere(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file.attrs["default"] = "gone"
        group(group(file, "entry", "NXentry"), "data", "NXdata", signal="v")["v"] = cube()
    return {"/entry/data/v": cube()}


@quirk
def the_default_goes_in_a_circle(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file.attrs["default"] = "entry"
        entry = group(file, "entry", "NXentry", default="/entry")
        group(entry, "data", "NXdata", signal="v")["v"] = cube()
    return {"/entry/data/v": cube()}


@quirk
def signals_before_2014(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata")
        data["counts"], data["sigma"] = cube("<i4"), cube("<f8", 1)
        data["counts"].attrs["signal"] = np.int32(1)
    return {"/entry/data/counts": cube("<i4")}


@quirk
def a_mark_that_matlab_wrote(folder: Path) -> Expected:
    with h5(folder) as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata")
        data["larger"] = np.zeros((50, 60))
        data["counts"] = cube()
        data["counts"].attrs["signal"] = 1.0
    return {"/entry/data/counts": cube()}


@quirk
def attributes_as_bytes_and_arrays(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        entry = group(file, "entry", np.array([b"NXentry"]))
        data = group(entry, "data", np.bytes_(b"NXdata"), signal=np.array(["a:b"], h5py.string_dtype()))
        data["a:b"], data["a"] = cube(), cube(seed=1)
    return {"/entry/data/a:b": cube()}


@quirk
def auxiliary_signals(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        entry = group(file, "entry", "NXentry")
        data = group(entry, "data", "NXdata", signal="fe", auxiliary_signals=["ca", "line"])
        data["fe"], data["ca"], data["line"], data["unnamed"] = cube(), cube(seed=1), np.arange(9.0), cube(seed=3)
    return {"/entry/data/fe": cube(), "/entry/data/ca": cube(seed=1)}


@quirk
def a_signal_of_one_axis_beside_a_detector(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        entry = group(file, "entry", "NXentry")
        group(entry, "data", "NXdata", signal="sum")["sum"] = np.arange(9.0)
        group(group(entry, "instrument", "NXinstrument"), "det", "NXdetector")["data"] = cube()
    return {"/entry/data/sum": np.arange(9.0), "/entry/instrument/det/data": cube()}


@quirk
def no_class_says_anything(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file["data"], file["scan/volume"] = np.arange(50.0), cube()
    return {"/scan/volume": cube()}


@quirk
def a_signal_that_is_text(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", signal="words")
        data["words"], file["entry/numbers"] = ["a", "b"], cube()
    return {"/entry/numbers": cube()}


@quirk.of(dataset="/entry/data/ca")
def one_dataset_by_name(folder: Path) -> Expected:
    auxiliary_signals(folder)
    return {"/entry/data/ca": cube(seed=1)}


# --- detectors that write several files ---------------------------------------------------------


def eiger(folder: Path, numbers: Any = (1, 2, 3), **attributes: Any) -> Array:
    frames = pattern((7, 4, 5), "<u4")
    with h5(folder, "run_master.h5") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", **attributes)
        for number in numbers:
            data[f"data_{number:06d}"] = h5py.ExternalLink(f"run_data_{number:06d}.h5", "/entry/data/data")
        file["entry/instrument/detector/flatfield"] = np.ones((4, 5), "f4")
    for number, (start, stop) in {1: (0, 3), 2: (3, 6), 3: (6, 7)}.items():
        with h5(folder, f"run_data_{number:06d}.h5") as file:
            file.create_dataset("entry/data/data", data=frames[start:stop], chunks=(1, 4, 5), compression="lzf")
    return frames


@quirk
def an_eiger_run(folder: Path) -> Expected:
    return {"/entry/data/data_000001": eiger(folder)}


@quirk
def an_eiger_run_with_a_signal(folder: Path) -> Expected:
    return {"/entry/data/data_000001": eiger(folder, signal="data_000001")}


@quirk
def an_eiger_run_beside_something_larger(folder: Path) -> Expected:
    frames = eiger(folder)
    with h5py.File(folder / "run_master.h5", "a") as file:
        file["entry/instrument/detector/detectorSpecific/trimbits"] = np.zeros((50, 60), "u1")
    return {"/entry/data/data_000001": frames}


@quirk.of(dataset="/entry/data/data_000002")
def one_file_of_an_eiger_run(folder: Path) -> Expected:
    return {"/entry/data/data_000002": eiger(folder)[3:6]}


@quirk
def an_eiger_run_without_one_file(folder: Path) -> Expected:
    eiger(folder)
    (folder / "run_data_000002.h5").unlink()
    return "missing-source"


@quirk
def an_eiger_run_without_its_first_file(folder: Path) -> Expected:
    eiger(folder)
    (folder / "run_data_000001.h5").unlink()
    return "missing-source"


@quirk
def an_eiger_run_with_a_gap(folder: Path) -> Expected:
    eiger(folder, (1, 3))
    return "missing-source"


@quirk
def an_eiger_master_alone(folder: Path) -> Expected:
    eiger(folder)
    for path in folder.glob("run_data*"):
        path.unlink()
    return "missing-source"


@quirk
def pieces_of_different_size(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        file["g/data_000001"], file["g/data_000002"] = cube(), np.zeros((2, 2, 2), "f4")
    return {"/g/data_000001": cube()}


@quirk
def an_nxmx_master_with_a_virtual_dataset(folder: Path) -> Expected:
    frames = eiger(folder)
    layout = h5py.VirtualLayout((7, 4, 5), "<u4")
    for number, (start, stop) in {1: (0, 3), 2: (3, 6), 3: (6, 7)}.items():
        source = h5py.VirtualSource(f"run_data_{number:06d}.h5", "/entry/data/data", (stop - start, 4, 5))
        layout[start:stop] = source
    with h5py.File(folder / "run_master.h5", "a") as file:
        file["entry/data"].attrs["signal"] = "data"
        file.create_virtual_dataset("entry/data/data", layout)
    return {"/entry/data/data": frames}


@quirk
def the_data_are_beside_under_an_absolute_path(folder: Path) -> Expected:
    with h5(folder, "raw.h5") as file:
        file["d"] = cube()
    with h5(folder, "a.nxs") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", signal="d")
        data["d"] = h5py.ExternalLink("/beamline/2026/raw.h5", "/d")
    return {"/entry/data/d": cube()}


@quirk
def the_data_were_left_at_home(folder: Path) -> Expected:
    with h5(folder, "a.nxs") as file:
        entry = group(file, "entry", "NXentry", default="data")
        file.attrs["default"] = "entry"
        group(entry, "data", "NXdata", signal="d")["d"] = h5py.ExternalLink("/beamline/2026/raw.h5", "/d")
        entry["flat"] = np.zeros((50, 50))
    return "missing-source"


@quirk
def an_xml_file(folder: Path) -> Expected:
    (folder / "a.nxs").write_text('<?xml version="1.0"?><NXroot NeXus_version="4.3.0"/>')
    return "wrong-sensor"


@quirk
def an_hdf4_file(folder: Path) -> Expected:
    (folder / "a.nxs").write_bytes(b"\x0e\x03\x13\x01" + bytes(2000))
    return "wrong-sensor"


# --- scans in four dimensions -------------------------------------------------------------------


def scan(folder: Path, **change: Any) -> dict[str, Array]:
    """A scan as dashboards expect it."""
    arrays = {
        "data/PIL11": pattern((3, 4, 5, 6), "<u2"),
        "data/samx": np.linspace(0, 1, 3),
        "data/samz": np.linspace(0, 1, 4),
        "scalar_data/presample_intensity": np.arange(12, dtype="<f8") + 1,
        "scalar_data/postsample_intensity": np.arange(12, dtype="<i4").reshape(3, 4) % 5,
    } | change
    with h5(folder, "scan.nxs") as file:
        entry = group(file, "entry", "NXentry")
        for name, values in arrays.items():
            entry[name] = values
    return {f"/entry/{name}": values for name, values in arrays.items()}


def converted(arrays: dict[str, Array]) -> dict[str, Array]:
    volume, before, behind = (
        f"/entry/{name}"
        for name in ("data/PIL11", "scalar_data/presample_intensity", "scalar_data/postsample_intensity")
    )
    preview = normalised(arrays[before].reshape(3, 4), arrays[behind].reshape(3, 4))
    return {**{k: arrays[k] for k in (volume, before, behind)}, f"{before} / {behind}": preview}


@quirk
def intensities_are_found_by_name_and_size(folder: Path) -> Expected:
    return converted(scan(folder))


@quirk.of(
    volume="/entry/data/PIL11",
    presample="entry/scalar_data/presample_intensity",
    postsample_dataset="entry/scalar_data/postsample_intensity",
    Xs="entry/data/samx",
    Ys_dataset="entry/data/samz",
)
def intensities_are_named(folder: Path) -> Expected:
    return converted(scan(folder))


@quirk
def intensities_of_another_size_are_something_else(folder: Path) -> Expected:
    arrays = scan(folder, **{"scalar_data/presample_intensity": np.arange(7.0)})
    chosen = ("/entry/data/PIL11", "/entry/scalar_data/postsample_intensity")
    return {name: arrays[name] for name in chosen}


@pytest.mark.parametrize("quirk", quirk, ids=str)
def test_exact_or_refused(quirk: Quirk, tmp_path: Path) -> None:
    expected = quirk.build(tmp_path)
    compare(outcome(tmp_path, quirk), expected)


def probe(folder: Path, **parameters: Any) -> Source:
    root, files = find_files([folder])
    return registry.probe("4D_NEXUS", root, files, parameters)


def test_scan_coordinates_are_told_and_checked(tmp_path: Path) -> None:
    scan(tmp_path)
    source = probe(tmp_path)
    roles = source.metadata["nexus"]["roles"]
    assert (roles["Xs"][0]["path"], roles["Xs"][0]["values"]) == ("/entry/data/samx", [0.0, 0.5, 1.0])
    assert len(roles["Ys"][0]["values"]) == 4
    assert any("Ys was not named; /entry/data/samz" in note for note in source.notes)
    wrong = probe(tmp_path, volume="entry/data/PIL11", Xs="entry/data/samz", presample="entry/data/samx")
    assert [note.split(":")[0] for note in wrong.notes if "does not fit" in note] == ["presample", "Xs"]
    with pytest.raises(BadParameter, match="/entry/data/PIL11"):
        probe(tmp_path, presample="entry/nothing")


def test_coordinates_of_every_age(tmp_path: Path) -> None:
    with h5(tmp_path, "a.nxs") as file:
        entry = group(file, "entry", "NXentry")
        for name, axes in (("listed", ["z", ".", "x"]), ("colons", "z:y:x"), ("old", None)):
            data = group(entry, name, "NXdata", signal="v")
            data["v"] = cube()
            for number, (key, length) in enumerate(zip("zyx", CUBE, strict=True)):
                data[key] = np.arange(float(length))
                if axes is None:
                    data[key].attrs["axis"] = number + 1
            if axes is not None:
                (data if name == "listed" else data["v"]).attrs["axes"] = axes
    axes = probe(tmp_path).metadata["nexus"]["axes"]
    assert {path.split("/")[2]: list(found) for path, found in axes.items()} == {
        "listed": ["z", "x"],
        "colons": ["z", "y", "x"],
        "old": ["z", "y", "x"],
    }
    assert axes["/entry/old/v"]["y"]["values"] == [0.0, 1.0, 2.0, 3.0]


def test_coordinates_beside_links_that_lead_nowhere(tmp_path: Path) -> None:
    with h5(tmp_path, "a.nxs") as file:
        data = group(group(file, "entry", "NXentry"), "old", "NXdata", signal="v")
        data["v"] = cube()
        data["z"] = np.arange(float(CUBE[0]))
        data["z"].attrs["axis"] = 1
        data["gone"], data["away"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("away.h5", "/x")
    assert list(probe(tmp_path).metadata["nexus"]["axes"]["/entry/old/v"]) == ["z"]


def test_the_ratio_of_intensities() -> None:
    before = np.array([[1, 2], [0, np.nan]])
    behind = np.array([[2.0, 1.0], [0.0, 1.0]])
    assert normalised(before, behind).tolist() == [[0.25, 1.0], [0.0, 0.0]]
    assert normalised(np.ones((2, 2)), np.ones((2, 2))).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    huge = normalised(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
    assert huge.dtype == "<f4"
    assert huge.tolist() == [[1.0, 0.0]]
