"""Take triggers from Kafka and deliver them: to be used by marketing systems as it is, or copied (docs/triggers.md).

::

    with Receiver({"bootstrap.servers": "kafka:9092"}, group="mailer", master={"k1": "..."}) as receiver:
        receiver.run(lambda each: mail(each.address, each.trigger.data.values, key=each.trigger.id))

Kafka and the master key are all it needs. A trigger is acknowledged, by the group's offset, after the call for it has
returned, or after it was skipped; the offset is committed after at most `BATCH` triggers. A process that dies in
between leaves triggers that its successor delivers once more, under the same ids: whoever sends must know an id again,
as e-mail and SMS services do by an idempotency key.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows.admin import Admin
from flows.keyring import Keyring
from flows.reading import behind, end_offsets, partitions_of, take
from operators.kafka import Partition
from schemas.errors import TouchstreamError
from schemas.outputs import Trigger, TriggerData

#: Triggers delivered before they are acknowledged together.
BATCH: Final = 50
#: Ids known again, about 100 bytes each: of triggers that come twice because partitions moved to and fro.
REMEMBERED: Final = 100_000
#: Nothing is sent from before it was decided, so a longer wait means a wrong clock (seconds).
LONGEST_WAIT: Final = 60.0
#: Why triggers are not delivered: too late; delivered before; the customer's data key was destroyed.
EXPIRED, DUPLICATE, ERASED = "expired", "duplicate", "erased"

#: Partitions have gone to another member of the group, which will deliver what was not acknowledged.
_MOVED = frozenset(
    {KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError._STATE}
)
_decoder = msgspec.json.Decoder(Trigger)


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trigger to act on. ``address`` for its channel and ``customer_number`` in the clear, if there is a master key;
    the number only if it is known."""

    trigger: Trigger
    address: str | None = None
    customer_number: str | None = None


