"""Operators' commands through the whole of it: command line, Kafka, stitch, engage, audit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from flows.cli import main
from flows.status import status
from schemas.config import Config, Metrics
from schemas.outputs import Audit
from schemas.stitched import shard_of
from schemas.topics import topic_name
from state.profile import Profile, unpack
from state.shards import ShardStore
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import read_topic, scan

pytestmark = pytest.mark.flows


class Shop:
    """A running deployment and its operator."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.pipeline = Pipeline(folder, config, ("stitch", "engage"))
        self._file = str(folder / "touchstream.yaml")
        self._producer = Producer({"bootstrap.servers": config.kafka.bootstrap})
        self._store = ShardStore(self.pipeline.redis, config.prefix)
        self._sent = 0

    def send(self, *who: str, kind: str = "Page Viewed", at: int | None = None, **data: Any) -> int:
        """One touchpoint; its time."""
        when = at or time.time_ns() // 1_000_000
        identifiers = [dict(zip(("ns", "value"), each.split(":", 1), strict=True)) for each in who]
        event = {"id": f"e{self._sent}", "source": "shop", "type": kind, "time": when, "identifiers": identifiers}
        self._sent += 1
        # One partition: what is sent first is stitched first.
        self._producer.produce(topic_name(self.config, "touchpoints"), json.dumps(event | {"data": data}), "", 0)
        assert self._producer.flush(30) == 0
        return when

    def settle(self) -> dict[str, int]:
        """The account, once everything that was sent is in it."""
        await_(lambda: self._under_way() == 0, "every touchpoint to be accounted for")
        return self._store.counts(range(self.config.topics.shards))

    def _under_way(self) -> int:
        account = status(self.config).account
        return -1 if account.consumed != self._sent or account.under_way is None else account.under_way

    def command(self, *arguments: str, code: int = 0) -> Any:
        """What ``touchstream identity`` says, as JSON, or as text if it fails."""
        as_json = [] if arguments[0] == "export" else ["--json"]
        done = CliRunner().invoke(main, ["identity", *arguments, *as_json, "-c", self._file])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout.splitlines()[0]) if done.stdout else done.stderr

    def customer(self, who: str) -> str:
        return str(self.command("show", who)["customer"])

    def profile(self, customer: str) -> Profile:
        """As it stands in Redis."""
        packed = self.pipeline.redis.get(
            self._store.key(shard_of(customer, self.config.topics.shards), "c:" + customer)
        )
        return unpack(packed) if isinstance(packed, bytes) else Profile(customer)

    def audit(self) -> list[Audit]:
        found = read_topic(self.config, topic_name(self.config, "audit"))
        return [msgspec.json.decode(read.value or b"", type=Audit) for read in found]


