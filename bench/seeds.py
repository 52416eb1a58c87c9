"""Small honest files, one set a parser path, from which damaged ones are made."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import netCDF4
import numpy as np
import PIL.Image
import PIL.ImageCms
import py7zr
import tifffile
import zstandard

from bench.mutations import repair_png

Files = dict[str, bytes]
_FILTERS = (hdf5plugin.Bitshuffle(), hdf5plugin.Blosc(), hdf5plugin.LZ4(), hdf5plugin.Zstd())
RNG = np.random.default_rng(20)
VOLUME = RNG.integers(0, 900, (6, 20, 31)).astype("<u2")
PIXELS = np.add.outer(np.arange(40), np.arange(50))[:, :, None].repeat(3, 2).astype("|u1")


@dataclass(frozen=True)
class Target:
    """A parser path: files to damage (those whose names end with `damaged`), and how they are converted.

    `sealed_contents` says that the format has checksums over what it holds: changed content must not come out.
    """

    name: str
    sensor: str
    make: Callable[[Path], list[Files]]
    damaged: tuple[str, ...] = ("",)
    parameters: dict[str, Any] = field(default_factory=dict)
    repair: Callable[[bytes], bytes] = bytes
    sealed_contents: bool = False


def _files_of(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _tiff_bytes(**options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, options.pop("data", VOLUME), **options)
    return out.getvalue()


def _tiffs(_: Path) -> list[Files]:
    return [
        {"a.tif": _tiff_bytes()},
        {"a.tif": _tiff_bytes(compression="zlib", predictor=True, tile=(16, 16), metadata=None)},
        {"a.tif": _tiff_bytes(byteorder=">", bigtiff=True, compression="lzw", rowsperstrip=7)},
        {"a.tif": _tiff_bytes(imagej=True, metadata={"axes": "ZYX"})},
        {"a.ome.tif": _tiff_bytes(ome=True, metadata={"axes": "ZYX"})},
        {"a.tif": _tiff_bytes(data=VOLUME.astype("<f4"), compression="packbits")},
        {"a.tif": _tiff_bytes(data=VOLUME.astype("<f4"), compression="lzma", predictor=3)},
        {
            "a.tif": _tiff_bytes(
                data=VOLUME.transpose(1, 2, 0)[..., :4], photometric="minisblack", planarconfig="contig"
            )
        },
        *({"a.tif": _tiff_bytes(compression=name, metadata=None)} for name in ("zstd", "jpeg2000", "lerc", "jpegxl")),
        {"a.tif": _pyramid()},
    ]


def _pyramid() -> bytes:
    """Tiles with coarser copies in SubIFDs."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(VOLUME[0], tile=(16, 16), subifds=1, metadata=None)
        writer.write(VOLUME[0][::2, ::2], tile=(16, 16), subfiletype=1, metadata=None)
    return out.getvalue()


def _tiff_pictures(_: Path) -> list[Files]:
    options: list[dict[str, Any]] = [
        {"photometric": "rgb"},
        {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)},
        {"photometric": "rgb", "planarconfig": "separate", "data": PIXELS.transpose(2, 0, 1).copy()},
        {"photometric": "rgb", "compression": "jpeg"},
        {"photometric": "minisblack", "data": PIXELS[..., 0], "extratags": [(274, "H", 1, 6, True)]},
    ]
    return [{"a.tif": _tiff_bytes(**{"data": PIXELS, "metadata": None, **each})} for each in options]


def _picture_bytes(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(PIXELS).convert(mode).save(out, kind, **options)
    return out.getvalue()


def _pngs(_: Path) -> list[Files]:
    sixteen = io.BytesIO()
    PIL.Image.fromarray(VOLUME[0]).save(sixteen, "png")
    modes = [{"a.png": _picture_bytes("png", mode)} for mode in ("RGB", "L", "P", "RGBA", "1")]
    return [*modes, {"a.png": sixteen.getvalue()}, {"a.png": _picture_bytes("png", icc_profile=_profile())}]


def _profile() -> bytes:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def _jpegs(_: Path) -> list[Files]:
    every: list[dict[str, Any]] = [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}]
    every += [{"mode": "L", "optimize": True}, {"icc_profile": _profile(), "quality": 100}]
    return [{"a.jpg": _picture_bytes("jpeg", **options)} for options in every]


