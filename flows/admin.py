"""The deployment's topics: create what is missing, and say what is not as it should be.

Partition counts of *fixed* topics decide where a customer lives and never change; those of other topics may
have been raised. Retention and compaction are compared as far as the broker tells them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from operators.access import Complaints
from operators.kafka import client_properties
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.topics import Topic, topics

TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.05
#: How often it is looked whether there is a reason not to wait any longer.
LOOK_SECONDS = 2.0


class Admin(AdminClient):
    """An admin client that can say why it gets no answer."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._complaints = Complaints()
        own: dict[str, Any] = {"log_level": 0, **properties, "error_cb": self._complaints}
        super().__init__(own)

    def partitions(self) -> dict[str, int]:
        """Partition count of every topic. Raises `TouchstreamError` when no broker answers."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                # All are asked for: some brokers create a topic that is asked for by name.
                found = self.list_topics(timeout=LOOK_SECONDS).topics
                return {name: len(topic.partitions) for name, topic in found.items()}
            except KafkaException as error:
                self.poll(0)
                why = self._complaints.instead_of(error)
                if why is not error:
                    raise TouchstreamError(
                        f"Kafka refuses: {why.args[0].str()}; check kafka.tls and kafka.sasl"
                    ) from error
                if time.monotonic() > deadline:
                    raise TouchstreamError(
                        f"Kafka does not answer: {error.args[0].str()}; check kafka.bootstrap"
                    ) from error


def admin_client(config: Config) -> Admin:
    """An admin client with the deployment's client properties."""
    return Admin(client_properties(config))


def create(config: Config) -> list[str]:
    """Create the missing topics, wait until the broker serves them and return their names.

    What exists stays as it is. Raises `TouchstreamError` when existing topics differ from the
    configuration (before anything is created), or when the broker refuses or does not answer.
    """
    admin = admin_client(config)
    wanted = topics(config)
    partitions = admin.partitions()
    existing = [topic for topic in wanted if topic.name in partitions]
    if faults := _faults(admin, existing, partitions):
        raise TouchstreamError("\n".join(faults))
    missing = [topic for topic in wanted if topic.name not in partitions]
    _create(admin, missing, config.topics.replication)
    _wait_for(admin, missing)
    return [topic.name for topic in missing]


def check(config: Config) -> list[str]:
    """Every way in which the broker's topics differ from the configuration; empty when they are right.

    Raises `TouchstreamError` when the broker does not answer.
    """
    admin = admin_client(config)
    return _faults(admin, topics(config), admin.partitions())


def topic_settings(topic: Topic) -> dict[str, str]:
    """The broker's settings of a topic."""
    if topic.compact:
        return {"cleanup.policy": "compact"}
    settings = {"cleanup.policy": "delete", "retention.ms": str(topic.retention_ms)}
    if topic.append_time:
        settings["message.timestamp.type"] = "LogAppendTime"
    if topic.max_message_bytes is not None:
        settings["max.message.bytes"] = str(topic.max_message_bytes)
    return settings


def partition_fault(topic: Topic, found: int) -> str | None:
    """What is wrong with ``found`` partitions (0: no such topic), or None."""
    if found == 0:
        return f"{topic.name}: missing; `touchstream topics create` creates it"
    if topic.fixed and found != topic.partitions:
        return (
            f"{topic.name}: has {found} partitions, the configuration says {topic.partitions}; this count is fixed "
            f"at creation because it decides where each customer's state lives: set it back to {found}, or use "
            "another prefix for a new deployment"
        )
    if found < topic.partitions:
        return f"{topic.name}: has {found} partitions, expected at least {topic.partitions}"
    return None


def setting_faults(topic: Topic, found: dict[str, str]) -> list[str]:
    """Settings of an existing topic that differ; those the broker does not tell are not judged."""
    return [
        f"{topic.name}: {name} is {found[name]}, expected {value}"
        for name, value in topic_settings(topic).items()
        if found.get(name, value) != value
    ]


def _faults(admin: Admin, wanted: Sequence[Topic], partitions: dict[str, int]) -> list[str]:
    settings = _settings(admin, [topic.name for topic in wanted if topic.name in partitions])
    faults: list[str] = []
    for topic in wanted:
        fault = partition_fault(topic, partitions.get(topic.name, 0))
        faults += [fault] if fault else []
        faults += setting_faults(topic, settings.get(topic.name, {}))
    return faults


def _settings(admin: Admin, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Settings by topic, without those a broker does not tell or will not tell us (rights, old versions)."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    found: dict[str, dict[str, str]] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=TIMEOUT_SECONDS).items():
        try:
            entries = future.result()
        except KafkaException:
            continue
        found[resource.name] = {name: entry.value for name, entry in entries.items() if entry.value is not None}
    return found


def _create(admin: Admin, missing: Sequence[Topic], replication: int) -> None:
    if not missing:
        return
    new = [NewTopic(t.name, t.partitions, replication, config=topic_settings(t)) for t in missing]
    faults = []
    for name, future in admin.create_topics(new, request_timeout=TIMEOUT_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            # Another process creating the same deployment got there first.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                faults.append(f"{name}: {error.args[0].str()}")
    if faults:
        raise TouchstreamError("\n".join(faults))


def _wait_for(admin: Admin, created: Sequence[Topic]) -> None:
    """Creation is answered by the controller; clients can use a topic once the brokers know it."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while absent := [t.name for t in created if admin.partitions().get(t.name) != t.partitions]:
        if time.monotonic() > deadline:
            raise TouchstreamError(f"not served {TIMEOUT_SECONDS:.0f} s after creation: {', '.join(absent)}")
        time.sleep(POLL_SECONDS)
