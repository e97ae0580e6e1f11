"""Stitch's shell: source partitions in, one Kafka transaction a batch out.

Identity is written to Redis, R with it, before the transaction that moves K, so a take-over starts at min(R, K).
Touchpoints below K are in ``stitched`` already and are not written again; identity changes always are. The
account (consumed, dead, erased) of each source partition travels as the metadata of its committed offset: exact at K.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec
import redis
from confluent_kafka import TopicPartition

from operators import metrics, observing
from operators.access import raise_if_denied
from operators.clock import WallClock
from operators.failpoints import failpoint
from operators.kafka import Partition
from operators.positions import Lane
from operators.starting import FRESH, start
from operators.stitching import Batch, Stitcher
from operators.subscription import Received, Subscription
from operators.transactions import Aborted, Transactions
from schemas.config import Config
from schemas.errors import Conflict, SourceGoneMad
from schemas.topics import inputs, topic_name
from state.identity import IdentityStore
from state.sources import let_go_transactions, swap_transactions

log = logging.getLogger(__name__)

FLOW = "stitch"
#: How often an idle process says that its partitions are caught up (seconds).
IDLE_EVERY = 0.2


class Account(msgspec.Struct, omit_defaults=True):
    """Touchpoints consumed, of them dead and erased, and commands of a source partition, up to its committed offset;
    the id of its topic."""

    consumed: int = 0
    dead: int = 0
    erased: int = 0
    commands: int = 0
    topic: str = ""

    def add(self, lane: Lane) -> None:
        """Count what a batch holds."""
        self.consumed += lane.consumed
        self.dead += lane.dead
        self.erased += lane.erased
        self.commands += lane.commands


_account = msgspec.json.Decoder(Account)


class Reception:
    """The source partitions that this process stitches."""

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        self._config = config
        self._redis = client
        self._initialise = initialise
        self._stitcher = Stitcher(config, IdentityStore(client, config.prefix), WallClock(config))
        self._transactions = Transactions(config, FLOW)
        self._subscription = Subscription(config, FLOW, inputs(config), self._take_over, self._let_go)
        self._k: dict[Partition, int] = {}
        self._accounts: dict[Partition, Account] = {}
        self._watched = Account()
        self._idle_at = 0.0
        self._commits = metrics.Commits(FLOW)
        observing.expect(topic_name(config, name) for name in config.topics.sources)
        metrics.CACHE_HITS.source(self._hits)
        metrics.CACHE_MISSES.source(self._misses)

    def poll(self, wait: float) -> list[Received]:
        """The next batch of source records. Waits out Redis being away."""
        try:
            return self._subscription.poll(self._config.limits.batch, wait)
        except (Conflict, redis.RedisError, Aborted) as error:
            self._stumble(error)
            time.sleep(0.1)
            return []

    def stitch(self, messages: list[Received]) -> Batch | None:
        """Resolve a batch; None if Redis failed, or there was nothing to do."""
        try:
            if messages:
                behind = self._subscription.behind()
                caught_up = {partition: behind.get(partition) == 0 for partition in self._k}
                return self._stitcher.stitch(messages, self._k, caught_up)
            self._idle()
        except (Conflict, redis.RedisError) as error:
            self._stumble(error)
        return None

    def commit(self, batch: Batch | None) -> None:
        """Publish a batch with its offsets, then clear the identity changes it emitted."""
        if batch is None:
            return
        failpoint("stitch.after_redis")
        try:
            offsets = self._offsets(batch)
            self._transactions.publish(batch.outgoing, offsets, self._subscription.group)
        except Aborted as error:
            self._stumble(error)
            return
        failpoint("stitch.before_clear")
        self._k.update(((offset.topic, offset.partition), offset.offset) for offset in offsets)
        try:
            self._stitcher.published(batch)
        except (Conflict, redis.RedisError) as error:
            self._stumble(error)
        observing.stitched(batch)
        self._commits.done()
        self._watch(batch)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it reads."""
        return [self._subscription]

    def close(self) -> None:
        """Leave the group."""
        self._subscription.close()

    def _hits(self) -> list[metrics.Sample]:
        return [((FLOW, name), hits) for name, (hits, _) in self._stitcher.caches.items()]

    def _misses(self) -> list[metrics.Sample]:
        return [((FLOW, name), misses) for name, (_, misses) in self._stitcher.caches.items()]

    def _offsets(self, batch: Batch) -> list[TopicPartition]:
        """The next offset of each partition in the batch, never below K, with the account up to it."""
        offsets = []
        for partition, lane in batch.lanes.items():
            account = self._accounts[partition]
            account.add(lane)
            offset = max(lane.next, self._k[partition])
            offsets.append(TopicPartition(*partition, offset, msgspec.json.encode(account).decode()))
        return offsets

    def _idle(self) -> None:
        """Nothing to read: caught-up partitions count as now."""
        # While partitions change hands, what was read is not what is in the log.
        if time.monotonic() - self._idle_at >= IDLE_EVERY and not self._subscription.stale:
            self._idle_at = time.monotonic()
            positions = self._subscription.positions()
            behind = self._subscription.behind()
            self._stitcher.positions.watermarks({each: at for each, at in positions.items() if behind.get(each) == 0})

    def _watch(self, batch: Batch) -> None:
        """Stop when too many of the last records were broken. What was read so far is accounted for."""
        limits = self._config.limits
        for lane in batch.lanes.values():
            self._watched.add(lane)
        if self._watched.consumed >= limits.dead_letter_window:
            share = self._watched.dead / self._watched.consumed
            self._watched = Account()
            if share > limits.dead_letter_ratio:
                raise SourceGoneMad(
                    f"{share:.0%} of the last {limits.dead_letter_window} records are dead letters (limit "
                    f"{limits.dead_letter_ratio:.0%}): look at 'touchstream dead-letters list', mend the source, or "
                    "raise limits.dead_letter_ratio"
                )

    def _stumble(self, error: Exception) -> None:
        raise_if_denied(error)
        if isinstance(error, Conflict):
            self._commits.refused()
        log.warning("partitions will be taken over again", extra={"error": str(error)})
        self._subscription.stale = bool(self._subscription.partitions)

    def _take_over(self) -> Mapping[Partition, int]:
        partitions, asked = list(self._subscription.partitions), self._subscription.offsets
        previous = swap_transactions(self._redis, self._config.prefix, partitions, self._transactions.id)
        for transactional_id in sorted(previous - {"", self._transactions.id}):
            Transactions.fence(self._config, transactional_id)
        failpoint("stitch.taking_over")
        committed: Mapping[Partition, TopicPartition] = asked.committed(partitions)
        stored, logs = self._stitcher.positions.take(partitions), asked.logs(partitions)
        committed = asked.committed_for(stored, committed)
        starts: dict[Partition, int] = {}
        fresh: list[TopicPartition] = []
        self._k, self._accounts = {}, {}
        for partition in partitions:
            held = committed[partition]
            first, end = logs[partition]
            account = _read_account(held.metadata)
            topic_id = self._subscription.topic_id(partition[0])
            renewed = account.topic not in ("", topic_id)
            begin = start(
                partition, held, stored.get(partition), first, end, renewed=renewed, initialise=self._initialise
            )
            account.topic = topic_id
            self._commits.taken(begin.kind)
            starts[partition] = min(begin.offset, begin.floor)
            self._k[partition] = begin.floor
            if begin.kind == FRESH:
                fresh.append(TopicPartition(*partition, begin.floor, FRESH))
            self._accounts[partition] = account
        if fresh:
            offsets = {(each.topic, each.partition): each.offset for each in fresh}
            self._stitcher.positions.put_back(offsets)
            self._transactions.publish([], fresh, self._subscription.group)
            self._stitcher.positions.begin(offsets)
        return starts

    def _let_go(self, partitions: list[Partition], clean: bool) -> None:
        self._k, self._accounts = {}, {}
        if clean:
            try:
                let_go_transactions(self._redis, self._config.prefix, partitions, self._transactions.id)
            except redis.RedisError as error:
                log.warning("could not let go of partitions in Redis", extra={"error": str(error)})


def _read_account(metadata: str | None) -> Account:
    return _account.decode(metadata) if metadata and metadata != FRESH else Account()
