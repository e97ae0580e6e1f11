"""The stitch core: a batch of input records in, what to write to Kafka out, with identity resolved in Redis.

The shell around it (consumer, transaction, take-over) calls::

    stitcher.positions.take(partitions)                 # at take-over: what Redis says, R
    batch = stitcher.stitch(messages, committed, ends)  # Redis now holds the batch's links and its R
    ...                                                 # one Kafka transaction: batch.outgoing and the offsets
    stitcher.published(batch)

Links are applied before anything is published, and changes stay pending in their cluster until published,
so a batch may be stitched again, in whole or in other pieces, as often as it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from operators.changes import CREATED, EXPIRED, FORGOTTEN
from operators.failpoints import failpoint
from operators.planning import Planner
from operators.positions import Lane, Positions
from operators.reading import NOBODY, Caches, Message, Person, Reader, Touch, found_in
from operators.resolving import Resolution, Resolver
from schemas import stitched
from schemas.commands import NEEDS
from schemas.config import Config
from schemas.errors import RecordFault
from schemas.outputs import Audit, DeadLetter
from schemas.stitched import shard_of
from schemas.topics import AUDIT, DATA_KEYS, DEAD_LETTERS, STITCHED, topic_name
from state.identity import (
    ANY,
    DELETED,
    Cluster,
    Held,
    IdentityStore,
    Mark,
    Partition,
    Set,
    Source,
    Write,
    read_source,
    source_field,
)
from state.tokens import Tokens, token_text
from state.vault import CACHED_KEYS, DataKey, Vault

_json = msgspec.json.encode


class Outgoing(msgspec.Struct):
    """One record to produce; partition -1 lets Kafka choose."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


@dataclass(slots=True)
class Batch:
    """What one batch leads to.

    ``outgoing``: in order, a customer's pending changes before its touchpoints. ``lanes``: what it holds of each
    source partition. ``sources``: R and watermark per source partition as they stand in Redis now. ``changes``:
    identity changes made, by kind. ``faults``: dead letters by reason. ``effects``: touches by what they did to
    evidence.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    lanes: dict[Partition, Lane] = field(default_factory=dict)
    sources: dict[Partition, Source] = field(default_factory=dict)
    told: dict[bytes, Held] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    junk: int = 0
    rounds: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)


#: What is older than this (ms) when it is written, or newer than now, is a defect of its source.
LATE_MS, AHEAD_MS = 300_000, 30_000


class _Home(msgspec.Struct):
    """Where a customer's records go: customer, record key, shard, and what its values are sealed with."""

    customer: str
    record_key: bytes
    shard: int
    key: DataKey | None


