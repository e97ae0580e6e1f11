"""What befalls Kafka."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import msgspec
from confluent_kafka import OFFSET_END, ElectionType, Producer, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from flows import admin
from operators.kafka import client_properties, group_id
from schemas.config import Config
from schemas.topics import DEAD_LETTERS, STITCHED, topic_name
from tests.system.pipeline import Flow, await_
from tests.system.reading import committed
from tests.system.scenarios.stage import Stage


def crash(stage: Stage) -> dict[str, Any]:
    """The broker is killed and started again."""
    for _ in range(stage.count):
        stage.load(3)
        stage.kafka.kill()
        stage.kafka.start()
        stage.commits()
    return {"crashes": stage.count}


def outage(stage: Stage) -> dict[str, Any]:
    """The broker is away for a while, in mid-run; then it is when all processes start."""
    for at_start in (False, True):
        stage.load(3)
        if at_start:
            for flow in stage.pipeline.flows:
                flow.drain()
        stage.kafka.kill()
        if at_start:
            for flow in stage.pipeline.flows:
                flow.start()
        stage.load(stage.seconds)
        stage.kafka.start()
        stage.commits()
    return {"outages": 2, "seconds": stage.seconds}


def slow(stage: Stage) -> dict[str, Any]:
    """The broker stands still, connections and all, and goes on."""
    for _ in range(stage.count):
        stage.load(3)
        stage.kafka.pause()
        stage.load(stage.seconds)
        stage.kafka.resume()
        stage.commits()
    return {"freezes": stage.count, "seconds": stage.seconds}


def quorum(stage: Stage) -> dict[str, Any]:
    """Each of three nodes dies in turn and comes back, and leads again: two go on without the third."""
    for _ in range(stage.count):
        for node in stage.cluster.nodes:
            stage.load(2)
            node.kill()
            stage.commits()
            node.start()
            stage.commits()
            _lead_again(stage.pipeline.config)
    return {"nodes_lost": 3 * stage.count}


def _lead_again(config: Config) -> None:
    """Who is the first of a partition's replicas leads it: once all hold all, that changes most leaders."""
    client = admin.admin_client(config)
    await_(lambda: _all_in_sync(client, config), "all replicas to hold all")
    for future in (client.elect_leaders(ElectionType.PREFERRED),):
        future.result()


def _all_in_sync(client: admin.Admin, config: Config) -> bool:
    topics = client.list_topics(timeout=20).topics
    own = [topic for name, topic in topics.items() if name.startswith(config.prefix + ".")]
    return all(len(each.isrs) == len(each.replicas) for topic in own for each in topic.partitions.values())


def large(stage: Stage) -> dict[str, Any]:
    """Dead letters become too large for their topic, until somebody changes that: nothing is passed over."""
    stitchers = stage.pipeline.of("stitch")
    _set_largest(stage.pipeline.config, DEAD_LETTERS, 200)
    await_(lambda: stage.pipeline.revive() and all(_said(flow, "too large") for flow in stitchers), "it to be said")
    _set_largest(stage.pipeline.config, DEAD_LETTERS, 1_000_000)
    stage.commits()
    return {"refused": [flow.log.stem for flow in stitchers]}


def timed_out(stage: Stage) -> dict[str, Any]:
    """A process stands still in the middle of a transaction until the broker gives that up, and nobody takes over."""
    given_up = {}
    for name in ("stitch", "engage"):
        for flow in stage.pipeline.of(name):
            flow.drain()
        first = stage.pipeline.of(name)[0]
        first.start(f"{name}.before_offsets:10:stop")
        await_(lambda: first.stopped, f"{name} to stand still")  # noqa: B023
        stage.load(_GIVEN_UP)
        first.signal(signal.SIGCONT)
        stage.commits([first])
        lost = [*first.logged("transaction aborted"), *first.logged("Fenced")]
        given_up[first.log.stem] = len(lost)
    return {"given_up": given_up}


#: Brokers look for transactions that have taken too long every ten seconds.
_GIVEN_UP = 15.0


def patient(config: Config) -> Config:
    """Transactions are given up long before those who have begun them."""
    kafka = msgspec.structs.replace(config.kafka, session_timeout_ms=45_000, transaction_timeout_ms=3_000)
    return msgspec.structs.replace(config, kafka=kafka)


def widened(stage: Stage) -> dict[str, Any]:
    """A source gets one more partition, which is read from its beginning."""
    config = stage.pipeline.config
    topic, number = topic_name(config, config.topics.sources[0]), config.topics.source_partitions
    client = admin.admin_client(config)
    client.create_partitions([NewPartitions(topic, number + 1)])[topic].result()
    more = msgspec.structs.replace(config.topics, source_partitions=number + 1)
    stage.pipeline.config = msgspec.structs.replace(config, topics=more)
    # Until the feeder knows of it, too.
    stage.load(5)
    stage.feeder.widen(number + 1)
    group = group_id(config, "stitch")
    await_(lambda: committed(config, group, topic, number + 1)[number].offset > 0, "the new partition to be read")
    return {"partitions": number + 1}


