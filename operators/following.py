"""When a condition will be answered otherwise although nothing happens but that time passes.

A condition is asked with the ``now`` of a `Clock`. It computes as a number does, and so does whatever is computed from
it as long as that grows evenly with time; each comparison notes on the clock when its answer turns. Until the earliest
of these moments every comparison that was made keeps its answer, so the condition does.

>>> clock = Clock(1_000)
>>> clock.now - 400 > 700, clock.turns
(False, 1101)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Final

Number = int | float
#: What turns later than that (ms) never does.
FAR: Final = 10**14


class Clock:
    """The time (ms) at which conditions are asked. ``turns``: when one of them may be answered otherwise; 0: never."""

    __slots__ = ("at", "turns")

    def __init__(self, at: int) -> None:
        self.at = at
        self.turns = 0

    @property
    def now(self) -> Moving:
        """The time, as conditions take it. The clock does not keep it: if each knew of the other, only the collector
        could let them go."""
        return Moving(self.at, 1, self)

    def note(self, turn: int) -> None:
        """Something turns at ``turn`` (ms)."""
        self.turns = min(self.turns or turn, turn)


class Moving:
    """A value that changes evenly: by ``slope`` each ms."""

    __slots__ = ("clock", "slope", "value")

    def __init__(self, value: Number, slope: Number, clock: Clock) -> None:
        self.value = value
        self.slope = slope
        self.clock = clock

    def __add__(self, other: Moving | Number) -> Moving:
        if isinstance(other, Moving):
            return Moving(self.value + other.value, self.slope + other.slope, self.clock)
        return Moving(self.value + other, self.slope, self.clock)

    __radd__ = __add__

    def __neg__(self) -> Moving:
        return Moving(-self.value, -self.slope, self.clock)

    def __sub__(self, other: Moving | Number) -> Moving:
        return self + -other

    def __rsub__(self, other: Number) -> Moving:
        return -self + other

    def __mul__(self, by: Number) -> Moving:
        return Moving(self.value * by, self.slope * by, self.clock)

    __rmul__ = __mul__

    def __truediv__(self, by: Number) -> Moving:
        return Moving(self.value / by, self.slope / by, self.clock)

    def __gt__(self, other: Moving | Number) -> bool:
        apart = self - other
        # Growing it is above from the first moment after both are equal; falling it no longer is when they are.
        apart.meets(after=apart.slope > 0)
        return apart.value > 0

    def __ge__(self, other: Moving | Number) -> bool:
        apart = self - other
        apart.meets(after=apart.slope < 0)
        return apart.value >= 0

    def __lt__(self, other: Moving | Number) -> bool:
        return not self >= other

    def __le__(self, other: Moving | Number) -> bool:
        return not self > other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moving | int | float):
            return NotImplemented
        apart = self - other
        apart.meets(after=False)
        apart.meets(after=True)
        return apart.value == 0

    __hash__ = None  # type: ignore[assignment]

    def meets(self, *, after: bool) -> None:
        """Note when this will be 0, or the first ms ``after``."""
        if self.slope and -1 <= (wait := -self.value / self.slope) < FAR:
            turn = floor(wait) + 1 if after else ceil(wait)
            if turn > 0:
                self.clock.note(self.clock.at + turn)


def counted(buckets: Mapping[int, int] | None, now: int | Moving, width: int, span: int) -> int:
    """What those buckets hold that are still in the window at ``now``: bucket k begins at k ``width`` (ms) and leaves
    ``span`` buckets later. See `operators.windows`."""
    if not buckets:
        return 0
    if not isinstance(now, Moving):
        gone = now // width - span
        return sum([amount for bucket, amount in buckets.items() if bucket > gone])
    gone = int(now.value) // width - span
    inside = [bucket for bucket in buckets if bucket > gone]
    if inside:
        now.clock.note((min(inside) + span) * width)
    return sum([buckets[bucket] for bucket in inside])
