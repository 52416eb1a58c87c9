"""One TIFF file as one array: its principal series of pages, whatever wrote it (ImageJ, OME, LSM, STK, GDAL …)."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from converters.faults import check_size, reading
from converters.nodata import sample_for_nothing
from converters.tiffchain import Directory, Key, read_directory, walk
from converters.tiffpages import Pages
from converters.volume import Box
from scray.errors import (
    BadInput,
    BadParameter,
    MissingSource,
    MixedInput,
    TooLarge,
    TruncatedInput,
    UnsafePath,
    Unsupported,
)

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what matters is raised or noted

MAX_PLANES = 10_000_000
_FILE_NAME = re.compile(r"""\b(?:FileName|MetadataFile)\s*=\s*(["'])(.*?)\1""", re.DOTALL)
_MASTER = re.compile(r"""<(?:\w+:)?BinaryOnly\b[^>]*?\bMetadataFile\s*=\s*(["'])(.*?)\1""", re.DOTALL)
SENSOR_COLOURS = {32803: "colour filter array", 34892: "linear raw"}  # photometric interpretations of DNG
_COUNTING = ("imagej", "fluoview", "sis", "scanimage", "nih")  # kinds whose descriptions count pages, of one file
_DESCRIBED = frozenset({"imagej", "ome", "mmstack"})  # kinds of series whose description decides what pages are
_MICROMANAGER_IFD = (
    162  # bytes of each page's tags, which the library believes pixels to follow; those of colours are longer
)
_EXTENT = re.compile(r"""\bSize([ZCT])\s*=\s*(["'])(\d+)\2""")


class TiffStack:
    """An open TIFF file and one series of it; `shape` and `axes` as the volume has them: samples of a pixel last.

    Raises BadInput and its kinds, Unsupported, UnsafePath, MissingSource. `root` bounds the files an OME series may
    refer to. Pixels are only read by `read`.
    """

    def __init__(self, root: Path, name: str, series: int | None = None) -> None:
        self.root, self.name, self.asked = root, name, series
        self._descriptors: dict[str, int] = {}
        self.chains: dict[str, tuple[Directory, ...]] = {}
        path = str(root / name)
        with reading(name, "TIFF"):
            chain = self._chain(path)
            self.file = _opened(path)
            self.misread = _misread(self.file, chain, chosen=series is not None)
            if self.misread:
                self.file.close()
                self.file = _opened(path, **{f"is_{self.misread}": False})
            try:
                self._choose(series)
            except BaseException:
                self.close()
                raise

    def _choose(self, series: int | None) -> None:
        if self.file.is_ome:
            _check_companions(self.file.ome_metadata or "", self.name)
        self.every = self.file.series
        if not self.every:
            raise BadInput(f"{self.name} is a TIFF without an image.")
        self.index = _principal(self.every) if series is None else series
        if not 0 <= self.index < len(self.every):
            raise BadParameter(f"{self.name} has no series[{self.index}]: it has {len(self.every)}.")
        self.series = self.every[self.index]
        if self.series.transform is not None:
            raise Unsupported(f"{self.name} holds values that have to be transformed ({self.series.kind}).")
        self.keyframe = page = self.series.keyframe
        self.pages = Pages(page, self.name)
        if more := self._behind():
            shape, axes = (more, *page.shape), "I" + page.axes
            self.series = tifffile.TiffPageSeries([page], shape, page.dtype, axes, kind="imagej", truncated=True)
        self._layout()
        self._check_pages()

    def _behind(self) -> int:
        """How many images lie behind one directory, where ImageJ counts more of them than its axes do; 0 otherwise."""
        path, page = self.root / self.name, self.keyframe
        if self.series.kind != "imagej" or len(self._chain(str(path))) > 1 or not self.pages.plain(page):
            return 0
        stop = int(page.dataoffsets[0]) + self.counted * self.pages.page_bytes
        return self.counted if self.overcounted and stop <= path.stat().st_size else 0

    @property
    def overcounted(self) -> bool:
        """Whether an ImageJ description counts more images than the series has, samples of a pixel apart or not."""
        samples = self.pages.shaped[0] * self.pages.shaped[4]
        return bool(self.counted * self.keyframe.size > self.series.size * samples)

    def _layout(self) -> None:
        """Split the axes of the series into those that count pages and those of a page."""
        shape, axes = tuple(int(n) for n in self.series.shape), self.series.axes
        page = tuple(int(n) for n in self.keyframe.shape)
        inner = _inner_axes(shape, page)
        self.lead = shape[: len(shape) - inner]
        letters = axes[len(shape) - inner :]
        planes, _, _, _, samples = self.pages.shaped
        names = {0: "S", 1: "Z", 2: "Y", 3: "X", 4: "S"}
        order = [a for a in range(5) if a in (2, 3) or self.pages.shaped[a] > 1]
        if len(letters) == len(order):
            names = dict(zip(order, letters, strict=True))
        if planes > 1 and samples > 1:
            raise Unsupported(f"{self.name} has both separate planes and interleaved samples.")
        if 0 in order and names[0] == "S":
            order = [*order[1:], 0]
        self.order = tuple(order)  # the five axes of a page that the volume keeps, in its order
        self.component = self.order[-1] in (0, 4)
        self.shape = self.lead + tuple(self.pages.shaped[a] for a in self.order)
        self.axes = tuple(axes[: len(self.lead)]) + tuple(names[a] for a in self.order)
        check_size(self.name, math.prod(self.shape), self.pages.dtype.itemsize)
        self.planes = math.prod(self.lead)
        self.offset = self._one_piece()

    def _one_piece(self) -> int | None:
        """Where all pages of the series begin, if they lie uncompressed one behind the other."""
        offset = self.series.dataoffset if self.pages.raw else None
        if not offset or not all(self.pages.plain(page) for page in self.series):
            return None
        starts = (offset + number * self.pages.page_bytes for number in range(len(self.series)))
        return offset if all(page.dataoffsets[0] == at for page, at in zip(self.series, starts, strict=True)) else None

    def _check_pages(self) -> None:
        """Every page that the series promises is there, alike, and inside its file."""
        self._check_counted()
        if self.keyframe.is_subifd:
            read_directory(self.keyframe.parent.filehandle.path, self.keyframe.offset, self.name)
        if self.offset is not None:
            end = self.offset + self.planes * self.pages.page_bytes
            if end > (self.root / self.name).stat().st_size:
                raise BadInput(f"{self.name} is cut short: its pixels end before its pages do.")
            if self.offset < self.pages.header_bytes or self.offset <= self.keyframe.offset < end:
                raise BadInput(f"The pixels of {self.name} lie over its header or its tags: the file is damaged.")
            if len(self.series) == 1 or self.series.is_truncated:
                return
        if len(self.series) != self.planes:
            raise BadInput(f"{self.name} promises {self.planes} pages and has {len(self.series)}.")
        for number in range(self.planes):
            self._check_page(self.series[number], number)

    @property
    def counted(self) -> int:
        """How many images an ImageJ description counts; 0 where there is none."""
        count = (self.file.imagej_metadata or {}).get("images", 0) if self.file.is_imagej else 0
        return count if isinstance(count, int) else 0

    def _check_counted(self) -> None:
        """Raise where a stack that has one directory for all its images ends before the last of them."""
        page, size = self.keyframe, (self.root / self.name).stat().st_size
        if self.series.kind == "imagej" or self.counted < 2 or len(self.file.pages) > 1 or not self.pages.plain(page):
            return
        behind = size - int(page.dataoffsets[0]) - self.pages.page_bytes
        if behind > 0 and page.offset < page.dataoffsets[0]:
            whole = 1 + behind // self.pages.page_bytes
            raise TruncatedInput(f"{self.name} is cut short: it counts {self.counted} images and holds {whole}.")

    def _check_page(self, page: Any, number: int) -> None:
        if page is None:
            raise MissingSource(f"{self.name} describes pages that no file of the dataset holds.")
        path = str(page.parent.filehandle.path)
        if self.series.kind != "mmstack" and not page.is_virtual and not page.is_subifd:
            chain, first = self._chain(path), self._chain(str(self.keyframe.parent.filehandle.path))
            if page.index >= len(chain) or not _alike(page, chain[page.index], first[self.keyframe.index]):
                raise MixedInput(f"Page {number + 1} of {self.name} has another size or type than the first page.")
        elif self.series.kind == "mmstack":
            self._check_place(read_directory(path, page.offset, f"{self.name}, page {number + 1}"), page)
        elif page.is_subifd:
            read_directory(path, page.offset, f"{self.name}, page {number + 1}")
        name = f"page {number + 1} of {self.name}"
        self.pages.check(page, os.fstat(self._descriptor(path)).st_size, name)
        self.pages.check_apart(page, name)

    def _check_place(self, found: Directory, page: Any) -> None:
        """Raise where a page of Micro-Manager is not what its file's list of pages makes of it."""
        first = self._chain(str(self.keyframe.parent.filehandle.path))[self.keyframe.index]
        if found.key != first.key or found.start != page.dataoffsets[0]:
            raise MixedInput(f"A page of {self.name} differs from its first page, or lies elsewhere than expected.")

    @property
    def looks(self) -> frozenset[Key]:
        """The different orientations and palettes of the pages; one where all are shown in the same way."""
        pages = [page for page in self.series if page is not None and not page.is_virtual and not page.is_subifd]
        chains = [self._chain(str(page.parent.filehandle.path)) for page in pages]
        return frozenset(chain[page.index].look for page, chain in zip(pages, chains, strict=True))

    def _chain(self, path: str) -> tuple[Directory, ...]:
        if path not in self.chains:
            self.chains[path] = walk(path, Path(path).name)
        return self.chains[path]

    def _descriptor(self, path: str) -> int:
        if path not in self._descriptors:
            if not Path(path).resolve().is_relative_to(self.root.resolve()):
                raise UnsafePath(f"{self.name} refers to {Path(path).name}, which is outside the dataset's own folder.")
            self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[path]

    @property
    def unused(self) -> int:
        """How many pages of the file its description, which decides what they are, does not count."""
        if self.series.kind not in ("imagej", "ome") or self.series.is_truncated:
            return 0
        path = str(self.root / self.name)
        pages = [page for series in self.every for page in series if page is not None and not page.is_subifd]
        used = {page.index for page in pages if str(page.parent.filehandle.path) == path}
        return len(self._chain(path)) - len(used & set(range(len(self._chain(path)))))

    @property
    def misdescribed(self) -> bool:
        """Whether the file has a description that its pages do not fit, or that cannot be read."""
        described = self.file.is_ome and not _MASTER.search(self.file.ome_metadata or "")
        if self.misread == "mmstack" or described:
            return self.series.kind not in _DESCRIBED
        return self.misread in _COUNTING

    @property
    def nodata(self) -> float | None:
        """The number that GDAL says stands for nothing, where it is one and not NaN."""
        return sample_for_nothing(self.keyframe, self.pages.dtype)

    @property
    def parts(self) -> frozenset[str]:
        """The files, by full path, whose pixels this series is made of."""
        return self._files(self.series)

    @property
    def described(self) -> frozenset[str]:
        """The files, by full path, whose pixels any series of this file is made of."""
        return frozenset().union(*(self._files(series) for series in self.every))

    def _files(self, series: Any) -> frozenset[str]:
        if not series.is_multifile:
            return frozenset({str(self.root / self.name)})
        return frozenset(str(p.parent.filehandle.path) for p in series if p is not None)

    @property
    def chunks(self) -> tuple[int, ...]:
        """What reading a sample costs at least: a strip or tile; one row where nothing is compressed."""
        inner = (1, 1, 1, *self.pages.shaped[3:]) if self.pages.raw else self.pages.segment
        clipped = tuple(min(n, c) for n, c in zip(self.pages.shaped, inner, strict=True))
        return (1,) * len(self.lead) + tuple(clipped[a] for a in self.order)

    def read(self, box: Box) -> NDArray[Any]:
        """The samples of a box of the array, native byte order."""
        lead, inner = box[: len(self.lead)], box[len(self.lead) :]
        full: list[tuple[int, int]] = [(0, n) for n in self.pages.shaped]
        for axis, span in zip(self.order, inner, strict=True):
            full[axis] = span
        out = np.empty(tuple(stop - start for start, stop in box), self.pages.dtype)
        shape = out.shape[len(lead) :]
        for at in np.ndindex(*(stop - start for start, stop in lead)):
            where = tuple(start + i for (start, _), i in zip(lead, at, strict=True))
            number = int(np.ravel_multi_index(where, self.lead)) if where else 0
            page = self._plane(number, tuple(full))
            out[at] = page.transpose(self._axes_last()).reshape(shape)
        return out

    def _axes_last(self) -> tuple[int, ...]:
        return tuple(a for a in range(5) if a not in self.order) + self.order

    def _plane(self, number: int, box: Box) -> NDArray[Any]:
        with reading(self.name, "TIFF"):
            if self.offset is not None:
                fd = self._descriptor(str(self.root / self.name))
                return self.pages.read_plain(fd, self.offset + number * self.pages.page_bytes, box)
            page: Any = self.series[number]
            return self.pages.read(self._descriptor(str(page.parent.filehandle.path)), page, box)

    def close(self) -> None:
        """Close every file."""
        for fd in self._descriptors.values():
            os.close(fd)
        self._descriptors = {}
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def master(root: Path, name: str) -> str:
    """The file beside this one, by its name in the dataset, that has this one's OME description; "" if none has."""
    with reading(name, "TIFF"), _opened(str(root / name)) as file:
        match = _MASTER.search((file.ome_metadata or "") if file.is_ome else "")
    return str(PurePosixPath(name).with_name(match.group(2))) if match and PurePosixPath(match.group(2)).name else ""


def _alike(page: Any, one: Directory, first: Directory) -> bool:
    """Whether a page can be a plane of the first page's stack; what is no frame the library has compared itself."""
    return one.key == first.key if page.is_frame else one.mask == first.mask


def _opened(path: str, **flags: Any) -> Any:
    """NDTiff, MD Gel and EER would open files by name or change values: their pages are read as they are."""
    return tifffile.TiffFile(path, is_ndtiff=False, is_mdgel=False, is_eer=False, **flags)


def _misread(file: Any, chain: tuple[Directory, ...], *, chosen: bool) -> str:
    """What a file says it is and had better not be read as; "" for nothing."""
    if not chosen and _page_by_page(file):
        return "shaped"
    if file.is_mmstack and any(page.start != page.offset + _MICROMANAGER_IFD for page in chain[1:]):
        return "mmstack"
    kind = "" if file.is_ome or file.is_mmstack else next((k for k in _COUNTING if getattr(file, f"is_{k}")), "")
    if not kind or not file.series or file.series[0].kind != kind or file.series[0].is_truncated:
        return ""
    pages, described = len(file.series[0]), file.series[0].size // max(1, file.series[0].keyframe.size)
    return kind if pages > described or (pages < described and kind != "imagej") else ""


def _page_by_page(file: Any) -> bool:
    """A stack that was written a page at a time says so once a page: every page is called a series of its own."""
    if not file.is_shaped or len(file.series) < 2:
        return False
    return len({(series.shape, series.dtype, series.axes) for series in file.series}) == 1


def _principal(every: Any) -> int:
    """The first series that is no thumbnail and no mask; of a raw photo what the sensor recorded, not a preview."""
    full = [i for i, s in enumerate(every) if s.kind != "generic" or not int(s.keyframe.subfiletype) & 0b101]
    sensor = [i for i in full if every[i].kind == "generic" and every[i].keyframe.photometric in SENSOR_COLOURS]
    return next(iter([*sensor, *full]), 0)


def _inner_axes(shape: tuple[int, ...], page: tuple[int, ...]) -> int:
    """How many trailing axes of a series are those of a page; length-1 axes may have been dropped."""
    for inner in range(min(len(shape), len(page)), 0, -1):
        if tuple(n for n in shape[-inner:] if n > 1) == tuple(n for n in page if n > 1):
            return inner
    if math.prod(page) == 1:
        return 0
    raise Unsupported(f"The pages of shape {page} do not make up an array of shape {shape}.")


def _check_companions(xml: str, name: str) -> None:
    """Refuse an OME description that names files elsewhere or declares absurd numbers of planes."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise BadInput(f"{name} has an OME description with a document type, which is not allowed.")
    for _, other in _FILE_NAME.findall(xml):
        if "/" in other or "\\" in other or other in ("..", ".") or "\0" in other or ":" in other:
            raise UnsafePath(f"{name} refers to {other!r}, which is outside the dataset's own folder.")
    for match in re.finditer(r"<(?:\w+:)?Pixels\b[^>]*>", xml):
        planes = math.prod(int(n[:20]) for _, _, n in _EXTENT.findall(match.group()))
        if planes > MAX_PLANES:
            raise TooLarge(f"{name} declares {planes} planes, more than the limit of {MAX_PLANES}.")
