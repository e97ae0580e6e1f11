"""What every Kafka client of a deployment shares."""

from __future__ import annotations

import os
from typing import Any

from schemas.config import Config, Kafka

#: A partition of a topic.
Partition = tuple[str, int]


def client_properties(config: Config) -> dict[str, Any]:
    """What every Kafka client of the deployment shares; the client id names the process to who asks the broker."""
    own = {"bootstrap.servers": config.kafka.bootstrap, "client.id": f"{config.prefix}-{os.getpid()}"}
    return {**own, **_security(config.kafka), **config.kafka.properties}


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
