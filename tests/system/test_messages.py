"""Real messages: a month of a simulated shop under the starter set, judged by what is published about messages.

Every record of every output topic fits its JSON Schema and says nothing beyond it, every trigger is a CloudEvent, and
who receives triggers with Kafka and the master key alone has each once, for the right person, and none of the erased.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from flows import playfile, plays_control
from flows.cli import main
from flows.delivery import Delivery, Receiver
from flows.retailer import Retailer
from flows.schema_export import OUTPUTS, export
from operators.kafka import client_properties
from operators.normalise import normalise
from schemas.config import Churn, Config, Metrics
from schemas.topics import topic_name
from tests.strictness import closed
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import Read, read_topic

pytestmark = pytest.mark.flows

DAYS = 30
#: So many members at one device are no household.
CROWD = 12


def test_real_messages_are_as_published_and_reach_the_right_person(deployment: Config, tmp_path: Path) -> None:
    config = msgspec.structs.replace(
        deployment, clock="log", churn=Churn(horizon_days=7, grid_days=1), metrics=Metrics(port=0)
    )
    retailer = Retailer(seed=3, customers=60, days=DAYS)
    with Pipeline(tmp_path, config, ("stitch", "engage")) as pipeline:
        plays_control.apply(config, playfile.load())
        for flow in pipeline.flows:
            flow.start()
        sent = feed(config, retailer, pipeline)
        before = received(config, "before")
        erased = erase_the_most_written_to(config, tmp_path, before)
        pipeline.rest(sent)
    written = {name: outputs(config, name) for name in OUTPUTS}
    assert {name: faults(name, reads) for name, reads in written.items()} == {name: [] for name in OUTPUTS}
    assert [name for name, reads in written.items() if not reads] == []
    triggers = [json.loads(read.value or b"") for read in written["triggers"]]
    assert [fault for trigger in triggers for fault in not_a_cloud_event(trigger)] == []
    assert {tuple(read.headers) for read in written["triggers"]} == {
        (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    }
    assert all(
        (read.key or b"").decode() == each["subject"] for read, each in zip(written["triggers"], triggers, strict=True)
    )
    assert max(Counter(trigger["id"] for trigger in triggers).values()) == 1
    right_people(retailer, before)
    nobody_erased(config, triggers, erased)


def feed(config: Config, retailer: Retailer, pipeline: Pipeline) -> int:
    """Write the shop's month in two halves, and a crowd of big spenders at one device; how much it was."""
    producer, topic = Producer(client_properties(config)), topic_name(config, config.topics.sources[0])
    sent = 0

    def put(events: Iterable[tuple[bytes, bytes]]) -> None:
        nonlocal sent
        for key, event in events:
            producer.produce(topic, event, key)
            sent += 1
        assert producer.flush(60) == 0
        await_(lambda: pipeline.stitched(sent), "all to be stitched")

    put(crowd(range(CROWD // 2), retailer.start_ms))
    month = [pair for chunk in retailer.chunks(500) for pair in zip(chunk.keys, chunk.events, strict=True)]
    put(month[: len(month) // 2])
    # What is scored now is an example a week later.
    await_(lambda: any(b"at_purchase" not in (read.value or b"") for read in outputs(config, "scores")), "a grid score")
    put(month[len(month) // 2 :])
    put(crowd(range(CROWD // 2, CROWD), retailer.end_ms))
    return sent


def crowd(numbers: Iterable[int], at: int) -> Iterator[tuple[bytes, bytes]]:
    """Members who log in on one device, one after the other, and spend what only big spenders do."""
    for number in numbers:
        member = {"ns": "member", "value": f"crowd-{number}", "kind": "login"}
        order = {"order_id": f"crowd-{number}", "revenue": 2500}
        yield b"hall", _event(f"in-{number}", "Signed In", at, {}, [{"ns": "device", "value": "hall"}, member])
        yield b"hall", _event(f"order-{number}", "Order Completed", at, order, [member])


def _event(id: str, kind: str, at: int, data: dict[str, Any], who: list[dict[str, str]]) -> bytes:
    event = {"id": id, "source": "hall", "type": kind, "time": at, "at": at, "data": data, "identifiers": who}
    return json.dumps(event).encode()


def outputs(config: Config, name: str) -> list[Read]:
    """What a topic holds."""
    return read_topic(config, topic_name(config, name))


def received(config: Config, group: str, skipped: Counter[str] | None = None) -> list[Delivery]:
    """What a group receives that has the master key."""
    found: list[Delivery] = []
    counts = skipped if skipped is not None else Counter[str]()
    with Receiver(
        client_properties(config), group=f"{config.prefix}.{group}", master=config.keys.master, prefix=config.prefix,
        log_clock=True, skipped=lambda trigger, why: counts.update([why]),
    ) as receiver:  # fmt: skip
        receiver.run(found.append, follow=False)
    return found


def erase_the_most_written_to(config: Config, folder: Path, before: list[Delivery]) -> str:
    """Erase whoever was sent most; the customer id."""
    members = {each.trigger.subject: each.customer_number for each in before if each.customer_number}
    most = Counter(each.trigger.subject for each in before if each.trigger.subject in members).most_common(1)[0][0]
    command = [
        "identity",
        "erase",
        f"member:{members[most]}",
        "--yes",
        "--reason",
        "r",
        "-c",
        str(folder / "touchstream.yaml"),
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return most


def faults(name: str, reads: list[Read]) -> list[str]:
    """How the records of a topic differ from their schema, closed against what it does not mention."""
    schema = jsonschema_rs.validator_for(closed(export()[name]), validate_formats=True)
    return [
        f"{read.partition}/{read.offset}: {error}"
        for read in reads
        for error in schema.iter_errors(json.loads(read.value or b""))
    ]


def not_a_cloud_event(event: dict[str, Any]) -> Iterator[str]:
    """Where an event breaks CloudEvents 1.0 (specification, sections 3.1 to 3.4; JSON format, section 2)."""
    for name in ("id", "source", "specversion", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            yield f"{name} is missing or no text"
    if event.get("specversion") != "1.0":
        yield "specversion is not 1.0"
    for name, value in event.items():
        if not re.fullmatch(r"[a-z0-9]{1,20}", name):
            yield f"{name} is no name of an attribute"
        if name != "data" and not isinstance(value, str | bool | int):
            yield f"{name} has no type of an attribute"
    if "T" not in event["time"] or datetime.fromisoformat(event["time"]).tzinfo is None:
        yield "time is not RFC 3339"
    if not re.fullmatch(r"[A-Za-z0-9/._~-]+", event["source"]) or not event["subject"]:
        yield "source is no reference, or subject empty"
    if event["datacontenttype"] != "application/json" or not isinstance(event["data"], dict):
        yield "data is not the JSON that datacontenttype says"


def right_people(retailer: Retailer, deliveries: list[Delivery]) -> None:
    """Address and number are those of one person of the shop."""
    people = [json.loads(line) for line in retailer.truth()]
    own = [set(each["identifiers"]) for each in people if each["record"] == "customer"]
    numbered = 0
    for each in deliveries:
        contact, number = each.trigger.data.contact, each.customer_number
        assert contact is not None and each.address
        address = f"{contact.namespace}:{normalise(contact.namespace, each.address, 'CN')}"
        owners = [known for known in own if address in known]
        assert len(owners) == 1, address
        if number is not None:
            numbered += 1
            assert f"member:{number}" in owners[0]
    assert numbered > len(deliveries) / 4


def nobody_erased(config: Config, triggers: list[dict[str, Any]], erased: str) -> None:
    """Who comes later is told nothing of the erased customer, and all of the others."""
    skipped: Counter[str] = Counter()
    after = received(config, "after", skipped)
    assert erased not in {each.trigger.subject for each in after}
    assert skipped["erased"] >= sum(trigger["subject"] == erased for trigger in triggers) > 0
    assert len(after) + skipped.total() == len(triggers)
