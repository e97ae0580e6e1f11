"""``touchstream rebuild``: Redis is lost and there is no copy; everything is made again from what Kafka still has.

Contents go back to where control records look for them, and each position to the first record that its log still has.
The flows then find Redis behind Kafka, as after any loss of its last moments, only by more: what they read below the
group's offset makes state again and is not published a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import redis
from confluent_kafka import KafkaException

from flows.admin import admin_client
from flows.reading import first_offsets, partition_counts, read
from flows.status import group_offsets, owners
from operators.kafka import Partition, group_id
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.topics import MODELS, PARTIALS, PLAYS, STITCHED, inputs, topic_name
from state.connection import connect
from state.contents import ContentStore
from state.identity import IdentityStore, Mark, Source, pack_source
from state.shards import ShardStore

STITCH = "stitch"


class Rebuilt(msgspec.Struct):
    """What was put back: contents by kind, and how many records each flow has to read again."""

    contents: dict[str, int]
    again: dict[str, int]


def rebuild(config: Config, progress: Callable[[int], None]) -> Rebuilt:
    """Prepare an empty Redis; ``progress`` is told how many records of contents were read. Raises `TouchstreamError`
    where flows run or Redis holds positions, before anything is written."""
    topics = {
        STITCH: inputs(config),
        "engage": [topic_name(config, STITCHED)],
        "learn": [topic_name(config, "churn.examples")],
        "rewards": [topic_name(config, "outcomes")],
        "kpis": [topic_name(config, PARTIALS)],
    }
    client = connect(config)
    try:
        _refuse_running(config, topics)
        starts = {flow: _starts(config, flow, names) for flow, names in topics.items()}
        _refuse_kept(config, client, starts)
        contents = {kind: _restore(config, client, kind, progress) for kind in (MODELS, PLAYS)}
        _begin(config, client, starts)
        return Rebuilt(contents, {flow: sum(k - first for first, k in each.values()) for flow, each in starts.items()})
    except KafkaException as error:
        raise TouchstreamError(f"Kafka does not answer: {error.args[0].str()}") from error
    except redis.RedisError as error:
        raise TouchstreamError(f"Redis does not answer: {error}; check redis.url") from error
    finally:
        client.close()


def _refuse_running(config: Config, flows: Mapping[str, object]) -> None:
    admin = admin_client(config)
    running = [flow for flow in flows if owners(admin, group_id(config, flow))[1]]
    if running:
        raise TouchstreamError(f"flows are running: {', '.join(running)}; stop them all, then rebuild")


def _starts(config: Config, flow: str, topics: list[str]) -> dict[Partition, tuple[int, int]]:
    """Of each partition that the flow has read: the first record there is, and the group's offset. The others begin
    by themselves."""
    admin = admin_client(config)
    counts = partition_counts(admin, topics)
    partitions = [(topic, number) for topic in topics for number in range(counts[topic])]
    offsets = {
        each: known.offset for each, known in group_offsets(config, flow, partitions).items() if known.offset >= 0
    }
    first = first_offsets(admin, list(offsets))
    gone = [f"{topic}/{number}" for (topic, number), k in offsets.items() if k < first[topic, number]]
    if gone:
        raise TouchstreamError(
            f"{', '.join(gone)}: {flow} has not read records that are deleted by now; what is lost cannot be made "
            "again: begin with `touchstream run FLOW --initialise`"
        )
    return {each: (first[each], k) for each, k in offsets.items()}


def _refuse_kept(config: Config, client: redis.Redis, starts: Mapping[str, Mapping[Partition, object]]) -> None:
    kept = [f"{topic}/{number}" for topic, number in IdentityStore(client, config.prefix).sources()]
    for flow, partitions in starts.items():
        if flow != STITCH and partitions:
            numbers = [number for _, number in partitions]
            held = zip(partitions, _store(config, client, flow).read(numbers), strict=True)
            kept += [f"{topic}/{number}" for (topic, number), each in held if each.r is not None]
    if kept:
        raise TouchstreamError(
            f"Redis holds positions of {len(kept)} partitions ({kept[0]} ...): it is not lost. The flows go on from "
            f"there; to make everything anew, delete all keys that begin with {{{config.prefix}. first"
        )


def _restore(config: Config, client: redis.Redis, kind: str, progress: Callable[[int], None]) -> int:
    """Put what control records name back; how many there are."""
    store, found = ContentStore(client, config.prefix, kind), set()
    for messages in read(config, topic_name(config, kind), start=0, follow=False):
        for message in messages:
            key, value = message.key(), message.value()
            if key is not None and value is not None:
                store.put(key.decode(), value)
                found.add(key)
        progress(len(messages))
    return len(found)


def _begin(config: Config, client: redis.Redis, starts: Mapping[str, Mapping[Partition, tuple[int, int]]]) -> None:
    """Write the positions. Last, since with them the flows can begin."""
    for flow, partitions in starts.items():
        if flow == STITCH:
            marks = [Mark(each, b"", pack_source(Source(first, 0))) for each, (first, _) in partitions.items()]
            IdentityStore(client, config.prefix).write([], marks)
        else:
            _store(config, client, flow).begin({number: first for (_, number), (first, _) in partitions.items()})


def _store(config: Config, client: redis.Redis, flow: str) -> ShardStore:
    return ShardStore(client, config.prefix, "" if flow == "engage" else flow)
