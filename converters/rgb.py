"""RGB and TIFF RGB: pictures (TIFF of any layout, JPEG, PNG) as they are meant to be seen, values exact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.album import FORMAT, look, open_album, told
from converters.mosaic import lay_out
from converters.volume import Reader, Source, Volume, gathered
from scray.errors import EmptyInput


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The pictures in these files, which are in natural order; `dataset` names a series of a TIFF.

    One picture: a dataset with components. Several of one size and type: a time step each. Else a dataset each. Photos
    with a position each are a dataset each and a mosaic; `mosaic` = no makes them pictures like others.
    Raises TruncatedInput, BadInput, TooLarge, Unsupported, naming the file.
    """
    if not files:
        raise EmptyInput("There is no picture in the dataset.")
    pictures = [look(root, name, parameters.get("dataset")) for name in files]
    volumes, places, said = lay_out(pictures, parameters)
    notes = gathered([*said, *(note for picture in pictures for note in picture.notes)])
    return Source(FORMAT, volumes, metadata={**told(pictures), **places}, notes=notes)


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    return open_album(root, volume)
