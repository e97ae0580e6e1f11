"""Alerts on the figures of the shop: judged minute by minute, with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from operators.board import Board
from operators.figures import MINUTE
from schemas.config import Threshold
from schemas.outputs import Alert, Kpis


def judge(thresholds: Mapping[str, Threshold], board: Board, minute: int) -> list[Alert]:
    """The alerts that begin or end with a Unix minute that is over; which of them fire is kept in the board's state."""
    told, firing, at = [], board.state.firing, (minute + 1) * MINUTE * 1000
    for name in sorted(firing.keys() - thresholds.keys()):
        del firing[name]
    for name, threshold in thresholds.items():
        if (minute + 1 - threshold.minutes) * MINUTE < board.state.since:
            continue  # nobody counted yet
        values = [value(board.of_minute(minute - back), threshold.figure) for back in range(threshold.minutes)]
        if name in firing:
            if threshold.back(values[0]):
                del firing[name]
                told.append(Alert("kpi_cleared", at, "", f"{name}: {threshold.figure} is {values[0]:g} again"))
        elif all([threshold.passed(each) for each in values]):
            firing[name] = minute
            told.append(Alert("kpi", at, "", f"{name}: {threshold.figure} is {values[0]:g}, {_beyond(threshold)}"))
    return told


def _beyond(threshold: Threshold) -> str:
    wanted = f"below {threshold.below:g}" if threshold.below is not None else f"above {threshold.above:g}"
    return wanted if threshold.minutes == 1 else f"{wanted} for {threshold.minutes} minutes"


def value(kpis: Kpis, figure: str) -> float:
    """A figure by its path: what a path leads to that has parts is their sum, what is not there 0."""
    found: Any = msgspec.to_builtins(kpis)
    for part in figure.split("."):
        found = found.get(part, 0) if isinstance(found, dict) else 0
    return _sum(found)


def _sum(found: Any) -> float:
    if isinstance(found, dict):
        return sum(_sum(each) for each in found.values())
    return float(found) if isinstance(found, (int, float)) else 0.0
