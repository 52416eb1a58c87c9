"""HDF5 and NeXus: the right dataset, its exact bits, and no way out of the dataset's own folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import h5links, hdf5, nexus
from converters.bricks import chunk_bytes
from converters.volume import Source, Volume
from scray.errors import (
    BadInput,
    BadParameter,
    EmptyInput,
    HostileInput,
    MissingFilter,
    MissingSource,
    MixedInput,
    NothingToConvert,
    ScrayError,
    TooLarge,
    TruncatedInput,
    UnsafePath,
    Unsupported,
)
from tests.formats import DATA, check_boxes, pattern, read_all


def create(path: Path, **datasets: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values


def probe_one(root: Path, *files: str, form: Any = hdf5, **parameters: Any) -> Volume:
    volumes = form.probe(root, files, parameters).volumes
    assert len(volumes) == 1
    volume: Volume = volumes[0]
    return volume


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "<u2", ">u2", ">i4", "<i8", ">u8", "<f4", ">f4", ">f8", "<f8", "?", "<f2", ">f2"]
)
@pytest.mark.parametrize("how", [{}, {"chunks": (2, 5, 3), "compression": "gzip"}, {"chunks": (1, 7, 9)}])
def test_every_type_is_read_exactly(tmp_path: Path, dtype: str, how: dict[str, Any]) -> None:
    array = pattern((4, 7, 9), "u1").astype(bool) if dtype == "?" else pattern((4, 7, 9), dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/data", data=array, **how)
    volume = probe_one(tmp_path, "a.h5")
    expected = array.astype(volume.dtype)
    assert (volume.selector, volume.space, volume.compressed) == ("/g/data", (4, 7, 9), "compression" in how)
    assert volume.chunks == how.get("chunks", (1, 1, 9))
    assert read_all(hdf5, tmp_path, volume)[0].tobytes() == expected.tobytes()
    check_boxes(hdf5, tmp_path, volume, expected[None], 1)


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(1, 6), min_size=0, max_size=7).map(tuple), seed=st.integers(0, 99))
def test_any_rank(tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], seed: int) -> None:
    root = tmp_path_factory.mktemp("t")
    array = pattern(shape, "<i4", seed)
    create(root / "a.h5", data=array)
    volume = probe_one(root, "a.h5")
    whole = read_all(hdf5, root, volume)
    assert whole.tobytes() == array.tobytes()
    assert len(volume.space) <= 5
    check_boxes(hdf5, root, volume, whole, seed, 3)


def test_a_filter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 4))
        properties.set_filter(305, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((8, 8))
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_INT32, space, properties)
    with pytest.raises(MissingFilter, match="305"):
        hdf5.probe(tmp_path, ("a.h5",), {})


def test_complex_and_compound_are_split(tmp_path: Path) -> None:
    values = pattern((3, 4), "<c16")
    table = pattern((3, 4), [("x", ">f4"), ("n", "<u2"), ("z", "<c8")])
    create(tmp_path / "c.h5", data=values)
    create(tmp_path / "t.h5", data=table)
    volumes = hdf5.probe(tmp_path, ("c.h5",), {}).volumes
    assert [(v.name, v.dtype, v.dataset) for v in volumes] == [("data_re", "<f8", ""), ("data_im", "<f8", "")]
    assert read_all(hdf5, tmp_path, volumes[1])[0].tobytes() == values.imag.tobytes()
    fields = hdf5.probe(tmp_path, ("t.h5",), {}).volumes
    assert [v.name for v in fields] == ["data_x", "data_n", "data_z_re", "data_z_im"]
    for volume, expected in zip(fields, (table["x"], table["n"], table["z"].real, table["z"].imag), strict=True):
        assert read_all(hdf5, tmp_path, volume)[0].tobytes() == expected.astype(volume.dtype).tobytes()


def test_the_largest_wins_unless_something_near_has_more_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["plane"] = np.zeros((100, 100), "u1")
        file["tiny"] = np.zeros((2, 2, 2), "f8")
        file["text"] = ["a", "b"]
    source = hdf5.probe(tmp_path, ("a.h5",), {})
    assert source.volumes[0].selector == "/plane"
    assert any("/tiny" in other for other in source.metadata["other_datasets"])
    assert any("/text" in other for other in source.metadata["not_numeric"])
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["movie"] = np.zeros((10, 10, 10), "u1")
    assert probe_one(tmp_path, "a.h5").selector == "/movie"


def test_a_parameter_names_datasets(tmp_path: Path) -> None:
    create(tmp_path / "a.h5", **{"g/a": np.zeros((4, 4)), "g/b": np.ones((2, 2))})
    assert probe_one(tmp_path, "a.h5", dataset="g/b").selector == "/g/b"
    both = hdf5.probe(tmp_path, ("a.h5",), {"dataset": "/g/b, g/a"}).volumes
    assert [(v.selector, v.dataset) for v in both] == [("/g/b", "g_b"), ("/g/a", "g_a")]
    with pytest.raises(BadParameter, match="/g/a"):
        hdf5.probe(tmp_path, ("a.h5",), {"dataset": "/g/c"})
    with pytest.raises(BadInput, match="not a dataset"):
        hdf5.probe(tmp_path, ("a.h5",), {"dataset": "/g"})


def test_true_colour_images_have_components(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        image = file.create_dataset("image", data=pattern((8, 9, 3), "u1"))
        image.attrs["CLASS"] = np.bytes_("IMAGE")
        image.attrs["IMAGE_SUBCLASS"] = np.bytes_("IMAGE_TRUECOLOR")
        image.attrs["INTERLACE_MODE"] = np.bytes_("INTERLACE_PIXEL")
        expected = image[...]
    volume = probe_one(tmp_path, "a.h5")
    assert (volume.space, volume.components) == ((8, 9), 3)
    assert read_all(hdf5, tmp_path, volume)[0].tobytes() == expected.tobytes()


def test_virtual_datasets_and_links_inside_the_folder_work(tmp_path: Path) -> None:
    array = pattern((3, 5, 6), "<u2")
    (tmp_path / "raw").mkdir()
    layout = h5py.VirtualLayout((3, 5, 6), "<u2")
    for i, plane in enumerate(array):
        with h5py.File(tmp_path / "raw" / f"{i}.h5", "w") as file:
            file.create_dataset("data", data=plane, chunks=(5, 2), compression="gzip")
        layout[i] = h5py.VirtualSource(f"raw/{i}.h5", "data", (5, 6))
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
        file["soft"] = h5py.SoftLink("/v")
        file["out"] = h5py.ExternalLink("raw/1.h5", "data")
    files = ("master.h5", "raw/0.h5", "raw/1.h5", "raw/2.h5")
    volume = probe_one(tmp_path, *files)
    assert volume.selector == "/v"
    assert read_all(hdf5, tmp_path, volume)[0].tobytes() == array.tobytes()
    linked = probe_one(tmp_path, *files, dataset="out")
    assert read_all(hdf5, tmp_path, linked)[0].tobytes() == array[1].tobytes()
    assert read_all(hdf5, tmp_path, probe_one(tmp_path, *files, dataset="soft"))[0].tobytes() == array.tobytes()
    (tmp_path / "raw" / "2.h5").unlink()
    with pytest.raises(MissingSource, match=r"raw/2\.h5"):
        hdf5.probe(tmp_path, files[:3], {})
    with pytest.raises(MissingSource):
        hdf5.open_volume(tmp_path, volume)


@pytest.mark.parametrize("columns", [slice(0, 8), slice(2, 8)])
def test_a_virtual_source_that_is_too_small_is_not_filled_in(tmp_path: Path, columns: slice) -> None:
    create(tmp_path / "raw.h5", data=np.ones((4, 4), "u1"))
    layout = h5py.VirtualLayout((4, columns.stop - columns.start), "u1")
    layout[:, :] = h5py.VirtualSource("raw.h5", "data", (4, 8))[:, columns]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    with pytest.raises(BadInput):
        read_all(hdf5, tmp_path, probe_one(tmp_path, "m.h5", "raw.h5", dataset="v"))


def virtual(name: str) -> Callable[[h5py.File], None]:
    def build(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((4, 4), "u1")
        layout[:, :] = h5py.VirtualSource(name, "data", (4, 4))
        file.create_virtual_dataset("data", layout)

    return build


def external_link(name: str) -> Callable[[h5py.File], None]:
    def build(file: h5py.File) -> None:
        file["data"] = h5py.ExternalLink(name, "data")

    return build


def external_storage(name: str) -> Callable[[h5py.File], None]:
    def build(file: h5py.File) -> None:
        file.create_dataset("data", (4, 4), "u1", external=[(name, 0, 16)])

    return build


@pytest.mark.parametrize("build", [virtual, external_link, external_storage])
@pytest.mark.parametrize("form", [hdf5, nexus])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, build: Any, form: Any) -> None:
    inner = tmp_path / "upload"
    inner.mkdir()
    create(tmp_path / "secret.h5", data=np.full((4, 4), 7, "u1"))
    for name in ("../secret.h5", str(tmp_path / "secret.h5")):
        with h5py.File(inner / "a.h5", "w") as file:
            build(name)(file)
        for parameters in ({}, {"dataset": "data"}):
            with pytest.raises(UnsafePath, match=r"secret\.h5"):
                form.probe(inner, ("a.h5",), parameters)
    (inner / "link.h5").symlink_to(tmp_path / "secret.h5")
    with h5py.File(inner / "a.h5", "w") as file:
        build("link.h5")(file)
    with pytest.raises(UnsafePath):
        form.probe(inner, ("a.h5",), {"dataset": "data"})
    with h5py.File(inner / "a.h5", "w") as file:
        build("absent.h5")(file)
    with pytest.raises(MissingSource, match=r"absent\.h5"):
        form.probe(inner, ("a.h5",), {"dataset": "data"})


def test_external_storage_inside_the_folder(tmp_path: Path) -> None:
    array = pattern((4, 4), "u1")
    (tmp_path / "raw.bin").write_bytes(array.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        external_storage("raw.bin")(file)
    assert read_all(hdf5, tmp_path, probe_one(tmp_path, "a.h5"))[0].tobytes() == array.tobytes()
    (tmp_path / "raw.bin").write_bytes(b"short")
    with pytest.raises(TruncatedInput):
        hdf5.probe(tmp_path, ("a.h5",), {})
    with h5py.File(tmp_path / "m.h5", "w") as file:
        virtual("a.h5")(file)
    with pytest.raises(Unsupported):
        hdf5.probe(tmp_path, ("m.h5",), {})


def test_an_absolute_link_to_a_file_that_lies_beside(tmp_path: Path) -> None:
    array = pattern((4, 4), "u1")
    create(tmp_path / "raw.h5", data=array)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        external_link("/beamline/2026/raw.h5")(file)
    volume = probe_one(tmp_path, "m.h5", "raw.h5", dataset="data")
    assert read_all(hdf5, tmp_path, volume)[0].tobytes() == array.tobytes()


def test_links_in_circles_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("g")
        group["up"] = file["/"]
        file["s"] = h5py.SoftLink("/t")
        file["t"] = h5py.SoftLink("/s")
        file["self"] = h5py.ExternalLink("a.h5", "/self")
    with pytest.raises(ScrayError):
        hdf5.probe(tmp_path, ("a.h5",), {})
    with pytest.raises(HostileInput, match="circle"):
        hdf5.probe(tmp_path, ("a.h5",), {"dataset": "s"})
    with pytest.raises(HostileInput, match="circle"):
        hdf5.probe(tmp_path, ("a.h5",), {"dataset": "self"})
    with pytest.raises(NothingToConvert):
        hdf5.probe(DATA, ("tloop.h5",), {})


def test_a_virtual_dataset_of_itself_ends(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        virtual("b.h5")(file)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        virtual("a.h5")(file)
    with pytest.raises(HostileInput):
        hdf5.probe(tmp_path, ("a.h5", "b.h5"), {"dataset": "data"})


def test_what_is_too_large_is_refused_before_reading(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (1 << 30, 1 << 30), "f8", chunks=(64, 64))
    with pytest.raises(TooLarge):
        hdf5.probe(tmp_path, ("a.h5",), {})


def test_files_without_a_master_are_time_steps(tmp_path: Path) -> None:
    array = pattern((3, 4, 5, 6), "<f4")
    for i, step in enumerate(array):
        create(tmp_path / f"{i}.h5", data=step)
    volume = probe_one(tmp_path, "0.h5", "1.h5", "2.h5")
    assert (volume.steps, volume.space) == (3, (4, 5, 6))
    assert read_all(hdf5, tmp_path, volume).tobytes() == array.tobytes()
    check_boxes(hdf5, tmp_path, volume, array, 2)
    create(tmp_path / "3.h5", data=np.zeros((4, 5, 7), "f4"))
    with pytest.raises(MixedInput, match=r"3\.h5"):
        hdf5.probe(tmp_path, ("0.h5", "3.h5"), {})


def test_real_and_broken_files() -> None:
    assert probe_one(DATA, "ref_szip.h5").compressed
    assert probe_one(DATA, "float.h5", dataset="/float16").dtype == "<f4"
    with pytest.raises(Unsupported, match="longdouble"):
        hdf5.probe(DATA, ("float.h5",), {"dataset": "/longdouble"})
    with pytest.raises(TooLarge, match="4294967306 bytes, of which 2048 were ever written"):
        hdf5.probe(DATA, ("tbigdims.h5",), {})
    with pytest.raises(BadInput):
        hdf5.probe(DATA, ("cve_2020_10810.h5",), {})
    with pytest.raises(EmptyInput):
        hdf5.probe(DATA, (), {})


def test_a_file_cut_short_is_an_error(tmp_path: Path) -> None:
    create(tmp_path / "a.h5", data=pattern((50, 50), "f8"))
    data = (tmp_path / "a.h5").read_bytes()
    for part in range(1, 10):
        (tmp_path / "cut.h5").write_bytes(data[: len(data) * part // 10])
        with pytest.raises(BadInput):
            hdf5.probe(tmp_path, ("cut.h5",), {})


def nexus_file(path: Path, *, explicit: bool = False, classic: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {"small": pattern((4, 5), "<f4"), "cube": pattern((3, 4, 5), "<f4", 1)}
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        for name, values in arrays.items():
            group = entry.create_group(name)
            group.attrs["NX_class"] = np.array([b"NXdata"])
            group["values"] = values
            group["x"] = np.arange(values.shape[-1]) * 0.5
            group["x"].attrs["units"] = "mm"
            group.attrs["axes"] = [".", "x"] if values.ndim == 2 else [".", ".", "x"]
            if classic:
                group["values"].attrs["signal"] = 1
            else:
                group.attrs["signal"] = np.array([b"values"])
        entry["big_calibration"] = np.zeros((50, 50, 50), "u1")
        if explicit:
            file.attrs["default"], entry.attrs["default"] = "entry", "small"
    return arrays


@pytest.mark.parametrize("classic", [False, True])
def test_the_signal_of_most_axes_comes_first(tmp_path: Path, classic: bool) -> None:
    arrays = nexus_file(tmp_path / "a.nxs", classic=classic)
    source: Source = nexus.probe(tmp_path, ("a.nxs",), {})
    assert [v.selector for v in source.volumes] == ["/entry/cube/values", "/entry/small/values"]
    assert [v.dataset for v in source.volumes] == ["entry_cube_values", "entry_small_values"]
    for volume, name in zip(source.volumes, ("cube", "small"), strict=True):
        assert read_all(nexus, tmp_path, volume)[0].tobytes() == arrays[name].tobytes()
    axes = source.metadata["nexus"]["axes"]["/entry/cube/values"]
    assert axes["x"] == {"path": "/entry/cube/x", "units": "mm", "values": [0.0, 0.5, 1.0, 1.5, 2.0]}
    assert probe_one(tmp_path, "a.nxs").selector == "/entry/cube/values"


def test_an_explicit_default_comes_first(tmp_path: Path) -> None:
    nexus_file(tmp_path / "a.nxs", explicit=True)
    assert nexus.probe(tmp_path, ("a.nxs",), {}).volumes[0].selector == "/entry/small/values"


def test_four_d_parameters_in_both_spellings(tmp_path: Path) -> None:
    nexus_file(tmp_path / "a.nxs")
    parameters = {"volume_dataset": "entry/small/values", "Xs": "/entry/small/x", "presample_dataset": "entry/cube/x"}
    source = nexus.probe(tmp_path, ("a.nxs",), parameters)
    assert [v.selector for v in source.volumes] == ["/entry/small/values", "/entry/cube/x"]
    assert source.metadata["nexus"]["roles"]["Xs"][0]["shape"] == [5]
    assert source.metadata["nexus"]["roles"]["Xs"][0]["values"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    with pytest.raises(BadParameter, match="big_calibration"):
        nexus.probe(tmp_path, ("a.nxs",), {"Ys": "/entry/nothing"})
    with pytest.raises(BadParameter, match="mean the same"):
        nexus.probe(tmp_path, ("a.nxs",), {"volume": "a", "volume_dataset": "b"})


def test_a_signal_that_is_elsewhere_is_missed_not_replaced(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        group = file.create_group("entry/data")
        group.attrs["NX_class"], group.attrs["signal"] = "NXdata", "data"
        group["data"] = h5py.ExternalLink("/beamline/raw.h5", "/data")
        file["entry/angles"] = np.arange(500.0)
        file["entry/flat"] = np.zeros((9, 9))
    for form in (hdf5, nexus):
        with pytest.raises(MissingSource, match=r"raw\.h5"):
            form.probe(tmp_path, ("a.nxs",), {})


def test_a_one_dimensional_signal() -> None:
    volume = probe_one(DATA, "writer_1_3.hdf5", form=nexus)
    assert (volume.selector, volume.space) == ("/Scan/data/counts", (31,))


def test_the_walk_stops_at_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path / "a.h5", **{f"d{i}": np.zeros(2) for i in range(30)})
    monkeypatch.setattr("converters.h5walk.MAX_OBJECTS", 10)
    with pytest.raises(TooLarge, match="dataset"):
        hdf5.probe(tmp_path, ("a.h5",), {})
    for module in (hdf5, nexus):
        (volume,) = module.probe(tmp_path, ("a.h5",), {"dataset": "/d29"}).volumes  # as the error says
        assert volume.selector == "/d29"


def test_a_store_opens_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5links, "MAX_FILES", 1)
    create(tmp_path / "a.h5", data=1)
    create(tmp_path / "b.h5", data=1)
    with h5links.H5Store(tmp_path) as store:
        store.file("a.h5")
        with pytest.raises(TooLarge):
            store.file("b.h5")


def test_printf_sources_are_found_as_far_as_they_exist(tmp_path: Path) -> None:
    array = pattern((3, 4, 5), "u1")
    for i, block in enumerate(array):
        create(tmp_path / f"f-{i}.h5", data=block[None])
    with h5py.File(tmp_path / "m.h5", "w") as file:
        extent = h5py.h5s.create_simple((3, 4, 5), (h5py.h5s.UNLIMITED, 4, 5))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        target = extent.copy()
        target.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (1, 1, 1), (1, 4, 5))
        properties.set_virtual(target, b"f-%b.h5", b"data", h5py.h5s.create_simple((1, 4, 5)))
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_UINT8, extent, properties)
    volume = probe_one(tmp_path, "m.h5", "f-0.h5", "f-1.h5", "f-2.h5", dataset="v")
    assert read_all(hdf5, tmp_path, volume)[0].tobytes() == array.tobytes()
    (tmp_path / "f-0.h5").unlink()
    with pytest.raises(MissingSource, match="f-0"):
        hdf5.probe(tmp_path, ("m.h5",), {"dataset": "v"})


def test_a_file_of_text_says_what_it_has(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["names"] = ["a", "b"]
        file["none"] = np.zeros((0, 4))
    with pytest.raises(NothingToConvert, match=r"/names: object.*/none: empty"):
        hdf5.probe(tmp_path, ("a.h5",), {})
    create(tmp_path / "t.h5", data=np.zeros(3, [("s", "S4"), ("n", "f16")]))
    with pytest.raises(Unsupported, match="table without a column of numbers: s "):
        hdf5.probe(tmp_path, ("t.h5",), {"dataset": "data"})


def test_paths_of_a_parameter() -> None:
    assert hdf5.paths_of(["a", "/b/"]) == ["/a", "/b"]
    assert hdf5.paths_of(" /a , b ,, ") == ["/a", "/b"]
    assert hdf5.paths_of(None) == []


def test_dimension_labels_name_the_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((3, 4))
        file["data"].dims[0].label, file["data"].dims[1].label = "angle", "column"
    assert probe_one(tmp_path, "a.h5").axis_names == ("angle", "column")


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    create(tmp_path / "a.h5", data=np.zeros((3, 4)))
    volume = probe_one(tmp_path, "a.h5")
    create(tmp_path / "a.h5", data=np.zeros((3, 5)))
    with pytest.raises(MixedInput, match="changed"):
        hdf5.open_volume(tmp_path, volume)


def test_files_with_different_numbers_of_signals(tmp_path: Path) -> None:
    nexus_file(tmp_path / "a.nxs")
    create(tmp_path / "b.nxs", data=np.zeros((3, 4)))
    with pytest.raises(MixedInput, match="different numbers"):
        nexus.probe(tmp_path, ("a.nxs", "b.nxs"), {})


def test_a_chunk_counts_whole(tmp_path: Path) -> None:
    """Also where it is larger than its array, or holds columns that nobody asked for."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (3, 4, 5), "<f8", chunks=(10, 10, 10), maxshape=(None,) * 3, compression=1)
        file.create_dataset("table", (8, 8), np.dtype("<f4,<f8,<i2"), chunks=(4, 8), compression=1)
    assert chunk_bytes([probe_one(tmp_path, "a.h5", dataset="/data")]) == 8 * 1000
    columns = hdf5.probe(tmp_path, ("a.h5",), {"dataset": "/table"}).volumes
    assert [chunk_bytes([column]) for column in columns] == [14 * 32] * 3
