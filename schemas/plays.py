"""The plays of a retailer as they are written: ``plays.yaml``, checked by `operators.playbook` before use.

Durations are a number and a unit: ``30m``, ``12h``, ``7d``. Conditions and values are expressions of
`operators.expressions`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from schemas.config import Section, Share

Duration = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,5}[mhd]$")]
PlayName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Expression = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Channel = Literal["email", "sms", "wechat"]
Clock = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
#: A time of the calendar, with its zone: ``2026-11-27T00:00:00+08:00``.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Category = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")]

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(duration: Duration) -> int:
    """``7d`` in ms."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


class Pattern(Section, frozen=True):
    """Touchpoints of one or several types, if ``where`` holds. ``by`` tells apart what belongs together: a cart, a
    product; it may be a list of such."""

    event: str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=50)]
    where: Expression | None = None
    by: Expression | None = None


class Count(Section, frozen=True):
    """``of`` was seen ``times`` times ``within``, and no ``reset`` since; then counting begins anew."""

    of: Pattern
    times: Annotated[int, msgspec.Meta(ge=2, le=20)]
    within: Duration
    reset: Pattern | None = None


class Absence(Section, frozen=True):
    """``after`` was seen, and then no ``without`` and no further ``after`` of the same key ``within``."""

    after: Pattern
    without: Pattern
    within: Duration


class Delay(Section, frozen=True):
    """So long after ``after`` was seen: each touchpoint for itself or, of those with one key ``by``, the latest."""

    after: Pattern
    wait: Duration


class Silence(Section, frozen=True):
    """Nothing ``of`` this kind was seen for so long."""

    of: Pattern
    wait: Duration


class Date(Section, frozen=True):
    """At the ``time`` that a touchpoint tells, so long ``before`` or ``after`` it, and ``at`` this time of that day
    where the customer is. Of touchpoints with one key ``by`` the latest counts; ``without`` ends it."""

    of: Pattern
    time: Expression
    before: Duration | None = None
    after: Duration | None = None
    at: Clock | None = None
    without: Pattern | None = None


class Yearly(Section, frozen=True):
    """Every year on this ``day`` of the customer, or so long ``before`` or ``after`` it, ``at`` this time where it
    is."""

    day: Literal["birthday", "first_order"]
    before: Duration | None = None
    after: Duration | None = None
    at: Clock = "09:00"


class Band(Section, frozen=True):
    """The churn score crossed into a band, from below or from above."""

    rises_to: Literal["medium", "high"] | None = None
    falls_to: Literal["low", "medium"] | None = None


class Crossing(Section, frozen=True):
    """The customer entered a segment, or left it."""

    entered: PlayName | None = None
    left: PlayName | None = None


class Interest(Section, frozen=True):
    """Customers of whom ``of`` was seen ``within`` a time, and no ``unless`` since; ``by`` is the product."""

    of: Pattern
    within: Duration
    unless: Pattern | None = None


class Restock(Section, frozen=True):
    """At most ``per_unit`` customers are told for each unit in stock, shared out evenly among the shards."""

    per_unit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1


class ProductSignal(Section, frozen=True):
    """A product became cheaper by so many per cent, came back in stock, or fell to so many units: for all who are
    ``interested`` in it."""

    interested: Interest
    price_drop: Annotated[float, msgspec.Meta(gt=0, lt=100)] | None = None
    back_in_stock: Restock | None = None
    low_stock: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class When(Section, frozen=True):
    """What wakes a play: exactly one of these."""

    event: Pattern | None = None
    count: Count | None = None
    absence: Absence | None = None
    delay: Delay | None = None
    silence: Silence | None = None
    date: Date | None = None
    yearly: Yearly | None = None
    score: Band | None = None
    segment: Crossing | None = None
    product: ProductSignal | None = None


def kinds_of(when: When) -> list[str]:
    """What a play says wakes it: one kind, if it is right."""
    return [kind for kind in When.__struct_fields__ if getattr(when, kind) is not None]


class Goal(Section, frozen=True):
    """What a play is measured by: that ``event`` follows a decision ``within`` so long; with ``by``, under its key.
    ``revenue``: what one touchpoint brings; None is its ``event.revenue``, where there is one."""

    event: Pattern
    within: Duration
    revenue: Expression | None = None


class Budget(Section, frozen=True):
    """At most ``messages`` of a play in each period ``per``, shared out evenly among the shards. Periods count from the
    epoch: a day begins at midnight UTC."""

    messages: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
    per: Duration


class Variant(Section, frozen=True):
    """One way to say it: how often beside the others, and what it says besides the play's ``values``. ``offer``: the
    class of what it offers, a discount or a gift: a bandit tries one that a customer has not taken less."""

    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 1
    values: dict[PlayName, str | int | float] = {}
    offer: Category | None = None


class Step(Section, frozen=True):
    """A further message of a journey, ``wait`` after the one before: ``who`` it is for then, its ``channels`` (none:
    the play's), and what it says beside the play's ``values``, of profile and ``key``."""

    wait: Duration
    who: Expression | None = None
    channels: tuple[Channel, ...] = ()
    values: dict[PlayName, Expression] = {}


