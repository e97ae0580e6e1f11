"""Learn's other shell: what came of decisions, learned for the bandits, with the commit that engage uses.

Each partition of ``outcomes`` is tallied for itself; its counts go to all shards in control records, and engage adds up
those of all partitions.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import redis

from operators.beliefs import Beliefs
from operators.clock import WallClock
from operators.subscription import Received
from operators.summing import Summed, Summing
from schemas import stitched
from schemas.config import Config
from schemas.outputs import Outcome
from schemas.stitched import Control
from schemas.topics import STITCHED, outcome_partitions, topic_name
from state.shards import Output, Stored

#: Its consumer group, beside that of learn.
NAME = "rewards"

_outcome = msgspec.json.Decoder(Outcome)


class Rewards(Summing[Beliefs]):
    """The tallies of the partitions that this process owns."""

    counter = "learned"

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        super().__init__(config, NAME, "outcomes", outcome_partitions(config), client, initialise=initialise)
        self._now_ms = WallClock(config)
        self._stitched = topic_name(config, STITCHED)

    def _opened(self, number: int, stored: Stored) -> Beliefs:
        return Beliefs.from_bytes(stored.state)

    def _add(self, number: int, messages: Sequence[Received]) -> Summed:
        beliefs, outbox = self._sums[number], list[Output]()
        for message in messages:
            outcome = _outcome.decode(message.value())
            beliefs.learn(outcome)
            outbox += self._published(number, message.offset(), outcome.at)
        return Summed(beliefs.to_bytes(), outbox)

    def _published(self, number: int, offset: int, learned_at: int) -> list[Output]:
        """What all shards are told."""
        at = learned_at if self._config.clock == "log" else self._now_ms()
        shards, every = range(self._config.topics.shards), self._config.churn.publish_seconds * 1000
        return [
            Output(offset, self._stitched, shard, None, control)
            for play, arms in self._sums[number].due(learned_at, every)
            for control in [stitched.encode(Control(at, "bandit", play, part=number, arms=arms))]
            for shard in shards
        ]
