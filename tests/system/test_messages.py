"""Real messages: a month of a simulated shop under the starter set, judged by what is published about messages.

Every record of every output topic fits its JSON Schema and says nothing beyond it, every trigger is a CloudEvent, and
who receives triggers with Kafka and the master key alone has each once, for the right person, and none of the erased.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import jsonschema_rs
import pytest

from flows.delivery import Delivery
from flows.retailer import Retailer
from flows.schema_export import OUTPUTS, export
from operators.normalise import normalise
from tests.strictness import closed
from tests.system.month import Month, received
from tests.system.reading import Read

pytestmark = [pytest.mark.flows, pytest.mark.long("month")]


def test_real_messages_are_as_published_and_reach_the_right_person(month: Month) -> None:
    written = {name: month.outputs(name) for name in OUTPUTS}
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
    right_people(month.retailer, month.before)
    nobody_erased(month, triggers)


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


def nobody_erased(month: Month, triggers: list[dict[str, Any]]) -> None:
    """Who comes later is told nothing of the erased customer, and all of the others."""
    skipped: Counter[str] = Counter()
    after = received(month.config, "after", skipped)
    assert month.erased not in {each.trigger.subject for each in after}
    own = [each for each in triggers if each["subject"] == month.erased and not each["data"].get("expires_at")]
    assert skipped["erased"] >= len(own) > 0
    assert len(after) + skipped.total() == len(triggers)
