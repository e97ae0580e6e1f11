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

from bisect import bisect_right
from collections.abc import Sequence
from math import exp, log

import msgspec

#: Examples in a full block.
WINDOW = 2_000
#: Bins of the log-odds: each a fifth wide, the outermost from -6.2 down and from 6.2 up.
BINS, _WIDTH = 64, 0.2
#: The probabilities between those bins.
_EDGES = tuple(1 / (1 + exp(-_WIDTH * (edge - BINS / 2))) for edge in range(1, BINS))
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

    def add(self, probability: float, label: bool) -> float:
        """Count a prediction and what came of it; its log loss."""
        level = int(probability * LEVELS) if probability < 1.0 else LEVELS - 1
        self.counts[level] += 1
        self.expected[level] += probability
        place = bisect_right(_EDGES, probability)
        if label:
            self.hits[place] += 1
            self.positives[level] += 1
            given = probability
        else:
            self.misses[place] += 1
            given = 1.0 - probability
        self.squares += (1.0 - given) * (1.0 - given)
        lost = -log(given if given > _LEAST else _LEAST)
        self.loss += lost
        return lost


class Quality(msgspec.Struct, array_like=True):
    """The latest predictions: the block that is being filled, and the full one before it."""

    filling: Tally = msgspec.field(default_factory=Tally)
    full: Tally = msgspec.field(default_factory=Tally)


def add(quality: Quality, probability: float, label: bool) -> float:
    """Count a prediction and what came of it; its log loss. The oldest block goes when a new one is full."""
    filling = quality.filling
    lost = filling.add(probability, label)
    if sum(filling.counts) >= WINDOW:
        quality.full, quality.filling = filling, Tally()
    return lost


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
