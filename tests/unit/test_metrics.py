"""What is measured has names by the rule, and the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cluster.tally import COUNTED, SPEED
from scray.metrics import BY_NAME, METRICS, Metric

DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana" / "scray.json"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rule(metric: Metric) -> None:
    unit = r"(seconds|bytes|bytes_per_second|datasets|[a-z]+_total|[a-z]+_bytes_total)"
    assert re.fullmatch(rf"scray_[a-z]+(_[a-z]+)*?_{unit}|scray_[a-z]+_total", metric.name)
    assert metric.name.endswith("_total") is (metric.kind == "counter")


def test_what_drivers_count_is_in_the_table() -> None:
    told = {name for names in COUNTED.values() for name in names}
    assert told == {one.name for one in METRICS if one.kind == "counter" and "driver" in one.by}
    assert "driver" in BY_NAME[SPEED].by


def test_the_dashboard_asks_for_what_there_is_by_labels_that_there_are() -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for expr in asked for name in re.findall(r"\bscray_\w+", expr)}
    assert names == {one.name for one in METRICS if "api" in one.by}
    for expr in asked:
        (metric,) = {BY_NAME[name] for name in re.findall(r"\bscray_\w+", expr)}
        labels = re.findall(r"by \(([^)]*)\)", expr) + re.findall(r"\{(\w+)=", expr)
        assert {label for group in labels for label in group.split(", ")} <= set(metric.of)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
