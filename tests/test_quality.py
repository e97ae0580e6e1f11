"""Measures of predictions from counts, against the definitions over the predictions themselves."""

from __future__ import annotations

import random
from math import exp, log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.quality import BINS, WINDOW, Quality, Tally, add, measured, measures, together

Said = tuple[float, bool]


def world(count: int, seed: int, base: float = -1.0) -> list[Said]:
    """Calibrated predictions: each comes true as often as it says."""
    draw = random.Random(seed)
    probabilities = [1 / (1 + exp(-draw.gauss(base, 1.5))) for _ in range(count)]
    return [(each, draw.random() < each) for each in probabilities]


def tallied(said: list[Said]) -> Tally:
    tally = Tally()
    for probability, label in said:
        tally.add(probability, label)
    return tally


def auc(said: list[Said]) -> float:
    ordered = [label for _, label in sorted(said)]
    positives = sum(ordered)
    ranks = sum(rank for rank, label in enumerate(ordered, 1) if label)
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(said) - positives))


def average_precision(said: list[Said]) -> float:
    true, total = 0, 0.0
    for rank, (_, label) in enumerate(sorted(said, reverse=True), 1):
        true += label
        total += label * true / rank
    return total / true


@pytest.mark.parametrize("base", [-4.0, -1.0, 0.0, 2.0])
def test_measures_come_close_to_those_of_the_predictions_themselves(base: float) -> None:
    said = world(5_000, 1, base)
    found = measured(tallied(said))
    assert found["auc"] == pytest.approx(auc(said), abs=0.001)
    assert found["average_precision"] == pytest.approx(average_precision(said), abs=0.005)
    assert found["log_loss"] == pytest.approx(sum(-log(p if label else 1 - p) for p, label in said) / len(said))
    assert found["brier"] == pytest.approx(sum((p - label) ** 2 for p, label in said) / len(said))
    assert found["base_rate"] == sum(label for _, label in said) / len(said)
    assert found["examples"] == 5_000
    assert found["ece"] < 0.02


def test_who_says_too_much_is_badly_calibrated_and_ranks_as_well() -> None:
    said = world(5_000, 2)
    bold = [(min(1.0, p + 0.2), label) for p, label in said]
    found = measured(tallied(bold))
    assert found["ece"] == pytest.approx(0.2, abs=0.03)
    assert found["auc"] == pytest.approx(auc(said), abs=0.01)


def test_chance_ranks_no_better_than_a_coin() -> None:
    draw = random.Random(3)
    found = measured(tallied([(draw.random(), draw.random() < 0.3) for _ in range(20_000)]))
    assert found["auc"] == pytest.approx(0.5, abs=0.02)
    assert found["average_precision"] == pytest.approx(0.3, abs=0.02)
    assert measured(tallied([(0.3, True), (0.3, False)]))["auc"] == 0.5


@pytest.mark.parametrize("label", [True, False])
def test_of_one_class_there_are_no_ranks(label: bool) -> None:
    assert measures(Quality()) == {}
    found = measured(tallied([(0.5, label)]))
    assert "auc" not in found and "average_precision" not in found
    assert found["base_rate"] == label


@given(st.floats(0, 1), st.booleans())
def test_every_probability_is_counted_once(probability: float, label: bool) -> None:
    tally = tallied([(probability, label)])
    assert tally.count == sum(tally.hits) + sum(tally.misses) == 1
    assert (sum(tally.hits), sum(tally.positives)) == (label, label)
    assert 0 <= tally.loss < 35


def test_the_surest_are_in_the_outermost_bins() -> None:
    tally = tallied([(0.0, False), (1.0, True), (0.5, True)])
    assert (tally.misses[0], tally.hits[BINS - 1], tally.hits[BINS // 2]) == (1, 1, 1)
    assert (tally.counts[0], tally.counts[9], tally.counts[5]) == (1, 1, 1)


def test_the_latest_are_measured_and_older_ones_forgotten() -> None:
    quality = Quality()
    for n in range(4 * WINDOW + 10):
        add(quality, 0.5, n < 3 * WINDOW)
        kept = (n + 1) % WINDOW + (WINDOW if n + 1 >= WINDOW else 0)
        assert (quality.filling.count + quality.full.count, measures(quality)["examples"]) == (kept, kept)
    assert measures(quality) == {
        "examples": WINDOW + 10,
        "base_rate": 0.0,
        "log_loss": pytest.approx(log(2)),
        "brier": 0.25,
        "ece": 0.5,
    }


def test_tallies_add_up_and_go_round() -> None:
    said = world(500, 4)
    whole, parts = tallied(said), together([tallied(said[:200]), tallied(said[200:])])
    assert measured(parts) == pytest.approx(measured(whole))
    packed = msgspec.msgpack.encode(Quality(whole, parts))
    assert msgspec.msgpack.decode(packed, type=Quality) == Quality(whole, parts)
    assert len(packed) < 1_000


def log_loss(probability: float, label: bool) -> float:
    return add(Quality(), probability, label)


def test_log_loss_of_a_wrong_certainty_is_dear_but_finite() -> None:
    assert log_loss(0.0, True) == log_loss(1.0, False) == pytest.approx(34.54, abs=0.01)
    assert log_loss(1.0, True) == log_loss(0.0, False) == 0.0
    assert log_loss(0.25, True) == pytest.approx(-log(0.25))
    assert log_loss(0.25, False) == pytest.approx(-log(0.75))
