"""Ingest, tail, dead letters and status on a real Kafka and Redis."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition

from flows import admin
from flows.cli import main
from flows.dead_letters import HEADER, letters, replay
from flows.ingest import Ingested, ingest
from flows.reading import read
from flows.status import Account, status
from flows.tail import tail
from operators.kafka import client_properties, group_id
from schemas.config import Config, Kafka, Keys
from schemas.errors import TouchstreamError
from schemas.outputs import DeadLetter, Decision
from schemas.topics import DEAD_LETTERS, topic_name
from state.connection import connect
from state.shards import ShardStore
from state.vault import DeadLetterBox, Original

pytestmark = pytest.mark.system
TIME = 1_700_000_000_000


def line(number: int, who: str, **fields: Any) -> bytes:
    touchpoint = {
        "id": f"e{number}", "source": "shop", "type": "Page Viewed", "time": TIME + number,
        "identifiers": [{"ns": "device", "value": who}], **fields,
    }  # fmt: skip
    return json.dumps(touchpoint).encode() + b"\n"


def records(config: Config, name: str) -> list[Any]:
    batches = read(config, topic_name(config, name), start=0, follow=False)
    return [message for messages in batches for message in messages]


def produce(
    config: Config, name: str, values: list[bytes], *, transactional: str | None = None, key: bytes | None = b"k"
) -> Producer:
    extra = {"transactional.id": transactional} if transactional else {}
    producer = Producer({**client_properties(config), **extra})
    if transactional:
        producer.init_transactions(30)
        producer.begin_transaction()
    for value in values:
        producer.produce(topic_name(config, name), value, key)
    assert producer.flush(30) == 0
    return producer


def call(tmp_path: Path, config: Config, *arguments: str) -> Result:
    path = tmp_path / "touchstream.yaml"
    path.write_bytes(msgspec.yaml.encode(config))
    return CliRunner().invoke(main, [*arguments, "-c", str(path)])


def test_lines_arrive_as_they_are_in_order_per_customer(deployment: Config) -> None:
    lines = [line(number, f"d{number % 7}") for number in range(2_000)]
    broken = [b'{"id": 1}\n', b"no json\n", b"\xff\xfe\n"]
    done = ingest(deployment, [*lines, b"\n", *broken])
    assert done == Ingested(lines=2_003, delivered=2_003, blank=1, invalid=3)
    found = records(deployment, "touchpoints")
    assert {message.value() for message in found} == {each.strip() for each in lines + broken}
    assert len(found) == 2_003
    by_key: dict[bytes | None, list[int]] = {}
    for message in found:
        if message.key() is not None:
            by_key.setdefault(message.key(), []).append(json.loads(message.value())["time"])
    assert len(by_key) == 7
    assert all(times == sorted(times) for times in by_key.values())


def test_event_time_is_stamped_and_all_else_keeps_its_bytes(deployment: Config) -> None:
    lines = [
        b'{"id":"a","source":"s","type":"T","time":"2024-01-01T00:00:00Z","data":{"n":12345678901234567890123,"x":1.10}}',
        line(5, "d", at=1_000_000_000_000).strip(),
        b'{"id":"b"}',
    ]
    ingest(deployment, lines, at_event_time=True)
    values = {message.value() for message in records(deployment, "touchpoints")}
    assert lines[0][:-1] + b',"at":1704067200000}' in values
    assert lines[2] in values
    assert [json.loads(value)["at"] for value in values if b'"e5"' in value] == [TIME + 5]


def test_what_kafka_refuses_is_counted_and_exits_with_1(deployment: Config, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(
        line(1, "a") + line(2, "a", session="x", data={"note": os.urandom(2_000_000).hex()}) + line(3, "a")
    )
    result = call(tmp_path, deployment, "ingest", str(file), "--json")
    assert result.exit_code == 1
    counts = json.loads(result.stdout)
    assert (counts["lines"], counts["delivered"], counts["failed"]) == (3, 2, 1)
    assert "1 lines were not sent" in result.stderr


def test_only_source_topics_are_written_to(deployment: Config, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(line(1, "a"))
    result = call(tmp_path, deployment, "ingest", str(file), "--topic", "stitched")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'stitched' is not a source topic; topics.sources has: touchpoints" in result.stderr
    other = msgspec.structs.replace(deployment, prefix="nothing-here")
    with pytest.raises(TouchstreamError, match="no such topic: nothing-here"):
        ingest(other, [])


def test_tail_shows_committed_records_only(deployment: Config, tmp_path: Path) -> None:
    decisions = [
        msgspec.json.encode(Decision(f"i{number}", "welcome", "1", "c1", "stopped", TIME, "b\x1b[1m", "t", code="cap"))
        for number in range(3)
    ]
    produce(deployment, "decisions", decisions[:2], transactional="committed").commit_transaction()
    produce(deployment, "decisions", decisions[2:], transactional="aborted").abort_transaction()
    shown: list[str] = []
    assert tail(deployment, "decisions", shown.append, from_start=True, follow=False) == 2
    assert shown[0].split() == ["2023-11-14", "22:13:20.000", "welcome", "stopped", "cap", "c1"]
    assert tail(deployment, "decisions", shown.append, follow=False) == 0
    result = call(tmp_path, deployment, "tail", "decisions", "--from-start", "--json", "--count", "1")
    assert result.stdout.encode() == decisions[0] + b"\n"


def test_what_cannot_be_read_is_still_shown(deployment: Config) -> None:
    produce(deployment, "triggers", [b'{"id": 1}'])
    shown: list[str] = []
    tail(deployment, "triggers", shown.append, from_start=True, follow=False)
    assert shown[0].endswith('not readable as triggers: {"id": 1}')


def dead_letter(config: Config, number: int, *, reason: str = "invalid", key: str = "", topic: str = "") -> bytes:
    box = DeadLetterBox(bytes.fromhex(key or config.keys.dead_letters))
    source = topic or topic_name(config, "touchpoints")
    original = Original(
        source, 0, number, f"k{number}".encode(), f"v{number}".encode(), [("h", b"1"), ("n", None)], "e"
    )
    letter = DeadLetter(reason, "$.time", "decode", source, 0, number, TIME, TIME, box.seal(original))
    return msgspec.json.encode(letter)


def test_dead_letters_are_listed_and_replayed_as_they_were(deployment: Config, tmp_path: Path) -> None:
    sent = [dead_letter(deployment, number, reason="not_json" if number % 2 else "invalid") for number in range(700)]
    produce(deployment, DEAD_LETTERS, sent)
    assert sum(len(batch) for batch in letters(deployment, reason="not_json")) == 350
    listed = call(tmp_path, deployment, "dead-letters", "list", "--reason", "invalid").stdout.splitlines()
    assert len(listed) == 350
    assert listed[1].split()[:5] == ["2", "2023-11-14", "22:13:20.000", "invalid", "at"]
    result = call(tmp_path, deployment, "dead-letters", "replay", "--reason", "not_json", "--json")
    assert (result.exit_code, json.loads(result.stdout)["sent"]) == (0, 350)
    found = records(deployment, "touchpoints")
    assert {(m.key(), m.value()) for m in found} == {(b"k%d" % n, b"v%d" % n) for n in range(1, 700, 2)}
    assert len(found) == 350
    first = next(message for message in found if message.key() == b"k1")
    assert first.headers() == [("h", b"1"), ("n", None), (HEADER, b"0/1")]


def test_a_replay_goes_on_where_it_stopped(deployment: Config) -> None:
    produce(deployment, DEAD_LETTERS, [dead_letter(deployment, number) for number in range(10)])
    done = replay(deployment, limit=4)
    assert (done.sent, done.next_offset) == (4, 4)
    assert replay(deployment, start=done.next_offset).sent == 6
    assert sorted(message.value() for message in records(deployment, "touchpoints")) == [b"v%d" % n for n in range(10)]


def test_letters_that_cannot_be_sent_back_are_counted(deployment: Config, tmp_path: Path) -> None:
    values = [
        dead_letter(deployment, 1, key="ee" * 32),
        dead_letter(deployment, 2, topic="gone"),
        dead_letter(deployment, 3),
    ]
    produce(deployment, DEAD_LETTERS, values)
    result = call(tmp_path, deployment, "dead-letters", "replay")
    assert result.exit_code == 1
    assert "1 sent back" in result.stdout
    assert "1 are sealed under another key" in result.stderr
    assert [message.value() for message in records(deployment, "touchpoints")] == [b"v3"]


def test_status_sums_the_account_and_the_lag(deployment: Config, tmp_path: Path) -> None:
    ingest(deployment, [line(number, f"d{number}") for number in range(50)])
    topic = topic_name(deployment, "touchpoints")
    offsets = [
        TopicPartition(topic, 0, 3, json.dumps({"consumed": 3, "dead": 1})),
        TopicPartition(topic, 1, 2, json.dumps({"consumed": 2, "dead": 0})),
    ]
    group = ConsumerGroupTopicPartitions(group_id(deployment, "stitch"), offsets)
    client_of_kafka = admin.admin_client(deployment)
    for future in client_of_kafka.alter_consumer_group_offsets([group]).values():
        future.result(10)
    client = connect(deployment)
    store = ShardStore(client, deployment.prefix)
    client.hset(store.key(0, "count"), mapping={"applied": 2, "duplicates": 1})
    client.hset(store.key(3, "count"), mapping={"applied": 1})
    client.hset(store.key(3, "shard"), mapping={"r": 1, "committed": 1_000})
    client.close()
    found = status(deployment)
    assert found.account == Account(5, 3, 1, 0, 1, 0)
    stitch, engage, learn, kpis = found.flows
    assert (stitch.state, stitch.processes, stitch.lag) == ("empty", 0, 45)
    assert [each.next for each in stitch.partitions] == [3, 2, None]  # and the commands
    assert [each.commit_age_seconds is not None for each in engage.partitions] == [False, False, False, True]
    for flow in (learn, kpis):
        assert (flow.state, len(flow.partitions)) == ("not running", 1)
    result = call(tmp_path, deployment, "status")
    assert "consumed 5 = applied 3 + duplicates 1 + erased 0 + dead letters 1 + under way 0" in result.stdout


def test_topics_are_created_and_checked(kafka: str, tmp_path: Path) -> None:
    keys = Keys(index="1" * 64, dead_letters="2" * 64, master={"k": "3" * 64})
    config = Config(
        keys=keys, prefix=f"t{tmp_path.name[-20:].replace('_', '-')}".rstrip("-"), kafka=Kafka(bootstrap=kafka)
    )
    config = msgspec.structs.replace(config, topics=msgspec.structs.replace(config.topics, shards=2))
    missing = call(tmp_path, config, "topics", "check")
    assert (missing.exit_code, "missing" in missing.stderr) == (1, True)
    assert "created" in call(tmp_path, config, "topics", "create").stdout
    assert call(tmp_path, config, "topics", "create").stdout == "nothing to create\n"
    assert call(tmp_path, config, "topics", "check").stdout == "topics are fine\n"
    other = msgspec.structs.replace(config, topics=msgspec.structs.replace(config.topics, shards=4))
    refused = call(tmp_path, other, "topics", "check")
    assert refused.exit_code == 1
    assert "has 2 partitions, the configuration says 4" in refused.stderr
