"""The wall clock is trusted until it is stepped."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from operators.clock import WallClock
from schemas.config import Config
from schemas.errors import ClockSkew
from tests.conftest import KEYS

CONFIG = Config(keys=KEYS)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Both clocks of a machine (ms), which can be set."""
    clocks = {"wall": 1_800_000_000_000, "monotonic": 5_000}
    names: list[tuple[str, Any]] = [("time_ns", "wall"), ("monotonic_ns", "monotonic")]
    for name, clock in names:
        monkeypatch.setattr(time, name, lambda clock=clock: clocks[clock] * 1_000_000)
    return clocks


def test_time_that_passes_is_no_step(machine: dict[str, int]) -> None:
    now_ms = WallClock(CONFIG)
    for passed in (1, 40_000, 3_600_000):
        machine["wall"] += passed
        machine["monotonic"] += passed
        assert now_ms() == machine["wall"]


@pytest.mark.parametrize("step", [30_001, -30_001])
def test_after_a_step_nothing_is_stamped_until_the_clock_is_back(machine: dict[str, int], step: int) -> None:
    now_ms = WallClock(CONFIG)
    machine["wall"] += step
    with pytest.raises(ClockSkew, match=r"stepped by [+-]30\.0 s"):
        now_ms()
    machine["wall"] -= step // abs(step)
    assert now_ms() == machine["wall"]


def test_a_log_that_brings_its_time_asks_no_clock(machine: dict[str, int]) -> None:
    now_ms = WallClock(msgspec.structs.replace(CONFIG, clock="log"))
    machine["wall"] += 3_600_000
    assert now_ms() == machine["wall"]
