"""The state of a deployment as others see it: who owns what, lag, the account, the last commits.

Read from Kafka's group coordinator and from Redis; nothing is asked of the flows themselves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
import redis
from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from flows.admin import admin_client
from flows.reading import POLL_SECONDS, TIMEOUT_SECONDS, end_offsets, partition_counts
from operators.kafka import Partition, client_properties, group_id
from operators.offsets import PASSING
from operators.starting import FRESH
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.topics import PARTIALS, STITCHED, topic_name
from schemas.topics import inputs as input_topics
from state.connection import connect
from state.shards import ShardStore

ENGAGE, LEARN, STITCH, KPIS = "engage", "learn", "stitch", "kpis"


class PartitionStatus(msgspec.Struct):
    """One partition of a flow's input. ``owner``: client id and host of the process, None if nobody's;
    ``next``: the group's offset, None before the first commit; ``commit_age_seconds``: since the last commit
    of its shard in Redis. ``lag`` counts offsets, so the marks of transactions after the last record are in it."""

    topic: str
    partition: int
    owner: str | None
    next: int | None
    end: int
    lag: int
    commit_age_seconds: float | None = None


class FlowStatus(msgspec.Struct):
    """A flow: the state of its group, how many processes, how many records they are behind."""

    flow: str
    state: str
    processes: int
    lag: int
    partitions: list[PartitionStatus]


class Account(msgspec.Struct):
    """Where the touchpoints are. It closes when nothing is under way: consumed = applied + duplicates + erased +
    dead letters. None where the broker does not keep the text beside committed offsets."""

    consumed: int | None
    applied: int
    duplicates: int
    erased: int
    dead_letters: int | None
    under_way: int | None


class Status(msgspec.Struct):
    prefix: str
    flows: list[FlowStatus]
    account: Account
    last_commit_age_seconds: float | None


def status(config: Config) -> Status:
    """Ask Kafka and Redis. Raises `TouchstreamError` when one does not answer or topics are missing."""
    admin = admin_client(config)
    inputs = {
        STITCH: input_topics(config),
        ENGAGE: [topic_name(config, STITCHED)],
        LEARN: [topic_name(config, "churn.examples")],
        KPIS: [topic_name(config, PARTIALS)],
    }
    try:
        counts = partition_counts(admin, [topic for topics in inputs.values() for topic in topics])
        asked = {flow: [(t, n) for t in topics for n in range(counts[t])] for flow, topics in inputs.items()}
        committed = {flow: group_offsets(config, flow, partitions) for flow, partitions in asked.items()}
        owned = {flow: owners(admin, group_id(config, flow)) for flow in asked}
        ends = end_offsets(admin, [partition for partitions in asked.values() for partition in partitions])
    except KafkaException as error:
        raise TouchstreamError(f"Kafka does not answer: {error.args[0].str()}") from error
    flows = [_flow(flow, asked[flow], committed[flow], owned[flow], ends) for flow in asked]
    counters = _redis(config, flows)
    ages = [p.commit_age_seconds for flow in flows for p in flow.partitions if p.commit_age_seconds is not None]
    return Status(config.prefix, flows, _account(committed[STITCH], counters), min(ages, default=None))


def group_offsets(config: Config, flow: str, partitions: list[Partition]) -> dict[Partition, TopicPartition]:
    """K and its text; asked as an outsider, who need not join the group. Waits while the group finds its coordinator,
    as it does when brokers have just started."""
    consumer = Consumer({**client_properties(config), "group.id": group_id(config, flow), "log_level": 3})
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        while True:
            try:
                found = consumer.committed([TopicPartition(*each) for each in partitions], timeout=TIMEOUT_SECONDS)
                return {(each.topic, each.partition): each for each in found}
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
    finally:
        consumer.close()


def owners(admin: AdminClient, group: str) -> tuple[str, list[str], dict[Partition, str]]:
    """State of the group, its members, and the member of each partition."""
    described = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_SECONDS)[group].result()
    owner = {}
    members = []
    for member in described.members:
        members.append(f"{member.client_id}@{member.host.lstrip('/')}#{member.member_id[-8:]}")
        for each in member.assignment.topic_partitions if member.assignment else []:
            owner[each.topic, each.partition] = members[-1]
    state = "not running" if described.state == ConsumerGroupState.DEAD else described.state.name.lower()
    return state, members, owner


def _flow(
    flow: str,
    partitions: list[Partition],
    committed: Mapping[Partition, TopicPartition],
    owners: tuple[str, list[str], dict[Partition, str]],
    ends: Mapping[Partition, int],
) -> FlowStatus:
    state, members, owner = owners
    rows = []
    for topic, number in partitions:
        offset = committed[topic, number].offset
        end = ends[topic, number]
        lag = max(0, end - max(offset, 0))
        rows.append(
            PartitionStatus(topic, number, owner.get((topic, number)), offset if offset >= 0 else None, end, lag)
        )
    return FlowStatus(flow, state, len(members), sum(row.lag for row in rows), rows)


def _redis(config: Config, flows: list[FlowStatus]) -> dict[str, int]:
    """Fill in the ages of the shards' last commits; engage's counters, summed."""

    client = connect(config)
    try:
        counters: dict[str, int] = {}
        for flow in flows:
            if flow.flow != STITCH:
                store = ShardStore(client, config.prefix, "" if flow.flow == ENGAGE else flow.flow)
                _ages(client, store, flow.partitions)
                if flow.flow == ENGAGE:
                    counters = store.counts(each.partition for each in flow.partitions)
        return counters
    except redis.RedisError as error:
        raise TouchstreamError(f"Redis does not answer: {error}; check redis.url") from error
    finally:
        client.close()


def _ages(client: Any, store: ShardStore, partitions: list[PartitionStatus]) -> None:
    pipe = client.pipeline(transaction=False)
    for each in partitions:
        pipe.hget(store.key(each.partition, "shard"), "committed")
    for each, committed in zip(partitions, pipe.execute(), strict=True):
        if committed:
            each.commit_age_seconds = round(max(0.0, time.time() - int(committed) / 1000), 3)


def _account(committed: Mapping[Partition, TopicPartition], counters: Mapping[str, int]) -> Account:
    texts = [each.metadata for each in committed.values() if each.offset >= 0 and each.metadata]
    known = [counts for counts in map(_counts, texts) if counts is not None]
    lost = sum(each.offset > 0 for each in committed.values()) > len(known)
    consumed = None if lost else sum(counts.get("consumed", 0) for counts in known)
    dead = None if lost else sum(counts.get("dead", 0) for counts in known)
    applied, duplicates, erased = (counters.get(name, 0) for name in ("applied", "duplicates", "erased"))
    erased += sum(counts.get("erased", 0) for counts in known)
    rest = None if consumed is None or dead is None else consumed - dead - applied - duplicates - erased
    return Account(consumed, applied, duplicates, erased, dead, rest)


def _counts(text: str) -> dict[str, int] | None:
    """The counts beside an offset; None for text of another kind (an offset set by hand, say)."""
    if text == FRESH:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
