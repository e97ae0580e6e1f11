"""The AsyncAPI 3.0 document of a deployment: what it takes and writes, where, and what consumers may rely on.

From the same structs as the JSON Schemas, the same table of topics as `touchstream topics create`. AsyncAPI speaks
JSON Schema draft 7, in which an array with a schema for each place says so under ``items``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from flows.admin import topic_settings
from flows.schema_export import OUTPUTS, TOUCHPOINT, definitions, rules
from operators.kafka import client_properties, group_id
from operators.transactions import CLOUD_EVENT
from schemas.config import Config
from schemas.topics import DATA_KEYS, Topic, topic_name, topics

_REF: Final = "#/components/schemas/{name}"
_BINDING: Final = {"bindingVersion": "0.5.0"}
#: What the key of a record is where it is not the customer.
_KEYS: Final = {
    "audit": "The command's id.",
    "dead-letters": "Where the record came from: topic/partition/offset.",
    "kpi.partials": "The number of the shard.",
    "kpis": "The window: seconds/start.",
    DATA_KEYS: "The data key's id, as sealed values name it.",
}
_CUSTOMER: Final = "The customer's id: all records of a customer lie in one partition, in order."
_CONSUMERS: Final = (
    "Read it with `isolation.level=read_committed`, or outputs of aborted transactions are seen. Fields are only ever "
    "added: ignore what you do not know."
)
_WRAPPED: Final = {
    "description": "The customer's data key, wrapped by a master key. A record without value: it was destroyed.",
    "type": "string",
    "format": "binary",
}


def document(config: Config) -> dict[str, Any]:
    """The document, as plain data."""
    wanted = {topic.name: topic for topic in topics(config)}
    outputs = {name: wanted[topic_name(config, name)] for name in (*OUTPUTS, DATA_KEYS)}
    inputs = {name: wanted[topic_name(config, name)] for name in config.topics.sources}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"touchstream {config.prefix}",
            "version": _version(),
            "description": "Touchpoints in, triggers and all that led to them out.",
        },
        "defaultContentType": "application/json",
        "servers": dict(_servers(config)),
        "channels": {
            **{name: _channel(topic, config, "Touchpoint", "Any key.") for name, topic in inputs.items()},
            **{
                name: _channel(topic, config, _message_of(name), f"{_kept(topic)} {_CONSUMERS}")
                | {"x-consumer-properties": {"isolation.level": "read_committed"}}
                for name, topic in outputs.items()
            },
        },
        "operations": {
            **{_operation("receive", name): _taken(name, config) for name in inputs},
            **{_operation("send", name): {"action": "send", "channel": _channel_ref(name)} for name in outputs},
        },
        "components": {
            "messages": {"Touchpoint": _touchpoint(), **{_message_of(name): _output(name) for name in outputs}},
            "schemas": _draft_7(definitions([*OUTPUTS.values(), *TOUCHPOINT], _REF)),
        },
    }


def _version() -> str:
    try:
        return version("touchstream")
    except PackageNotFoundError:  # run from its source
        return "unreleased"


def _servers(config: Config) -> Iterator[tuple[str, dict[str, str]]]:
    secure = "SSL" in str(client_properties(config).get("security.protocol", "")).upper()
    for number, host in enumerate(config.kafka.bootstrap.split(","), 1):
        yield f"kafka-{number}", {"host": host.strip(), "protocol": "kafka-secure" if secure else "kafka"}


def _message_of(name: str) -> str:
    return OUTPUTS[name].__name__ if name in OUTPUTS else "DataKey"


def _kept(topic: Topic) -> str:
    if topic.compact:
        return "Compacted: the newest record of each key is kept for ever."
    return f"Kept for {topic.retention_ms // 86_400_000} days."


def _channel(topic: Topic, config: Config, message: str, about: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        key: int(value) if value.isdecimal() else value for key, value in topic_settings(topic).items()
    }
    settings["cleanup.policy"] = [settings["cleanup.policy"]]
    kafka = {"topic": topic.name, "partitions": topic.partitions, "replicas": config.topics.replication}
    return {
        "address": topic.name,
        "description": about,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {**kafka, "topicConfiguration": settings, **_BINDING}},
    }


def _operation(action: str, name: str) -> str:
    return action + "".join(part.capitalize() for part in name.replace("-", ".").split("."))


def _channel_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{name.replace('~', '~0').replace('/', '~1')}"}


def _taken(name: str, config: Config) -> dict[str, Any]:
    group = {"type": "string", "const": group_id(config, "stitch")}
    return {
        "action": "receive",
        "channel": _channel_ref(name),
        "bindings": {"kafka": {"groupId": group, **_BINDING}},
    }


def _touchpoint() -> dict[str, Any]:
    return {
        "name": "touchpoint",
        "contentType": "application/json",
        "payload": {"allOf": [{"$ref": _REF.format(name="Touchpoint")}, *rules(_REF)]},
    }


def _output(name: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": name,
        "contentType": "application/json",
        "payload": {"$ref": _REF.format(name=_message_of(name))} if name in OUTPUTS else _WRAPPED,
        "bindings": {"kafka": {"key": {"type": "string", "description": _KEYS.get(name, _CUSTOMER)}, **_BINDING}},
    }
    if name == DATA_KEYS:
        message["contentType"] = "application/octet-stream"
    if name == "triggers":
        message["contentType"] = "application/cloudevents+json"
        message["headers"] = _headers(CLOUD_EVENT)
        message["correlationId"] = {"location": "$message.payload#/id"}
    return message


def _headers(headers: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    fixed = {name: {"type": "string", "const": value.decode()} for name, value in headers}
    return {"type": "object", "properties": fixed, "required": list(fixed)}


def _draft_7(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {"items" if key == "prefixItems" else key: _draft_7(value) for key, value in schema.items()}
