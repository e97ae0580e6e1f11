"""Delivering triggers from a real Kafka: each once, opened, in time, acknowledged afterwards, none to the erased."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka import Producer

from flows.cli import main
from flows.delivery import Delivery, Receiver
from operators.kafka import client_properties
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.outputs import Sealed, Trigger, TriggerData
from schemas.topics import DATA_KEYS, topic_name
from state.vault import SealError, Vault, kid
from tests.system.pipeline import await_

T = 1_760_000_000_000
MASTER = {"k1": "33" * 32}
LATER = {"k1": "33" * 32, "k2": "44" * 32}


class Desk:
    """Writes triggers and keys as the flows do, and receives as a marketing system does."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._producer = Producer(client_properties(config) | {"transactional.id": f"{config.prefix}.desk"})
        self._producer.init_transactions(30)
        self.kids: dict[str, str] = {}
        self.vaults: dict[str, Any] = {}
        self.skipped: list[tuple[str, str]] = []

    def customer(self, name: str, vault: Vault | None = None, writer: Producer | None = None) -> None:
        """A new customer with a data key; ``writer`` writes it in a transaction that it leaves open."""
        vault = vault or Vault(MASTER)
        wrapped = vault.new_key(name)
        self.kids[name] = kid(name, wrapped)
        self.vaults[name] = vault.data_key(wrapped, name, self.kids[name])
        if writer is None:
            self._put(DATA_KEYS, self.kids[name], wrapped)
        else:
            writer.begin_transaction()
            writer.produce(topic_name(self.config, DATA_KEYS), wrapped, self.kids[name].encode())
            assert writer.flush(30) == 0

    def erase(self, name: str) -> None:
        """Destroy the data key."""
        self._put(DATA_KEYS, self.kids[name], None)

    def trigger(self, id: str, customer: str = "ann", **said: Any) -> None:
        """Write a trigger with address and number of its customer."""
        sealed = {
            name: Sealed(ns, self.kids[customer], self.vaults[customer].seal(f"{customer}{value}".encode()))
            for name, ns, value in (("contact", "email", "@mail.cn"), ("customer_number", "member", "-7"))
        }
        data = TriggerData("hello", "v1", customer, "email", "", "t", T, T, **{"decided_at": T, **sealed, **said})
        what = Trigger(
            id=id, source="touchstream/ts", type="touchstream.trigger.hello", subject=customer, time="2025", data=data,
            traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        )  # fmt: skip
        self._put("triggers", customer, msgspec.json.encode(what))

    def _put(self, topic: str, key: str, value: bytes | None) -> None:
        self._producer.begin_transaction()
        self._producer.produce(topic_name(self.config, topic), value, key.encode())
        self._producer.commit_transaction(30)

    def receiver(self, group: str = "mailer", **options: Any) -> Receiver:
        return Receiver(
            client_properties(self.config),
            **{
                "group": f"{self.config.prefix}.{group}",
                "master": MASTER,
                "prefix": self.config.prefix,
                "skipped": lambda trigger, why: self.skipped.append((trigger.id, why)),
                "now_ms": lambda: T,
                **options,
            },
        )

    def received(self, **options: Any) -> list[Delivery]:
        """What there is for a member of the group now."""
        found: list[Delivery] = []
        with self.receiver(**options) as receiver:
            counts = receiver.run(found.append, follow=False)
        assert counts["delivered"] == len(found)
        return found


@pytest.fixture
def desk(deployment: Config) -> Iterator[Desk]:
    desk = Desk(deployment)
    desk.customer("ann")
    yield desk


def told(found: list[Delivery]) -> list[tuple[str, str | None, str | None]]:
    return [(each.trigger.id, each.address, each.customer_number) for each in found]


def test_a_trigger_is_delivered_once_with_address_and_number_in_the_clear(desk: Desk) -> None:
    desk.trigger("t1")
    desk.trigger("t2", customer_number=None)
    assert told(desk.received()) == [("t1", "ann@mail.cn", "ann-7"), ("t2", "ann@mail.cn", None)]
    desk.customer("bob")
    desk.trigger("t3", "bob")
    assert told(desk.received()) == [("t3", "bob@mail.cn", "bob-7")]
    assert desk.received() == []
    assert len(desk.received(group="other")) == 3


