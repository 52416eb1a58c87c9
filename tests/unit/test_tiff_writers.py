"""TIFF as its writers in the field lay it out: what their tags and descriptions mean, to the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import tiff as tiffs
from converters.volume import Array, Source
from tests.formats import pattern
from tests.tiffs import Page, grey, tiff

HIGH, WIDE = 6, 16
PLANES = pattern((3, HIGH, WIDE), "<u2")
GREY = grey(WIDE, HIGH, bits=16)


def probed(tmp_path: Path, data: bytes) -> tuple[Source, Array]:
    (tmp_path / "a.tif").write_bytes(data)
    source = tiffs.probe(tmp_path, ("a.tif",), {})
    with tiffs.open_volume(tmp_path, source.volumes[0]) as reader:
        return source, reader.read_source(tuple((0, n) for n in source.volumes[0].source_shape))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("gap", [0, 64])
def test_slices_of_imagej_that_were_laid_elsewhere_are_found_by_their_tags(
    tmp_path: Path, order: tuple[int, ...], gap: int
) -> None:
    """The description says that they lie behind each other; a program that copied the file laid them otherwise."""
    step = PLANES[0].nbytes + gap
    tags = [GREY | {273: ("I", 8 + order.index(n) * step), 279: ("I", PLANES[0].nbytes)} for n in range(3)]
    tags[0] |= {270: ("s", b"ImageJ=1.54f\nimages=3\nslices=3\n\0")}
    first = Page(tags[0], [PLANES[n].tobytes() + b"\xee" * gap for n in order])
    _, found = probed(tmp_path, tiff(first, *(Page(more, ()) for more in tags[1:])))
    assert np.array_equal(found, PLANES)


def test_two_slices_of_imagej_that_libtiff_copied(tmp_path: Path) -> None:
    told: dict[int, tuple[str, Any]] = {270: ("s", b"ImageJ=1.54f\nimages=2\n\0")}
    pages = (Page(GREY | told, [PLANES[0].tobytes()]), Page(GREY, [PLANES[1].tobytes()]))
    assert np.array_equal(probed(tmp_path, tiff(*pages))[1], PLANES[:2])


NOTHINGS = [
    ("<f4", "-3.4028234663852886e+38", float(np.finfo("f4").min), float(np.finfo("f4").min)),
    ("<f4", "nan", None, np.nan),
    ("<f4", "-1.7976931348623157e+308", None, -np.inf),
    ("<i2", "32767", 32767.0, 32767),
    ("<i2", "-9999.0", -9999.0, -9999),
    ("<u2", "-9999", None, 0),
    ("<u2", "none", None, 0),
    ("|u1", "7.5", None, 8),
]


@pytest.mark.parametrize(("dtype", "text", "told", "filled"), NOTHINGS)
def test_what_gdal_calls_nothing(tmp_path: Path, dtype: str, text: str, told: float | None, filled: float) -> None:
    """As GDAL reads it: the attribute only where a sample can be it, a tile that was left out in any case."""
    tile = pattern((16, 16), dtype)
    tags = grey(16, 32, bits=8 * tile.itemsize, t339={"u": 1, "i": 2, "f": 3}[tile.dtype.kind])
    tags |= {322: ("H", 16), 323: ("H", 16), 42113: ("s", text.encode() + b"\0")}
    tags |= {324: ("I", [8, 0]), 325: ("I", [tile.nbytes, 0])}
    del tags[278]
    source, found = probed(tmp_path, tiff(Page(tags, [tile.tobytes()])))
    assert source.volumes[0].attributes.get("fill_value") == told
    expected = np.vstack([tile, np.full((16, 16), filled, dtype)])
    assert np.array_equal(found, expected, equal_nan=dtype == "<f4")
