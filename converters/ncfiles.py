"""Several NetCDF files as one source: those of the same variables joined along time, those of others beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count, pairwise
from pathlib import PurePosixPath
from typing import Any

from converters.joined import join
from converters.ncvars import is_position
from converters.volume import Source, Volume
from scray.errors import MixedInput

MAX_FILES_TOLD = 1000
MAX_VALUES_TOLD = 1_000_000  # of coordinates, file by file
MAX_NAMED = 20
Coordinates = Mapping[str, Any]


def one_source(found: Mapping[str, Source], form: str) -> Source:
    """The source of each file by its name, as one.

    Files of the same variables are joined along time, in this order; their coordinates are told file by file where
    they differ. Files that share no variable are datasets beside each other. `form` reads files of several formats.
    Raises MixedInput.
    """
    sets = _sets(found)
    volumes: list[Volume] = []
    by_file: dict[str, Coordinates] = {}
    notes: list[str] = []
    for names in sets:
        files = {name: found[name] for name in names}
        made = [join(_one_form(same, form), "time", "file") for same in _same(list(files.values()))]
        joined = {volume.source_axes[0] for volume in made if volume.options.get("along")}
        volumes += made if len(sets) == 1 else _labelled(names[0], made, {volume.dataset for volume in volumes})
        by_file |= _by_file(files, joined) if len(files) > 1 else {}
        notes += [*found[names[0]].notes, *_notes(files, joined)]
    first, *others = (found[names[0]] for names in sets)
    more = {
        "other_files": {str(source.metadata["file"]): source.metadata for source in others},
        "coordinates_by_file": by_file,
    }
    metadata = first.metadata | {key: told for key, told in more.items() if told}
    return replace(first, volumes=tuple(volumes), metadata=metadata, notes=tuple(dict.fromkeys(notes)))


def _sets(found: Mapping[str, Source]) -> list[list[str]]:
    """The files by their variables; raises MixedInput where two share some of these, positions aside, and not all."""
    sets: dict[frozenset[str], list[str]] = {}
    for name, source in found.items():
        sets.setdefault(frozenset(volume.selector for volume in source.volumes), []).append(name)
    seen: dict[str, str] = {}
    for selectors, names in sets.items():
        for shared in sorted((selectors & seen.keys()) - _positions(found[names[0]])):
            raise MixedInput(
                f"{seen[shared]} and {names[0]} hold {shared}, and each, or one of them, variables that the other has "
                "not. Name those to convert with the parameter variable, or upload the files separately."
            )
        seen |= dict.fromkeys(selectors, names[0])
    return list(sets.values())


def _positions(source: Source) -> set[str]:
    return {volume.selector for volume in source.volumes if is_position(volume.attributes)}


def _same(sources: Sequence[Source]) -> Iterable[list[Volume]]:
    """The same array of every source, for each array, in the order of the first source."""
    known = [{volume.selector: volume for volume in source.volumes} for source in sources]
    for volume in sources[0].volumes:
        yield [volumes[volume.selector] for volumes in known]


def _one_form(volumes: Sequence[Volume], form: str) -> Sequence[Volume]:
    """The same, read by the NetCDF library where some are classic and some are HDF5: it reads both."""
    mixed = len({volume.format for volume in volumes}) > 1
    return [replace(volume, format=form) for volume in volumes] if mixed else volumes


def _labelled(file: str, volumes: Sequence[Volume], taken: set[str]) -> list[Volume]:
    """The volumes of one set of files, their datasets under names that no other set has."""
    own = volumes[0].name if len(volumes) == 1 else PurePosixPath(file).stem
    labels: dict[str, str] = {}
    for dataset in dict.fromkeys(volume.dataset for volume in volumes):
        label = dataset or own
        numbered = (f"{label}_{number}" for number in count(2))
        labels[dataset] = next(free for free in chain([label], numbered) if free not in taken)
        taken.add(labels[dataset])
    return [replace(volume, dataset=labels[volume.dataset]) for volume in volumes]


def slim(source: Source, first: Source) -> Source:
    """The source without what it has in common with the first one: of many files all are in memory."""
    known: Coordinates = first.metadata["coordinates"]
    told: Coordinates = source.metadata["coordinates"]
    shared = {key: known[key] if known.get(key) == value else value for key, value in told.items()}
    return replace(source, metadata={**source.metadata, "coordinates": shared})


def _by_file(found: Mapping[str, Source], joined: set[str]) -> dict[str, Coordinates]:
    """The coordinates along which files were joined, and all that differ from those of the first file."""
    keys = _joined_keys(found, joined) | _differing(found)
    left = MAX_VALUES_TOLD
    told: dict[str, Coordinates] = {}
    for name, source in list(found.items())[:MAX_FILES_TOLD]:
        told[name] = {key: value for key, value in source.metadata["coordinates"].items() if key in keys}
        left -= sum(_count(value) for value in told[name].values())
        if left < 0:
            break
    return told


def _count(told: Mapping[str, Any]) -> int:
    values = told.get("values")
    return len(values) if isinstance(values, list) else 1


def _joined_keys(found: Mapping[str, Source], joined: set[str]) -> set[str]:
    return {key for source in found.values() for key in source.metadata["coordinates"] if _last(key) in joined}


def _differing(found: Mapping[str, Source]) -> set[str]:
    """Coordinates that are not the same in all files."""
    known, *others = (source.metadata["coordinates"] for source in found.values())
    return {key for told in others for key in known | told if known.get(key) != told.get(key)}


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _notes(found: Mapping[str, Source], joined: set[str]) -> list[str]:
    """What the user should know of files that were joined along these axes, or stacked."""
    keys = _joined_keys(found, joined)
    axes = {axis for source in found.values() for volume in source.volumes for axis in volume.source_axes}
    other = sorted(key for key in _differing(found) - keys if _last(key) in axes)
    notes = [note for key in sorted(keys) for note in _order(key, found)]
    if other:
        named = ", ".join(other[:MAX_NAMED])
        notes.append(
            f"The files differ in {named}; the result has them one behind the other all the same. "
            "coordinates_by_file of metadata.json has those of each."
        )
    return notes


def _order(key: str, found: Mapping[str, Source]) -> list[str]:
    """A note where a coordinate does not go on from file to file."""
    told = {name: source.metadata["coordinates"].get(key, {}) for name, source in found.items()}
    meanings = [tuple(str(t.get("attributes", {}).get(word)) for word in ("units", "calendar")) for t in told.values()]
    if len(set(meanings)) > 1:
        return [f"{key} has other units or another calendar from file to file: coordinates_by_file has those of each."]
    for (one, before), (two, after) in pairwise(told.items()):
        last, begin = _ends(before)[1], _ends(after)[0]
        if last is not None and begin is not None and begin <= last:
            return [
                f"Files are joined in the order of their names: {key} ends at {last} in {one} and begins at {begin} "
                f"in {two}."
            ]
    return []


def _ends(told: Mapping[str, Any]) -> tuple[float | None, float | None]:
    values = told.get("values")
    ends = (values[0], values[-1]) if isinstance(values, list) and values else (values, values)
    first, last = (end if isinstance(end, (int, float)) else None for end in ends)
    return first, last
