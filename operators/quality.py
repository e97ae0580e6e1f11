"""How good predictions were: measures of the latest examples, from counts alone.

Each prediction is counted in one of 64 bins of its log-odds and in one of ten of its probability: so few numbers that
they are kept with the model and survive bit by bit, and enough for ranks to be right within a thousandth. The latest
are those of the block that is being filled and of the full one before it, `WINDOW` to twice that many::

    quality = Quality()
    add(quality, 0.8, True)
    measures(quality)["log_loss"] == -log(0.8)

Accuracy is not among them: where most stay, whoever calls all of them faithful has the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import msgspec

#: Examples in a full block.
WINDOW = 2_000
#: Bins of the log-odds: each a fifth wide, the outermost from -6.2 down and from 6.2 up.
BINS, _WIDTH = 64, 0.2
#: Bins of the probability, of equal width: those of a reliability diagram.
LEVELS = 10
#: A probability counts as no surer than this, so that one confident error costs 34.5 and not infinity.
_LEAST = 1e-15


class Tally(msgspec.Struct, array_like=True):
    """What is counted of some predictions: how many came true and did not, by bin of their log-odds; how many there
    were, came true and were expected to (the sum of the probabilities), by level; sums of log loss and of squared
    errors."""

    hits: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    misses: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * LEVELS)
    positives: list[int] = msgspec.field(default_factory=lambda: [0] * LEVELS)
    expected: list[float] = msgspec.field(default_factory=lambda: [0.0] * LEVELS)
    loss: float = 0.0
    squares: float = 0.0

    @property
    def count(self) -> int:
        """How many predictions."""
        return sum(self.counts)

    def add(self, probability: float, label: bool) -> None:
        """Count a prediction and what came of it."""
        (self.hits if label else self.misses)[_bin(probability)] += 1
        level = min(LEVELS - 1, int(probability * LEVELS))
        self.counts[level] += 1
        self.positives[level] += label
        self.expected[level] += probability
        self.loss += log_loss(probability, label)
        self.squares += (probability - label) ** 2


class Quality(msgspec.Struct, array_like=True):
    """The latest predictions: the block that is being filled, and the full one before it."""

    filling: Tally = msgspec.field(default_factory=Tally)
    full: Tally = msgspec.field(default_factory=Tally)


def add(quality: Quality, probability: float, label: bool) -> None:
    """Count a prediction and what came of it; the oldest block goes when a new one is full."""
    quality.filling.add(probability, label)
    if quality.filling.count >= WINDOW:
        quality.full, quality.filling = quality.filling, Tally()


def measures(quality: Quality) -> dict[str, float]:
    """Of the latest predictions: how many, base rate, log loss, Brier score, expected calibration error and, where
    there are both classes, area under the ROC curve and average precision. Empty if there are none."""
    return measured(together([quality.full, quality.filling]))


def measured(tally: Tally) -> dict[str, float]:
    """`measures` of a tally."""
    count, positives = tally.count, sum(tally.hits)
    if not count:
        return {}
    found = {
        "examples": float(count),
        "base_rate": positives / count,
        "log_loss": tally.loss / count,
        "brier": tally.squares / count,
        "ece": sum(abs(true - said) for true, said in zip(tally.positives, tally.expected, strict=True)) / count,
    }
    if 0 < positives < count:
        found["auc"] = _auc(tally.hits, tally.misses)
        found["average_precision"] = _average_precision(tally.hits, tally.misses)
    return found


def together(tallies: Sequence[Tally]) -> Tally:
    """The sum of tallies."""
    total = Tally()
    for tally in tallies:
        for field in ("hits", "misses", "counts", "positives", "expected"):
            mine, theirs = getattr(total, field), getattr(tally, field)
            mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]
        total.loss += tally.loss
        total.squares += tally.squares
    return total


def log_loss(probability: float, label: bool) -> float:
    """-ln of the probability given to what happened."""
    return -log(min(1.0, max(_LEAST, probability if label else 1.0 - probability)))


def _bin(probability: float) -> int:
    odds = log(max(_LEAST, probability) / max(_LEAST, 1.0 - probability))
    return min(BINS - 1, max(0, int(odds / _WIDTH + BINS / 2)))


def _auc(hits: Sequence[int], misses: Sequence[int]) -> float:
    """The share of pairs of both classes in the right order; those of one bin count half."""
    right, below = 0.0, 0
    for hit, miss in zip(hits, misses, strict=True):
        right += hit * (below + miss / 2)
        below += miss
    return right / (sum(hits) * below)


def _average_precision(hits: Sequence[int], misses: Sequence[int]) -> float:
    """Precision where each that came true stands, from the highest down: of those of one bin, amid the bin."""
    true = said = 0
    total = 0.0
    for hit, miss in zip(reversed(hits), reversed(misses), strict=True):
        total += hit * (true + (hit + 1) / 2) / (said + (hit + miss + 1) / 2) if hit else 0.0
        true += hit
        said += hit + miss
    return total / true
