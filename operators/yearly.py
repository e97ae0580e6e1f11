"""Plays that speak on a day of every year: a timer of the customer for each, moved when the day or the zone does."""

from __future__ import annotations

from typing import Final

from operators import dates, fold
from operators.playbook import PlayBook
from operators.plays import Candidate, Play, unasked
from state.profile import Profile

#: The kind of timers; their key is the play.
YEARLY: Final = "yearly"


def follow(profile: Profile, book: PlayBook, at: int) -> None:
    """Let the timers follow the customer's days and the plays in force at ``at`` (ms), in place."""
    for timer in [each for each in profile.timers if each.kind == YEARLY]:
        fold.set_timer(profile, YEARLY, timer.key, None)
    for play in book.yearly:
        _schedule(profile, play, book, at)


def speak(profile: Profile, play: Play, due: int, book: PlayBook, at: int) -> Candidate | None:
    """What a play says whose timer was due at ``due`` (ms) and fires at ``at``; the timer for the next year is set. If
    the day has moved meanwhile, it says nothing yet."""
    found = _next(profile, play, book, due - 1)
    if found is None:
        return None
    moment, year = found
    if moment > at:
        fold.set_timer(profile, YEARLY, play.name, moment)
        return None
    _schedule(profile, play, book, at)
    return unasked(play, profile, play.yearly or "", str(year), f"{play.yearly}:{year}", moment, at)


def _schedule(profile: Profile, play: Play, book: PlayBook, after: int) -> None:
    found = _next(profile, play, book, after)
    fold.set_timer(profile, YEARLY, play.name, found[0] if found else None)


def _next(profile: Profile, play: Play, book: PlayBook, after: int) -> tuple[int, int] | None:
    """When the play speaks next after ``after`` (ms), and for which year; None if the day is not known."""
    zones = profile.timezone, book.timezone
    first = profile.behaviour.first_order
    day = profile.birth_day if play.yearly == "birthday" else dates.month_day(first, *zones) if first else ""
    if not day:
        return None
    moment, year = dates.next_yearly(day, play.offset, after, *zones)
    # The first order is no anniversary of itself.
    later = play.yearly != "birthday" and moment < first + _DAYS_300
    return _next(profile, play, book, moment) if later else (moment, year)


_DAYS_300: Final = 300 * 86_400_000
