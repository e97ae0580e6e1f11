"""What the profile remembers of a customer's behaviour: constant in size, joinable, mostly free of order.

The profile packs it as a msgpack array, so fields are only ever added at the end, each with a default.
Times are epoch milliseconds, 0 where it never happened; money is minor units (cents) of the shop's currency.
What is written and read here is decided in `operators.features`.
"""

from __future__ import annotations

import msgspec

#: How many order times are kept, and how many days of activity (eight weeks).
RECENT_ORDERS, ACTIVE_DAYS = 8, 56
#: Sums that fade: they depend on the order of arrival by rounding, all else not at all.
DECAYED = (
    "orders_fast", "orders_slow", "spend_slow", "views", "orders_56", "orders_224", "lines_slow", "remote_slow",
    "engaged", "trouble",
)  # fmt: skip


class Behaviour(msgspec.Struct, array_like=True, gc=False):
    """One customer's statistics.

    ``recent`` holds the latest order times, ascending. ``days`` is a bit field of the UTC days with
    activity: bit k is the day k days before that of ``last_seen``. ``orders_fast``, ``orders_slow`` and
    ``spend_slow`` are decayed sums as of the latest order, ``views`` as of ``views_at``: an entry of age
    a counts 2^(-a / half-life). ``returned`` is what refunds and cancellations took back.

    ``orders_56``, ``orders_224``, ``lines_slow`` and ``remote_slow`` (orders outside stores) are sums as of the latest
    order too; ``engaged`` (messages opened and clicked) and ``trouble`` (tickets, refunds, cancellations) as of
    ``engaged_at`` and ``trouble_at``.
    """

    first_seen: int = 0
    last_seen: int = 0
    days: int = 0
    orders: int = 0
    first_order: int = 0
    recent: list[int] = []
    spent: int = 0
    returned: int = 0
    orders_fast: float = 0.0
    orders_slow: float = 0.0
    spend_slow: float = 0.0
    views: float = 0.0
    views_at: int = 0
    orders_56: float = 0.0
    orders_224: float = 0.0
    lines_slow: float = 0.0
    remote_slow: float = 0.0
    engaged: float = 0.0
    engaged_at: int = 0
    trouble: float = 0.0
    trouble_at: int = 0
