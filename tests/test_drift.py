"""Drift of a stream of means: what is noticed, how soon, and what is not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from river import stats
from river.drift import PageHinkley

from operators.drift import FORGIVEN, THRESHOLD, WARM, Drift, Watch, observe


def drifts(values: list[float], watch: Watch | None = None) -> list[tuple[int, Drift]]:
    watch = watch or Watch()
    found = ((n, observe(watch, value)) for n, value in enumerate(values))
    return [(n, drift) for n, drift in found if drift is not None]


def noise(count: int, seed: int, mean: float = 3.0, deviation: float = 0.5) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(mean, deviation) for _ in range(count)]


@pytest.mark.parametrize("by", [2, -2])
def test_a_shift_by_two_deviations_is_noticed_within_a_dozen_values(by: int) -> None:
    for seed in range(20):
        first, *_ = drifts([*noise(200, seed), *noise(100, 99 + seed, 3.0 + by * 0.5)])
        at, drift = first
        assert 200 <= at < 220
        assert drift.usual == pytest.approx(3.0, abs=0.4)
        assert (drift.lately - drift.usual) * by > 0.3


def test_where_nothing_changes_hardly_anything_is_noticed() -> None:
    assert sum(len(drifts(noise(1_000, seed))) for seed in range(30)) <= 1


def test_one_value_far_off_says_nothing() -> None:
    assert drifts([*noise(100, 1), 1e9, *noise(100, 2)]) == []


def test_what_never_varied_is_noticed_when_it_does() -> None:
    assert [at for at, _ in drifts([1.5] * 100 + [1.6] * 10)] == [102]
    assert drifts([1.5] * 500) == []


def test_after_a_drift_the_new_is_usual() -> None:
    found = drifts([*noise(200, 3), *noise(400, 4, 9.0)])
    assert len(found) == 1
    again = drifts([*noise(200, 3), *noise(400, 4, 9.0), *noise(60, 5)])
    assert [drift.usual for _, drift in again] == pytest.approx([3.0, 9.0], abs=0.5)


def test_it_is_the_test_of_river() -> None:
    values = [*noise(WARM, 6), *noise(40, 7), *noise(40, 8, 4.0)]
    mean = sum(values[:WARM]) / WARM
    deviation = (sum((each - mean) ** 2 for each in values[:WARM]) / (WARM - 1)) ** 0.5
    test: Any = PageHinkley(min_instances=1, delta=FORGIVEN, threshold=THRESHOLD, alpha=1.0)
    test._x_mean = stats.Mean._from_state(WARM, 0.0)
    spoke = []
    for n, value in enumerate(values[WARM:], WARM):
        test.update(max(-5.0, min(5.0, (value - mean) / deviation)))
        if test.drift_detected:
            spoke.append(n)
            break
    assert [at for at, _ in drifts(values)][:1] == spoke != []


def test_a_watch_read_back_goes_on_bit_by_bit() -> None:
    values = [*noise(120, 9), *noise(60, 10, 5.0)]
    straight, read = Watch(), Watch()
    for value in values:
        assert observe(straight, value) == observe(read, value)
        packed = msgspec.msgpack.encode(read)
        assert packed == msgspec.msgpack.encode(straight)
        read = msgspec.msgpack.decode(packed, type=Watch)
