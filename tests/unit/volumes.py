"""Volumes without files, for what is decided before a sample is read."""

from __future__ import annotations

from typing import Any

from converters.volume import Role, Source, Volume, roles_for


def volume(
    shape: tuple[int, ...],
    dtype: str = "<f4",
    *,
    name: str = "data",
    dataset: str = "",
    chunks: tuple[int, ...] | None = None,
    roles: tuple[Role, ...] | None = None,
    **more: Any,
) -> Volume:
    """A volume of this shape; chunked ones are compressed."""
    return Volume(
        format="none",
        files=(),
        selector=name,
        name=name,
        dataset=dataset,
        source_shape=shape,
        source_axes=tuple(f"a{i}" for i in range(len(shape))),
        roles=roles or roles_for(shape),
        source_dtype=dtype,
        dtype=dtype,
        chunks=chunks or shape,
        compressed=chunks is not None,
        **more,
    )


def source(*volumes: Volume) -> Source:
    return Source("none", volumes)
