"""How far the partitions of one consumer are behind in time, also when its loop no longer comes round.

A partition that is read to its end is not behind. Any other is by the age of the oldest record not yet processed: that
of the first of the batch in work, or of the last one that was. ::

    lag = Lag()
    lag.start([("t", 0)], now=100.0)
    lag.begin(("t", 0), written=90.0, now=100.0)
    lag.seconds(("t", 0), behind=5, now=101.0) == 11.0

Times are seconds since the epoch. Written by the loop, read by whoever scrapes metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from operators.kafka import Partition

#: A loop that has not come round for this long (seconds) is in trouble: nothing it has read counts as processed.
HUNG = 5.0


class _Offsets(msgspec.Struct):
    """Of a partition; below 0 where it is not known."""

    ls_offset: int = -1
    hi_offset: int = -1


class _Topic(msgspec.Struct):
    partitions: dict[int, _Offsets] = {}


class _Statistics(msgspec.Struct):
    """What is read of the statistics of librdkafka."""

    topics: dict[str, _Topic] = {}


_statistics = msgspec.json.Decoder(_Statistics, strict=False)


class Lag:
    """What is known of the time up to which each partition is processed."""

    def __init__(self) -> None:
        self._through: dict[Partition, float] = {}
        self._since: dict[Partition, float] = {}
        self._came_round = 0.0
        self._stable: dict[Partition, Stable] = {}

    def start(self, partitions: Iterable[Partition], now: float) -> None:
        """These partitions were assigned, all others taken away; how old their next records are is not known yet."""
        self._since = dict.fromkeys(partitions, now)
        self._through, self._stable = {}, {}
        self._came_round = now

    def come_round(self, now: float) -> None:
        """The loop asks for a batch: the one before is done."""
        self._came_round = now

    def note(self, behind: Mapping[Partition, int], now: float) -> None:
        """All that was read is done: whoever is not ``behind`` (records) is processed up to now."""
        self._through.update(dict.fromkeys([each for each, records in behind.items() if records == 0], now))

    def begin(self, partition: Partition, written: float, now: float) -> None:
        """Work begins on a record of ``partition`` that was written then."""
        self._through[partition] = min(written, now)

    def seconds(self, partition: Partition, behind: int | None, now: float, unknown: float | None = None) -> float:
        """How far it is behind, given that in records (None: not known). Where nothing was read yet: since when it has
        been assigned, or ``unknown``."""
        if behind == 0 and now - self._came_round < HUNG:
            return 0.0
        through = self._through.get(partition)
        if through is None and unknown is not None:
            return unknown
        return max(0.0, now - (through or self._since.get(partition, now)))

    def told(self, statistics: str, now: float) -> None:
        """Take the last stable offsets and the ends from the statistics of librdkafka (JSON)."""
        for name, topic in _statistics.decode(statistics).topics.items():
            for number, offsets in topic.partitions.items():
                if offsets.ls_offset >= 0 and (name, number) in self._since:
                    self._stands((name, number), offsets.ls_offset, offsets.hi_offset, now)

    def _stands(self, partition: Partition, stable: int, end: int, now: float) -> None:
        before = self._stable.get(partition)
        still = before is not None and before.behind and before.offset == stable < end
        self._stable[partition] = Stable(stable, before.since if before is not None and still else now, stable < end)

    def stable_age(self, now: float) -> dict[str, float]:
        """For how long (seconds) the last stable offset of a topic's worst partition has stood behind the end."""
        ages: dict[str, float] = {}
        for (topic, _), stable in self._stable.copy().items():
            age = now - stable.since if stable.behind else 0.0
            ages[topic] = max(age, ages.get(topic, 0.0))
        return ages


class Stable(NamedTuple):
    """The last stable offset of a partition, since when it stands there, and whether that is behind the end."""

    offset: int
    since: float
    behind: bool
