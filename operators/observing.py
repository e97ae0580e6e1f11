"""What the flows count, batch by batch, copied into the metrics.

Children of metrics are built once; what did not happen in a batch costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

from operators import metrics
from operators.figures import bucket
from operators.shard import Shard

if TYPE_CHECKING:
    from operators.stitching import Batch  # a quarter of a second of imports that engage and learn do not need

#: Counts of the account that say what became of a record.
RESULTS = frozenset(("applied", "duplicates", "erased", "forwarded", "absorbed"))

#: Counts of a lane.
_COUNTS = ("consumed", "dead", "erased", "commands", "suppressed", "late", "incomplete", "inconsistent")
#: Defects of a source, and which count of a lane says so; duplicates are found later.
_DEFECTS = {"completeness": "incomplete", "validity": "dead", "consistency": "inconsistent", "timeliness": "late"}

Count = Callable[[float], None]


class _Source:
    """The metrics of one topic that stitch reads, all of them there from the first batch on."""

    def __init__(self, topic: str) -> None:
        self.consumed = metrics.RECORDS_CONSUMED.labels("stitch", topic).inc
        self.records = metrics.SOURCE_RECORDS.labels(topic).inc
        self.defects = {
            dimension: metrics.SOURCE_DEFECTS.labels(topic, dimension).inc for dimension in (*_DEFECTS, "uniqueness")
        }


_source = cache(_Source)
_stitched = cache(lambda result: metrics.RECORDS.labels("stitch", result).inc)
_fault = cache(lambda reason: metrics.DEAD_LETTERS.labels(reason).inc)


def expect(topics: Iterable[str]) -> None:
    """Name the topics to be read: one that stays quiet shows as 0, not as missing."""
    for topic in topics:
        _source(topic)


def stitched(batch: Batch) -> None:
    """Count a batch of stitch."""
    topics: dict[str, Counter[str]] = {}
    for (topic, _), lane in batch.lanes.items():
        total = topics.setdefault(topic, Counter())
        for name in _COUNTS:
            total[name] += getattr(lane, name)
    for topic, total in topics.items():
        _read(_source(topic), total)
    for reason, count in batch.faults.items():
        _fault(reason)(count)
    if batch.junk:
        metrics.IDENTIFIERS_UNUSABLE.inc(batch.junk)


def _read(source: _Source, total: Counter[str]) -> None:
    """Count what was read of one topic."""
    consumed, dead, erased, suppressed = [total[name] for name in ("consumed", "dead", "erased", "suppressed")]
    source.consumed(consumed + suppressed + total["commands"])
    source.records(consumed)
    became = {"stitched": consumed - dead - erased, "dead": dead, "erased": erased, "suppressed": suppressed}
    for result, count in became.items():
        if count:
            _stitched(result)(count)
    for dimension, name in _DEFECTS.items():
        if total[name]:
            source.defects[dimension](total[name])


def engaged(shards: Iterable[Shard], now_ms: int) -> None:
    """Count a batch of engage. ``now_ms``: when it was committed."""
    counts: dict[str, int] = {}
    for shard in shards:
        for appended, happened in shard.started:
            took = max(0, now_ms - appended)
            _latency("append")(took / 1000)
            _latency("event")(max(0, now_ms - happened) / 1000)
            # The figures of the shop tell it, too.
            place = bucket(took)
            shard.latency[place] = shard.latency.get(place, 0) + 1
        for topic, count in shard.repeated.items():
            _source(topic).defects["uniqueness"](count)
        for name, count in shard.counters.items():
            counts[name] = counts.get(name, 0) + count
    for name, count in counts.items():
        for child in _counted(name):
            child(count)


_latency = cache(lambda since: metrics.TRIGGER_LATENCY.labels(since).observe)


@cache
def _counted(name: str) -> tuple[Count, ...]:
    """What to add to for a count of the account; nothing for those that are of no interest here."""
    kind, _, rest = name.partition("/")
    if kind == "decision":
        play, _, code = rest.partition("/")
        decided = metrics.DECISIONS.labels(play, code).inc
        return (decided, metrics.TRIGGERS.labels(play).inc) if code == "emitted" else (decided,)
    if kind == "outcome":
        play, _, said = rest.partition("/")
        return (metrics.OUTCOMES.labels(play, said).inc,)
    if kind.startswith("identity_"):
        return (metrics.IDENTITY_CHANGES.labels(kind.removeprefix("identity_")).inc,)
    alone = {
        "park_timeouts": metrics.PARKED_TIMEOUTS,
        "activations": metrics.MODEL_ACTIVATIONS,
        "journeys_refused": metrics.JOURNEYS_REFUSED,
    }
    if kind in alone:
        return (alone[kind].inc,)
    return (metrics.RECORDS.labels("engage", kind).inc,) if kind in RESULTS else ()
