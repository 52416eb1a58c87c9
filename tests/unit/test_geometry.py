"""The kd-tree of blocks: every sample has one block, every block one file, every file one owner."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scray.idx.geometry import Geometry, Lattice, choose, guess_bitmask

shapes = st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple).filter(lambda s: 1 < int(np.prod(s)) < 5_000)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    shape = draw(shapes)
    bitmask = guess_bitmask(shape)
    bits = draw(st.integers(0, len(bitmask)))
    return Geometry(shape, bitmask, bits, draw(st.integers(0, len(bitmask) - bits)))


def points(lattice: Lattice, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    axes = [
        range(a, a + n * s, s) for a, n, s in zip(lattice.start, lattice.inside(shape), lattice.stride, strict=True)
    ]
    return list(itertools.product(*axes))


def every_file(geometry: Geometry) -> list[int]:
    return [0, *geometry.files(1)]


@given(geometries())
@settings(max_examples=80, deadline=None)
def test_every_sample_lies_in_exactly_one_stored_block(geometry: Geometry) -> None:
    seen = Counter(
        point
        for file in every_file(geometry)
        for block in geometry.stored_blocks(file)
        for point in points(geometry.block(block), geometry.shape)
    )
    assert set(seen) == set(itertools.product(*map(range, geometry.shape)))
    assert set(seen.values()) == {1}


@given(geometries(), st.data())
@settings(max_examples=80, deadline=None)
def test_bricks_own_every_file_below_them_and_pass_up_one_slice(geometry: Geometry, data: st.DataObject) -> None:
    depth = data.draw(st.integers(0, max(0, geometry.levels - geometry.bits_per_block - geometry.file_bits)))
    coarse = geometry.coarsened(geometry.residual_levels(depth))
    owned = Counter(f for node in geometry.nodes(depth) for f in geometry.files(node))
    owned.update(f for f in coarse.files(1))
    assert owned == Counter(geometry.files(1))
    volume = np.arange(np.prod(geometry.shape)).reshape(geometry.shape)
    stride = geometry.residual_stride(depth)
    whole = volume[tuple(slice(None, None, s) for s in stride)]
    assert whole.shape == coarse.shape
    for node in geometry.nodes(depth):
        box = tuple(slice(a, b) for a, b in geometry.node_box(node))
        part = volume[box][tuple(slice(None, None, s) for s in stride)]
        assert np.array_equal(whole[tuple(slice(a, b) for a, b in coarse.node_box(node))], part)


@given(geometries())
@settings(max_examples=60, deadline=None)
def test_a_block_of_the_coarse_volume_is_the_same_block(geometry: Geometry) -> None:
    for levels in range(geometry.bits_per_block, geometry.levels + 1):
        coarse = geometry.coarsened(levels)
        stride = geometry.extent(levels, geometry.levels)
        for number in range(1 << (levels - geometry.bits_per_block)):
            fine, same = geometry.block(number), coarse.block(number)
            assert fine.shape == same.shape
            assert fine.start == tuple(a * s for a, s in zip(same.start, stride, strict=True))
            assert fine.stride == tuple(a * s for a, s in zip(same.stride, stride, strict=True))


@pytest.mark.parametrize(
    ("shape", "bitmask"),
    [
        ((100_000, 73, 144), "01201201201201201201202222222222"),
        ((512, 4096, 4096), "012012012012012012012012012010101"),
        ((31, 61, 57), "01201201201201201"),
        ((7,), "000"),
        ((6, 5, 4, 3, 2), "01234123434"),
        ((1, 1), "0"),
    ],
)
def test_the_bitmask_is_the_one_openvisus_makes(shape: tuple[int, ...], bitmask: str) -> None:
    assert guess_bitmask(shape) == bitmask


def test_a_file_holds_at_most_its_raw_bytes_and_the_padding_is_bounded() -> None:
    geometry = choose((1800, 2160, 2560), 2, file_bytes=32 << 20, block_bits=16)
    assert (geometry.bits_per_block, geometry.file_bits) == (16, 8)
    assert geometry.padded_samples() / (1800 * 2160 * 2560) < 1.04


def test_a_block_below_the_finest_level_is_refused() -> None:
    geometry = choose((64, 64), 1, file_bytes=1 << 10, block_bits=4)
    with pytest.raises(ValueError, match="below the finest level"):
        geometry.block(1 << 8)
    with pytest.raises(ValueError, match="exceed"):
        Geometry((4,), "00", 3, 0)
