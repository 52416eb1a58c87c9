"""Chunks, groups and digests of files."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.errors import TruncatedInput
from scray.spans import CHUNK_BYTES, Span, chunk_spans, group_spans, hash_spans, root_digest


@given(size=st.integers(0, 10**6), chunk=st.integers(1, 10**5))
def test_chunks_tile_the_file(size: int, chunk: int) -> None:
    spans = chunk_spans(size, max(chunk, size // 500 + 1))
    assert sum(span.size for span in spans) == size
    assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]
    assert all(span.size > 0 for span in spans)
    assert len({span.size for span in spans[:-1]}) <= 1


def test_the_standard_chunk() -> None:
    assert chunk_spans(0) == ()
    assert chunk_spans(CHUNK_BYTES) == (Span(0, 104_857_600),)
    assert chunk_spans(CHUNK_BYTES + 1)[1] == Span(CHUNK_BYTES, CHUNK_BYTES + 1)
    assert len(chunk_spans(10 * 2**40)) == 104_858


@pytest.mark.parametrize(("size", "chunk"), [(-1, 1), (1, 0)])
def test_impossible_sizes_are_refused(size: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="no chunks"):
        chunk_spans(size, chunk)


@given(size=st.integers(0, 5000), chunk=st.integers(10, 700), group=st.integers(1, 3000))
def test_groups_keep_the_order_and_their_limit(size: int, chunk: int, group: int) -> None:
    spans = chunk_spans(size, chunk)
    groups = group_spans(spans, group)
    assert tuple(span for part in groups for span in part) == spans
    assert all(len(part) == 1 or sum(span.size for span in part) <= group for part in groups)
    assert all(sum(s.size for s in a) + b[0].size > group for a, b in pairwise(groups))  # none is smaller than need be


@given(data=st.binary(max_size=4000), chunk=st.integers(1, 900))
def test_digests_are_of_the_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk: int) -> None:
    path = tmp_path_factory.mktemp("hash") / "file"
    path.write_bytes(data)
    digests = hash_spans(path, chunk_spans(len(data), chunk))
    expected = [hashlib.sha256(data[i : i + chunk]).hexdigest() for i in range(0, len(data), chunk)]
    assert list(digests) == expected


def test_spans_larger_than_the_buffer(tmp_path: Path) -> None:
    data = bytes(range(256)) * 12_345
    (tmp_path / "file").write_bytes(data)
    expected = hashlib.sha256(data[7:]).hexdigest()
    assert hash_spans(tmp_path / "file", [Span(7, len(data))]) == (expected,)


def test_a_short_file_says_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(TruncatedInput, match="ends at byte 5, before byte 9"):
        hash_spans(tmp_path / "file", [Span(0, 4), Span(4, 9)])


def test_the_root_is_as_documented() -> None:
    chunks = [hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()]
    plain = b"\x01" + (2).to_bytes(8, "big") + hashlib.sha256(b"a").digest() + hashlib.sha256(b"b").digest()
    assert root_digest(2, chunks) == hashlib.sha256(plain).hexdigest()
    assert root_digest(2, chunks) != root_digest(3, chunks) != root_digest(3, chunks[::-1])
