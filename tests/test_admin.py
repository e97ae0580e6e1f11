"""Topics: created as configured, only once, and every difference is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from flows import admin
from flows.embedded import EmbeddedBroker, free_port
from schemas.config import Config, Kafka
from schemas.errors import TouchstreamError
from schemas.topics import Topic, topics
from tests.conftest import new_config

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXED = Topic("ts.stitched", 8, 86_400_000, fixed=True)
GROWING = Topic("ts.touchpoints", 8, 86_400_000)
COMPACT = Topic("ts.models", 1, 86_400_000, compact=True)


def test_settings_follow_the_table() -> None:
    assert admin.topic_settings(GROWING) == {"cleanup.policy": "delete", "retention.ms": "86400000"}
    large = msgspec.structs.replace(GROWING, append_time=True, max_message_bytes=16_000_000)
    assert admin.topic_settings(large) == {
        **admin.topic_settings(GROWING),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "16000000",
    }
    assert admin.topic_settings(COMPACT) == {"cleanup.policy": "compact"}


@pytest.mark.parametrize("found", [7, 9])
def test_a_fixed_partition_count_is_never_another(found: int) -> None:
    fault = admin.partition_fault(FIXED, found)
    assert fault is not None
    assert f"has {found} partitions, the configuration says 8" in fault
    assert "fixed" in fault


def test_other_topics_may_have_grown() -> None:
    assert admin.partition_fault(GROWING, 16) is None
    assert admin.partition_fault(GROWING, 4) == "ts.touchpoints: has 4 partitions, expected at least 8"
    assert "missing" in str(admin.partition_fault(GROWING, 0))


def test_settings_the_broker_does_not_tell_are_not_judged() -> None:
    assert admin.setting_faults(COMPACT, {}) == []
    assert admin.setting_faults(COMPACT, {"cleanup.policy": "delete"}) == [
        "ts.models: cleanup.policy is delete, expected compact"
    ]


@pytest.fixture(scope="module")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.system)])
def config(request: pytest.FixtureRequest) -> Config:
    """A deployment without topics, on each broker that flows run on."""
    name = "embedded_broker" if request.param == "embedded" else "kafka"
    return new_config(str(request.getfixturevalue(name)), "redis://unused")


def test_create_makes_what_is_missing_once(config: Config) -> None:
    names = [topic.name for topic in topics(config)]
    assert admin.check(config) == [f"{name}: missing; `touchstream topics create` creates it" for name in names]
    assert admin.create(config) == names
    assert admin.check(config) == []
    assert admin.create(config) == []


def test_create_adds_to_what_exists(config: Config) -> None:
    admin.create(config)
    more = msgspec.structs.replace(config.topics, sources=(*config.topics.sources, "touchpoints.tills"))
    grown = msgspec.structs.replace(config, topics=more)
    assert admin.create(grown) == [f"{config.prefix}.touchpoints.tills"]


def test_another_number_of_shards_is_refused(config: Config) -> None:
    admin.create(config)
    changed = msgspec.structs.replace(config, topics=msgspec.structs.replace(config.topics, shards=8))
    with pytest.raises(TouchstreamError, match=r"stitched: has 4 partitions, the configuration says 8"):
        admin.create(changed)
    assert any("stitched: has 4 partitions" in fault for fault in admin.check(changed))


def test_another_retention_and_compaction_are_told(deployment: Config) -> None:
    stitched, models = f"{deployment.prefix}.stitched", f"{deployment.prefix}.models"
    client = admin.admin_client(deployment)
    _alter(client, stitched, "retention.ms", "60000")
    _alter(client, models, "cleanup.policy", "delete")
    assert sorted(_faults_once_known(deployment, 2)) == [
        f"{models}: cleanup.policy is delete, expected compact",
        f"{stitched}: retention.ms is 60000, expected 2592000000",
    ]


def test_added_partitions_are_right_for_inputs_and_wrong_for_the_log(deployment: Config) -> None:
    client = admin.admin_client(deployment)
    grown = [NewPartitions(f"{deployment.prefix}.{name}", 6) for name in ("touchpoints", "stitched")]
    for future in client.create_partitions(grown).values():
        future.result()
    assert [fault.split(":")[0] for fault in _faults_once_known(deployment, 1)] == [f"{deployment.prefix}.stitched"]


def test_a_broker_that_refuses_is_quoted(kafka: str) -> None:
    config = new_config(kafka, "redis://unused")
    greedy = msgspec.structs.replace(config, topics=msgspec.structs.replace(config.topics, replication=3))
    with pytest.raises(TouchstreamError, match=r"touchpoints: .*[Rr]eplication"):
        admin.create(greedy)


def test_no_broker_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "TIMEOUT_SECONDS", 0.5)
    nowhere = new_config(f"127.0.0.1:{free_port()}", "redis://unused")
    with pytest.raises(TouchstreamError, match="Kafka does not answer"):
        admin.check(nowhere)


def test_client_properties_reach_the_admin_client() -> None:
    config = msgspec.structs.replace(
        new_config("127.0.0.1:1", "redis://unused"), kafka=Kafka(bootstrap="127.0.0.1:1", properties={"no.such": 1})
    )
    with pytest.raises(Exception, match=r"no\.such"):
        admin.admin_client(config)


def _faults_once_known(config: Config, count: int) -> list[str]:
    """What `check` finds when the broker has come to know of changes its controller has accepted."""
    deadline = time.monotonic() + 10
    while len(faults := admin.check(config)) < count and time.monotonic() < deadline:
        pass
    return faults


def _alter(client: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in client.incremental_alter_configs([change]).values():
        future.result()