class Stitcher:
    """Stitches for one process.

    Args:
        store: may reconnect, but what it lost meanwhile is noticed: see `stitch`.
        now_ms: the process' clock, epoch milliseconds.
    """

    def __init__(self, config: Config, store: IdentityStore, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._log_clock = config.clock == "log"
        self._shards = config.topics.shards
        self._stitched = topic_name(config, STITCHED)
        self._dead_letters = topic_name(config, DEAD_LETTERS)
        self._data_keys = topic_name(config, DATA_KEYS)
        self._audit = topic_name(config, AUDIT)
        tokens = Tokens(bytes.fromhex(config.keys.index))
        self._vault = Vault(config.keys.master)
        self._store = store
        self._reader = Reader(config, tokens)
        self._resolver = Resolver(store, Planner(store, self._vault, tokens, self._reader.rules), self._now_us)
        self._home = lru_cache(CACHED_KEYS)(self._find_home)
        self.positions = Positions(store, now_ms, log_clock=self._log_clock)

    @property
    def caches(self) -> Caches:
        """How often what is remembered was asked for."""
        return {**self._reader.caches, **found_in(homes=self._home), "clusters": self._store.cached}

    def stitch(
        self, messages: Sequence[Message], committed: Mapping[Partition, int], ends: Mapping[Partition, bool]
    ) -> Batch:
        """Resolve a batch and write its links and R to Redis.

        Args:
            messages: records without errors, in order within each partition.
            committed: K per partition. Of records below it only links and pending changes take effect.
            ends: whether the batch reaches the end of the partition, as far as is known.

        Raises:
            Conflict: R is not what this process left there: another took the partition over, or Redis was
                rolled back. Take over again, from `positions`. Also after `redis.RedisError`.
        """
        batch, now = Batch(), self._now_ms()
        if messages:
            touches = self._read(batch, messages, committed, now)
            failpoint("stitch.decoded")
            self._resolve(batch, touches, self.positions.marks(batch.lanes, ends, now))
        return batch

    def published(self, batch: Batch) -> None:
        """The batch's records are in Kafka for good: its changes are no longer pending, and who has expired is gone.

        If another process wrote a cluster meanwhile its changes stay pending and are published once more. Raises
        `Conflict`, as `stitch` does.
        """
        now = self._now_us()
        if writes := [self._cleared(held, now) for held in batch.told.values()]:
            self._store.write(writes)
        batch.told = {}
        self.positions.published(batch.lanes)

    def _cleared(self, held: Held, now: int) -> Write:
        """The write after which a cluster has nothing to tell any more, or is not there."""
        store, key = self._store, self._store.cluster_key(held.id)
        if _expired(held.cluster):
            places = [Set(store.identifier_key(token), ANY, DELETED) for token in held.cluster.ids]
            return [Set(key, held.stamp, DELETED), *places]
        stamp = store.stamp(max(held.version + 1, now))
        return [Set(key, held.stamp, store.pack(stamp, msgspec.structs.replace(held.cluster, pending=[])))]

    # -- one batch -----------------------------------------------------------------------------------------

    def _read(
        self, batch: Batch, messages: Sequence[Message], committed: Mapping[Partition, int], now: int
    ) -> list[Touch]:
        """The valid touchpoints, stamped. Counts, and buries the dead."""
        touches: list[Touch] = []
        lanes, read, log_clock, at = batch.lanes, self._reader.read, self._log_clock, now
        positions = self.positions
        for message in messages:
            source, offset = (message.topic(), message.partition()), message.offset()
            lane = lanes.get(source)
            if lane is None:
                k = committed.get(source, 0)
                lane = lanes[source] = positions.lane(source_field(source), source, k, offset)
            live = offset >= lane.k
            try:
                touch = read(message, lane.name)
                event = touch.event
                if log_clock:
                    at = positions.see(event.at or positions.highest or event.time)
                event.at = at
                lane.time = at if log_clock else event.ts
                if event.time > at:
                    lane.inconsistent += live and event.time - at > AHEAD_MS
                    event.time = at
                elif lane.time - event.time > LATE_MS:
                    lane.late += live
                if event.channel is None or touch.person.flawed:
                    _judge(lane, touch, live)
                touch.live, touch.sure = live, offset >= lane.sure
                touches.append(touch)
                if touch.person.command is not None:
                    lane.commands += live
                    lane.consumed -= live
            except RecordFault as fault:
                lane.time = positions.highest or now if log_clock else message.timestamp()[1]
                if live:
                    self._bury(batch, message, fault, lane.time if log_clock else now)
                    lane.dead += 1
            if live:
                lane.consumed += 1
            else:
                lane.suppressed += 1
            lane.next = offset + 1
        positions.read(lanes)
        return touches

    def _bury(self, batch: Batch, message: Message, fault: RecordFault, at: int) -> None:
        batch.outgoing.append(self._dead(self._reader.dead_letter(message, fault, at)))
        batch.faults[fault.reason] += 1

    def _resolve(self, batch: Batch, touches: list[Touch], marks: list[Mark]) -> None:
        """Touchpoints together, then who expires, then commands one by one; R moves with the last."""
        commands = [touch for touch in touches if touch.person.command is not None]
        shown = [touch for touch in touches if touch.person.command is None] if commands else touches
        if shown or not commands:
            self._emit(batch, shown, self._apply(batch, shown, [] if commands else marks).homes)
        expiring = [touch for touch in commands if touch.event.type == "expire"]
        others = [touch for touch in commands if touch.event.type != "expire"]
        if expiring:
            self._expire(batch, expiring, [] if others else marks)
        for touch in others:
            self._obey(batch, touch, marks if touch is others[-1] else [])
        self.positions.written(marks)
        batch.sources.update({mark.source: read_source(mark.moved) for mark in marks})

    def _apply(self, batch: Batch, touches: list[Touch], marks: list[Mark]) -> Resolution:
        """Write what touches say, and tell of the clusters that come apart: not all of these are shown."""
        resolution = self._resolver.resolve(touches, marks)
        batch.changes += resolution.changes
        batch.effects += resolution.effects
        batch.rounds += resolution.rounds
        for held in resolution.apart:
            self._tell(batch, held, touches[0].event.at)
        return resolution

    def _expire(self, batch: Batch, touches: list[Touch], marks: list[Mark]) -> None:
        """Forget who is still anonymous and silent. Who is not is asked for again in time; the changes tell who is."""
        for held in self._apply(batch, touches, marks).homes.values():
            self._tell(batch, held, touches[0].event.at)

    def _obey(self, batch: Batch, touch: Touch, marks: list[Mark]) -> None:
        """Carry out a command, and say what came of it."""
        command, at = touch.person.command, touch.event.at
        resolution = self._apply(batch, [touch], marks)
        for held in resolution.homes.values():
            self._tell(batch, held, at)
        (answer,) = resolution.answers
        if command is not None and touch.live:
            outcome = "refused" if answer.why else "applied"
            named = command.ids[: NEEDS[command.op]]
            audit = Audit(
                command.id, command.op, outcome, at, named, answer.customers, command.by, command.reason, answer.why
            )  # fmt: skip
            batch.outgoing.append(Outgoing(self._audit, -1, command.id.encode(), _json(audit)))

    def _emit(self, batch: Batch, touches: list[Touch], clusters: Mapping[Person, Held]) -> None:
        """Every live touchpoint with its customer, and before the first of a cluster the cluster's changes."""
        outgoing, stitched_topic, encode = batch.outgoing, self._stitched, stitched.encode
        homes: dict[Person, _Home] = {}
        for touch in touches:
            event, person, personal = touch.event, touch.person, touch.personal
            batch.junk += person.junk
            if touch.late:
                self._drop(batch, touch)
                continue
            home = homes.get(person)
            if home is None:
                if event.customer:
                    home = self._home(event.customer)
                else:
                    held = clusters[person]
                    home = homes[person] = self._home_in(held, person)
                    if held.cluster.pending:
                        self._tell(batch, held, event.at)
            if touch.live:
                event.customer = home.customer
                if personal is not None and home.key is not None:
                    event.kid, event.sealed = home.key.kid, home.key.seal(personal)
                outgoing.append(Outgoing(stitched_topic, home.shard, home.record_key, encode(event)))

    def _drop(self, batch: Batch, touch: Touch) -> None:
        """Count a touchpoint that came later than the erasure of whom it shows."""
        if touch.live:
            source = touch.event.src.rpartition("/")[0]
            next(lane for lane in batch.lanes.values() if lane.name == source).erased += 1

    def _home_in(self, held: Held, person: Person) -> _Home:
        """Where the touchpoints of ``person`` go, who is in this cluster."""
        customer = held.cluster.owner(*person.strongest)
        key = held.cluster.keys[customer]
        return self._home(customer, key.kid, key.wrapped)

    def _find_home(self, customer: str, kid: str = "", wrapped: bytes = b"") -> _Home:
        """(Called through the cached ``_home``.)"""
        key = self._vault.data_key(wrapped, customer, kid) if kid else None
        return _Home(customer, customer.encode(), shard_of(customer, self._shards), key)

    def _tell(self, batch: Batch, home: Held, at: int) -> None:
        """Publish every pending change of a cluster, once a batch, a new customer's data key before its first use."""
        if batch.told.get(home.id) is home:
            return
        batch.told[home.id] = home
        for change in home.cluster.pending:
            if change.id in batch.changed:
                continue
            batch.changed.add(change.id)
            if change.kind == CREATED and (key := home.cluster.keys.get(change.customer)):
                batch.outgoing.append(Outgoing(self._data_keys, -1, key.kid.encode(), key.wrapped))
            for kid in change.keys if change.kind in FORGOTTEN else ():
                batch.outgoing.append(Outgoing(self._data_keys, -1, kid.encode(), None))
            # A merge concerns two shards: one hands over, the other waits for it.
            for customer in (change.old, change.new) if change.old and change.new else (change.customer,):
                record = msgspec.structs.replace(change, at=at, customer=customer)
                batch.outgoing.append(self._record(customer, stitched.encode(record)))

    def _record(self, customer: str, value: bytes) -> Outgoing:
        return Outgoing(self._stitched, shard_of(customer, self._shards), customer.encode(), value)

    def _dead(self, letter: DeadLetter) -> Outgoing:
        key = f"{letter.topic}/{letter.partition}/{letter.offset}"
        return Outgoing(self._dead_letters, -1, key.encode(), _json(letter))

    def _now_us(self) -> int:
        return self._now_ms() * 1000


def _expired(cluster: Cluster) -> bool:
    """Whether there is nothing to a cluster but identifiers of who has expired."""
    told = {token for change in cluster.pending if change.kind == EXPIRED for token in change.ids}
    return bool(told) and all([token_text(token) in told for token in cluster.ids]) and set(cluster.owners) == {-1}


def _judge(lane: Lane, touch: Touch, live: bool) -> None:
    """Count what a touchpoint lacks, and that it contradicts itself; products and commands have no channel."""
    person = touch.person
    if person.junk or (touch.event.channel is None and person is not NOBODY and person.command is None):
        lane.incomplete += live
    lane.inconsistent += live and person.mixed