def test_without_a_master_key_all_stays_sealed(desk: Desk) -> None:
    desk.trigger("t1")
    assert told(desk.received(master=None)) == [("t1", None, None)]


def test_keys_that_are_made_while_it_runs_are_known(desk: Desk) -> None:
    desk.trigger("t1")
    found: list[Delivery] = []
    with desk.receiver() as receiver:
        receiver.run(found.append, follow=False)
        desk.customer("bob")
        desk.trigger("t2", "bob")
        assert receiver.run(found.append, follow=False) == {"delivered": 2}
    assert told(found)[1] == ("t2", "bob@mail.cn", "bob-7")


def test_a_key_whose_transaction_is_still_ending_is_waited_for(desk: Desk) -> None:
    """A transaction ends on one partition after the other: what it led to may be seen before all of it is."""
    late = Producer(client_properties(desk.config) | {"transactional.id": f"{desk.config.prefix}.late"})
    late.init_transactions(30)
    found: list[Delivery] = []
    with desk.receiver() as receiver:
        receiver.run(found.append, follow=False)
        desk.customer("bob", writer=late)
        desk.trigger("t1", "bob")
        Timer(1.0, late.commit_transaction).start()
        receiver.run(found.append, follow=False)
    assert told(found) == [("t1", "bob@mail.cn", "bob-7")]


def test_nothing_is_delivered_to_who_was_erased_also_after_the_start(desk: Desk) -> None:
    for name in ("bob", "eve"):
        desk.customer(name)
    desk.erase("bob")
    desk.trigger("t1", "bob")
    with desk.receiver() as receiver:
        assert receiver.run(lambda each: None, follow=False) == {"erased": 1}
    desk.trigger("t2", "eve")
    desk.erase("eve")
    desk.trigger("t3")
    assert [each.trigger.id for each in desk.received()] == ["t3"]
    assert desk.skipped == [("t1", "erased"), ("t2", "erased")]


def test_what_comes_twice_is_delivered_once(desk: Desk) -> None:
    for id in ("t1", "t2", "t1"):
        desk.trigger(id)
    assert [each.trigger.id for each in desk.received()] == ["t1", "t2"]
    assert desk.skipped == [("t1", "duplicate")]


def test_what_has_expired_is_not_delivered(desk: Desk) -> None:
    desk.trigger("t1", expires_at=T)
    desk.trigger("t2", expires_at=T + 1)
    assert [each.trigger.id for each in desk.received()] == ["t2"]
    assert desk.skipped == [("t1", "expired")]


def test_a_log_that_brings_its_time_is_judged_by_its_time(desk: Desk) -> None:
    desk.trigger("t1", expires_at=T + 1, not_before=T)
    desk.trigger("t2", decided_at=T + 2)
    desk.trigger("t3", expires_at=T + 1)
    found = desk.received(log_clock=True, now_ms=lambda: T + 10**12)
    assert [each.trigger.id for each in found] == ["t1", "t2"]


def test_nothing_is_delivered_before_its_time(desk: Desk) -> None:
    clock = iter(range(T, T + 100, 5))
    times: list[int] = []

    def now() -> int:
        times.append(next(clock))
        return times[-1]

    desk.trigger("t1", not_before=T + 10)
    with desk.receiver(now_ms=now) as receiver:
        receiver.run(lambda each: times.append(-1), follow=False)
    assert times == [T, T + 5, T + 10, -1]
    desk.trigger("t2", not_before=T + 61_000)
    with pytest.raises(TouchstreamError, match="clock is behind"):
        desk.received()


@pytest.mark.parametrize("stays", [True, False], ids=["the same process", "another process"])
def test_what_could_not_be_delivered_comes_again_and_what_was_does_not(desk: Desk, stays: bool) -> None:
    for id in ("t1", "t2", "t3"):
        desk.trigger(id)
    tried: list[str] = []

    def deliver(each: Delivery) -> None:
        tried.append(each.trigger.id)
        if tried.count("t2") == 1 and tried[-1] == "t2":
            raise ConnectionError

    with desk.receiver() as receiver:
        with pytest.raises(ConnectionError):
            receiver.run(deliver, follow=False)
        if stays:
            assert receiver.run(deliver, follow=False) == {"delivered": 3}
    if not stays:
        with desk.receiver() as receiver:
            assert receiver.run(deliver, follow=False) == {"delivered": 2}
    assert tried == ["t1", "t2", "t2", "t3"]


