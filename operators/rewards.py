"""Learn's other shell: what came of decisions, learned for the bandits, with the commit that engage uses.

Each partition of ``outcomes`` is tallied for itself; its counts go to all shards in control records, and engage adds up
those of all partitions.
"""

from __future__ import annotations

import msgspec
import redis

from operators.beliefs import Beliefs
from operators.clock import WallClock
from operators.ownership import Ownership
from operators.starting import Start
from operators.subscription import Received, Subscription
from schemas import stitched
from schemas.config import Config
from schemas.outputs import Outcome
from schemas.stitched import Control
from schemas.topics import STITCHED, outcome_partitions, topic_name
from state.shards import Commit, Output, ShardStore, Stored

#: Its consumer group, beside that of learn.
NAME = "rewards"

_outcome = msgspec.json.Decoder(Outcome)


class Rewards:
    """The tallies of the partitions that this process owns."""

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        self._config = config
        self._now_ms = WallClock(config)
        self._stitched = topic_name(config, STITCHED)
        self._beliefs: dict[int, Beliefs] = {}
        self._starts: dict[int, Start] = {}
        self._stored: dict[int, int | None] = {}
        self._ownership = Ownership(
            config,
            NAME,
            topic_name(config, "outcomes"),
            ShardStore(client, config.prefix, NAME),
            self._open,
            self._drop,
            initialise=initialise,
        )
        self._ownership.check_partitions(outcome_partitions(config))

    def poll(self, wait: float) -> list[Received]:
        """The next outcomes."""
        return self._ownership.poll(self._config.limits.batch, wait)

    def learn(self, messages: list[Received]) -> list[Commit]:
        """Learn a batch; what is to be committed for it."""
        batch: dict[int, list[Received]] = {}
        for message in messages:
            batch.setdefault(message.partition(), []).append(message)
        return [self._learn(number, some) for number, some in batch.items()]

    def _learn(self, number: int, messages: list[Received]) -> Commit:
        beliefs, outbox = self._beliefs[number], []
        for message in messages:
            outcome = _outcome.decode(message.value())
            beliefs.learn(outcome)
            outbox += self._published(number, message.offset(), outcome.at)
        floor = self._starts[number].floor
        return Commit(
            shard=number,
            expected=self._stored[number],
            r=messages[-1].offset() + 1,
            state=beliefs.to_bytes(),
            entities={},
            timers={},
            counters={"learned": len(messages)},
            outbox=[output for output in outbox if output.offset >= floor],
        )

    def _published(self, number: int, offset: int, learned_at: int) -> list[Output]:
        """What all shards are told."""
        at = learned_at if self._config.clock == "log" else self._now_ms()
        shards, every = range(self._config.topics.shards), self._config.churn.publish_seconds * 1000
        return [
            Output(offset, self._stitched, shard, None, control)
            for play, arms in self._beliefs[number].due(learned_at, every)
            for control in [stitched.encode(Control(at, "bandit", play, part=number, arms=arms))]
            for shard in shards
        ]

    def commit(self, commits: list[Commit]) -> None:
        """Commit what was learned and tell it."""
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
        self._beliefs[number] = Beliefs.from_bytes(stored.state)
        self._starts[number] = start
        self._stored[number] = stored.r

    def _drop(self) -> None:
        self._beliefs.clear()
