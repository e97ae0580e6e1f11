"""The simulated retailer: its touchpoints are valid, agree with its truth and hold its rates."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from itertools import chain, islice, pairwise
from random import Random
from typing import Any

import orjson
import pytest

from flows.retailer import JUNK, KIOSKS, Rates, Retailer
from flows.retailer.catalogue import Catalogue
from flows.retailer.faults import BREAKS, Faults
from operators.junk import Junk
from operators.normalise import normalise
from schemas.errors import ConfigError, RecordFault
from schemas.touchpoint import (
    TYPES,
    Body,
    Cart,
    Message,
    Order,
    Touchpoint,
    View,
    decode,
    decode_body,
    decode_identifiers,
)

DAY, MINUTE = 86_400_000, 60_000
CUSTOMERS, DAYS = 600, 63


@dataclass
class Run:
    """One whole run: its truth, its records as read."""

    truth: list[dict[str, Any]]
    events: list[tuple[Touchpoint, Body]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    @cached_property
    def customers(self) -> dict[str, dict[str, Any]]:
        return {each["customer"]: each for each in self.truth if each["record"] == "customer"}

    @cached_property
    def owners(self) -> dict[str, str]:
        return {each: name for name, customer in self.customers.items() for each in customer["identifiers"]}

    def of(self, *types: str) -> list[tuple[Touchpoint, Any]]:
        return [(touchpoint, body) for touchpoint, body in self.events if touchpoint.type in types]


@pytest.fixture(scope="module")
def run() -> Run:
    retailer = Retailer(seed=3, customers=CUSTOMERS, days=DAYS)
    whole = Run([orjson.loads(line) for line in retailer.truth()])
    for batch in retailer.batches(1_000):
        for raw in batch:
            try:
                touchpoint = decode(raw)
                body = decode_body(touchpoint.type, touchpoint.data)
                decode_identifiers(touchpoint.identifiers)
            except RecordFault as fault:
                whole.faults[str(fault)] += 1
                continue
            assert body is not None
            whole.events.append((touchpoint, body))
    return whole


@cache
def spelling(ns: str, given: str) -> str | None:
    value = normalise(ns, given, "CN")
    return None if value is None or Junk()(ns, value) else f"{ns}:{value}"


def spelled(touchpoint: Touchpoint) -> set[str]:
    """The usable identifiers of an event, in normal form."""
    return {known for each in decode_identifiers(touchpoint.identifiers) if (known := spelling(each.ns, each.value))}


def head(retailer: Retailer, n: int) -> list[bytes]:
    return list(islice(chain.from_iterable(retailer.batches(100)), n))


def test_the_same_arguments_give_the_same_bytes() -> None:
    first, second = (Retailer(seed=7, customers=50, days=20) for _ in range(2))
    assert list(first.truth()) == list(second.truth())
    assert [raw for batch in first.batches(64) for raw in batch] == [
        raw for batch in second.batches(1_000) for raw in batch
    ]


def test_days_say_only_where_the_records_end() -> None:
    long, short = (head(Retailer(seed=7, customers=50, days=days), 900) for days in (300, 40))
    assert len(short) == 900
    assert long == short


def test_another_seed_is_another_shop() -> None:
    one, other = (set(head(Retailer(seed=seed, customers=50), 500)) for seed in (1, 2))
    assert not one & other


def test_the_bytes_of_a_seed_are_known() -> None:
    """Reports name a seed: a change that moves this hash makes them unrepeatable, so it is made on purpose."""
    digest = sha256(b"\n".join(head(Retailer(seed=1, customers=20), 500))).hexdigest()
    assert digest[:16] == "849d0e3f6ca766b2"


def test_a_larger_shop_sells_more() -> None:
    small, large = (Catalogue(Random(1), customers).products for customers in (1_000, 20_000))
    assert (len(small), len(large)) == (400, 2_000)
    assert len({product.sku for product in large}) == 2_000


def test_a_shop_with_a_past_imports_its_books_first_and_goes_on_where_they_end() -> None:
    shop = Retailer(seed=7, customers=50, days=20, history=100)
    chunks = list(shop.chunks(64))
    past = [decode(raw) for chunk in chunks if chunk.at <= shop.start_ms for raw in chunk.events]
    assert {each.at for each in past} == {shop.start_ms}
    times = [int(each.time) for each in past]
    assert times == sorted(times)
    assert shop.start_ms - 100 * DAY <= times[0] < shop.start_ms - 90 * DAY
    assert shop.start_ms - DAY < times[-1] < shop.start_ms
    kinds = {each.type for each in past}
    assert {"Signed Up", "Order Completed", "Points Earned", "Stock Changed"} <= kinds
    assert not {"Product Viewed", "Product Added", "Message Sent"} & kinds
    ids = [each.id for each in past]
    live = next(chunk for chunk in chunks if chunk.at > shop.start_ms)
    assert orjson.loads(live.events[0])["id"] not in ids
    customers = [each for each in map(orjson.loads, shop.truth()) if each["record"] == "customer"]
    assert any(each["left_at"] is not None and each["left_at"] < shop.start_ms for each in customers)


def test_every_type_of_the_schema_occurs(run: Run) -> None:
    assert {touchpoint.type for touchpoint, _ in run.events} == set(TYPES)


def test_bodies_hold_nothing_the_schema_does_not_know() -> None:
    clean = Rates(broken=0)
    for raw in head(Retailer(seed=5, customers=300, rates=clean), 20_000):
        record = orjson.loads(raw)
        assert set(record) <= set(Touchpoint.__struct_fields__)
        assert set(record["data"]) <= set(TYPES[record["type"]][1].__struct_fields__)


def test_records_come_in_the_order_they_were_written(run: Run) -> None:
    at = [touchpoint.at or 0 for touchpoint, _ in run.events]
    assert all(first <= second for first, second in pairwise(at))
    assert at[-1] - at[0] > 62 * DAY


def test_identifiers_belong_to_one_customer_or_are_named_as_shared(run: Run) -> None:
    owners = run.owners
    nobodys = {each["identifier"]: each["kind"] for each in run.truth if each["record"] == "identifier"}
    assert not nobodys.keys() & owners.keys()
    for touchpoint, _ in run.events:
        seen = spelled(touchpoint)
        assert seen <= owners.keys() | nobodys.keys()
        assert len({owners[each] for each in seen & owners.keys()}) <= 1
        assert seen or touchpoint.source == "stock"


def test_shared_identifiers_name_their_owners(run: Run) -> None:
    customers = run.customers
    shared = [each for each in run.truth if each["record"] == "identifier" and each["kind"] == "shared"]
    assert shared
    for each in shared:
        assert len(each["owners"]) == 2
        assert all(each["identifier"] in customers[owner]["shared"] for owner in each["owners"])


def test_silence_after_leaving_and_before_coming(run: Run) -> None:
    owners, customers = run.owners, run.customers
    gone = 0
    for touchpoint, _ in run.events:
        for owner in {owners[each] for each in spelled(touchpoint) & owners.keys()}:
            left = customers[owner]["left_at"]
            assert customers[owner]["first_at"] <= (touchpoint.at or 0) < (left or 10**15)
            gone += left is not None
    assert gone


def test_hazards_are_the_true_ones() -> None:
    """Of customers present for a day, the expected number leaves: the sum of the hazards times the time at risk."""
    retailer = Retailer(seed=11, customers=4_000, days=120)
    expected = left = 0.0
    for line in retailer.truth():
        each = orjson.loads(line)
        if each["record"] == "customer":
            expected += each["hazard"] * ((each["left_at"] or retailer.end_ms) - each["first_at"]) / DAY
            left += each["left_at"] is not None
    assert left > 2_000
    assert left == pytest.approx(expected, rel=0.05)


def test_rates_hold(run: Run) -> None:
    rates, total = Rates(), len(run.events)
    customers = run.customers.values()
    assert sum(bool(each["shared"]) for each in customers) / len(customers) >= 0.05
    kiosk = sum(
        any(each.value in KIOSKS for each in decode_identifiers(touchpoint.identifiers)) for touchpoint, _ in run.events
    )
    junk = sum(
        any((each.ns, each.value) in JUNK for each in decode_identifiers(touchpoint.identifiers))
        for touchpoint, _ in run.events
    )
    once = {touchpoint.id: touchpoint for touchpoint, _ in reversed(run.events)}  # a second coming has a later ``at``
    late = sum(touchpoint.time != touchpoint.at for touchpoint in once.values())
    product = len(run.of("Stock Changed", "Price Changed"))
    assert kiosk / total == pytest.approx(rates.kiosk, rel=0.1)
    assert product / total == pytest.approx(rates.product, rel=0.1)
    assert junk / total == pytest.approx(rates.junk, rel=0.2)
    assert late / total == pytest.approx(rates.late, rel=0.2)
    assert (total - len(once)) / total == pytest.approx(rates.duplicates, rel=0.2)
    assert run.faults.total() / total == pytest.approx(rates.broken, rel=0.25)


def test_a_record_that_comes_again_says_the_same(run: Run) -> None:
    seen: dict[str, tuple[str, int | str, bytes]] = {}
    apart = 0
    for touchpoint, _ in run.events:
        content = (touchpoint.type, touchpoint.time, bytes(touchpoint.data))
        assert seen.setdefault(touchpoint.id, content) == content
        apart += touchpoint.at != touchpoint.time and touchpoint.id in seen
    assert apart


@pytest.mark.parametrize(
    ("rate", "customers", "speed"), [(None, 400, 1.0), (500.0, 400, 86_400.0), (40.0, 300, 20_000.0)]
)
def test_rate_customers_and_speed_are_honoured(rate: float | None, customers: int, speed: float) -> None:
    days = 60.0
    retailer = Retailer(seed=2, customers=customers, speed=speed, rate=rate, days=days)
    wanted = 1.5 * customers * days if rate is None else rate * days * 86_400 / speed
    assert sum(map(len, retailer.batches(1_000))) == pytest.approx(wanted, rel=0.12)


def test_sign_ups_bring_consent_and_addresses(run: Run) -> None:
    welcome = [touchpoint for touchpoint, _ in run.of("Signed Up") if any(each.granted for each in touchpoint.consent)]
    assert len(welcome) > CUSTOMERS / 4
    for touchpoint in welcome:
        assert {"member", "phone", "email"} <= {each.ns for each in decode_identifiers(touchpoint.identifiers)}


def test_anonymous_browsing_is_recognised_later(run: Run) -> None:
    owners = run.owners
    anonymous: dict[str, int] = {}
    recognised = 0
    for touchpoint, _ in run.events:
        namespaces = {each.ns for each in decode_identifiers(touchpoint.identifiers)}
        for owner in {owners[each] for each in spelled(touchpoint) & owners.keys()}:
            if namespaces <= {"cookie", "device", "advertising_id", "wechat_openid", "wechat_unionid"}:
                anonymous.setdefault(owner, touchpoint.at or 0)
            recognised += touchpoint.type == "Signed Up" and owner in anonymous
    assert recognised > 100


def test_carts_are_bought_abandoned_and_taken_up_again(run: Run) -> None:
    carts: dict[str, int] = {}
    bought: dict[str, int] = {}
    for touchpoint, body in run.events:
        if isinstance(body, Cart) and body.cart_id and touchpoint.type in ("Product Added", "Checkout Started"):
            carts[body.cart_id] = max(carts.get(body.cart_id, 0), int(touchpoint.time))
        elif isinstance(body, Order) and body.cart_id:
            bought[body.cart_id] = int(touchpoint.time)
    waits = [bought[cart] - filled for cart, filled in carts.items() if cart in bought]
    assert len(carts) - len(waits) > CUSTOMERS / 2  # never bought
    assert sum(wait > 30 * MINUTE for wait in waits) > CUSTOMERS / 10  # a reminder was due
    assert sum(wait < 30 * MINUTE for wait in waits) > CUSTOMERS


def test_some_look_three_times_within_a_week_and_do_not_buy(run: Run) -> None:
    owners = run.owners
    views: dict[tuple[str, str], list[int]] = defaultdict(list)
    undecided = set()
    for touchpoint, body in run.events:
        for owner in {owners[each] for each in spelled(touchpoint) & owners.keys()}:
            if isinstance(body, View):
                seen = views[owner, body.product.sku]
                seen.append(touchpoint.at or 0)
                if sum(seen[-1] - each < 7 * DAY for each in seen) >= 3:
                    undecided.add(owner)
            elif isinstance(body, Order):
                views = defaultdict(list, {key: seen for key, seen in views.items() if key[0] != owner})
    assert len(undecided) > CUSTOMERS / 4


def test_customers_buy_every_few_weeks_and_the_disloyal_leave(run: Run) -> None:
    orders = len({touchpoint.id for touchpoint, _ in run.of("Order Completed")})
    assert 10 < CUSTOMERS * DAYS / orders < 30  # days between the orders of one customer
    left = [each for each in run.customers.values() if each["left_at"]]
    stayed = [each for each in run.customers.values() if not each["left_at"]]
    assert sum(each["hazard"] for each in left) / len(left) > 1.3 * sum(each["hazard"] for each in stayed) / len(stayed)


def test_messages_go_only_where_consent_is(run: Run) -> None:
    owners = run.owners
    granted: dict[str, set[str]] = defaultdict(set)
    sent = 0
    for touchpoint, body in run.events:
        for owner in {owners[each] for each in spelled(touchpoint) & owners.keys()}:
            for each in touchpoint.consent:
                (granted[owner].add if each.granted else granted[owner].discard)(each.channel)
            if touchpoint.type == "Message Sent" and touchpoint.time == touchpoint.at:
                assert isinstance(body, Message)
                assert body.channel in granted[owner]
                sent += 1
    assert sent > CUSTOMERS


def test_orders_add_up(run: Run) -> None:
    for _, body in run.of("Order Completed"):
        lines = sum((line.price or 0) * line.quantity for line in body.lines)
        assert body.revenue + body.discount == pytest.approx(lines, abs=0.02)
        assert body.lines


@pytest.mark.parametrize("name", BREAKS)
def test_each_way_to_break_a_record_breaks_it(name: str) -> None:
    for raw in head(Retailer(seed=4, customers=100, rates=Rates(broken=0)), 2_000):
        with pytest.raises(RecordFault):
            found = decode(BREAKS[name](raw))
            decode_identifiers(found.identifiers)
            decode_body(found.type, found.data)


def test_all_junk_is_on_the_list_of_junk() -> None:
    junk = Junk()
    assert all((value := normalise(ns, given, "CN")) is None or junk(ns, value) for ns, given in JUNK)


def test_faults_can_be_switched_off_and_on() -> None:
    events = head(Retailer(seed=6, customers=50, rates=Rates(broken=0, duplicates=0)), 500)
    times, keys = list(range(10**12 + 500, 10**12 + 1_000)), [b"k"] * 500
    none = Rates(broken=0, duplicates=0, late=0, junk=0)
    assert Faults(Random(1), none).apply(list(events), list(keys), times).events == events
    everything = Faults(Random(1), Rates(broken=1, duplicates=1)).apply(list(events), list(keys), times)
    assert len(everything.events) == len(everything.keys) == len(everything.kinds) == 1_500


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"customers": 1}, "customers"),
        ({"seed": -1}, "seed"),
        ({"speed": 0}, "speed"),
        ({"rate": 0}, "rate"),
        ({"days": 0}, "days"),
        ({"start_ms": 1_767_225_600}, "start"),
        ({"history": -1}, "history"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Retailer(**arguments)


def test_bad_rates_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Rates(broken=2, late=-0.1)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["rates.broken", "rates.late"]
