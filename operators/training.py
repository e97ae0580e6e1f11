"""Learn's shell: the models of all keys, fed from ``churn.examples``, with the commit that engage uses.

A new model is stored by its hash before the commit that announces it; the control record then activates it at one
point of each shard's log. The state of the key K lies in Redis under ``k:K``, and is written when K has learned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import redis

from operators import metrics, quality
from operators.clock import WallClock
from operators.contest import SERVED, Contest, Noticed, Published, Said
from operators.learning import Learning, progress_of
from operators.subscription import Received
from operators.summing import Summed, Summing
from schemas import stitched
from schemas.config import Config
from schemas.outputs import Alert, Example
from schemas.stitched import Control
from schemas.topics import ALERTS, MODELS, STITCHED, topic_name
from state.contents import ContentStore
from state.shards import Commit, Output, Stored

FLOW = "learn"
#: How often (seconds) metrics of models are brought up to date.
SHOWN_EVERY = 2.0

_example = msgspec.json.Decoder(Example)
_control = msgspec.json.Decoder(Control)


class Training(Summing[Learning]):
    """The learners, if this process owns the examples."""

    counter = "learned"

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        super().__init__(config, FLOW, "churn.examples", 1, client, initialise=initialise)
        self._now_ms = WallClock(config)
        self._models = ContentStore(client, config.prefix, MODELS)
        self._shown_at = 0.0

    def commit(self, commits: list[Commit]) -> None:
        """Commit what was learned and announce new models."""
        super().commit(commits)
        if time.monotonic() - self._shown_at >= SHOWN_EVERY:
            self._show()

    def _opened(self, number: int, stored: Stored) -> Learning:
        keys = progress_of(stored.state).keys
        packed = self._store.load({number: [suffix(key) for key in keys]}).get(number, [])
        found = {key: raw for key, raw in zip(keys, packed, strict=True) if raw is not None}
        return Learning(self._config.churn, stored.state, found)

    def _add(self, number: int, messages: Sequence[Received]) -> Summed:
        learning, outbox = self._sums[number], list[Output]()
        for message in messages:
            offset = message.offset()
            # As in `stitched`, what is about no customer has no key.
            if message.key() is None:
                said = learning.on_control(_control.decode(message.value()), offset)
            else:
                said = learning.on_example(_example.decode(message.value()), offset)
            outbox += [output for each in said for output in self._outputs(offset, each, learning.progress.clock)]
        return Summed(learning.state(), outbox, {suffix(key): packed for key, packed in learning.changed().items()})

    def _outputs(self, offset: int, said: Said, clock: int) -> list[Output]:
        """An alert; or a model, stored, its record on the compacted topic, and its activation in every shard."""
        at = clock if self._config.clock == "log" else self._now_ms()
        if isinstance(said, Noticed):
            alert = stitched.encode(Alert(said.kind, at, "", said.text))
            return [Output(offset, topic_name(self._config, ALERTS), -1, b"", alert)]
        return [*self._kept(offset, said), *activations(self._config, offset, said.key, said.hash, at)]

    def _kept(self, offset: int, model: Published) -> list[Output]:
        if model.content is None:
            return []
        self._models.put(model.hash, model.content)
        return [Output(offset, topic_name(self._config, MODELS), -1, model.hash.encode(), model.content)]

    def _show(self) -> None:
        """How good the models are, as metrics."""
        self._shown_at = time.monotonic()
        for learning in self._sums.values():
            for contest in learning.contests.values():
                _show(contest)


def activations(config: Config, offset: int, key: str, version: str, at: int) -> list[Output]:
    """The control records that put a model in force, one for each shard."""
    control = stitched.encode(Control(at=at, what="model", key=key, hash=version))
    topic = topic_name(config, STITCHED)
    return [Output(offset, topic, shard, None, control) for shard in range(config.topics.shards)]


def suffix(key: str) -> str:
    """Where the state of a model key lies."""
    return "k:" + key


def _show(contest: Contest) -> None:
    standing = contest.standing
    shown = {name: known.quality for name, known in standing.contenders.items()} | {SERVED: standing.served}
    for name, latest in shown.items():
        for measure, value in quality.measures(latest).items():
            metrics.MODEL_QUALITY.labels(contest.key, name, measure).set(value)
