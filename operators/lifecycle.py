"""Where a buyer stands: RFM cell and its name, stage of the lifecycle, high potential.

Recency, frequency and monetary value are fifths of the buyers of the same shard, 5 the best. The shard counts,
whenever a buyer comes by on the weekly grid, days since the last order, orders, what was spent and what an order
brings, in bins that grow by a constant factor; when there are `MOST` of them all counts are halved, so that what is
counted is the last months'. That is of constant size and a function of the log. Customers fall to shards by hash: each
shard has a fair sample.

The *stage* says where somebody is in time; of those that would fit the first of this list counts:

- ``prospect``: has never ordered
- ``lapsed``: the last order lies more than a horizon back
- ``at_risk``: the churn band is high
- ``won_back``: the last order ended a silence of more than a horizon
- ``new``: has ordered once
- ``loyal``: four orders within three horizons
- ``active``: all others

*High potential*: at most three orders, the first within three horizons, neither lapsed nor at risk, and an order of
this customer brings as much as those of the best fifth.
"""

from __future__ import annotations

from math import log2
from typing import Final, NamedTuple

from state.behaviour import Behaviour

#: Bins of each count, and how many are kept before all counts are halved.
BINS, MOST = 64, 8_192
_LAST: Final = BINS - 1
#: So many must have been counted before fifths mean anything.
LEAST = 50
#: Bins each doubling takes: of days, orders, money, money an order. Up to eight orders each number has its own.
_FINE: Final = (5.0, 8.0, 4.0, 5.0)
#: The name of a cell by recency (1 to 5, downwards) and the mean of frequency and monetary value (1 to 5, rightwards).
_NAMES: Final = (
    ("lost", "hibernating", "at_risk", "at_risk", "cannot_lose"),
    ("hibernating", "hibernating", "at_risk", "at_risk", "cannot_lose"),
    ("about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"),
    ("promising", "potential_loyal", "potential_loyal", "loyal", "loyal"),
    ("new", "potential_loyal", "potential_loyal", "champion", "champion"),
)
_DAY: Final = 86_400_000


class Standing(NamedTuple):
    """``rfm`` is the cell, as ``5-4-3``, ``rfm_segment`` its name; both empty before there is enough to compare
    with."""

    rfm: str
    rfm_segment: str
    stage: str
    high_potential: bool


def count(ranks: list[list[int]], behaviour: Behaviour, now: int) -> list[list[int]]:
    """The counts of a shard with one more look at a buyer at ``now`` (ms)."""
    ranks = ranks or [[0] * BINS for _ in _FINE]
    for counts, place in zip(ranks, _places(behaviour, now), strict=True):
        counts[place] += 1
    if sum(ranks[0]) >= MOST:
        ranks = [[each // 2 for each in counts] for counts in ranks]
    return ranks


def standing(ranks: list[list[int]], behaviour: Behaviour, band: str, now: int, horizon: int) -> Standing:
    """Where a customer stands at ``now`` (ms) among those counted. ``horizon`` in ms."""
    now_at = stage(behaviour, band, now, horizon)
    total = sum(ranks[0]) if ranks else 0
    if total < LEAST:
        return Standing("", "", now_at, False)
    places = _places(behaviour, now)
    days, orders, spent, each = [_fifth(ranks[n], places[n], total) for n in range(4)]
    recency = 6 - days
    promising = (
        each == 5
        and 0 < behaviour.orders <= 3
        and now - behaviour.first_order <= 3 * horizon
        and now_at not in ("lapsed", "at_risk")
    )
    name = _NAMES[recency - 1][(orders + spent + 1) // 2 - 1]
    return Standing(f"{recency}-{orders}-{spent}", name, now_at, promising)


def stage(behaviour: Behaviour, band: str, now: int, horizon: int) -> str:
    """The stage at ``now`` (ms), by the list above."""
    recent = behaviour.recent
    if not recent:
        return "prospect"
    if now - recent[-1] > horizon:
        return "lapsed"
    if band == "high":
        return "at_risk"
    if len(recent) > 1 and recent[-1] - recent[-2] > horizon:
        return "won_back"
    if behaviour.orders == 1:
        return "new"
    return "loyal" if len(recent) > 3 and now - recent[-4] <= 3 * horizon else "active"


def _places(behaviour: Behaviour, now: int) -> tuple[int, int, int, int]:
    """The bin of each count."""
    recent, orders = behaviour.recent, behaviour.orders
    since = now - (recent[-1] if recent else behaviour.first_seen)
    spent = behaviour.spent - behaviour.returned
    if spent < 0:
        spent = 0
    return (
        min(_LAST, int(log2(1.0 + since / _DAY) * _FINE[0])) if since > 0 else 0,
        min(_LAST, int(log2(1.0 + orders) * _FINE[1])),
        min(_LAST, int(log2(1.0 + spent / 100) * _FINE[2])),
        min(_LAST, int(log2(1.0 + spent / 100 / (orders or 1)) * _FINE[3])),
    )


def _fifth(counts: list[int], place: int, total: int) -> int:
    """The fifth of a bin, 1 to 5, by the middle of those in it. What halving has rounded off is not missed."""
    return 1 + min(4, int(5 * (sum(counts[:place]) + counts[place] / 2) / total))
