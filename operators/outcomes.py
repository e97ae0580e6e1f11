"""What came of decisions: each emitted or held-out one of a play with a goal opens that goal on the profile, and when
its window closes one record on ``outcomes`` says whether it was reached.

The record is written at the close for those that converted and those that did not: whoever learns from it meets both
classes with the same delay, and what a later touchpoint brings, or one that arrives late, still counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from operators import fold, progress
from operators.features import cents
from operators.playbook import PlayBook
from operators.plays import Goal as Wanted
from operators.plays import Play
from operators.shard import Shard
from schemas import outputs, stitched
from schemas.config import Config
from schemas.outputs import Decision
from schemas.stitched import Event, Gist
from schemas.topics import topic_name
from schemas.touchpoint import Body
from state.profile import Goal, Profile

#: Open goals of one customer; of more, those that close first are closed at once, as not observed.
KEPT_GOALS = 20
#: Classes of offers that a customer is known to have refused.
KEPT_OFFERS = 20
#: Revenue of one touchpoint beyond (major units) is a fault of its expression, and counts as none.
LARGEST = 1e12


def observe(profile: Profile, event: Event | Gist, body: Body | None, book: PlayBook) -> None:
    """Let a touchpoint reach the goals that are open, in place."""
    if event.type in book.goal_types:
        profile.goals = [_after(goal, profile, event, body, book) for goal in profile.goals]


def _after(goal: Goal, profile: Profile, event: Event | Gist, body: Body | None, book: PlayBook) -> Goal:
    play = book.plays.get(goal.play)
    wanted = play.goal if play is not None else None
    if wanted is None or event.type not in wanted.types or not goal.at < event.time <= goal.until:
        return goal
    given = (event, body, profile, event.at, goal.key, 0)
    try:
        if not _reached(wanted, goal.key, given):
            return goal
        brought = _brought(wanted, given)
    except Exception:  # of whatever kind: it is the play's, not ours
        return goal
    return msgspec.structs.replace(
        goal,
        converted=min(goal.converted or event.time, event.time),
        times=goal.times + 1,
        revenue=goal.revenue + brought,
    )


def _reached(wanted: Wanted, key: str, given: tuple[object, ...]) -> bool:
    """Whether a touchpoint of the right type is one that the goal asks for."""
    if wanted.where is not None and not wanted.where(*given):
        return False
    return wanted.by is None or key in progress.keys_of(wanted.by(*given))


def _brought(wanted: Wanted, given: tuple[object, ...]) -> int:
    """Revenue in minor units."""
    value = (wanted.revenue(*given) if wanted.revenue is not None else None) or 0
    return cents(value) if -LARGEST < value < LARGEST else 0


def join(mine: Sequence[Goal], other: Sequence[Goal]) -> list[Goal]:
    """The open goals of two who are one."""
    known = {goal.id for goal in mine}
    return sorted([*mine, *[goal for goal in other if goal.id not in known]], key=_by_age)


def schedule(profile: Profile) -> None:
    """Let the timer follow: one for all goals."""
    fold.set_timer(profile, progress.GOAL, "", min([goal.until for goal in profile.goals], default=None))


class Outcomes:
    """Opens goals and writes what came of them."""

    def __init__(self, config: Config) -> None:
        self._topic = topic_name(config, "outcomes")

    def open(self, shard: Shard, profile: Profile, decision: Decision, play: Play) -> None:
        """Watch from now on for what ``decision`` was to bring about, if its play has a goal."""
        if play.goal is None or any([goal.id == decision.id for goal in profile.goals]):
            return
        goal = Goal(
            decision.id, play.name, decision.play_version, decision.business_key, decision.outcome,
            decision.channel or "", decision.variant, decision.treated, decision.at, decision.at + play.goal.within,
            explored=decision.explored, offer=_offer(play, decision.variant),
        )  # fmt: skip
        profile.goals = [*profile.goals, goal]
        self.make_room(shard, profile)

    def make_room(self, shard: Shard, profile: Profile) -> None:
        """Close early what is too much, and let the timer follow."""
        if len(profile.goals) > KEPT_GOALS:
            first = sorted(profile.goals, key=lambda goal: (goal.until, goal.id))[:-KEPT_GOALS]
            self._close(shard, profile, first, observed=False)
        schedule(profile)

    def close(self, shard: Shard, profile: Profile, watermark: int) -> None:
        """Close the windows that have ended at ``watermark`` (ms)."""
        self._close(shard, profile, [goal for goal in profile.goals if goal.until <= watermark], observed=True)
        schedule(profile)

    def _close(self, shard: Shard, profile: Profile, goals: Sequence[Goal], *, observed: bool) -> None:
        for goal in goals:
            outcome = _outcome(goal, profile.customer, shard.state.at, observed=observed)
            shard.emit(self._topic, -1, profile.customer, stitched.encode(outcome))
            said = ("converted" if outcome.converted else "not_converted") if observed else "not_observed"
            shard.count(f"outcome/{goal.play}/{said}")
            if observed and not goal.treated:
                _tally(shard, goal)
            for side in shard.sides(profile) if observed and goal.offer and goal.outcome == "emitted" else ():
                _answered(side, goal)
        ids = {goal.id for goal in goals}
        for side in shard.sides(profile):
            side.goals = [goal for goal in side.goals if goal.id not in ids]


def _outcome(goal: Goal, customer: str, at: int, *, observed: bool) -> outputs.Outcome:
    reached = goal.converted > 0
    return outputs.Outcome(
        id=goal.id,
        play=goal.play,
        play_version=goal.version,
        customer=customer,
        outcome=goal.outcome,
        decided_at=goal.at,
        until=goal.until,
        at=at,
        converted=reached,
        channel=goal.channel or None,
        variant=goal.variant,
        converted_at=goal.converted if reached else None,
        after=goal.converted - goal.at if reached else None,
        times=goal.times,
        revenue=goal.revenue / 100,
        treated=goal.treated,
        observed=observed,
        explored=goal.explored,
    )


def _tally(shard: Shard, goal: Goal) -> None:
    name = f"outcome/{goal.play}/{goal.outcome}"
    shard.tally(f"{name}/closed")
    if goal.converted:
        shard.tally(f"{name}/converted")
        shard.tally(f"{name}/revenue", goal.revenue)


def _offer(play: Play, variant: str | None) -> str:
    said = play.variants.get(variant or "")
    return (said.offer if said is not None else None) or ""


def _answered(profile: Profile, goal: Goal) -> None:
    """Remember whether an offer was taken."""
    if goal.converted:
        profile.refused.pop(goal.offer, None)
    elif goal.offer in profile.refused or len(profile.refused) < KEPT_OFFERS:
        profile.refused[goal.offer] = profile.refused.get(goal.offer, 0) + 1


def _by_age(goal: Goal) -> tuple[int, str]:
    return goal.at, goal.id
