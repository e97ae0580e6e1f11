"""Reading records: what becomes of each, and which part of it stays readable."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.clusters import move_times
from operators.evidence import KINDS, Effect, Sighting, confused, effect, facts_of
from operators.partition import partition
from operators.privacy import split, unknown_fields
from operators.reading import Reader, Touch
from schemas.config import Config, Identity, Keys, Privacy
from schemas.errors import RecordFault
from schemas.policy import DAY_MS
from schemas.touchpoint import TYPES, decode, decode_body
from state.identity import Cluster, Span, code
from state.tokens import Tokens, token_text
from state.vault import DeadLetterBox
from tests.effort import examples
from tests.identity_worlds import evidence_of
from tests.messages import START, Message, message, touchpoint
from tests.sightings import RULES, events, sightings

KEYS = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
TOKENS = Tokens(bytes.fromhex(KEYS.index))


def reader(**sections: Any) -> Reader:
    return Reader(Config(keys=KEYS, **sections), TOKENS)


def read(*who: str, **fields: Any) -> Touch:
    return reader().read(message(7, *who, **fields), "t/0")


def fault(raw: bytes | None) -> RecordFault:
    with pytest.raises(RecordFault) as caught:
        reader().read(Message(0, raw), "t/0")
    return caught.value


# -- identifiers -------------------------------------------------------------------------------------------


def test_identifiers_are_normalised_junk_is_dropped_and_logins_are_known() -> None:
    person = read("email: Li@Mail.CN ", "device:null", "!member:M1", "EMAIL:li@mail.cn", "phone:12").person
    email, member = TOKENS.identifier("email", "li@mail.cn"), TOKENS.identifier("member", "M1")
    assert person.who == ((email, member), 0b10)
    assert person.ids == [token_text(email), token_text(member)]
    assert person.junk == 2


@pytest.mark.parametrize(("kinds", "meant"), [("ot", "till"), ("ta", "alias"), ("oo", "observed"), ("lt", "till")])
def test_links_are_worth_what_the_strongest_claim_says_unless_a_login_proves_them(kinds: str, meant: str) -> None:
    names = {"o": "observed", "t": "till", "a": "alias", "l": "login"}
    identifiers = [{"ns": f"card{n}", "value": "x1", "kind": names[kind]} for n, kind in enumerate(kinds)]
    event = {"id": "1", "source": "till", "type": "Page Viewed", "time": START, "identifiers": identifiers}
    person = reader().read(Message(0, msgspec.json.encode(event)), "t/0").person
    assert person.kind == meant
    assert bool(person.who[1]) == ("l" in kinds)


def test_an_identifier_whose_namespace_is_none_is_junk() -> None:
    event = {"id": "1", "source": "web", "type": "Page Viewed", "time": START}
    identifiers = [{"ns": "li@mail.cn", "value": "x"}, {"ns": "device", "value": "d1"}]
    person = reader().read(Message(0, msgspec.json.encode(event | {"identifiers": identifiers})), "t/0").person
    assert person.junk == 1
    assert person.ids == [token_text(TOKENS.identifier("device", "d1"))]


def test_a_household_says_who_somebody_is_only_if_nothing_else_does() -> None:
    home, device = TOKENS.identifier("household", "h1"), TOKENS.identifier("device", "ab12")
    both = read("household:h1", "device:ab12").person
    assert both.who == ((device,), 0)
    assert set(both.ids) == {token_text(home), token_text(device)}
    assert read("household:h1", "household:h2").person.who == ((home,), 0)


def test_blocked_values_are_normalised_like_those_of_touchpoints() -> None:
    with pytest.raises(RecordFault, match="no_usable_identifier"):
        blocked = ("email:Kiosk@Shop.CN", "phone:138 1234 5670", "Device:k-1", "phone:nonsense")
        reader(identity=Identity(blocked=blocked)).read(
            message(0, "email:kiosk@shop.cn", "phone:+8613812345670", "device:k-1"), "t/0"
        )


@pytest.mark.parametrize(("number", "kept"), [("member", ["member"]), ("loyalty_card", ["loyalty_card"]), (None, [])])
def test_only_addresses_and_the_customers_number_keep_their_values(number: str | None, kept: list[str]) -> None:
    shown = message(0, "email:li@mail.cn", "device:ab12", "member: M-7 ", "loyalty_card:c1", "wechat_openid:o1")
    contacts = reader(identity=Identity(customer_number=number)).read(shown, "t/0").person.contacts
    values = {"email": "li@mail.cn", "member": "M-7", "loyalty_card": "c1", "wechat_openid": "o1"}
    assert {known.ns: known.value for known in contacts} == {ns: values[ns] for ns in ["email", *kept, "wechat_openid"]}


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason", "path"),
    [
        (None, "empty", "$"),
        (b"", "empty", "$"),
        (b"{", "not_json", "$"),
        (b"\xff\xfe", "not_json", "$"),
        (b"[" * 100_000, "invalid", "$"),
        (b'{"id":' + b"[" * 100_000, "invalid", "$.id"),
        (touchpoint(1, "device:a")[:-1] + b',"x":' + b"[" * 100_000, "not_json", "$"),
        (b"[]", "invalid", "$"),
        (touchpoint(1), "no_identifier", "$.identifiers"),
        (touchpoint(1, "device:null", "email:nobody"), "no_usable_identifier", "$.identifiers"),
        (touchpoint(1, "device:a", time=0), "time_out_of_range", "$.time"),
        (touchpoint(1, "device:a", at=5), "time_out_of_range", "$.at"),
        (touchpoint(1, "device:a", type="Order Completed"), "invalid", "$.data"),
        (touchpoint(1, "device:a").replace(b'"device"', b'"\\ud800"'), "not_json", "$"),
        (touchpoint(1, "device:a", time="0001-01-01T00:00:00+23:59"), "time_out_of_range", "$.time"),
    ],
)
def test_a_bad_record_is_a_fault_with_a_reason_and_a_place(raw: bytes | None, reason: str, path: str) -> None:
    found = fault(raw)
    assert (found.reason, found.path) == (reason, path)


@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_fault(raw: bytes) -> None:
    fault(raw)


def test_a_dead_letter_says_why_in_the_clear_and_seals_the_rest() -> None:
    raw = touchpoint(1, "email:secret@mail.cn", type="Order Completed", data={"order_id": ["secret-order"]})
    headers = (("trace", b"secret-header"), ("none", None))
    record = Message(41, raw, 3, START, b"secret-key", headers)
    with pytest.raises(RecordFault) as caught:
        reader().read(record, "t/0")
    letter = reader().dead_letter(record, caught.value, START + 5)
    clear = msgspec.json.encode(letter)
    assert b"secret" not in clear
    assert (letter.reason, letter.path, letter.stage) == ("invalid", "$.data.order_id", "stitch")
    assert (letter.topic, letter.partition, letter.offset) == ("t.touchpoints", 3, 41)
    assert (letter.ts, letter.at) == (START, START + 5)
    original = DeadLetterBox(bytes.fromhex(KEYS.dead_letters)).open(letter.sealed)
    assert (original.key, original.value, original.headers) == (b"secret-key", raw, list(headers))
    assert "Expected `str`, got `array`" in original.error


def test_a_huge_record_is_read_or_buried_whole() -> None:
    data = {"url": "x" * 4_000, "extra": "y" * 2_000_000}
    touch = reader(privacy=Privacy("seal")).read(message(0, "device:a", data=data), "t/0")
    assert len(touch.personal or b"") > 2_000_000
    record = Message(0, b"{" + b" " * 2_000_000)
    letter = reader().dead_letter(record, fault(record.raw), START)
    assert DeadLetterBox(bytes.fromhex(KEYS.dead_letters)).open(letter.sealed).value == record.raw


# -- privacy -----------------------------------------------------------------------------------------------

PRODUCT = {"sku": "S1", "category": "tea", "price": 5.0, "name": "zz product name", "zzextra": "zz extra"}
BODIES: dict[str, dict[str, Any]] = {
    "Page Viewed": {"url": "zz url", "title": "zz title", "referrer": "zz referrer", "category": "tea"},
    "Product Viewed": {"product": PRODUCT, "url": "zz url"},
    "Products Searched": {"query": "zz query", "results": 3},
    "Product Added": {"cart_id": "zz cart", "product": PRODUCT, "value": 5.0, "url": "zz url"},
    "Product Added to Wishlist": {"product": PRODUCT},
    "Order Completed": {"order_id": "zz order", "lines": [PRODUCT, PRODUCT], "cart_id": "zz cart"}
    | {"coupon": "C1", "address": "zz address", "note": "zz note", "revenue": 10.0},
    "Order Refunded": {"order_id": "zz order", "lines": [PRODUCT], "note": "zz note"},
    "Message Clicked": {"channel": "email", "message_id": "zz message", "trigger_id": "zz trigger", "play": "welcome"}
    | {"url": "zz url", "subject": "zz subject"},
    "Signed In": {"method": "sms"},
    "Signed Up": {"name": "zz name", "address": "zz address", "birthday": "zz birthday", "country": "CN"},
    "Ticket Opened": {"ticket_id": "zz ticket", "topic": "size", "subject": "zz subject", "text": "zz text"},
    "Points Earned": {"points": 3, "tier": "gold"},
    "Stock Changed": {"sku": "S1", "stock": 3},
    "Price Changed": {"sku": "S1", "price": 3.0},
    "Consent Changed": {"wording": "zz wording"},
    "Never Heard Of": {"secret": "zz secret", "list": ["zz deep"]},
}


def test_there_is_an_example_of_every_body() -> None:
    assert {TYPES[name][1] for name in BODIES if name in TYPES} == {body for _, body in TYPES.values()}


@pytest.mark.parametrize("type", BODIES)
def test_no_personal_value_stays_readable_and_none_is_lost(type: str) -> None:
    given = BODIES[type] | {"zzfield": {"deep": "zz unknown"}}
    raw = touchpoint(1, "device:a", type=type, data=given, zztop="zz envelope")
    found = decode(raw)
    body = decode_body(found.type, found.data)
    kept = split(found.data, body, TOKENS, unknown_fields(raw, body))
    assert b"zz" not in bytes(kept.data)
    personal = (kept.personal or b"").decode()
    values = {value for value in _texts(given) if value.startswith("zz")}
    gone = {value for value in values if value not in personal}
    ids = {given.get(name) for name in ("order_id", "cart_id", "message_id", "trigger_id", "ticket_id")}
    assert gone <= ids | {"zz product name"}
    assert "zz envelope" in personal


@pytest.mark.parametrize("type", [name for name in BODIES if name in TYPES])
def test_what_stays_decodes_as_the_same_body_without_unknown_fields(type: str) -> None:
    found = decode(touchpoint(1, "device:a", type=type, data=BODIES[type] | {"zzfield": "zz"}))
    kept = split(found.data, decode_body(found.type, found.data), TOKENS, {})
    found.data = kept.data
    assert decode_body(found.type, found.data) is not None
    assert set(json.loads(bytes(kept.data))) <= set(BODIES[type]) | {"order_id"}


def test_ids_become_tokens_of_their_kind() -> None:
    found = decode(touchpoint(1, "device:a", type="Order Completed", data=BODIES["Order Completed"]))
    data = json.loads(bytes(split(found.data, decode_body(found.type, found.data), TOKENS, {}).data))
    assert data["order_id"] == TOKENS.text("order_id", "zz order")
    assert data["cart_id"] == TOKENS.text("cart_id", "zz cart")
    assert [line["sku"] for line in data["lines"]] == ["S1", "S1"]
    assert data["coupon"] == "C1"


def test_unknown_fields_are_found_at_any_depth() -> None:
    data = {"order_id": "1", "lines": [{"sku": "a"}, {"sku": "b", "x": 1}], "y": {"z": 2}}
    raw = touchpoint(1, "device:a", type="Order Completed", data=data, device={"kind": "phone", "imei": "9"}, top=None)
    raw = raw.replace(b'"value":', b'"via":"till","value":')
    assert unknown_fields(raw, decode_body("Order Completed", decode(raw).data)) == {
        "$.top": None,
        "$.device.imei": "9",
        "$.identifiers[0].via": "till",
        "$.data.lines[1].x": 1,
        "$.data.y": {"z": 2},
    }


def test_ids_of_event_and_session_are_tokens_and_product_events_are_the_products() -> None:
    touch = read("device:a", session="s1")
    assert touch.event.session == TOKENS.text("session", "s1")
    assert touch.event.eid == TOKENS.event("web", "e7")
    assert read(type="Stock Changed", data={"sku": "S1", "stock": 2}).event.customer == "product:S1"


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {text for inner in value.values() for text in _texts(inner)}
    if isinstance(value, list):
        return {text for inner in value for text in _texts(inner)}
    return {value} if isinstance(value, str) else set()


# -- the cheap test on stored clusters ---------------------------------------------------------------------


def stored(some: list[Sighting], rules: str) -> Cluster:
    """A cluster that holds this evidence, connected or not."""
    evidence = evidence_of(some, RULES[rules])
    held = partition(evidence, RULES[rules])
    ids, customers = sorted(held.customers), sorted(set(held.customers.values()))
    spans = {code(KINDS.index(kind), ids.index(a), ids.index(b)): span for (kind, a, b), span in evidence.items()}
    owners = [customers.index(held.customers[token]) for token in ids]
    nobody = sorted(ids.index(token) for token in held.nobody)
    cluster = Cluster(ids, spans, customers, owners, {}, [], nobody)
    assert cluster.facts(KINDS) == evidence
    return cluster


def moves(cluster: Cluster, more: Sighting, rules: str) -> dict[int, Span] | None:
    policy, tokens = RULES[rules], more.tokens
    by_last = [policy.by_last(tokens[i], tokens[j]) for j in range(len(tokens)) for i in range(j)]
    return move_times(cluster, more, by_last, policy)


def test_what_may_change_a_stored_cluster_is_not_cheap() -> None:
    device, ann, bob = (TOKENS.identifier(*pair) for pair in (("device", "d"), ("member", "ann"), ("member", "bob")))

    def login(member: bytes, time: int) -> Sighting:
        return Sighting(tuple(sorted((device, member))), 0b11, time, time)

    cluster = stored([Sighting((bob,), 0, 1, 1), login(ann, 10), login(bob, 20)], "retail")
    assert moves(cluster, login(bob, 20), "retail") == {}
    assert moves(cluster, login(bob, 30), "retail")  # whose it is anyway
    assert moves(cluster, login(ann, 30), "retail") is None  # it changes hands
    assert moves(cluster, login(bob, 15), "retail") is None  # the link is older than was known
    assert moves(cluster, Sighting((device,), 0, 5, 5), "retail") is None  # the device is


@pytest.mark.parametrize("rules", RULES)
@given(some=events, other=sightings(), pick=st.integers(0, 15), time=st.integers(1, 4 * DAY_MS))
@settings(max_examples=examples(500), deadline=None)
def test_the_cheap_test_on_a_stored_cluster_says_what_the_one_on_evidence_says(
    rules: str, some: list[Sighting], other: Sighting, pick: int, time: int
) -> None:
    """Of something new or, since most is not, of what has been before."""
    policy, more = RULES[rules], some[pick]._replace(first=time, last=time) if pick < len(some) else other
    evidence, tokens = evidence_of(some, policy), more.tokens
    assume(not confused(tokens, policy))
    said = effect(evidence, facts_of(more, policy), policy, partition(evidence, policy))
    cluster = stored(some, rules)
    moved = moves(cluster, more, rules)
    assert (moved is None) == (said is Effect.RESOLVE)
    if moved is not None:
        assert bool(moved) == (said is Effect.TOUCH)
        cluster.spans.update(moved)
        assert cluster.facts(KINDS) == evidence_of([*some, more], policy)


def test_facts_of_a_large_cluster_have_numbers_of_their_own() -> None:
    numbers = {code(kind, i, j) for j in range(60) for i in range(j + 1) for kind in range(16)}
    assert len(numbers) == 16 * 60 * 61 // 2
