"""The audit of what the web service shows and does: a record is in Kafka before the answer goes out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import msgspec
from confluent_kafka import KafkaException, Producer

from flows.web.access import Refusal, Who
from operators.kafka import client_properties
from schemas.config import Config
from schemas.outputs import Audit
from schemas.topics import AUDIT, topic_name

#: So long (seconds) Kafka has to take a record; then nothing is shown or done.
PATIENCE: Final = 5.0


class Auditor:
    """Writes to the topic ``audit``. To be shared by threads."""

    def __init__(self, config: Config) -> None:
        self._topic = topic_name(config, AUDIT)
        self._properties = {
            **client_properties(config),
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.timeout.ms": int(PATIENCE * 1000),
            "log_level": 3,
        }
        self._producer: Producer | None = None

    def record(
        self,
        who: Who,
        op: str,
        outcome: str,
        *,
        command: str = "",
        ids: Sequence[str] = (),
        customers: Sequence[str] = (),
        reason: str = "",
        why: str = "",
    ) -> None:
        """Write down that ``who`` was shown or asked for something, and wait until Kafka has it. Raises `Refusal`
        (503) where it has not: what is not on record does not happen."""
        command = command or str(uuid4())
        at = time.time_ns() // 1_000_000
        audit = Audit(command, op, outcome, at, [*ids], [*customers], who.name, reason, why)
        told: list[bool] = []
        try:
            producer = self._producer = self._producer or Producer(self._properties)
            producer.produce(
                self._topic, msgspec.json.encode(audit), command, on_delivery=lambda error, _: told.append(not error)
            )
            deadline = time.monotonic() + PATIENCE + 1
            while not told and time.monotonic() < deadline:
                producer.poll(0.05)
        except (KafkaException, BufferError):
            told = [False]
        if told != [True]:
            raise Refusal(503, "no_audit")
