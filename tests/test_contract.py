"""What is published about messages: the schemas say what is always there, and the AsyncAPI document is one."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import yaml
from click.testing import CliRunner

from flows.admin import topic_settings
from flows.asyncapi import document
from flows.cli import main
from flows.schema_export import OUTPUTS, export
from operators.transactions import CLOUD_EVENT
from schemas.config import Config
from schemas.outputs import TriggerData
from schemas.topics import DATA_KEYS, topic_name, topics
from tests.engage_helpers import World, config, ordered, reachable, signed_up
from tests.strictness import closed

#: The AsyncAPI initiative's own, from @asyncapi/specs 6.11.1 (Apache License 2.0).
PUBLISHED = Path(__file__).parent / "data" / "asyncapi-3.0.0.json.gz"

SHOP = msgspec.structs.replace(
    config(),
    prefix="shop",
    kafka=msgspec.structs.replace(
        config().kafka, bootstrap="one:9092, two:9093", properties={"security.protocol": "SASL_SSL"}
    ),
    topics=msgspec.structs.replace(config().topics, sources=("touchpoints", "touchpoints.tills"), replication=3),
)


def published() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(gzip.decompress(PUBLISHED.read_bytes())))


@pytest.mark.parametrize("deployment", [config(), SHOP], ids=["the smallest", "a shop"])
def test_the_asyncapi_document_is_valid(deployment: Config) -> None:
    found = json.loads(json.dumps(document(deployment)))
    assert [str(error) for error in published().iter_errors(found)] == []
    for reference in references(found):
        target: Any = found
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in references(inner)]
    return [each for inner in value for each in references(inner)] if isinstance(value, list) else []


def test_what_is_no_asyncapi_document_is_not_taken_for_one() -> None:
    assert not published().is_valid({**document(SHOP), "asyncapi": "2.6.0"})
    assert not published().is_valid({**document(SHOP), "channels": {"triggers": {"messages": []}}})


def test_every_output_has_a_channel_as_it_is_created_and_every_source_one() -> None:
    found, wanted = document(SHOP), {topic.name: topic for topic in topics(SHOP)}
    channels = {channel["address"]: channel for channel in found["channels"].values()}
    outputs = {topic_name(SHOP, name) for name in (*OUTPUTS, DATA_KEYS)}
    assert channels.keys() == outputs | {"shop.touchpoints", "shop.touchpoints.tills"}
    for name, channel in channels.items():
        kafka = channel["bindings"]["kafka"]
        assert (kafka["topic"], kafka["partitions"], kafka["replicas"]) == (name, wanted[name].partitions, 3)
        settings = {
            key: value if isinstance(value, list) else str(value) for key, value in kafka["topicConfiguration"].items()
        }
        assert settings == {
            **topic_settings(wanted[name]),
            "cleanup.policy": [topic_settings(wanted[name])["cleanup.policy"]],
        }
        assert (channel.get("x-consumer-properties") == {"isolation.level": "read_committed"}) is (name in outputs)
    actions = [
        (each["action"], each["channel"]["$ref"].removeprefix("#/channels/")) for each in found["operations"].values()
    ]
    assert sorted(actions) == sorted([
        *(("send", name) for name in (*OUTPUTS, DATA_KEYS)),
        *(("receive", name) for name in SHOP.topics.sources),
    ])  # fmt: skip
    assert found["servers"] == {
        "kafka-1": {"host": "one:9092", "protocol": "kafka-secure"},
        "kafka-2": {"host": "two:9093", "protocol": "kafka-secure"},
    }


def test_payloads_of_the_asyncapi_document_judge_as_the_json_schemas_do() -> None:
    """In draft 7, where siblings of a reference and ``prefixItems`` mean nothing."""
    found = document(SHOP)
    (trigger,) = World().feed(*reachable("a"), signed_up("a")).run().triggers
    message = json.loads(msgspec.json.encode(trigger))
    touchpoint = {"id": "1", "source": "s", "type": "Order Completed", "time": 1, "data": {"order_id": "o"}}
    for name, good, bad in (
        ("Trigger", message, {**message, "data": {**message["data"], "contact": ["phone", 7, "x"]}}),
        ("Trigger", message, {**message, "specversion": "0.3"}),
        ("Touchpoint", touchpoint, {**touchpoint, "data": {}}),
    ):
        payload = found["components"]["messages"][name]["payload"]
        schema = {**payload, "$schema": "http://json-schema.org/draft-07/schema#", "components": found["components"]}
        assert jsonschema_rs.validator_for(schema).is_valid(good)
        assert not jsonschema_rs.validator_for(schema).is_valid(bad)
    ((name, value),) = CLOUD_EVENT
    assert found["components"]["messages"]["Trigger"]["headers"]["properties"][name]["const"] == value.decode()


def test_schemas_demand_what_is_always_written_and_forbid_nothing() -> None:
    trigger = export()["triggers"]["$defs"]
    assert set(trigger["Trigger"]["required"]) == set(trigger["Trigger"]["properties"])
    assert "expires_at" not in trigger["TriggerData"]["required"]
    assert 'additionalProperties": false' not in json.dumps(export())


def test_what_a_schema_does_not_know_is_found() -> None:
    schema = closed(export()["scores"])
    world = World().feed(ordered("a", 1_760_000_000_000)).run()
    (score,) = [json.loads(msgspec.json.encode(each)) for each in world.written("ts.scores")]
    assert jsonschema_rs.validator_for(schema).is_valid(score)
    assert not jsonschema_rs.validator_for(schema).is_valid({**score, "more": 1})
    assert jsonschema_rs.validator_for(export()["scores"]).is_valid({**score, "more": 1})


def test_the_command_prints_the_document_of_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "touchstream.yaml"
    file.write_text(yaml.safe_dump(msgspec.to_builtins(SHOP)))
    result = CliRunner().invoke(main, ["schemas", "--asyncapi", "-c", str(file)])
    assert json.loads(result.stdout) == json.loads(json.dumps(document(SHOP)))


def test_the_page_about_triggers_shows_a_valid_message_and_lists_every_field() -> None:
    page = (Path(__file__).parent.parent / "docs" / "triggers.md").read_text()
    message = json.loads(page.partition("```json\n")[2].partition("```")[0])
    errors = jsonschema_rs.validator_for(closed(export()["triggers"])).iter_errors(message)
    assert [str(error) for error in errors] == []
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ") and "`" in line][1:]
    listed = {name: row.count(f"**`{name}`**") for row in rows for name in re.findall(r"`(\w+)`", row)}
    required = export()["triggers"]["$defs"]["TriggerData"]["required"]
    assert listed == {name: int(name in required) for name in TriggerData.__struct_fields__}
