"""Owning shards: the one take-over function, and the commit that only an owner can make.

Serves crash, rebalance, fail-over and Redis losing its last second alike: mark the shard, fence the predecessor,
read K and R, publish what the outbox holds from K on, start at R. Whatever goes wrong afterwards, be it a refused
commit, a Redis error or an aborted transaction, drops all that is cached and comes back here.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

import redis
from confluent_kafka import TopicPartition

from operators import metrics
from operators.access import raise_if_denied
from operators.failpoints import ROUND_TRIP, failpoint, failpoint_within
from operators.kafka import Partition
from operators.starting import FRESH, Start, start
from operators.subscription import Received, Subscription
from operators.transactions import Aborted, Transactions
from schemas.config import Config
from schemas.errors import Conflict, PositionError
from state.shards import Commit, Output, ShardStore, Stored

log = logging.getLogger(__name__)

#: K follows R at least this often (seconds) when nothing is published.
K_EVERY = 3.0


class Ownership:
    """The shards this process owns, partition by partition of one topic.

    ``opened`` is called for every shard taken over with its start and what Redis holds, ``dropped`` when all
    that is cached must go.
    """

    def __init__(
        self,
        config: Config,
        flow: str,
        topic: str,
        store: ShardStore,
        opened: Callable[[int, Start, Stored], None],
        dropped: Callable[[], None],
        *,
        initialise: bool = False,
        interval: float | None = None,
    ) -> None:
        self._flow = flow
        self._topic = topic
        self._store = store
        self._opened = opened
        self._dropped = dropped
        self._initialise = initialise
        self._config = config
        self._token = uuid.uuid4().hex
        self._transactions = Transactions(config, flow)
        self._consumed = metrics.RECORDS_CONSUMED.labels(flow, topic)
        self._commits = metrics.Commits(flow)
        self.subscription = Subscription(config, flow, [topic], self._take_over, self._let_go, interval)
        self._r: dict[int, int] = {}
        self._k: dict[int, int] = {}
        self._k_at = time.monotonic()
        self._partitions = 0

    def check_partitions(self, expected: int) -> None:
        """Raises `PositionError` unless the topic has the partitions it was created with, now and whenever some are
        taken over."""
        self._partitions = expected
        found = self.subscription.offsets.partition_count(self._topic)
        if found != expected:
            raise PositionError(
                f"{self._topic} has {found} partitions, {expected} are configured: the shard of every customer would "
                "change. Create the topics with 'touchstream topics create', or restore the partition count."
            )

    def poll(self, limit: int, wait: float) -> list[Received]:
        """The next messages, of owned shards only. Waits out Redis being away."""
        try:
            messages = self.subscription.poll(limit, wait)
            self._consumed.inc(len(messages))
            return messages
        except (Conflict, redis.RedisError, Aborted) as error:
            self.stumble(error)
            # Redis being away passes: try again with the next poll, which also answers the group.
            time.sleep(0.1)
            return []

    def commit(self, commits: Sequence[Commit], extra: Sequence[Output] = ()) -> bool:
        """Write ``commits`` to Redis, then their outboxes and ``extra`` with the offsets in one transaction.

        False if it could not be done: everything cached is dropped and the shards are taken over again.
        """
        try:
            if commits:
                failpoint_within(f"{self._flow}.committing", ROUND_TRIP)
                self._store.commit(commits, self._token, time.time_ns() // 1_000_000)
                failpoint(f"{self._flow}.after_redis")
            self._r.update((commit.shard, commit.r) for commit in commits)
            self._publish([output for commit in commits for output in commit.outbox], extra)
        except (Conflict, redis.RedisError, Aborted) as error:
            self.stumble(error)
            return False
        if commits:
            self._commits.done()
        return True

    def close(self) -> None:
        """Bring K up to R and leave the group."""
        if not self.subscription.stale and self.subscription.group is not None:
            self._k_at = 0.0
            try:
                self._publish([], [])
            except Aborted as error:
                log.warning("whoever takes over brings the group's offsets up", extra={"error": str(error)})
        self.subscription.close()

    def _publish(self, outputs: list[Output], extra: Sequence[Output]) -> None:
        due = time.monotonic() - self._k_at >= K_EVERY
        if not outputs and not extra and not due:
            return
        ahead = {shard: r for shard, r in self._r.items() if r > self._k.get(shard, -1)}
        self._k_at = time.monotonic()
        if not outputs and not extra and not ahead:
            return
        topic_id = self.subscription.topic_id(self._topic)
        offsets = [TopicPartition(self._topic, shard, r, topic_id) for shard, r in ahead.items()]
        self._transactions.publish([*outputs, *extra], offsets, self.subscription.group)
        self._k.update(ahead)
        failpoint(f"{self._flow}.before_clear")

    def stumble(self, error: Exception) -> None:
        """Drop all that is cached; the next `poll` takes the shards over again."""
        raise_if_denied(error)
        if isinstance(error, Conflict):
            self._commits.refused()
        log.warning("shards will be taken over again", extra={"error": str(error)})
        self.subscription.stale = bool(self.subscription.partitions)
        self._forget()

    def _take_over(self) -> Mapping[Partition, int]:
        self.check_partitions(self._partitions)
        partitions, offsets = self.subscription.partitions, self.subscription.offsets
        numbers = sorted(number for _, number in partitions)
        self._forget()
        previous = self._store.take(numbers, self._token, self._transactions.id)
        failpoint(f"{self._flow}.taking_over")
        for transactional_id in sorted(set(previous) - {"", self._transactions.id}):
            Transactions.fence(self._config, transactional_id)
        committed: Mapping[Partition, TopicPartition] = offsets.committed(partitions)
        stored, logs = self._store.read(numbers), offsets.logs(partitions)
        begun = [(self._topic, number) for number, held in zip(numbers, stored, strict=True) if held.r is not None]
        committed = offsets.committed_for(begun, committed)
        starts, topic_id = {}, self.subscription.topic_id(self._topic)
        for number, held in zip(numbers, stored, strict=True):
            partition = (self._topic, number)
            (first, end), k = logs[partition], committed[partition]
            renewed = k.metadata not in (None, "", FRESH, topic_id)
            starts[number] = start(partition, k, held.r, first, end, renewed=renewed, initialise=self._initialise)
            self._commits.taken(starts[number].kind)
        stored = self._put_back(starts, stored)
        self._republish(starts, stored)
        # After K: a shard with K alone begins anew, one with R alone has lost K.
        stored = self._begin(starts, stored)
        for number, held in zip(numbers, stored, strict=True):
            self._opened(number, starts[number], held)
        return {(self._topic, number): each.offset for number, each in starts.items()}

    def _put_back(self, starts: Mapping[int, Start], stored: Sequence[Stored]) -> list[Stored]:
        """Begin shards of another log anew in Redis, too, before K says that they are begun: whoever comes in between
        would else take the old R for one of this log."""
        back = {
            number: Commit(number, held.r, each.offset, held.state, {}, {}, {}, held.outbox)
            for (number, each), held in zip(starts.items(), stored, strict=True)
            if each.kind == FRESH and held.r not in (None, each.offset)
        }
        if back:
            self._store.commit([*back.values()], self._token, time.time_ns() // 1_000_000)
        return [
            held._replace(r=back[number].r) if number in back else held
            for number, held in zip(starts, stored, strict=True)
        ]

    def _republish(self, starts: Mapping[int, Start], stored: Sequence[Stored]) -> None:
        """Publish the outbox entries that Kafka lacks, bring K up to R, write the first K of a fresh shard."""
        missing = [
            output
            for each, held in zip(starts.values(), stored, strict=True)
            for output in held.outbox
            if output.offset >= each.floor
        ]
        topic_id = self.subscription.topic_id(self._topic)
        offsets = [
            TopicPartition(self._topic, number, max(each.offset, each.floor), FRESH if each.kind == FRESH else topic_id)
            for number, each in starts.items()
        ]
        failpoint(f"{self._flow}.republishing")
        self._transactions.publish(missing, offsets, self.subscription.group)
        self._r = {number: each.offset for number, each in starts.items()}
        self._k = {number: max(each.offset, each.floor) for number, each in starts.items()}

    def _begin(self, starts: Mapping[int, Start], stored: Sequence[Stored]) -> list[Stored]:
        fresh = {
            number: each.offset for (number, each), held in zip(starts.items(), stored, strict=True) if held.r is None
        }
        if fresh:
            self._store.begin(fresh)
        return [held._replace(r=fresh.get(number, held.r)) for number, held in zip(starts, stored, strict=True)]

    def _let_go(self, partitions: list[Partition], clean: bool) -> None:
        self._forget()
        if clean:
            try:
                self._store.let_go([number for _, number in partitions], self._token)
            except redis.RedisError as error:
                log.warning("could not let go of shards in Redis", extra={"error": str(error)})

    def _forget(self) -> None:
        self._r, self._k = {}, {}
        self._dropped()
