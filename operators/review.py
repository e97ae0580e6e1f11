"""Churn scores held against what happened: how good they were, by model key, and how early warnings came.

Examples say what was served and what came of it. They are told apart by whether a message was sent meanwhile: what is
served is the risk of customers left alone, so it is they who can say whether it was right, and without doubt those held
out of all plays, since whom to leave alone was chosen by chance there.

Scores say when a customer bought (each purchase is scored) and when the band rose to high: a *warning* is the first
such score since the latest purchase. It came true if no purchase followed until the horizon had passed since that
purchase (a *lapse*), and its lead is how long before the lapse it came::

    review = Review(horizon=28 * DAY, high=0.8, period=7 * DAY)
    for example in examples: review.example(example)
    for score in scores: review.score(score)
    review.finish(now)
"""

from __future__ import annotations

from collections import Counter

import msgspec

from operators.keys import ROOT
from operators.plays import DAY
from operators.quality import LEVELS, Tally, measured
from schemas.outputs import Example, Score

#: Who is told apart: everyone, those left alone, those who were sent a message, those held out of all plays.
EVERYONE, ALONE, TREATED, HELD_OUT = "everyone", "left_alone", "treated", "held_out"


class Group(msgspec.Struct):
    """Some examples: their tally; how many were served at least the high threshold, and of them how many left."""

    tally: Tally = msgspec.field(default_factory=Tally)
    above: int = 0
    caught: int = 0

    def add(self, example: Example, high: float) -> None:
        """One more."""
        self.tally.add(example.probability, example.label)
        if example.probability >= high:
            self.above += 1
            self.caught += example.label

    def measures(self) -> dict[str, float]:
        """As `operators.quality.measures`, with precision and recall at the high threshold where there are any."""
        found, leavers = measured(self.tally), sum(self.tally.hits)
        if self.above:
            found["precision"] = self.caught / self.above
        if leavers:
            found["recall"] = self.caught / leavers
        return found

    def reliability(self) -> list[tuple[float, float, int]]:
        """By level of what was served, where there is any: its mean, the share that left, how many."""
        levels = zip(self.tally.expected, self.tally.positives, self.tally.counts, strict=True)
        return [(expected / count, left / count, count) for expected, left, count in levels if count]


class Warnings(msgspec.Struct):
    """What came of warnings: how many came true and did not, lapses that none preceded, and days of lead."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    leads: Counter[int] = msgspec.field(default_factory=Counter)

    def measures(self) -> dict[str, float]:
        """Precision, recall, the median lead in whole days, and the share with a lead of 14 days or more."""
        found: dict[str, float] = {"warnings": self.right + self.wrong, "lapses": self.right + self.missed}
        if self.right + self.wrong:
            found["precision"] = self.right / (self.right + self.wrong)
        if self.right + self.missed:
            found["recall"] = self.right / (self.right + self.missed)
        if self.right:
            found["median_lead_days"] = float(sorted(self.leads.elements())[self.right // 2])
            found["lead_of_14_days"] = sum(n for days, n in self.leads.items() if days >= 14) / self.right
        return found


class Reviewed(msgspec.Struct):
    """All there is to say of a key: the groups of its examples, those left alone by the start of the period (ms) in
    which they were scored, warnings, and how many scores were on each level."""

    groups: dict[str, Group] = msgspec.field(default_factory=dict)
    periods: dict[int, Tally] = msgspec.field(default_factory=dict)
    warnings: Warnings = msgspec.field(default_factory=Warnings)
    levels: list[int] = msgspec.field(default_factory=lambda: [0] * LEVELS)


class _Gap(msgspec.Struct):
    """Since a customer's latest purchase: when that was, when the first warning came (None: not yet), and of which key
    the model was that scored it last."""

    since: int
    warned: int | None
    key: str


class Review:
    """Times in ms. ``high``: the threshold of the high band; ``period``: of which AUC and the like are told apart."""

    def __init__(self, horizon: int, high: float, period: int) -> None:
        self.keys: dict[str, Reviewed] = {}
        self._horizon, self._high, self._period = horizon, high, period
        self._gaps: dict[str, _Gap] = {}

    def example(self, example: Example) -> None:
        """Take in a matured example."""
        names = [EVERYONE, TREATED if example.treated else ALONE, *([HELD_OUT] if example.held_out else [])]
        for key in (ROOT, *example.keys):
            known = self._known(key)
            for name in names:
                known.groups.setdefault(name, Group()).add(example, self._high)
            if not example.treated:
                start = example.time // self._period * self._period
                known.periods.setdefault(start, Tally()).add(example.probability, example.label)

    def score(self, score: Score) -> None:
        """Take in a score; those of a customer come in the order of the log."""
        for key in {ROOT, score.key}:
            self._known(key).levels[min(LEVELS - 1, int(score.probability * LEVELS))] += 1
        gap = self._gaps.get(score.customer)
        if score.at_purchase and (gap is None or score.at > gap.since):
            if gap is not None:
                self._close(gap, score.at)
            gap = self._gaps[score.customer] = _Gap(score.at, None, score.key)
        if gap is None:  # the purchase is no longer kept
            return
        gap.key = score.key
        if score.band == "high" and gap.warned is None and score.at < gap.since + self._horizon:
            gap.warned = score.at

    def finish(self, at: int) -> None:
        """No more scores: gaps that have not ended lapsed if the horizon has passed by ``at`` (ms)."""
        for gap in self._gaps.values():
            if at > gap.since + self._horizon:
                self._close(gap, at)
        self._gaps.clear()

    def _close(self, gap: _Gap, at: int) -> None:
        lapse = gap.since + self._horizon
        for key in {ROOT, gap.key}:
            warnings = self._known(key).warnings
            if at <= lapse:
                warnings.wrong += gap.warned is not None
            elif gap.warned is None:
                warnings.missed += 1
            else:
                warnings.right += 1
                warnings.leads[(lapse - gap.warned) // DAY] += 1

    def _known(self, key: str) -> Reviewed:
        return self.keys.setdefault(key, Reviewed())
