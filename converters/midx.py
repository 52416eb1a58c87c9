"""A midx: XML that composes several IDX datasets into one, each named by a `url` beside it.

Every dataset it names has to be part of the input, and inside of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from os.path import normpath
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from scray.errors import BadInput, HostileInput, MissingSource, TooLarge, UnsafePath, Unsupported

MAX_BYTES = 4 << 20
MAX_MIDX = 100  # that one composes by naming another
BESIDE = ("./", "$(CurrentFileDirectory)/", "file://$(CurrentFileDirectory)/")  # what viewers take for beside the midx
_URL = re.compile(r"""\burl\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_UNFINISHED = (  # other liberties are those of its scripts
    expat.errors.XML_ERROR_NO_ELEMENTS,
    expat.errors.XML_ERROR_TAG_MISMATCH,
    expat.errors.XML_ERROR_UNCLOSED_TOKEN,
    expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
)
_OPENING = re.compile(r"<!--|<!\[CDATA\[")  # whichever begins first
_CLOSING = {"<!--": "-->", "<![CDATA[": "]]>"}


def is_midx(path: Path) -> bool:
    """Whether a file is XML, whatever it is called: a midx is also linked as `visus.idx`."""
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def datasets_of(root: Path, name: str, files: Collection[str], taken: str = "") -> tuple[str, ...]:
    """The IDX headers that a midx names, also through another midx, relative to `root`, each once, in its order.

    Raises UnsafePath for what lies outside of the folder of the midx, MissingSource for what is not in `files`,
    Unsupported for what viewers look for elsewhere, and for `taken`, whose place the midx has in the result.
    """
    seen = {name}
    found: list[str] = []
    waiting = [name]
    while waiting:
        midx = waiting.pop(0)
        if len(seen) - len(found) > MAX_MIDX:
            raise TooLarge(f"{name} composes more than {MAX_MIDX} others.")
        for child in (_child(midx, url) for url in urls(root, midx)):
            if child not in files:
                raise MissingSource(f"{midx} names {child}, which is not part of the dataset.")
            if child == taken:
                raise Unsupported(
                    f"{midx} names {child}, whose name {name} needs in the result: give that dataset another name, or "
                    "say with `dataset` which one of them is meant."
                )
            if child not in seen:
                seen.add(child)
                (waiting if is_midx(root / child) else found).append(child)
    if not found:
        raise BadInput(f"{name} names no dataset.")
    return tuple(found)


def urls(root: Path, name: str) -> list[str]:
    """What a midx names, as it spells it; raises TooLarge and HostileInput."""
    path = root / name
    if path.stat().st_size > MAX_BYTES:
        raise TooLarge(f"{name} is too large.")
    text = _elements(path.read_text("utf-8", errors="replace"))
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise HostileInput(f"{name} declares XML entities, which may stand for anything.")
    try:
        expat.ParserCreate().Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        if expat.ErrorString(error.code) in _UNFINISHED:
            raise BadInput(f"{name} is cut short, or its elements do not match: {error}.") from error
    return [html.unescape(one or other) for one, other in _URL.findall(text)]


def _elements(text: str) -> str:
    """A text without its comments and CDATA, in one go; one that does not end hides nothing."""
    kept, at = [], 0
    while opening := _OPENING.search(text, at):
        end = text.find(_CLOSING[opening[0]], opening.end())
        if end < 0:
            break
        kept.append(text[at : opening.start()])
        at = end + 3
    return "".join(kept) + text[at:]


def _child(name: str, url: str) -> str:
    """The file a midx names, relative to the root; raises UnsafePath for anything that is not a file beside it."""
    path = PurePosixPath(url.removeprefix("file://").removeprefix("$(CurrentFileDirectory)/"))
    strange = "://" in url.removeprefix("file://") or "$(" in str(path) or "\\" in url or not url.isprintable()
    child = PurePosixPath(normpath(PurePosixPath(name).parent / path))
    if strange or path.is_absolute() or child.parts[:1] == ("..",) or not path.parts:
        raise UnsafePath(f"{name} names {url[:80]!r}, which is outside the dataset's own folder.")
    if not url.startswith(BESIDE):
        raise Unsupported(f"{name}: viewers look for {url[:80]!r} where they were started; write './' before it.")
    if ".." in path.parts:
        raise Unsupported(
            f"{name} names {url[:80]!r}: put the midx above all that it names, and name that without '..'."
        )
    return child.as_posix()
