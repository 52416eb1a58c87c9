"""TIFF files as people and fuzzers have them: every oddity is read exactly, or refused by name."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from converters import registry
from converters.volume import Array
from scray.errors import ScrayError, Unsupported
from tests.formats import pattern
from tests.quirks import same
from tests.tiffs import REVERSED, Page, grey, tiff

Expected = Array | str  # or the code of the error
CASES: list[Any] = []
HEIGHT, WIDTH, ROWS = 30, 40, 7
ARRAY = pattern((HEIGHT, WIDTH), "u1")
OTHER = pattern((HEIGHT, WIDTH), "u1", 1)
PLAIN = grey(WIDTH, HEIGHT, ROWS)


def strips(array: Array = ARRAY, pack: Callable[[bytes], Any] = bytes, rows: int = ROWS) -> list[bytes]:
    return [bytes(pack(array[top : top + rows].tobytes())) for top in range(0, len(array), rows)]


def tiles(array: Array = ARRAY) -> list[bytes]:
    whole = np.zeros((32, 48), array.dtype)
    whole[:HEIGHT, :WIDTH] = array
    return [whole[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16, 32)]


def case(name: str, data: bytes, expected: Expected, sensor: str = "TIFF") -> None:
    CASES.append(pytest.param(sensor, data, expected, id=name.replace(" ", "-")))


def found(root: Path, sensor: str, data: bytes) -> Expected:
    """The principal array in source axes, or the code of the error."""
    (root / "a.tif").write_bytes(data)
    try:
        volume = registry.probe(sensor, root, ("a.tif",), {}).volumes[0]
        with registry.open_volume(root, volume) as reader:
            return reader.read_source(tuple((0, n) for n in volume.source_shape))
    except ScrayError as error:
        return error.code if "a.tif" in error.message else f"nameless {error.message}"


def packbits(data: bytes) -> bytes:
    """Literal runs of one row each: PackBits does not run on into the next row."""
    rows = [data[at : at + WIDTH] for at in range(0, len(data), WIDTH)]
    return b"".join(bytes([len(row) - 1]) + row for row in rows)


# --- where the pixels lie ------------------------------------------------------------------------

for _order in "<>":
    for _big in (False, True):
        case(f"plain {_order}{_big}", tiff(Page(PLAIN, strips()), order=_order, big=_big), ARRAY)
_BOTH = np.stack([ARRAY, OTHER])
_FIRST, _SECOND = Page(PLAIN, strips()), Page(PLAIN, strips(OTHER))
case("two pages", tiff(_FIRST, _SECOND), _BOTH)
case("strips of the second page out of order", tiff(_FIRST, _SECOND._replace(order=[0, 2, 1, 4, 3])), _BOTH)
case("strips of the first page out of order", tiff(_FIRST._replace(order=[4, 3, 2, 1, 0]), _SECOND), _BOTH)
case("no rows per strip", tiff(Page(PLAIN | {278: ("I", None)}, [ARRAY.tobytes()])), ARRAY)
case("endless rows per strip", tiff(Page(PLAIN | {278: ("I", 2**32 - 1)}, [ARRAY.tobytes()])), ARRAY)
case("no rows at all per strip", tiff(Page(PLAIN | {278: ("I", 0)}, strips())), "bad-input")
case("one strip without its size", tiff(Page(grey(WIDTH, HEIGHT) | {279: ("I", None)}, [ARRAY.tobytes()])), ARRAY)
case("strips without offsets", tiff(Page(PLAIN | {273: ("I", None)}, strips())), "bad-input")
case("strips in the header", tiff(Page(PLAIN | {273: ("I", [0] * 5)}, strips())), "bad-input")
case("strips behind the end", tiff(Page(PLAIN | {273: ("I", [10**6] * 5)}, strips())), "truncated-input")
case("strips beyond any file", tiff(Page(PLAIN | {273: ("Q", [2**63] * 5)}, strips()), big=True), "truncated-input")
case("strips without bytes", tiff(Page(PLAIN | {279: ("I", [0] * 5)}, strips())), "bad-input")
case("strips that are too short", tiff(Page(PLAIN | {279: ("I", [10] * 5)}, strips())), "bad-input")
_TILED = {code: value for code, value in PLAIN.items() if code != 278} | {322: ("I", 16), 323: ("I", 16)}
case("tiles over the edge", tiff(Page(_TILED, tiles())), ARRAY)
case("tiles out of order", tiff(Page(_TILED, tiles(), [5, 0, 4, 1, 3, 2])), ARRAY)
case("a tile too few", tiff(Page(_TILED, tiles()[:-1])), "bad-input")
case("a tile too many", tiff(Page(_TILED, [*tiles(), tiles()[0]])), "bad-input")
case("tiles without width", tiff(Page(_TILED | {322: ("I", 0)}, tiles())), "bad-input")
case("a tile of a terabyte", tiff(Page(_TILED | {322: ("I", 1 << 30), 323: ("I", 1 << 30)}, tiles()[:1])), "bad-input")
case("pages in a circle", tiff(_FIRST)[:-4] + tiff(_FIRST)[4:8], "bad-input")

_ONE = grey(WIDTH, HEIGHT)
_AT_TAGS = 8 + len(ARRAY.tobytes())
case("one strip in the header", tiff(Page(_ONE | {273: ("I", 4)}, [ARRAY.tobytes()])), "bad-input")
case("one strip in a long header", tiff(Page(_ONE | {273: ("Q", 8)}, [ARRAY.tobytes()]), big=True), "bad-input")
for _start in (_AT_TAGS, _AT_TAGS - 50):
    _behind = tiff(Page(_ONE | {273: ("I", _start)}, [ARRAY.tobytes()])) + bytes(1200)
    case(f"pixels that are tags at {_start}", _behind, "bad-input")
case("strips over each other", tiff(Page(PLAIN | {273: ("I", [8, 108, 208, 308, 408])}, strips())), "bad-input")
_OVER = [_AT_TAGS - 280 * n for n in range(5)]
case("strips over tags", tiff(Page(PLAIN | {273: ("I", _OVER)}, strips())) + bytes(280), "bad-input")
case("a strip that serves twice", tiff(Page(PLAIN | {273: ("I", [288, 8, 288, 8, 1128])}, strips())),
     ARRAY[np.r_[7:14, 0:7, 7:14, 0:7, 28:30]])  # fmt: skip
_EDGE = grey(8, 8) | {322: ("I", 16), 323: ("I", 16), 278: ("I", None)}
case("a tile without its margin", tiff(Page(_EDGE, [bytes(range(64))])), "bad-input")
case("strips and tiles", tiff(Page(_TILED | {273: ("I", 8), 279: ("I", 1200)}, tiles())), "bad-input")

# --- compression ---------------------------------------------------------------------------------

_PACKED: dict[str, tuple[int, Callable[[bytes], Any]]] = {
    "deflate": (8, zlib.compress),
    "old deflate": (32946, zlib.compress),
    "lzw": (5, imagecodecs.lzw_encode),
    "packbits": (32773, packbits),
    "zstd": (50000, imagecodecs.zstd_encode),
    "lzma": (34925, imagecodecs.lzma_encode),
}
for _name, (_code, _pack) in _PACKED.items():
    _tags = PLAIN | {259: ("H", _code)}
    _pieces = strips(pack=_pack)
    case(_name, tiff(Page(_tags, _pieces)), ARRAY)
    case(
        f"{_name}, bits low to high",
        tiff(Page(_tags | {266: ("H", 2)}, [p.translate(REVERSED) for p in _pieces])),
        ARRAY,
    )
    case(
        f"{_name} cut",
        tiff(Page(_tags, [*_pieces[:2], _pieces[2][: len(_pieces[2]) * 2 // 3], *_pieces[3:]])),
        "bad-input",
    )
    _filled = [*strips(pack=_pack)[:-1], bytes(_pack(ARRAY[28:].tobytes() + bytes(5 * WIDTH)))]
    case(f"{_name}, last strip filled up", tiff(Page(_tags, _filled)), ARRAY)
    case(f"{_name}, a strip of too few rows", tiff(Page(_tags, [*_pieces[:2], _pieces[4], *_pieces[3:]])), "bad-input")
_DEFLATE = PLAIN | {259: ("H", 8)}
_SPOILT = bytearray(zlib.compress(ARRAY[14:21].tobytes()))
_SPOILT[-1] ^= 1
_PIECES = strips(pack=zlib.compress)
case("deflate with a wrong checksum", tiff(Page(_DEFLATE, [*_PIECES[:2], bytes(_SPOILT), *_PIECES[3:]])), "bad-input")
case("a strip that unpacks to 50 MB", tiff(Page(_DEFLATE, [zlib.compress(bytes(50 << 20))] * 5)), "bad-input")
case("a compression nobody knows", tiff(Page(PLAIN | {259: ("H", 60001)}, strips())), "unsupported")
case("colours as logarithms", tiff(Page(PLAIN | {259: ("H", 34676)}, strips())), "unsupported")
_PHOTO = [bytes(imagecodecs.jpeg8_encode(OTHER)), bytes(1000)]
for _code in (6, 7):
    _tags = grey(WIDTH, HEIGHT) | {259: ("H", _code)}
    case(f"JPEG {_code}, filled up", tiff(Page(_tags, [b"".join(_PHOTO)])), imagecodecs.jpeg8_decode(_PHOTO[0]))
    _cut = _PHOTO[0][:-300] + _PHOTO[1]
    case(f"JPEG {_code}, cut and filled up", tiff(Page(_tags, [_cut])), "truncated-input")
case("the old way of JPEG", tiff(Page(PLAIN | {259: ("H", 6)}, strips())), "unsupported")
_STEPS = np.diff(ARRAY, axis=1, prepend=np.zeros((HEIGHT, 1), "u1"))
_DIFFERENCES = _DEFLATE | {317: ("H", 2)}
case("differences of columns", tiff(Page(_DIFFERENCES, strips(_STEPS, zlib.compress))), ARRAY)
case("differences where nothing is packed", tiff(Page(PLAIN | {317: ("H", 2)}, strips())), "unsupported")
_COMPLEX = PLAIN | {258: ("H", 64), 339: ("H", 6), 259: ("H", 8), 317: ("H", 2)}
case("differences of complex numbers", tiff(Page(_COMPLEX, strips(pack=zlib.compress))), "unsupported")
case("a predictor nobody knows", tiff(Page(_DEFLATE | {317: ("H", 9)}, strips(pack=zlib.compress))), "unsupported")
case("float differences of integers", tiff(Page(_DEFLATE | {317: ("H", 3)}, strips(pack=zlib.compress))), "bad-input")

# --- types and colours ---------------------------------------------------------------------------

case("signed", tiff(Page(PLAIN | {339: ("H", 2)}, strips())), ARRAY.view("i1"))
case("floats of 8 bits", tiff(Page(PLAIN | {339: ("H", 3)}, strips())), "unsupported")
case("an order of bits nobody knows", tiff(Page(PLAIN | {266: ("H", 3)}, strips())), "bad-input")
case("no samples", tiff(Page(PLAIN | {277: ("H", 0)}, strips())), "bad-input")
case("no bits", tiff(Page(PLAIN | {258: ("H", 0)}, strips())), "unsupported")
case("integers of 24 bits", tiff(Page(grey(WIDTH, HEIGHT, bits=24), [bytes(WIDTH * HEIGHT * 3)])), "unsupported")
_RGB = grey(WIDTH, HEIGHT, t277=3, t262=2)
case(
    "samples of different bits", tiff(Page(_RGB | {258: ("H", [8, 16, 8])}, [bytes(WIDTH * HEIGHT * 4)])), "unsupported"
)
_NARROW = _RGB | {258: ("H", [5, 6, 5])}
case("samples of five and six bits", tiff(Page(_NARROW, [bytes(WIDTH * HEIGHT * 2)])), "unsupported")
case("samples of different kinds", tiff(Page(_RGB | {339: ("H", [1, 2, 1])}, [bytes(WIDTH * HEIGHT * 3)])), "bad-input")
_YCBCR = grey(WIDTH, HEIGHT, t277=3, t262=6)
case("colour at half the pace", tiff(Page(_YCBCR, [bytes(WIDTH * HEIGHT * 3 // 2)])), "unsupported")
_ALL = pattern((HEIGHT, WIDTH, 3), "u1")
case("colour at full pace", tiff(Page(_YCBCR | {530: ("H", [1, 1])}, [_ALL.tobytes()])), _ALL)
for _side in (256, 257):
    case(f"no extent {_side}", tiff(Page(PLAIN | {_side: ("I", 0)}, strips())), "bad-input")
_VAST = {256: ("I", 2**31), 257: ("I", 2**31)}
case("4 EiB of pixels", tiff(Page(PLAIN | _VAST, strips())), "too-large")
case("a sensor's mosaic of colours", tiff(Page(PLAIN | {262: ("H", 32803)}, strips())), ARRAY)
case("a raw photo of Sony", tiff(Page(PLAIN | {259: ("H", 7), 28672: ("H", 3)}, strips())), "unsupported")

# --- tags that contradict each other -------------------------------------------------------------------------------

_WORDS = {258: ("H", 32)}
_MANY = zlib.compress(ARRAY.tobytes() * 4)
_FLOATING = grey(WIDTH, HEIGHT, t259=8, t317=3) | _WORDS
case("float differences of what is not said to be floats", tiff(Page(_FLOATING, [_MANY])), "bad-input")
case("differences of 12 bits", tiff(Page(grey(WIDTH, HEIGHT, bits=12, t259=8, t317=2), [_MANY])), "unsupported")
for _value in (0, 3):
    case(f"planes of kind {_value}", tiff(Page(_RGB | {284: ("H", _value)}, [_ALL.tobytes()])), "bad-input")
case("one sample with the bits of three", tiff(Page(PLAIN | {258: ("H", [8] * 3)}, strips())), "bad-input")
case("three samples with the bits of two", tiff(Page(_RGB | {258: ("H", [8] * 2)}, [_ALL.tobytes()])), "bad-input")
case("three samples with the bits of four", tiff(Page(_RGB | {258: ("H", [8] * 4)}, [_ALL.tobytes()])), _ALL)
case("three samples with the bits of one", tiff(Page(_RGB, [_ALL.tobytes()])), _ALL)
case("colours without bits", tiff(Page(_RGB | {258: ("H", None)}, [_ALL.tobytes()])), "bad-input")
case("grey without bits", tiff(Page(grey(WIDTH, HEIGHT) | {258: ("H", None)}, [ARRAY[:, :5].tobytes()])),
     np.unpackbits(ARRAY[:, :5], axis=1))  # fmt: skip
case("two width", tiff(Page(PLAIN | {256: ("H", [WIDTH, WIDTH])}, strips())), "bad-input")
_PLANES = [np.ascontiguousarray(_ALL[..., n]).tobytes() for n in range(3)]
_SEPARATE = _RGB | {284: ("H", 2)}
case("three planes", tiff(Page(_SEPARATE, _PLANES)), _ALL)
case("three planes and one place", tiff(Page(_SEPARATE | {273: ("I", [8])}, _PLANES)), "bad-input")

# --- pages that are not slices -------------------------------------------------------------------

_SMALL = grey(20, 10)
case("a thumbnail first", tiff(Page(_SMALL | {254: ("I", 1)}, [bytes(200)]), _FIRST), ARRAY)
case("a thumbnail last", tiff(_FIRST, Page(_SMALL | {254: ("I", 1)}, [bytes(200)])), ARRAY)
case("a mask of bits", tiff(_FIRST, Page(grey(WIDTH, HEIGHT, bits=1, t262=4, t254=4), [bytes(5 * HEIGHT)])), ARRAY)
case("a mask of the image's own type", tiff(_FIRST, Page(PLAIN | {254: ("I", 4)}, strips())), "mixed-input")
_SHEETS = [Page(PLAIN | {254: ("I", 2)}, strips(array)) for array in (ARRAY, OTHER)]
case("pages of a document", tiff(*_SHEETS), _BOTH)
case("a page that is told its default", tiff(_FIRST, Page(PLAIN | {339: ("H", 1)}, strips(OTHER))), _BOTH)
_TURNED = tiff(_FIRST, Page(PLAIN | {274: ("H", 3)}, strips(OTHER)))
case("pages turned differently", _TURNED, _BOTH)
case("pages turned differently as a picture", _TURNED, "mixed-input", "RGB")
_MAPS = [PLAIN | {262: ("H", 3), 320: ("H", [n + k & 0xFFFF for n in range(768)])} for k in (0, 999)]
_COLOURED = tiff(Page(_MAPS[0], strips()), Page(_MAPS[1], strips(OTHER)))
case("pages of different palettes", _COLOURED, _BOTH)
case("pages of different palettes as a picture", _COLOURED, _BOTH, "RGB")


# --- one directory for all images of a stack, as ImageJ writes it -----------------------------------------------------

_COUNTED = grey(WIDTH, HEIGHT) | {270: ("B", b"ImageJ=1.53\nimages=3\nslices=3\n\0")}
_STACK = tiff(Page(_COUNTED, [ARRAY.tobytes()]))
_TWO = OTHER.tobytes() + ARRAY[::-1].tobytes()


def _counted(behind: bytes) -> bytes:
    """Directory and description first, then the pixels of all images."""
    directory = int.from_bytes(_STACK[4:8], "little")
    entries = bytearray(_STACK[directory:])
    text, start = bytes(_COUNTED[270][1]), 8 + len(entries)
    for at in range(2, len(entries) - 4, 12):
        tag = int.from_bytes(entries[at : at + 2], "little")
        if tag in (270, 273):
            entries[at + 8 : at + 12] = (start if tag == 270 else start + len(text)).to_bytes(4, "little")
        if tag == 270:
            entries[at + 2] = 2
    return _STACK[:4] + (8).to_bytes(4, "little") + bytes(entries) + text + ARRAY.tobytes() + behind


case("a counted stack", _counted(_TWO), np.stack([ARRAY, OTHER, ARRAY[::-1]]))
for _lost in (1, WIDTH * HEIGHT - 1, WIDTH * HEIGHT, 2 * WIDTH * HEIGHT - 1):
    for _sensor in ("TIFF", "RGB"):
        case(f"a counted stack cut by {_lost} for {_sensor}", _counted(_TWO[:-_lost]), "truncated-input", _sensor)
case("one image of a counted stack", _counted(b""), ARRAY)
case("one image of a counted stack, directory last", _STACK, ARRAY)


@pytest.mark.parametrize(("sensor", "data", "expected"), CASES)
def test_an_oddity_is_exact_or_refused(tmp_path: Path, sensor: str, data: bytes, expected: Expected) -> None:
    got = found(tmp_path, sensor, data)
    if isinstance(expected, str) or isinstance(got, str):
        assert isinstance(got, str), "it was read"
        assert got == expected
    else:
        assert got.dtype == expected.dtype
        same(got, expected)


@pytest.mark.parametrize(
    ("tags", "words"), [(_YCBCR, "Save it as RGB"), (PLAIN | {259: ("H", 34676)}, "(SGILOG): save it with deflate")]
)
def test_what_no_reader_decodes_is_refused_before_it_is_planned(tmp_path: Path, tags: Any, words: str) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(Page(tags, strips())))
    with pytest.raises(Unsupported, match=re.escape(words)):
        registry.probe("TIFF", tmp_path, ("a.tif",), {})


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_file_cut_anywhere_in_its_tags_is_refused(tmp_path: Path, cut: int) -> None:
    data = tiff(_FIRST)
    got = found(tmp_path, "TIFF", data[: len(data) - cut * 9])
    assert got in ("truncated-input", "bad-input")


def entry(data: bytes, code: int, at: int, value: bytes) -> bytes:
    """A file with these bytes written at a place of a tag's entry: 2 its type, 4 its count, 8 its value."""
    start = int.from_bytes(data[4:8], "little") + 2
    while int.from_bytes(data[start : start + 2], "little") != code:
        start += 12
    return data[: start + at] + value + data[start + at + len(value) :]