@pytest.fixture
def shop(deployment: Config, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(msgspec.structs.replace(deployment, metrics=Metrics(port=0)), tmp_path)
    with shop.pipeline as pipeline:
        for flow in pipeline.flows:
            flow.start()
        yield shop


def did(profile: Profile) -> tuple[Any, ...]:
    return (
        profile.behaviour,
        profile.units,
        profile.progress,
        profile.seen,
        sorted(profile.ids),
        sorted(profile.contacts),
    )


def order(shop: Shop, who: Sequence[str], sku: str) -> None:
    lines = [{"sku": sku, "quantity": 1, "price": 10.0}]
    shop.send(*who, kind="Order Completed", order_id=f"o-{sku}", revenue=10.0, lines=lines)


def test_a_merge_is_carried_out_and_undone(shop: Shop) -> None:
    order(shop, ["member:ann", "email:ann@mail.cn"], "tea")
    order(shop, ["member:bob", "phone:+8613977461823"], "cup")
    shop.settle()
    ann, bob = shop.customer("member:ann"), shop.customer("member:bob")
    before = {who: did(shop.profile(who)) for who in (ann, bob)}
    merged = shop.command("merge", "member:ann", bob, "--by", "eve", "--reason", "ticket 7")
    assert merged["audit"][0]["outcome"] == "applied"
    one = shop.customer("member:ann")
    assert shop.customer("member:bob") == one
    order(shop, ["member:bob"], "pot")
    shop.settle()
    await_(lambda: shop.profile(one).behaviour.orders == 3, "the hand-over")
    assert shop.command("split", "member:ann", "member:bob", "--by", "eve")["audit"][0]["outcome"] == "applied"
    assert [shop.customer("member:ann"), shop.customer("member:bob")] == [ann, bob]
    await_(lambda: shop.profile(bob).behaviour.orders == 2, "the undoing")
    assert did(shop.profile(ann)) == before[ann]
    assert did(shop.profile(bob))[3] == before[bob][3] + did(shop.profile(bob))[3][-10:]
    said = shop.command("merge", "member:ann", "member:never seen", code=1)
    assert "has never been seen" in said
    assert [(each.op, each.by, each.reason) for each in shop.audit()] == [
        ("merge", "eve", "ticket 7"),
        ("split", "eve", ""),
    ]


def test_who_is_erased_is_nowhere_any_more(shop: Shop) -> None:
    shop.send("device:d7", kind="Page Viewed", url="https://shop/?q=secret")
    order(shop, ["member:ann", "email:ann@mail.cn", "device:d7"], "tea")
    late = shop.send("member:bob", "device:d8")
    shop.settle()
    exported = shop.command("export", "email:Ann@Mail.CN", "--history")
    assert exported["contacts"] == {"email": "ann@mail.cn", "member": "ann"}
    assert exported["profile"]["behaviour"]["orders"] == 1
    assert exported["touchpoints"][0]["personal"] == {"url": "https://shop/?q=secret"}
    ann, bob = exported["customer"], shop.customer("member:bob")
    sealed = shop.profile(ann).contacts["email"].sealed.encode()
    told = {name: len(read_topic(shop.config, topic_name(shop.config, name))) for name in ("stitched", "scores")}

    erased = shop.command("erase", "device:d7", "--reason", "request 1")
    assert [each["outcome"] for each in erased["audit"]] == ["applied", "erased"]
    assert erased["audit"][1]["counts"]["contacts"] == 2
    shop.send("email:ann@mail.cn", "cookie:c1", at=late)
    shop.send("member:bob", "device:d8")
    assert shop.settle()["applied"] == 4
    assert status(shop.config).account.erased == 1

    redis = {key: value for key, value in scan(shop.pipeline.redis, "").items() if shop.config.prefix.encode() in key}
    holding = [key for key, value in redis.items() if sealed in value or b"shop/?q" in value]
    assert holding == []
    named = [key for key, value in redis.items() if ann.encode() in key + value]
    assert [key.rpartition(b"}")[2] for key in named if b"outcome" not in redis[key]] == [b"c:" + ann.encode()]
    assert shop.profile(ann) == Profile(ann, erased=shop.profile(ann).erased)
    keys = {read.key: read.value for read in read_topic(shop.config, topic_name(shop.config, "data-keys"))}
    assert [value for key, value in keys.items() if (key or b"").startswith(ann.encode())] == [None]
    after = read_topic(shop.config, topic_name(shop.config, "stitched"))[told["stitched"] :]
    assert not any(sealed in (read.value or b"") for read in after)
    assert "was erased" in shop.command("export", ann, code=1)

    shop.send("member:ann", "device:d7")
    shop.settle()
    fresh = shop.customer("member:ann")
    assert fresh not in (ann, bob)
    assert shop.profile(fresh).contacts.keys() == {"member"}


def test_a_command_that_nobody_carries_out_is_still_given(deployment: Config, tmp_path: Path) -> None:
    shop = Shop(deployment, tmp_path)
    said = CliRunner().invoke(
        main,
        ["identity", "erase", "member:x", "--reason", "r", "--wait", "0.1", "-c", str(tmp_path / "touchstream.yaml")],
    )
    assert said.exit_code == 1
    assert "are stitch and engage running" in said.stderr
    with shop.pipeline as pipeline:
        for flow in pipeline.flows:
            flow.start()
        await_(lambda: [each.outcome for each in shop.audit()] == ["applied"], "the command to be carried out")
