"""Figures of a probabilistic forecast, with weights, so that a bootstrap needs no copies of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Bins of equal width of the calibration error; the threshold of precision and recall.
BINS, THRESHOLD = 10, 0.5
NAMES = ("auc", "average_precision", "brier", "ece", "log_loss", "precision", "recall")


class Forecast:
    """Probabilities and labels, sorted once. ``figures`` takes the weight of each row as it was given."""

    def __init__(self, probability: Floats, label: Floats) -> None:
        order = np.argsort(-probability, kind="stable")
        self._order, self._p, self._y = order, probability[order], label[order]
        # Where a run of equal probabilities ends.
        self._ends = np.flatnonzero(np.r_[np.diff(self._p) != 0, True])
        self._bin = np.minimum((self._p * BINS).astype(np.int64), BINS - 1)
        clipped = np.clip(self._p, 1e-15, 1 - 1e-15)
        self._loss = -np.where(self._y > 0, np.log(clipped), np.log(1 - clipped))

    def figures(self, weights: Floats | None = None) -> dict[str, float]:
        """All `NAMES`."""
        w = np.ones(len(self._p)) if weights is None else weights[self._order]
        hit, total = w * self._y, w.sum()
        found, all_found = np.cumsum(hit)[self._ends], np.cumsum(w)[self._ends]
        wrong = all_found - found
        positives, negatives = found[-1], wrong[-1]
        new, new_wrong = np.diff(found, prepend=0.0), np.diff(wrong, prepend=0.0)
        gaps = np.bincount(self._bin, w * self._p - hit, BINS)
        told = self._p >= THRESHOLD
        return {
            # The share of (leaver, stayer) pairs that are ranked right, ties by half.
            "auc": float((new_wrong * (found - new / 2)).sum() / (positives * negatives)),
            "average_precision": float((new * found / np.maximum(all_found, 1e-12)).sum() / positives),
            "brier": float((w * (self._p - self._y) ** 2).sum() / total),
            "ece": float(np.abs(gaps).sum() / total),
            "log_loss": float((w * self._loss).sum() / total),
            "precision": float(hit[told].sum() / max(w[told].sum(), 1e-12)),
            "recall": float(hit[told].sum() / positives),
        }


def r2(spent: Floats, expected: Floats, weights: Floats | None = None) -> float:
    """Share of the variance of what was spent that is explained."""
    w = np.ones(len(spent)) if weights is None else weights
    mean = (w * spent).sum() / w.sum()
    return float(1 - (w * (spent - expected) ** 2).sum() / (w * (spent - mean) ** 2).sum())


def intervals(
    customers: NDArray[np.int64], figures: Callable[[Floats], dict[str, float]], seed: int, draws: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals by drawing customers, with all their rows, with replacement (percentiles of the bootstrap)."""
    if not draws:
        return {}
    generator, count = np.random.default_rng(seed), int(customers.max()) + 1
    times = [np.bincount(generator.integers(0, count, count), minlength=count) for _ in range(draws)]
    drawn = [figures(each[customers].astype(np.float64)) for each in times]
    return {
        name: (float(low), float(high))
        for name in drawn[0]
        for low, high in [np.percentile([each[name] for each in drawn], [2.5, 97.5])]
    }