_FLOATS = pattern((HEIGHT, WIDTH, 3), "<f4")
_THREE = {258: ("H", [32] * 3), 339: ("H", [3] * 3)}
WHOLE = tiff(
    Page(grey(WIDTH, HEIGHT, t277=3, t262=2) | _THREE, [_FLOATS.tobytes()]),
)
DIFFERENCES = tiff(Page(_DEFLATE | {317: ("H", 2), 266: ("H", 1)}, strips(_STEPS, zlib.compress)))


@pytest.mark.parametrize(
    ("data", "code"),
    [*((WHOLE, code) for code in (256, 257, 258, 259, 262, 277, 339)), *((DIFFERENCES, code) for code in (266, 317))],
)
@pytest.mark.parametrize("value", [(2, b"\xc8\0"), (2, b"\x02\0"), (2, b"\x0b\0"), (4, bytes(4)), (4, b"\0\0\0\x10")])
def test_a_tag_that_decides_the_pixels_is_never_guessed(
    tmp_path: Path, data: bytes, code: int, value: tuple[int, bytes]
) -> None:
    assert isinstance(found(tmp_path, "TIFF", data), np.ndarray)
    assert found(tmp_path, "TIFF", entry(data, code, *value)) == "bad-input"


@pytest.mark.parametrize("code", [258, 339])
def test_a_tag_whose_values_lie_beyond_the_end_is_named(tmp_path: Path, code: int) -> None:
    assert found(tmp_path, "TIFF", entry(WHOLE, code, 8, (10**6).to_bytes(4, "little"))) == "truncated-input"


