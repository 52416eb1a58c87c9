"""Photos with positions as one placed mosaic: a dataset each, and a midx that lays them out in EPSG:3857.

Viewers place children by quads with single precision, so the midx counts metres from a corner of the mosaic, its
offset, which metadata.json holds in EPSG:3857.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from converters.album import Seen, arrange, separate
from converters.describe import HEADER
from converters.geo import Footprint, footprint
from converters.plan import Plan
from converters.volume import Volume
from scray.parameters import switched

CRS = "epsg:3857"
MIDX = "visus.midx"
MAX_SIDE = 1 << 24  # pixels of a mosaic's side; photos further apart are no mosaic
KEY = "mosaic"


def lay_out(
    pictures: Sequence[Seen], parameters: Mapping[str, Any]
) -> tuple[tuple[Volume, ...], dict[str, Any], tuple[str, ...]]:
    """The volumes of these pictures, what metadata.json says of their places, and notes.

    A mosaic takes several photos, each with a place of its own; else they are arranged as pictures without a place.
    """
    wanted = switched(parameters, KEY, default=True)
    placed = [_footprint(picture, parameters) for picture in pictures]
    known = [place for place in placed if place]
    if not known:
        return arrange(pictures), {}, ()
    said: dict[str, Any] = {"places": [_told(p.name, f) for p, f in zip(pictures, placed, strict=True) if f]}
    reason = _not_a_mosaic(pictures, placed, known)
    if reason or not wanted:
        note = (f"The pictures are not placed as a mosaic: {reason}.",) if reason and len(pictures) > 1 else ()
        single = _extent(known) if len(pictures) == 1 else {}
        return arrange(pictures), said | {k: v for k, v in single.items() if k.startswith("crs_")}, note
    extent = _extent(known)
    volumes = separate(pictures)
    names = list(dict.fromkeys(volume.dataset for volume in volumes))
    quads = [_quad(place, extent) for place in known]
    said |= {key: value for key, value in extent.items() if key.startswith("crs_")}
    said[KEY] = {**extent, "quads": dict(zip(names, quads, strict=True))}
    guesses = sorted({guess for place in known for guess in place.guesses})
    return volumes, said, tuple(f"The mosaic assumes that {guess}." for guess in guesses)


def _footprint(picture: Seen, parameters: Mapping[str, Any]) -> Footprint | None:
    space = picture.volumes[0].space
    return footprint(picture.exif, space[1], space[0], parameters) if len(space) == 2 else None


def _not_a_mosaic(pictures: Sequence[Seen], placed: Sequence[Footprint | None], known: Sequence[Footprint]) -> str:
    """Why these pictures are no mosaic; "" where they are one."""
    if len(pictures) < 2:
        return "there is only one"
    without = [p.name for p, place in zip(pictures, placed, strict=True) if place is None]
    if without:
        return f"{len(without)} have no position ({', '.join(without[:5])})"
    if len({place.middle for place in known}) < len(known):
        return "several were taken at the very same place"
    if len({(p.volumes[0].dtype, p.volumes[0].components) for p in pictures}) > 1:
        return "their pixels are of different types"
    if max(_extent(known)["logic_size"]) > MAX_SIDE:
        return "they are too far from each other"
    return ""


def _extent(places: Sequence[Footprint]) -> dict[str, Any]:
    """The rectangle around all footprints in pixels of the finest photo; offset in EPSG:3857, pixels a metre."""
    corners = [corner for place in places for corner in place.corners()]
    pixel = min(place.pixel for place in places)
    low = [min(corner[axis] for corner in corners) for axis in (0, 1)]
    high = [max(corner[axis] for corner in corners) for axis in (0, 1)]
    size = [max(1, math.ceil((b - a) / pixel - 1e-6)) for a, b in zip(low, high, strict=True)]
    return {"crs_name": CRS, "crs_offset": low, "crs_scale": [1 / pixel, 1 / pixel], "logic_size": size}


def _quad(place: Footprint, extent: Mapping[str, Any]) -> list[float]:
    """The corners in metres from the offset, half a pixel lower: viewers take a sample at its lower left corner."""
    half = 0.5 / extent["crs_scale"][0]
    return [v - low - half for corner in place.corners() for v, low in zip(corner, extent["crs_offset"], strict=True)]


def _told(name: str, place: Footprint) -> dict[str, Any]:
    return {
        "file": name,
        "middle": list(place.middle),
        "corners": [list(corner) for corner in place.corners()],
        "metres_a_pixel": place.pixel,
        "heading_degrees": place.heading,
        "assumed": list(place.guesses),
    }


def mosaic_texts(plan: Plan) -> dict[str, bytes]:
    """`visus.midx`, and the same as `visus.idx`, for a plan of a mosaic; nothing for any other."""
    said = plan.source.metadata.get(KEY)
    if not isinstance(said, dict) or plan.source.links:
        return {}
    paths = {plan.volumes(grid)[0].dataset: grid.path(HEADER) for grid in plan.grids}
    width, height = said["logic_size"]
    physical = [n / scale for n, scale in zip((width, height), said["crs_scale"], strict=True)]
    name = plan.grids[0].fields[0]
    lines = [
        "<dataset typename='IdxMultipleDataset'"
        f" logic_box='0 {width} 0 {height}' physic_box='0 {physical[0]!r} 0 {physical[1]!r}'>",
        f"  <field name='{escape(name)}'><code>output=voronoi()</code></field>",
    ]
    for number, (dataset, quad) in enumerate(said["quads"].items()):
        where = " ".join(map(repr, quad))
        lines.append(f"  <dataset url='./{escape(paths[dataset])}' name='picture_{number}' quad='{where}' />")
    text = ("\n".join([*lines, "</dataset>"]) + "\n").encode()
    return {MIDX: text, HEADER: text}
