"""What plays bring about: those who were sent a message beside those who were held out, in conversion and revenue.

::

    tally = Tally(period=30 * DAY)
    for outcome in outcomes:
        tally.add(outcome)
    tally.comparisons()

The unit is the first decision of a play on a customer in a period: later ones fall into the window of the first and are
not independent of it. Who is held out is drawn by hash, so the groups differ by nothing but the message: what the held
out buy is bought anyway, and what the others buy beyond that is brought about.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

from schemas.outputs import Outcome

#: Intervals hold the truth 19 times in 20.
LEVEL: Final = 0.95
_Z: Final = NormalDist().inv_cdf((1 + LEVEL) / 2)
#: Fewer customers, or conversions to be expected, in a group are too few.
LEAST, LEAST_EXPECTED = 100, 5


class Interval(NamedTuple):
    """A difference, and between what it lies at `LEVEL`."""

    difference: float
    low: float
    high: float


class Group(NamedTuple):
    """Customers, how many of them converted, and the sums of their revenue and of its squares, in minor units."""

    customers: int = 0
    conversions: int = 0
    revenue: int = 0
    squares: int = 0

    def with_one(self, *, converted: bool, revenue: int) -> Group:
        """One more customer."""
        return Group(
            self.customers + 1, self.conversions + converted, self.revenue + revenue, self.squares + revenue * revenue
        )

    @property
    def rate(self) -> float:
        """Conversions a customer."""
        return self.conversions / self.customers if self.customers else 0.0

    @property
    def mean(self) -> float:
        """Revenue a customer, in minor units."""
        return self.revenue / self.customers if self.customers else 0.0

    @property
    def variance(self) -> float:
        """Of the revenue of a customer, estimated without bias; sums of whole numbers lose nothing. 0 of one alone."""
        n = self.customers
        return (n * self.squares - self.revenue**2) / (n * (n - 1)) if n > 1 else 0.0


class Comparison(NamedTuple):
    """One play, or one of its variants, beside its holdout. ``conversion``: difference of the rates; ``revenue``: of
    the revenue a customer, in minor units; each None where it has no meaning. ``natural``: conversions of those treated
    that would have come anyway; ``lacking``: why there is too little data to go by, empty if there is enough."""

    play: str
    variant: str | None
    treated: Group
    held_out: Group
    conversion: Interval | None
    revenue: Interval | None
    natural: float
    lacking: str


def wilson(x: int, n: int) -> tuple[float, float]:
    """The interval of a share of ``x`` in ``n`` by its score: Wilson (1927), Journal of the American Statistical
    Association 22, 209-212."""
    p, z2 = x / n, _Z * _Z
    centre, reach = 2 * n * p + z2, _Z * sqrt(z2 + 4 * n * p * (1 - p))
    return max(0.0, (centre - reach) / (2 * (n + z2))), min(1.0, (centre + reach) / (2 * (n + z2)))


def difference_of_shares(x: int, n: int, y: int, m: int) -> Interval | None:
    """``x`` in ``n`` less ``y`` in ``m``, by the hybrid of two score intervals: method 10 of Newcombe (1998),
    Statistics in Medicine 17, 873-890. Holds also for few or no successes, and never leaves -1 to 1."""
    if not n or not m:
        return None
    p, q = x / n, y / m
    (low, high), (other_low, other_high) = wilson(x, n), wilson(y, m)
    below, above = sqrt((p - low) ** 2 + (other_high - q) ** 2), sqrt((high - p) ** 2 + (q - other_low) ** 2)
    return Interval(p - q, p - q - below, p - q + above)


def difference_of_means(one: Group, other: Group) -> Interval | None:
    """Revenue a customer of ``one`` less that of ``other``, whose variances may differ: Welch (1947), Biometrika 34,
    28-35, with the degrees of freedom of Satterthwaite (1946), Biometrics Bulletin 2, 110-114."""
    if one.customers < 2 or other.customers < 2:
        return None
    a, b = one.variance / one.customers, other.variance / other.customers
    freedom = (a + b) ** 2 / (a**2 / (one.customers - 1) + b**2 / (other.customers - 1)) if a or b else inf
    difference, reach = one.mean - other.mean, t_quantile(freedom) * sqrt(a + b)
    return Interval(difference, difference - reach, difference + reach)


def t_quantile(freedom: float) -> float:
    """What Student's t stays below, to both sides, at `LEVEL`, by its expansion around the normal: 26.7.5 of Abramowitz
    and Stegun (1964), to within 0.001 from five degrees of freedom on."""
    z, v = _Z, freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum([term / v ** (i + 1) for i, term in enumerate(terms)])


def lacking(treated: Group, held_out: Group) -> str:
    """Why there is too little data, empty if there is enough: each group has `LEAST` customers, and would have
    `LEAST_EXPECTED` conversions, and as many that are none, if both converted alike: the rule of Cochran (1954),
    Biometrics 10, 417-451, for tables of two by two."""
    fewest = min(treated.customers, held_out.customers)
    if fewest < LEAST:
        group = "were held out" if held_out.customers == fewest else "were sent it"
        return f"only {fewest} {group}, {LEAST} are needed"
    rate = (treated.conversions + held_out.conversions) / (treated.customers + held_out.customers)
    expected = fewest * min(rate, 1 - rate)
    if expected < LEAST_EXPECTED:
        which = "conversions" if rate <= 0.5 else "customers who do not convert"
        return f"{expected:.1f} {which} are expected in the smaller group, {LEAST_EXPECTED} are needed"
    return ""


def compare(play: str, variant: str | None, treated: Group, held_out: Group) -> Comparison:
    """Set those who were sent a message beside those who were held out."""
    return Comparison(
        play,
        variant,
        treated,
        held_out,
        difference_of_shares(treated.conversions, treated.customers, held_out.conversions, held_out.customers),
        difference_of_means(treated, held_out),
        held_out.rate * treated.customers,
        lacking(treated, held_out),
    )


class _First(NamedTuple):
    """The first decision of a play on a customer in a period."""

    decided_at: int
    id: str
    variant: str | None
    held_out: bool
    converted: bool
    revenue: int
    excluded: str


class Tally:
    """Takes outcomes in any order. ``period`` in ms, counted from the epoch. ``excluded`` counts first decisions that
    are not compared: ``treated`` (held out now, but sent this play before) and ``not_observed`` (closed early)."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._first: dict[tuple[str, int, str], _First] = {}

    def add(self, outcome: Outcome) -> None:
        """One more outcome."""
        key = outcome.play, outcome.decided_at // self._period, outcome.customer
        first = _First(
            outcome.decided_at,
            outcome.id,
            outcome.variant,
            outcome.outcome == "held_out",
            outcome.converted,
            round(outcome.revenue * 100),
            "treated" if outcome.treated else "" if outcome.observed else "not_observed",
        )
        known = self._first.get(key)
        if known is None or first[:2] < known[:2]:
            self._first[key] = first

    def resolve(self, customers: Mapping[str, str]) -> None:
        """Let customers that have become others be these: who was two when decided on is one now, and counts once."""
        known, self._first = self._first, {}
        for (play, period, customer), first in known.items():
            key = play, period, customers.get(customer, customer)
            self._first[key] = min(first, self._first.get(key, first), key=lambda each: each[:2])

    @property
    def excluded(self) -> dict[str, int]:
        """How many first decisions are not compared, and why."""
        why = [first.excluded for first in self._first.values()]
        return {reason: why.count(reason) for reason in ("treated", "not_observed")}

    def comparisons(self) -> list[Comparison]:
        """Each play by name as a whole, then its variants, if it has any: each beside those held out for whom it was
        drawn, who met it at the same times however its weight has changed."""
        groups: dict[tuple[str, str | None, bool], Group] = {}
        for (play, _, _), first in self._first.items():
            for variant in {None, first.variant} if not first.excluded else ():
                key = play, variant, first.held_out
                groups[key] = groups.get(key, Group()).with_one(converted=first.converted, revenue=first.revenue)
        rows = sorted({(play, variant) for play, variant, _ in groups}, key=lambda row: (row[0], row[1] or ""))
        return [
            compare(play, variant, *[groups.get((play, variant, held_out), Group()) for held_out in (False, True)])
            for play, variant in rows
        ]