class Receiver:
    """A member of a consumer group that delivers triggers. Members share the partitions, a customer's triggers stay in
    order. Use as a context manager; not thread-safe.

    Args:
        properties: of a librdkafka client, ``bootstrap.servers`` at least.
        group: the consumer group; a new one begins with the oldest trigger.
        master: the master keys by id (see `Keyring`), to open addresses and numbers; None leaves them sealed.
        prefix: of the deployment.
        log_clock: the deployment runs on ``clock: log``: now is when the latest trigger was decided.
        skipped: called with each trigger that is not delivered, and why.
        now_ms: the clock, epoch milliseconds.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        *,
        group: str,
        master: Mapping[str, str] | None = None,
        prefix: str = "ts",
        log_clock: bool = False,
        skipped: Callable[[Trigger, str], object] = lambda trigger, why: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._skipped, self._now_ms, self._log_clock = skipped, now_ms, log_clock
        self._topic = f"{prefix}.triggers"
        self._admin = Admin(properties)
        self._partitions = partitions_of(self._admin, self._topic)
        self._keys = None if master is None else Keyring(properties, master=master, prefix=prefix)
        self._known: dict[str, None] = {}
        self._latest = 0
        self._stopping = False
        #: How far each partition has been read; None before any were assigned.
        self._reached: dict[int, int] | None = None
        self.counts: Counter[str] = Counter()
        self._consumer = Consumer(
            {
                "log_level": 3,
                **properties,
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",
            }
        )
        self._consumer.subscribe([self._topic], on_assign=self._assigned)

    def run(self, deliver: Callable[[Delivery], object], *, follow: bool = True) -> Counter[str]:
        """Deliver for ever or, without ``follow``, up to the end as it is now. Returns ``counts``: ``delivered``, and
        skipped by reason.

        What ``deliver`` raises ends the run: what came before is acknowledged, and the next run, of this process or
        another, begins with the trigger that failed. Raises `SealError` under a wrong master key, `TouchstreamError`
        for what cannot be right, and `KafkaException`.
        """
        ends = {} if follow else end_offsets(self._admin, self._partitions, pending=True)
        while not self._stopping and (follow or self._is_behind(ends)):
            self._batch(take(self._consumer, BATCH), deliver)
        return self.counts

    def stop(self) -> None:
        """End the run after the trigger in hand. For signal handlers and other threads."""
        self._stopping = True

    def _is_behind(self, ends: Mapping[Partition, int]) -> bool:
        reached = self._reached
        return reached is None or any(at < ends.get((self._topic, number), 0) for number, at in reached.items())

    def _batch(self, messages: Sequence[Message], deliver: Callable[[Delivery], object]) -> None:
        triggers = [message for message in messages if not message.error()]
        if self._reached is not None:
            self._reached.update((message.partition() or 0, behind(message)) for message in messages)
        done = 0
        try:
            if triggers and self._keys is not None:
                self._keys.catch_up()
            for message in triggers:
                if self._stopping:
                    break
                self._one(_trigger(message), deliver)
                done += 1
        finally:
            self._go_back_to(triggers[done:])
            self._acknowledge(triggers[:done])

    def _one(self, trigger: Trigger, deliver: Callable[[Delivery], object]) -> None:
        delivery = Delivery(trigger)
        why = self._unwanted(trigger)
        if why is None and self._keys is not None:
            opened = self._opened(trigger, self._keys)
            delivery, why = opened or delivery, None if opened else ERASED
        if why is not None:
            self.counts[why] += 1
            self._skipped(trigger, why)
            return
        self._wait(trigger.data)
        deliver(delivery)
        self.counts["delivered"] += 1
        self._known[trigger.id] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def _unwanted(self, trigger: Trigger) -> str | None:
        if trigger.id in self._known:
            return DUPLICATE
        expires = trigger.data.expires_at
        return EXPIRED if expires is not None and self._now(trigger.data) >= expires else None

    def _opened(self, trigger: Trigger, keys: Keyring) -> Delivery | None:
        """With address and number in the clear; None if the customer was erased."""
        contact, number = trigger.data.contact, trigger.data.customer_number
        address = None if contact is None else keys.open(contact)
        if contact is not None and address is None:
            return None
        return Delivery(trigger, address, None if number is None else keys.open(number))

    def _now(self, data: TriggerData) -> int:
        if not self._log_clock:
            return self._now_ms()
        self._latest = max(self._latest, data.decided_at)
        return self._latest

    def _wait(self, data: TriggerData) -> None:
        """Until it may be sent. Raises `TouchstreamError` if that is not soon."""
        while (early := (data.not_before or 0) - self._now(data)) > 0:
            if early > LONGEST_WAIT * 1000:
                raise TouchstreamError(
                    f"a trigger may be sent in {early / 1000:.0f} s, but was decided already: this machine's clock is "
                    "behind; set it right (NTP), or say log_clock if the deployment runs on clock: log"
                )
            time.sleep(early / 1000)

    def _go_back_to(self, messages: Sequence[Message]) -> None:
        first = {message.partition() or 0: message.offset() or 0 for message in reversed(messages)}
        for place in first.items():
            self._consumer.seek(TopicPartition(self._topic, *place))
        (self._reached or {}).update(first)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        done = {message.partition() or 0: behind(message) for message in messages}
        try:
            if done:
                offsets = [TopicPartition(self._topic, *place) for place in done.items()]
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in _MOVED:
                raise

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._reached = dict.fromkeys([each.partition for each in partitions], 0)

    def close(self) -> None:
        """Leave the group; what was delivered is acknowledged."""
        self._consumer.close()
        if self._keys is not None:
            self._keys.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _trigger(message: Message) -> Trigger:
    try:
        return _decoder.decode(message.value() or b"")
    except msgspec.DecodeError as error:
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        raise TouchstreamError(f"{place} is no trigger that this version knows: {error}") from error