def resharded(stage: Stage) -> dict[str, Any]:
    """Somebody adds a partition to ``stitched``: whoever reads it stops and says why, also if started again."""
    config = stage.pipeline.config
    topic, number = topic_name(config, STITCHED), config.topics.shards
    client = admin.admin_client(config)
    client.create_partitions([NewPartitions(topic, number + 1)])[topic].result()
    return _all_stop(stage, "engage", f"{topic} has {number + 1} partitions, {number} are configured")


def missing(stage: Stage) -> dict[str, Any]:
    """A source is deleted: whoever reads it stops, and names it if started again. Before that Kafka may just not answer
    who asks for offsets of it."""
    config = stage.pipeline.config
    topic = topic_name(config, config.topics.sources[0])
    stage.commits()
    stage.feeder.finish()
    _delete(admin.admin_client(config), topic)
    return _all_stop(stage, "stitch", f"there is no topic {topic}", "not this: leaving")


def unread(stage: Stage) -> dict[str, Any]:
    """Records are deleted before they were read, under processes that stand still: none goes on without them. First of
    what engage reads, then of a source."""
    stage.commits()
    topics = stage.pipeline.config.topics
    first = _delete_unread(stage, "engage", STITCHED, topics.shards)
    second = _delete_unread(stage, "stitch", topics.sources[0], topics.source_partitions)
    return {"said": first["said"] | second["said"], "faults": first["faults"] + second["faults"]}


def _delete_unread(stage: Stage, reader: str, name: str, partitions: int) -> dict[str, Any]:
    flows, topic = stage.pipeline.of(reader), topic_name(stage.pipeline.config, name)
    for flow in flows:
        flow.signal(signal.SIGSTOP)
    stage.load(2)
    everything = [TopicPartition(topic, n, OFFSET_END) for n in range(partitions)]
    client = admin.admin_client(stage.pipeline.config)
    for future in client.delete_records(everything).values():
        future.result()
    for flow in flows:
        flow.signal(signal.SIGCONT)
    return _all_stop(stage, reader, "records were deleted before they were read")


def recreated(stage: Stage) -> dict[str, Any]:
    """A source is deleted and created again, and is empty: nobody waits for it to reach the old position."""
    config = stage.pipeline.config
    topic = topic_name(config, config.topics.sources[0])
    stage.commits()
    stage.feeder.finish()
    _recreate(config, topic)
    return _all_stop(stage, "stitch", topic)


def unhurried(config: Config) -> Config:
    """Whoever stands still while a topic is made anew is not taken for dead."""
    return msgspec.structs.replace(config, kafka=msgspec.structs.replace(config.kafka, session_timeout_ms=30_000))


def refilled(stage: Stage) -> dict[str, Any]:
    """A source is deleted and created again, and has more records than the old one before anybody sees it: nobody goes
    on at the old position, by which records would be passed over without a sign."""
    config, flows = stage.pipeline.config, stage.pipeline.of("stitch")
    topic = topic_name(config, config.topics.sources[0])
    stage.commits()
    stage.feeder.finish()
    positions = _positions(config, "stitch")
    for flow in flows:
        flow.signal(signal.SIGSTOP)
    _recreate(config, topic)
    producer = Producer(client_properties(config))
    for partition, position in positions.items():
        for number in range(3 * position + 100):
            producer.produce(topic, b"%d" % number, partition=partition)
            producer.poll(0)
    producer.flush()
    for flow in flows:
        flow.signal(signal.SIGCONT)
    return _all_stop(stage, "stitch", topic)


def _recreate(config: Config, topic: str) -> None:
    _delete(admin.admin_client(config), topic)
    admin.create(config)


def _delete(client: admin.Admin, topic: str) -> None:
    client.delete_topics([topic])[topic].result()
    await_(lambda: topic not in client.partitions(), "the topic to go")


def _all_stop(stage: Stage, name: str, words: str, at_first: str = "") -> dict[str, Any]:
    """Wait until every process of a flow stops and has said ``words``, or maybe others ``at_first``, and once more
    after a start; nobody has moved."""
    flows = stage.pipeline.of(name)
    said = {flow.log.stem: stage.stops(flow) for flow in flows}
    faults = [f"{who}: {text}" for who, text in said.items() if words not in text and (at_first or words) not in text]
    before = _positions(stage.pipeline.config, name)
    for flow in flows:
        flow.start()
    again = {f"{flow.log.stem} again": stage.stops(flow) for flow in flows}
    faults += [f"{who}: {text}" for who, text in again.items() if words not in text]
    if _positions(stage.pipeline.config, name) != before:
        faults.append("positions have moved")
    return {"said": said | again, "faults": faults}


def _positions(config: Config, name: str) -> Mapping[int, int]:
    topic, count = topic_name(config, STITCHED), config.topics.shards
    if name == "stitch":
        topic, count = topic_name(config, config.topics.sources[0]), config.topics.source_partitions
    return {n: each.offset for n, each in committed(config, group_id(config, name), topic, count).items()}


def _set_largest(config: Config, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic_name(config, topic), incremental_configs=[entry])
    client = admin.admin_client(config)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()


def _said(flow: Flow, words: str) -> bool:
    return bool(flow.logged(words))