def _located(model: str) -> bytes:
    """A JPEG with Exif: model, orientation, position, altitude."""
    exif = PIL.Image.Exif()
    exif[271], exif[272], exif[274] = "MAPIR", model, 6
    exif[36867] = "2024:05:01 10:00:00"
    exif[37386] = 3.37
    exif[34853] = {1: "N", 2: (40.0, 45.0, 30.0), 3: "W", 4: (111.0, 50.0, 10.0), 5: 0, 6: 1500.0}
    return _picture_bytes("jpeg", exif=exif)


def _exif(_: Path) -> list[Files]:
    return [{"a.jpg": _located("Survey3W_RGB"), "b.jpg": _located("Survey3W_RGB")}]


def _mapir(folder: Path) -> list[Files]:
    """Without a target, and with one: drawn, and a shot of it and of something else."""
    from tests.mapir_target import draw, save_tiff

    target = draw(np.uint16, np.array([1.7e-5, 1.5e-5, 2.1e-5]), np.array([-0.03, -0.02, -0.05]))
    save_tiff(folder / "target.tif", target, "Survey3W_RGN")
    save_tiff(folder / "a.tif", VOLUME[:3].transpose(1, 2, 0) * 60, "Survey3W_RGN")
    return [{"a.jpg": _located("Survey3W_OCN"), "b.jpg": _located("Survey3W_OCN")}, _files_of(folder)]


def _hdf5_bytes(libver: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver) as file:
        item = file.create_dataset("entry/data", data=VOLUME, **options)
        item.attrs["units"] = "K"
        file["link"] = h5py.SoftLink("/entry/data")
        file["entry/x"] = np.arange(31.0)
    return out.getvalue()


def _hdf5(_: Path) -> list[Files]:
    every: list[dict[str, Any]] = [
        {"libver": "earliest"},
        {"libver": "earliest", "chunks": (2, 7, 9), "compression": "gzip", "shuffle": True},
        {"libver": "latest", "chunks": (3, 20, 31), "compression": "lzf"},
        {"libver": "earliest", "chunks": (2, 10, 31), "fletcher32": True, "maxshape": (None, 20, 31)},
        {"libver": "earliest", "chunks": (6, 20, 31), "scaleoffset": 10},
        *({"libver": "earliest", "chunks": (6, 20, 31), **filters} for filters in _FILTERS),
    ]
    return [*({"a.h5": _hdf5_bytes(**options)} for options in every), {"a.h5": _table()}]


def _table() -> bytes:
    """A compound type, and big-endian numbers."""
    table = np.zeros(VOLUME.shape[:2], [("a", ">f8"), ("b", "<i2"), ("z", "<c8")])
    table["a"], table["b"], table["z"] = VOLUME[..., 0], VOLUME[..., 1], VOLUME[..., 2]
    out = io.BytesIO()
    with h5py.File(out, "w", libver="earliest") as file:
        file["table"] = table
    return out.getvalue()


def _nexus(_: Path) -> list[Files]:
    out = io.BytesIO()
    with h5py.File(out, "w", libver="earliest") as file:
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["z", "y", "x"]})
        data["counts"] = VOLUME
        for name, length in zip("zyx", VOLUME.shape, strict=True):
            data[name] = np.arange(length, dtype="<f8")
        file.attrs["default"] = "entry"
    return [{"a.nxs": out.getvalue()}]


def _netcdf_bytes(folder: Path, kind: Any) -> bytes:
    path = folder / f"{kind}.nc"
    with netCDF4.Dataset(path, "w", format=kind) as file:
        for name, length in (("time", None), ("y", 20), ("x", 31)):
            file.createDimension(name, length)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 2000-01-01"
        time[:] = np.arange(6)
        for name in ("air", "sea"):
            variable = file.createVariable(name, "i2", ("time", "y", "x"), fill_value=-9)
            variable.scale_factor = 0.5
            variable.set_auto_maskandscale(False)
            variable[:] = VOLUME.astype("<i2")
    return path.read_bytes()


def _classic(folder: Path) -> list[Files]:
    kinds = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")
    return [{"a.nc": _netcdf_bytes(folder, kind)} for kind in kinds]


def _netcdf4(folder: Path) -> list[Files]:
    return [{"a.nc": _netcdf_bytes(folder, kind)} for kind in ("NETCDF4", "NETCDF4_CLASSIC")]


