"""Operators' commands: written to Kafka as touchpoints are, carried out by stitch and engage, answered on ``audit``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final
from uuid import uuid4

import msgspec
import redis
from confluent_kafka import KafkaException, Message, Producer

from flows.identity_lookup import Lookup
from flows.reading import read
from operators.clusters import is_hub
from operators.kafka import client_properties
from schemas.commands import Command, Op
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.outputs import Audit
from schemas.topics import AUDIT, COMMANDS, topic_name
from state.identity import IdentityStore
from state.outlines import outlines
from state.tokens import token_text

#: A hub that has met people of more clusters than this is one for good: its release would compute them all at once.
MOST_CLUSTERS: Final = 500
_audit = msgspec.json.Decoder(Audit)


class Answer(msgspec.Struct, omit_defaults=True):
    """What came of a command: everything `Audit` says of it. ``done``: nothing more is to come."""

    command: Command
    audit: list[Audit]
    done: bool


def prepare(config: Config, client: redis.Redis, op: Op, named: Iterable[str], *, by: str, reason: str) -> Command:
    """A command about identifiers (or customers) as people write them. Raises `TouchstreamError` where one identifies
    nobody, or, but for an erasure, was never seen."""
    lookup = Lookup(config, client)
    meant = [lookup.meant(text) if op == "erase" else lookup.seen(text)[0] for text in named]
    tokens = list(dict.fromkeys([each.token for each in meant]))
    if len(tokens) < len(meant):
        raise TouchstreamError("the two are one and the same identifier: name two different ones")
    if op == "release":
        tokens += _people_met(config, client, tokens[0])
    texts = [token_text(token) for token in tokens]
    return Command(id=str(uuid4()), op=op, ids=texts, time=now(config, client), by=by, reason=reason)


def now(config: Config, client: redis.Redis) -> int:
    """The time of the deployment (ms): its log's, if that is its clock."""
    if config.clock == "log":
        return IdentityStore(client, config.prefix).watermark(topic_name(config, COMMANDS)) or 0
    return time.time_ns() // 1_000_000


def _people_met(config: Config, client: redis.Redis, hub: bytes) -> list[bytes]:
    """One identifier of each cluster that has met a hub: there is no index for that, all are read. Raises
    `TouchstreamError` if it is no hub, or has met too many."""
    found, here = [], False
    for batch in outlines(client, config.prefix):
        for cluster in [outline.cluster() for outline in batch if hub in outline.ids]:
            here = here or is_hub(cluster, hub)
            people = [token for i, token in enumerate(cluster.ids) if i not in cluster.nobody]
            found += people[:1]
    if not here:
        raise TouchstreamError("this is no hub: there is nothing to release it from; see `touchstream identity show`")
    if len(found) > MOST_CLUSTERS:
        raise TouchstreamError(
            f"it has met people of {len(found)} clusters, more than {MOST_CLUSTERS} can be looked at again at once; "
            "raise the hub limit of its namespace instead (identity.namespaces)"
        )
    return found


def send(config: Config, command: Command, *, wait: float) -> Answer:
    """Write a command and wait up to ``wait`` seconds for what comes of it. Raises `TouchstreamError`."""
    audits = read(config, topic_name(config, AUDIT), start=None, follow=True)
    next(audits)  # from here on nothing is missed
    _produce(config, command)
    answer = Answer(command, [], False)
    deadline = time.monotonic() + wait
    for audit in _about(audits, command, deadline):
        answer.audit.append(audit)
        receipts = sum(each.outcome == "erased" for each in answer.audit)
        expected = [len(each.customers) for each in answer.audit if each.outcome != "erased"]
        answer.done = bool(expected) and (command.op != "erase" or receipts >= expected[0])
        if answer.done:
            break
    audits.close()
    return answer


def _about(audits: Iterator[list[Message]], command: Command, deadline: float) -> Iterator[Audit]:
    for batch in audits:
        for message in batch:
            audit = _audit.decode(message.value() or b"")
            if audit.command == command.id and audit.outcome != "asked":
                yield audit
        if time.monotonic() > deadline:
            return


def _produce(config: Config, command: Command) -> None:
    faults: list[str] = []
    producer = Producer({**client_properties(config), "enable.idempotence": True, "log_level": 3})
    try:
        producer.produce(
            topic_name(config, COMMANDS),
            msgspec.json.encode(command),
            command.id,
            on_delivery=lambda error, _: faults.append(error.str()) if error else None,
        )
    except KafkaException as error:
        faults.append(error.args[0].str())
    if producer.flush(30) or faults:
        raise TouchstreamError(f"Kafka did not take the command: {faults[0] if faults else 'no answer within 30 s'}")


def readable(answer: Answer) -> Iterator[str]:
    """Lines for people."""
    for audit in answer.audit:
        if audit.outcome == "erased":
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in audit.counts.items() if count)
            yield f"erased {' '.join(audit.customers)}: {counts or 'nothing was left'}"
        else:
            why = f": {audit.why}" if audit.why else ""
            yield f"{audit.op} {audit.outcome}{why}  {' '.join(audit.customers)}".rstrip()
