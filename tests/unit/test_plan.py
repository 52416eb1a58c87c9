"""Plans: every node has one task, every task fits its memory, and nothing but the input decides the bytes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from converters.bricks import BASE_BYTES, MAX_AMPLIFICATION
from converters.plan import Choices, Plan, make_plan
from converters.task import Task
from converters.volume import Role, Volume
from scray.errors import BadParameter, NeverFits
from scray.manifest import FileDigest
from tests.unit.volumes import source, volume

MIB = 1 << 20
SPACE: tuple[Role, ...] = ("space", "space", "space")


def plan(*volumes: Volume, parameters: dict[str, Any] | None = None, **choices: Any) -> Plan:
    inputs = (FileDigest("a.bin", 3, ("0" * 64,)),)
    return make_plan(Path("/in"), "HDF5", inputs, parameters or {}, source(*volumes), Choices(**choices))


def of_kind(made: Plan, kind: str) -> list[Task]:
    return [task for task in made.tasks if task.kind == kind]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Volume, dict[str, Any]]:
    shape = tuple(draw(st.lists(st.integers(1, 300), min_size=1, max_size=4)))
    if math.prod(shape) > 4_000_000:
        shape = shape[:2]
    chunks = tuple(draw(st.integers(1, n)) for n in shape) if draw(st.booleans()) else None
    time = draw(st.integers(0, len(shape) - 1)) if draw(st.booleans()) and len(shape) > 1 else None
    roles: tuple[Role, ...] = tuple("time" if i == time else "space" for i in range(len(shape)))
    order = tuple(draw(st.permutations(range(len(shape))))) if draw(st.booleans()) else ()
    made = volume(shape, draw(st.sampled_from(["|u1", "<f4", "<f8"])), chunks=chunks, roles=roles, order=order)
    choices = {
        "memory_bytes": BASE_BYTES + draw(st.integers(4, 64)) * MIB,
        "workers": draw(st.integers(1, 5)),
        "file_bytes": draw(st.sampled_from([1 << 16, 1 << 18, 1 << 20])),
    }
    return made, choices


def planned(made: Volume, choices: dict[str, Any]) -> Plan:
    """Its plan; a case that cannot fit is none."""
    try:
        return plan(made, **choices)
    except NeverFits:
        assume(False)
        raise


@given(cases())
@settings(max_examples=100, deadline=None)
def test_every_node_and_step_has_one_task_and_every_task_its_inputs(case: tuple[Volume, dict[str, Any]]) -> None:
    made, choices = case
    drawn = planned(made, choices)
    grid = drawn.grids[0]
    ids = [task.id for task in drawn.tasks]
    assert len(ids) == len(set(ids))
    seen: set[str] = set()
    for task in drawn.tasks:
        assert set(task.after) <= seen, "a task comes after what it needs"
        assert task.memory_bytes <= choices["memory_bytes"]
        seen.add(task.id)
    leaves = Counter((n, s) for t in of_kind(drawn, "brick") for n in t.nodes for s in range(*t.steps))
    assert leaves == Counter((n, s) for n in grid.geometry.nodes(grid.depth) for s in range(grid.steps))
    roots = Counter(
        s for t in (of_kind(drawn, "merge") or of_kind(drawn, "brick")) if 1 in t.nodes[:1] for s in range(*t.steps)
    )
    assert roots == Counter(range(grid.steps))
    assert grid.amplification <= MAX_AMPLIFICATION
    assert Plan.from_json(drawn.to_json()) == drawn


@given(cases())
@settings(max_examples=60, deadline=None)
def test_scatters_cover_the_source_once_and_reach_every_brick(case: tuple[Volume, dict[str, Any]]) -> None:
    made, choices = case
    drawn = planned(made, choices)
    scatters = of_kind(drawn, "scatter")
    if not scatters:
        return
    read = sum(math.prod(b - a for a, b in (t.steps, *t.box)) for t in scatters)
    assert read == math.prod(made.source_shape)
    for brick in of_kind(drawn, "brick"):
        shared = 0
        for task in (drawn.task(name) for name in brick.after):
            pairs = zip((task.steps, *task.box), (brick.steps, *brick.box), strict=True)
            shared += math.prod(max(0, min(b, d) - max(a, c)) for (a, b), (c, d) in pairs)
        assert shared == math.prod(b - a for a, b in (brick.steps, *brick.box))


def decoded(made: Volume, task: Task) -> int:
    """The samples of all chunks that a task meets, each as often as it is met."""
    total = 0
    for start in range(*task.steps, task.batch):
        steps = (start, min(start + task.batch, task.steps[1]))
        spans = dict(zip(made.axes_of("space"), task.box, strict=True)) | dict.fromkeys(made.axes_of("time"), steps)
        sizes = zip(made.chunks, made.source_shape, strict=True)
        met = [
            (a // c * c, min(-(-b // c) * c, n))
            for (_, (a, b)), (c, n) in zip(sorted(spans.items()), sizes, strict=True)
        ]
        total += math.prod(b - a for a, b in met)
    return total


@given(cases())
@settings(max_examples=60, deadline=None)
def test_no_order_of_axes_decodes_more_than_is_stated(case: tuple[Volume, dict[str, Any]]) -> None:
    made, choices = case
    assume(made.compressed)
    drawn = planned(made, choices)
    readers = of_kind(drawn, "scatter") or of_kind(drawn, "brick")
    read = sum(decoded(made, task) for task in readers)
    assert read <= math.prod(made.source_shape) * (drawn.grids[0].amplification + 1e-3)


def test_the_layout_follows_the_chunks_of_the_source() -> None:
    shape = (1024, 2048, 2048)
    assert plan(volume(shape, "<u2")).grids[0].strategy == "direct"
    assert plan(volume(shape, "<u2", chunks=(64, 64, 64))).grids[0].strategy == "direct"
    assert plan(volume(shape, "<u2", chunks=(1, 2048, 2048))).grids[0].strategy == "rechunk"
    assert plan(volume(shape, "<u2", chunks=(1024, 16, 16))).grids[0].strategy == "slab"
    flat = volume((8, 8192, 8192), "<u2", chunks=(1, 1024, 8192))
    assert plan(flat).grids[0].amplification <= MAX_AMPLIFICATION


def test_memory_and_workers_change_the_bricks_and_nothing_else() -> None:
    made = volume((256, 512, 512), "<f4")
    plans = [plan(made, memory_bytes=BASE_BYTES + m * MIB, workers=w) for m, w in ((700, 1), (200, 1), (200, 8))]
    assert len({p.grids[0].depth for p in plans}) > 1
    assert len({p.digest for p in plans}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"file_bytes": 1 << 20},
        {"codec": "fast"},
        {"profile": "cloud"},
        {"parameters": {"dataset": "/a"}},
    ],
)
def test_what_decides_bytes_is_in_the_digest(change: dict[str, Any]) -> None:
    made = volume((256, 512, 512))
    assert plan(made, **change).digest != plan(made).digest


def test_the_digest_covers_the_inputs() -> None:
    made = source(volume((4, 4)))
    digests = {
        make_plan(Path("/in"), "HDF5", (FileDigest(name, size, (chunk,)),), {}, made, Choices()).digest
        for name, size, chunk in (("a", 1, "0" * 64), ("b", 1, "0" * 64), ("a", 2, "0" * 64), ("a", 1, "1" * 64))
    }
    assert len(digests) == 4


def test_a_plan_that_cannot_fit_says_so_with_numbers() -> None:
    with pytest.raises(NeverFits, match=r"needs [\d.]+ MiB of memory and a task may use 170.0 MiB"):
        plan(volume((4096, 4096, 4096), "<f8"), memory_bytes=170 * MIB)
    with pytest.raises(NeverFits, match=r"pieces that unpack to 16.0 GiB each .* takes 32.\d GiB"):
        plan(volume((64, 8192, 8192), "<f4", chunks=(64, 8192, 8192)), memory_bytes=512 * MIB)


def test_many_small_steps_become_an_axis_unless_told_otherwise() -> None:
    roles: tuple[Role, ...] = ("time", "space", "space")
    many = volume((20_000, 73, 144), roles=roles, chunks=(100, 73, 144))
    assert (plan(many).grids[0].shape, plan(many).grids[0].steps) == ((20_000, 73, 144), 1)
    steps = plan(many, parameters={"time": "steps"}).grids[0]
    assert (steps.shape, steps.steps) == ((73, 144), 20_000)
    few = volume((20, 73, 144), roles=roles)
    assert plan(few).grids[0].steps == 20
    assert plan(few, parameters={"time": "axis"}).grids[0].shape == (20, 73, 144)


def test_fields_share_a_grid_until_a_block_of_all_is_too_large() -> None:
    many = [volume((64, 64, 64), name=f"v{i}") for i in range(300)]
    grids = plan(*many).grids
    assert [len(g.fields) for g in grids] == [32] * 9 + [12]
    assert len({g.name for g in grids}) == len(grids)
    other = plan(volume((4, 4), name="a", dataset="one"), volume((5, 4), name="a", dataset="two")).grids
    assert [(g.name, g.fields) for g in other] == [("one", ("a",)), ("two", ("a",))]
    assert plan(volume((4, 4), dataset="deadbeef"), volume((5, 4), dataset="b")).grids[0].name == "deadbeef_"


def test_the_cloud_profile_is_one_block_a_file_of_about_a_megabyte() -> None:
    grid = plan(volume((256, 256, 256), "<u2"), profile="cloud").grids[0]
    assert (grid.bits_per_block, grid.file_bits, grid.arco) == (19, 0, True)
    with pytest.raises(BadParameter, match="zip"):
        plan(volume((4, 4)), profile="cloud", codec="fast")
    with pytest.raises(BadParameter, match="local, cloud"):
        plan(volume((4, 4)), profile="tape")
    with pytest.raises(BadParameter, match="codec"):
        plan(volume((4, 4)), codec="zstd")


def test_parameters_win_over_choices() -> None:
    made = plan(volume((4, 4)), parameters={"codec": "raw", "profile": "local"}, codec="zip")
    assert made.choices.codec == "raw"


def test_disk_is_projected() -> None:
    made = plan(volume((256, 2048, 2048), "<u2", chunks=(1, 2048, 2048)))
    raw = 256 * 2048 * 2048 * 2
    assert made.disk.output >= raw
    assert made.disk.scratch == raw
    assert made.disk.total == made.disk.output + made.disk.residual + made.disk.scratch


def test_steps_are_read_in_batches_of_their_chunk() -> None:
    roles: tuple[Role, ...] = ("time", *SPACE)
    made = plan(volume((40, 16, 64, 64), chunks=(10, 16, 64, 64), roles=roles))
    assert {t.batch for t in of_kind(made, "brick")} == {10}
    assert all(t.steps[0] % 10 == 0 for t in of_kind(made, "brick"))


def test_a_plan_knows_its_tasks() -> None:
    made = plan(volume((256, 512, 512), "<f4"), memory_bytes=BASE_BYTES + 200 * MIB)
    merge = of_kind(made, "merge")[0]
    assert made.task(merge.id) == merge
    assert all(merge in made.followers(name) for name in merge.after)
    assert made.folder == made.digest[:8]
    assert replace(made, digest="f" * 64).folder == "f" * 8
