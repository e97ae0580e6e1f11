"""A price drops for hundreds of customers in each of several shards, while who tells them is killed between steps."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from flows import playfile, plays_control
from schemas import stitched
from schemas.config import Config, Limits
from schemas.outputs import Trigger
from schemas.stitched import Step
from schemas.topics import STITCHED, topic_name
from state import shards
from state.shards import Commit, Interest, ShardStore
from tests.messages import touchpoint
from tests.system.feed import START_MS
from tests.system.oracle import judge
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic
from tests.system.reading import read_topic

pytestmark = [pytest.mark.flows, pytest.mark.long("signals")]

#: Interested customers, and how many of them a step decides on.
CUSTOMERS, STEP = 1_200, 50
PLAY: dict[str, Any] = {
    "when": {
        "product": {
            "price_drop": 10,
            "interested": {"of": {"event": "Product Viewed", "by": "event.product.sku"}, "within": "30d"},
        }
    },
    "channels": ["sms"],
    "cool_down": "1d",
    "values": {"price": "product.price", "was": "product.was"},
}


def test_each_of_many_is_told_once_though_processes_die_between_steps(deployment: Config, tmp_path: Path) -> None:
    limits = Limits(customers_per_step=STEP, cached_bytes=1_000_000, park_seconds=7 * 86_400)
    config = msgspec.structs.replace(chaotic(deployment), limits=limits)
    file = playfile.parse(json.dumps({"plays": {"cheaper": PLAY}, "limits": {"caps": []}}).encode(), "plays.yaml")
    with Pipeline(tmp_path, config, ("stitch", "engage", "engage")) as pipeline:
        plays_control.apply(config, file)
        pipeline.of("stitch")[0].start()
        pipeline.of("engage")[0].start("engage.stepping:5")
        pipeline.of("engage")[1].start("engage.stepping:3")
        feeder = Feeder(config, seed=0, rate=0)
        for number in range(CUSTOMERS):
            _look(feeder, number)
        feeder.put(0, _price(100.0, START_MS + 1))
        await_(lambda: pipeline.revive() and pipeline.stitched(feeder.sent), "all looks to be stitched")
        feeder.put(0, _price(80.0, START_MS + 2))
        feeder.finish()
        pipeline.rest(feeder.sent)
        verdict = judge(config, pipeline.redis, file)
        assert pipeline.hits() == ["engage.stepping"] * 2
    assert verdict.faults == []
    triggers = [
        msgspec.json.decode(read.value or b"", type=Trigger)
        for read in read_topic(config, topic_name(config, "triggers"))
    ]
    assert len({each.subject for each in triggers}) == len(triggers) == CUSTOMERS
    assert all(each.data.values == {"price": 80.0, "was": 100.0} for each in triggers)
    steps = Counter(
        read.partition
        for read in read_topic(config, topic_name(config, STITCHED))
        if isinstance(stitched.decode(read.value or b""), Step)
    )
    assert len(steps) == config.topics.shards
    assert min(steps.values()) >= 2


def test_the_index_keeps_the_latest_and_forgets_the_old(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(shards, "INTERESTED", 700)
    store = ShardStore(client, f"index-{request.node.name.replace('_', '-')[:9]}")
    client.delete(*[store.key(0, suffix) for suffix in ("shard", "i:tea")])
    store.take([0], "me", "mine")

    def note(r: int, customers: dict[str, int], forgotten: int) -> None:
        interest = Interest({"tea": customers}, forgotten, 1_000)
        store.commit([Commit(0, r - 1 if r > 1 else None, r, b"", {}, {}, {}, [], interest)], "me", 0)

    # More than one command of the script can take.
    note(1, {f"c{time:04}": time for time in range(1, 1_201)}, 0)
    note(2, {"c1200": 5, "c0001": 2_000}, 0)
    for r in range(3, 11):
        note(r, {"new": 2_000 + r}, 0)
    (found,) = store.interested({0: ["tea"]})[0]
    assert len(found) == 700
    assert (found["c1200"], found["c0001"], found["new"], min(found.values())) == (1_200, 2_000, 2_010, 503)
    for r in range(11, 19):
        note(r, {"new": 2_000 + r}, 1_199)
    assert store.interested({0: ["tea"]}) == {0: [{"c1200": 1_200, "c0001": 2_000, "new": 2_018}]}
    assert 29 * 86_400_000 < client.pttl(store.key(0, "i:tea")) <= 30 * 86_400_000 + 1_000
    client.delete(*[store.key(0, suffix) for suffix in ("shard", "i:tea")])


def _look(feeder: Feeder, number: int) -> None:
    """A new customer whom a message can reach, and who has looked at tea."""
    consent = [{"channel": "sms", "granted": True}]
    who = (f"!member:m{number}", f"phone:1381{number:07d}")
    said: dict[str, Any] = {"at": START_MS, "consent": consent, "data": {"product": {"sku": "tea"}}}
    feeder.put(number % 2, touchpoint(number, *who, time=START_MS, type="Product Viewed", **said))


def _price(price: float, at: int) -> bytes:
    data = {"sku": "tea", "price": price}
    return touchpoint(10_000 + at - START_MS, time=at, at=at, type="Price Changed", data=data)
