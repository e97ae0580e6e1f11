"""Opening what triggers carry sealed: all it takes is Kafka and the master key.

::

    keys = Keyring({"bootstrap.servers": "kafka:9092"}, master={"k1": "..."})
    keys.catch_up()                          # before each batch: erasures count from here on
    keys.open(trigger.data.contact)          # 'ann@mail.cn', or None: the customer was erased

A customer's data key lies, wrapped by the master key, on the compacted topic ``data-keys`` under the id that sealed
values name. Erasing the customer removes it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from flows.admin import Admin
from flows.reading import behind, end_offsets, partitions_of, take
from schemas.outputs import Sealed
from schemas.topics import DATA_KEYS
from state.vault import Vault


class Keyring:
    """Every data key there is, still wrapped, in memory: about 300 bytes for each customer.

    Args:
        properties: of a librdkafka client, ``bootstrap.servers`` at least.
        master: the master keys by id, 64 hexadecimal digits each; after a rotation the old ones as well.
        prefix: of the deployment.
    """

    def __init__(self, properties: Mapping[str, Any], *, master: Mapping[str, str], prefix: str = "ts") -> None:
        self._vault = Vault(master)
        self._admin = Admin(properties)
        self._partitions = partitions_of(self._admin, f"{prefix}.{DATA_KEYS}")
        self._wrapped: dict[str, bytes] = {}
        self._reached = dict.fromkeys(self._partitions, 0)
        self._consumer = Consumer(
            {
                "log_level": 3,
                **properties,
                "group.id": f"{prefix}.reader",  # needed by the client, never joined or committed to
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self._partitions])

    def catch_up(self) -> None:
        """Learn of all keys that were made and destroyed up to now. Waits for transactions that are under way: a
        trigger may be seen a moment before the key that its customer was given is."""
        ends = end_offsets(self._admin, self._partitions, pending=True)
        while any(self._reached[partition] < end for partition, end in ends.items()):
            for message in take(self._consumer):
                self._reached[message.topic() or "", message.partition() or 0] = behind(message)
                if not message.error():
                    self._keep((message.key() or b"").decode(), message.value())

    def _keep(self, kid: str, wrapped: bytes | None) -> None:
        if wrapped is None:
            self._wrapped.pop(kid, None)
        else:
            self._wrapped[kid] = wrapped

    def open(self, sealed: Sealed) -> str | None:
        """The value; None if its key was destroyed. Raises `SealError` under another master key."""
        wrapped = self._wrapped.get(sealed.kid)
        if wrapped is None:
            return None
        customer = sealed.kid.rpartition(".")[0]
        return self._vault.data_key(wrapped, customer, sealed.kid).open(sealed.sealed).decode()

    def close(self) -> None:
        """Let go of Kafka."""
        self._consumer.close()
