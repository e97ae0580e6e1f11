"""The learn flow against the topic it learns from: each example once, whoever kills it, and operators are obeyed."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from click.testing import CliRunner
from confluent_kafka import Producer

from flows import models_control
from flows.cli import main
from operators.contest import BASE, Published
from operators.features import FEATURES, VERSION
from operators.keys import ROOT
from operators.learning import Learning, progress_of
from schemas import stitched
from schemas.config import Challenger, Churn, Config, Limits, Metrics
from schemas.outputs import Alert, Example
from schemas.stitched import Control
from schemas.topics import ALERTS, MODELS, STITCHED, topic_name
from state.shards import ShardStore
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import read_topic
from tests.system.replay import Replay
from tests.system.scenarios.kills import FAILPOINTS

pytestmark = [pytest.mark.flows, pytest.mark.long("models")]

START = 1_760_000_000_000
CHURN = Churn(
    publish_examples=20,
    publish_seconds=1,
    publish_each=2,
    keys=("country",),
    challengers={"fast": Challenger(rate=0.02)},
)


class Shop:
    """Matured examples without end."""

    def __init__(self, config: Config) -> None:
        self._topic = topic_name(config, "churn.examples")
        self._producer = Producer({"bootstrap.servers": config.kafka.bootstrap})
        self.sent = 0

    def send(self, many: int) -> None:
        """So many more, two seconds of the log apart."""
        for n in range(self.sent, self.sent + many):
            draw, at = random.Random(n), START + n * 2_000
            example = Example(
                id=f"c{n}/{at}",
                customer=f"c{n}",
                time=at,
                features=[draw.gauss(2, 1) for _ in FEATURES],
                features_version=VERSION,
                label=draw.random() < 0.4,
                probability=0.3,
                model="m",
                at=at,
                keys=["country=CN"] if n % 3 == 0 else [],
                treated=n % 5 == 0,
            )
            self._producer.produce(self._topic, msgspec.json.encode(example), f"c{n}", partition=0)
        self._producer.flush(30)
        self.sent += many


def learned(config: Config, client: redis.Redis) -> int:
    """How many records of the topic the committed state has taken in."""
    progress = progress_of(ShardStore(client, config.prefix, "learn").read([0])[0].state)
    return progress.learned + progress.skipped + len(progress.buffer)


def activated(config: Config) -> list[list[tuple[str, str]]]:
    """The control records about models in each shard's log, as (key, version), in order."""
    found: list[list[tuple[str, str]]] = [[] for _ in range(config.topics.shards)]
    for read in read_topic(config, topic_name(config, STITCHED)):
        record = stitched.decode(read.value or b"")
        if isinstance(record, Control) and record.what == "model":
            found[read.partition].append((record.key, record.hash))
    return found


def test_each_example_is_learned_once_whoever_kills_the_flow(deployment: Config, tmp_path: Path) -> None:
    config = msgspec.structs.replace(
        deployment, clock="log", churn=CHURN, metrics=Metrics(port=0), limits=Limits(batch=40)
    )
    shop = Shop(config)
    armed = [f"{name}:{n}" for name in FAILPOINTS["learn"] for n in ((1,) if "taking" in name else (1, 2))]
    with Pipeline(tmp_path, config, ("learn",)) as pipeline:
        (learn,) = pipeline.flows
        for failpoint in armed:
            shop.send(90)
            learn.start(failpoint)
            await_(lambda: learn.dead, f"the process to die at {failpoint}")
        for _ in range(3):
            learn.start()
            before = learned(config, pipeline.redis)
            shop.send(90)
            await_(lambda before=before: learned(config, pipeline.redis) > before, "some to be learned")  # type: ignore[misc]
            learn.signal(signal.SIGKILL)  # at whatever it does
            await_(lambda: learn.dead, "the end of the process")
        learn.start()
        await_(lambda: learned(config, pipeline.redis) >= shop.sent, "all to be learned")
        assert learn.drain() == 0
        assert [hit.partition(":")[0] for hit in pipeline.hits()] == [each.partition(":")[0] for each in armed]
        _judge(config, pipeline.redis, shop.sent)


