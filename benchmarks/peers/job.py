"""The common job: its touchpoints, its rules, and the triggers that follow from them.

Plain functions over plain data, which the Python engines share; Kafka Streams and touchstream have the rules in their
own words (``Job.java``, ``plays.yaml``), so that each checks the other two. Needs msgspec alone, as it is imported in
each peer's own environment. README.md says the rules in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp
from random import Random
from typing import NamedTuple

import msgspec

#: Topics of a peer; touchstream has its own.
SOURCE, KEYED, TRIGGERS = "peers.touchpoints", "peers.keyed", "peers.triggers"
#: Partitions of the topics behind the source, which has one: so there is one order, and one right result.
PARTITIONS = 8

#: Ids remembered of a customer, carts kept of it.
SEEN, CARTS = 64, 8
LIKELY, BIG_ORDER = "likely_buyer", "big_order"
#: After a trigger no other of its kind, for so long (ms).
COOL_DOWN = {LIKELY: 60_000, BIG_ORDER: 120_000}
#: Log-odds from which somebody is likely to buy: a probability of 0.7; revenue of a big order.
THRESHOLD, LARGE = 0.8472978603872036, 300.0
BIAS = -2.1
#: Orders, spend, units, open carts, minutes since first seen, minutes since the last order, price, quantity, put into
#: the cart, spend an order, units an order, price relative to spend.
WEIGHTS = (0.11, 0.0006, 0.03, 0.45, 0.02, -0.01, 0.004, 0.12, 0.9, 0.001, 0.05, -0.002)


class Identifier(msgspec.Struct):
    ns: str
    value: str


class Product(msgspec.Struct):
    price: float
    quantity: int = 1


class Data(msgspec.Struct):
    product: Product | None = None
    cart_id: str = ""
    revenue: float = 0.0
    lines: list[Product] = []


class Touch(msgspec.Struct):
    """A touchpoint, as far as the job reads it. Times in ms."""

    id: str
    type: str
    time: int
    identifiers: list[Identifier]
    data: Data


class Profile(msgspec.Struct, array_like=True):
    """What is kept of a customer: money in cents, times in ms."""

    seen: list[str] = []
    first_seen: int = 0
    orders: int = 0
    spent: int = 0
    units: int = 0
    last_order: int = 0
    carts: list[str] = []
    triggered: dict[str, int] = {}


class Trigger(msgspec.Struct):
    play: str
    customer: str
    touchpoint: str
    time: int
    score: float = 0.0


decode = msgspec.json.Decoder(Touch).decode
encode = msgspec.json.Encoder().encode
pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Profile).decode


def device_of(touch: Touch) -> str:
    """The device that sent it; it is the first of the identifiers."""
    return touch.identifiers[0].value


def login(touch: Touch) -> str | None:
    """The customer who signs in with it, if one does."""
    return touch.identifiers[1].value if touch.type == "Signed In" else None


def apply(profile: Profile, customer: str, touch: Touch) -> list[Trigger] | None:
    """Fold a touchpoint into its customer's profile, in place; the triggers, or None of a duplicate."""
    seen = profile.seen
    if touch.id in seen:
        return None
    seen.append(touch.id)
    if len(seen) > SEEN:
        del seen[0]
    time, kind, data = touch.time, touch.type, touch.data
    if not profile.first_seen:
        profile.first_seen = time
    if kind == "Signed In":
        return []
    if kind == "Order Completed":
        profile.orders += 1
        profile.spent += round(data.revenue * 100)
        profile.units += sum([line.quantity for line in data.lines])
        profile.last_order = time
        profile.carts = []
        return _cooled(profile, BIG_ORDER, customer, touch) if data.revenue >= LARGE else []
    if kind == "Product Added" and data.cart_id not in profile.carts:
        profile.carts = [*profile.carts, data.cart_id][-CARTS:]
    z = log_odds(profile, touch)
    return _cooled(profile, LIKELY, customer, touch, z) if z >= THRESHOLD else []


def log_odds(profile: Profile, touch: Touch) -> float:
    """The score of a customer who has just looked at a product or put it into a cart, before the sigmoid."""
    product, orders, spend = touch.data.product or Product(0.0), profile.orders, profile.spent / 100
    w = WEIGHTS
    return (
        BIAS
        + w[0] * orders
        + w[1] * spend
        + w[2] * profile.units
        + w[3] * len(profile.carts)
        + w[4] * ((touch.time - profile.first_seen) / 60_000)
        + w[5] * ((touch.time - profile.last_order) / 60_000 if profile.last_order else 0.0)
        + w[6] * product.price
        + w[7] * product.quantity
        + w[8] * (1 if touch.type == "Product Added" else 0)
        + w[9] * (spend / orders if orders else 0.0)
        + w[10] * (profile.units / orders if orders else 0.0)
        + w[11] * (product.price / (1 + spend))
    )


def _cooled(profile: Profile, play: str, customer: str, touch: Touch, z: float = 0.0) -> list[Trigger]:
    last = profile.triggered.get(play)
    if last is not None and touch.time - last < COOL_DOWN[play]:
        return []
    profile.triggered[play] = touch.time
    return [Trigger(play, customer, touch.id, touch.time, 1 / (1 + exp(-z)))]


