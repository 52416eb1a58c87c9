"""One field of an IDX dataset: its samples, how they are stored, and the line that says so in the header."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scray.errors import BadInput, TooLarge, Unsupported

MAX_FIELDS = 4096
MAX_DEFAULT = 2**31 - 1  # no viewer reads a larger one
MAX_NAME = 64
MAX_COMPONENTS = 1024
MAX_SAMPLE_BYTES = 4096

_WORDS = {
    "|u1": "uint8",
    "|i1": "int8",
    "<u2": "uint16",
    "<i2": "int16",
    "<u4": "uint32",
    "<i4": "int32",
    "<u8": "uint64",
    "<i8": "int64",
    "<f4": "float32",
    "<f8": "float64",
}
_DTYPES = {word: dtype for dtype, word in _WORDS.items()}
_SAMPLE = re.compile(r"(?:(\d{1,4})\*)?([a-z]+\d+)(?:\[(\d{1,4})\])?")
_CODEC = re.compile(r"[A-Za-z0-9_.=-]{1,64}")
_INTEGER = re.compile(r"[+-]?\d{1,20}")
_SOUGHT = ("compression", "compressed", "layout", "format", "value", "filter")


@dataclass(frozen=True)
class Field:
    """Samples of one dtype, one or more components; `codec` is the word of the header (raw, zip, lz4, …).

    `row_major` is the layout new blocks get (and all blocks of an ARCO dataset have); a block file states it
    per block. `minimum` and `maximum` hold one finite number a component, or None where they are not known.
    """

    name: str
    dtype: str  # as numpy writes it, little-endian: "<f4"
    components: int = 1
    codec: str = "zip"
    row_major: bool = True
    default_value: int = 0
    minimum: tuple[float, ...] | None = None
    maximum: tuple[float, ...] | None = None
    filter: str = ""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one element, all its components."""
        return self.components * np.dtype(self.dtype).itemsize

    def format(self) -> str:
        """The field as one line of the header. The codec is always explicit: readers would guess it."""
        parts = [self.name, _sample_word(self), f"default_compression({self.codec})"]
        parts.append("default_layout()" if self.row_major else "default_layout(hzorder)")
        parts.append(f"default_value({self.default_value})")
        if self.filter:
            parts.append(f"filter({self.filter})")
        if self.minimum is not None and self.maximum is not None:
            parts.append(f"min({_numbers(self.minimum)}) max({_numbers(self.maximum)})")
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> Field:
        """A field line of any version: `name dtype`, then words with or without an argument in brackets."""
        words = text.split(maxsplit=2)
        if len(words) < 2:
            raise BadInput(f"a field of the IDX header needs a name and a type: {text[:80]!r}")
        dtype, components = parse_sample(words[1])
        rest = words[2] if len(words) > 2 else ""
        _check_words(rest)
        layout = _argument(rest, "default_layout", "layout", "format") or ""
        return cls(
            name=words[0][:1024],
            dtype=dtype,
            components=components,
            codec=_codec(text),
            row_major=not (layout == "0" or "hz" in layout),
            default_value=_integer(_argument(rest, "default_value") or "0"),
            minimum=_floats(_argument(rest, "min"), components),
            maximum=_floats(_argument(rest, "max"), components),
            filter=_argument(rest, "filter") or "",
        )


def parse_sample(word: str) -> tuple[str, int]:
    """`uint8`, `uint8[3]` or `3*uint8` -> the numpy dtype and the number of components."""
    match = _SAMPLE.fullmatch(word)
    dtype = _DTYPES.get(match[2]) if match else None
    if match is None or dtype is None:
        raise Unsupported(f"the IDX header names samples of type {word[:80]!r}, which cannot be read")
    components = int(match[1] or match[3] or 1)
    if not 1 <= components <= MAX_COMPONENTS or components * np.dtype(dtype).itemsize > MAX_SAMPLE_BYTES:
        raise TooLarge(f"the IDX header asks for {components} components a sample")
    return dtype, components


def parse_fields(text: str) -> tuple[Field, ...]:
    """The value of `(fields)`: field lines separated by a `+` outside of brackets."""
    parts: list[str] = [""]
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            break
        if character == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise BadInput(f"the fields of the IDX header have brackets without a partner: {text[:80]!r}")
    lines = [part.strip() for part in parts if part.strip()]
    if not lines:
        raise BadInput("the IDX header names no field")
    if len(lines) > MAX_FIELDS:
        raise TooLarge(f"the IDX header names {len(lines)} fields, at most {MAX_FIELDS} are read")
    return tuple(Field.parse(line) for line in lines)


def field_names(originals: Iterable[str]) -> tuple[str, ...]:
    """A name every IDX reader accepts for each original: `[A-Za-z0-9_][A-Za-z0-9_-]*`, at most 64 letters.

    Never contains "compressed" (readers take that for a codec); unique ignoring case, by a suffix.
    """
    wanted = [_plain_name(original) for original in originals]
    reserved = {name.lower() for name in wanted}
    taken: set[str] = set()
    out: list[str] = []
    for name in wanted:
        unique, count = name, 1
        while unique.lower() in taken or (count > 1 and unique.lower() in reserved):
            count += 1
            suffix = f"_{count}"
            unique = name[: MAX_NAME - len(suffix)] + suffix
        taken.add(unique.lower())
        out.append(unique)
    return tuple(out)


def _plain_name(original: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", original).lstrip("-")
    while "compressed" in name.lower():
        name = re.sub("compressed", "compr", name, flags=re.IGNORECASE)
    return (name.strip("_") or name)[:MAX_NAME] if name.strip("_-") else "data"


def _sample_word(field: Field) -> str:
    word = _WORDS[field.dtype]
    return word if field.components == 1 else f"{word}[{field.components}]"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(value)).removesuffix(".0") for value in values)


def _argument(text: str, *names: str) -> str | None:
    """What stands in the brackets after the first of these words that is there."""
    for name in names:
        match = re.search(rf"(?:^|[\s)]){name}\(([^)]*)\)", text)
        if match:
            return match[1].strip()
    return None


def _check_words(text: str) -> None:
    """Viewers find `layout(` even within a word or an argument; what they would find alone is refused."""
    for word in _SOUGHT:
        if text.count(f"{word}(") != len(re.findall(rf"(?:^|[\s)])(?:default_)?{word}\(", text)):
            raise BadInput(f"a field of the IDX header has {word!r} where only some readers look for it: {text[:80]!r}")


def _codec(text: str) -> str:
    """Of a whole line: to viewers `compressed` says zip even within a name."""
    word = _argument(text, "default_compression", "compression", "compressed")
    if word is None:
        word = "zip" if "compressed" in text else ""
    if word and not _CODEC.fullmatch(word):
        raise BadInput(f"the IDX header names an impossible codec: {word[:80]!r}")
    return word or "raw"


def _integer(word: str) -> int:
    if not _INTEGER.fullmatch(word) or abs(int(word)) > MAX_DEFAULT:
        raise BadInput(f"the IDX header has {word[:80]!r} where an integer belongs")
    return int(word)


def _floats(text: str | None, components: int) -> tuple[float, ...] | None:
    """One number a component (the last one is repeated); None where nothing finite is said."""
    words = (text or "").split()[:components]
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise BadInput(f"the IDX header has {str(text)[:80]!r} where numbers belong") from error
    if not values or not np.isfinite(values).all():
        return None
    return tuple(values + values[-1:] * (components - len(values)))
