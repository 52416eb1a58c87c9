"""The preview of a conversion that is about to be sealed; apart from `seal`, as it decodes what strangers stored."""

from __future__ import annotations

from pathlib import Path

from converters.describe import colours, fill_values
from converters.plan import Plan
from converters.preview import preview
from scray.errors import ScrayError
from scray.idx.header import Header
from scray.idx.reader import Dataset, read_header


def sketch(staging: Path) -> bytes | None:
    """preview.png of the principal dataset of a staging folder; None where the result holds no dataset.

    Raises what reading its blocks raises. `converters.sandbox.sketch` does this in the sealed child.
    """
    plan, tree = Plan.load(staging), staging / "tree"
    if plan.grids:
        grid = plan.grids[0]
        with Dataset(tree / grid.name, plan.header(grid)) as dataset:
            return preview(dataset, fill_values(plan, grid), colours(plan, grid))
    for linked in plan.source.linked:
        if header := _header(tree / linked.header):
            with Dataset((tree / linked.header).parent, header) as dataset:
                return preview(dataset)
    return None


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except ScrayError:
        return None
