"""IDX: a dataset that is one already is put in order, not converted.

`visus.idx` ends up at the top with its data where its template looks for them; names that a header points to are
never changed. Headers are parsed, so what leads out of the dataset is refused before anything is linked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from converters.volume import Source, Volume
from scray.errors import BadInput, BadParameter, MissingSource, TooLarge, UnsafePath, Unsupported, WrongSensor
from scray.idx.header import Header

FORMAT = "idx"
MAX_HEADER_BYTES = 4 << 20
TOP = "visus.idx"
_URL = re.compile(r"""\burl\s*=\s*["']([^"']*)["']""")


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """Links from the input to the names of the result; `dataset` names the header where there are several.

    First a `visus.midx` or `visus.idx`, the one nearest to the top; else the first header whose block files are
    there. Raises WrongSensor without a header, MissingSource without its data, UnsafePath for paths that lead out.
    """
    headers = [name for name in files if PurePosixPath(name).suffix.lower() in (".idx", ".midx")]
    if not headers:
        raise WrongSensor("There is no .idx file in the dataset.")
    name = _chosen(root, files, headers, parameters.get("dataset"))
    if name.lower().endswith(".midx"):
        return _midx(root, files, name)
    header = read_header(root, name)
    links = _links(header, files, name)
    notes = _notes(headers, name, links, files)
    return Source(FORMAT, links=links, metadata=_metadata(header, name), notes=notes)


def _chosen(root: Path, files: tuple[str, ...], headers: list[str], wanted: Any) -> str:
    if wanted is not None:
        if str(wanted) not in headers:
            raise BadParameter(f"There is no IDX header {wanted}. There are: {', '.join(headers[:20])}.")
        return str(wanted)
    ranked = sorted(headers, key=lambda h: (h.count("/"), headers.index(h)))
    for stem in ("visus.midx", TOP):
        for name in ranked:
            if PurePosixPath(name).name == stem:
                return name
    failures: list[Exception] = []
    for name in ranked:
        try:
            if name.lower().endswith(".midx") or _data(read_header(root, name), set(files), name):
                return name
        except BadInput as error:
            failures.append(error)
    if failures and len(failures) == len(ranked):
        raise failures[0]
    raise MissingSource(f"The block files of {ranked[0]} are not part of the dataset.")


def read_header(root: Path, name: str) -> Header:
    """The parsed header; raises BadInput and its kinds by name."""
    path = root / name
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise TooLarge(f"{name} is too large for an IDX header.")
    try:
        header = Header.parse(path.read_text("utf-8", errors="replace"), PurePosixPath(name).stem)
        for field in header.fields:
            header.block_file(0, field.name, next(iter(header.steps())))
    except UnsafePath as error:
        raise UnsafePath(f"{name}: {error.message}.") from error
    except Unsupported as error:
        raise Unsupported(f"{name}: {error.message}.") from error
    except BadInput as error:
        raise BadInput(f"{name}: {error.message}.") from error
    return header


def _data(header: Header, files: set[str], name: str) -> list[str]:
    """The files of the input that lie where this header's template looks."""
    folder = _data_folder(header, name)
    return sorted(file for file in files if file.startswith(folder) and file != name)


def _data_folder(header: Header, name: str) -> str:
    """The folder, ending in a slash, below which all block files of a header lie; "" for the top."""
    first = PurePosixPath(header.block_file(0, header.fields[0].name, next(iter(header.steps()))))
    top = first.parts[0] + "/" if len(first.parts) > 1 else ""
    here = PurePosixPath(name).parent.as_posix()
    return ("" if here == "." else here + "/") + top


def _links(header: Header, files: tuple[str, ...], name: str) -> tuple[tuple[str, str], ...]:
    """The header as visus.idx and under its own name; everything beside it keeps its place relative to it."""
    here = PurePosixPath(name).parent.as_posix()
    prefix = "" if here == "." else here + "/"
    own = PurePosixPath(name).stem
    moved = _named_after_header(header) and own != "visus"
    if not _data(header, set(files), name):
        raise MissingSource(f"The block files of {name} are not part of the dataset.")
    links = {TOP: name}
    for file in files:
        target = file[len(prefix) :] if file.startswith(prefix) else file
        if moved and target.startswith(own + "/"):
            target = "visus/" + target[len(own) + 1 :]
        if file == name and (moved or target == TOP):
            continue
        if target == TOP:
            raise BadInput(f"{file} would take the place of {name} in the result.")
        if links.setdefault(target, file) != file:
            raise BadInput(f"{file} and {links[target]} would have the same place in the result.")
    return tuple((source, target) for target, source in links.items())


def _named_after_header(header: Header) -> bool:
    """Whether block files are looked for in a folder named like the header, which then has to follow its name."""
    return bool(header.arco) or replace(header, name="another").block_file(0, header.fields[0].name, 0) != (
        header.block_file(0, header.fields[0].name, 0)
    )


def _notes(
    headers: list[str], name: str, links: tuple[tuple[str, str], ...], files: tuple[str, ...]
) -> tuple[str, ...]:
    notes = [] if name == TOP else [f"{name} is shown as {TOP}."]
    others = [header for header in headers if header != name]
    if others:
        notes.append(f"Other IDX headers stay where they are: {', '.join(others[:20])}.")
    missing = set(files) - {source for source, _ in links}
    return (*notes, *(f"{file} is left out." for file in sorted(missing)[:20]))


def _midx(root: Path, files: tuple[str, ...], name: str) -> Source:
    """Several datasets described by one file: every dataset it names has to be in the upload, and be sound."""
    path = root / name
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise TooLarge(f"{name} is too large.")
    children = [_child(name, url) for url in _URL.findall(path.read_text("utf-8", errors="replace"))]
    if not children:
        raise BadInput(f"{name} names no dataset.")
    for child in children:
        if child not in files:
            raise MissingSource(f"{name} names {child}, which is not part of the dataset.")
        if not _data(read_header(root, child), set(files), child):
            raise MissingSource(f"The block files of {child} are not part of the dataset.")
    here = PurePosixPath(name).parent.as_posix()
    if here != ".":
        raise Unsupported(f"{name} has to lie at the top of the dataset.")
    links = ((name, TOP), *((file, file) for file in files if file != TOP))
    metadata = {"header": name, "datasets": children}
    return Source(FORMAT, links=links, metadata=metadata, notes=(f"{name} is shown as {TOP}.",))


def _child(name: str, url: str) -> str:
    """The file a midx names, relative to the root; raises UnsafePath for anything that is not a file beside it."""
    path = PurePosixPath(url.removeprefix("file://").removeprefix("$(CurrentFileDirectory)/"))
    if "://" in url or path.is_absolute() or ".." in path.parts or not path.parts or "\\" in url:
        raise UnsafePath(f"{name} names {url[:80]!r}, which is outside the dataset's own folder.")
    return (PurePosixPath(name).parent / path).as_posix()


def _metadata(header: Header, name: str) -> dict[str, Any]:
    return {
        "header": name,
        "version": header.version,
        "shape": list(header.shape),
        "bits": header.bitmask,
        "fields": [f"{f.name} {f.dtype}[{f.components}] {f.codec}" for f in header.fields],
        "steps": header.step_count,
        "arco": header.arco,
        **({"said": header.metadata} if header.metadata else {}),
    }


def open_volume(root: Path, volume: Volume) -> NoReturn:
    """IDX inputs are linked, not read: they have no volumes."""
    raise Unsupported(f"{volume.selector} in {root} is IDX already.")
