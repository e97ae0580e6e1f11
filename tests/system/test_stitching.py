"""The stitch core on a real Valkey, one process at a time."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections import Counter
from urllib.parse import quote

import msgspec
import pytest
import redis

from operators.stitching import Stitcher
from schemas import stitched
from schemas.config import Identity, Privacy
from schemas.errors import Conflict
from schemas.policy import Namespace
from schemas.stitched import Change, Event
from state.identity import Source
from state.tokens import token_text
from state.vault import DeadLetterBox, Vault
from tests.messages import START, TOPIC, Message, message
from tests.system.identity_world import KEYS, NOW, TOKENS, World, folded, pure, restore, snapshot, token


@pytest.fixture
def world(client: redis.Redis) -> World:
    return World(client)


# -- one process -------------------------------------------------------------------------------------------


def test_an_anonymous_visitor_is_created_recognised_and_merged(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "device:d1", data={"url": "https://shop/x"}))
    world.run(stitcher, message(1, "member:m1", time=START + 1))
    world.run(stitcher, message(2, "device:d1", "!member:m1", "email:li@mail.cn", time=START + 2))
    older, newer = (record.customer for record in world.events()[:2])
    assert [(record.kind, record.customer, record.old, record.new) for record in world.changes()] == [
        ("created", older, None, None),
        ("created", newer, None, None),
        ("linked", older, None, None),
        ("merged", newer, newer, older),
        ("merged", older, newer, older),
    ]
    assert world.events()[2].customer == older
    assert [type(record).__name__ for record in world.log[-4:]] == ["Change", "Change", "Change", "Event"]
    assert set(world.stored()[0].values()) == {older}


def test_an_event_as_it_stands_in_stitched(world: World) -> None:
    raw = message(5, "device:d1", "!member:m1", type="Product Added", session="s1", channel="web", store="S7",
                  consent=[{"channel": "email", "granted": True}],
                  data={"cart_id": "c1", "product": {"sku": "T1", "name": "Tea"}, "url": "https://shop/x"})  # fmt: skip
    world.run(world.process(), raw)
    (event,) = world.events()
    assert event.at == NOW
    assert (event.src, event.ts, event.time) == (f"{TOPIC}/0/5", START, START)
    assert (event.type, event.source, event.channel, event.store) == ("Product Added", "web", "web", "S7")
    assert (event.eid, event.session) == (TOKENS.event("web", "e5"), TOKENS.text("session", "s1"))
    assert event.ids == [token_text(token("device:d1")), token_text(token("member:m1"))]
    assert json.loads(bytes(event.data)) == {"cart_id": TOKENS.text("cart_id", "c1"), "product": {"sku": "T1"}}
    assert [(each.channel, each.granted) for each in event.consent] == [("email", True)]
    assert world.open(event) == {"url": "https://shop/x"}


def test_contacts_are_sealed_for_their_customer_when_first_seen(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "device:d1", "email: Li@Mail.CN "))
    world.run(stitcher, message(1, "device:d1", "email:li@mail.cn", "phone:138 1234 5670", time=START + 9))
    created, linked = world.changes()
    for change, ns, value, time in (
        (created, "email", b"li@mail.cn", START),
        (linked, "phone", b"+8613812345670", START + 9),
    ):
        (contact,) = change.contacts
        assert (contact.ns, contact.time) == (ns, time)
        assert (
            Vault(KEYS.master).data_key(world.keys[contact.kid], change.customer, contact.kid).open(contact.sealed)
            == value
        )


def test_a_data_key_is_published_before_its_first_use(world: World) -> None:
    batch = world.process().stitch([message(0, "device:d1", data={"url": "x"})], {}, {})
    assert [out.topic.rpartition(".")[2] for out in batch.outgoing] == ["data-keys", "stitched", "stitched"]
    created = stitched.decode(batch.outgoing[1].value or b"")
    event = stitched.decode(batch.outgoing[2].value or b"")
    assert isinstance(created, Change)
    assert isinstance(event, Event)
    assert (batch.outgoing[0].key or b"").decode() == event.kid
    assert (event.kid or "").startswith(created.customer)


def test_changes_stay_pending_until_published_whoever_reads_them(world: World) -> None:
    first, second = world.process(0), world.process(1)
    lost = first.stitch([message(0, "device:d1")], {}, {})  # its transaction never happens
    world.run(second, message(0, "device:d1", part=1, time=START + 1))
    assert [type(record).__name__ for record in world.log] == ["Change", "Event"]
    assert world.keys
    first.published(lost)  # a late clear of something that moved on: no harm
    world.run(first, message(1, "device:d1", time=START + 2))
    assert [change.kind for change in world.changes()] == ["created"]


def test_the_same_batch_again_says_the_same_and_changes_nothing(world: World) -> None:
    stitcher = world.process()
    messages = [message(0, "device:d1"), message(1, "device:d1", "member:m1"), message(2, "member:m2")]
    first = stitcher.stitch(messages, {}, {})
    again = stitcher.stitch(messages, {}, {})
    assert again.outgoing == first.outgoing
    assert (first.changes, again.changes) == (Counter(created=2), Counter())
    in_pieces = [stitcher.stitch([each], {}, {}) for each in messages]
    assert {out.key for batch in in_pieces for out in batch.outgoing} == {out.key for out in first.outgoing}
    assert {batch.sources[TOPIC, 0].position for batch in in_pieces} == {3}, "R never goes back"


def test_versions_rise_when_the_clock_goes_back(world: World) -> None:
    for number in range(4):
        world.run(world.process(), message(number, "device:d1", f"cookie:c{number}", time=START + number))
        world.now -= 60_000
    versions = [change.version for change in world.changes()]
    assert len(versions) == 4
    assert versions == sorted(set(versions))


def test_below_k_links_and_changes_count_but_touchpoints_and_dead_letters_are_not_repeated(world: World) -> None:
    batch = world.run(
        world.process(), message(0, "device:d1"), Message(1, b"{"), message(2, "device:d1"), Message(3, b"}"),
        committed={(TOPIC, 0): 2},
    )  # fmt: skip
    assert [change.kind for change in world.changes()] == ["created"]
    assert [event.src for event in world.events()] == [f"{TOPIC}/0/2"]
    assert [letter["offset"] for letter in world.dead] == [3]
    lane = batch.lanes[TOPIC, 0]
    assert (lane.consumed, lane.dead, lane.next) == (2, 1, 4)
    assert sum(lane.suppressed for lane in batch.lanes.values()) == 2
    assert world.process().positions.take([(TOPIC, 0)]) == {(TOPIC, 0): 4}


def test_dead_letters_junk_and_product_events(world: World) -> None:
    batch = world.run(
        world.process(),
        Message(0, None),
        message(1),
        message(2, "device:null"),
        message(3, "device:null", "member:m1"),
        message(4, type="Stock Changed", data={"sku": "T1", "stock": 3}),
    )
    assert [letter["reason"] for letter in world.dead] == ["empty", "no_identifier", "no_usable_identifier"]
    assert batch.faults == Counter(empty=1, no_identifier=1, no_usable_identifier=1)
    assert batch.junk == 1
    _, product = world.events()
    assert product.customer == "product:T1"
    assert json.loads(bytes(product.data)) == {"sku": "T1", "stock": 3}
    assert set(world.stored()[0]) == {token("member:m1")}
    assert DeadLetterBox(bytes.fromhex(KEYS.dead_letters)).open(world.dead[0]["sealed"]).value is None


def test_an_older_identifier_that_comes_to_light_moves_the_id_and_may_move_it_back(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "device:d1", time=START + 50))
    world.run(stitcher, message(1, "device:d1", "member:m1", time=START + 60))
    world.run(stitcher, message(2, "member:m1", time=START + 40))
    world.run(stitcher, message(3, "device:d1", time=START + 30))
    world.run(stitcher, message(4, "member:m1", time=START + 20))
    x, _, y, z, w = (event.customer for event in world.events())
    assert (z, w) == (x, y)
    assert x != y
    told = [(change.old, change.new) for change in world.changes() if change.kind == "merged"][::2]
    assert told == [(x, y), (y, x), (x, y)]
    assert len({change.id for change in world.changes()}) == 2 + 1 + 3, "created, linked, merged"
    assert set(folded(world.changes()).values()) == {y}
    assert len(world.keys) == 2


def test_times_are_clamped_and_stamped_by_the_clock_that_rules(client: redis.Redis) -> None:
    live = World(client)
    live.run(live.process(), message(0, "device:d1", time=NOW + 5_000, at=START))
    assert [(event.at, event.time) for event in live.events()] == [(NOW, NOW)]
    history = World(client, clock="log")
    history.run(
        history.process(),
        message(0, "device:d1", at=START + 7),
        message(1, "device:d1"),
        message(2, "device:d1", at=START + 3),
    )
    assert [event.at for event in history.events()] == [START + 7, START + 7, START + 3]


# -- positions ---------------------------------------------------------------------------------------------


def watermark(world: World, stitcher: Stitcher, *messages: Message, end: bool) -> int:
    """Where it stands while a batch is on its way into the log."""
    return world.run(stitcher, *messages, ends={(TOPIC, 0): end}).sources[TOPIC, 0].watermark


def test_the_watermark_is_the_last_record_behind_and_now_when_caught_up(world: World) -> None:
    stitcher = world.process()
    assert watermark(world, stitcher, message(0, "device:d1"), end=False) == 0
    assert watermark(world, stitcher, Message(1, b"{", ts=START + 5), end=False) == START
    assert watermark(world, stitcher, message(2, "device:d1"), end=True) == START + 5
    assert watermark(world, stitcher, message(3, "device:d1"), end=True) == NOW
    world.now += 10
    assert stitcher.positions.watermarks({(TOPIC, 0): 4, (TOPIC, 1): 0}) == {
        (TOPIC, 0): Source(4, NOW + 10),
        (TOPIC, 1): Source(0, NOW + 10),
    }
    assert watermark(world, stitcher, Message(4, b"{", ts=NOW + 999_999_999), end=False) == NOW + 10
    assert world.process().positions.take([(TOPIC, each) for each in range(3)]) == {(TOPIC, 0): 5, (TOPIC, 1): 0}


def test_the_watermark_waits_until_what_was_stitched_is_in_the_log(world: World) -> None:
    stitcher = world.process()
    lost = stitcher.stitch([message(0, "device:d1")], {}, {(TOPIC, 0): True})
    heir = world.process()
    heir.positions.take([(TOPIC, 0)])
    assert watermark(world, heir, message(0, "device:d1"), end=False) == 0
    assert watermark(world, heir, message(1, "device:d1", time=START + 1), end=False) == START
    stitcher.published(lost)


def test_a_source_that_is_read_anew_begins_where_it_is_read(world: World) -> None:
    world.run(world.process(), *[message(n, "device:d1") for n in range(3)])
    heir = world.process()
    assert heir.positions.take([(TOPIC, 0)]) == {(TOPIC, 0): 3}
    heir.positions.put_back({(TOPIC, 0): 1, (TOPIC, 1): 7})
    assert world.process().positions.take([(TOPIC, 0), (TOPIC, 1)]) == {(TOPIC, 0): 1}
    heir.positions.put_back({(TOPIC, 0): 2})
    assert world.process().positions.take([(TOPIC, 0)]) == {(TOPIC, 0): 1}


def test_a_source_has_a_position_before_its_first_batch(world: World) -> None:
    world.run(world.process(), *[message(n, "device:d1") for n in range(3)])
    first = world.process(0, 1)
    first.positions.begin({(TOPIC, 0): 0, (TOPIC, 1): 7})
    assert world.process().positions.take([(TOPIC, 0), (TOPIC, 1)]) == {(TOPIC, 0): 3, (TOPIC, 1): 7}
    world.run(first, message(7, "device:d1", part=1))
    assert world.process().positions.take([(TOPIC, 1)]) == {(TOPIC, 1): 8}


def test_the_watermark_of_a_log_with_its_own_clock(client: redis.Redis) -> None:
    world = World(client, clock="log")
    stitcher = world.process()
    both = (message(0, "device:d1", at=START + 5), message(1, "device:d1", at=START + 3))
    assert watermark(world, stitcher, *both, end=False) == 0
    assert watermark(world, stitcher, message(2, "device:d1", at=START + 4), end=True) == START + 3
    assert watermark(world, stitcher, message(3, "device:d1", at=START + 4), end=False) == START + 5
    assert stitcher.positions.watermarks({(TOPIC, 1): 0}) == {(TOPIC, 1): Source(0, START + 5)}
    assert world.process(0, 1).positions.watermarks({(TOPIC, 1): 0}) == {(TOPIC, 1): Source(0, START + 5)}


def test_who_lost_the_partition_can_change_nothing(world: World) -> None:
    stalled, successor = world.process(), world.process()
    world.run(successor, message(0, "device:d1"))
    with pytest.raises(Conflict):
        stalled.stitch([message(0, "member:m1")], {}, {})
    with pytest.raises(Conflict):
        stalled.positions.watermarks({(TOPIC, 0): 1})
    assert set(world.stored()[0]) == {token("device:d1")}
    assert stalled.positions.take([(TOPIC, 0)]) == {(TOPIC, 0): 1}
    stalled.stitch([message(1, "member:m1")], {}, {})


def test_a_redis_that_forgot_is_noticed_and_taught_again(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "device:d1"))
    held = snapshot(world)
    forgotten = [message(1, "device:d1", "member:m1"), message(2, "email:li@mail.cn", time=START - 9)]
    world.run(stitcher, *forgotten)
    restore(world, held)
    with pytest.raises(Conflict):
        stitcher.stitch([message(3, "member:m1", "email:li@mail.cn")], {}, {})
    assert stitcher.positions.take([(TOPIC, 0)]) == {(TOPIC, 0): 1}
    last = message(3, "member:m1", "email:li@mail.cn")
    world.run(stitcher, *forgotten, last, committed={(TOPIC, 0): 3})
    assert world.stored()[0] == pure([message(0, "device:d1"), *forgotten, last])
    assert {token_text(each): owner for each, owner in world.stored()[0].items()} == folded(world.changes())
    assert [event.src.rpartition("/")[2] for event in world.events()] == ["0", "1", "2", "3"]
    for change in world.changes():
        assert all(contact.kid in world.keys for contact in change.contacts)


def test_each_logout_parts_who_has_logged_in_again(client: redis.Redis) -> None:
    world = World(client, identity=Identity(namespaces={"device": Namespace(shared="explicit_logout")}))
    stitcher, who = world.process(), ("device:d1", "!member:m1")
    for n, (type, customers) in enumerate([("Signed In", 1), ("Signed Out", 2)] * 2):
        world.run(stitcher, message(n, *who, type=type, time=START + n))
        assert len(set(world.stored()[0].values())) == customers, f"after event {n}"


def test_a_value_blocked_later_is_no_longer_anybodys(client: redis.Redis) -> None:
    world = World(client, identity=Identity())
    shared, member = message(0, "device:d1", "!member:m1"), message(1, "device:d1", "!member:m2", time=START + 9)
    world.run(world.process(), shared, member, message(2, "device:d1", "cookie:c1", time=START + 10))
    world.config = msgspec.structs.replace(world.config, identity=Identity(blocked=("device:d1",)))
    more = [message(3, "!member:m1", "device:d2", time=START + 50), message(4, "cookie:c1", time=START + 51)]
    world.run(world.process(), *more)
    owners, clusters = world.stored()
    assert token("device:d1") not in owners
    assert all(token("device:d1") not in cluster.ids for cluster in clusters)
    assert len({owners[token(each)] for each in ("member:m1", "member:m2", "cookie:c1")}) == 3
    assert owners[token("device:d2")] == owners[token("member:m1")]
    world.config = msgspec.structs.replace(world.config, identity=Identity())
    world.run(world.process(), message(5, "device:d1", "!member:m2", time=START + 60))
    owners, _ = world.stored()
    assert owners[token("device:d1")] == owners[token("member:m2")]


def test_a_customer_that_only_redis_forgot_is_handed_over_again(world: World) -> None:
    stitcher = world.process()
    world.run(stitcher, message(0, "device:d0"))
    held = snapshot(world)
    forgotten = [message(1, "device:d1", time=START + 9), message(2, "device:d1", "member:m1", time=START + 8)]
    for each in (*forgotten, message(3, "member:m1")):
        world.run(stitcher, each)
    before = len(world.log)
    restore(world, held)
    again = world.process()
    world.run(again, *forgotten, message(3, "member:m1"), committed={(TOPIC, 0): 4})
    assert len(world.events()) == 4
    told = [record for record in world.log[before:] if isinstance(record, Change)]
    (final,) = {owner for each, owner in world.stored()[0].items() if each != token("device:d0")}
    others = {event.customer for event in world.events()[1:]} - {final}
    assert others
    assert {change.old for change in told if change.kind == "merged"} >= others


# -- privacy -----------------------------------------------------------------------------------------------


def test_no_personal_value_lies_in_redis_or_in_what_is_written(client: redis.Redis) -> None:
    world = World(client, privacy=Privacy(unknown_fields="seal"))
    who = ("email:Zq1@Mail.CN", "phone:13812345671", "member:zqsecret2", "device:zqsecret3", "zqns:zqsecret4")
    world.run(
        world.process(),
        message(
            0,
            *who,
            session="zqsecret5",
            device={"kind": "zqsecret6", "imei": "zqsecret7"},
            zqsecret8="zqsecret9",
            data={"url": "zqsecret10", "zqsecret11": 1},
        ),
        message(1, *who, type="Zq Unknown", data={"a": "zqsecret12"}),
        message(
            2,
            *who,
            type="Order Completed",
            data={"order_id": "zqsecret13", "lines": [{"sku": "T1", "name": "zqsecret14"}]},
        ),
        Message(3, b'{"id":"zqsecret15"', name=b"zqsecret16", extra=(("zqsecret17", b"zqsecret18"),)),
    )
    batch = world.process().stitch([message(4, *who, id="zqsecret19")], {}, {})
    written = [part for out in batch.outgoing for part in (out.key or b"", out.value)]
    written += [msgspec.json.encode(record) for record in world.log] + [msgspec.json.encode(world.dead)]
    written += [part for key, value in snapshot(world).items() for part in (key, value)]
    for value in ("zq1@mail.cn", "Zq1@Mail.CN", "13812345671", *(f"zqsecret{n}" for n in range(2, 20))):
        for form in (
            value,
            b64encode(value.encode()).decode().rstrip("="),
            urlsafe_b64encode(value.encode()).decode().rstrip("="),
            quote(value),
        ):
            found = [part for part in written if form.encode() in (part or b"")]
            assert not found or value in ("zqsecret4",), f"{value} as {form}"
    sealed = [world.open(event) for event in world.events() if event.sealed]
    assert sealed[0] == {
        "url": "zqsecret10",
        "unknown": {"$.device.imei": "zqsecret7", "$.zqsecret8": "zqsecret9", "$.data.zqsecret11": 1},
    }
    assert sealed[1] == {"data": {"a": "zqsecret12"}}
    assert all(b"zqsecret" not in b64decode(event.sealed or "") for event in world.events())
