"""Where stitch stands in each source partition, as Redis holds it: R, and the watermark up to which all is in the log.

::

    positions.take(partitions)                       # at take-over: what Redis says
    marks = positions.marks(lanes, ends, now)        # how a batch moves it; written with the batch's links
    positions.written(marks)
    positions.published(lanes)                       # the batch is in Kafka for good
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from state.identity import IdentityStore, Mark, Partition, Source, pack_source, read_source


class Lane(msgspec.Struct):
    """What a batch holds of a source partition: ``name`` "topic/partition", K, first offset, the offset from which on
    nobody can have heard of the records (see `Touch`), next offset, the time of the last record (ms), the time up to
    which all is in the log once the batch is (ms), and how many touchpoints, of them dead and erased ones, and commands
    were at or above K. Of these touchpoints, with what defect: ``late``, ``incomplete``, ``inconsistent``.
    ``suppressed``: records below K."""

    name: str
    k: int
    first: int
    sure: int
    next: int = 0
    time: int = 0
    through: int = 0
    consumed: int = 0
    dead: int = 0
    erased: int = 0
    commands: int = 0
    suppressed: int = 0
    late: int = 0
    incomplete: int = 0
    inconsistent: int = 0


class Positions:
    """Those of one process. ``now_ms``: its clock (ms); ``log_clock``: records bring their time instead, and
    ``highest`` is the latest that was seen. Whatever writes raises `Conflict` if Redis does not hold what was left
    there."""

    def __init__(self, store: IdentityStore, now_ms: Callable[[], int], *, log_clock: bool) -> None:
        self._store, self._now_ms, self._log_clock = store, now_ms, log_clock
        self._sources: dict[Partition, bytes] = {}
        #: How far this process has read each source, and up to where Redis has forgotten that.
        self._reached: dict[Partition, int] = {}
        self._forgotten: dict[Partition, int] = {}
        #: The time (ms) up to which each source is in the log.
        self._through: dict[Partition, int] = {}
        self.highest = 0

    def take(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """R of each partition that has one. To be called for every partition at take-over, and after any error."""
        wanted = list(partitions)
        found = self._store.sources(wanted)
        sources = {source: read_source(packed) for source, packed in found.items()}
        for source in wanted:
            self._sources.pop(source, None)
            reached = self._reached.get(source, 0)
            if source not in sources or sources[source].position < reached:
                self._forgotten[source] = max(reached, self._forgotten.get(source, 0))
        self._sources.update(found)
        if self._log_clock:
            self.highest = max([self.highest, *(source.watermark for source in sources.values())])
        return {partition: source.position for partition, source in sources.items()}

    def put_back(self, offsets: Mapping[Partition, int]) -> None:
        """Put back R where it is beyond that: the log is another one, or is read anew. To be called after `take`, and
        before K says so."""
        held = {source: self._source(source, at) for source, at in offsets.items()}
        beyond = {source: at for source, at in offsets.items() if held[source].position > at}
        if beyond:
            self._move({source: held[source]._replace(position=at) for source, at in beyond.items()})

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """Write the first R of sources that have none, long before there is a batch: one whose first batch Redis loses
        would else look like one that has lost everything. To be called after K is there: R alone has lost K."""
        fresh = {source: Source(at, 0) for source, at in offsets.items() if source not in self._sources}
        if fresh:
            self._move(fresh)

    def lane(self, name: str, source: Partition, k: int, first: int) -> Lane:
        """A lane that begins at offset ``first``."""
        return Lane(name, k, first, max(k, self._forgotten.get(source, 0)))

    def see(self, at: int) -> int:
        """Note a record's time (ms)."""
        self.highest = max(self.highest, at)
        return at

    def read(self, lanes: Mapping[Partition, Lane]) -> None:
        """All of a batch has been read."""
        self._reached.update((source, lane.next) for source, lane in lanes.items())

    def marks(self, lanes: Mapping[Partition, Lane], ends: Mapping[Partition, bool], now: int) -> list[Mark]:
        """How to move R and watermark of the batch's partitions.

        A batch reaches to now where it reaches the end, else to the time of its last record; clamped to now, since
        producers' clocks are not ours, and never back. The watermark follows when the batch is `published`: a timer
        that fires before that would overtake what cancels it.

        Below K nobody would read the records again to tell of what they change: R follows when that is `published`.
        """
        now = self.highest if self._log_clock else now
        marks = []
        for source, lane in lanes.items():
            held = self._source(source, lane.first)
            lane.through = now if ends.get(source) else min(lane.time, now)
            reached = lane.next if lane.first >= lane.k else lane.first
            moved = Source(max(held.position, reached), max(held.watermark, self._through.get(source, 0)))
            marks.append(Mark(source, self._sources.get(source, b""), pack_source(moved)))
        return marks

    def written(self, marks: Iterable[Mark]) -> None:
        """Redis holds what marks say."""
        self._sources.update({mark.source: mark.moved for mark in marks})

    def published(self, lanes: Mapping[Partition, Lane]) -> None:
        """A batch's records are in Kafka for good."""
        self._through.update((source, lane.through) for source, lane in lanes.items())
        again = {source: lane.next for source, lane in lanes.items() if lane.first < lane.k}
        if again:
            self._move({source: self._source(source, at)._replace(position=at) for source, at in again.items()})

    def watermarks(self, caught_up: Mapping[Partition, int]) -> dict[Partition, Source]:
        """Move the watermark of idle, caught-up partitions to now. ``caught_up``: their next offsets, used where
        Redis has no R yet. Returns them as they stand now. Raises `Conflict` also where nothing moves: of what Redis
        has forgotten an idle process would else not know."""
        now = self.highest if self._log_clock else self._now_ms()
        held = {source: self._source(source, offset) for source, offset in caught_up.items()}
        moved = {source: each._replace(watermark=max(each.watermark, now)) for source, each in held.items()}
        if moved:
            self._move(moved)
        return moved

    def _move(self, sources: Mapping[Partition, Source]) -> None:
        """Write R and watermark alone."""
        marks = [Mark(source, self._sources.get(source, b""), pack_source(at)) for source, at in sources.items()]
        self._store.write([], marks)
        self.written(marks)

    def _source(self, source: Partition, offset: int) -> Source:
        """What Redis holds of a source; ``offset`` where it holds nothing."""
        packed = self._sources.get(source)
        return read_source(packed) if packed else Source(offset, 0)
