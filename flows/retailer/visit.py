"""One visit of a customer in one channel: events one after the other, under one session."""

from __future__ import annotations

from flows.retailer.channels import kiosk_head, open_head
from flows.retailer.encode import body, identifier
from flows.retailer.population import Person
from flows.retailer.world import Item, World

_HOME = body("Page Viewed", {"url": "https://shop.example/", "title": "Home", "category": "home"})
_SIGNED_IN = body("Signed In", {"method": "password"})
_SIGNED_OUT = body("Signed Out", {})
#: Logged in at a visit on the web when known there, on a shared tablet, at a kiosk.
_WEB_LOGIN, _SHARED_LOGIN = 0.4, 0.8


class Visit:
    """``at`` is the time of the next event; `add` writes one and moves on."""

    __slots__ = ("_between", "_events", "at", "head", "key", "leaves", "logged_in")

    def __init__(self, world: World, key: bytes, head: bytes, at: int, *, session: bool = True) -> None:
        self.at, self.key = at, key
        self.head = b'%b"session":"s%b",' % (head, world.new_id()) if session else head
        self.leaves = self.logged_in = False
        self._events: list[Item] = world.events
        self._between = world.between

    def add(self, content: bytes, low: int = 3_000, high: int = 90_000) -> None:
        """An event now; the next one comes ``low`` to ``high`` ms later."""
        self._events.append((self.at, self.key, self.head + content))
        self.at += self._between(low, high)

    def with_identifier(self, ns: str, value: str, content: bytes) -> None:
        """An event that shows one identifier more, typed in by the customer."""
        start = b'"identifiers":['
        shown = self.head.replace(start, start + identifier(ns, value) + b",", 1)
        self._events.append((self.at, self.key, shown + content))
        self.at += self._between(3_000, 90_000)

    def close(self) -> None:
        """On other people's devices customers sign out."""
        if self.leaves:
            self.add(_SIGNED_OUT)


def enter(world: World, person: Person, time: int, channel: str | None = None) -> Visit:
    """Start a visit: on the way in some sign in, others stay anonymous or are logged in by their app."""
    if channel is None:
        tablet = person.tablet is not None and world.chance() < 0.3
        channel = "tablet" if tablet else person.channels[int(world.chance() * len(person.channels))]
    if channel in ("web", "tablet"):
        return _enter_web(world, person, time, channel)
    visit = Visit(world, *open_head(person, channel, person.known, time), time)
    visit.logged_in = person.known
    return visit


def _enter_web(world: World, person: Person, time: int, channel: str) -> Visit:
    visit = Visit(world, *open_head(person, channel, False, time), time)
    visit.add(_HOME)
    if person.known and world.chance() < (_WEB_LOGIN if channel == "web" else _SHARED_LOGIN):
        sign_in(visit, person, channel)
        visit.leaves = channel == "tablet"
    return visit


def sign_in(visit: Visit, person: Person, channel: str) -> None:
    """From here on the events carry the member number."""
    _, anonymous = open_head(person, channel, False, visit.at)
    _, logged_in = open_head(person, channel, True, visit.at)
    visit.head = logged_in + visit.head[len(anonymous) :]
    visit.logged_in = True
    visit.add(_SIGNED_IN)


def enter_kiosk(world: World, person: Person, time: int) -> Visit:
    """At the kiosk everybody stands in front of the same device."""
    key, head = kiosk_head(world, person, person.known)
    visit = Visit(world, key, head, time)
    visit.add(_SIGNED_IN if person.known else _HOME)
    visit.leaves = visit.logged_in = person.known
    return visit


def at_desk(world: World, person: Person, channel: str, time: int) -> Visit:
    """An event the shop's own systems write: till, service, loyalty, member file, campaigns."""
    return Visit(world, *open_head(person, channel, False, time), time, session=False)
