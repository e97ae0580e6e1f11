"""A log of ``stitched`` run through the core of engage with everything in memory: no batches, no offsets, no outbox.

::

    replay = Replay(config, models, books, take)                       # as the log says: what live did
    replay = Replay(config, models, books, take, plays=book.version)   # what these plays would have done
    for shard, record, raw in log:
        replay.feed(shard, record, raw)
    replay.finish()

As the log says, time moves on its ticks, and the hand-overs and forwarded touchpoints it holds are folded in where they
stand. Under other plays neither is of use: ticks were made when the timers of the plays then in force were due, and a
hand-over holds a profile as those plays had left it. So time is *virtual* then: a timer fires when it is due, before
the first record of its shard that is not older; and what the core writes to ``stitched`` comes back when the moment at
which it did so is over, since what was written together is there before what follows from it. The shards must then be
fed in the order of their clocks, or a hand-over comes too early.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from operators.churn import Model
from operators.engage import Engage
from operators.playbook import PlayBook
from operators.shard import Shard, ShardState
from schemas import stitched
from schemas.config import Config
from schemas.stitched import Absorb, Control, Event, Gist, Record, Signal, Step, Tick, Visit, shard_of
from schemas.topics import STITCHED, topic_name
from state.profile import Profile
from state.shards import Output

#: What control records say of plays, which is not followed where the plays are given.
_OF_PLAYS: Final = frozenset(("plays", "pause", "resume"))


class Replay:
    """The shards of a deployment as its log leaves them.

    ``take`` is given each output. ``models`` and ``books`` hold content by hash. ``plays``: the version in force from
    the first record on, in virtual time; None: as the log says.
    """

    def __init__(
        self,
        config: Config,
        models: Mapping[str, Model],
        books: Mapping[str, PlayBook],
        take: Callable[[Output], object],
        *,
        plays: str | None = None,
    ) -> None:
        self._engage = Engage(config, models, books)
        self._virtual = plays is not None
        self._take = take
        self._topic = topic_name(config, STITCHED)
        self._looped: deque[tuple[int, bytes]] = deque()
        self._now = 0
        self.shards = [Shard(number, 0, None, ShardState(), 0) for number in range(config.topics.shards)]
        for shard in self.shards if plays is not None else ():
            shard.counting = False  # its figures would be those of another time
            self._apply(shard, Control(0, "plays", "", plays or ""), b"")

    def feed(self, number: int, record: Record, raw: bytes) -> None:
        """The next record of a shard."""
        if not self._virtual:
            self._apply(self.shards[number], record, raw)
        elif not _of_its_time(record):
            if isinstance(record, Control):  # it holds from where it stands, whatever the clock of who wrote it
                record = msgspec.structs.replace(record, at=0)
            if record.at > self._now:
                self._come_back()
                self._now = record.at
            self._reach(number, record, raw)

    def finish(self, at: int = 0) -> None:
        """The log ends: in virtual time all that is due by its latest clock, or ``at`` (ms), still happens."""
        end = max([at, *[shard.state.at for shard in self.shards]])
        self._come_back()
        for shard in self.shards if self._virtual else ():
            self._advance(shard, end)
            self._come_back()

    def counts(self) -> Counter[str]:
        """The account, summed over the shards."""
        return sum((Counter(shard.counters) for shard in self.shards), Counter())

    def profile(self, customer: str) -> Profile | None:
        """What is known of a customer id."""
        return self.shards[shard_of(customer, len(self.shards))].profiles.get(customer)

    def forgotten(self, shard: Shard) -> int:
        """Up to when (ms) interest in products has been forgotten."""
        return self._engage.signals.forgotten(shard)

    def _reach(self, number: int, record: Record, raw: bytes) -> None:
        """Apply a record when all that was due before it has happened."""
        shard = self.shards[number]
        self._advance(shard, record.at)
        self._apply(shard, record, raw)

    def _come_back(self) -> None:
        """Bring what was written to ``stitched`` to the shards it is for, in order."""
        while self._looped:
            number, raw = self._looped.popleft()
            self._reach(number, stitched.decode_gist(raw), raw)

    def _advance(self, shard: Shard, at: int) -> None:
        """Let virtual time pass until ``at``: every timer fires at its own time."""
        due = shard.timers.next_due()
        while due is not None and due <= at:
            shard.timers.compact()
            self._apply(shard, Tick(due, due), b"")
            due = shard.timers.next_due()

    def _apply(self, shard: Shard, record: Record, raw: bytes) -> None:
        engage = self._engage
        if type(record) is Tick:
            for customer in engage.tick(shard, record):
                engage.fire(shard, customer, record.watermark)
        else:
            engage.apply(shard, record, raw)
        if shard.outbox:
            self._hand_out(shard)

    def _hand_out(self, shard: Shard) -> None:
        outbox, shard.outbox = shard.outbox, []
        shard.started.clear()
        shard.repeated.clear()
        for output in outbox:
            if self._virtual and output.topic == self._topic:
                self._looped.append((output.partition, output.value))
            else:
                self._take(output)


def _of_its_time(record: Record) -> bool:
    """Whether a record follows from the plays that were in force when it was written: under others it means nothing."""
    if isinstance(record, (Gist, Event)):
        return record.hops > 0
    if isinstance(record, Control):
        return record.what in _OF_PLAYS
    return isinstance(record, (Tick, Visit, Absorb, Signal, Step))
