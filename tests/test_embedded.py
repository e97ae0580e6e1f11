"""The embedded servers and the test servers on top of them: start, stop, crash, freeze, and what they promise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
import redis
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from flows.embedded import PORTS, EmbeddedBroker, EmbeddedValkey, free_port, kafka_answers, redis_answers
from schemas.errors import TouchstreamError
from tests.servers import KafkaServer, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def reader(bootstrap: str, group: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
        }
    )
    yield consumer
    consumer.close()


def read(consumer: Consumer, count: int) -> list[Message]:
    """The next ``count`` records, or those that came before ten seconds passed without one."""
    found: list[Message] = []
    while len(found) < count and (message := consumer.poll(10.0)) is not None:
        assert message.error() is None
        found.append(message)
    return found


def new_topic(bootstrap: str, name: str, partitions: int = 2) -> str:
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result()
    return name


def test_free_ports_are_outside_the_range_of_outgoing_connections() -> None:
    assert free_port() in PORTS


def test_valkey_is_in_memory_and_stops_with_its_block(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        with redis.Redis.from_url(valkey.url) as client:
            client.set("a", "1")
            assert client.config_get("appendonly") == {"appendonly": "no"}
        pid = valkey.pid
    assert not psutil.pid_exists(pid)
    assert not redis_answers(valkey.url)
    assert [path.name for path in tmp_path.iterdir()] == ["valkey.log"]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "first") as first:
        second = EmbeddedValkey(tmp_path / "second", first.port)
        second.answers = lambda: False  # type: ignore[method-assign]  # the first one answers on this port
        with pytest.raises(TouchstreamError, match=r"valkey ended with 1:[\s\S]*in use"):
            second.start()
        with pytest.raises(TouchstreamError, match="not started"):
            _ = second.pid


def test_a_frozen_server_answers_again_when_resumed(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey:
        valkey.pause()
        assert not redis_answers(valkey.url, seconds=0.2)
        valkey.resume()
        assert redis_answers(valkey.url)
        valkey.pause()  # stop must end a frozen one too


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent's death")
def test_servers_die_with_their_parent_and_ignore_its_terminal(tmp_path: Path) -> None:
    program = f"""
        from pathlib import Path
        import sys
        from flows.embedded import EmbeddedBroker, EmbeddedValkey
        servers = [EmbeddedValkey(Path({str(tmp_path)!r})).start(), EmbeddedBroker(Path({str(tmp_path)!r})).start()]
        print(*(server.pid for server in servers), flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(os.getpgid(child.pid) == child.pid for child in children)  # Ctrl-C does not reach them
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.mark.system
def test_valkey_comes_back_with_its_data_after_a_crash(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as valkey, redis.Redis.from_url(valkey.url) as client:
        client.set("a", "1")
        port = valkey.port
        valkey.kill()
        valkey.start()
        assert valkey.port == port
        assert client.get("a") == b"1"


@pytest.mark.system
def test_the_end_of_the_append_only_file_can_be_lost(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as valkey, redis.Redis.from_url(valkey.url) as client:
        with pytest.raises(TouchstreamError, match="stop or kill"):
            valkey.cut_log(1)
        written = _count_for_seconds(client, 3)
        valkey.kill()
        assert valkey.cut_log(seconds=1) > 0
        valkey.start()
        kept = int(client.get("n") or 0)
        seen = client.get(f"at:{kept}")
        last = client.get(f"at:{kept + 1}")
        assert 0 < kept < written[-1][0]
        assert seen is not None
        assert last is None
        lost = [at for n, at in written if n > kept]
        assert lost[-1] - lost[0] >= 1_000_000


def _count_for_seconds(client: redis.Redis, seconds: int) -> list[tuple[int, int]]:
    """Count up by script for ``seconds`` of the server's clock: (count, microseconds) of each step."""
    step = client.register_script(
        "local t = redis.call('TIME') local n = redis.call('INCR', KEYS[1]) "
        "redis.call('SET', 'at:' .. n, '\\r\\n#TS:9999999999\\r\\n') return {n, t[1] * 1000000 + t[2]}"
    )
    counts: list[tuple[int, int]] = []
    while not counts or counts[-1][1] - counts[0][1] < seconds * 1_000_000:
        n, at = step(keys=["n"])
        counts.append((n, at))
    return counts


@pytest.mark.system
def test_kafka_comes_back_with_its_data_after_a_crash(tmp_path: Path) -> None:
    with KafkaServer(tmp_path, heap="512m") as kafka:
        topic = new_topic(kafka.bootstrap, "a", 1)
        _publish(kafka.bootstrap, topic, "crash", [b"one"], {})
        assert _first(kafka.bootstrap, topic) == b"one"
        kafka.kill()
        assert not kafka_answers(kafka.bootstrap)
        kafka.start()
        assert _first(kafka.bootstrap, topic) == b"one"


def _first(bootstrap: str, topic: str) -> bytes | None:
    with reader(bootstrap, "first") as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return read(consumer, 1)[0].value()


@pytest.fixture(scope="module")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.system)])
def broker(request: pytest.FixtureRequest) -> str:
    """Each broker that flows run on."""
    name = "embedded_broker" if request.param == "embedded" else "kafka"
    return str(request.getfixturevalue(name))


