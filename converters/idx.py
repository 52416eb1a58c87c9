"""IDX: a dataset that is one already is put in order, not converted, unless `repack` asks for it.

`visus.idx` ends up at the top with its data where its template looks for them; names that a header points to are
never changed. Headers are parsed, so what leads out of the dataset is refused before anything is linked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from converters.idxvolume import open_volume, volumes_of
from converters.midx import MAX_MIDX, datasets_of, is_midx
from converters.own import is_taken, put_aside
from converters.sniff import kind_of
from converters.volume import Linked, Source
from scray.errors import BadInput, BadParameter, MissingSource, TooLarge, UnsafePath, Unsupported, WrongSensor
from scray.idx.header import Header
from scray.parameters import switched

__all__ = ["open_volume", "probe", "read_header"]

FORMAT = "idx"
MAX_HEADER_BYTES = 4 << 20
MAX_RATIO = 1100  # what deflate can do at best is 1032
UNSUSPICIOUS_BYTES = 256 << 20
TOP = "visus.idx"


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """Links from the input to the names of the result; `dataset` names the header where there are several.

    First a `visus.midx` or `visus.idx`, the one nearest to the top; else the first header whose block files are
    there; but where a midx composes that one, the midx. With `repack`, the header's fields as volumes instead.
    Raises WrongSensor without a header, MissingSource without its data, UnsafePath for paths that lead out.
    """
    headers = [name for name in files if PurePosixPath(name).suffix.lower() in (".idx", ".midx")]
    headers = headers or [name for name in files if kind_of(root / name) in ("idx", "midx")]
    if not headers:
        raise WrongSensor("There is no IDX header in the dataset.")
    name = _chosen(root, files, headers, parameters.get("dataset"))
    repack = switched(parameters, "repack")
    if is_midx(root / name):
        if repack:
            raise Unsupported(f"{name} composes several datasets; name one of them with `dataset` to repack it.")
        return _midx(root, files, name)
    header = read_header(root, name)
    _require_data(root, header, files, name)
    if repack:
        notes = (*_changed(header), *_others(headers, name))
        return Source(FORMAT, volumes_of(header, name), metadata=_metadata(header, name), notes=notes)
    notes = () if name == TOP else (f"{name} is shown as {TOP}.",)
    links = _links(root, header, files, name)
    linked, more = _linked(root, files, links, headers, name)
    return Source(
        FORMAT,
        links=links,
        linked=linked,
        metadata=_metadata(header, name),
        notes=(*notes, *_others(headers, name), *more),
    )


def _chosen(root: Path, files: tuple[str, ...], headers: list[str], wanted: Any) -> str:
    if wanted is not None:
        if str(wanted) not in headers:
            raise BadParameter(f"There is no IDX header {wanted}. There are: {', '.join(headers[:20])}.")
        return str(wanted)
    ranked = sorted(headers, key=lambda h: (h.count("/"), headers.index(h)))
    for stem in ("visus.midx", TOP):
        for name in ranked:
            if PurePosixPath(name).name == stem:
                return _composing(root, files, ranked, name)
    failures: list[Exception] = []
    for name in ranked:
        try:
            if is_midx(root / name) or _data(read_header(root, name), set(files), name):
                return _composing(root, files, ranked, name)
        except BadInput as error:
            failures.append(error)
    if failures and len(failures) == len(ranked):
        raise failures[0]
    raise MissingSource(f"The block files of {ranked[0]} are not part of the dataset.")


def _composing(root: Path, files: tuple[str, ...], headers: list[str], name: str) -> str:
    """The first midx that composes this dataset with others and can be shown; without one the dataset itself."""
    every = set(files)
    for other in [header for header in headers if is_midx(root / header)][:MAX_MIDX]:
        with suppress(BadInput, Unsupported):
            if name in datasets_of(root, other, every, _prefix(other) + TOP):
                return other
    return name


def read_header(root: Path, name: str, called: str = "") -> Header:
    """The parsed header, as it reads when its file is `called` so; raises BadInput and its kinds by name."""
    path = root / name
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise TooLarge(f"{name} is too large for an IDX header.")
    try:
        text = path.read_text("utf-8", errors="replace")
        header = Header.parse(text, PurePosixPath(called or name).stem)
        if header.time and header.time.open_ended:
            raise Unsupported("the header does not say which time steps there are: write the first and the last")
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


def _require_data(root: Path, header: Header, files: tuple[str, ...], name: str) -> None:
    """Raise MissingSource where the block files are not there, or too small for what the header promises.

    So a header cannot ask for days of reading what is not there, or the same bytes again and again.
    """
    found = _data(header, set(files), name)
    if not found:
        raise MissingSource(f"The block files of {name} are not part of the dataset.")
    stored = sum((root / file).stat().st_size for file in found)
    raw = header.step_count * math.prod(header.shape) * sum(field.sample_bytes for field in header.fields)
    if raw > UNSUSPICIOUS_BYTES + MAX_RATIO * stored:
        raise MissingSource(f"{name} promises {raw:,} bytes of samples, its files of {stored:,} cannot hold them.")


def _data_folder(header: Header, name: str) -> str:
    """The folder, ending in a slash, below which all block files of a header lie; "" for the top."""
    first, last = PurePosixPath(_first_file(header)), PurePosixPath(_last_file(header))
    shared = len(first.parts) > 1 and first.parts[0] == last.parts[0]  # a template may put the time first
    return _prefix(name) + (first.parts[0] + "/" if shared else "")


def _first_file(header: Header) -> str:
    return header.block_file(0, header.fields[0].name, next(iter(header.steps())))


def _last_file(header: Header) -> str:
    last = header.time.ranges[-1][-1] if header.time else 0
    return header.block_file(header.total_blocks - 1, header.fields[0].name, last)


def _prefix(name: str) -> str:
    here = PurePosixPath(name).parent.as_posix()
    return "" if here == "." else here + "/"


def _links(root: Path, header: Header, files: tuple[str, ...], name: str) -> tuple[tuple[str, str], ...]:
    """The header as visus.idx and under its own name; everything beside it keeps its place relative to it."""
    own = PurePosixPath(name).stem
    moved = own != "visus" and _first_file(header) != _first_file(read_header(root, name, TOP))
    links = {TOP: name}
    for file in files:
        target = put_aside(file.removeprefix(_prefix(name)))
        if moved and target.startswith(own + "/"):  # the data are looked for in a folder of the header's name
            target = "visus/" + target[len(own) + 1 :]
        if file == name and (moved or target == TOP):
            continue
        if target == TOP:
            raise BadInput(f"{file} would take the place of {name} in the result.")
        if links.setdefault(target, file) != file:
            raise BadInput(f"{file} and {links[target]} would have the same place in the result.")
    return tuple((source, target) for target, source in links.items())


def _linked(
    root: Path, files: tuple[str, ...], links: tuple[tuple[str, str], ...], headers: list[str], name: str
) -> tuple[tuple[Linked, ...], tuple[str, ...]]:
    """The headers to check, each under one name, and notes on those that cannot be.

    The principal one has to be sound; another one is only checked where its data are part of the input.
    """
    found = [_checked(read_header(root, name, TOP), TOP)]
    notes: list[str] = []
    places = {source: target for source, target in links if target != TOP}
    for other in (header for header in headers if header != name):
        try:
            header = read_header(root, other)
            if _data(header, set(files), other):
                _require_data(root, header, files, other)
                found.append(_checked(header, places[other]))
            else:
                notes.append(f"{other} is not checked: its block files are not part of the dataset.")
        except (BadInput, Unsupported) as error:
            notes.append(f"{other} is not checked: {error.message}")
    return tuple(found), tuple(notes)


def _checked(header: Header, name: str) -> Linked:
    """What is to be checked of a header that stays as it is; Unsupported where viewers look elsewhere than we do."""
    if not header.arco and not header.filename_template.startswith(("./", "$(CurrentFileDirectory)/")):
        raise Unsupported(
            f"{name}: viewers look for {header.filename_template[:80]!r} where they were started, not beside the "
            "header; with repack=true it is written anew."
        )
    if "/" not in name and is_taken(_first_file(header)):
        raise Unsupported(
            f"{name}: its blocks lie in {_first_file(header).split('/')[0]}, a name that the result needs itself; "
            "with repack=true it is written anew."
        )
    for field, count in Counter(field.name for field in header.fields).items():
        if "?" in field or count > 1:
            raise Unsupported(
                f"{name}: viewers do not find a field {field[:80]!r}; with repack=true it is written anew."
            )
    samples = header.step_count * header.total_blocks << header.bits_per_block
    sizes = [header.block_bytes(index) for index in range(len(header.fields))]
    return Linked(name, samples * sum(f.sample_bytes for f in header.fields), max(sizes))


def _others(headers: list[str], name: str) -> tuple[str, ...]:
    others = [header for header in headers if header != name]
    return (f"Other IDX headers stay where they are: {', '.join(others[:20])}.",) if others else ()


def _changed(header: Header) -> Iterator[str]:
    """What is numbered or said otherwise in a dataset that is written anew."""
    if any(low for low, _ in header.box):
        yield f"The box began at {', '.join(str(low) for low, _ in header.box)} (x first); now it begins at 0."
    if header.time and header.time.ranges != (range(header.step_count),):
        yield f"Time steps began at {header.time.first} or had gaps; now they are 0 to {header.step_count - 1}."
    if said := [key for key in ("physic_box", "logic_to_physic") if key in header.metadata]:
        yield f"{', '.join(said)} is in metadata.json, not in the new header."


def _midx(root: Path, files: tuple[str, ...], name: str) -> Source:
    """Several datasets described by one file: every dataset it names has to be in the upload, and be sound."""
    prefix = _prefix(name)
    datasets = datasets_of(root, name, set(files), prefix + TOP)
    places = {file: put_aside(file.removeprefix(prefix)) for file in files if file.removeprefix(prefix) != TOP}
    if len(set(places.values())) != len(places):
        raise BadInput(f"Files beside {name} and below it would have the same place in the result.")
    linked = []
    for dataset in datasets:
        header = read_header(root, dataset)
        _require_data(root, header, files, dataset)
        linked.append(_checked(header, places[dataset]))
    notes = [] if name == TOP else [f"{name} is shown as {TOP}."]
    notes += [f"{file} is left out." for file in files if file not in places and file != name]
    metadata = {"header": name, "datasets": list(datasets)}
    return Source(
        FORMAT, links=((name, TOP), *places.items()), linked=tuple(linked), metadata=metadata, notes=tuple(notes)
    )


def _metadata(header: Header, name: str) -> dict[str, Any]:
    time = header.time
    return {
        "header": name,
        "version": header.version,
        "shape": list(header.shape),
        "box": [list(span) for span in header.box],
        "bits": header.bitmask,
        "fields": [f"{f.name} {f.dtype}[{f.components}] {f.codec}" for f in header.fields],
        "steps": header.step_count,
        "arco": header.arco,
        **({"time": [[r.start, r.stop - 1, r.step] for r in time.ranges[:100]]} if time else {}),
        **({"said": header.metadata} if header.metadata else {}),
    }
