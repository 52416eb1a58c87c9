"""One array cut into datasets: data_000001, data_000002, …, as detectors write it that close a file now and then."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from converters.h5links import H5Store
from converters.h5walk import Node
from converters.volume import Volume
from scray.errors import MissingSource

_PIECE = re.compile(r"data_(\d{6})")  # Dectris: the NeXus/HDF5 interface of the EIGER detectors
MIN_AXES = 3


def series(store: H5Store, name: str, node: Node) -> list[Node]:
    """The pieces that a dataset is one of, in their order; the dataset alone where it is none.

    Raises MissingSource where a piece is not there.
    """
    folder, _, key = node.path.rpartition("/")
    if not _PIECE.fullmatch(key) or len(node.shape) < MIN_AXES:
        return [node]
    group = store.find(name, folder).item
    keys = sorted(k for k in group if isinstance(k, str) and _PIECE.fullmatch(k))
    _check_numbers(f"{name}:{folder}", [int(k.removeprefix("data_")) for k in keys])
    found = [Node(f"{folder}/{k}", store.find(name, f"{folder}/{k}")) for k in keys]
    return found if all(_form(piece) == _form(node) for piece in found) else [node]


def _check_numbers(where: str, numbers: list[int]) -> None:
    missing = [n for before, after in pairwise(numbers) for n in range(before + 1, after)]
    if missing or numbers[0] > 1 < len(numbers):
        raise MissingSource(f"{where} is not whole: data_{(missing or [1])[0]:06d} is missing.")


def _form(node: Node) -> tuple[object, ...]:
    item = node.found.item
    return tuple(getattr(item, "shape", ())[1:]), getattr(item, "dtype", None)


def laid(pieces: Sequence[Volume]) -> Volume:
    """One volume of these, end to end along their first axis."""
    first = pieces[0]
    lengths = [volume.source_shape[0] for volume in pieces]
    paths = [volume.options["path"] for volume in pieces]
    return replace(
        first,
        files=first.files * len(pieces),
        source_shape=(sum(lengths), *first.source_shape[1:]),
        roles=("space", *first.roles[1:]),
        options={**first.options, "lengths": lengths, "along": True, "paths": paths},
    )
