"""MAPIR: a drawn target gives back the line it was drawn with; shots become reflectance and indices, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters import mapir, registry
from converters.bands import FILTERS, filter_of
from converters.calibration import fit
from converters.convert import convert
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.target import REFLECTANCE, panel_means
from converters.verify import verify
from converters.volume import Array, Source
from scray.errors import BadInput, BadParameter, MixedInput, NothingToConvert
from scray.idx.reader import Dataset
from tests.formats import check_boxes, pattern, read_all
from tests.mapir_target import RGN, draw, exif, jpeg, save_tiff

MODEL = "Survey3W_RGN"
SLOPE = {"u2": np.array([1.7e-5, 1.5e-5, 2.1e-5]), "u1": np.array([4.1e-3, 4.5e-3, 3.9e-3])}
INTERCEPT = np.array([-0.03, -0.02, -0.05])


def shot(dtype: str = "u2", seed: int = 0) -> Array:
    return pattern((37, 41, 3), dtype, seed)


def flight(root: Path, dtype: str = "u2", turn: int = 0) -> None:
    """Two shots and a target, all TIFF."""
    save_tiff(root / "target_001.tif", np.ascontiguousarray(np.rot90(target(dtype), turn)), MODEL)
    for number in (2, 10):
        save_tiff(root / f"shot_{number}.tif", shot(dtype, number), MODEL)


def target(dtype: str, **how: Any) -> Array:
    return draw(np.dtype(dtype), SLOPE[dtype], INTERCEPT, **how)


def probe(root: Path, **parameters: Any) -> Source:
    names = tuple(path.name for path in root.iterdir())
    return registry.probe("MAPIR", root, names, parameters)


def fields(root: Path, source: Source) -> dict[str, Array]:
    """Every field, time steps first."""
    found = {}
    for number, volume in enumerate(source.volumes):
        whole = read_all(mapir, root, volume)
        check_boxes(mapir, root, volume, whole, seed=number, count=3)
        found[volume.name] = whole
    return found


def ratio(first: Array, second: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (first - second) / (first + second)
    return np.where(np.isfinite(found), found, np.nan).astype(np.float32)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_target_gives_back_the_line_it_was_drawn_with(tmp_path: Path, dtype: str, turn: int) -> None:
    flight(tmp_path, dtype, turn)
    source = probe(tmp_path)
    bands = source.metadata["calibration"]["bands"]
    tolerance = {"u1": 6e-3, "u2": 2e-4}[dtype]
    assert np.allclose([b["slope"] for b in bands], SLOPE[dtype], rtol=tolerance)
    assert np.allclose([b["intercept"] for b in bands], INTERCEPT, atol=tolerance)
    assert [b["band"] for b in bands] == ["red", "green", "nir"]


@pytest.mark.parametrize("lean", [0.0, 0.15, 0.3])
def test_a_target_on_a_meadow_seen_askew(lean: float) -> None:
    """In perspective, out of focus, with noise, in the middle of something else."""
    drawn = target("u2").astype(np.float32)
    height, width = drawn.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = np.array([[300, 200], [820, 200 + 300 * lean], [800, 640 - 200 * lean], [280, 660]], np.float32)
    to_photo = cv2.getPerspectiveTransform(corners, seen)
    rng = np.random.default_rng(3)
    meadow = cv2.GaussianBlur(rng.uniform(3000, 30000, (900, 1200, 3)).astype(np.float32), (0, 0), 4)
    warped = cv2.warpPerspective(drawn, to_photo, (1200, 900))
    inside = cv2.warpPerspective(np.ones(drawn.shape[:2], np.float32), to_photo, (1200, 900))[..., np.newaxis]
    photo = cv2.GaussianBlur(np.where(inside > 0.5, warped, meadow), (0, 0), 1.2)
    noisy = np.clip(photo * rng.normal(1, 0.01, photo.shape), 0, 65535).astype(np.uint16)
    lines = fit("RGN", [("t", panel_means(noisy, "t"))], 65535)
    assert [line["slope"] for line in lines] == pytest.approx(SLOPE["u2"].tolist(), rel=0.01)
    assert [line["intercept"] for line in lines] == pytest.approx(INTERCEPT.tolist(), abs=0.005)


def test_a_calibrated_flight_is_reflectance_and_indices(tmp_path: Path) -> None:
    flight(tmp_path)
    source = probe(tmp_path)
    found = fields(tmp_path, source)
    assert list(found) == [
        *("reflectance_red", "reflectance_green", "reflectance_nir"),
        *("ndvi", "gndvi", "ndwi", "savi"),
    ]
    numbers = np.stack([shot(seed=2), shot(seed=10)]).astype(np.float64)
    lines = source.metadata["calibration"]["bands"]
    red, green, nir = (numbers[..., i] * line["slope"] + line["intercept"] for i, line in enumerate(lines))
    assert np.array_equal(found["reflectance_red"], red.astype(np.float32))
    assert np.array_equal(found["reflectance_nir"], nir.astype(np.float32))
    assert np.array_equal(found["ndvi"], ratio(nir, red), equal_nan=True)
    assert np.array_equal(found["gndvi"], ratio(nir, green), equal_nan=True)
    assert np.allclose(found["savi"], 1.5 * (nir - red) / (nir + red + 0.5), rtol=1e-5, equal_nan=True)
    assert all(volume.dtype == "<f4" for volume in source.volumes)
    assert any("target_001.tif" in note for note in source.notes)


def test_without_a_target_there_are_raw_numbers_and_it_is_said(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", shot(), MODEL)
    dark = shot(seed=1)
    dark[3:5] = 0
    save_tiff(tmp_path / "b.tif", dark, MODEL)
    source = probe(tmp_path)
    found = fields(tmp_path, source)
    assert list(found) == ["data", "ndvi", "gndvi", "ndwi"]
    assert np.array_equal(found["data"], [shot(), dark])
    bands = np.moveaxis(np.stack([shot(), dark]).astype(np.float64), -1, 0)
    assert np.array_equal(found["ndvi"], ratio(bands[2], bands[0]), equal_nan=True)
    assert np.isnan(found["ndvi"][1, 3:5]).all()
    assert source.metadata["calibrated"] is False
    assert any("raw digital numbers" in note for note in source.notes)


@pytest.mark.parametrize(
    ("name", "indices"),
    [("OCN", ["ndvi", "cndvi"]), ("NGB", ["bndvi", "gndvi", "ndwi"]), ("RGB", ["ngrdi"]), ("RE", [])],
)
def test_the_filter_decides_the_indices_and_a_parameter_overrides_the_camera(
    tmp_path: Path, name: str, indices: list[str]
) -> None:
    save_tiff(tmp_path / "a.tif", shot(), f"Survey3N_{name}")
    assert [v.name for v in probe(tmp_path).volumes] == ["data", *indices]
    assert [v.name for v in probe(tmp_path, filter="rgn").volumes] == ["data", "ndvi", "gndvi", "ndwi"]
    with pytest.raises(BadParameter, match="OCN"):
        probe(tmp_path, filter="XYZ")


def test_bands_are_where_the_filter_has_them(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", shot(), "Survey3W_NGB")
    numbers = shot().astype(np.float64)
    found = fields(tmp_path, probe(tmp_path))
    assert np.array_equal(found["bndvi"][0], ratio(numbers[..., 0], numbers[..., 2]), equal_nan=True)
    save_tiff(tmp_path / "a.tif", shot(), "Survey3W_OCN")
    found = fields(tmp_path, probe(tmp_path))
    assert np.array_equal(found["ndvi"][0], ratio(numbers[..., 2], numbers[..., 0]), equal_nan=True)


def test_every_filter_has_the_reflectance_of_its_bands() -> None:
    assert {wavelength for bands in FILTERS.values() for _, wavelength in bands} <= set(REFLECTANCE)
    for column, wavelength in enumerate((660, 550, 850)):
        assert REFLECTANCE[wavelength] == tuple(RGN[:, column])


@pytest.mark.parametrize(
    ("model", "name"),
    [("Survey3W_RGN", "RGN"), ("Survey3N_OCN", "OCN"), ("survey3w_ngb", "NGB"), ("RedEdge", ""), ("Survey3W_XX", "")],
)
def test_the_camera_tells_its_filter(model: str, name: str) -> None:
    assert filter_of(model) == name


def test_the_tiff_of_a_pair_is_the_data_and_zero_positions_are_none(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", shot(), MODEL)
    (tmp_path / "a.JPG").write_bytes(jpeg(shot("u1"), exif(MODEL)))
    source = probe(tmp_path)
    assert np.array_equal(fields(tmp_path, source)["data"][0], shot())
    assert any("a.JPG" in note for note in source.notes)
    assert "crs_name" not in source.metadata


def test_jpeg_flights_are_calibrated_by_a_jpeg_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "Target.JPG").write_bytes(jpeg(target("u1"), exif(MODEL)))
    (tmp_path / "a.JPG").write_bytes(jpeg(np.full((40, 40, 3), 90, np.uint8), exif(MODEL)))
    found = fields(tmp_path, probe(tmp_path))
    expected = 90 * SLOPE["u1"] + INTERCEPT
    assert np.allclose(found["reflectance_red"], expected[0], atol=0.02)
    assert np.allclose(found["reflectance_nir"], expected[2], atol=0.02)


def test_a_whole_flight_converts_and_is_verified_against_its_source(tmp_path: Path) -> None:
    folder = tmp_path / "flight"
    folder.mkdir()
    flight(folder)
    root, files = find_files([folder])
    convert(Job(root, files, "MAPIR"), tmp_path / "out", Serial())
    assert verify(tmp_path / "out", folder) == []
    with Dataset.open(tmp_path / "out" / "visus.idx") as dataset:
        assert dataset.header.step_count == 2
        assert dataset.header.fields[0].name == "reflectance_red"


# --- what is refused -----------------------------------------------------------------------------


def without_marker(picture: Array) -> Array:
    picture[:, 13 * 16 :] = picture[0, 0]
    return picture


def dark_panel(picture: Array) -> Array:
    picture[3 * 16 : 5 * 16, 4 * 16 : 5 * 16] = 0
    return picture


def swapped(picture: Array) -> Array:
    return target("u2", reflectance=RGN[::-1])


def cropped(picture: Array) -> Array:
    return np.ascontiguousarray(picture[:, 7 * 16 :])


def blown(picture: Array) -> Array:
    return np.where(picture > 12_000, np.uint16(65535), np.uint16(0))


@pytest.mark.parametrize("spoil", [without_marker, dark_panel, swapped, cropped])
def test_a_target_frame_without_a_target_is_an_error_that_names_it(tmp_path: Path, spoil: Any) -> None:
    flight(tmp_path)
    save_tiff(tmp_path / "target_001.tif", spoil(target("u2")), MODEL)
    with pytest.raises(BadInput, match=r"target_001\.tif"):
        probe(tmp_path)


def test_a_target_without_usable_numbers_is_refused(tmp_path: Path) -> None:
    flight(tmp_path)
    save_tiff(tmp_path / "target_001.tif", blown(target("u2")), MODEL)
    with pytest.raises(BadInput, match=r"target_001\.tif"):
        probe(tmp_path)


def test_one_bad_target_among_good_ones_is_not_passed_over(tmp_path: Path) -> None:
    flight(tmp_path)
    save_tiff(tmp_path / "target_002.tif", without_marker(target("u2")), MODEL)
    with pytest.raises(BadInput, match=r"target_002\.tif"):
        probe(tmp_path)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    flight(tmp_path)
    save_tiff(tmp_path / "other.tif", shot(), "Survey3W_OCN")
    with pytest.raises(MixedInput, match="OCN"):
        probe(tmp_path)
    save_tiff(tmp_path / "other.tif", shot("u1"), MODEL)
    with pytest.raises(MixedInput, match="u1"):
        probe(tmp_path)


def test_targets_alone_are_nothing_to_convert(tmp_path: Path) -> None:
    save_tiff(tmp_path / "target.tif", target("u2"), MODEL)
    with pytest.raises(NothingToConvert):
        probe(tmp_path)


def test_an_unknown_camera_cannot_be_calibrated(tmp_path: Path) -> None:
    save_tiff(tmp_path / "target.tif", target("u2"), "Other")
    save_tiff(tmp_path / "a.tif", shot(), "Other")
    with pytest.raises(BadInput, match="filter"):
        probe(tmp_path)
    assert probe(tmp_path, filter="RGN").metadata["calibrated"] is True
