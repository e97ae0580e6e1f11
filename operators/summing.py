"""The shell of whoever sums a topic up, each partition for itself, with the commit that engage uses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Generic, NamedTuple, TypeVar

import redis

from operators.ownership import Ownership
from operators.starting import Start
from operators.subscription import Received, Subscription
from schemas.config import Config
from schemas.topics import topic_name
from state.shards import Commit, Output, ShardStore, Stored

Sum = TypeVar("Sum")


class Summed(NamedTuple):
    """What a batch comes to: the state of its partition now, what is to be told, entities that changed."""

    state: bytes
    outbox: Sequence[Output]
    entities: Mapping[str, bytes | None] = MappingProxyType({})


class Summing(ABC, Generic[Sum]):
    """The sums of the partitions that this process owns; an empty shell without any. ``counter``: under which name it
    counts what it has summed up."""

    counter: ClassVar[str]

    def __init__(
        self,
        config: Config,
        flow: str,
        topic: str,
        partitions: int,
        client: redis.Redis,
        *,
        initialise: bool,
        interval: float | None = None,
    ) -> None:
        self._config = config
        self._store = ShardStore(client, config.prefix, flow)
        self._sums: dict[int, Sum] = {}
        self._starts: dict[int, Start] = {}
        self._stored: dict[int, int | None] = {}
        self._ownership = Ownership(
            config,
            flow,
            topic_name(config, topic),
            self._store,
            self._open,
            self._sums.clear,
            initialise=initialise,
            interval=interval,
        )
        self._ownership.check_partitions(partitions)

    @abstractmethod
    def _opened(self, number: int, stored: Stored) -> Sum:
        """The sum of a partition as it was committed."""

    @abstractmethod
    def _add(self, number: int, messages: Sequence[Received]) -> Summed:
        """Add a batch of one partition to its sum. May raise `redis.RedisError`."""

    def poll(self, wait: float) -> list[Received]:
        """The next batch."""
        return self._ownership.poll(self._config.limits.batch, wait)

    def sum_up(self, messages: list[Received]) -> list[Commit]:
        """Add a batch; what is to be committed for it. Empty if Redis failed."""
        batch: dict[int, list[Received]] = {}
        for message in messages:
            batch.setdefault(message.partition(), []).append(message)
        try:
            return [self._sum_up(number, some) for number, some in batch.items()]
        except redis.RedisError as error:
            self._ownership.stumble(error)
            return []

    def _sum_up(self, number: int, messages: list[Received]) -> Commit:
        summed, floor = self._add(number, messages), self._starts[number].floor
        return Commit(
            shard=number,
            expected=self._stored[number],
            r=messages[-1].offset() + 1,
            state=summed.state,
            entities=summed.entities,
            timers={},
            counters={self.counter: len(messages)},
            outbox=[output for output in summed.outbox if output.offset >= floor],
        )

    def commit(self, commits: list[Commit]) -> None:
        """Commit what was summed up, and publish it."""
        if self._ownership.commit(commits):
            self._stored.update((commit.shard, commit.r) for commit in commits)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it reads."""
        return [self._ownership.subscription]

    def close(self) -> None:
        """Leave cleanly."""
        self._ownership.close()

    def _open(self, number: int, start: Start, stored: Stored) -> None:
        self._sums[number] = self._opened(number, stored)
        self._starts[number], self._stored[number] = start, stored.r
