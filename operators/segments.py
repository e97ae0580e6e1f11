"""Segments entered and left: within the batch that changes it and, where only time passes, by a timer.

A customer is judged by those segments that a touchpoint may change. One timer stands for all of them: when time alone
may next turn one. It is moved earlier at once and later only when it has fired, which spares most touchpoints from
moving it.

What is told on ``segments`` adds up: whoever enters has not been in, whoever leaves has. So a customer that was merged
into another leaves under its own name and enters under the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from operators import fold, windows
from operators.following import FAR, Clock
from operators.playbook import PlayBook
from operators.plays import Candidate, unasked
from operators.scope import SCORED
from operators.segmentbook import Segment
from operators.shard import Shard
from schemas import outputs, stitched
from schemas.config import Config
from schemas.stitched import Event, Gist
from schemas.topics import SEGMENTS, topic_name
from state.profile import Profile

#: The kind of the timer.
TIMER: Final = "segment"
MERGE, SPLIT, DEFINITION, ERASED, EXPIRED = "merge", "split", "definition", "erased", "expired"


class Cause(NamedTuple):
    """Why segments are looked at: the ``reason`` told, whether plays start by it, the touchpoint or when the timer was
    due (ms), if it is one."""

    reason: str
    wakes: bool = True
    event: Event | Gist | None = None
    due: int = 0


class Segments:
    """Judges customers, and writes what changes to ``segments``."""

    def __init__(self, config: Config) -> None:
        self._topic = topic_name(config, SEGMENTS)

    def settle(self, shard: Shard, profile: Profile, book: PlayBook, at: int | None = None) -> list[Candidate]:
        """Before something happens to a customer: make up for what has happened to the definitions or, by a merge or
        split, to the customer since it was judged last; the plays that this wakes. ``at``: as of when (ms)."""
        known, version = book.segments, book.segments.version
        if profile.judged == version and not profile.unsettled:
            return []
        reason = profile.unsettled if profile.judged == version else DEFINITION
        profile.unsettled = ""
        if not profile.seen or _product(profile):
            return []
        at = shard.state.at if at is None else at
        cause = Cause(reason, wakes=reason == MERGE)
        profile.judged = version
        profile.windows = {
            key: windows.trimmed(buckets, known.kept[key], at)
            for key, buckets in profile.windows.items()
            if key in known.kept
        }
        for name in sorted(profile.segments.keys() - known.segments.keys()):
            self._leave(shard, profile, name, cause)
        return self._judge(shard, profile, book, [*known.segments.values()], cause, at)

    def touched(
        self, shard: Shard, profile: Profile, book: PlayBook, event: Event | Gist, *, first: bool
    ) -> list[Candidate]:
        """After a touchpoint, the customer's ``first`` perhaps: the plays that wait for what it has changed."""
        known = book.segments
        if not known.version or _product(profile):
            return []
        cause = Cause("touchpoint", event.at - event.time <= book.start_within, event)
        if first:
            profile.judged = known.version
            return self._judge(shard, profile, book, [*known.segments.values()], cause, shard.state.at)
        some = known.watching(event.type)
        return self._judge(shard, profile, book, some, cause, shard.state.at, _due(profile)) if some else []

    def scored(self, shard: Shard, profile: Profile, book: PlayBook) -> list[Candidate]:
        """After a new churn score that no touchpoint has brought."""
        some = book.segments.watching(SCORED)
        return self._judge(shard, profile, book, some, Cause("score"), shard.state.at, _due(profile)) if some else []

    def timed(self, shard: Shard, profile: Profile, book: PlayBook, due: int) -> list[Candidate]:
        """When the timer fires that was ``due``."""
        woken = self.settle(shard, profile, book, due - 1)
        every = [*book.segments.segments.values()]
        return woken + self._judge(shard, profile, book, every, Cause("time", due=due), shard.state.at)

    def withdraw(self, shard: Shard, profile: Profile, reason: str) -> None:
        """Take back, in place, what was told in this customer's name: it was merged away, or erased."""
        for name, since in sorted(profile.segments.items()):
            if since > 0:
                self._tell(shard, profile, name, "left", Cause(reason))
        profile.segments = untold(profile)

    def _judge(
        self,
        shard: Shard,
        profile: Profile,
        book: PlayBook,
        some: Sequence[Segment],
        cause: Cause,
        at: int,
        due: int = 0,
    ) -> list[Candidate]:
        """Judge a customer as of ``at`` (ms) by ``some`` segments; ``due``: when the others may turn."""
        crossed: list[tuple[str, str]] = []
        clock = Clock(at)
        now = clock.now
        for segment in some:
            try:
                holds = segment.who(None, None, profile, now, "", 0)
            except Exception:  # of whatever kind: it is the segment's, not ours; whoever is in it stays
                continue
            since = profile.segments.get(segment.name)
            if holds and since is None:
                profile.segments[segment.name] = shard.state.at
                self._tell(shard, profile, segment.name, "entered", cause)
                crossed.append(("entered", segment.name))
            elif holds and since is not None and since < 0:
                # It was in before, under another name: nothing has begun.
                profile.segments[segment.name] = -since
                self._tell(shard, profile, segment.name, "entered", cause)
            elif not holds and since is not None and self._leave(shard, profile, segment.name, cause):
                crossed.append(("left", segment.name))
        turns = min(clock.turns or FAR, due or FAR)
        if turns != (_due(profile) or FAR):
            fold.set_timer(profile, TIMER, "", turns if turns < FAR else None)
        return [each for crossing in crossed for each in self._woken(shard, profile, book, crossing, cause)]

    def _woken(
        self, shard: Shard, profile: Profile, book: PlayBook, crossing: tuple[str, str], cause: Cause
    ) -> list[Candidate]:
        plays = book.crossings.get(crossing) if cause.wakes else None
        if not plays:
            return []
        (_, name), at, event = crossing, shard.state.at, cause.event
        touchpoint, time, ts = (event.eid, event.time, event.ts) if event else (f"segment:{name}/{at}", at, 0)
        woken = [unasked(play, profile, name, str(at), touchpoint, time, at) for play in plays]
        return [each._replace(ts=ts, due=cause.due or at) for each in woken]

    def _leave(self, shard: Shard, profile: Profile, name: str, cause: Cause) -> bool:
        """Leave a segment; whether that was told to be entered in this customer's name."""
        told = profile.segments.pop(name) > 0
        if told:
            self._tell(shard, profile, name, "left", cause)
        return told

    def _tell(self, shard: Shard, profile: Profile, name: str, change: str, cause: Cause) -> None:
        event, state = cause.event, shard.state
        shard.tally(f"segment/{name}", 1 if change == "entered" else -1)
        told = outputs.SegmentChange(
            customer=profile.customer,
            segment=name,
            change=change,
            at=state.at,
            reason=cause.reason,
            plays_version=state.plays,
            type=event.type if event else None,
            touchpoint=event.eid if event else None,
        )
        shard.emit(self._topic, -1, profile.customer, stitched.encode(told))


def untold(profile: Profile) -> dict[str, int]:
    """The segments that a customer is in, as another takes them over who has not told of them."""
    return {name: -abs(since) for name, since in profile.segments.items()}


def join(mine: Profile, other: Profile) -> None:
    """Unite what both are in, in place, until the whole is judged; to be called before ``seen`` is united."""
    for name, since in other.segments.items():
        known = mine.segments.get(name, -FAR)
        if known < 0:
            mine.segments[name] = max(known, -abs(since))
    if not mine.seen:
        mine.judged = other.judged
    elif other.seen and other.judged != mine.judged:
        # Whether a change is the merge's doing or that of a definition cannot be told: it starts nothing.
        mine.judged = ""


def _due(profile: Profile) -> int:
    """When the timer fires (ms), 0 if there is none."""
    return next((timer.due for timer in profile.timers if timer.kind == TIMER), 0)


def _product(profile: Profile) -> bool:
    """Products are no customers."""
    return profile.customer.startswith("product:")
