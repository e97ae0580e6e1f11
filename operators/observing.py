"""What the flows count, batch by batch, copied into the metrics.

Children of metrics are built once; what did not happen in a batch costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from operators import metrics
from operators.figures import bucket
from operators.shard import Shard
from operators.stitching import Batch, Lane

#: Counts of the account that say what became of a record.
RESULTS = frozenset(("applied", "duplicates", "erased", "forwarded", "absorbed"))

Count = Callable[[float], None]


class _Source:
    """The metrics of one topic that stitch reads, all of them there from the first batch on."""

    def __init__(self, topic: str) -> None:
        self.consumed = metrics.RECORDS_CONSUMED.labels("stitch", topic).inc
        self.records = metrics.SOURCE_RECORDS.labels(topic).inc
        self.defects = {
            dimension: metrics.SOURCE_DEFECTS.labels(topic, dimension).inc
            for dimension in ("completeness", "validity", "consistency", "timeliness", "uniqueness")
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
    for (topic, _), lane in batch.lanes.items():
        source = _source(topic)
        source.consumed(lane.consumed + lane.commands + lane.suppressed)
        source.records(lane.consumed)
        for result, count in _became(lane):
            if count:
                _stitched(result)(count)
        for dimension, count in _defects(lane):
            if count:
                source.defects[dimension](count)
    for reason, count in batch.faults.items():
        _fault(reason)(count)
    if batch.junk:
        metrics.IDENTIFIERS_UNUSABLE.inc(batch.junk)


def _became(lane: Lane) -> Iterable[tuple[str, int]]:
    yield "stitched", lane.consumed - lane.dead - lane.erased
    yield "dead", lane.dead
    yield "erased", lane.erased
    yield "suppressed", lane.suppressed


def _defects(lane: Lane) -> Iterable[tuple[str, int]]:
    yield "completeness", lane.incomplete
    yield "validity", lane.dead
    yield "consistency", lane.inconsistent
    yield "timeliness", lane.late


def engaged(shard: Shard, now_ms: int) -> None:
    """Count a batch of engage in one shard. ``now_ms``: when it was committed."""
    for appended, happened in shard.started:
        took = max(0, now_ms - appended)
        _latency("append")(took / 1000)
        place = bucket(took)
        shard.latency[place] = shard.latency.get(place, 0) + 1
        _latency("event")(max(0, now_ms - happened) / 1000)
    for topic, count in shard.repeated.items():
        _source(topic).defects["uniqueness"](count)
    for name, count in shard.counters.items():
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
