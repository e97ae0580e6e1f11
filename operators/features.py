"""From touchpoints to the numbers the churn model reads: constant time, constant size, pure.

`observe` folds one touchpoint into a `Behaviour`, `join` unites those of two customers who turned out to
be one, `vector` reads the features at a moment. Late and unordered event times are welcome: every field is
a sum, a minimum, a maximum or a union, so any order of arrival gives the same behaviour (the decayed sums
``orders_fast, orders_slow, spend_slow, views`` up to rounding, the rest exactly)::

    behaviour = Behaviour()
    observe(behaviour, "order", "Order Completed", Order(order_id="1", revenue=12.5), 1_700_000_000_000)
    vector(behaviour, 1_700_086_400_000)     # one day later
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from math import exp2, log1p

from schemas.touchpoint import Body, Order, Refund
from state.behaviour import ACTIVE_DAYS, RECENT_ORDERS, Behaviour

DAY_MS = 86_400_000
#: Half-lives of the decayed sums, in ms: 28 days (a month's shopping), 112 days (a season), 7 days of looking.
FAST_MS, SLOW_MS, VIEWS_MS = 28 * DAY_MS, 112 * DAY_MS, 7 * DAY_MS
_DAYS_MASK = (1 << ACTIVE_DAYS) - 1

#: What a customer does on his own account. Messages sent, points booked or goods returned say nothing of him.
ACTIVE = frozenset({
    "Page Viewed", "Product Viewed", "Products Searched", "Product Added", "Product Removed", "Cart Viewed",
    "Product Added to Wishlist", "Product Removed from Wishlist", "Checkout Started", "Order Completed",
    "Message Clicked", "Signed In", "Signed Up", "Ticket Opened",
})  # fmt: skip

#: name -> (unit, formula); ``since`` counts days, an age is never below 0. The version is the hash of it all.
DOCUMENTED: dict[str, tuple[str, str]] = {
    "recency": ("ln days", "ln(1 + since the latest order, else since first seen)"),
    "gap": ("ln days", "ln(1 + g), g = (60 + first to last of the latest 8 orders) / max(1, their number)"),
    "overdue": ("share", "d / (d + g), d days since the latest order (else first seen), g as above"),
    "orders_fast": ("ln orders", "ln(1 + orders decayed at a half-life of 28 days)"),
    "orders_slow": ("ln orders", "ln(1 + orders decayed at a half-life of 112 days)"),
    "spend_slow": ("ln money", "ln(1 + spend in major units decayed at a half-life of 112 days)"),
    "active_days": ("ln days", "ln(1 + UTC days with activity among the last 28)"),
    "views": ("ln views", "ln(1 + product views decayed at a half-life of 7 days)"),
    "tenure": ("ln days", "ln(1 + since first seen)"),
}
FEATURES: tuple[str, ...] = tuple(DOCUMENTED)


def version_of(names: Sequence[str]) -> str:
    """The version of a list of features: the hash of what they are. Of one that is not known, no list has it."""
    documented = [(name, DOCUMENTED.get(name)) for name in names]
    return blake2b(json.dumps(documented).encode(), digest_size=8).hexdigest()


VERSION = version_of(FEATURES)


def observe(behaviour: Behaviour, family: str, type: str, body: Body | None, time_ms: int) -> None:
    """Fold one touchpoint in, in place. Only orders, cancellations and refunds need their ``body``."""
    if type in ACTIVE:
        _see(behaviour, time_ms)
    if family == "view":
        _view(behaviour, time_ms)
    elif type == "Order Completed":
        _order(behaviour, cents(body.revenue) if isinstance(body, Order) else 0, time_ms)
    elif isinstance(body, Refund):
        behaviour.returned += cents(body.amount)
    elif isinstance(body, Order):
        # The cancelled order stays a purchase: it showed a customer who is there, and its time is not known here.
        behaviour.returned += cents(body.revenue)


def vector(behaviour: Behaviour, now_ms: int) -> list[float]:
    """The features at ``now_ms``, in the order of `FEATURES`; always finite."""
    recent = behaviour.recent
    ordered, first = (recent[-1], recent[0]) if recent else (0, 0)
    since = max(0, now_ms - (ordered or behaviour.first_seen or now_ms)) / DAY_MS
    # One imagined gap of 60 days is mixed in, so that a first or second order does not claim a rhythm.
    gap = (60.0 + (ordered - first) / DAY_MS) / (len(recent) or 1)
    age = max(0, now_ms - ordered)
    slow = exp2(-age / SLOW_MS)
    return [
        log1p(since),
        log1p(gap),
        since / (since + gap),
        log1p(behaviour.orders_fast * exp2(-age / FAST_MS)),
        log1p(behaviour.orders_slow * slow),
        log1p(max(0.0, behaviour.spend_slow * slow) / 100),
        log1p((behaviour.days & _last_28(behaviour.last_seen, now_ms)).bit_count()),
        log1p(behaviour.views * exp2(-max(0, now_ms - behaviour.views_at) / VIEWS_MS)),
        log1p(max(0, now_ms - (behaviour.first_seen or now_ms)) / DAY_MS),
    ]


def join(a: Behaviour, b: Behaviour) -> Behaviour:
    """The behaviour of a customer who was taken for two: as if all touchpoints had been observed by one.

    Commutative and associative (the decayed sums up to rounding), `Behaviour()` is neutral. Not idempotent:
    counts add, so an event must have been folded into one of the two only.
    """
    old, new = sorted((a, b), key=_latest)
    fast, slow = _decay(old, new, FAST_MS), _decay(old, new, SLOW_MS)
    seen, unseen = (a, b) if a.last_seen >= b.last_seen else (b, a)
    viewed_at = max(a.views_at, b.views_at)
    return Behaviour(
        first_seen=_earliest(a.first_seen, b.first_seen),
        last_seen=seen.last_seen,
        days=seen.days | _older(unseen.days, _day(seen.last_seen) - _day(unseen.last_seen)),
        orders=a.orders + b.orders,
        first_order=_earliest(a.first_order, b.first_order),
        recent=sorted(a.recent + b.recent)[-RECENT_ORDERS:],
        spent=a.spent + b.spent,
        returned=a.returned + b.returned,
        orders_fast=old.orders_fast * fast + new.orders_fast,
        orders_slow=old.orders_slow * slow + new.orders_slow,
        spend_slow=old.spend_slow * slow + new.spend_slow,
        views=a.views * exp2((a.views_at - viewed_at) / VIEWS_MS) + b.views * exp2((b.views_at - viewed_at) / VIEWS_MS),
        views_at=viewed_at,
    )


def purchased_between(behaviour: Behaviour, after_ms: int, until_ms: int) -> bool:
    """Whether an order completed at a time t with ``after_ms < t <= until_ms``.

    Read from the latest 8 order times. Where all of them lie after ``until_ms`` and older ones have been
    forgotten, the answer is yes: eight orders since speak for a buyer, and no silence can be proven.
    """
    recent = behaviour.recent
    if any(after_ms < time <= until_ms for time in recent):
        return True
    return behaviour.orders > len(recent) > 0 and recent[0] > until_ms


def cents(amount: float) -> int:
    """Minor units of an amount in major units, to the nearest."""
    return round(amount * 100)


def _see(behaviour: Behaviour, time_ms: int) -> None:
    """Note activity: first and last time, and its day in the bit field."""
    latest = behaviour.last_seen
    newer = time_ms // DAY_MS - latest // DAY_MS
    if newer == 0:
        behaviour.days |= 1
    elif newer > 0:
        behaviour.days = _older(behaviour.days, newer) | 1
    else:
        behaviour.days |= _older(1, -newer)
    if time_ms > latest:
        behaviour.last_seen = time_ms
    if time_ms < behaviour.first_seen or not behaviour.first_seen:
        behaviour.first_seen = time_ms


def _view(behaviour: Behaviour, time_ms: int) -> None:
    since = time_ms - behaviour.views_at
    if since > 0:
        behaviour.views = behaviour.views * exp2(-since / VIEWS_MS) + 1.0
        behaviour.views_at = time_ms
    else:
        behaviour.views += exp2(since / VIEWS_MS)


def _order(behaviour: Behaviour, spent: int, time_ms: int) -> None:
    latest = behaviour.recent[-1] if behaviour.recent else 0
    decay, weigh = min(0, latest - time_ms), min(0, time_ms - latest)
    fast, slow, weight = exp2(decay / FAST_MS), exp2(decay / SLOW_MS), exp2(weigh / SLOW_MS)
    behaviour.orders_fast = behaviour.orders_fast * fast + exp2(weigh / FAST_MS)
    behaviour.orders_slow = behaviour.orders_slow * slow + weight
    behaviour.spend_slow = behaviour.spend_slow * slow + spent * weight
    behaviour.recent = sorted([*behaviour.recent, time_ms])[-RECENT_ORDERS:]
    behaviour.first_order = _earliest(behaviour.first_order, time_ms)
    behaviour.orders += 1
    behaviour.spent += spent


def _last_28(last_seen: int, now_ms: int) -> int:
    """The bits of ``days`` that lie within the 28 UTC days that end with that of ``now_ms``."""
    return (1 << max(0, min(28, 28 - _day(now_ms) + _day(last_seen)))) - 1


def _older(days: int, by: int) -> int:
    """The bit field of days, ``by`` days further in the past; what leaves its range is dropped."""
    return (days << by) & _DAYS_MASK if by < ACTIVE_DAYS else 0


def _day(time_ms: int) -> int:
    return time_ms // DAY_MS


def _latest(behaviour: Behaviour) -> int:
    return behaviour.recent[-1] if behaviour.recent else 0


def _earliest(a: int, b: int) -> int:
    """The earlier of two times, of which 0 means never."""
    return min(a, b) if a and b else a or b


def _decay(old: Behaviour, new: Behaviour, half_life_ms: int) -> float:
    """What the sums of ``old`` are worth at the latest order of ``new``."""
    return exp2((_latest(old) - _latest(new)) / half_life_ms)
