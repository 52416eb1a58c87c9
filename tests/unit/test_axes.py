"""`axes` and `time` say which stored axis becomes what: as numpy would transpose it, or refused, the axes listed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from converters import registry
from converters.axes import LETTERS, arranged, timed
from converters.prepare import find_files
from converters.volume import Array, Box, Reader, Source, Volume, pieces
from scray.errors import BadParameter
from tests.unit.volumes import source, volume

NAMES = ("lon", "lat", "level", "band")


def stored(shape: tuple[int, ...], names: str | tuple[str, ...] = "", **more: Any) -> Volume:
    made = volume(shape, "<u2", **more)
    return Volume(**{**vars(made), "source_axes": tuple(names) or tuple(f"dim{i}" for i in range(len(shape)))})


def arrange(described: Volume, **parameters: Any) -> Volume:
    return arranged(source(described), parameters).volumes[0]


class InMemory(Reader):
    """Reads an array as if it were a file, and counts what it reads of each chunk."""

    def __init__(self, described: Volume, array: Array) -> None:
        super().__init__(Path(), described)
        self.array, self.samples = array, 0

    def read_source(self, box: Box) -> Array:
        self.samples += int(np.prod([b - a for a, b in box]))
        return self.array[tuple(slice(*span) for span in box)]

    def close(self) -> None:
        self.array = self.array[:0]


def whole(described: Volume, array: Array) -> Array:
    """Every sample: (steps, *space[, components])."""
    with InMemory(described, array) as reader:
        return reader.read_steps((0, described.steps), tuple((0, n) for n in described.space))


def numbered(shape: tuple[int, ...]) -> Array:
    return np.arange(np.prod(shape, dtype=int), dtype="<u2").reshape(shape)


@pytest.mark.parametrize(
    ("shape", "names", "parameters", "order"),
    [
        ((3, 4, 5), "", {"axes": "xyz"}, (2, 1, 0)),
        ((3, 4, 5), "", {"axes": "zxy"}, (0, 2, 1)),
        ((3, 4, 5), "", {"axes": "Y, Z, X"}, (1, 0, 2)),
        ((3, 4, 5), "", {"axes": ["y", "x", "z"]}, (2, 0, 1)),
        ((3, 4, 5), "", {"axes": "2,0,1"}, (2, 0, 1)),
        ((3, 4, 5), "", {"axes": [2, 0, 1]}, (2, 0, 1)),
        ((3, 4, 5), NAMES[:3], {"axes": "lat,level,lon"}, (1, 2, 0)),
        ((3, 4, 5), NAMES[:3], {"axes": "lon:x"}, (1, 2, 0)),
        ((3, 4, 5), NAMES[:3], {"axes": {"lon": "x", "level": "z", "lat": "y"}}, (2, 1, 0)),
        ((3, 4, 5), NAMES[:3], {"axes": {"2": "z", "0": "y", "1": "x"}}, (2, 0, 1)),
        ((3, 4), "", {"axes": "xy"}, (1, 0)),
        ((3, 4), "", {"axes": "xz"}, (1, 0)),
        ((2, 3, 2, 3, 2), "", {"axes": "xyzuv"}, (4, 3, 2, 1, 0)),
        ((3, 1, 5), "", {"axes": "xyz"}, (2, 0)),
        ((3, 4, 5), "xyz", {"axes": "xyz"}, (2, 1, 0)),  # every axis becomes what its name says
        ((3, 4, 5), "zyx", {"axes": "x,y,z"}, (2, 1, 0)),  # both readings agree
        ((3, 4, 5), "zyx", {"axes": "zxy"}, (0, 2, 1)),
    ],
)
def test_axes_are_ordered_as_numpy_would(
    shape: tuple[int, ...], names: Any, parameters: dict[str, Any], order: tuple[int, ...]
) -> None:
    made = arrange(stored(shape, names), **parameters)
    array = numbered(shape)
    assert made.steps == made.components == 1
    assert (whole(made, array)[0] == array.squeeze().transpose(np.argsort(np.argsort(order)))).all()
    assert made.space == tuple(shape[i] for i in order)


@pytest.mark.parametrize(
    ("parameters", "axes", "roles"),
    [
        ({"axes": "tzyx"}, "zyx", "time space space space"),
        ({"axes": "zyxt"}, "zyx", "space space space time"),
        ({"axes": "zytx", "time": 2}, "zyx", "space space time space"),
        ({"axes": "dim1:t"}, (), "space time space space"),
        ({"time": 0}, (), "time space space space"),
        ({"time": "dim3"}, (), "space space space time"),
        ({"axes": "czyx"}, "zyx", "component space space space"),
        ({"axes": "dim3:channel,dim0:time"}, (), "time space space component"),
        ({"axes": "yxct"}, "yx", "space space component time"),
        ({"time": "none"}, (), "space space space space"),
    ],
)
def test_time_and_channels(parameters: dict[str, Any], axes: Any, roles: str) -> None:
    array = numbered((2, 3, 4, 5))
    made = arrange(stored(array.shape), **parameters)
    assert made.roles == tuple(roles.split())
    assert made.axis_names == (tuple(axes) or tuple(f"dim{i}" for i in made.axes_of("space")))
    turned = [i for role in ("time", "space", "component") for i in made.axes_of(role)]
    expected = array.transpose(turned)
    assert (whole(made, array).ravel() == expected.ravel()).all()


def test_what_is_said_replaces_what_was_found() -> None:
    found = stored((2, 3, 4, 3), ("time", "y", "x", "s"), roles=("time", "space", "space", "component"))
    assert arrange(found, axes="zyxt").roles == ("space", "space", "space", "time")
    assert arrange(found, time="none").roles == ("space", "space", "space", "component")
    assert arrange(found, time="s").roles == ("space", "space", "space", "time")
    assert arrange(found, axes="y:c").roles == ("time", "component", "space", "space")
    assert arrange(found, axes="x,y") == arrange(found, axes="time,x,y,s")
    assert arrange(found, axes="x,y").space == (4, 3)
    assert arrange(found, time="steps") is found
    many = timed(found, {"time": "time"}, many=True)
    assert (many.steps, timed(found, {}, many=True).steps) == (2, 1)


def test_beyond_five_axes_time_takes_what_nothing_is_said_of() -> None:
    found = stored((2, 3, 2, 3, 2, 3))
    assert arrange(found, axes="0:x").axes_of("time") == (1,)
    assert arrange(found, time=5).axes_of("time") == (5,)
    with pytest.raises(BadParameter, match=r"At most 5 .* dim0 \(2\), dim1 \(3\)"):
        arrange(found, time="none")
    moved = timed(
        arrange(
            stored(
                (2, 3, 4),
                "",
            ),
            time=1,
        ),
        {"time": "axis"},
        many=False,
    )
    assert (moved.space, moved.order) == ((3, 2, 4), (1, 0, 2))
    with pytest.raises(BadParameter, match="more than 5 axes"):
        timed(arrange(found, time=5), {"time": "axis"}, many=False)


@pytest.mark.parametrize(
    ("names", "parameters", "words"),
    [
        ("", {"axes": "zy"}, "neither"),
        ("", {"axes": "zyxt"}, "neither"),
        ("", {"axes": "xxy"}, "x twice"),
        ("", {"axes": "ttx"}, "t twice"),
        ("", {"axes": "0,0,1"}, "names an axis twice"),
        ("", {"axes": "0,1"}, "leaves out dim2"),
        ("", {"axes": "dim0:x,0:y"}, "names an axis twice"),
        ("", {"axes": "dim9:x"}, "no axis 'dim9'"),
        ("", {"axes": "dim0:q"}, "none of x, y, z"),
        ("", {"axes": "lon,lat,level"}, "neither"),
        ("", {"axes": "0,1,3"}, "neither"),
        ("", {"time": "clock"}, "no axis 'clock'"),
        ("", {"time": 3}, "no axis '3'"),
        ("", {"time": 1, "axes": "tyx"}, "disagree"),
        ("", {"time": 0, "axes": "zyx"}, "disagree"),
        ("", {"time": "none", "axes": "tyx"}, "there is none"),
        ("xyz", {"axes": "zyx"}, r"two ways: write axes=x:z,y:y,z:x or axes=x:x,y:y,z:z"),
        ("zyx", {"axes": "y,x,z"}, r"two ways: write axes=z:y,y:x,x:z or axes=z:x,x:y,y:z"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_axes(names: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(BadParameter, match=words) as caught:
        arrange(stored((3, 4, 5), names), **parameters)
    if "there is none" not in words and "none of" not in words:
        assert f"{(names or ['dim0'])[0]} (3)" in caught.value.message


def test_either_way_out_of_two_readings_is_taken() -> None:
    found = stored((3, 4, 5), "zyx")
    assert arrange(found, axes="z:y,y:x,x:z").space == (5, 3, 4)
    assert arrange(found, axes="z:x,x:y,y:z").space == (4, 5, 3)


def test_too_many_channels_are_refused() -> None:
    assert arrange(stored((64, 8, 8)), axes="cyx").components == 64
    with pytest.raises(BadParameter, match=r"65 channels of <u2 are more than 64"):
        arrange(stored((65, 8, 8)), axes="cyx")


def pictures(folder: Path, parameters: Mapping[str, Any], palette: bool = False) -> tuple[Volume, ...]:
    """Three pictures of 4 rows and 5 columns, each of one colour, as `RGB` takes them."""
    for number in range(3):
        image = Image.new("RGB", (5, 4), (number, 10 + number, 20 + number))
        (image.convert("P") if palette else image).save(folder / f"{number}.tif")
    return registry.probe("RGB", *find_files([folder]), parameters).volumes


@pytest.mark.parametrize(
    ("parameters", "space", "steps", "components"),
    [
        ({}, (4, 5), 3, 3),
        ({"axes": "tyxc"}, (4, 5), 3, 3),
        ({"axes": "zyxc"}, (3, 4, 5), 1, 3),
        ({"axes": {"t": "z"}}, (3, 4, 5), 1, 3),
        ({"axes": "cyxt"}, (4, 5), 3, 3),
        ({"axes": "y,x"}, (4, 5), 3, 3),
        ({"axes": "tyxz"}, (3, 4, 5), 3, 1),
        ({"time": "none"}, (3, 4, 5), 1, 3),
        ({"time": "t"}, (4, 5), 3, 3),
        ({"time": "s"}, (3, 4, 5), 3, 1),
    ],
)
def test_pages_and_samples_of_pictures_are_what_is_said(
    tmp_path: Path, parameters: dict[str, Any], space: tuple[int, ...], steps: int, components: int
) -> None:
    (volume,) = pictures(tmp_path, parameters)
    assert (volume.space, volume.steps, volume.components) == (space, steps, components)
    with registry.open_volume(tmp_path, volume) as reader:
        step = np.atleast_1d(reader.read(2 if steps > 1 else 0, tuple((0, n) for n in space)).reshape(-1))
    said = {"tyxz": [2, 12, 22], "cyxt": [20, 21, 22], "s": [20, 21, 22]}
    expected = said.get(str(parameters.get("axes", parameters.get("time"))))
    assert set(step) == set(expected or ([2, 12, 22] if steps > 1 else [*range(3), *range(10, 13), *range(20, 23)]))


def test_numbers_of_a_palette_follow_their_colours(tmp_path: Path) -> None:
    for parameters in ({"axes": "zyxc"}, {"time": "none"}, {"axes": "t,y,x", "time": "none"}):
        numbers, colours = pictures(tmp_path, parameters, palette=True)
        assert (numbers.space, numbers.components) == (colours.space, 1) == ((3, 4, 5), 1)


@pytest.mark.parametrize(
    "said", [{"axes": "txyc"}, {"axes": "x,y"}, {"time": "y"}, {"axes": {"x": "c"}}, {"axes": "tx"}]
)
def test_rows_and_columns_of_pictures_stay(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match=r"as stored: t \(3\), y \(4\), x \(5\), s \(3\)"):
        pictures(tmp_path, said)


def test_a_mosaic_has_no_other_axes() -> None:
    with pytest.raises(BadParameter, match="mosaic=no"):
        arranged(Source("rgb", (stored((8, 8, 3), ("y", "x", "s")),), metadata={"mosaic": {}}), {"axes": "yxc"})


def test_other_arrays_follow_by_the_names_of_their_axes() -> None:
    first = stored((2, 3, 4, 5), ("time", "level", "lat", "lon"), name="a")
    mask, other = stored((4, 5), ("lat", "lon"), name="mask"), stored((7, 8), ("row", "column"), name="other")
    made = arranged(source(first, mask, other), {"axes": "lon,lat,level,time"})
    assert [v.space for v in made.volumes] == [(5, 4, 3, 2), (5, 4), (7, 8)]
    assert "Arrays with other axes stay as they are stored: other." in made.notes
    assert made.notes[0] == "Axes as asked for: time (2) is x, level (3) is y, lat (4) is z, lon (5) is u."
    assert made.metadata["axes"]["mask"] == [
        {"name": "lat", "length": 4, "became": "x"},
        {"name": "lon", "length": 5, "became": "y"},
    ]
    by_place = arranged(source(first, mask), {"axes": "tzxy"})
    assert [v.space for v in by_place.volumes] == [(3, 5, 4), (4, 5)]
    by_time = arranged(source(first, mask), {"time": "lat"})
    assert [(v.space, v.steps) for v in by_time.volumes] == [((2, 3, 5), 4), ((5,), 4)]


SHAPES = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)


@given(SHAPES, st.data())
@example((2, 3, 4), None)
def test_any_order_of_any_shape_is_a_transposition(shape: tuple[int, ...], data: Any) -> None:
    """Whole and box by box, however the array is chunked; no sample of a chunk is asked for twice."""
    if data is None:
        order, chunks = (2, 0, 1), (2, 2, 2)
    else:
        order = data.draw(st.permutations(range(len(shape))))
        chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    letters = dict(zip(reversed(order), LETTERS, strict=False))
    word = "".join(letters[i] for i in range(len(shape)))
    array = numbered(shape)
    made = arrange(stored(shape, chunks=chunks), axes=word)
    expected = array.transpose(order).reshape(made.space)
    assert (whole(made, array)[0] == expected).all()
    box = tuple((0, n) for n in made.space)
    if data is not None:
        starts = [data.draw(st.integers(0, n - 1)) for n in made.space]
        box = tuple((a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, made.space, strict=True))
    with InMemory(made, array) as reader:
        got = reader.read(0, box)
        assert reader.samples == got.size
    assert (got == expected[tuple(slice(*span) for span in box)]).all()


@given(SHAPES, st.data())
def test_pieces_tile_a_box_and_end_where_chunks_do(shape: tuple[int, ...], data: Any) -> None:
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    box = tuple((a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))
    seen = np.zeros(shape, int)
    for piece in pieces(stored(shape, chunks=chunks), box):
        seen[tuple(slice(*span) for span in piece)] += 1
        for (a, b), (start, stop), chunk in zip(piece, box, chunks, strict=True):
            assert a == start or a % chunk == 0
            assert b == stop or b % chunk == 0
    assert (seen[tuple(slice(*span) for span in box)] == 1).all()
    assert seen.sum() == np.prod([b - a for a, b in box])


def test_large_pieces_are_cut() -> None:
    described = stored((4096, 64, 64), chunks=(1, 64, 64))
    sizes = {tuple(b - a for a, b in piece) for piece in pieces(described, ((3, 4000), (0, 64), (0, 64)))}
    assert max(n for n, *_ in sizes) == 1024  # 8 MiB of two bytes each


def test_every_order_of_three_axes_has_one_word() -> None:
    words = {"".join(word) for word in permutations("xyz")}
    assert len({arrange(stored((3, 4, 5)), axes=word).space for word in words}) == 6