def _judge(config: Config, client: redis.Redis, sent: int) -> None:
    """Against the topic: one process that learns it from end to end gives the same state, versions and records."""
    learning, published = Learning(config.churn), list[Published]()
    for read in read_topic(config, topic_name(config, "churn.examples")):
        example = msgspec.json.decode(read.value or b"", type=Example)
        published += [said for said in learning.on_example(example, read.offset) if isinstance(said, Published)]
    assert learning.progress.learned + len(learning.progress.buffer) == sent == learned(config, client)
    store = ShardStore(client, config.prefix, "learn")
    assert store.counts([0])["learned"] == sent
    assert store.read([0])[0].state == learning.state()
    packed = store.load({0: [f"k:{key}" for key in learning.progress.keys]})[0]
    assert dict(zip(learning.progress.keys, packed, strict=True)) == learning.changed()
    assert {each.key for each in published} == {ROOT, "country=CN"}
    assert activated(config) == [[(each.key, each.hash) for each in published]] * config.topics.shards
    kept = [read.value for read in read_topic(config, topic_name(config, MODELS))]
    assert kept == [each.content for each in published]


def test_operators_promote_go_back_and_go_on(deployment: Config, tmp_path: Path) -> None:
    """What is in force is so in all shards, from one point of each log, where a replay switches as well."""
    config = msgspec.structs.replace(deployment, clock="log", churn=CHURN, metrics=Metrics(port=0))
    shop = Shop(config)

    def command(*arguments: str, fails: bool = False) -> str:
        file = str(tmp_path / "touchstream.yaml")
        result = CliRunner().invoke(main, ["models", *arguments], env={"TOUCHSTREAM_CONFIG": file})
        assert result.exit_code == fails, result.output
        return result.output

    def rows(*arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in command(*arguments, "--json").splitlines()]

    def standing() -> Any:
        return models_control.standings(config, pipeline.redis)[ROOT]

    def in_force() -> bool:
        """Whether all shards have come to what the learn flow has published last."""
        found = models_control.in_force(config, pipeline.redis)
        return found.get(ROOT) == {standing().version: config.topics.shards}

    with Pipeline(tmp_path, config, ("engage", "learn")) as pipeline:
        assert "nothing was learned of 'default' yet" in command("promote", "fast", fails=True)
        for flow in pipeline.flows:
            flow.start()
        shop.send(100)
        await_(lambda: learned(config, pipeline.redis) == 100, "all to be learned")
        await_(in_force, "the first models")
        (first, *_) = [each["version"] for each in rows("versions")]
        listed = {(row["key"], row["by"]): row for row in rows("list")}
        assert set(listed) == {(key, by) for key in (ROOT, "country=CN") for by in (BASE, "fast", "served")}
        assert listed[ROOT, BASE]["champion"] and listed[ROOT, BASE]["measures"]["examples"] == 100
        assert listed[ROOT, BASE]["in_force"] == {standing().version: config.topics.shards}

        assert "done" in command("promote", "fast")
        await_(in_force, "the challenger's model")
        assert rows("versions")[-1]["by"] == "fast"
        assert "fast is the champion of default already" in command("promote", "fast", fails=True)
        assert "no contender 'slow'" in command("promote", "slow", fails=True)

        assert "done" in command("rollback", first)
        await_(in_force, "the first version")
        shop.send(100)
        await_(lambda: learned(config, pipeline.redis) == 200, "all to be learned")
        await_(in_force, "nothing else")
        assert standing().version == first
        assert rows("show", first)[0]["by"] == BASE
        assert "named by a control record but not in Redis" in command("rollback", "0" * 32, fails=True)

        assert "done" in command("release")
        await_(lambda: in_force() and standing().version != first, "what was learned meanwhile")
        for flow in pipeline.flows:
            assert flow.drain() == 0
        alerts = read_topic(config, topic_name(config, ALERTS))
        kinds = [msgspec.json.decode(each.value or b"", type=Alert).kind for each in alerts]
        assert kinds == ["model_promoted", "model_held", "model_released"]
        # The first switch to a version that was gone back to is the operator's own, the second the learn flow's.
        orders = activated(config)
        assert all(order == orders[0] for order in orders)
        again = [n for n, each in enumerate(orders[0]) if each == (ROOT, first)]
        assert again[0] == 0 and len(again) == 3
        assert standing().held == ""
        replay = Replay(config, pipeline.redis, read_topic(config, topic_name(config, STITCHED)))
        assert replay.check_state() == []
