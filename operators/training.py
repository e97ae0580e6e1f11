"""Learn's shell: the one learner, fed from ``churn.examples``, with the commit that engage uses.

A new model is stored by its hash before the commit that announces it; the control record then activates it at one
point of each shard's log.
"""

from __future__ import annotations

import time

import msgspec
import redis

from operators.churn import content_hash
from operators.learning import Learning
from operators.ownership import Ownership
from operators.subscription import Received, Start, Subscription
from schemas import stitched
from schemas.config import Config
from schemas.outputs import Example
from schemas.stitched import Control
from schemas.topics import MODELS, STITCHED, topic_name
from state.contents import ContentStore
from state.shards import Commit, Output, ShardStore, Stored

FLOW = "learn"

_example = msgspec.json.Decoder(Example)


class Training:
    """The learner, if this process owns the examples; an empty shell otherwise."""

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        self._config = config
        self._models = ContentStore(client, config.prefix, MODELS)
        self._topic = topic_name(config, "churn.examples")
        store = ShardStore(client, config.prefix, FLOW)
        self._learning: dict[int, Learning] = {}
        self._starts: dict[int, Start] = {}
        self._stored: dict[int, int | None] = {}
        self._ownership = Ownership(config, FLOW, self._topic, store, self._open, self._drop, initialise=initialise)
        self._ownership.check_partitions(1)

    def poll(self, wait: float) -> list[Received]:
        """The next matured examples."""
        return self._ownership.poll(self._config.limits.batch, wait)

    def learn(self, messages: list[Received]) -> list[Commit]:
        """Learn a batch; what is to be committed for it. Empty if Redis failed."""
        try:
            return self._learn(messages) if messages else []
        except redis.RedisError as error:
            self._ownership.stumble(error)
            return []

    def _learn(self, messages: list[Received]) -> list[Commit]:
        number = messages[0].partition()
        outbox: list[Output] = []
        for message in messages:
            example = _example.decode(message.value())
            content = self._learning[number].on_example(example, message.offset(), self._config.churn)
            if content is not None:
                outbox += self._publication(message.offset(), content, example.at)
        floor = self._starts[number].floor
        return [
            Commit(
                shard=number,
                expected=self._stored[number],
                r=messages[-1].offset() + 1,
                state=self._learning[number].to_bytes(),
                entities={},
                timers={},
                counters={"learned": len(messages)},
                outbox=[output for output in outbox if output.offset >= floor],
            )
        ]

    def commit(self, commits: list[Commit]) -> None:
        """Commit what was learned and announce new models."""
        if self._ownership.commit(commits):
            self._stored.update((commit.shard, commit.r) for commit in commits)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it reads."""
        return [self._ownership.subscription]

    def close(self) -> None:
        """Leave cleanly."""
        self._ownership.close()

    def _publication(self, offset: int, content: bytes, example_at: int) -> list[Output]:
        """Store a model; its record on the compacted topic, and its activation in every shard."""
        digest = content_hash(content)
        self._models.put(digest, content)
        at = example_at if self._config.clock == "log" else time.time_ns() // 1_000_000
        control = stitched.encode(Control(at=at, what="model", key="default", hash=digest))
        topic = topic_name(self._config, STITCHED)
        shards = range(self._config.topics.shards)
        kept = Output(offset, topic_name(self._config, MODELS), -1, digest.encode(), content)
        return [kept, *(Output(offset, topic, shard, None, control) for shard in shards)]

    def _open(self, number: int, start: Start, stored: Stored) -> None:
        self._learning[number] = Learning.from_bytes(stored.state) if stored.state else Learning()
        self._starts[number] = start
        self._stored[number] = stored.r

    def _drop(self) -> None:
        self._learning.clear()
