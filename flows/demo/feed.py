"""Where the figures come from: the output topics, Redis, and the flows' own metrics."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping

import msgspec
import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from flows.demo.figures import Emitted, Figures
from operators.kafka import client_properties, group_id
from schemas.config import Config
from schemas.outputs import DeadLetter, Score, Trigger
from schemas.topics import DEAD_LETTERS, MODELS, topic_name, topics
from state.connection import connect
from state.shards import ShardStore

BATCH = 1_000
#: How often Redis and the metrics are looked at (seconds), and over how long the rate is taken.
SAMPLE_SECONDS, RATE_SECONDS = 0.5, 3.0
METRICS_TIMEOUT = 0.5
_LAG = b"touchstream_lag_records{"

_trigger = msgspec.json.Decoder(Trigger)
_score = msgspec.json.Decoder(Score)
_dead_letter = msgspec.json.Decoder(DeadLetter)


class Feed:
    """A reader of the output topics, from their beginning, outside any group."""

    def __init__(self, config: Config, figures: Figures) -> None:
        self._figures = figures
        self._kinds = {topic_name(config, name): name for name in ("triggers", "scores", DEAD_LETTERS, MODELS)}
        self._consumer = Consumer(
            {
                **client_properties(config),
                "group.id": group_id(config, "demo"),  # needed by the client, never joined or committed to
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        self._consumer.assign(
            [
                TopicPartition(topic.name, number, OFFSET_BEGINNING)
                for topic in topics(config)
                if topic.name in self._kinds
                for number in range(topic.partitions)
            ]
        )

    def poll(self, wait: float) -> list[Emitted]:
        """Take what has come, waiting up to ``wait`` seconds for something; the new triggers."""
        # consume() waits its whole timeout for a full batch: take what is there, else wait for one.
        messages = self._consumer.consume(BATCH, 0)
        if not messages and (first := self._consumer.poll(wait)) is not None:
            messages = [first, *self._consumer.consume(BATCH, 0)]
        return [emitted for message in messages if (emitted := self._take(message)) is not None]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _take(self, message: Message) -> Emitted | None:
        value = message.value()
        if message.error() is not None or value is None:
            return None  # errors of a reader pass by themselves, or the flows meet them too and say so
        kind = self._kinds[message.topic() or ""]
        if kind == "triggers":
            return self._figures.on_trigger(_trigger.decode(value), message.timestamp()[1])
        if kind == "scores":
            self._figures.on_score(_score.decode(value))
        elif kind == DEAD_LETTERS:
            self._figures.on_dead_letter(_dead_letter.decode(value))
        else:
            self._figures.models += 1
        return None


class Sampler:
    """Looks at Redis and at the flows' metrics, twice a second. ``metrics``: address by flow."""

    def __init__(self, config: Config, figures: Figures, metrics: Mapping[str, str]) -> None:
        self._figures = figures
        self._metrics = metrics
        self._shards = range(config.topics.shards)
        self._redis = connect(config)
        self._engage = ShardStore(self._redis, config.prefix)
        self._learn = ShardStore(self._redis, config.prefix, "learn")
        self._at = 0.0
        self._history: list[tuple[float, int]] = []

    def sample(self, *, now: bool = False) -> bool:
        """Sample if it is time, or ``now``; whether it was done. A server that does not answer changes nothing."""
        if not now and time.monotonic() - self._at < SAMPLE_SECONDS:
            return False
        self._at = time.monotonic()
        figures = self._figures
        try:
            figures.counts = self._engage.counts(self._shards)
            figures.learned = self._learn.counts([0]).get("learned", 0)
        except redis.RedisError:
            return True
        figures.lag = {flow: lag(address) for flow, address in self._metrics.items()}
        self._measure(figures)
        return True

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _measure(self, figures: Figures) -> None:
        """The rate over the last seconds."""
        self._history = [each for each in self._history if self._at - each[0] <= RATE_SECONDS]
        self._history.append((self._at, figures.finished))
        (first_at, first), (last_at, last) = self._history[0], self._history[-1]
        figures.per_second = (last - first) / (last_at - first_at) if last_at > first_at else 0.0


def lag(address: str) -> int | None:
    """Records that the flow whose metrics are served at ``address`` is behind; None if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=METRICS_TIMEOUT) as answer:
            lines = answer.read().splitlines()
    except OSError:
        return None
    found = [float(line.rsplit(b" ", 1)[1]) for line in lines if line.startswith(_LAG)]
    return round(sum(found)) if found else None
