"""The registry of kinds of content: what each is called, how its files begin, and which module converts it.

Adding a format is one module with `probe` and `open_volume`, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`told` is what a sentence calls it; `magic` are first bytes; `module` of `converters` reads it, "" for none."""

    told: str
    magic: tuple[bytes, ...] = ()
    module: str = ""


HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

KINDS = {
    "tiff": Kind("a TIFF image", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "tiff"),
    "hdf5": Kind("an HDF5 file", (HDF5_SIGNATURE,), "hdf5"),
    "netcdf": Kind("a NetCDF file", (b"CDF\x01", b"CDF\x02", b"CDF\x05"), "netcdf"),
    "idx": Kind("an IDX header", module="idx"),
    "midx": Kind("a description of several IDX datasets"),
    "hdf4": Kind("an HDF4 file", (b"\x0e\x03\x13\x01",)),
    "png": Kind("a PNG image", (b"\x89PNG\r\n\x1a\n",), "rgb"),
    "jpeg": Kind("a JPEG image", (b"\xff\xd8\xff",), "rgb"),
    "gif": Kind("a GIF image", (b"GIF8",)),
    "bmp": Kind("a BMP image"),
    "fits": Kind("a FITS file", (b"SIMPLE  =",)),
    "dicom": Kind("a DICOM file"),
    "zip": Kind("a zip archive", (b"PK\x03\x04", b"PK\x05\x06")),
    "gzip": Kind("a gzip archive", (b"\x1f\x8b",)),
    "7z": Kind("a 7z archive", (b"7z\xbc\xaf\x27\x1c",)),
    "xz": Kind("an xz archive", (b"\xfd7zXZ\0",)),
    "bzip2": Kind("a bzip2 archive", (b"BZh",)),
    "zstd": Kind("a zstd archive", (b"\x28\xb5\x2f\xfd",)),
    "tar": Kind("a tar archive"),
    "rar": Kind("a RAR archive (zip, 7z and tar are unpacked)", (b"Rar!\x1a\x07",)),
    "pdf": Kind("a PDF document", (b"%PDF-",)),
    "grib": Kind("a GRIB file", (b"GRIB",)),
    "empty": Kind("empty"),
    "text": Kind("a text file"),
    "unknown": Kind("binary data of no known kind"),
}
