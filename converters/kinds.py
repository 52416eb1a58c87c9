"""The registry of kinds of content: what each is called, how its files begin, and which module converts it.

Adding a format is one module with `probe` and `open_volume`, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`told` is what a sentence calls it; `magic` are bytes from `at` on; `module` of `converters` reads it, if any."""

    told: str
    magic: tuple[bytes, ...] = ()
    module: str = ""
    at: int = 0


HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_RAW = "a camera's raw photo (develop it to TIFF or JPEG)"

KINDS = {
    "cr2": Kind(_RAW, (b"II*\0\x10\0\0\0CR\x02",)),  # a TIFF whose first page is a preview
    "tiff": Kind("a TIFF image", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "tiff"),
    "hdf5": Kind("an HDF5 file", (HDF5_SIGNATURE,), "hdf5"),
    "netcdf": Kind("a NetCDF file", (b"CDF\x01", b"CDF\x02", b"CDF\x05"), "netcdf"),
    "idx": Kind("an IDX header", module="idx"),
    "midx": Kind("a description of several IDX datasets"),
    "hdf4": Kind("an HDF4 file", (b"\x0e\x03\x13\x01",)),
    "png": Kind("a PNG image", (b"\x89PNG\r\n\x1a\n",), "rgb"),
    "jpeg": Kind("a JPEG image", (b"\xff\xd8\xff",), "rgb"),
    "gif": Kind("a GIF image (save it as PNG)", (b"GIF8",)),
    "bmp": Kind("a BMP image (save it as PNG or TIFF)"),
    "webp": Kind("a WebP image (save it as PNG or TIFF)", (b"WEBP",), at=8),
    "heif": Kind(
        "a HEIF photo (save it as JPEG, PNG or TIFF)", (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), at=4
    ),
    "avif": Kind("an AVIF image (save it as PNG or TIFF)", (b"ftypavi",), at=4),
    "cr3": Kind(_RAW, (b"ftypcrx ",), at=4),
    "video": Kind("a video", (b"ftyp",), at=4),
    "jp2": Kind("a JPEG 2000 image (save it as TIFF)", (b"\0\0\0\x0cjP  ", b"\xffO\xffQ")),
    "jxl": Kind("a JPEG XL image (save it as PNG or TIFF)", (b"\0\0\0\x0cJXL ", b"\xff\n")),
    "jxr": Kind("a JPEG XR image (save it as TIFF)", (b"II\xbc\1",)),
    "psd": Kind("a Photoshop document (save it as TIFF)", (b"8BPS",)),
    "exr": Kind("an OpenEXR image (save it as TIFF)", (b"v/1\1",)),
    "raw": Kind(_RAW, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"II\x1a\0\0\0HEAPCCDR")),
    "czi": Kind("a microscope's CZI file (export it as OME-TIFF)", (b"ZISRAWFILE",)),
    "nd2": Kind("a microscope's ND2 file (export it as OME-TIFF)", (b"\xda\xce\xbe\n",)),
    "ole": Kind(
        "a compound document, as of Office or a microscope (export images as OME-TIFF)", (b"\xd0\xcf\x11\xe0",)
    ),
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
    "bufr": Kind("a BUFR file", (b"BUFR",)),
    "cdf": Kind(
        "a NASA CDF file, which is no NetCDF", (b"\xcd\xf3\x00\x01", b"\xcd\xf2\x60\x02", b"\0\0\xff\xff\0\0\xff\xff")
    ),
    "surfer": Kind("a Surfer grid", (b"DSAA", b"DSBB", b"DSRB")),
    "compress": Kind("a file packed by compress (zip, 7z, tar, gz, bz2, xz and zst are unpacked)", (b"\x1f\x9d",)),
    "html": Kind("an HTML page, maybe a server's error", (b"<!DOCTYPE html", b"<!doctype html", b"<html", b"<HTML")),
    "dods": Kind("an answer of an OPeNDAP server, which is no NetCDF file", (b"Dataset {",)),
    "cdl": Kind("NetCDF as text (CDL), of which ncgen makes a file", (b"netcdf ",)),
    "lfs": Kind("a pointer of Git LFS, not the file itself", (b"version https://git-lfs",)),
    "empty": Kind("empty"),
    "text": Kind("a text file"),
    "unknown": Kind("binary data of no known kind"),
}