class Record(NamedTuple):
    """A touchpoint as it is written: its key is the device."""

    key: bytes
    value: bytes


#: Touchpoints in which a person stays with a device, and a device with a person: two seconds and a half.
APART = 5_000
#: The shop's clock begins here (ms), and this many touchpoints happen in a second of it.
BEGIN, RATE = 1_760_000_000_000, 2_000


class _Writer:
    """Makes touchpoints up, in the order of their times."""

    def __init__(self, customers: int, seed: int) -> None:
        self._random = Random(seed)
        self._customers = customers
        self._owner: dict[str, int] = {}
        self._cart: dict[int, int] = {}
        #: When, in touchpoints, and which device a customer used last, and when a device was used.
        self._used: dict[int, tuple[int, str]] = {}
        self._used_by: dict[str, int] = {}
        self._again: list[tuple[int, str, int, Record]] = []
        self._number = 0

    def introduce(self) -> Iterator[Record]:
        """Everybody signs in on all devices."""
        for customer in range(self._customers):
            for device in (f"d{customer}a", self._second(customer)):
                self._owner[device] = customer
                yield self._record(device, "Signed In", {}, customer)

    def next(self) -> Record:
        draw = self._random.random
        if self._again and self._again[0][0] <= self._number:
            _, device, customer, record = self._again.pop(0)
            if self._owner[device] == customer:
                self._number += 1
                return record
        # A few are busy: half of all touchpoints come from a quarter of the customers.
        customer = int(self._customers * draw() ** 2)
        device = self._device(customer)
        self._used[customer], self._used_by[device] = (self._number, device), self._number
        chance = draw()
        if self._owner.get(device) != customer or chance < 0.04:
            self._owner[device] = customer
            return self._record(device, "Signed In", {}, customer)
        if chance < 0.74:
            record = self._record(device, "Product Viewed", {"product": self._product()})
        elif chance < 0.92:
            body: dict[str, object] = {"cart_id": self._cart_id(customer), "product": self._product()}
            record = self._record(device, "Product Added", body)
        else:
            record = self._record(device, "Order Completed", self._order(customer))
        if draw() < 0.02:
            self._again.append((self._number + 20, device, customer, record))
        return record

    def _device(self, customer: int) -> str:
        """One of two; of every tenth customer the second is a neighbour's, too. Nobody has two in hand within `APART`,
        and none passes from hand to hand within that time."""
        at, device = self._used.get(customer, (-APART, ""))
        if self._number - at < APART:
            return device
        own, second = f"d{customer}a", self._second(customer)
        free = self._number - self._used_by.get(second, -APART) >= APART
        return second if self._random.random() > 0.7 and free else own

    @staticmethod
    def _second(customer: int) -> str:
        return f"d{customer - 1 if customer % 10 == 1 else customer}b"

    def _product(self) -> dict[str, object]:
        number = int(self._random.random() * 5_000)
        return {"sku": f"sku-{number}", "category": f"c{number % 40}", "price": (number * 7_919 % 40_000 + 100) / 100,
                "quantity": 1 + number % 3}  # fmt: skip

    def _cart_id(self, customer: int) -> str:
        return f"cart-{customer}-{self._cart.get(customer, 0)}-{int(self._random.random() * 2)}"

    def _order(self, customer: int) -> dict[str, object]:
        self._cart[customer] = self._cart.get(customer, 0) + 1
        lines = [self._product() for _ in range(1 + int(self._random.random() * 3))]
        cents = sum([round(100 * float(str(line["price"]))) * int(str(line["quantity"])) for line in lines])
        return {"order_id": f"o-{customer}-{self._cart[customer]}", "revenue": cents / 100, "currency": "CNY",
                "lines": lines}  # fmt: skip

    def _record(self, device: str, kind: str, data: dict[str, object], customer: int | None = None) -> Record:
        time = BEGIN + self._number * 1_000 // RATE
        self._number += 1
        identifiers = [{"ns": "device", "value": device}]
        if customer is not None:
            identifiers += [
                {"ns": "member", "value": f"m{customer}", "kind": "login"},
                {"ns": "wechat_openid", "value": f"wx-{customer}"},
            ]
        touchpoint = {
            "id": f"e-{self._number}", "source": "app", "type": kind, "time": time, "at": time, "channel": "app",
            "identifiers": identifiers, "data": data,
        }  # fmt: skip
        return Record(device.encode(), encode(touchpoint))


def records(events: int, customers: int, seed: int, *, known: bool = False) -> Iterator[Record]:
    """So many touchpoints of so many customers, always the same for one seed; before them, if they are ``known``, all
    sign in on all of their devices."""
    writer = _Writer(customers, seed)
    if known:
        yield from writer.introduce()
    for _ in range(events):
        yield writer.next()


class Reference:
    """The oracle: all of the job in one thread, over dictionaries."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._profiles: dict[str, Profile] = {}

    def take(self, value: bytes) -> list[Trigger]:
        """The triggers of one more touchpoint."""
        touch = decode(value)
        customer = login(touch) or self._owners[device_of(touch)]
        self._owners[device_of(touch)] = customer
        return apply(self._profiles.setdefault(customer, Profile()), customer, touch) or []
