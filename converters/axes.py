"""The parameters `axes` and `time`: which axis of a stored array becomes x, y, z, time or channels.

Said by place (`zyx`: a letter for each axis, as stored), by name (`lon:x, band:c`), or as a list of names or numbers,
slowest first, which is a transposition. What is said is done or refused; what is not said stays as it was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from converters.grid import LOCAL_BLOCK_BITS, MAX_BLOCK_BYTES
from converters.volume import MAX_SPACE_AXES, Role, Source, Volume
from scray.errors import BadParameter
from scray.parameters import given

LETTERS = "xyzuv"  # fastest first
_SPELT = {**{letter: letter for letter in LETTERS}, "t": "t", "time": "t", "c": "c", "channel": "c"}
_TOLD: dict[Role, str] = {"time": "time", "component": "channel", "single": "1"}
_STEPS_OR_AXIS = ("steps", "axis")
PICTURES = frozenset({"rgb", "mapir"})  # formats whose metadata tell where rows and columns lie on the ground


@dataclass(frozen=True)
class Wish:
    """What was said of the axes of one array, by number: a letter each, or their order; `timeless`: none is time."""

    said: Mapping[int, str] = field(default_factory=dict)
    listed: tuple[int, ...] = ()
    timeless: bool = False


def arranged(source: Source, parameters: Mapping[str, Any]) -> Source:
    """The source with its axes as the parameters say, told in notes and metadata.

    The principal array has to fit; others follow where they have the same axes. Raises BadParameter, which lists the
    axes of the array.
    """
    axes, time = given(parameters, "axes"), given(parameters, "time")
    if axes is None and (time is None or time in _STEPS_OR_AXIS):
        return source
    pictures = source.format in PICTURES
    principal = _picture(source) if pictures else source.volumes[0]
    wish = read_wish(principal, axes, time)
    volumes = tuple(_followed(volume, principal, wish, named=pictures) for volume in source.volumes)
    pairs = list(zip(volumes, source.volumes, strict=True))
    if pictures:
        _check_upright(pairs)
    names = [f"{v.dataset}/{v.name}".strip("/") if pictures else v.selector for v in volumes]
    told = {name: _record(*pair) for name, pair in zip(names, pairs, strict=True)}
    left = [n for n, (v, old) in zip(names, pairs, strict=True) if v is old and not _has(old, principal)]
    first = source.volumes.index(principal)
    notes = (f"Axes as asked for: {_sentence(told[names[first]])}.", *_left(left))
    metadata = {**source.metadata, "axes": told}
    return replace(source, volumes=volumes, metadata=metadata, notes=(*notes, *source.notes))


def _picture(source: Source) -> Volume:
    """The first picture, with the samples of its pixels where another field of it has none. Raises BadParameter."""
    if "mosaic" in source.metadata:
        raise BadParameter(
            "The photos are a mosaic, which has no other axes: mosaic=no makes them pictures like others."
        )
    own = (volume for volume in source.volumes if volume.dataset == source.volumes[0].dataset)
    return max(own, key=lambda volume: len(volume.source_shape))


def _check_upright(pairs: Sequence[tuple[Volume, Volume]]) -> None:
    """Rows and columns of pictures stay what they are: metadata tell where they lie, and previews show them."""
    for made, old in pairs:
        before, after = (dict(zip(reversed(v.axes_of("space")), LETTERS, strict=False)) for v in (old, made))
        for i, name in enumerate(old.source_axes):
            if name in ("y", "x") and before.get(i) != after.get(i):
                raise BadParameter(
                    "axes: rows and columns of pictures stay y and x; what other axes are can be said. The sensor TIFF "
                    f"takes a TIFF as an array, which can be turned. {_dimensions(old)}"
                )


def timed(volume: Volume, parameters: Mapping[str, Any], many: bool) -> Volume:
    """Time as the slowest axis of one volume, where that is asked for, or there are `many` steps and nothing is said.

    Raises BadParameter where it is asked for and there are too many axes.
    """
    axes, space = volume.axes_of("time"), volume.axes_of("space")
    wished = given(parameters, "time") == "axis"
    silent = given(parameters, "time") is None and given(parameters, "axes") is None
    if not axes or not (wished or (silent and many)):
        return volume
    if len(axes) + len(space) > MAX_SPACE_AXES:
        if wished:
            raise BadParameter(f"time=axis: with time there are more than {MAX_SPACE_AXES} axes in {_text(volume)}.")
        return volume
    roles: tuple[Role, ...] = tuple("space" if role == "time" else role for role in volume.roles)
    return _ordered(replace(volume, roles=roles), (*axes, *space))


# --- what was said -------------------------------------------------------------------------------


def read_wish(volume: Volume, axes: Any, time: Any) -> Wish:
    """What the two parameters say of this array. Raises BadParameter, which lists its axes."""
    wish = _read_axes(volume, axes)
    if time is None or time in _STEPS_OR_AXIS:
        return wish
    if time == "none":
        if "t" in wish.said.values():
            raise BadParameter("axes names a time axis, and time=none says that there is none.")
        return replace(wish, timeless=True)
    axis = _axis(volume, time, f"time={time}")
    if wish.said.get(axis, "t") != "t" or "t" in (letter for i, letter in wish.said.items() if i != axis):
        raise BadParameter(f"axes and time={time} disagree on which axis of {_text(volume)} is time.")
    return replace(wish, said={**wish.said, axis: "t"})


def _read_axes(volume: Volume, axes: Any) -> Wish:
    if axes is None:
        return Wish()
    if isinstance(axes, Mapping):
        return _by_name(volume, [(str(name), str(letter)) for name, letter in axes.items()])
    words = [str(word).strip() for word in (re.split("[,;]", axes) if isinstance(axes, str) else _listed(axes))]
    if all(":" in word for word in words):
        return _by_name(
            volume, [(name.strip(), letter.strip()) for name, _, letter in (w.rpartition(":") for w in words)]
        )
    if len(words) == 1 and set(words[0].lower()) <= set(_SPELT) and len(words[0]) > 1:
        words = list(words[0])
    return _by_place_or_order(volume, words)


def _listed(axes: Any) -> Sequence[Any]:
    return axes if isinstance(axes, (list, tuple)) else [axes]


def _by_name(volume: Volume, pairs: Sequence[tuple[str, str]]) -> Wish:
    said: dict[int, str] = {}
    for name, letter in pairs:
        if letter.lower() not in _SPELT:
            raise BadParameter(f"axes: {name}:{letter} is none of x, y, z, u, v, t (time) and c (channel).")
        said[_axis(volume, name, "axes")] = _SPELT[letter.lower()]
    if len(said) < len(pairs):
        raise BadParameter(f"axes names an axis twice. {_dimensions(volume)}")
    return _checked(volume, Wish(said))


def _by_place_or_order(volume: Volume, words: Sequence[str]) -> Wish:
    """Letters as the axes are stored, or names slowest first; where both can be meant and differ, neither is taken."""
    letters = [_SPELT.get(word.lower()) for word in words]
    named = [_found(volume, word) for word in words]
    place = Wish({i: letter for i, letter in enumerate(letters) if letter}) if all(letters) else None
    order = Wish(listed=tuple(i for i in named if i is not None)) if None not in named else None
    if place and len(words) != len(volume.source_shape):
        place = None
    if place and order and [word.lower() for word in words] != [name.lower() for name in volume.source_axes]:
        one, other = (_arrangement(volume, _checked(volume, wish)) for wish in (place, order))
        if (one.roles, one.taken) != (other.roles, other.taken):
            raise BadParameter(_two_ways(volume, place, other))
    wish = place or order
    if not wish:
        raise BadParameter(
            f"axes={','.join(words)[:100]} says neither what each axis is (letters x y z u v t c), nor their order "
            f"(names or numbers). {_dimensions(volume)}"
        )
    return _checked(volume, wish)


def _two_ways(volume: Volume, place: Wish, other: Volume) -> str:
    names = volume.source_axes
    one = ",".join(f"{names[i]}:{letter}" for i, letter in place.said.items())
    space = reversed(other.axes_of("space"))
    two = ",".join(f"{names[i]}:{letter}" for i, letter in zip(space, LETTERS, strict=False))
    return f"axes can be read in two ways: write axes={one} or axes={two}. {_dimensions(volume)}"


def _checked(volume: Volume, wish: Wish) -> Wish:
    letters = list(wish.said.values())
    twice = sorted({letter for letter in letters if letters.count(letter) > 1})
    if twice:
        raise BadParameter(f"axes has {', '.join(twice)} twice. {_dimensions(volume)}")
    if len(set(wish.listed)) < len(wish.listed):
        raise BadParameter(f"axes names an axis twice. {_dimensions(volume)}")
    missing = [volume.source_axes[i] for i in volume.axes_of("space") if wish.listed and i not in wish.listed]
    if missing:
        raise BadParameter(f"axes leaves out {', '.join(missing)}. {_dimensions(volume)}")
    return wish


def _axis(volume: Volume, word: Any, what: str) -> int:
    found = _found(volume, word)
    if found is None:
        raise BadParameter(f"{what}: there is no axis {str(word)[:100]!r}. {_dimensions(volume)}")
    return found


def _found(volume: Volume, word: Any) -> int | None:
    """An axis by its name, else, ignoring case, by the only such name, else by its number."""
    names = volume.source_axes
    if isinstance(word, str):
        for same in ([n == word for n in names], [n.lower() == word.lower() for n in names]):
            if sum(same) == 1:
                return same.index(True)
    digits = str(word)
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else len(names)
    return number if number < len(names) else None


# --- what becomes of it --------------------------------------------------------------------------


def _has(volume: Volume, principal: Volume) -> bool:
    return volume.source_axes == principal.source_axes


def _followed(volume: Volume, principal: Volume, wish: Wish, *, named: bool) -> Volume:
    """The principal array as wished; another one as far as it has the axes by these names, which may be mere letters
    unless they are `named`.
    """
    if _has(volume, principal):
        return _arrangement(volume, wish)
    whole = len(wish.said) == len(principal.source_shape) and not named
    names = principal.source_axes
    said = {volume.source_axes.index(names[i]): a for i, a in wish.said.items() if names[i] in volume.source_axes}
    listed = tuple(volume.source_axes.index(names[i]) for i in wish.listed if names[i] in volume.source_axes)
    covered = not wish.listed or set(volume.axes_of("space")) <= set(listed)
    if whole or not covered or not (said or listed or wish.timeless):
        return volume
    return _arrangement(volume, replace(wish, said=said, listed=listed))


def _arrangement(volume: Volume, wish: Wish) -> Volume:
    """The array with these roles and this order. Raises BadParameter where IDX cannot hold that."""
    roles = _roles(volume, wish)
    space = [i for i, role in enumerate(roles) if role == "space"]
    if wish.listed:
        space.sort(key=wish.listed.index)
    elif set(wish.said.values()) & set(LETTERS):
        letters = _letters(space, wish.said)
        space.sort(key=lambda i: -LETTERS.index(letters[i]))
        names = tuple(letters.get(i, name) for i, name in enumerate(volume.source_axes))
        volume = replace(volume, source_axes=names)
    made = _ordered(replace(volume, roles=roles), space)
    if "c" in wish.said.values() and made.sample_bytes << LOCAL_BLOCK_BITS > MAX_BLOCK_BYTES:
        most = (MAX_BLOCK_BYTES >> LOCAL_BLOCK_BITS) * made.components // made.sample_bytes
        raise BadParameter(f"axes: {made.components} channels of {made.dtype} are more than {most}; take z or time.")
    return made


def _roles(volume: Volume, wish: Wish) -> tuple[Role, ...]:
    """Who is said to be time or channel replaces whom the format found; what exceeds 5-D becomes time."""
    said = set(wish.said.values())
    roles: list[Role] = []
    for i, (role, length) in enumerate(zip(volume.roles, volume.source_shape, strict=True)):
        replaced = (role == "time" and (wish.timeless or "t" in said)) or (role == "component" and "c" in said)
        if i in wish.said:
            role = {"t": "time", "c": "component"}.get(wish.said[i], "space")  # type: ignore[assignment]
        elif replaced:
            role = "space"
        roles.append("single" if length == 1 else role)
    for i, role in enumerate(roles):
        if role == "space" and i not in wish.said and roles.count("space") > MAX_SPACE_AXES:
            roles[i] = "time"
    if roles.count("space") > MAX_SPACE_AXES or (wish.timeless and "time" in roles):
        raise BadParameter(f"At most {MAX_SPACE_AXES} axes can be in space: name one as time. {_dimensions(volume)}")
    return tuple(roles)


def _letters(space: Sequence[int], said: Mapping[int, str]) -> dict[int, str]:
    """A letter for each axis in space: what was said, and the free ones for the others, the fastest first."""
    free = [letter for letter in LETTERS if letter not in said.values()]
    return {i: said[i] if i in said else free.pop(0) for i in reversed(space)}


def _ordered(volume: Volume, space: Sequence[int]) -> Volume:
    """The volume with its axes in space in this order; `order` stays empty where that is the order of the file."""
    made = replace(volume, order=())
    if tuple(space) == made.axes_of("space"):
        return made
    return replace(
        made, order=tuple(i for role in ("time", "component", "single") for i in made.axes_of(role)) + tuple(space)
    )


# --- telling -------------------------------------------------------------------------------------


def _dimensions(volume: Volume) -> str:
    return f"The axes of {_text(volume)}."


def _text(volume: Volume) -> str:
    told = ", ".join(f"{name} ({n})" for name, n in zip(volume.source_axes, volume.source_shape, strict=True))
    return f"{volume.selector}, as stored: {told}"


def _record(volume: Volume, old: Volume) -> list[dict[str, Any]]:
    """For each axis as stored: its name, its length and what it became."""
    letters = dict(zip(reversed(volume.axes_of("space")), LETTERS, strict=False))
    became = [letters.get(i) or _TOLD[role] for i, role in enumerate(volume.roles)]
    named = zip(old.source_axes, old.source_shape, became, strict=True)
    return [{"name": name, "length": length, "became": word} for name, length, word in named]


def _sentence(record: Sequence[Mapping[str, Any]]) -> str:
    told = [f"{axis['name']} ({axis['length']}) is {axis['became']}" for axis in record if axis["became"] != "1"]
    return ", ".join(told) or "there is only one sample"


def _left(names: Sequence[str]) -> tuple[str, ...]:
    return (f"Arrays with other axes stay as they are stored: {', '.join(names[:20])}.",) if names else ()
