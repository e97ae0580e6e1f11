"""Quiet hours in the customer's own time.

Time zones come from the pinned ``tzdata`` package, not from the machine: everywhere the same log gives the same
decisions.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+){0,2}\Z")


class Quiet(NamedTuple):
    """From ``start`` to ``end``, over midnight where that is earlier, on ``channels`` (empty: on all)."""

    start: time
    end: time
    channels: tuple[str, ...]
    hold: bool


@lru_cache(1_000)
def zone(name: str) -> ZoneInfo | None:
    """The time zone of a name of the IANA database, None if it is not one."""
    if not _NAME.match(name):
        return None
    package, _, file = f"tzdata.zoneinfo.{name.replace('/', '.')}".rpartition(".")
    try:
        with resources.files(package).joinpath(file).open("rb") as found:
            return ZoneInfo.from_file(found, key=name)
    except (OSError, ValueError, ImportError):
        return None


def ends(quiet: Quiet, at: int, *zones: str) -> int:
    """When quiet hours end in which ``at`` lies (ms), 0 if it lies in none. The first of ``zones`` that is one counts,
    else UTC."""
    known = next((found for name in zones if (found := zone(name)) is not None), UTC)
    local = datetime.fromtimestamp(at / 1000, known)
    clock = local.time()
    after, before = clock >= quiet.start, clock < quiet.end
    if not (after and before if quiet.start <= quiet.end else after or before):
        return 0
    day = local.date() + timedelta(days=clock >= quiet.end)
    # Where clocks are put forward over the end, this is the first moment after it; where they are put back, the first
    # of two: whoever is released looks again.
    return max(at + 1, round(datetime.combine(day, quiet.end, known).timestamp() * 1000))
