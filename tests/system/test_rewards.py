"""What came of decisions, learned by a real learn flow and told to every shard, once, whoever is killed."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from operators.shard import ShardState, arms_of
from schemas import stitched
from schemas.config import Churn, Config, Metrics
from schemas.outputs import Outcome
from schemas.stitched import Control
from schemas.topics import outcome_partitions, topic_name
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import read_topic

pytestmark = pytest.mark.flows

SECOND = 1_000


def test_outcomes_are_learned_once_and_told_to_all_shards(deployment: Config, tmp_path: Path) -> None:
    config = msgspec.structs.replace(deployment, metrics=Metrics(port=0), churn=Churn(publish_seconds=1))
    sent: Counter[tuple[str, bool]] = Counter()
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap})
    partitions = outcome_partitions(config)

    def send(start: int, many: int) -> None:
        for n in range(start, start + many):
            variant, converted = "ab"[n % 2], n % 3 == 0
            at = 1_760_000_000_000 + n * 2 * SECOND
            outcome = Outcome(
                f"d{n}", "offer", "v", f"c{n}", "emitted", at, at, at, converted, variant=variant, explored=False
            )
            sent[variant, converted] += 1
            producer.produce(topic_name(config, "outcomes"), msgspec.json.encode(outcome), partition=n % partitions)
        producer.flush(30)

    def told() -> list[ShardState]:
        """What each shard believes, as engage would."""
        states = [ShardState() for _ in range(config.topics.shards)]
        for read in read_topic(config, topic_name(config, "stitched")):
            record = stitched.decode(read.value or b"")
            if isinstance(record, Control) and record.what == "bandit":
                states[read.partition].bandits.setdefault(record.key, {})[record.part] = record.arms
        return states

    def complete() -> bool:
        expected = {variant: (sent[variant, True], sent[variant, False]) for variant in "ab"}
        return all(arms_of(state, "offer") == expected for state in told())

    with Pipeline(tmp_path, config, ("learn",)) as pipeline:
        (learn,) = pipeline.flows
        learn.start()
        send(0, 40)
        await_(complete, "the first beliefs")
        learn.signal(signal.SIGKILL)
        await_(lambda: learn.dead, "the end of the process")
        send(40, 40)
        learn.start()
        await_(complete, "all of them, each once")
        assert learn.drain() == 0
        assert complete()