def _publish(bootstrap: str, topic: str, name: str, values: list[bytes], offsets: dict[TopicPartition, str]) -> None:
    """One transaction: ``values`` to partition 0, and the offsets with their texts for group ``name``."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value=value, partition=0)
    if offsets:
        with reader(bootstrap, name) as consumer:
            positions = [TopicPartition(at.topic, at.partition, at.offset, text) for at, text in offsets.items()]
            producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 20)
    producer.commit_transaction(20)


def test_a_transaction_is_records_and_offsets_together(broker: str) -> None:
    topic = new_topic(broker, "together")
    _publish(broker, topic, "g1", [b"a", b"b"], {TopicPartition(topic, 1, 7): ""})
    with reader(broker, "g1") as consumer:
        assert [at.offset for at in consumer.committed([TopicPartition(topic, 1)], 10)] == [7]
        consumer.assign([TopicPartition(topic, 0, 0)])
        assert [message.value() for message in read(consumer, 2)] == [b"a", b"b"]


def test_an_open_transaction_is_not_read(broker: str) -> None:
    topic = new_topic(broker, "open")
    _publish(broker, topic, "g2", [b"before"], {})
    producer = Producer({"bootstrap.servers": broker, "transactional.id": "open"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, value=b"inside", partition=0)
    assert producer.flush(10) == 0
    with reader(broker, "g2") as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        assert [message.value() for message in read(consumer, 1)] == [b"before"]
        assert consumer.poll(0.5) is None
        producer.commit_transaction(20)
        assert [message.value() for message in read(consumer, 1)] == [b"inside"]


def test_a_newer_instance_fences_the_older(broker: str) -> None:
    topic = new_topic(broker, "fence")
    settings: dict[str, str | int] = {"bootstrap.servers": broker, "transactional.id": "fenced", "log_level": 0}
    older = Producer(settings)
    older.init_transactions(20)
    older.begin_transaction()
    older.produce(topic, value=b"late", partition=0)
    older.flush(10)
    Producer(settings).init_transactions(20)
    older.produce(topic, value=b"later", partition=0)
    with pytest.raises(KafkaException, match="FENCED"):
        older.commit_transaction(20)


@pytest.mark.system
def test_kafka_keeps_a_text_beside_each_committed_offset(kafka: str) -> None:
    topic = new_topic(kafka, "texts")
    _publish(kafka, topic, "g3", [b"a"], {TopicPartition(topic, i, 10 + i): f'{{"dead":{i}}}' for i in range(2)})
    with reader(kafka, "g3") as consumer:
        found = consumer.committed([TopicPartition(topic, i) for i in range(2)], 10)
        assert [(at.offset, at.metadata) for at in found] == [(10, '{"dead":0}'), (11, '{"dead":1}')]
