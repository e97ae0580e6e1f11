"""The Grafana dashboard asks for metrics that there are, by labels that they have."""

from __future__ import annotations

import re

import pytest

from flows.metrics_table import foreign
from operators.metrics import METRICS
from tests.dashboard import ROWS, panels, queries
from tests.test_alerts import ALERTS, RECORDED

#: Prometheus' own, and its labels for all.
BUILT_IN = {"up", "ALERTS"}
ADDED = {"job", "instance", "le", "alertname", "alertstate"}
KNOWN = {row.name: set(row.labels) for row in [*METRICS, *foreign()]}


def test_every_row_is_there_and_nothing_overlaps() -> None:
    assert tuple(panel["title"] for panel in panels() if panel["type"] == "row") == ROWS
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)


@pytest.mark.parametrize("panel", queries())
def test_every_query_asks_for_metrics_and_labels_that_there_are(panel: str) -> None:
    query = queries()[panel]
    assert "$" not in query
    named = re.findall(r"\b(?:touchstream|process|python)_\w+|\bup\b|\bALERTS\b", re.sub(r'"[^"]*"', '""', query))
    metrics = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} - BUILT_IN
    recorded = set(re.findall(r"touchstream:\w+:\w+", query))
    assert metrics <= KNOWN.keys() and recorded <= RECORDED
    assert named or recorded
    labels = {label for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in group.split(", ")}
    labels |= set(re.findall(r"(\w+)=~?\"", query))
    assert labels <= {label for name in metrics for label in KNOWN[name]} | ADDED


def test_alerts_are_recognised_by_their_names() -> None:
    (query,) = [query for query in queries().values() if query.startswith("ALERTS")]
    (pattern,) = re.findall(r'alertname=~"([^"]*)"', query)
    assert all(re.fullmatch(pattern, name) for name in ALERTS)
