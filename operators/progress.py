"""How touchpoints move plays on: what was counted, what is waited for, per play and key, in the customer's profile.

A count collects the times of its touchpoints, an absence the last one; what ends them leaves its own time behind. Both
go by event time: what happened before the end does not count, also if it arrives after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from operators import dates, fold
from operators.playbook import PlayBook
from operators.plays import DAY, ERROR, INTEREST, TOO_OLD, Candidate, Play, Reaction, said, worth
from schemas.stitched import Event, Gist
from schemas.touchpoint import Body
from state.profile import Profile, Progress, Timer

#: Keys (products, carts) that one play follows of one customer: the latest stay.
KEPT_KEYS = 20
#: With more keys than so many, those go that no longer matter.
CROWDED = 4
#: The times of two counts that become one.
KEPT_TIMES = 20
#: The kinds of timers that end a wait, release what is held, begin a step and close the window of a goal.
WAIT, HELD, STEP, GOAL = _OURS = "wait", "held", "step", "goal"
#: What stands between play and key in the key of a timer.
_SEPARATOR = "\x1f"
#: Takes product, customer, time of interest (ms).
Note = Callable[[str, str, int], None]
#: The key of what has none: it ends whatever key there is.
_ALL = ""


def observe(
    profile: Profile, event: Event | Gist, body: Body | None, book: PlayBook, note: Note | None = None
) -> list[Candidate]:
    """Move on every play that reacts to a touchpoint, in place; those that it wakes. ``note`` is told of interest in
    products, of each customer's in each once a day."""
    reactions = book.reactions.get(event.type)
    if reactions is None:
        return []
    moment = _Moment(profile, event, body, book, note)
    for reaction in reactions:
        try:
            if reaction.where is None or reaction.where(*moment.plain):
                _ROLES[reaction.role](moment, reaction)
        except Exception:  # of whatever kind: it is the play's, not ours
            moment.stopped(book.asking.get(reaction.play.name, reaction.play), event.eid, event.eid, ERROR)
    if moment.moved:
        follow(profile)
    return moment.woken


def clear(profile: Profile, play: str, key: str) -> Progress | None:
    """Begin anew what a play has counted or waited for under a key; how far it was. What it has waited from, or what
    happened before that, does not begin another wait, where the key is not that of a single touchpoint."""
    known = profile.progress.get(play, {})
    before = known.pop(key, None)
    if before is not None:
        ended = max([before.ended, *before.times]) if before.due and before.touchpoint != key else before.ended
        if ended:
            known[key] = Progress(ended=ended)
    if not known:
        profile.progress.pop(play, None)
    if before is not None and before.due:
        fold.set_timer(profile, WAIT, _of(play, key), None)
    return before


def keys_of(found: str | Sequence[str] | None) -> list[str]:
    """The keys that an expression has given: one, several, or none where it is missing."""
    if isinstance(found, str):
        return [found] if found else []
    return [key for key in dict.fromkeys(found) if key] if found else []


def waiting(timer: Timer) -> tuple[str, str]:
    """Play and key of a timer that ends a wait, or the wait for a step."""
    play, _, key = timer.key.partition(_SEPARATOR)
    return play, key


def timers(profile: Profile) -> list[Timer]:
    """The timers that follow from what is waited for, held and watched for, and from journeys."""
    waits = [
        Timer(progress.due, WAIT, _of(play, key))
        for play, known in profile.progress.items()
        if play[:1] != INTEREST
        for key, progress in known.items()
        if progress.due
    ]
    steps = [Timer(each.due, STEP, _of(each.play, each.key)) for each in profile.journeys]
    goals = [Timer(min([goal.until for goal in profile.goals]), GOAL, "")] if profile.goals else []
    return waits + steps + [Timer(held.until, HELD, held.id) for held in profile.held] + goals


def follow(profile: Profile) -> None:
    """Let the timers follow, in place."""
    profile.timers = [timer for timer in profile.timers if timer.kind not in _OURS] + timers(profile)


def join(mine: Profile, other: Profile) -> None:
    """Unite how far both are, in place, as if one customer had done it all; their `timers` aside."""
    for play in {**mine.progress, **other.progress}:
        known, theirs = mine.progress.setdefault(play, {}), other.progress.get(play, {})
        for key, progress in theirs.items():
            known[key] = _united(known[key], progress) if key in known else progress
        for key, progress in list(known.items()):
            known[key] = _not_ended(progress, _ended(known, key))
        mine.progress[play] = _latest({key: progress for key, progress in known.items() if _says(progress)})
    mine.progress = {play: known for play, known in mine.progress.items() if known}