def _idx(folder: Path) -> list[Files]:
    """As scray writes them; what OpenVisus and older programs write lies in tests/data/idx."""
    from converters.convert import convert
    from converters.plan import Choices
    from converters.prepare import Job
    from converters.run import Serial

    data = Path(__file__).parents[1] / "tests" / "data" / "idx"
    made = [_files_of(data / name) for name in ("cat_gray", "cat_rgb")]
    (folder / "a.tif").write_bytes(_tiff_bytes())
    for codec, profile in (("zip", "local"), ("fast", "local"), ("zip", "cloud")):
        out = folder / f"{codec}-{profile}"
        convert(Job(folder, ("a.tif",), "TIFF", {}, Choices(codec, profile)), out, Serial())
        kept = {n: c for n, c in _files_of(out).items() if n.endswith((".idx", ".bin"))}
        made.append(kept)
    return made


def _midx(folder: Path) -> list[Files]:
    (first, *_) = _idx(folder)
    header = b"<dataset typename='IdxMultipleDataset'><dataset name='a' url='./A/gray.idx' /></dataset>"
    return [{"visus.midx": header, **{f"A/{name}": content for name, content in first.items()}}]


def _zip_bytes(members: Files, method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _members() -> Files:
    return {"scan/a.tif": _tiff_bytes(data=VOLUME[0]), "scan/b.tif": _tiff_bytes(data=VOLUME[1])}


def _zips(_: Path) -> list[Files]:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    return [{"a.zip": _zip_bytes(_members(), method)} for method in methods]


def _sevens(_: Path) -> list[Files]:
    made = []
    for filters in (None, [{"id": py7zr.FILTER_COPY}], [{"id": py7zr.FILTER_DEFLATE}]):
        out = io.BytesIO()
        archive = py7zr.SevenZipFile(out, "w", filters=filters)
        archive.set_encoded_header_mode(filters is None)
        for name, content in _members().items():
            archive.writestr(content, name)
        archive.close()
        made.append({"a.7z": out.getvalue()})
    return made


def _tar_bytes(kind: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, content in _members().items():
            info = tarfile.TarInfo(name if kind == tarfile.USTAR_FORMAT else f"{'long' * 30}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _tars(_: Path) -> list[Files]:
    return [{"a.tar": _tar_bytes(kind)} for kind in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]


def _streams(_: Path) -> list[Files]:
    image, tar = _tiff_bytes(data=VOLUME[0]), _tar_bytes(tarfile.USTAR_FORMAT)
    zstd = zstandard.ZstdCompressor(write_checksum=True)
    return [
        {"a.tif.gz": gzip.compress(image)},
        {"a.tar.gz": gzip.compress(tar)},
        {"a.tif.xz": lzma.compress(image)},
        {"a.tif.bz2": bz2.compress(image)},
        {"a.tif.zst": zstd.compress(image)},
    ]


TARGETS = (
    Target("tiff", "TIFF", _tiffs),
    Target("tiff picture", "TIFF RGB", _tiff_pictures),
    Target("png", "RGB", _pngs, repair=repair_png),
    Target("jpeg", "RGB", _jpegs),
    Target("exif", "RGB", _exif),
    Target("mapir", "MAPIR", _mapir),
    Target("hdf5", "HDF5", _hdf5),
    Target("nexus", "4D_NEXUS", _nexus),
    Target("netcdf classic", "NETCDF", _classic),
    Target("netcdf4", "NETCDF", _netcdf4),
    Target("idx header", "IDX", _idx, (".idx",)),
    Target("idx block file", "IDX", _idx, (".bin",)),
    Target("idx repack", "IDX", _idx, parameters={"repack": "true"}),
    Target("midx", "IDX", _midx, (".midx",)),
    Target("zip", "TIFF", _zips, sealed_contents=True),
    Target("7z", "TIFF", _sevens, sealed_contents=True),
    Target("tar", "TIFF", _tars),
    Target("compressed", "TIFF", _streams, sealed_contents=True),
    Target("other", "OTHER", _hdf5),
)


def packed() -> list[bytes]:
    """Every content that the archives of the targets hold."""
    return [*_members().values(), _tiff_bytes(data=VOLUME[0])]
