"""Early warnings: of all silences between two orders, which will last a horizon, and how long before that is it said?

Everybody active is scored every day. A silence is *warned of* on the first day that its score reaches the threshold,
and *lasts* if no order follows within the horizon. The threshold is fixed on silences that begin in one period, as the
lowest one that keeps the precision asked for there, and tested on those of the next. Of warnings with so many days left
only the score nearest to that moment counts: of all who reach it with 3 and with 7 days left .84 and .66 stay silent,
as a counter of silent days is known to be right (.84, .65). The counter, the rule that everybody has, is a score too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.churn.lived import Lived
from benchmarks.churn.logs import Purchase

Floats = NDArray[np.float64]
#: Precision that first warnings, and those with so many days left, are to have.
EARLY, SURE, LEFT = 0.5, 0.85, (3, 5)
#: Days ahead that give marketing two weeks.
TWO_WEEKS = 14


class Silences:
    """The daily scores, cut into silences; those that were cut off by the end of the log are left out."""

    def __init__(self, lived: Lived, purchases: list[Purchase]) -> None:
        log = lived.log
        self.horizon = log.churn.horizon_days
        customer, day, since, score = lived.daily.T
        numbers = {name: number for number, name in enumerate(lived.names)}
        bought = np.array([(numbers[each.customer], (each.time - log.start) / 86_400_000) for each in purchases])
        bought = bought[np.lexsort(bought.T[::-1])]
        # The order that begins each silence: the last of the customer up to the day of the score.
        key, keys = customer * 1e4 + day, bought[:, 0] * 1e4 + bought[:, 1]
        self.silence = np.searchsorted(keys, key + 1e-6, "right") - 1
        self.begun = bought[:, 1]
        following = np.r_[bought[1:, 1], np.inf]
        same = np.r_[bought[1:, 0] == bought[:-1, 0], False]
        self.lasted = ~(same & (following - self.begun <= self.horizon))
        self.begun = np.where(self.begun + self.horizon <= log.days, self.begun, np.nan)
        self.left, self.since, self.score = self.horizon - since, since, score

    def within(self, days: range) -> NDArray[np.bool_]:
        """The silences that begin in a period."""
        return (self.begun >= days.start) & (self.begun < days.stop)


def warnings(silences: Silences, periods: tuple[range, range]) -> dict[str, Any]:
    """The figures of the learned score and of the counter beside it."""
    scores = {"learned": silences.score, "counter": silences.since}
    return {name: _figures(silences, score, periods) for name, score in scores.items()}


def _figures(silences: Silences, score: Floats, periods: tuple[range, range]) -> dict[str, Any]:
    fixed, tested = map(silences.within, periods)
    at_any = np.ones(len(score), dtype=bool)
    threshold = _threshold(silences, _highest(silences, score, at_any), fixed, EARLY)
    figures: dict[str, Any] = {"early": _early(silences, score, tested, threshold)}
    for days in LEFT:
        then = (silences.left >= days - 0.5) & (silences.left < days + 0.5)
        highest = _highest(silences, score, then)
        threshold = _threshold(silences, highest, fixed, SURE)
        figures[f"left_{days}"] = _rates(silences, highest >= threshold, tested)
    return figures


def _early(silences: Silences, score: Floats, tested: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    """Of the first warnings: precision, recall, and of the true ones the median days ahead and how many are in time."""
    told = np.flatnonzero(score >= threshold)
    ahead = np.full(len(tested), -np.inf)
    np.maximum.at(ahead, silences.silence[told], silences.left[told])
    true = ahead[tested & silences.lasted & (ahead > -np.inf)]
    return {
        "threshold": float(threshold),
        **_rates(silences, ahead > -np.inf, tested),
        "days_ahead": float(np.median(true)) if len(true) else 0.0,
        "two_weeks_ahead": float((true >= TWO_WEEKS).mean()) if len(true) else 0.0,
    }


def _rates(silences: Silences, told: NDArray[np.bool_], tested: NDArray[np.bool_]) -> dict[str, float]:
    true = (told & tested & silences.lasted).sum()
    return {
        "precision": float(true / max(1, (told & tested).sum())),
        "recall": float(true / max(1, (tested & silences.lasted).sum())),
    }


def _highest(silences: Silences, score: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Each silence's highest score among these rows; minus infinity where it has none."""
    highest = np.full(len(silences.begun), -np.inf)
    np.maximum.at(highest, silences.silence[rows], score[rows])
    return highest


def _threshold(silences: Silences, highest: Floats, fixed: NDArray[np.bool_], precision: float) -> float:
    """The lowest score from which on warnings have the precision; infinity if there is none."""
    rows = np.flatnonzero(fixed & (highest > -np.inf))
    rows = rows[np.argsort(-highest[rows], kind="stable")]
    share = np.cumsum(silences.lasted[rows]) / np.arange(1, len(rows) + 1)
    good = np.flatnonzero(share >= precision)
    return float(highest[rows[good[-1]]]) if len(good) else np.inf
