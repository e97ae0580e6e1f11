"""What plays would have done: a history replayed through the core of live, with everything in memory.

If the history is a log that these very plays made, from its first touchpoint on, its own ticks move time: the decisions
are those of live. Under any other plays time is virtual (see `operators.replaying`).
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from flows.backtest_report import Report, Tally, customer_by_customer, difference
from flows.history import TIMELESS, History
from operators.churn import Model
from operators.playbook import PlayBook
from operators.replaying import Replay
from operators.texts import rfc3339
from schemas.config import Config
from schemas.errors import ConfigError, MissingContent, TouchstreamError
from schemas.stitched import Control, Record, Visit
from state.shards import Output

#: Later than any record (ms).
NEVER: Final = 1 << 62
#: Records between two looks at the progress.
STRIDE: Final = 1_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """``models`` and ``books`` hold what the history may name, by hash. What happens before ``since`` (ms) is replayed
    but not counted, what happens from ``until`` on is not looked at. ``customers``: compare them one by one, too.
    ``progress`` is told how many records or lines are done; ``take`` is given what the plays (not those ``against``)
    write."""

    models: Mapping[str, Model] = {}
    books: Mapping[str, PlayBook] = {}
    since: int = 0
    until: int = NEVER
    customers: bool = False
    progress: Callable[[int], object] = lambda done: None
    take: Callable[[Output], object] = lambda output: None


class _OtherPlays(Exception):
    """Not these plays, and these alone, were in force."""


class _Side:
    """One set of plays at work."""

    def __init__(self, config: Config, book: PlayBook, options: Options, *, recorded: bool) -> None:
        self.book = book
        self.tally = Tally(config, options.since, keep=options.customers)
        plays = None if recorded else book.version
        self._books, self._known = {book.version: book}, options.books
        self.replay = Replay(config, options.models, self._books, self._take, plays=plays)
        self.feed = self._feed_recorded if recorded else self.replay.feed
        self._others: Callable[[Output], object] = options.take
        self._paused: set[int] = set()

    def _take(self, output: Output) -> None:
        self.tally.take(output)
        self._others(output)

    def _feed_recorded(self, number: int, record: Record, raw: bytes) -> None:
        """Raises `_OtherPlays` before anything is decided by others."""
        in_force = self.replay.shards[number].state.plays
        if isinstance(record, Control):
            self._look_at(number, record)
        elif in_force != self.book.version or number in self._paused:
            if isinstance(record, Visit):  # for plays that have not spoken yet, or will not any more
                return
            raise _OtherPlays
        self.replay.feed(number, record, raw)

    def _look_at(self, number: int, control: Control) -> None:
        if control.what == "pause":
            self._paused.add(number)
        elif control.what == "plays" and control.hash not in self._books:
            try:
                self._books[control.hash] = self._known[control.hash]
            except (KeyError, MissingContent, ConfigError):  # unknown, or not to be carried out any more
                raise _OtherPlays from None


class _Seen(msgspec.Struct):
    """What was replayed: from when to when it counts (ms), and what had happened before that."""

    start: int = 0
    end: int = 0
    before: Counter[str] = msgspec.field(default_factory=Counter)


def backtest(
    config: Config, history: History, book: PlayBook, against: PlayBook | None = None, options: Options | None = None
) -> Report:
    """Replay ``history`` under the plays of ``book`` and, to compare, of ``against``. Raises `TouchstreamError`."""
    options = options or Options()
    books = [book] if against is None else [book, against]
    recorded = against is None and history.ticked
    with _uncollected():
        sides = [_Side(config, each, options, recorded=recorded) for each in books]
        try:
            seen = _replay(history, sides, options)
        except _OtherPlays:
            recorded = False
            sides = [_Side(config, each, options, recorded=False) for each in books]
            seen = _replay(history, sides, options)
    return _report(history, sides, seen, options, recorded=recorded)


def _replay(history: History, sides: Sequence[_Side], options: Options) -> _Seen:
    first, feeds = sides[0].replay, [side.feed for side in sides]
    seen, count, until, end = _Seen(), 0, options.until, 0
    for number, record, raw in history.entries():
        if not isinstance(record, TIMELESS):
            if record.at >= until:
                end = until - 1
                break
            if not seen.start and record.at >= options.since:
                seen.start, seen.before = record.at, first.counts()
        for feed in feeds:
            feed(number, record, raw)
        count += 1
        if count % STRIDE == 0:
            options.progress(history.done)
    if not count:
        raise TouchstreamError("; ".join(["there is nothing to replay", *history.notes()]))
    for side in sides:
        side.replay.finish(end)
    seen.end = max(shard.state.at for shard in first.shards)
    return seen


def _report(history: History, sides: Sequence[_Side], seen: _Seen, options: Options, *, recorded: bool) -> Report:
    one, other = sides[0], sides[-1]
    counts = one.replay.counts() - seen.before
    notes = history.notes()
    if not any([shard.state.models for shard in one.replay.shards]):
        notes.append("no model was activated: churn scores are those of the built-in prior")
    report = Report(
        time="recorded" if recorded else "virtual",
        start=rfc3339(seen.start),
        end=rfc3339(seen.end),
        touchpoints=counts["applied"],
        duplicates=counts["duplicates"],
        customers=_customers(one.replay),
        plays=one.tally.report(one.book, one.replay),
        notes=notes,
    )
    if other is not one:
        report.against = other.tally.report(other.book, other.replay)
        reached = [set(side.tally.reached(side.replay)) for side in sides]
        report.difference = difference(report.plays, report.against, *reached)
    if options.customers:
        messages = [side.tally.messages(side.replay) for side in sides]
        report.customer_by_customer = customer_by_customer(*messages)
    return report


def _customers(replay: Replay) -> int:
    """Those that are somebody: no aliases, nobody erased, no products."""
    return sum(
        not (profile.alias or profile.erased or customer.startswith("product:"))
        for shard in replay.shards
        for customer, profile in shard.profiles.items()
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: nothing here makes cycles, and a million profiles are many objects to search."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()  # or the next collection would look at all of them
            gc.enable()
