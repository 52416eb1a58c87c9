"""One picture: pixels as they are meant to be seen, whatever file they lie in, and what its maker noted.

The orientation that the file states (Exif 2.32, TIFF 6.0) is
applied to the pixels and to the shape alike; values are never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from converters.exif import Exif
from converters.volume import Array, Box
from scray.errors import TooLarge

MAX_PIXELS = 1 << 31  # of one JPEG or PNG, which has to be decoded whole


class Turn(NamedTuple):
    """How stored rows and columns become seen ones: first swapped, then mirrored."""

    swap: bool
    flip_rows: bool
    flip_columns: bool


UPRIGHT = Turn(False, False, False)
ORIENTATIONS = {
    1: UPRIGHT,
    2: Turn(False, False, True),
    3: Turn(False, True, True),
    4: Turn(False, True, False),
    5: Turn(True, False, False),
    6: Turn(True, False, True),
    7: Turn(True, True, True),
    8: Turn(True, True, False),
}


class Picture(ABC):
    """Pixels of shape `shape` and axes `axes` (… y x, then s where a pixel has several samples); a context manager.

    `colour` says what the samples stand for ("RGB", "grey", "CMYK" …), `indices` whether there is a palette: then
    `read_indices` has the numbers that the file stores and `read` the colours. `chunks` is what decoding a sample costs
    at least. Subclasses read stored boxes; this class turns them.
    """

    name: str
    stored_shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str
    stored_chunks: tuple[int, ...]
    compressed: bool
    colour: str
    indices: bool = False
    index_dtype: str = ""
    exif: Exif
    metadata: dict[str, Any]
    notes: tuple[str, ...] = ()
    orientation: int = 1

    @abstractmethod
    def read_stored(self, box: Box) -> Array:
        """The samples of a box of the stored array, native byte order; raises BadInput and its kind by name."""

    @abstractmethod
    def close(self) -> None: ...

    def read_indices(self, box: Box) -> Array:
        """The palette indices of a box, which has no axis of samples."""
        raise NotImplementedError

    @property
    def turn(self) -> Turn:
        """What the orientation does; nothing where rows and columns are not known."""
        known = "y" in self.axes and "x" in self.axes
        return ORIENTATIONS.get(self.orientation, UPRIGHT) if known else UPRIGHT

    @property
    def shape(self) -> tuple[int, ...]:
        return self._seen(self.stored_shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        return self._seen(self.stored_chunks)

    def read(self, box: Box) -> Array:
        """The samples of a box of the picture as it is meant to be seen."""
        return self._upright(self.read_stored(self._stored_box(box)))

    def read_palette(self, box: Box) -> Array:
        """The palette indices of a box of the picture as it is meant to be seen."""
        return self._upright(self.read_indices(self._stored_box(box)))

    def _rows_columns(self) -> tuple[int, int]:
        return self.axes.index("y"), self.axes.index("x")

    def _seen(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if not self.turn.swap:
            return lengths
        y, x = self._rows_columns()
        seen = list(lengths)
        seen[y], seen[x] = lengths[x], lengths[y]
        return tuple(seen)

    def _stored_box(self, box: Box) -> Box:
        """Where the samples of a seen box lie in the stored array."""
        if self.turn == UPRIGHT:
            return box
        y, x = self._rows_columns()
        rows, columns = box[y], box[x]
        if self.turn.flip_rows:
            rows = (self.shape[y] - rows[1], self.shape[y] - rows[0])
        if self.turn.flip_columns:
            columns = (self.shape[x] - columns[1], self.shape[x] - columns[0])
        if self.turn.swap:
            rows, columns = columns, rows
        stored = list(box)
        stored[y], stored[x] = rows, columns
        return tuple(stored)

    def _upright(self, array: Array) -> Array:
        if self.turn == UPRIGHT:
            return array
        y, x = self._rows_columns()
        if self.turn.swap:
            array = np.swapaxes(array, y, x)
        if self.turn.flip_rows:
            array = np.flip(array, y)
        return np.flip(array, x) if self.turn.flip_columns else array

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_pixels(name: str, width: int, height: int) -> None:
    """Raise TooLarge before anything of that size is allocated."""
    if width * height > MAX_PIXELS:
        raise TooLarge(f"{name} claims to have {width}×{height} pixels; at most {MAX_PIXELS} can be decoded.")