def test_members_of_a_group_share_the_triggers(desk: Desk) -> None:
    """Whichever partitions go to whom, and however they move: all once, each customer's in order."""
    names = [f"customer-{number}" for number in range(12)]
    for name in names:
        desk.customer(name)
    found: list[tuple[str, str]] = []

    def delivered(count: int) -> bool:
        return len(found) >= count

    with desk.receiver() as one, desk.receiver() as two, ThreadPoolExecutor() as pool:
        members = [pool.submit(one.run, lambda each: found.append(("one", each.trigger.id)))]
        for turn in range(1, 100):
            for name in names:
                desk.trigger(f"{name}/{turn:03}", name)
            await_(partial(delivered, turn * len(names)), "all to be delivered")
            if turn == 1:
                members.append(pool.submit(two.run, lambda each: found.append(("two", each.trigger.id))))
            if {member for member, _ in found} == {"one", "two"}:
                break
        one.stop()
        two.stop()
    assert sum(member.result()["delivered"] for member in members) == len(found)
    ids = [id for _, id in found]
    assert sorted(ids) == sorted(f"{name}/{number:03}" for name in names for number in range(1, turn + 1))
    for name in names:
        own = [id for id in ids if id.startswith(f"{name}/")]
        assert own == sorted(own)
    assert {member for member, _ in found} == {"one", "two"}


def test_a_run_that_is_stopped_ends_after_the_trigger_in_hand(desk: Desk) -> None:
    for id in ("t1", "t2"):
        desk.trigger(id)
    with desk.receiver() as receiver:
        assert receiver.run(lambda each: receiver.stop()) == {"delivered": 1}
    assert [each.trigger.id for each in desk.received()] == ["t2"]


def test_after_a_rotation_old_and_new_master_keys_open(desk: Desk) -> None:
    desk.customer("bob", Vault(LATER))
    desk.trigger("t1")
    desk.trigger("t2", "bob")
    assert sorted(told(desk.received(master=LATER))) == [
        ("t1", "ann@mail.cn", "ann-7"),
        ("t2", "bob@mail.cn", "bob-7"),
    ]


@pytest.mark.parametrize(
    ("master", "why"),
    [({"k1": "55" * 32}, "another key under this id"), ({"k2": "33" * 32}, "that keys.master does not list")],
    ids=["wrong", "missing"],
)
def test_under_a_wrong_master_key_nothing_is_acknowledged(desk: Desk, master: dict[str, str], why: str) -> None:
    desk.trigger("t1")
    with pytest.raises(SealError, match=why):
        desk.received(master=master)
    assert len(desk.received()) == 1


def test_what_is_no_trigger_stops_the_run(desk: Desk) -> None:
    desk._put("triggers", "ann", b'{"id": 7}')
    with pytest.raises(TouchstreamError, match=r"triggers/\d/0 is no trigger that this version knows"):
        desk.received()


def test_a_deployment_that_is_not_there_is_named(desk: Desk) -> None:
    with pytest.raises(TouchstreamError, match=r"no such topic: nobody\.triggers"):
        desk.received(prefix="nobody")


def test_the_command_prints_deliveries_and_tells_what_it_skips(desk: Desk, tmp_path: Path) -> None:
    config = msgspec.structs.replace(desk.config, clock="log")
    file = tmp_path / "touchstream.yaml"
    file.write_text(yaml.safe_dump(msgspec.to_builtins(config)))
    run: Callable[..., Any] = lambda *options: CliRunner().invoke(  # noqa: E731
        main, ["triggers", "consume", "--end", "-c", str(file), *options]
    )
    desk.trigger("t1", reasons={"gap": 0.5})
    desk.trigger("t1")
    result = run("--decrypt", "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    delivery = json.loads(line)
    assert (delivery["address"], delivery["customer_number"]) == ("ann@mail.cn", "ann-7")
    assert delivery["trigger"]["data"]["reasons"] == {"gap": 0.5}
    assert result.stderr.splitlines() == ["skipped t1: duplicate", "1 delivered, 1 duplicate"]
    assert run().stderr == "nothing new\n"
    sealed = run("--group", f"{config.prefix}.other")
    assert "hello" in sealed.stdout and "mail.cn" not in sealed.stdout
    assert "ann@mail.cn  ann-7" in run("--group", f"{config.prefix}.third", "--decrypt").stdout
