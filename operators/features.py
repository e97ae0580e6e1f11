"""From touchpoints to the numbers the churn model reads: constant time, constant size, pure.

`observe` folds one touchpoint into a `Behaviour`, `join` unites those of two customers who turned out to
be one, `vector` reads the features at a moment. Late and unordered event times are welcome: every field is
a sum, a minimum, a maximum or a union, so any order of arrival gives the same behaviour (the decayed sums up to
rounding, the rest exactly)::

    behaviour = Behaviour()
    observe(behaviour, "order", "Order Completed", Order(order_id="1", revenue=12.5), 1_700_000_000_000)
    vector(behaviour, 1_700_086_400_000)     # one day later
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from math import exp2, log, log1p

from schemas.touchpoint import Body, Order, Refund
from state.behaviour import ACTIVE_DAYS, RECENT_ORDERS, Behaviour

DAY_MS = 86_400_000
#: Half-lives of the decayed sums, in ms. Those over orders are this one (224 days) and its half, quarter and eighth, so
#: that one power gives all; 7 days of looking, 28 of reading messages, 56 of trouble.
LONG_MS = 224 * DAY_MS
VIEWS_MS, ENGAGED_MS, TROUBLE_MS = 7 * DAY_MS, 28 * DAY_MS, 56 * DAY_MS
#: One imagined gap, in days, so that a first or second order does not claim a rhythm.
PRIOR_GAP = 30.0
#: What a newer gap weighs in the moving average.
GAP_WEIGHT = 0.3
#: Days that a sum with a half-life of 112 days stands for, once it has watched for long.
SLOW_DAYS = 112 / log(2)
#: Days of activity that count.
SEEN_DAYS = 14
_DAYS_MASK = (1 << ACTIVE_DAYS) - 1
_SEEN_MASKS = [(1 << days) - 1 for days in range(SEEN_DAYS + 1)]
_UNREAD = Order(order_id="-")

#: What a customer does on his own account. Messages sent, points booked or goods returned say nothing of him.
ACTIVE = frozenset({
    "Page Viewed", "Product Viewed", "Products Searched", "Product Added", "Product Removed", "Cart Viewed",
    "Product Added to Wishlist", "Product Removed from Wishlist", "Checkout Started", "Order Completed",
    "Message Clicked", "Signed In", "Signed Up", "Ticket Opened",
})  # fmt: skip
#: What shows interest in messages, and what went wrong for the customer.
ENGAGED = frozenset({"Message Opened", "Message Clicked"})
TROUBLE = frozenset({"Ticket Opened", "Order Refunded", "Order Cancelled"})
#: An order without a channel is taken for one in a store.
STORES = frozenset({None, "store"})

#: name -> (unit, formula). ``since`` counts days and is never below 0. The version is the hash of it all.
DOCUMENTED: dict[str, tuple[str, str]] = {
    "recency": ("ln days", "ln(1 + d), d = since the latest order, else since first seen"),
    "gap": ("ln days", "ln(1 + g), g = moving average of the latest 7 gaps between orders: 30 first, each weighs 0.3"),
    "rhythm": ("ln days", "mean of ln(1 + gap) over one of 30 days and the latest 7"),
    "longest": ("ln days", "ln(1 + the longest of the latest 7 gaps and d)"),
    "overdue": ("share", "d / (d + g)"),
    "orders_fast": ("ln orders", "ln(1 + orders decayed at a half-life of 28 days)"),
    "orders_slow": ("ln orders", "ln(1 + n), n = orders decayed at a half-life of 112 days"),
    "orders_long": ("ln orders", "ln(1 + orders decayed at a half-life of 224 days)"),
    "missed": ("ln orders", "ln(1 + d p), p = (n + 1/2) / (30 + 112 / ln 2 * (1 - 2^(-tenure / 112))) orders a day"),
    "basket": ("ln money", "ln(1 + spend an order), both decayed at a half-life of 112 days, in major units"),
    "lines": ("ln lines", "ln(1 + lines of orders decayed at a half-life of 112 days)"),
    "remote": ("share", "orders outside stores among orders, both decayed at a half-life of 112 days"),
    "active_days": ("ln days", "ln(1 + UTC days with activity among the last 14)"),
    "views": ("ln views", "ln(1 + product views decayed at a half-life of 7 days)"),
    "engaged": ("ln messages", "ln(1 + messages opened and clicked decayed at a half-life of 28 days)"),
    "trouble": ("ln events", "ln(1 + tickets, refunds and cancellations decayed at a half-life of 56 days)"),
    "tenure": ("ln days", "ln(1 + since first seen)"),
}
FEATURES: tuple[str, ...] = tuple(DOCUMENTED)


def version_of(names: Sequence[str]) -> str:
    """The version of a list of features: the hash of what they are. Of one that is not known, no list has it."""
    documented = [(name, DOCUMENTED.get(name)) for name in names]
    return blake2b(json.dumps(documented).encode(), digest_size=8).hexdigest()


VERSION = version_of(FEATURES)


def observe(
    behaviour: Behaviour, family: str, type: str, body: Body | None, time_ms: int, channel: str | None = None
) -> None:
    """Fold one touchpoint in, in place. Only orders, cancellations and refunds need their ``body``."""
    if type in ACTIVE:
        _see(behaviour, time_ms)
    if family == "view":
        behaviour.views, behaviour.views_at = _counted(behaviour.views, behaviour.views_at, time_ms, VIEWS_MS)
        return
    if type in ENGAGED:
        behaviour.engaged, behaviour.engaged_at = _counted(behaviour.engaged, behaviour.engaged_at, time_ms, ENGAGED_MS)
    elif type == "Order Completed":
        _order(behaviour, body if isinstance(body, Order) else _UNREAD, time_ms, channel)
    elif type in TROUBLE:
        behaviour.trouble, behaviour.trouble_at = _counted(behaviour.trouble, behaviour.trouble_at, time_ms, TROUBLE_MS)
        if isinstance(body, Refund):
            behaviour.returned += cents(body.amount)
        elif isinstance(body, Order):
            # The cancelled order stays a purchase: it showed a customer who is there; its time is not known here.
            behaviour.returned += cents(body.revenue)


def vector(behaviour: Behaviour, now_ms: int) -> list[float]:
    """The features at ``now_ms``, in the order of `FEATURES`; always finite."""
    recent, first = behaviour.recent, behaviour.first_seen or now_ms
    tenure = (now_ms - first) / DAY_MS if now_ms > first else 0.0
    gap, product = PRIOR_GAP, 1.0 + PRIOR_GAP
    if recent:
        latest = recent[-1]
        since = longest = (now_ms - latest) / DAY_MS if now_ms > latest else 0.0
        earlier = recent[0]
        for time in recent[1:]:
            passed = (time - earlier) / DAY_MS
            earlier = time
            gap += GAP_WEIGHT * (passed - gap)
            product *= 1.0 + passed
            if passed > longest:
                longest = passed
        long = exp2(-since / 224)
    else:
        since = longest = tenure
        long = 0.0
    slow = long * long
    quarter = slow * slow
    orders_slow = behaviour.orders_slow * slow
    per_day = (orders_slow + 0.5) / (30 + SLOW_DAYS * (1 - exp2(-tenure / 112)))
    counted = behaviour.orders_slow or 1.0
    # The days from the one SEEN_DAYS ago on: bit 0 of ``days`` is the day of ``last_seen``.
    seen = SEEN_DAYS - now_ms // DAY_MS + behaviour.last_seen // DAY_MS
    days = behaviour.days & _SEEN_MASKS[seen if seen < SEEN_DAYS else SEEN_DAYS] if seen > 0 else 0
    return [
        log1p(since),
        log1p(gap),
        log(product) / (len(recent) or 1),
        log1p(longest),
        since / (since + gap),
        log1p(behaviour.orders_fast * (quarter * quarter)),
        log1p(orders_slow),
        log1p(behaviour.orders_224 * long),
        log1p(since * per_day),
        log1p(max(0.0, behaviour.spend_slow / counted) / 100),
        log1p(behaviour.lines_slow * slow),
        behaviour.remote_slow / counted,
        log1p(days.bit_count()),
        _faded(behaviour.views, now_ms - behaviour.views_at, VIEWS_MS) if behaviour.views else 0.0,
        _faded(behaviour.engaged, now_ms - behaviour.engaged_at, ENGAGED_MS) if behaviour.engaged else 0.0,
        _faded(behaviour.trouble, now_ms - behaviour.trouble_at, TROUBLE_MS) if behaviour.trouble else 0.0,
        log1p(tenure),
    ]


def join(a: Behaviour, b: Behaviour) -> Behaviour:
    """The behaviour of a customer who was taken for two: as if all touchpoints had been observed by one.

    Commutative and associative (the decayed sums up to rounding), `Behaviour()` is neutral. Not idempotent:
    counts add, so an event must have been folded into one of the two only.
    """
    old, new = sorted((a, b), key=_latest)
    long = exp2((_latest(old) - _latest(new)) / LONG_MS)
    slow = long * long
    fast = slow**4
    seen, unseen = (a, b) if a.last_seen >= b.last_seen else (b, a)
    views, views_at = _counts(a.views, a.views_at, b.views, b.views_at, VIEWS_MS)
    engaged, engaged_at = _counts(a.engaged, a.engaged_at, b.engaged, b.engaged_at, ENGAGED_MS)
    trouble, trouble_at = _counts(a.trouble, a.trouble_at, b.trouble, b.trouble_at, TROUBLE_MS)
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
        views=views,
        views_at=views_at,
        orders_56=old.orders_56 * slow**2 + new.orders_56,
        orders_224=old.orders_224 * long + new.orders_224,
        lines_slow=old.lines_slow * slow + new.lines_slow,
        remote_slow=old.remote_slow * slow + new.remote_slow,
        engaged=engaged,
        engaged_at=engaged_at,
        trouble=trouble,
        trouble_at=trouble_at,
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


def _order(behaviour: Behaviour, order: Order, time_ms: int, channel: str | None) -> None:
    """Bring the sums forward to this order; one that comes late counts by its age."""
    recent = behaviour.recent
    latest = recent[-1] if recent else time_ms
    long = slow = quarter = 1.0
    if time_ms < latest:
        long = exp2((time_ms - latest) / LONG_MS)
        slow = long * long
        quarter = slow * slow
    elif time_ms > latest:
        _fade(behaviour, exp2((latest - time_ms) / LONG_MS))
    spent = cents(order.revenue)
    behaviour.orders += 1
    behaviour.spent += spent
    behaviour.orders_fast += quarter * quarter
    behaviour.orders_56 += quarter
    behaviour.orders_slow += slow
    behaviour.orders_224 += long
    behaviour.spend_slow += spent * slow
    behaviour.lines_slow += len(order.lines) * slow
    if channel not in STORES:
        behaviour.remote_slow += slow
    behaviour.recent = sorted([*recent, time_ms])[-RECENT_ORDERS:]
    behaviour.first_order = _earliest(behaviour.first_order, time_ms)


def _fade(behaviour: Behaviour, long: float) -> None:
    """Let the sums over orders grow older, in place, by as much as one of a half-life of 224 days shrinks."""
    slow = long * long
    quarter = slow * slow
    behaviour.orders_fast *= quarter * quarter
    behaviour.orders_56 *= quarter
    behaviour.orders_slow *= slow
    behaviour.orders_224 *= long
    behaviour.spend_slow *= slow
    behaviour.lines_slow *= slow
    behaviour.remote_slow *= slow


def _counted(total: float, at_ms: int, time_ms: int, half_life_ms: int) -> tuple[float, int]:
    """A decayed count as of ``at_ms`` and one more at ``time_ms``; as of the later of the two."""
    newer = time_ms - at_ms
    if newer > 0:
        return total * exp2(-newer / half_life_ms) + 1.0, time_ms
    return total + exp2(newer / half_life_ms), at_ms


def _counts(a: float, a_ms: int, b: float, b_ms: int, half_life_ms: int) -> tuple[float, int]:
    """Two decayed counts as one, as of the later of the two."""
    at = max(a_ms, b_ms)
    return a * exp2((a_ms - at) / half_life_ms) + b * exp2((b_ms - at) / half_life_ms), at


def _faded(total: float, age_ms: int, half_life_ms: int) -> float:
    """ln(1 + what is left of a decayed count)."""
    return log1p(total * exp2(-max(0, age_ms) / half_life_ms))


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
