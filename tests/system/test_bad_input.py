"""A corpus of bad, strange and repeated records: each ends as applied, counted duplicate or dead letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from operators.kafka import group_id
from schemas.config import Config
from schemas.outputs import DeadLetter
from schemas.topics import DEAD_LETTERS, STITCHED, topic_name
from state.shards import ShardStore
from state.vault import DeadLetterBox
from tests.system.feed import START_MS
from tests.system.pipeline import Pipeline, chaotic
from tests.system.reading import committed, read_topic

pytestmark = pytest.mark.flows

GOOD: dict[str, Any] = {
    "id": "g",
    "source": "shop",
    "type": "Page Viewed",
    "time": START_MS,
    "at": START_MS,
    "identifiers": [{"ns": "device", "value": "dev-1"}],
    "data": {},
}
DEEP = b'{"id":"deep","source":"shop","type":"X","time":1767225600000,"data":' + b"[" * 5_000 + b"]" * 5_000 + b"}"


def _with(**changes: Any) -> bytes:
    """The good record with other fields; None leaves one out."""
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None}).encode()


#: Bad records and the reason each is refused for.
BAD: list[tuple[bytes | None, str]] = [
    (None, "empty"),
    (b"", "empty"),
    (b"\x00", "not_json"),
    (b"\xff\xfe{", "not_json"),
    (b"\xef\xbb\xbf" + _with(), "not_json"),
    (b"{}{}", "invalid"),
    (b"[1,2]", "invalid"),
    (b'"text"', "invalid"),
    (b"null", "invalid"),
    (b"9" * 5_000, "invalid"),
    (_with()[:60], "not_json"),
    (_with() + b"x", "not_json"),
    (_with().replace(b'"dev-1"', b'"\xff"'), "not_json"),
    (_with(id=None), "invalid"),
    (_with(id=""), "invalid"),
    (_with(id="x" * 257), "invalid"),
    (_with(id=7), "invalid"),
    (b"x" * 900_000, "not_json"),
    (_with(type="Points Earned", data={"points": 10**30}), "invalid"),
    (_with(source="x" * 65), "invalid"),
    (_with(source="odd\u0000name"), "not_a_name"),
    (_with(channel="ann@mail.example"), "not_a_name"),
    (_with(type="x" * 65), "invalid"),
    (_with(time="yesterday"), "time_not_rfc3339"),
    (_with(time="2026-01-01T00:00:00"), "time_without_zone"),
    (_with(time=START_MS // 1_000), "time_out_of_range"),
    (_with(time=-1), "time_out_of_range"),
    (_with(time=10**30), "time_out_of_range"),
    (_with(time=1.5), "invalid"),
    (_with(at=5), "time_out_of_range"),
    (_with(identifiers=[]), "no_identifier"),
    (_with(identifiers=None), "no_identifier"),
    (_with(identifiers=[{"ns": "device", "value": "null"}]), "no_usable_identifier"),
    (_with(identifiers=[{"ns": "email", "value": "nobody"}]), "no_usable_identifier"),
    (_with(identifiers=[{"ns": "device", "value": "x"}] * 51), "invalid"),
    (_with(identifiers=[{"ns": "device", "value": "x", "kind": "guess"}]), "invalid"),
    (_with(identifiers=[{"ns": "", "value": "x"}]), "invalid"),
    (_with(identifiers=[{"ns": "de\nvice", "value": "x"}]), "no_usable_identifier"),
    (_with(data=7), "invalid"),
    (_with(type="Order Completed", data={}), "invalid"),
    (_with(type="Order Completed", data={"order_id": "1", "revenue": 1e300}), "invalid"),
    (_with(type="Order Completed", data={"order_id": "1", "currency": "yuan"}), "invalid"),
    (_with(type="Product Viewed", data={"product": {}}), "invalid"),
    (_with(type="Stock Changed", data={"sku": "s", "stock": -1}), "invalid"),
    (_with(consent=[{"channel": "email", "granted": "yes"}]), "invalid"),
]

#: Strange but legal; each is applied.
STRANGE = [
    _with(id="s1"),
    _with(id="s2", type="Never Heard Of", data={"any": ["thing", {"at": 1}]}),
    _with(id="s3", data=None),
    _with(id="s4", time="2026-01-01T08:00:00.123+08:00"),
    _with(id="s5", identifiers=[{"ns": "device", "value": "null"}, {"ns": "device", "value": "dev-1"}]),
    _with(id="s6", identifiers=[{"ns": "Tea House Card", "value": "茶 \u202e\u0000 7"}]),
    _with(id="s7", colour="red", data={"url": "https://shop.example/?q=%00", "colour": {"deep": [1]}}),
    _with(id="s8", time=START_MS + 900_000_000),
    _with(id="\u0000\u2028😀", source="shop"),
    _with(id="s9", identifiers=[{"ns": "device", "value": "xy-7" * 128}]),
    _with(id="s10", type="Stock Changed", identifiers=[], data={"sku": "sku 😀 /?#", "stock": 3}),
    _with(id="s11", type="Order Completed", data={"order_id": "o1", "revenue": -1.5, "lines": [{"sku": "a"}] * 500}),
    _with(id="s12", identifiers=[{"ns": "household", "value": "home"}]),
    _with(id="s13", data={"url": "x" * 4_096}),
    b" \n\t" + _with(id="s14") + b"\n ",
    _with(id="s15").replace(b'"s15"', b'"s15", "id": "s15"'),
]
#: The same event ids again, in other words.
REPEATED = [_with(id="s1"), _with(id="s1", type="Products Searched", data={"query": "tea"}), _with(id="s4")]


def _send(config: Config, values: list[bytes | None]) -> None:
    """One partition, so that repetitions come after what they repeat."""
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap})
    topic = topic_name(config, config.topics.sources[0])
    for number, value in enumerate(values):
        headers: list[tuple[str, str | bytes | None]] = [("n", str(number).encode()), ("none", None)]
        producer.produce(topic, value, f"key-{number}", 0, headers=headers)
    assert producer.flush(30) == 0


def test_each_record_ends_in_one_place(deployment: Config, tmp_path: Path) -> None:
    config = chaotic(deployment)
    bad = [*BAD, (DEEP, "")]
    values: list[bytes | None] = [*STRANGE, *(value for value, _ in bad), *REPEATED]
    with Pipeline(tmp_path, config, ("stitch", "engage")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        _send(config, values)
        pipeline.rest(len(values))
        counts = ShardStore(pipeline.redis, config.prefix).counts(range(config.topics.shards))
    _check_dead(config, bad, values)
    assert (counts["applied"], counts["duplicates"]) == (len(STRANGE), len(REPEATED))
    assert len(read_topic(config, topic_name(config, STITCHED))) >= len(STRANGE) + len(REPEATED)
    account = committed(config, group_id(config, "stitch"), topic_name(config, "touchpoints"), 1)[0].metadata
    assert json.loads(account or "{}") == {"consumed": len(values), "dead": len(bad)}


def _check_dead(config: Config, bad: list[tuple[bytes | None, str]], values: list[bytes | None]) -> None:
    """The original bytes, key and headers of each, and the reason in clear without any value."""
    box = DeadLetterBox(bytes.fromhex(config.keys.dead_letters))
    letters = {}
    for read in read_topic(config, topic_name(config, DEAD_LETTERS)):
        letter = json.loads(read.value or b"{}")
        original = box.open(letter["sealed"])
        assert letter["offset"] not in letters
        assert set(letter) <= set(DeadLetter.__struct_fields__)
        letters[letter["offset"]] = (original.key, original.value, original.headers, letter["reason"])
    expected = {
        offset: (f"key-{offset}".encode(), value, [("n", str(offset).encode()), ("none", None)], reason)
        for offset, (value, reason) in enumerate(bad, len(STRANGE))
    }
    got = {
        offset: (*letter[:3], letter[3] if expected.get(offset, ("",))[-1] else "")
        for offset, letter in letters.items()
    }
    assert got == expected