def test_tags_of_an_image_below_another_are_not_guessed_either(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as out:
        out.write(ARRAY[:8, :8], subfiletype=1, subifds=1, metadata=None)
        out.write(pattern((40, 50), "<f4"), photometric=32803, metadata=None)
    data = path.read_bytes()
    assert isinstance(found(tmp_path, "TIFF", data), np.ndarray)
    spoilt = data.replace(b"\x53\x01\x03\0\x01\0\0\0\x03", b"\x53\x01\xc8\0\x01\0\0\0\x03")
    assert spoilt != data
    assert found(tmp_path, "TIFF", spoilt) == "bad-input"


# --- every width and layout ----------------------------------------------------------------------


def packed(array: Array, bits: int) -> bytes:
    """Samples of any width, high bits first, rows padded to a byte."""
    rows = ("".join(f"{int(value):0{bits}b}" for value in row.ravel()) for row in array)
    padded = (row + "0" * (-len(row) % 8) for row in rows)
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in padded)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 20, 23, 31])
def test_samples_of_any_width(tmp_path: Path, bits: int) -> None:
    array = np.random.default_rng(bits).integers(0, 1 << bits, (9, 13, 3), dtype=np.uint32)
    for order in "<>":
        for reverse in (False, True):
            raw = packed(array, bits)
            tags = grey(13, 9, t277=3, t262=2, t266=2 if reverse else 1) | {258: ("H", [bits] * 3)}
            page = Page(tags, [raw.translate(REVERSED) if reverse else raw])
            got = found(tmp_path, "TIFF", tiff(page, order=order))
            assert not isinstance(got, str), got
            assert np.array_equal(got, array)


LAYOUTS: list[dict[str, Any]] = [
    {"compression": compression, "predictor": predictor, **how}
    for compression, predictor in ((None, 0), ("deflate", 2), ("lzw", 2), ("deflate", 3), ("zstd", 3), ("packbits", 0))
    for how in ({"rowsperstrip": 7}, {"tile": (16, 32)})
]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("samples", [1, 5])
def test_every_type_in_every_layout(tmp_path: Path, dtype: str, samples: int) -> None:
    array = pattern((37, 41, samples), dtype)
    if dtype == "f2":
        array = np.where(np.isnan(array), np.float16(1), array)  # what is widened keeps no bits of a NaN
    for how in LAYOUTS:
        if how["predictor"] == (2 if dtype[0] == "f" else 3):
            continue
        for order in "<>":
            for planar in ("contig", "separate") if samples > 1 else ("contig",):
                stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
                options = {**how, "byteorder": order, "planarconfig": planar if samples > 1 else None}
                path = tmp_path / "made.tif"
                tifffile.imwrite(path, stored, photometric="minisblack", metadata=None, **options)
                got = found(tmp_path, "TIFF", path.read_bytes())
                assert not isinstance(got, str), got
                same(got, array)