class Play(Section, frozen=True):
    """One play.

    ``who``: a condition on the profile. ``channels`` in order of preference; consent is asked for ``purpose``.
    ``cool_down``: so long after a message of this play no other of it. ``once``: at most one decision per customer and
    key, ever. ``values``: what the message says, by name. Plays of one ``group`` compete: the highest ``priority``,
    then the highest ``worth`` wins. ``holdout``: this share of customers is never sent it. ``expires``: so long after
    the decision the message may be sent. ``skips``: steps of governance that one of service does not have to pass.
    ``choose``: by which a variant is chosen; a ``bandit`` learns from the goal.
    ``prefer``: of the open channels the first in ``order``, or the one that the customer answers most (``engaged``).

    ``valid_from`` and ``valid_until``: it speaks from then on, and before then. ``mode``: ``shadow`` does everything
    but send; ``test`` sends only to the ``testers`` of the limits. ``late``: what falls due while nothing runs, and is
    late by more than ``start_within``, is sent or dropped.

    ``on_activate``: whether a play that waits for a segment to be entered speaks, when it is new, to those who are in
    it already.

    ``treats``: its messages are meant to change what customers do, which the churn model takes into account (none:
    those of the category marketing are).

    ``steps``: a journey of further messages. ``exit``: a touchpoint that ends it, with its key ``by`` if the play has
    keys, and ``exit_when``: a condition on the profile that does; they also stop what is held.
    """

    when: When
    channels: Annotated[tuple[Channel, ...], msgspec.Meta(min_length=1)]
    cool_down: Duration
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""
    who: Expression | None = None
    purpose: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")] = "marketing"
    category: Category = "marketing"
    once: bool = False
    values: dict[PlayName, Expression] = {}
    group: Category | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    worth: Expression | None = None
    budget: Budget | None = None
    holdout: Share = 0.0
    variants: dict[PlayName, Variant] = {}
    expires: Duration | None = None
    skips: tuple[Literal["consent", "cool_down", "caps", "quiet_hours", "holdout"], ...] = ()
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    mode: Literal["live", "shadow", "test"] = "live"
    late: Literal["send", "drop"] = "send"
    steps: Annotated[tuple[Step, ...], msgspec.Meta(max_length=10)] = ()
    exit: Pattern | None = None
    exit_when: Expression | None = None
    prefer: Literal["order", "engaged"] = "order"
    goal: Goal | None = None
    choose: Literal["weights", "bandit"] = "weights"
    on_activate: Literal["send", "skip"] = "skip"
    treats: bool | None = None


class Cap(Section, frozen=True):
    """At most ``messages`` to one customer ``within`` a sliding window: of all plays on all channels, or of one.
    ``others``: what other tools report to have sent counts, too."""

    messages: Annotated[int, msgspec.Meta(ge=1, le=100)]
    within: Duration
    channel: Channel | None = None
    category: Category | None = None
    others: bool = False


class QuietHours(Section, frozen=True):
    """From ``start`` to ``end`` of the customer's local time nothing is sent on ``channels`` (empty: on any): it is
    held until they end and then decided anew, or dropped."""

    start: Clock
    end: Clock
    channels: tuple[Channel, ...] = ()
    then: Literal["hold", "drop"] = "hold"


class Group(Section, frozen=True):
    """Plays that compete. ``window``: so long after the first of them they wait for others; None: only those that one
    touchpoint wakes compete."""

    window: Duration | None = None


class Window(Section, frozen=True):
    """How often ``of`` was seen in the last ``within``, or the ``sum`` of something over it. ``exact``: the latest so
    many are kept each for itself; else the window has 64 buckets, and what leaves it does so up to 1/63 of it late."""

    of: Pattern
    within: Duration
    sum: Expression | None = None
    exact: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None


class Segment(Section, frozen=True):
    """Customers for whom ``who`` holds: a condition on the profile, windows and the time."""

    who: Expression
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Limits(Section, frozen=True):
    """What holds for all plays. ``start_within``: an older touchpoint is remembered but starts nothing. ``timezone`` is
    that of customers whose own is not known. ``holdout``: this share of customers is never sent anything. ``testers``:
    ids of customers to whom plays in the mode ``test`` are sent."""

    start_within: Duration = "1h"
    caps: tuple[Cap, ...] = (Cap(messages=3, within="7d"),)
    timezone: str = "UTC"
    quiet_hours: QuietHours | None = None
    holdout: Share = 0.0
    groups: dict[Category, Group] = {}
    testers: Annotated[tuple[str, ...], msgspec.Meta(max_length=1_000)] = ()


class PlayFile(Section, frozen=True):
    """A set of plays, as a whole what is in force at a time; conditions name its ``windows`` as ``window.NAME``."""

    plays: dict[PlayName, Play]
    limits: Limits = Limits()
    windows: dict[PlayName, Window] = {}
    segments: dict[PlayName, Segment] = {}
