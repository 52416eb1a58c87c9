"""Where a block lies: the file names that an IDX header spells with templates.

Versions 5 and 6 deal the hexadecimal digits of the file's first block out to the `%0Nx` of the template from
right to left; versions 1 to 4 print the number like printf does. The time step stands before the first `%`.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from scray.errors import BadInput, UnsafePath

_DIGITS = re.compile(r"%0([1-9])x")
_PRINTF = re.compile(r"%[-+ 0]*\d{0,2}(?:\.\d{1,2})?[dixX]", re.ASCII)


def time_folder(template: str, step: int) -> str:
    """The time template with the step printed in."""
    return _printf(template, step)


def block_name(template: str, time: str, first_block: int) -> str:
    """The file whose first block is this, versions 5 and 6; `time` is the printed time template."""
    if "%" not in template:
        return template
    pieces = _DIGITS.split(template)  # text, width, text, width, … text
    if any("%" in text for text in pieces[::2]):
        raise BadInput(f"the IDX header has a file name template that cannot be read: {template[:80]!r}")
    tail = pieces[-1]
    widths = [int(width) for width in pieces[1::2]]
    for at in range(len(widths) - 1, -1, -1):
        first_block, digits = _take(first_block, widths[at])
        tail = digits + tail
        if at > 0:
            tail = pieces[2 * at] + tail
    while first_block:  # more digits than the template has places: they become folders
        first_block, digits = _take(first_block, widths[0])
        tail = f"{digits}/{tail}"
    return pieces[0] + time + tail


def printed_name(template: str, time: str, first_block: int) -> str:
    """The name of the file whose first block is this, versions 1 to 4."""
    if "%" not in template:
        return template
    at = template.index("%")
    return template[:at] + time + _printf(template[at:], first_block)


def arco_name(name: str, step: int, field: str, block: int) -> str:
    """The file of one block where every block has its own (ARCO); `name` is the stem of the `.idx` file."""
    digits = f"{block:016x}"
    groups = "/".join(digits[i : i + 4] for i in range(0, 16, 4))
    return f"{name}/{step}/{field}/{groups}.bin"


def default_template(name: str, max_level: int, bits_per_block: int) -> str:
    """The template readers assume where the header has none."""
    bits = max_level - bits_per_block
    folders = max(0, -(-(bits - 16) // 8))
    return f"./{name}" + "/%02x" * folders + "/%04x.bin"


def beside(name: str) -> PurePosixPath:
    """A file name of the header as a path relative to the folder of the header; never outside of it."""
    name = name.removeprefix("$(CurrentFileDirectory)/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or not name.isprintable():
        raise UnsafePath(f"the IDX header points outside its own folder: {name[:80]!r}")
    return path


def _take(address: int, width: int) -> tuple[int, str]:
    """The last `width` hexadecimal digits of an address, and what is left of it."""
    return address >> (4 * width), f"{address & ((1 << 4 * width) - 1):0{width}x}"


def _printf(template: str, number: int) -> str:
    """A template with at most one integer directive, printed."""
    match = _PRINTF.search(template)
    if match is None:
        if "%" in template:
            raise BadInput(f"the IDX header has a template that cannot be read: {template[:80]!r}")
        return template
    before, after = template[: match.start()], template[match.end() :]
    if "%" in before or "%" in after:
        raise BadInput(f"the IDX header has a template that cannot be read: {template[:80]!r}")
    return before + match[0] % number + after
