"""What every Kafka client of a deployment shares."""

from __future__ import annotations

import os
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from schemas.config import Config, Kafka

#: What is only asked to see whether somebody is there may take so long (seconds).
ANSWER_SECONDS = 2.0
#: A partition of a topic.
Partition = tuple[str, int]


def client_properties(config: Config) -> dict[str, Any]:
    """What every Kafka client of the deployment shares; the client id names the process to who asks the broker."""
    own = {"bootstrap.servers": config.kafka.bootstrap, "client.id": f"{config.prefix}-{os.getpid()}"}
    return {**own, **_security(config.kafka), **config.kafka.properties}


def answers(client: Consumer | Producer) -> bool:
    """Whether the broker answers anything."""
    try:
        client.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException:
        return False
    return True


def _security(kafka: Kafka) -> dict[str, Any]:
    """TLS and sign-in, as librdkafka takes them; nothing where neither is configured."""
    protocol = ("SASL_" if kafka.sasl else "") + ("SSL" if kafka.tls else "PLAINTEXT")
    wanted = {
        "security.protocol": None if protocol == "PLAINTEXT" else protocol,
        "ssl.ca.pem": kafka.ca,
        "ssl.certificate.pem": kafka.certificate,
        "ssl.key.pem": kafka.private_key,
        "sasl.mechanism": kafka.sasl,
        "sasl.username": kafka.user,
        "sasl.password": kafka.password,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def group_id(config: Config, flow: str) -> str:
    """The consumer group of a flow."""
    return f"{config.prefix}.{flow}"
