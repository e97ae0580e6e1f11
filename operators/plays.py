"""A play in force, compiled, and a play that wants to speak. `operators.playbook` makes them of what is written.

A play is woken by a touchpoint, a timer or a score band and then makes a `Candidate`; whether anything is sent is
decided by `operators.governance`, the same way for all. How touchpoints move plays on is in `operators.progress`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from operators.dates import Offset
from operators.expressions import Condition
from schemas import plays as written
from state.profile import Held, Profile

DAY = 86_400_000
#: Messages a customer may get within the longest window of any cap: all of them are remembered.
KEPT_SENT: Final = 200

#: What stops a candidate whose play cannot be evaluated, or that would only have been told in time.
ERROR, TOO_OLD, LATE = "error", "too_old", "late"
#: What ends a journey, and stops what it would have said.
EXIT = "exit"
#: From the beginning, before the end.
ALWAYS: Final = (0, 1 << 63)
Value = str | int | float
#: How the names of interests begin, for which nothing is waited.
INTEREST = "~"
#: ``each``: every touchpoint waits for itself.
Role = Literal["event", "count", "reset", "after", "each", "without", "interest"]


class Watch(NamedTuple):
    """What of a product wakes a play: a price lower by ``price_drop`` per cent, stock again (``per_unit`` customers are
    told a unit), or stock at ``low_stock`` units. ``interest``: under which name the customers' is kept; it counts
    ``within`` ms."""

    interest: str
    within: int
    price_drop: float | None = None
    per_unit: int = 0
    low_stock: int | None = None


class Goal(NamedTuple):
    """What a play is measured by: touchpoints of ``types`` that follow a decision within ``within`` (ms), where
    ``where`` holds, under the key of the decision if there is ``by``; ``revenue``: what one brings, in major units."""

    types: frozenset[str]
    within: int
    where: Callable[..., bool] | None
    by: Callable[..., Any] | None
    revenue: Callable[..., float | None] | None


class Play(NamedTuple):
    """One play, compiled. ``channels`` in order of preference; ``cool_down`` and ``within`` (of a count or an absence)
    in ms; ``times`` of a count; ``date``: the time that a touchpoint tells, ``offset`` how far from it; ``yearly``:
    which day; ``who`` is None if it is for everyone; ``budget``: messages, period (ms); ``expires`` in ms; ``valid``
    from and before (ms); ``steps``: the further messages of a journey, each ``within`` after the one before;
    ``crossing``: ``entered`` or ``left``, and the segment; ``treats``: it is meant to change what customers do."""

    name: str
    channels: tuple[str, ...]
    purpose: str
    category: str
    cool_down: int
    once: bool = False
    who: Condition | None = None
    values: tuple[tuple[str, Callable[..., Value | None]], ...] = ()
    times: int = 0
    within: int = 0
    date: Callable[..., int | None] | None = None
    offset: Offset = Offset()
    yearly: str | None = None
    band: written.Band | None = None
    group: str | None = None
    priority: int = 0
    worth: Callable[..., float | None] | None = None
    budget: tuple[int, int] | None = None
    holdout: float = 0.0
    variants: Mapping[str, written.Variant] = MappingProxyType({})
    bandit: bool = False
    skips: tuple[str, ...] = ()
    expires: int | None = None
    valid: tuple[int, int] = ALWAYS
    mode: str = "live"
    drops_late: bool = False
    greets: bool = False
    prefer: str = "order"
    goal: Goal | None = None
    exit: Exit | None = None
    steps: tuple[Play, ...] = ()
    step: int = 0
    crossing: tuple[str, str] | None = None
    watch: Watch | None = None
    treats: bool = False


class Exit(NamedTuple):
    """What ends a play: touchpoints of these types, where ``where`` holds, under the keys that ``by`` gives (None:
    under all), or a condition ``when`` on the profile."""

    types: frozenset[str]
    where: Callable[..., bool] | None
    by: Callable[..., Any] | None
    when: Condition | None

    def over(self, profile: Profile, at: int) -> bool:
        """Whether the condition holds at ``at`` (ms)."""
        return self.when is not None and self.when.holds(self.when.read(None, None, profile, at, "", 0), at)


class Reaction(NamedTuple):
    """What a touchpoint of some type does to a play, where ``where`` holds, under the keys that ``by`` gives."""

    play: Play
    role: Role
    where: Callable[..., bool] | None
    by: Callable[..., Any] | None


class Cap(NamedTuple):
    """At most ``messages`` within ``within`` (ms) on one channel, of one category, or (None) of all; with ``others``,
    those that other tools have sent are among them."""

    messages: int
    within: int
    channel: str | None
    category: str | None
    others: bool = False


class Candidate(NamedTuple):
    """A play that wants to speak. ``business_key`` and ``occurrence`` make its id; ``touchpoint`` is what woke it
    (the token of the event, or the timer), ``time`` its event time and ``ts`` its broker time (0 for timers). ``held``:
    it has waited; ``stop``: the code of what stops it before anything is asked; ``due``: when its timer was (ms);
    ``version``: of the plays, if not those in force; ``reasons``: of the ``score``."""

    play: Play
    business_key: str
    occurrence: str
    touchpoint: str
    time: int
    ts: int
    values: dict[str, Value]
    score: float | None = None
    worth: int | float = 0
    held: Held | None = None
    stop: str | None = None
    due: int = 0
    version: str = ""
    reasons: dict[str, float] = {}


def said(play: Play, *given: Any) -> dict[str, Value]:
    """What a message of ``play`` says, of the arguments of expressions; what is missing is left out."""
    found = [(name, value(*given)) for name, value in play.values]
    return {name: value for name, value in found if value is not None}


def worth(play: Play, *given: Any) -> int | float:
    """What the play's message is worth beside those of others; 0 if that is missing."""
    return 0 if play.worth is None else play.worth(*given) or 0


def unasked(
    play: Play,
    profile: Profile,
    business_key: str,
    occurrence: str,
    touchpoint: str,
    time: int,
    at: int,
    about: object = None,
) -> Candidate:
    """A candidate that no touchpoint of the customer has woken, at ``at`` (ms). ``about``: what stands in the place of
    its body."""
    bare = Candidate(play, business_key, occurrence, touchpoint, time, 0, {}, due=time)
    given = (None, about, profile, at, business_key, 0)
    try:
        return bare._replace(values=said(play, *given), worth=worth(play, *given))
    except Exception:  # of whatever kind: it is the play's, not ours
        return bare._replace(stop=ERROR)


def gone(name: str) -> Play:
    """In the place of a play that is no longer there."""
    return Play(name, (), "", "", 0)


def crossed(band: written.Band, before: str, now: str) -> bool:
    """Whether the churn score has crossed into ``band``; the first score of a customer crosses nothing."""
    levels = ("low", "medium", "high")
    if before not in levels:
        return False
    old, new = levels.index(before), levels.index(now)
    if band.rises_to is not None:
        return old < levels.index(band.rises_to) <= new
    return old > levels.index(band.falls_to or "low") >= new
