"""A deployment that is watched: what it says of itself when Redis or Kafka stand still, that it leaves in time even
then, and that a second signal loses nothing."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from flows import admin
from flows.status import status
from schemas.config import Config, Limits, Metrics
from schemas.topics import topic_name
from tests.conftest import new_config
from tests.servers import KafkaServer, ValkeyServer
from tests.system.pipeline import Feeder, Flow, Pipeline, await_

pytestmark = [pytest.mark.flows, pytest.mark.system, pytest.mark.long("watching")]

#: How long a process told to stop may take (seconds), and to notice that of the machine these tests run on.
DRAIN, SLACK = 6, 6.0


class Shop:
    """Servers of its own, to be stopped, and two flows."""

    def __init__(self, kafka: KafkaServer, valkey: ValkeyServer, folder: Path) -> None:
        self.kafka, self.valkey = kafka, valkey
        self.config: Config = msgspec.structs.replace(
            new_config(kafka.bootstrap, valkey.url),
            clock="log",
            metrics=Metrics(port=0),
            limits=Limits(drain_seconds=DRAIN),
        )
        admin.create(self.config)
        self.pipeline = Pipeline(folder, self.config, ("stitch", "engage"))
        self.feeder = Feeder(self.config, seed=1, rate=100.0)

    def start(self) -> None:
        """Start both flows and wait until they work."""
        for flow in self.pipeline.flows:
            flow.start()
        for flow in self.pipeline.flows:
            await_(lambda flow=flow: asked(flow, "readyz")[0] == 200, f"{flow.name} to be ready")  # type: ignore[misc]

    def stop(self, *numbers: signal.Signals) -> tuple[list[int], float]:
        """Send signals to both; their exit codes, and how long the slower took (seconds)."""
        started = time.monotonic()
        for number in numbers:
            for flow in self.pipeline.flows:
                flow.signal(number)
        codes = [flow.process.wait(60) for flow in self.pipeline.flows if flow.process]
        return codes, time.monotonic() - started


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("watched")
    with KafkaServer(folder / "kafka", heap="512m") as kafka, ValkeyServer(folder / "valkey") as valkey:
        shop = Shop(kafka, valkey, folder)
        with shop.pipeline:
            shop.feeder.start()
            yield shop


def asked(flow: Flow, question: str) -> tuple[int, dict[str, Any]]:
    """Status and answer of /healthz or /readyz; 0 while nothing answers."""
    where = [line["metrics"] for line in flow.logged('"started"')[-1:]]
    if not where:
        return 0, {}
    try:
        with urllib.request.urlopen(f"http://{where[0]}/{question}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
    except (OSError, HTTPException):
        return 0, {}


def lag(shop: Shop) -> float:
    """By how many seconds stitch is behind in the worst of all partitions, as it says itself."""
    (stitch,) = shop.pipeline.of("stitch")
    topic, partitions = topic_name(shop.config, "touchpoints"), range(shop.config.topics.source_partitions)
    return max(
        stitch.metric("touchstream_lag_seconds", flow="stitch", topic=topic, partition=str(each)) for each in partitions
    )


def wrong(flow: Flow, what: str) -> bool:
    """Whether it is not ready, and names ``what`` as the cause."""
    code, answer = asked(flow, "readyz")
    return code == 503 and any(each.startswith(what) for each in answer["why"])


def test_who_waits_for_redis_says_so_and_leaves_in_time(shop: Shop) -> None:
    shop.start()
    stitch, engage = shop.pipeline.flows
    await_(lambda: engage.metric("touchstream_commits_total", flow="engage") > 5, "commits")
    await_(lambda: lag(shop) < 1, "stitch to keep up")
    code, answer = asked(engage, "healthz")
    assert (code, answer["healthy"], answer["why"]) == (200, True, [])
    shop.valkey.pause()
    try:
        await_(lambda: wrong(engage, "redis: does not answer"), "engage to say what is wrong")
        await_(lambda: lag(shop) > 6, "lag to rise while nothing moves")
        before = lag(shop)
        await_(lambda: lag(shop) > before + 1, "lag to go on rising")
        await_(lambda: stitch.metric("touchstream_redis_errors_total", flow="stitch") > 0, "errors")
        assert asked(stitch, "healthz")[0] == 200, "waiting for Redis is no reason to be killed"
        codes, seconds = shop.stop(signal.SIGTERM)
        assert seconds < DRAIN + SLACK, codes
    finally:
        shop.valkey.resume()


def test_who_waits_for_kafka_says_so_and_leaves_in_time(shop: Shop) -> None:
    shop.start()
    stitch, engage = shop.pipeline.flows
    shop.kafka.pause()
    try:
        await_(lambda: wrong(stitch, "kafka: does not answer"), "stitch to say what is wrong")
        await_(lambda: wrong(engage, "kafka: does not answer"), "engage to say what is wrong")
        codes, seconds = shop.stop(signal.SIGTERM)
        assert seconds < DRAIN + SLACK, codes
    finally:
        shop.kafka.resume()


def test_a_second_signal_ends_at_once_and_nothing_is_lost(shop: Shop) -> None:
    shop.start()
    codes, seconds = shop.stop(signal.SIGTERM, signal.SIGTERM)
    assert seconds < SLACK
    # An idle one may be through with draining before the second comes, and then leaves with 0 or is ended by it.
    assert set(codes) <= {0, 128 + signal.SIGTERM, -signal.SIGTERM}
    for flow in shop.pipeline.flows:
        flow.start()
    shop.feeder.finish()
    shop.pipeline.rest(shop.feeder.sent)
    account = status(shop.config).account
    assert account.consumed == shop.feeder.sent
    assert account.applied + account.duplicates + account.erased + (account.dead_letters or 0) == shop.feeder.sent
