"""The kpis flow's core: partials in, the figures of each second and minute out. A pure function of its input.

::

    board = Board()
    board.add(partial)                  # of any shard, in any order between shards
    changed = board.figures(offset)     # the windows that have changed since, in the revision of that offset
    so_far = board.so_far(offset)       # and of all that was ever counted

Seconds are those of the log's clock and stay open for a minute; minutes are those of event time and stay open for a
day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from operators.figures import MINUTE, SECOND, figures
from operators.tally import LEVELS
from schemas.outputs import Kpis, Partial

#: How long (seconds) windows of a second and of a minute stay open.
OPEN: Final = {SECOND: 60, MINUTE: 86_400}
#: So long after its end (seconds) a minute is judged: by then all shards have told what there was in time.
SETTLED: Final = 10
#: So many names are counted since the beginning; senders choose those of sources, of which any further one is
#: `_OTHER`.
NAMES: Final = 2_000
_OTHER: Final = "other"
_BY_SOURCE: Final = ("touchpoint", "defect")
Counts = dict[str, int]
Key = tuple[int, int]


class Window(msgspec.Struct, array_like=True):
    """One second or minute: what was counted, and latencies by bucket."""

    counts: Counts = {}
    latency: dict[int, int] = {}


class State(msgspec.Struct, array_like=True):
    """What is kept in one piece: the ``clock`` (s) and ``since`` when it runs, the open ``seconds``, levels and goals
    since the beginning (``totals``), since which minute each alert fires, and all that has ``happened`` since the
    beginning."""

    clock: int = 0
    seconds: dict[int, Window] = {}
    totals: Counts = {}
    firing: dict[str, int] = {}
    since: int = 0
    happened: Counts = {}


class Board:
    """All windows that are open; minutes by Unix minute, apart, since there are many."""

    def __init__(self, state: State | None = None, minutes: dict[int, Window] | None = None) -> None:
        self.state = state or State()
        self.minutes = minutes or {}
        self._changed: set[Key] = set()

    def add(self, partial: Partial) -> range:
        """Add what a shard has told; the minutes that have ended by that, and `SETTLED` ago."""
        state, before = self.state, self.state.clock
        state.clock = max(before, partial.second)
        state.since = state.since or state.clock
        current = state.clock // MINUTE
        if self._open(SECOND, partial.second):
            second = self._window(SECOND, partial.second)
            _merge(second.latency, partial.latency)
            for counts in partial.minutes.values():
                _merge(second.counts, _events(counts))
        if self._open(MINUTE, partial.second // MINUTE):
            _merge(self._window(MINUTE, partial.second // MINUTE).latency, partial.latency)
        for number, counts in partial.minutes.items():
            _merge(state.totals, {name: by for name, by in counts.items() if _lasting(name)})
            happened = _events(counts)
            self._remember(happened)
            if self._open(MINUTE, number):
                _merge(self._window(MINUTE, number).counts, happened)
            elif happened:
                _merge(self._window(MINUTE, current).counts, {"late": _touchpoints(happened)})
        return range(_settled(before), _settled(state.clock)) if before else range(0)

    def figures(self, revision: int) -> list[Kpis]:
        """The windows that have changed since the last call, oldest first."""
        changed, self._changed = sorted(self._changed), set()
        return [self._figures(seconds, number, revision) for seconds, number in changed]

    def so_far(self, revision: int) -> Kpis:
        """The figures since the beginning, as those of a window of no length."""
        state = self.state
        return figures(0, 0, revision, (state.clock + 1) * 1000, state.happened, {}, state.totals)

    def closed(self) -> list[int]:
        """Forget the windows that are no longer open; the minutes among them."""
        for number in [each for each in self.state.seconds if not self._open(SECOND, each)]:
            del self.state.seconds[number]
        over = [each for each in self.minutes if not self._open(MINUTE, each)]
        for number in over:
            del self.minutes[number]
        return over

    def of_minute(self, number: int) -> Kpis:
        """The figures of a minute as they are; zeros if nothing happened."""
        return self._figures(MINUTE, number, 0)

    def _remember(self, happened: Counts) -> None:
        so_far = self.state.happened
        for name, by in happened.items():
            kind, _, rest = name.partition("/")
            if kind.startswith("active"):
                continue  # who was active twice is not two
            if name not in so_far and kind in _BY_SOURCE and len(so_far) >= NAMES:
                name = f"{kind}/{_OTHER}/{rest.partition('/')[2]}"
            so_far[name] = so_far.get(name, 0) + by

    def _open(self, seconds: int, number: int) -> bool:
        """Whether a window is still corrected: one that was forgotten must not begin anew."""
        return number * seconds > self.state.clock - OPEN[seconds]

    def _window(self, seconds: int, number: int) -> Window:
        self._changed.add((seconds, number))
        windows = self._windows(seconds)
        window = windows.get(number)
        if window is None:
            window = windows[number] = Window()
        return window

    def _windows(self, seconds: int) -> dict[int, Window]:
        return self.state.seconds if seconds == SECOND else self.minutes

    def _figures(self, seconds: int, number: int, revision: int) -> Kpis:
        window, clock = self._windows(seconds).get(number) or Window(), (self.state.clock + 1) * 1000
        return figures(seconds, number, revision, clock, window.counts, window.latency, self.state.totals)


def _settled(clock: int) -> int:
    return (clock - SETTLED) // MINUTE


def _merge(into: dict, other: Mapping) -> None:  # type: ignore[type-arg]
    for name, by in other.items():
        into[name] = into.get(name, 0) + by


def _events(counts: Mapping[str, int]) -> Counts:
    """What has happened, as against levels that have moved."""
    return {name: by for name, by in counts.items() if name.partition("/")[0] not in LEVELS}


def _lasting(name: str) -> bool:
    return name.partition("/")[0] in (*LEVELS, "outcome")


def _touchpoints(counts: Mapping[str, int]) -> int:
    return sum(by for name, by in counts.items() if name.startswith("touchpoint/"))
