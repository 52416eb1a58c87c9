"""The codecs of an IDX block: exact both ways, deterministic, and strict about what they are given."""

from __future__ import annotations

import contextlib
import zlib
from concurrent.futures import ThreadPoolExecutor

import lz4.block
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scray.errors import BadInput, BadParameter, TruncatedInput, Unsupported
from scray.idx import codecs

RNG = np.random.default_rng(7)
BLOCK = np.round(RNG.normal(100, 9, 4096)).astype("<u2")


@pytest.mark.parametrize("codec", codecs.PROFILES)
@pytest.mark.parametrize("reused", [False, True])
def test_what_is_encoded_is_decoded(codec: str, reused: bool) -> None:
    out = bytearray(BLOCK.nbytes) if reused else None
    stored = codecs.encode(codec, BLOCK)
    decoded = codecs.decode(codecs.flag(codec) | codecs.ROW_MAJOR, memoryview(stored), BLOCK.nbytes, out)
    assert bytes(decoded) == BLOCK.tobytes()
    if codec != "raw":
        assert len(stored) < BLOCK.nbytes
        assert (decoded is out) == reused


@pytest.mark.parametrize("codec", ["zip", "small"])
def test_zip_is_a_zlib_stream_also_where_nothing_is_gained(codec: str) -> None:
    noise = RNG.bytes(10_000)
    assert zlib.decompress(codecs.encode(codec, noise)) == noise


@pytest.mark.parametrize("codec", codecs.PROFILES)
def test_a_block_becomes_the_same_bytes_in_every_thread(codec: str) -> None:
    """Threads have stacks at other addresses, and blocks this short give those a part of 2,000 to play in."""
    heads = [RNG.bytes(16) for _ in range(4000)]
    blocks = [head + bytes(400) + head[1:] + bytes(400) for head in heads]

    def encoded(_: int) -> list[bytes]:
        return [codecs.encode(codec, block) for block in blocks]

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(encoded, range(4))
    assert all(other == first for other in others)


def test_fast_is_a_bare_lz4_block() -> None:
    stored = codecs.encode("fast", BLOCK)
    assert lz4.block.decompress(stored, uncompressed_size=BLOCK.nbytes) == BLOCK.tobytes()


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["zip", "small", "fast", "raw"]), st.integers(1, 40))
def test_sizes_are_exact(data: bytes, codec: str, off: int) -> None:
    stored, number = codecs.encode(codec, data), codecs.flag(codec)
    assert bytes(codecs.decode(number, stored, len(data))) == data
    with pytest.raises(TruncatedInput):
        codecs.decode(number, stored, len(data) + off)
    if data:
        with pytest.raises(BadInput):
            codecs.decode(number, stored, max(0, len(data) - off))


@settings(deadline=None)
@given(st.integers(0, 8), st.binary(max_size=200), st.integers(0, 5000))
def test_any_payload_ends_in_bytes_or_a_clear_error(number: int, payload: bytes, size: int) -> None:
    with contextlib.suppress(BadInput, Unsupported):
        assert len(codecs.decode(number, payload, size)) == size


def test_a_cut_zip_block_is_called_truncated() -> None:
    stored = codecs.encode("zip", BLOCK)
    for keep in (3, len(stored) // 2, len(stored) - 1):
        with pytest.raises(TruncatedInput):
            codecs.decode(codecs.ZIP, stored[:keep], BLOCK.nbytes)


def test_a_damaged_zip_block_is_called_bad() -> None:
    stored = bytearray(codecs.encode("zip", BLOCK))
    stored[-1] ^= 1
    with pytest.raises(BadInput, match="inflated"):
        codecs.decode(codecs.ZIP, stored, BLOCK.nbytes)


def test_a_bomb_is_stopped_at_the_size_of_a_block() -> None:
    with pytest.raises(BadInput):
        codecs.decode(codecs.ZIP, zlib.compress(bytes(1 << 24)), 1000)


def test_codecs_that_are_not_built_in_are_named() -> None:
    with pytest.raises(Unsupported, match="jpg"):
        codecs.decode(codecs.JPG, b"", 10)
    with pytest.raises(Unsupported, match="zfp"):
        codecs.decode(codecs.ZFP | codecs.ROW_MAJOR, b"", 10)
    with pytest.raises(Unsupported, match="brotli"):
        codecs.word_flag("brotli")
    with pytest.raises(BadParameter, match="small"):
        codecs.encode("tiny", b"")
    assert codecs.word_flag("zfp-reversible-reversible") == codecs.ZFP


@pytest.mark.parametrize("codec", codecs.PROFILES)
def test_the_canary_is_the_same_every_time(codec: str) -> None:
    assert codecs.canary(codec) == codecs.canary(codec)
    assert len({codecs.canary(name) for name in codecs.PROFILES}) == len(codecs.PROFILES)
