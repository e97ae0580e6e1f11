"""What every Kafka client of a deployment shares."""

from __future__ import annotations

import os
from typing import Any

from schemas.config import Config

#: A partition of a topic.
Partition = tuple[str, int]


def client_properties(config: Config) -> dict[str, Any]:
    """What every Kafka client of the deployment shares; the client id names the process to who asks the broker."""
    own = {"bootstrap.servers": config.kafka.bootstrap, "client.id": f"{config.prefix}-{os.getpid()}"}
    return {**own, **config.kafka.properties}


def group_id(config: Config, flow: str) -> str:
    """The consumer group of a flow."""
    return f"{config.prefix}.{flow}"
