"""What engage counts for the figures of the shop, as partials on ``kpi.partials`` that the kpis flow adds up.

A shard counts under names, by the minute of event time, and tells what it has counted when its clock passes on to
another second: a function of the log, so that after any crash everything is told exactly once. Names are paths::

    touchpoint/SOURCE/TYPE   defect/SOURCE/duplicates|late|no_channel
    duplicates   late   active_second   active_minute   new   order   revenue
    identity/KIND   play/PLAY/OUTCOME/CHANNEL-OR-CODE   outcome/PLAY/OUTCOME/closed|converted|revenue
    segment/NAME   band/BAND   at_risk        (levels: by how much they have changed)

Money is in minor units.
"""

from __future__ import annotations

from typing import Final

from operators.features import cents
from operators.plays import DAY
from operators.shard import Shard
from schemas import stitched
from schemas.outputs import Partial
from schemas.stitched import Event, Gist
from schemas.touchpoint import TYPES, Body, Order
from state.profile import Profile

#: Names that are levels of something, not counts of what has happened.
LEVELS: Final = ("segment", "band", "at_risk")
#: The band of customers whose value is at risk.
_AT_RISK: Final = "high"
#: Of a source's name, so much is told.
_LONGEST: Final = 40
#: Later than this (ms) after it happened, a touchpoint has come late.
LATE: Final = 300_000


def advance(shard: Shard, at: int, topic: str) -> None:
    """Let the clock of a shard go on to ``at`` (ms), and tell what was counted if that is another second."""
    state = shard.state
    if at <= state.at:
        return
    if state.tally and at // 1000 > state.at // 1000:
        partial = Partial(shard.number, state.at // 1000, state.tally, shard.latency)
        shard.emit(topic, 0, str(shard.number), stitched.encode(partial))
        state.tally, shard.latency = {}, {}
    state.at = at


def touchpoint(shard: Shard, profile: Profile, event: Event | Gist, body: Body | None, *, first: bool) -> None:
    """Count a touchpoint that is not a duplicate, in the minute it happened; the customer's ``first`` perhaps."""
    if not shard.counting:
        return
    at, time, source = shard.state.at, event.time, event.source[:_LONGEST]
    if event.at - time > LATE:
        shard.tally(f"defect/{source}/late")
    if at - time > DAY:
        shard.tally("late")
    else:
        shard.tally(f"touchpoint/{source}/{event.type if event.type in TYPES else 'other'}", time=time)
        if isinstance(body, Order) and event.type == "Order Completed":
            shard.tally("order", time=time)
            shard.tally("revenue", cents(body.revenue), time=time)
    if profile.customer.startswith("product:"):
        return
    if event.channel is None:
        shard.tally(f"defect/{source}/no_channel")
    if first:
        shard.tally("new")
    if profile.touched // 1000 < at // 1000:
        shard.tally("active_second")
        if profile.touched // 60_000 < at // 60_000:
            shard.tally("active_minute")
        profile.touched = at


def duplicate(shard: Shard, event: Event | Gist) -> None:
    """Count a touchpoint that has come before."""
    shard.tally("duplicates")
    shard.tally(f"defect/{event.source[:_LONGEST]}/duplicates")


def level(shard: Shard, profile: Profile) -> None:
    """Let the levels follow a customer: how many are in its band, and what those at risk have spent."""
    band = profile.band
    at_risk = profile.behaviour.spent if band == _AT_RISK else 0
    if band != profile.counted or at_risk != profile.at_risk:
        _move(shard, profile, band, at_risk)


def withdraw(shard: Shard, profile: Profile) -> None:
    """Take a customer out of all levels: it is about to be another, or erased."""
    _move(shard, profile, "", 0)


def _move(shard: Shard, profile: Profile, band: str, at_risk: int) -> None:
    if profile.counted != band:
        for name, by in ((profile.counted, -1), (band, 1)):
            if name:
                shard.tally(f"band/{name}", by)
    if profile.at_risk != at_risk:
        shard.tally("at_risk", at_risk - profile.at_risk)
    profile.counted, profile.at_risk = band, at_risk
