"""How well churn is learned, guarded on samples of the two purchase logs; and the figures' own formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.churn.__main__ import measure, show
from benchmarks.churn.figures import Floats, Forecast, intervals, r2
from benchmarks.churn.logs import LOGS
from tests import datasets


def sampled(name: str, share: float) -> dict[str, Any]:
    log = LOGS[name]
    return measure(log, log.purchases(getattr(datasets, name)(), share), draws=0, beside=False)


@pytest.mark.system
def test_churn_of_a_grocer_is_learned_as_well_as_before() -> None:
    figures = sampled("completejourney", 0.15)
    online, found = figures["forecasts"]["online"], figures["warnings"]
    # Of all households: .857, and above .90 the future would have leaked.
    assert 0.84 < online["auc"] < 0.90
    assert online["ece"] < 0.03
    assert figures["value"]["value"] > 0.6
    assert found["learned"]["early"]["recall"] > 0.9
    assert found["learned"]["early"]["days_ahead"] > found["counter"]["early"]["days_ahead"] + 2
    assert found["counter"]["early"]["two_weeks_ahead"] == 0 < 0.33 < found["learned"]["early"]["two_weeks_ahead"]
    assert "AUC" not in show(figures) and "online" in show(figures)


@pytest.mark.system
def test_churn_of_a_dying_crowd_is_learned_as_well_as_before() -> None:
    figures = sampled("cdnow", 0.1)
    online = figures["forecasts"]["online"]
    assert 0.74 < online["auc"] < 0.90
    assert online["ece"] < 0.04
    assert figures["value"]["value"] > 0.3
    assert "warnings" not in figures


def test_a_run_repeats_itself() -> None:
    log = LOGS["cdnow"]
    purchases = log.purchases(datasets.cdnow(), 0.01)
    assert measure(log, purchases, draws=3, beside=False) == measure(log, purchases, draws=3, beside=False)


def test_figures_of_a_forecast_are_their_formulas() -> None:
    p, y = np.array([0.9, 0.9, 0.4, 0.2]), np.array([1.0, 0.0, 1.0, 0.0])
    found = Forecast(p, y).figures()
    # Pairs of a leaver and a stayer: tied, right, wrong, right.
    assert found["auc"] == pytest.approx(2.5 / 4)
    assert found["average_precision"] == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.36 + 0.04) / 4)
    assert found["ece"] == pytest.approx((0.8 + 0.6 + 0.2) / 4)
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.1, 0.4, 0.8))) / 4)
    assert (found["precision"], found["recall"]) == (0.5, 0.5)


def test_weights_count_rows_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    p, y = generator.random(50).round(1), (generator.random(50) < 0.4).astype(float)
    times = generator.integers(0, 4, 50)
    repeated = Forecast(np.repeat(p, times), np.repeat(y, times)).figures()
    assert Forecast(p, y).figures(times.astype(float)) == pytest.approx(repeated)


def test_r2_is_one_for_what_was_spent_and_none_for_its_mean() -> None:
    spent = np.array([1.0, 2.0, 6.0])
    assert r2(spent, spent) == 1
    assert r2(spent, np.full(3, 3.0)) == pytest.approx(0)
    assert r2(spent, np.full(3, 2.0), np.array([1.0, 2.0, 0.0])) == pytest.approx(-0.5)


def test_intervals_draw_customers_with_all_their_rows() -> None:
    customers = np.array([0, 0, 0, 1])
    seen: list[tuple[float, ...]] = []

    def figures(weights: Floats) -> dict[str, float]:
        seen.append(tuple(weights))
        return {"mean": float(weights.mean())}

    assert intervals(customers, figures, seed=1, draws=50)["mean"] == (0.5, 1.5)
    assert {len(set(each[:3])) for each in seen} == {1}
    assert {each[0] + each[3] for each in seen} == {2.0}
