"""Dates of a customer, in its own time: birthdays and other days that come every year, and days so long before or after
something.

Days are counted in the calendar of the customer's zone: nine o'clock stays nine o'clock when clocks change. Who was
born on 29 February has a birthday on the 28th where there is none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from operators.quiet import zone


class Offset(NamedTuple):
    """So far from a moment: whole days of the calendar and ms; then, if ``at`` is given, at this time of that day."""

    days: int = 0
    ms: int = 0
    at: time | None = None


def shifted(moment: int, offset: Offset, *zones: str) -> int:
    """The time (ms) so far from ``moment`` (ms); the first of ``zones`` that is one counts, else UTC."""
    known = _zone(zones)
    local = datetime.fromtimestamp(moment / 1000, known)
    day = local.date() + timedelta(days=offset.days)
    return _ms(day, offset.at or local.timetz().replace(tzinfo=None), known) + offset.ms


def next_yearly(month_day: str, offset: Offset, after: int, *zones: str) -> tuple[int, int]:
    """The first time (ms) after ``after`` (ms) that lies so far from the day ``02-28`` of a year, and that year."""
    known = _zone(zones)
    month, day = int(month_day[:2]), int(month_day[3:])
    year = datetime.fromtimestamp(after / 1000, known).year - 1
    while True:
        shown = _of_year(year, month, day) + timedelta(days=offset.days)
        due = _ms(shown, offset.at or time(), known) + offset.ms
        if due > after:
            return due, year
        year += 1


def month_day(moment: int, *zones: str) -> str:
    """The day of the year of a time (ms), as ``02-28``."""
    return datetime.fromtimestamp(moment / 1000, _zone(zones)).strftime("%m-%d")


def _of_year(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        return date(year, month, day - 1)


def _ms(day: date, clock: time, known: tzinfo) -> int:
    # A time that clocks skip is taken as if they had not been put forward yet; of two the first.
    return round(datetime.combine(day, clock, known).timestamp() * 1000)


def _zone(zones: tuple[str, ...]) -> tzinfo:
    return next((found for name in zones if (found := zone(name)) is not None), UTC)
