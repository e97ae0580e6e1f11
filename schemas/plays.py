"""The plays of a retailer as they are written: ``plays.yaml``, checked by `operators.plays` before use.

Durations are a number and a unit: ``30m``, ``12h``, ``7d``. Conditions and values are expressions of
`operators.expressions`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from schemas.config import Section

Duration = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,5}[mhd]$")]
PlayName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Expression = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Channel = Literal["email", "sms", "wechat"]
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


class Band(Section, frozen=True):
    """The churn score crossed into a band, from below or from above."""

    rises_to: Literal["medium", "high"] | None = None
    falls_to: Literal["low", "medium"] | None = None


class When(Section, frozen=True):
    """What wakes a play: exactly one of these."""

    event: Pattern | None = None
    count: Count | None = None
    absence: Absence | None = None
    score: Band | None = None


def kinds_of(when: When) -> list[str]:
    """What a play says wakes it: one kind, if it is right."""
    return [kind for kind in When.__struct_fields__ if getattr(when, kind) is not None]


class Play(Section, frozen=True):
    """One play.

    ``who``: a condition on the profile. ``channels`` in order of preference; consent is asked for ``purpose``.
    ``cool_down``: so long after a message of this play no other of it. ``once``: at most one decision per customer and
    key, ever. ``values``: what the message says, by name.
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


class Cap(Section, frozen=True):
    """At most ``messages`` to one customer ``within`` a sliding window: of all plays on all channels, or of one."""

    messages: Annotated[int, msgspec.Meta(ge=1, le=100)]
    within: Duration
    channel: Channel | None = None
    category: Category | None = None


class Limits(Section, frozen=True):
    """What holds for all plays. ``start_within``: an older touchpoint is remembered but starts nothing."""

    start_within: Duration = "1h"
    caps: tuple[Cap, ...] = (Cap(messages=3, within="7d"),)


class PlayFile(Section, frozen=True):
    """A set of plays, as a whole what is in force at a time."""

    plays: dict[PlayName, Play]
    limits: Limits = Limits()
