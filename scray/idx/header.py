"""The `visus.idx` text header of an IDX dataset, versions 1 to 6; only version 6 is ever written.

The format is the one of OpenVisus; docs/idx.md describes it, and what its reader was seen to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from scray.errors import BadInput, TooLarge, Unsupported
from scray.idx import template
from scray.idx.field import Field, field_names, parse_fields
from scray.idx.timerange import TimeRange

__all__ = ["Field", "Header", "TimeRange", "field_names"]

MAX_TEXT = 4 << 20
MAX_LEVEL = 62
MAX_AXES = 5
MAX_BLOCK_BITS = 24
MAX_TABLE_ENTRIES = 1 << 22
MAX_NUMBER = 2**31 - 1  # no viewer reads a larger one
BLOCK_BYTES_LIMIT = 2**31 - 1  # a block header states a size as a signed 32-bit number

_NO_TEXT = re.compile(r"[^\S \t\r\n]|[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")  # what only some take for a space
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_INTERLEAVE = "interleave block"
_SIZE_KEYS = {"version", "box", "bits", "bitsperblock", "blocksperfile", "interleave", _INTERLEAVE, "arco"}
_OWN_KEYS = _SIZE_KEYS | {"axis", "fields", "time", "filename_template", "missing_blocks"}


@dataclass(frozen=True)
class Header:
    """What an IDX header says, checked: values are in range and the box lies inside the bitmask's lattice.

    `box` holds (low, high) of each axis, both inclusive, x first. `bitmask` is "V" and one axis digit a
    level, coarse to fine. `arco` is 0, or the block size in bytes of a dataset with one file a block. `name`
    is the stem of the header's file name; ARCO blocks lie in a folder of that name. `axis`: names, x first.
    """

    box: tuple[tuple[int, int], ...]
    bitmask: str
    bits_per_block: int
    blocks_per_file: int
    fields: tuple[Field, ...]
    time: TimeRange | None = None
    filename_template: str = "./visus/%04x.bin"
    arco: int = 0
    axis: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    version: int = 6
    interleave: int = 0
    name: str = "visus"

    def __post_init__(self) -> None:
        _check_lattice(self)
        _check_sizes(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples along each axis, C order (z y x)."""
        return tuple(high - low + 1 for low, high in reversed(self.box))

    @property
    def max_level(self) -> int:
        """The finest level; level 0 is a single sample."""
        return len(self.bitmask) - 1

    @property
    def total_blocks(self) -> int:
        """Block numbers run below this; those without a sample in the box are never stored."""
        return 1 << (self.max_level - self.bits_per_block)

    @property
    def block_samples(self) -> int:
        return 1 << self.bits_per_block

    def steps(self) -> Iterator[int]:
        """The time steps; the single step 0 where there is no time."""
        return iter((0,)) if self.time is None else self.time.steps()

    @property
    def step_count(self) -> int:
        return 1 if self.time is None else len(self.time)

    def block_bytes(self, index: int) -> int:
        """Bytes of one decoded block of a field."""
        return self.fields[index].sample_bytes << self.bits_per_block

    def position_in_file(self, block: int) -> int:
        """Which of the entries of its file a block has."""
        return (block // max(1, self.interleave)) % self.blocks_per_file

    def block_file(self, block: int, field_name: str, step: int) -> str:
        """The file of a block of a field at a time step, relative to the folder of the header.

        Raises UnsafePath where a template leads out of that folder, BadInput where it makes no sense.
        """
        if self.arco:
            return str(template.beside(template.arco_name(self.name, step, field_name, block)))
        first = block - max(1, self.interleave) * self.position_in_file(block)
        folder = template.time_folder(self.time.template, step) if self.time else ""
        build = template.block_name if self.version >= 5 else template.printed_name
        return str(template.beside(build(self.filename_template, folder, first)))

    def format(self) -> str:
        """The header as text, version 6. Raises BadInput for what the format cannot say."""
        if self.version != 6:
            raise Unsupported("only version 6 of the IDX format is written")
        lines = ["(version)", "6", "(box)", " ".join(f"{low} {high}" for low, high in self.box)]
        if self.axis:
            lines += ["(axis)", " ".join(self.axis)]
        lines += ["(fields)", *(("+ " if i else "") + f.format() for i, f in enumerate(self.fields))]
        lines += ["(bits)", self.bitmask, "(bitsperblock)", str(self.bits_per_block)]
        lines += ["(blocksperfile)", str(self.blocks_per_file), f"({_INTERLEAVE})", str(self.interleave)]
        time = self.time.format(bool(self.arco)) if self.time else ""
        lines += ["(time)", time] if time else []
        lines += ["(filename_template)", self.filename_template]
        lines += ["(missing_blocks)", "0", "(arco)", str(self.arco)]
        for key, value in sorted(self.metadata.items()):
            lines += [f"({_safe_key(key)})", _safe_value(key, value)]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str, name: str = "visus") -> Header:
        """Read a header of any version. `name` is the stem of its file name, for templates it leaves out.

        Raises BadInput, Unsupported or HostileInput; sizes are bounded before anything is built from them.
        """
        said = _sections(text)
        version = _one(said, "version")
        if not 1 <= version <= 6:
            raise BadInput(f"the IDX header is of version {version}; versions 1 to 6 exist")
        fields = parse_fields(said.get("fields", ""))
        if version < 6:  # always hierarchical Z order
            fields = tuple(replace(f, row_major=False) for f in fields)
        bitmask = said.get("bits", "")
        _check_bitmask(bitmask)
        arco, _ = _one(said, "arco", 0), _one(said, "missing_blocks", 0)
        bits, per_file = _block_sizes(said, bitmask, fields, arco)
        file_names = said.get("filename_template") or template.default_template(name, len(bitmask) - 1, bits)
        return cls(
            box=_box(said, bitmask),
            bitmask=bitmask,
            bits_per_block=bits,
            blocks_per_file=per_file,
            fields=fields,
            time=TimeRange.parse(said["time"]) if "time" in said else None,
            filename_template=file_names,
            arco=arco,
            axis=tuple(said.get("axis", "").split()),
            metadata={key: value for key, value in said.items() if key not in _OWN_KEYS},
            version=version,
            interleave=_one(said, _INTERLEAVE, _one(said, "interleave", 0)),
            name=name,
        )


