"""A small picture of a dataset: its middle slice, from a coarse level, so that it costs next to nothing."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from converters.volume import Array
from scray.idx.hz import Shape
from scray.idx.reader import Box, Dataset

MAX_PIXELS = 512
STRIP_PIXELS = 64  # the height of the picture of a 1-D dataset
TINY_PIXELS = 128  # a smaller picture is enlarged by a whole number, else nobody sees it
MIN_PIXELS = 16  # of a side where the other one is MAX_PIXELS: a line of one pixel shows nothing
PERCENTILES = (1.0, 99.0)


def preview(dataset: Dataset, fills: Iterable[float] = (), colours: Sequence[str] = ()) -> bytes:
    """A PNG of at most 512 × 512 pixels of the first field, or of the first with colours, at the middle time step.

    The slowest axes are cut in their middle. Numbers are stretched between their 1st and 99th percentile, leaving out
    NaN, infinities and `fills`, which become black; three or four components of uint8 are shown as they are. `colours`
    says what the samples of each field stand for: all but RGB and grey are turned into these.
    Deterministic. Raises what reading raises.
    """
    shape = dataset.header.shape
    size = _pixels(shape[-2:])
    level = _level(dataset, size)
    steps = list(dataset.header.steps())
    field = _field(dataset)
    plane = dataset.read(_slice(dataset, level), steps[len(steps) // 2], field, level)
    components = dataset.header.fields[field].components
    picture = plane.reshape((*_picture_shape(plane, components), components))
    colour = colours[field] if field < len(colours) else ""
    inks = picture if colour == "CMYK" else picture[..., :3]  # a fourth is alpha
    image = Image.fromarray(_shown(_bytes(inks, () if field else tuple(fills)), colour))
    image = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _field(dataset: Dataset) -> int:
    """The first field of colours, else the first of all: of a picture with a palette the numbers say nothing."""
    fields = enumerate(dataset.header.fields)
    return next((i for i, f in fields if f.components in (3, 4) and f.dtype == "|u1"), 0)


def _pixels(shape: Shape) -> Shape:
    """Height and width, in proportion."""
    height, width = shape if len(shape) == 2 else (STRIP_PIXELS, shape[0])
    scale = min(max(1.0, TINY_PIXELS // max(height, width)), MAX_PIXELS / max(height, width))
    least = MIN_PIXELS if scale != 1 else 1
    return max(least, round(height * scale)), max(least, round(width * scale))


def _level(dataset: Dataset, size: Shape) -> int:
    """The coarsest level with a sample for every pixel."""
    shape = dataset.header.shape[-2:]
    for level in range(dataset.header.max_level):
        stride = dataset.hz.stride(level)[-2:]
        if all(-(-n // s) >= min(n, p) for n, s, p in zip(shape, stride, size[-len(shape) :], strict=True)):
            return level
    return dataset.header.max_level


def _slice(dataset: Dataset, level: int) -> Box:
    """The box of one sample of that level in the middle of the slow axes, all of the last two."""
    stride = dataset.hz.stride(level)
    box = []
    for axis, (low, high) in enumerate(dataset.box):
        middle = max(-(-low // stride[axis]), (low + high) // 2 // stride[axis]) * stride[axis]
        box.append((low, high) if axis >= len(stride) - 2 else (middle, middle + 1))
    return tuple(box)


def _picture_shape(plane: Array, components: int) -> Shape:
    space = plane.shape[:-1] if components > 1 else plane.shape
    return (math.prod(space[:-1]), space[-1])


def _shown(pixels: Array, colour: str) -> Array:
    """The colours of a screen, or its greys. Without a profile of the ink these are near, not exact."""
    if colour == "CMYK" and pixels.shape[2:] == (4,):
        light = 255 - pixels.astype(np.uint16)
        return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
    if colour == "YCbCr" and pixels.shape[2:] == (3,):
        return np.asarray(Image.frombytes("YCbCr", pixels.shape[1::-1], pixels.tobytes()).convert("RGB"))
    if colour == "CIELab" and pixels.ndim == 3:
        return np.ascontiguousarray(pixels[..., 0])
    if colour == "grey, zero is white" and pixels.ndim == 2:
        return 255 - pixels
    return pixels


def _bytes(picture: Array, fills: tuple[float, ...]) -> Array:
    """uint8, (height, width) or (height, width, 3 or 4)."""
    colour = picture.shape[-1] in (3, 4)
    shown = picture if colour else picture[..., 0]
    if colour and picture.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    with np.errstate(invalid="ignore"):  # signalling NaN
        numbers = shown.astype(np.float64)
    known = np.isfinite(numbers)
    for fill in fills:
        known &= shown != fill
    if not known.any():
        return np.zeros(shown.shape, np.uint8)
    numbers = np.where(known, numbers, 0) / 2  # half, as the distance of the two ends may be no number
    low, high = np.percentile(numbers[known], PERCENTILES)
    if low == high:
        low, high = numbers[known].min(), numbers[known].max()
    if low == high:
        return np.where(known, np.uint8(128), np.uint8(0))
    scaled = (np.clip(numbers, low, high) - low) / (high - low)
    return np.where(known, np.rint(scaled * 255), 0).astype(np.uint8)
