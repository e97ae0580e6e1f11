"""Two processes are stopped between their Redis write and their Kafka transaction: the one has merged customers, the
other has taken apart what was merged. Whoever publishes first, and if one of them never does, the outside sees the
same customers."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from operators.kafka import group_id
from schemas import stitched
from schemas.config import Config
from schemas.stitched import Change
from schemas.topics import STITCHED, topic_name
from tests.messages import touchpoint
from tests.system.feed import START_MS
from tests.system.oracle import judge
from tests.system.pipeline import Feeder, Flow, Pipeline, await_, chaotic
from tests.system.reading import committed, read_topic
from tests.system.scenarios.stage import TAKEN

pytestmark = [pytest.mark.flows, pytest.mark.long("writers")]

#: Who is shown (``!``: logged in), and when (s).
Shown = tuple[str, int]


class Family(NamedTuple):
    """What was known, what the first writer learns, and the second."""

    before: tuple[Shown, ...]
    first: Shown
    second: Shown


FAMILIES = (
    # An anonymous device becomes a member's (merged), then goes to another (moved).
    Family((("device:a", 1), ("member:a1", 2)), ("!member:a1 device:a", 3), ("!member:a2 device:a", 4)),
    # A member meets a device (merged), which an older login gives to another: the customer comes apart (split).
    Family((("member:b2", 1),), ("!member:b2 device:b", 1), ("!member:b1 device:b", 0)),
    # The other way round: a device is taken from a member (moved) and comes back.
    Family((("device:c", 1), ("!member:c1 device:c", 2)), ("!member:c2 device:c", 3), ("!member:c1 device:c", 4)),
    # Two merges, the survivor of the first merged in the second.
    Family((("cookie:d", 1), ("device:d", 2), ("member:d", 3)), ("!member:d device:d", 4), ("device:d cookie:d", 5)),
    # Two merges into the same customer, who wins a third identifier on the way.
    Family((("device:e", 1), ("member:e", 2), ("cookie:e", 3)), ("!member:e device:e", 4), ("device:e cookie:e", 5)),
    # An id goes to an older identifier (merged) and comes back when that turns out to be another's (split).
    Family((("member:f1", 5),), ("!member:f1 device:f", 3), ("!member:f2 device:f", 2)),
)
#: What is done with the two writers, in turn: they publish what they have, or die with it.
ENDINGS = {
    "the second publishes first": (("second", signal.SIGCONT), ("first", signal.SIGCONT)),
    "the first dies": (("first", signal.SIGKILL), ("second", signal.SIGCONT)),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_merge_and_a_split_whose_writers_were_stopped(deployment: Config, tmp_path: Path, ending: str) -> None:
    config = chaotic(deployment)
    if "dies" not in ending:  # nobody is to be missed while he stands still
        config = msgspec.structs.replace(config, kafka=msgspec.structs.replace(config.kafka, session_timeout_ms=30_000))
    with Pipeline(tmp_path, config, ("stitch", "stitch", "stitch", "engage")) as pipeline:
        elder, *_ = pipeline.of("stitch")
        feeder = Feeder(config, seed=0, rate=0)
        for flow in (elder, *pipeline.of("engage")):
            flow.start()
            await_(lambda flow=flow: bool(flow.logged(TAKEN)), f"{flow.name} to start")  # type: ignore[misc]
        for family in FAMILIES:
            for number, shown in enumerate(family.before):
                _put(feeder, number % 2, shown)
        feeder.finish()
        await_(lambda: pipeline.stitched(feeder.sent), "what is known from before")
        _succeed(pipeline, elder)
        writers: dict[str, Flow] = {}
        for partition, name in enumerate(("first", "second")):
            for family in FAMILIES:
                _put(feeder, partition, getattr(family, name))
            feeder.finish()
            await_(lambda n=partition: len(_stopped(pipeline)) > n, f"the {name} to stop")  # type: ignore[misc]
            (writers[name],) = (flow for flow in _stopped(pipeline) if flow not in writers.values())
        for name, what in ENDINGS[ending]:
            writers[name].signal(what)
            if what == signal.SIGCONT:
                await_(partial(_published, config, ("first", "second").index(name)), f"the {name} to publish")
        pipeline.rest(feeder.sent)
        verdict = judge(config, pipeline.redis)
    assert verdict.faults == []
    kinds = verdict.figures["changes"]
    assert (kinds["merged"], kinds["moved"], kinds["split"]) >= (6, 3, 1)
    told = Counter(change.id for change in _changes(config))
    # Both writers have told both sides of what the first wrote, unless it died.
    assert max(told.values()) == (2 if "dies" in ending else 4)


def _put(feeder: Feeder, partition: int, shown: Shown) -> None:
    who, seconds = shown
    time = START_MS + seconds * 1_000
    feeder.put(
        partition, touchpoint(feeder.sent, *who.split(), time=time, at=time, data={"url": "https://shop.example"})
    )


def _succeed(pipeline: Pipeline, elder: Flow) -> None:
    """Two writers, to be stopped at their first batch, take over one partition each."""
    heirs = [flow for flow in pipeline.of("stitch") if flow is not elder]
    before = _owners(pipeline)
    for flow in heirs:
        flow.start("stitch.after_redis:1:stop")
    await_(lambda: all(flow.logged('"started"') for flow in heirs), "both writers to start")
    elder.drain()
    pipeline.flows.remove(elder)
    await_(lambda: len(_owners(pipeline) - before) == 2, "each writer to own a partition")


def _stopped(pipeline: Pipeline) -> list[Flow]:
    return [flow for flow in pipeline.of("stitch") if flow.stopped]


def _owners(pipeline: Pipeline) -> set[bytes]:
    """The transactional ids under which the source partitions are stitched."""
    config = pipeline.config
    topic = topic_name(config, config.topics.sources[0])
    fields = [f"{topic}/{partition}" for partition in range(config.topics.source_partitions)]
    client: Any = pipeline.redis
    return {owner for owner in client.hmget(f"{{{config.prefix}.i}}transactions", fields) if owner}


def _published(config: Config, partition: int) -> bool:
    """Whether all that a partition was sent is stitched and published."""
    topic = topic_name(config, config.topics.sources[0])
    sent = sum(read.partition == partition for read in read_topic(config, topic))
    return committed(config, group_id(config, "stitch"), topic, 2)[partition].offset >= sent


def _changes(config: Config) -> list[Change]:
    records = [stitched.decode(read.value or b"") for read in read_topic(config, topic_name(config, STITCHED))]
    return [record for record in records if isinstance(record, Change)]