def _check_bitmask(bitmask: str) -> None:
    if bitmask[:1] == "F":
        raise Unsupported("the IDX dataset keeps every level in full (bits that begin with F), which cannot be read")
    if not re.fullmatch(r"V[0-9]+", bitmask, re.ASCII):
        raise BadInput(f"the bits of the IDX header make no sense: {bitmask[:80]!r}")
    if _axes(bitmask) > MAX_AXES:
        raise Unsupported(f"the IDX dataset has more than {MAX_AXES} axes")
    if len(bitmask) - 1 > MAX_LEVEL:
        raise TooLarge(f"the IDX header speaks of {len(bitmask) - 1} levels, at most {MAX_LEVEL} are read")


def _check_lattice(header: Header) -> None:
    """The box must lie inside the lattice that the bits span."""
    _check_bitmask(header.bitmask)
    axes = _axes(header.bitmask)
    if len(header.box) != axes:
        raise BadInput(f"the box of the IDX header has {len(header.box)} axes, its bits {axes}")
    for axis, (low, high) in enumerate(header.box):
        if not 0 <= low <= high < 1 << header.bitmask.count(str(axis)):
            raise BadInput(f"the box of the IDX header does not fit its bits along axis {axis}: {low} to {high}")


def _check_sizes(header: Header) -> None:
    if not 0 <= header.bits_per_block <= min(header.max_level, MAX_BLOCK_BITS):
        raise TooLarge(f"the IDX header asks for blocks of 2^{header.bits_per_block} samples")
    if not header.fields:
        raise BadInput("the IDX header names no field")
    if header.blocks_per_file < 1 or header.interleave < 0 or header.arco < 0:
        raise BadInput("the IDX header has a negative number where a size belongs")
    if header.arco and header.blocks_per_file != 1:
        raise BadInput("an ARCO dataset has one block a file")
    if header.blocks_per_file * len(header.fields) > MAX_TABLE_ENTRIES:
        raise TooLarge(
            f"the IDX header asks for files of {header.blocks_per_file} blocks of {len(header.fields)} fields"
        )
    if max(f.sample_bytes for f in header.fields) << header.bits_per_block > BLOCK_BYTES_LIMIT:
        raise TooLarge("the IDX header asks for blocks of 2 GiB or more")