NO_PROGRESS = Progress()


class _Moment:
    """One touchpoint of one customer, and what it has done so far: whom it has woken, whether timers have to follow. It
    is ``fresh`` if it may start something now; history counts, and begins waits that end later. ``plain``: the
    arguments of expressions that are about no key."""

    __slots__ = ("book", "event", "fresh", "moved", "note", "plain", "profile", "woken")

    def __init__(
        self, profile: Profile, event: Event | Gist, body: Body | None, book: PlayBook, note: Note | None
    ) -> None:
        self.profile = profile
        self.event = event
        self.book = book
        self.note = note
        self.plain = event, body, profile, event.at, "", 0
        self.fresh = event.at - event.time <= book.start_within
        self.woken: list[Candidate] = []
        self.moved = False

    def keys(self, reaction: Reaction) -> list[str]:
        """The keys it stands for, `_ALL` where the play has none; empty if they are missing."""
        if reaction.by is None:
            return [self.event.eid if reaction.role == "each" else _ALL]
        return keys_of(reaction.by(*self.plain))

    def given(self, key: str, count: int = 0) -> tuple[Any, ...]:
        """The arguments of expressions."""
        return *self.plain[:4], key, count

    def wake(self, play: Play, key: str, occurrence: str, count: int = 0) -> None:
        """Let the play speak."""
        event, given = self.event, self.given(key, count)
        values, value = said(play, *given), worth(play, *given)
        self.woken.append(Candidate(play, key, occurrence, event.eid, event.time, event.ts, values, None, value))

    def stopped(self, play: Play, key: str, occurrence: str, stop: str) -> None:
        """Let the play be told that it may not speak, and why."""
        event = self.event
        self.woken.append(Candidate(play, key, occurrence, event.eid, event.time, event.ts, {}, stop=stop))

    def due(self, play: Play, key: str) -> int | None:
        """When a wait that began with it ends; None if it need not begin, as what history should have ended by now."""
        if play.date is None:
            due = self.event.time + play.within
        else:
            date = play.date(*self.given(key))
            if date is None or date <= self.event.at:
                return None
            due = dates.shifted(date, play.offset, self.profile.timezone, self.book.timezone)
        return due if self.fresh or due > self.event.at else None

    def known(self, play: Play) -> dict[str, Progress]:
        """How far the play is, by key; may be changed, and is then to be kept."""
        return self.profile.progress.get(play.name) or {}

    def keep(self, play: Play, known: dict[str, Progress], *, more: bool = True) -> None:
        """Keep how far the play is. If there may be ``more`` keys than before, of many those stay that still matter,
        and of these the latest."""
        if more and len(known) > CROWDED:
            counts = self.event.at - play.within - self.book.start_within
            ends = self.event.at - self.book.start_within
            known = _latest({
                key: each
                for key, each in known.items()
                if each.due or each.ended > ends or (each.times and each.times[-1] > counts)
            })  # fmt: skip
        if known:
            self.profile.progress[play.name] = known
        else:
            self.profile.progress.pop(play.name, None)


def _event(moment: _Moment, reaction: Reaction) -> None:
    play, eid = reaction.play, moment.event.eid
    for key in moment.keys(reaction):
        of = key if reaction.by or play.once else eid, "1" if play.once else eid
        if moment.fresh:
            moment.wake(play, *of)
        else:
            moment.stopped(play, *of, TOO_OLD)


def _count(moment: _Moment, reaction: Reaction) -> None:
    play, time = reaction.play, moment.event.time
    for key in moment.keys(reaction):
        known = moment.known(play)
        if time <= _ended(known, key):
            continue
        before = known.get(key)
        times, counted = _counted(before.times, time, play) if before and before.times else ((time,), 1)
        if moment.fresh and counted >= play.times:
            moment.wake(play, key, moment.event.eid, counted)
            times = ()
        if times or (before and before.ended):
            known[key] = Progress(times, before.ended if before else 0)
        else:
            known.pop(key, None)
        moment.keep(play, known, more=before is None)


