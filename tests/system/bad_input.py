"""The corpus of bad input through the real pipeline: nothing stops, the account closes, dead letters hold the bytes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from operators.kafka import group_id
from schemas.config import Config
from schemas.outputs import DeadLetter
from schemas.stitched import Event
from schemas.stitched import decode as decode_stitched
from schemas.topics import DEAD_LETTERS, LARGEST_OUTPUT, STITCHED, topic_name
from state.shards import ShardStore
from state.vault import DeadLetterBox
from tests.corpus import corpus
from tests.system.pipeline import Pipeline
from tests.system.reading import committed, read_topic
from tests.system.replay import differences


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Send the corpus through a deployment; figures, and ``faults``, empty when every promise held."""
    with Pipeline(folder, config, ("stitch", "engage")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        return feed(pipeline)


def feed(pipeline: Pipeline) -> dict[str, Any]:
    """The same, to a deployment that runs and that nobody else feeds."""
    config = pipeline.config
    _widen(config)
    _send(config)
    pipeline.rest(len(corpus()))
    stops = sum(len(flow.logged('"started"')) - 1 for flow in pipeline.flows)
    faults = [f"processes stopped {stops} times"] if stops else []
    faults += _check_account(config, pipeline.redis) + _check_dead(config)
    return {**Counter(sample.fate for sample in corpus()), "faults": faults}


def _widen(config: Config) -> None:
    """Let the broker take records of 10 MB from sources, too."""
    entry = ConfigEntry("max.message.bytes", str(LARGEST_OUTPUT), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ConfigResource.Type.TOPIC, _source(config), incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": config.kafka.bootstrap})
    for done in admin.incremental_alter_configs([topic]).values():
        done.result(30)


def _send(config: Config) -> None:
    """To one partition, so that repetitions come after what they repeat."""
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap, "message.max.bytes": LARGEST_OUTPUT})
    for number, sample in enumerate(corpus()):
        producer.produce(_source(config), sample.value, _key(number), 0, headers=_headers(number))
    assert producer.flush(60) == 0


def _key(number: int) -> str:
    return f"key-{number}"


def _headers(number: int) -> list[tuple[str, str | bytes | None]]:
    return [("n", str(number).encode()), ("none", None)]


def _source(config: Config) -> str:
    return topic_name(config, config.topics.sources[0])


def _check_account(config: Config, client: redis.Redis) -> list[str]:
    """Applied, counted as a duplicate or dead: as often as expected, in all as many as were sent."""
    fates: Counter[str] = Counter(sample.fate for sample in corpus())
    counts = ShardStore(client, config.prefix).counts(range(config.topics.shards))
    got = Counter({"applied": counts["applied"], "duplicate": counts["duplicates"]})
    faults = differences("touchpoints by fate", fates - Counter(dead=fates["dead"]), got)
    account = json.loads(committed(config, group_id(config, "stitch"), _source(config), 1)[0].metadata or "{}")
    if {**account, "topic": ""} != {"consumed": len(corpus()), "dead": fates["dead"], "topic": ""}:
        faults.append(f"stitch has counted {account}")
    log = [decode_stitched(read.value or b"") for read in read_topic(config, topic_name(config, STITCHED))]
    stitched = Counter(record.src for record in log if isinstance(record, Event))
    expected = Counter(f"{_source(config)}/0/{n}" for n, sample in enumerate(corpus()) if sample.fate != "dead")
    return faults + differences("touchpoints in stitched", expected, stitched)


def _check_dead(config: Config) -> list[str]:
    """The original bytes, key and headers of each, once, and the reason in the clear."""
    box = DeadLetterBox(bytes.fromhex(config.keys.dead_letters))
    got: Counter[Any] = Counter()
    for read in read_topic(config, topic_name(config, DEAD_LETTERS)):
        letter = msgspec.json.decode(read.value or b"", type=DeadLetter, strict=True)
        original = box.open(letter.sealed)
        got[letter.offset, letter.reason, original.key, original.value, str(original.headers)] += 1
    expected = Counter(
        (offset, sample.reason, _key(offset).encode(), sample.value, str(_headers(offset)))
        for offset, sample in enumerate(corpus())
        if sample.fate == "dead"
    )
    lost = [corpus()[offset].name for offset, *_ in (expected - got)]
    return [f"dead letters: {len(lost)} are not as expected: {lost[:3]}"] if lost or got - expected else []