def _sections(text: str) -> dict[str, str]:
    """A line that begins with `(` is a key; the lines up to the next one are its value, joined by spaces."""
    if len(text) > MAX_TEXT:
        raise TooLarge("the IDX header is larger than any header can be")
    if text.lstrip()[:1] == "<":
        raise Unsupported("this is an XML description of a composed or remote dataset, not an IDX header")
    if strange := _NO_TEXT.search(text):
        raise BadInput(f"the IDX header holds {strange[0]!r}, which viewers do not read as text")
    found: dict[str, list[str]] = {}
    key: str | None = None
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line.startswith("("):
            key = line[1:-1]  # to the letter: ( box ) is another key to viewers
            if not line.endswith(")"):
                raise BadInput(f"the IDX header has a key without its closing bracket: {line[:80]!r}")
            found[key] = []
        elif key is None:
            raise BadInput("this is not an IDX header: it does not begin with a (key)")
        else:
            found[key].append(line)
    return {name: " ".join(lines) for name, lines in found.items()}


def _integers(text: str) -> tuple[int, ...]:
    words = text.split()
    if not all(_INTEGER.fullmatch(word) for word in words):
        raise BadInput(f"the IDX header has {text[:80]!r} where integers belong")
    return tuple(int(word) for word in words)


def _one(said: dict[str, str], key: str, default: int | None = None) -> int:
    values = _integers(said.get(key, ""))
    if not values and default is not None:
        return default
    if len(values) != 1:
        raise BadInput(f"the IDX header has no number for ({key})")
    if abs(values[0]) > MAX_NUMBER:
        raise TooLarge(f"the IDX header has the number {values[0]} for ({key}), which no viewer reads")
    return values[0]


def _box(said: dict[str, str], bitmask: str) -> tuple[tuple[int, int], ...]:
    """The box as far as the bits know of axes; old headers always write five axes."""
    low_high = _integers(said.get("box", ""))
    axes = _axes(bitmask)
    if len(low_high) < 2 * axes:
        raise BadInput(f"the box of the IDX header has {len(low_high)} numbers, its bits speak of {axes} axes")
    return tuple(zip(low_high[: 2 * axes : 2], low_high[1 : 2 * axes : 2], strict=True))


def _axes(bitmask: str) -> int:
    return int(max(bitmask[1:])) + 1


def _block_sizes(said: dict[str, str], bitmask: str, fields: tuple[Field, ...], arco: int) -> tuple[int, int]:
    """Bits per block and blocks per file, by the rules that readers apply to absent and impossible values."""
    max_level = len(bitmask) - 1
    said_bits, per_file = _one(said, "bitsperblock", 0), _one(said, "blocksperfile", 0)
    if said_bits < 0:
        raise TooLarge(f"the IDX header asks for blocks of 2^{said_bits} samples")
    if arco > 0:
        return min(max_level, int(math.log2(max(1, arco // max(f.sample_bytes for f in fields))))), 1
    bits = min(said_bits or 16, max_level)
    if not 0 < bits <= MAX_BLOCK_BITS:
        raise TooLarge(f"the IDX header asks for blocks of 2^{bits} samples")
    one_file = per_file == 0 and "%" not in said.get("filename_template", "%")
    return bits, 1 << (max_level - bits) if per_file == -1 or one_file else per_file


def _safe_key(key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_ .-]*", key) or key in _OWN_KEYS:
        raise BadInput(f"{key[:80]!r} cannot be a key of an IDX header")
    return key


def _safe_value(key: str, value: str) -> str:
    if value.strip()[:1] in ("(", "#", "") or len(value.splitlines()) > 1:
        raise BadInput(f"the value of {key} cannot be written into an IDX header: {value[:80]!r}")
    return value
