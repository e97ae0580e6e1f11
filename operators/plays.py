"""The plays: who is to be told what, when. Built in for now; their limits come from the configuration.

A play is woken by an event type, a timer or a score band and then makes a `Candidate`; whether anything
is sent is decided by `operators.governance`, the same way for all.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from schemas import config

DAY, MINUTE = 86_400_000, 60_000


class Play(NamedTuple):
    """What a play says of itself. ``channels`` in order of preference; ``cool_down`` in ms."""

    name: str
    channels: tuple[str, ...]
    purpose: str
    cool_down: int


class Candidate(NamedTuple):
    """A play that wants to speak. ``business_key`` and ``occurrence`` make its id; ``touchpoint`` is what woke it
    (the token of the event, or the timer), ``time`` its event time and ``ts`` its broker time (0 for timers)."""

    play: Play
    business_key: str
    occurrence: str
    touchpoint: str
    time: int
    ts: int
    values: dict[str, str | int | float]
    score: float | None = None


class PlayBook:
    """The plays of a deployment, and the version that names their content."""

    def __init__(self, settings: config.Plays) -> None:
        cool_down = settings.cool_down_days * DAY
        everywhere = ("wechat", "sms", "email")
        self.welcome = Play("welcome", everywhere, "marketing", 3650 * DAY)
        self.repeat_view = Play("repeat_view", everywhere, "marketing", cool_down)
        self.cart_abandoned = Play("cart_abandoned", everywhere, "marketing", DAY)
        self.churn_warning = Play("churn_warning", everywhere, "marketing", cool_down)
        plays = [self.welcome, self.repeat_view, self.cart_abandoned, self.churn_warning]
        content = msgspec.json.encode([settings, plays])
        self.version = hashlib.blake2b(content, digest_size=6).hexdigest()
        self.cart_wait = settings.cart_minutes * MINUTE
        self.views = settings.views
        self.view_window = settings.view_days * DAY
        self.start_within = settings.start_within_minutes * MINUTE
        self.cap = settings.cap_messages
        self.cap_window = settings.cap_days * DAY
