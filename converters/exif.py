"""What cameras note beside the pixels: Exif (CIPA DC-008), position and ICC profiles, as JSON and as numbers."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import ExifTags, Image, TiffImagePlugin

from converters.jsonsafe import json_safe

_BLOCKS = {"photo": 0x8769, "gps": 0x8825, "interoperability": 0xA005}
_POINTERS = frozenset(_BLOCKS.values())
MAX_NOTE_BYTES = 1024  # a maker's private note is only worth its beginning
MAX_ICC_BYTES = 1 << 20
MAX_XMP_BYTES = 1 << 20

Exif = dict[str, dict[str, Any]]
_XMP = re.compile(
    rb"""(RelativeAltitude|GimbalYawDegree|FlightYawDegree)(?:\s*=\s*["']|>)\s*([+-]?\d{1,9}(?:\.\d{1,12})?)"""
)


def read_exif(data: bytes) -> Exif:
    """The blocks "image", "photo", "gps" of an Exif block, by tag name; empty where it cannot be read."""
    return read_exif_file(io.BytesIO(data.removeprefix(b"Exif\0\0"))) if data else {}


def read_exif_file(file: BinaryIO) -> Exif:
    """The same of an open file that begins as a TIFF does."""
    exif = Image.Exif()
    found: Exif = {}
    try:
        with warnings.catch_warnings(action="ignore"):  # what is broken is told by what is left out
            exif.load_from_fp(file)
        found["image"] = _named(exif, ExifTags.TAGS)
        for name, pointer in _BLOCKS.items():
            block = exif.get_ifd(pointer)
            if block:
                found[name] = _named(block, ExifTags.GPSTAGS if name == "gps" else ExifTags.TAGS)
    except Exception:  # hostile or broken notes must not keep anybody from the pixels
        return found
    return {name: values for name, values in found.items() if values}


def with_xmp(exif: Exif, text: bytes) -> Exif:
    """Exif, and as its block "xmp" what drones note: height above the start (m), yaw of camera and craft (degrees)."""
    found = {name.decode(): float(value) for name, value in _XMP.findall(text[:MAX_XMP_BYTES])}
    return {**exif, "xmp": found} if found else exif


def _named(block: Mapping[int, Any], names: Mapping[int, str]) -> dict[str, Any]:
    return {names.get(tag, f"tag_{tag}"): _plain(value) for tag, value in block.items() if tag not in _POINTERS}


def _plain(value: Any) -> Any:
    if isinstance(value, TiffImagePlugin.IFDRational):
        return float(value) if value.denominator else math.nan
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value[:1000]]
    return value[:MAX_NOTE_BYTES] if isinstance(value, bytes) else value


def orientation_of(exif: Exif) -> int:
    """1 to 8; 1 where nothing sensible is said."""
    value = exif.get("image", {}).get("Orientation", 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def model_of(exif: Exif) -> str:
    value = exif.get("image", {}).get("Model", "")
    return value.strip("\0 ") if isinstance(value, str) else ""


def number(exif: Exif, block: str, name: str) -> float | None:
    """A finite number that a tag holds."""
    found: object = exif.get(block, {}).get(name)
    value: object = found[0] if isinstance(found, list) and len(found) == 1 else found
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def position_of(exif: Exif) -> tuple[float, float] | None:
    """Latitude and longitude in degrees; None without a fix: cameras without one write a block of zeros."""
    latitude, longitude = _degrees(exif, "Latitude", "NS", 90.0), _degrees(exif, "Longitude", "EW", 180.0)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    return latitude, longitude


def hemisphere(exif: Exif, name: str) -> str:
    """The letter that says which half of the globe a "Latitude" or "Longitude" is in, capital; "" where none is."""
    said = exif.get("gps", {}).get(f"GPS{name}Ref", "")
    text = said.decode("latin-1") if isinstance(said, bytes) else str(said)
    return text.strip("\0 ")[:1].upper()


def _degrees(exif: Exif, name: str, letters: str, limit: float) -> float | None:
    found = exif.get("gps", {}).get(f"GPS{name}")
    parts = [found] if isinstance(found, (int, float)) else found
    if not isinstance(parts, list) or not 1 <= len(parts) <= 3:
        return None
    if not all(isinstance(p, (int, float)) and math.isfinite(p) and p >= 0 for p in parts):
        return None
    degrees = float(sum(p / 60**i for i, p in enumerate(parts)))
    said = hemisphere(exif, name)
    if degrees > limit or said not in letters:
        return None
    return -degrees if said == letters[1] else degrees


def icc_record(profile: bytes) -> dict[str, Any]:
    """An ICC profile for metadata.json, whole unless it is very large."""
    record: dict[str, Any] = {"bytes": len(profile), "sha256": hashlib.sha256(profile).hexdigest()}
    if len(profile) <= MAX_ICC_BYTES:
        record["base64"] = base64.b64encode(profile).decode()
    return record


def exif_record(exif: Exif) -> dict[str, Any]:
    """Exif for metadata.json."""
    safe = json_safe(exif)
    return safe if isinstance(safe, dict) else {}
