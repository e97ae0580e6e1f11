"""Windows: what a customer has done within a time that slides, in bounded state.

Of each touchpoint counts which bucket of time it falls into, so the state does not depend on the order of arrival, and
that of two customers who are one is the sum. A window that is kept exactly has buckets of one ms, of which the latest
stay; any other has `BUCKETS`, aligned to the epoch, of which the oldest leaves as a whole: up to 1/63 of the window
late, never early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from operators.expressions import LARGEST
from schemas.stitched import Event, Gist
from schemas.touchpoint import Body
from state.profile import Profile, pack

#: Buckets of one window.
BUCKETS: Final = 64
#: Sums are kept in hundredths, each bucket's up to this.
_MOST: Final = LARGEST
#: For the worst case of what is packed: a time (ms), and how many touchpoints fall into one bucket.
_LATE, _MANY = 4_000_000_000_000, 65_535


class Window(NamedTuple):
    """A window, compiled. ``key`` is that of its state; bucket k holds the times from k ``width`` (ms) on and leaves
    ``span`` buckets later; the latest ``kept`` stay. ``amount``: what one adds; None: it is counted."""

    name: str
    key: str
    width: int
    span: int
    kept: int
    where: Callable[..., bool] | None = None
    amount: Callable[..., float | None] | None = None

    @property
    def code(self) -> str:
        """The Python that reads it: of a sum in major units."""
        found = f"counted(profile.windows.get({self.key!r}), now, {self.width}, {self.span})"
        return found if self.amount is None else f"({found} / 100)"

    @property
    def exact(self) -> bool:
        """Whether it keeps the latest times each for itself."""
        return self.width == 1

    @property
    def late(self) -> int:
        """So long (ms) after it should something leaves it, at most."""
        return 0 if self.exact else self.width

    @property
    def bytes(self) -> int:
        """At most so many of a packed profile."""
        most, latest = _MANY if self.amount is None else _MOST, _LATE // self.width
        return len(pack({self.key: {latest - n: most for n in range(self.kept)}})) - 1


def sized(within: int, exact: int | None) -> tuple[int, int, int]:
    """``width``, ``span`` and ``kept`` of a window of ``within`` ms."""
    return (1, within, exact) if exact else (-(-within // (BUCKETS - 1)), BUCKETS, BUCKETS)


def observe(profile: Profile, event: Event | Gist, body: Body | None, windows: Sequence[Window], now: int) -> None:
    """Count a touchpoint, in place, in the ``windows`` of its type."""
    for window in windows:
        try:
            amount = _amount(window, event, body, profile, now)
        except Exception:  # of whatever kind: it is the window's, not ours
            continue
        bucket = event.time // window.width
        if amount and bucket > now // window.width - window.span:
            buckets = profile.windows.setdefault(window.key, {})
            buckets[bucket] = _bounded(buckets.get(bucket, 0) + amount)
            if len(buckets) > window.kept:
                profile.windows[window.key] = trimmed(buckets, window, now)


def _amount(window: Window, *given: Any) -> int:
    """What a touchpoint adds to a window, of the arguments of expressions."""
    given = (*given, "", 0)
    if window.where is not None and not window.where(*given):
        return 0
    return 1 if window.amount is None else _hundredths(window.amount(*given))


def trimmed(buckets: dict[int, int], window: Window, now: int) -> dict[int, int]:
    """Without what has left, and of the rest the latest."""
    gone = now // window.width - window.span
    inside = sorted([bucket for bucket in buckets if bucket > gone])
    return {bucket: buckets[bucket] for bucket in inside[-window.kept :]}


def join(mine: Profile, other: Profile) -> None:
    """Add what another has done, in place."""
    for key, theirs in other.windows.items():
        buckets = mine.windows.setdefault(key, {})
        for bucket, amount in theirs.items():
            buckets[bucket] = _bounded(buckets.get(bucket, 0) + amount)


def _hundredths(amount: Any) -> int:
    """Nothing of what is missing or beyond all reason."""
    return round(amount * 100) if amount is not None and abs(amount) <= _MOST / 100 else 0


def _bounded(amount: int) -> int:
    return max(-_MOST, min(_MOST, amount))