def _interest(moment: _Moment, reaction: Reaction) -> None:
    play, time, progress = reaction.play, moment.event.time, moment.profile.progress
    for key in moment.keys(reaction):
        known = progress.get(play.name) or {}
        before = known.get(key) or NO_PROGRESS
        last = before.times[-1] if before.times else 0
        if time <= last or time <= before.ended or (_ALL in known and time <= known[_ALL].ended):
            continue
        # The last noted stands last, and the first makes room: much cheaper than to look for the oldest.
        known.pop(key, None)
        known[key] = Progress((time,), before.ended)
        if len(known) > KEPT_KEYS:
            del known[next(iter(known)) or next(each for each in known if each)]
        progress[play.name] = known
        if moment.note is not None and time // DAY > last // DAY:
            moment.note(key, moment.profile.customer, time)


def _after(moment: _Moment, reaction: Reaction) -> None:
    play, event = reaction.play, moment.event
    for key in moment.keys(reaction):
        known = moment.known(play)
        before = known.get(key) or NO_PROGRESS
        if event.time <= _ended(known, key) or (before.times and event.time < before.times[-1]):
            continue
        due, given = moment.due(play, key), moment.given(key)
        if due is None:
            continue
        values = before.values | said(play, *given)
        known[key] = Progress((event.time,), before.ended, due, event.eid, values, worth(play, *given))
        moment.moved = True
        moment.keep(play, known, more=before is NO_PROGRESS)


def _end(moment: _Moment, reaction: Reaction) -> None:
    """What resets a count or is not absent: it ends what was before, under its keys or, if it has none, under all."""
    play, time = reaction.play, moment.event.time
    known = moment.known(play)
    keys = moment.keys(reaction) or [_ALL]
    for key in keys:
        before = known.get(key) or NO_PROGRESS
        if time > before.ended:
            known[key] = msgspec.structs.replace(before, ended=time)
    for key in list(known) if _ALL in keys else keys:
        before = known[key]
        left = _not_ended(before, _ended(known, key))
        moment.moved = moment.moved or before.due != left.due
        known[key] = left
        if not _says(left):
            del known[key]
    moment.keep(play, known)


_ROLES = {
    "event": _event, "count": _count, "reset": _end, "after": _after, "each": _after, "without": _end,
    "interest": _interest,
}  # fmt: skip


def _of(play: str, key: str) -> str:
    """The key of a timer that is about a key of a play."""
    return f"{play}{_SEPARATOR}{key}"


def _counted(before: Sequence[int], time: int, play: Play) -> tuple[tuple[int, ...], int]:
    """The times that count with one more, and how many of them lie in the window that ends with it."""
    times = sorted([*before, time])
    times = [each for each in times if each > times[-1] - play.within][-play.times :]
    return tuple(times), sum([each > time - play.within for each in times])


def _ended(known: Mapping[str, Progress], key: str) -> int:
    """Up to when (ms) what is under a key was ended; 0 if never."""
    mine, every = known.get(key), known.get(_ALL)
    ended = 0 if mine is None else mine.ended
    return ended if every is None or every.ended < ended else every.ended


def _not_ended(progress: Progress, ended: int) -> Progress:
    """What is left after an end."""
    times = tuple([time for time in progress.times if time > ended])
    if times == progress.times:
        return progress
    if progress.due:
        return Progress(ended=progress.ended)
    return Progress(times, progress.ended)


def _says(progress: Progress) -> bool:
    return bool(progress.times or progress.ended)


def _united(one: Progress, other: Progress) -> Progress:
    """Two that are one: of waits the later, of counts all."""
    ended = max(one.ended, other.ended)
    if one.due or other.due:
        later = max(one, other, key=lambda each: (each.due, each.touchpoint))
        return msgspec.structs.replace(later, ended=ended)
    return Progress(tuple(sorted([*one.times, *other.times])[-KEPT_TIMES:]), ended)


def _latest(known: dict[str, Progress]) -> dict[str, Progress]:
    """The latest `KEPT_KEYS`; what ends all keys stays."""
    if len(known) <= KEPT_KEYS:
        return known
    order = sorted(known, key=lambda key: (key == _ALL, max(known[key].ended, *known[key].times, 0), key))
    return {key: known[key] for key in order[-KEPT_KEYS:]}
