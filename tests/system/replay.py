"""A single-threaded replay of ``stitched`` through the core of engage, compared with topics and Redis.

No batches, no offsets, no outbox, no cache: record by record, everything in memory. What the processes
made between kills, take-overs and aborted transactions must be exactly this.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from os import SEEK_END
from tempfile import TemporaryFile
from typing import IO, Any
from weakref import finalize

import msgspec
import redis

from operators import reasons, replaying
from operators.churn import Model
from operators.playbook import PlayBook
from operators.products import page
from operators.shard import Shard, ShardState
from schemas import stitched
from schemas.config import Config
from schemas.outputs import Decision, Partial
from schemas.stitched import Absorb, Change, Event, Signal, Step, Tick, Visit
from schemas.topics import OUTPUTS, PARTIALS, STITCHED, topic_name
from state.products import unpack_product
from state.profile import pack, unpack, unpack_parts
from state.shards import INTERESTED, Output, ShardStore
from tests.system.reading import Read, Topic, keys, scan

#: Output, whatever the partition: key, value.
Pair = tuple[bytes | None, bytes | None]
_SHOWN = 3
#: Keys asked about in one round trip.
_PAGE = 1_000


class Replay:
    """The shards as a replay leaves them. ``log``: the records of ``stitched``, which is gone through several times."""

    def __init__(self, config: Config, client: redis.Redis, log: Iterable[Read]) -> None:
        self._config = config
        self._redis: Any = client
        self._store = ShardStore(client, config.prefix)
        self._stitched = topic_name(config, STITCHED)
        models = scan(client, f"{{{config.prefix}.models}}")
        plays = scan(client, f"{{{config.prefix}.plays}}")
        loaded = {key.decode(): Model.from_bytes(value) for key, value in models.items()}
        books = {key.decode(): PlayBook.from_bytes(value) for key, value in plays.items()}
        self._books = books
        self._written = _Written()
        self._replay = replaying.Replay(config, loaded, books, self._written.take)
        self.shards = self._replay.shards
        self._ends = [stored.r or 0 for stored in self._store.read(range(config.topics.shards))]
        self.log, self.records = log, 0
        self.faults: list[str] = []
        for read in log:
            self.records += 1
            self._apply(read)

    def _apply(self, read: Read) -> None:
        raw = read.value or b""
        record = stitched.decode(raw)
        if read.offset >= self._ends[read.partition]:
            # A tick may be appended after the last one that engage has read; nothing else may.
            if not isinstance(record, Tick | Visit):
                self.faults.append(f"stitched/{read.partition}/{read.offset} was not processed")
            return
        self._replay.feed(read.partition, record, raw)

    def check(self) -> list[str]:
        """Every difference."""
        return [*self._check_topics(), *self._check_decisions(), *self._check_loop(), *self.check_state()]

    def check_state(self) -> list[str]:
        """Every difference in what is kept, whatever was written."""
        return self.faults + [fault for shard in self.shards for fault in self._check_shard(shard)]

    def outputs(self, topic: str) -> Counter[Pair]:
        """What the replay wrote to ``topic``."""
        return Counter(self._written.to(topic))

    def _check_topics(self) -> list[str]:
        faults = []
        for name in OUTPUTS:
            topic = topic_name(self._config, name)
            written = ((read.key, read.value) for read in Topic(self._config, topic))
            # The learn flow has alerts of its own.
            actual = Counter(pair for pair in written if b'"kind":"model_' not in (pair[1] or b"")[:32])
            faults += differences(name, self.outputs(topic), actual)
        partials = topic_name(self._config, PARTIALS)
        told = Counter((read.key, _unmeasured(read.value or b"")) for read in Topic(self._config, partials))
        return faults + differences("what was counted", self.outputs(partials), told)

    def _check_decisions(self) -> list[str]:
        """Each decision follows from the grounds recorded with it."""
        written = Topic(self._config, topic_name(self._config, "decisions"))
        decisions = (msgspec.json.decode(read.value or b"", type=Decision) for read in written)
        return [
            f"decision {each.id} says {each.outcome} {each.code}, its grounds {verdict}"
            for each in decisions
            if not reasons.recorded(verdict := reasons.again(each, self._books), each)
        ]

    def _check_loop(self) -> list[str]:
        """What engage wrote to ``stitched``. Changes it passed on look like those of stitch: at least those."""
        actual: Counter[Pair] = Counter()
        changes: Counter[Pair] = Counter()
        for read in self.log:
            record = stitched.decode(read.value or b"")
            if isinstance(record, Absorb | Signal | Step) or (isinstance(record, Event) and record.hops):
                actual[read.key, read.value] += 1
            elif isinstance(record, Change):
                changes[read.key, read.value] += 1
        expected = self.outputs(self._stitched)
        passed = Counter({pair: n for pair, n in expected.items() if b'"k":"change"' in (pair[1] or b"")})
        faults = differences("forwards, absorbs, signals and steps", expected - passed, actual)
        return faults + differences("forwarded changes", passed, changes & passed)

    def _check_shard(self, shard: Shard) -> list[str]:
        tag, number = self._store.key(shard.number, ""), shard.number
        profiles = {key.decode(): value for key, value in scan(self._redis, f"{tag}c:").items()}
        expected = {customer: pack(profile) for customer, profile in shard.profiles.items()}
        faults = differences(f"profiles of shard {number}", _counted(expected), _counted(profiles), unpack)
        examples = {key.decode(): value for key, value in scan(self._redis, f"{tag}x:").items()}
        open_ones = {customer: pack(each) for customer, each in shard.examples.items() if each}
        faults += differences(f"examples of shard {number}", _counted(open_ones), _counted(examples))
        kept = {key.decode(): value for key, value in scan(self._redis, f"{tag}u:").items()}
        parts = {customer: pack(each) for customer, each in shard.parts.items() if each}
        faults += differences(f"parts of shard {number}", _counted(parts), _counted(kept), unpack_parts)
        products = {key.decode(): value for key, value in scan(self._redis, f"{tag}p:").items()}
        woken = {sku: pack(each) for sku, each in shard.products.items() if each is not None}
        faults += differences(f"products of shard {number}", _counted(woken), _counted(products), unpack_product)
        faults += self._check_interest(shard)
        index = self._redis.zrange(f"{tag}timers", 0, -1, withscores=True)
        timers = {str(key, "ascii"): int(due) for key, due in index}
        due = {customer: profile.due for customer, profile in shard.profiles.items() if profile.due is not None}
        faults += differences(f"timers of shard {number}", _counted(due), _counted(timers))
        counts = {key.decode(): int(count) for key, count in self._redis.hgetall(f"{tag}count").items()}
        faults += differences(f"account of shard {number}", _counted(shard.counters), _counted(counts))
        state = msgspec.msgpack.decode(self._redis.hget(f"{tag}shard", "state") or pack(ShardState()))
        if state != msgspec.msgpack.decode(pack(shard.state)):
            faults.append(f"clock or models of shard {number}: {state}, expected {shard.state}")
        return faults

    def _check_interest(self, shard: Shard) -> list[str]:
        """The index of interest, as far as it has not been forgotten."""
        old = self._replay.forgotten(shard)
        skus = [key.decode() for key in keys(self._redis, self._store.key(shard.number, "i:"))]
        stored = dict[str, dict[str, int]]()
        for some in _paged(skus):
            pipe = self._redis.pipeline(transaction=False)
            for sku in some:
                pipe.zrange(self._store.key(shard.number, "i:" + sku), 0, -1, withscores=True)
            for sku, found in zip(some, pipe.execute(), strict=True):
                stored[sku] = {str(customer, "utf-8"): int(time) for customer, time in found}
        expected, actual = [
            Counter(
                (sku, *entry) for sku, customers in index.items() for entry in page(customers, old, None, INTERESTED)
            )
            for index in (shard.interest, stored)
        ]
        return differences(f"interest in products in shard {shard.number}", expected, actual)


def _paged(names: list[str]) -> Iterator[list[str]]:
    return (names[at : at + _PAGE] for at in range(0, len(names), _PAGE))


class _Written:
    """What was written, by topic: on disk, since of millions of touchpoints there is much of it."""

    def __init__(self) -> None:
        self._files: dict[str, IO[bytes]] = {}
        self._open = ExitStack()
        finalize(self, self._open.close)

    def take(self, output: Output) -> None:
        """One more."""
        if output.topic not in self._files:
            self._files[output.topic] = self._open.enter_context(TemporaryFile())  # noqa: SIM115 - what enters is closed
        pickle.dump((output.key, output.value), self._files[output.topic])

    def to(self, topic: str) -> Iterator[Pair]:
        """All that was written to a topic."""
        if topic not in self._files:
            return
        file = self._files[topic]
        end = file.seek(0, SEEK_END)
        file.seek(0)
        while file.tell() < end:
            yield pickle.load(file)


def differences(what: str, expected: Counter[Any], actual: Counter[Any], show: Any = None) -> list[str]:
    """What is lost, and what is there beside it or twice; the first few spelled out."""
    lost, extra = expected - actual, actual - expected
    if not lost and not extra:
        return []
    lines = [f"{what}: {lost.total()} lost, {extra.total()} too many, of {expected.total()}"]
    for sign, part in (("lost", lost), ("extra", extra)):
        lines += [f"{what}: {sign} {_shown(item, show)}" for item in list(part)[:_SHOWN]]
    return lines


def _unmeasured(partial: bytes) -> bytes:
    """How long triggers took, a replay does not know."""
    return msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(partial, type=Partial), latency={}))


def _counted(mapping: dict[str, Any]) -> Counter[tuple[str, Any]]:
    return Counter(dict.fromkeys(mapping.items(), 1))


def _shown(item: Any, show: Any) -> str:
    return f"{item[0]} {show(item[1])}" if show else str(item)
