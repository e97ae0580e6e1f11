"""A seeded stream of touchpoints made to hurt: few people, many merges, duplicates, late and broken records.

A person begins anonymous on a device, signs up, later logs in on a second one (two customers become one),
orders, fills carts, withdraws consent, and is replaced by another. Each record says in a header whether it
is good, so that the oracle need not trust the product's own decoder.

Scattered, no two records of a person need share a partition, and people come in pairs who share devices and numbers
and log in on them in turns: who is who changes all the time, and each change is seen from all partitions at once.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, NamedTuple

#: 2026-01-01 00:00 UTC.
START_MS = 1_767_225_600_000
#: Header of every input record: ``good`` or ``bad``.
EXPECT = "expect"
#: How many people are there at a time.
PEOPLE = 24
CHANNELS = ("email", "sms", "wechat")
#: Touchpoints of one person before another takes the place.
LIFE = 60
#: Share of touchpoints of a pair that are logins, and of these that show an identifier of the other.
LOGINS, LENT = 0.25, 0.3

_BAD_TIME = ("yesterday", 5, 1_767_225_600, "2026-01-01T00:00:00", None)
_JUNK = (
    {"ns": "device", "value": "null"},
    {"ns": "phone", "value": "000000"},
    {"ns": "email", "value": "test@test.com"},
)


class Fed(NamedTuple):
    """One input record. ``key`` decides its partition."""

    key: bytes
    value: bytes | None
    good: bool


class _Person:
    __slots__ = ("age", "allows", "devices", "neighbour", "number", "roams", "second_login")

    def __init__(self, rng: Random, number: int, neighbour: int, shares: float) -> None:
        self.number = number
        self.neighbour = neighbour
        self.age = 0
        self.roams = rng.random() < 0.25
        self.devices = [f"dev-{number}-a", f"dev-{number}-b"]
        if rng.random() < shares:
            self.devices[1] = f"dev-{neighbour}-a"
        self.allows = [channel for channel in CHANNELS if rng.random() < 0.6]
        self.second_login = rng.randint(14, 30)

    def key(self, rng: Random) -> bytes:
        """Records of one person keep their order, but for those who roam."""
        return f"{self.number}/{rng.randint(0, 9) if self.roams else 0}".encode()

    def proofs(self, rng: Random) -> list[dict[str, str]]:
        return [each for each in _proofs(self.number) if rng.random() < 0.7]


class Feed:
    """Makes records one after the other; the same seed makes the same ones."""

    def __init__(self, seed: int, people: int = PEOPLE, *, scattered: bool = False) -> None:
        self._rng, self._reports = Random(seed), Random(f"{seed}/reports")
        self._scattered = scattered
        # The more there are, the fewer look at the same.
        self._products = max(10, people * 10 // PEOPLE)
        self._people: list[_Person] = []
        self._made = 0
        self._born = seed % 1_000 * 10_000
        self._sent: list[tuple[bytes, dict[str, Any]]] = []
        for _ in range(people):
            self._people.append(self._birth())

    def record(self, at: int) -> Fed:
        """The next record, written at ``at`` (ms)."""
        fed = self._record(at)
        return fed._replace(key=str(self._rng.random()).encode()) if self._scattered else fed

    def _record(self, at: int) -> Fed:
        rng, chance = self._rng, self._rng.random()
        if chance < 0.03:
            return self._bad(at)
        if chance < 0.08 and self._sent:
            key, event = rng.choice(self._sent[-100:])
            return Fed(key, _json({**event, "at": at}), True)
        if chance < 0.10:
            sku, change = f"sku-{rng.randrange(self._products)}", rng.choice(("Stock Changed", "Price Changed"))
            body = {"sku": sku, "stock": rng.randint(0, 9), "price": rng.choice((7.5, 9.5))}
            event = self._event(at, change, body, [])
            return Fed(sku.encode(), _json(event), True)
        return self._touch(at)

    def _touch(self, at: int) -> Fed:
        rng, slot = self._rng, self._rng.randrange(len(self._people))
        person = self._people[slot]
        person.age += 1
        if person.age > LIFE:
            person = self._people[slot] = self._birth()
        kind, body, identifiers, consent = self._act(person)
        event = self._event(at, kind, body, identifiers)
        if consent:
            event["consent"] = consent
        if rng.random() < 0.05:
            event["time"] = at - rng.randint(1, 50 * 60_000)
        if rng.random() < 0.03:
            event["identifiers"] = [rng.choice(_JUNK), *identifiers]
        key = person.key(rng)
        self._sent.append((key, event))
        del self._sent[:-200]
        return Fed(key, _json(event), True)

    def _act(self, person: _Person) -> tuple[str, dict[str, Any], list[dict[str, str]], list[dict[str, Any]]]:
        """What the person does: type, body, identifiers shown, consent changed."""
        rng, member = self._rng, {"ns": "member", "value": f"M{person.number}", "kind": "login"}
        if person.age == 6:
            consent = [{"channel": channel, "granted": channel in person.allows} for channel in CHANNELS]
            return (
                "Signed Up",
                {"name": f"Name {person.number}"},
                [_device(person, 0), member, *person.proofs(rng)],
                consent,
            )
        if person.age == person.second_login:
            return "Signed In", {}, [_device(person, 1), member], []
        if self._scattered and person.age > 6 and rng.random() < LOGINS:
            proof = rng.choice([_device(person, 0), _device(person, 1), *_proofs(person.number)])
            if rng.random() < LENT:
                proof = rng.choice([_named("device", f"dev-{person.neighbour}-a"), *_proofs(person.neighbour)])
            return "Signed In", {}, [proof, member], []
        if person.age > 30 and rng.random() < 0.05:
            change = {"channel": rng.choice(CHANNELS), "granted": rng.random() < 0.4}
            return "Consent Changed", {}, [member], [change]
        second = person.age > 8 and rng.random() < 0.4
        shown = [_device(person, int(second))]
        if person.age > 6 and rng.random() < 0.4:
            shown = [member, *person.proofs(rng)[:1]]
        return *self._browse(person), shown, []

    def _browse(self, person: _Person) -> tuple[str, dict[str, Any]]:
        rng, sku = self._rng, f"sku-{self._rng.randrange(self._products * 2 // 5)}"
        chance = rng.random()
        if chance < 0.5:
            return "Product Viewed", {"product": {"sku": sku}, "url": f"https://shop.example/{sku}"}
        if chance < 0.68:
            return "Product Added", {
                "cart_id": f"c{person.number}-{rng.randint(0, 1)}",
                "value": 20.0 + rng.randint(0, 9),
            }
        if chance < 0.82 and person.age > 6:
            lines = [{"sku": sku, "quantity": 1, "price": 9.5}]
            return "Order Completed", {"order_id": f"o{self._made}", "revenue": 9.5, "lines": lines}
        if chance < 0.86:
            return "Order Refunded", {"order_id": f"o{self._made - 7}", "amount": 2.5}
        if chance < 0.9:
            return "Something New", {"free": f"form {self._made}"}
        looked = rng.choice(
            (("Page Viewed", {"url": "https://shop.example/"}), ("Products Searched", {"query": "tea"}))
        )
        return looked if chance < 0.95 else self._reported()

    def _reported(self) -> tuple[str, dict[str, Any]]:
        """What became of a message."""
        rng = self._reports
        chance, channel = rng.random(), rng.choice(CHANNELS)
        if chance < 0.03:
            return "Message Complained", {"channel": channel}
        if chance < 0.2:
            return "Message Bounced", {"channel": channel, "bounce": "hard" if chance < 0.05 else "soft"}
        return f"Message {rng.choice(('Sent', 'Delivered', 'Opened', 'Clicked'))}", {"channel": channel}

    def _bad(self, at: int) -> Fed:
        rng = self._rng
        event = self._event(at, "Page Viewed", {}, [{"ns": "device", "value": f"bad-{self._made}"}])
        whole = _json(event)
        broken: list[bytes | None] = [
            None,
            b"",
            b"\xff\xfe\x00",
            whole[: len(whole) // 2],
            _json({**event, "id": ""}),
            _json({key: value for key, value in event.items() if key != "id"}),
            _json({**event, "identifiers": []}),
            _json({**event, "identifiers": [rng.choice(_JUNK)]}),
            _json({**event, "identifiers": [{"ns": "phone", "value": "12"}]}),
            _json({**event, "time": rng.choice(_BAD_TIME)}),
            _json({**event, "data": 7}),
            _json({**event, "type": "Order Completed", "data": {"order_id": 7}}),
        ]
        return Fed(str(rng.randint(0, 99)).encode(), rng.choice(broken), False)

    def _event(self, at: int, kind: str, body: dict[str, Any], identifiers: list[dict[str, str]]) -> dict[str, Any]:
        self._made += 1
        return {
            "id": f"e{self._made}",
            "source": "shop",
            "type": kind,
            "time": at,
            "at": at,
            "identifiers": identifiers,
            "data": body,
        }

    def _birth(self) -> _Person:
        self._born += 1
        if self._scattered:
            return _Person(self._rng, self._born, self._born ^ 1, 0.5)
        return _Person(self._rng, self._born, self._born - 1, 0.06)


def _device(person: _Person, which: int) -> dict[str, str]:
    return _named("device", person.devices[which])


def _proofs(number: int) -> list[dict[str, str]]:
    return [
        _named("email", f"P{number}@mail.example.cn"),
        _named("phone", f"1381{number % 10_000_000:07d}"),
        _named("wechat_openid", f"wx-{number}"),
    ]


def _named(ns: str, value: str) -> dict[str, str]:
    return {"ns": ns, "value": value}


def _json(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()
