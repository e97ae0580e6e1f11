"""The shop at work: customers act in the order of the diary, records come out in the order of time."""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from flows.retailer.behaviour import begin
from flows.retailer.encode import number, with_at
from flows.retailer.faults import Faults, Written
from flows.retailer.population import DAY, Person, Population
from flows.retailer.rates import Rates
from flows.retailer.truth import truth
from flows.retailer.world import HOUR, Item, World
from schemas.errors import ConfigError

#: 2026-01-01 00:00 UTC. Fixed, so that the same arguments give the same bytes on any day.
START_MS = 1_767_225_600_000
#: Records per customer and day: a visit every five days, an order every three weeks.
NATURAL = 1.5
#: One simulated day a second: a minute sees the 28 days of the churn horizon twice.
SPEED = 86_400.0
#: Records per usual gap between visits, all that follows a visit included; measured (tests hold it within 10 %).
PER_GAP = 5.5
#: Of the past the books have orders, members and their consents, points, tickets, stock; not who looked at what.
_IN_THE_BOOKS = re.compile(
    rb'"type":"(?:Order |Signed Up|Consent |Unsubscribed|Message Complained|Points |Tier |Ticket |Price |Stock )'
)
#: Records made at a time, about; a stretch of time is at least this many ms.
_STRETCH, _LEAST_MS = 4_000, 1_000


class Chunk(NamedTuple):
    """Records in the order of writing; ``at`` (ms) of the last, keys to send under, kinds (`flows.retailer.faults`)."""

    at: int
    events: list[bytes]
    keys: list[bytes]
    kinds: bytearray


class Retailer:
    """A shop with ``customers`` at any time, from ``start_ms``, for ``days`` simulated days. It has been there for
    ``history`` days, and tells of them first: what its books hold, as it is imported at ``start_ms``.

    ``rate`` is in records per real second and ``speed`` in simulated ms per real ms; together they set how
    active a customer is: ``rate * 86400 / (customers * speed)`` records a day. Without ``rate`` that is
    `NATURAL`. Equal arguments give equal bytes; ``days`` only says where they end. Raises `ConfigError`.
    """

    def __init__(
        self,
        seed: int = 1,
        customers: int = 1_000,
        rates: Rates | None = None,
        start_ms: int = START_MS,
        speed: float = SPEED,
        rate: float | None = None,
        days: float = 3_650.0,
        history: float = 0.0,
    ) -> None:
        _check(seed, customers, start_ms, speed, rate, days, history)
        self.seed, self.customers, self.speed = seed, customers, speed
        self.rates = rates or Rates()
        self.start_ms, self.end_ms = start_ms, start_ms + int(days * DAY)
        self.activity = NATURAL if rate is None else rate * 86_400 / (customers * speed)
        gap = PER_GAP * self.rates.extra / self.activity * DAY
        self.population = Population(seed, customers, self.rates, start_ms - int(history * DAY), gap)

    def truth(self) -> Iterator[bytes]:
        """NDJSON lines without line ends (`flows.retailer.truth`), for all who come within ``days``."""
        return truth(self.population, self.end_ms)

    def batches(self, n: int) -> Iterator[list[bytes]]:
        """Touchpoints in the order of ``at``, ``n`` at a time (the last may be shorter)."""
        return (chunk.events for chunk in self.chunks(n))

    def chunks(self, n: int) -> Iterator[Chunk]:
        """The same with what a writer needs to send and count them."""
        faults = Faults(Random(f"{self.seed}/faults"), self.rates)
        world, prefix = self._world(), b'{"id":"r%d-' % self.seed
        past = [item for items in self._stretches(world, self.population.start, self.start_ms) for item in items]
        past = [item for item in past if _IN_THE_BOOKS.search(item[2])]
        yield from self._imported(past, prefix, n)
        made = len(past)
        held = Written([], [], bytearray())
        for items in self._stretches(world, self.start_ms, self.end_ms):
            raws = number(prefix, made, items)
            made += len(raws)
            written = faults.apply(raws, [key for _, key, _ in items], [time for time, _, _ in items])
            held = Written(held.events + written.events, held.keys + written.keys, held.kinds + written.kinds)
            at, start = items[-1][0] if items else self.start_ms, 0
            for start in range(0, len(held.events) - n + 1, n):
                yield _chunk(held, start, start + n, at)
            done = len(held.events) // n * n
            held = Written(held.events[done:], held.keys[done:], held.kinds[done:])
        if held.events:
            yield _chunk(held, 0, n, self.end_ms)

    def _imported(self, past: list[Item], prefix: bytes, n: int) -> Iterator[Chunk]:
        """What the books hold, without fault: the oldest first, all written at the start."""
        events = [with_at(raw, self.start_ms) for raw in number(prefix, 0, past)]
        held = Written(events, [key for _, key, _ in past], bytearray(len(past)))
        for start in range(0, len(past), n):
            yield _chunk(held, start, start + n, self.start_ms)

    def _world(self) -> World:
        """The world with all who are there at first."""
        world, start = World(self.seed, self.rates, self.customers), self.population.start
        for place in range(self.customers):
            person = self.population.person(place)
            begin(world, person, start + int(world.rng.expovariate(1 / person.gap)))
            world.enter(person.left_at, person, self._succeed)
        return world

    def _stretches(self, world: World, edge: int, end: int) -> Iterator[list[Item]]:
        """Events from ``edge`` to ``end``, of one stretch of time after the other, in order."""
        width = max(_LEAST_MS, min(6 * HOUR, int(_STRETCH / (self.customers * self.activity) * DAY)))
        while edge < end:
            edge = min(edge + width, end)
            self._act(world, edge)
            world.events.sort()
            cut = bisect_left(world.events, (edge,))
            ready, world.events = world.events[:cut], world.events[cut:]
            world.taken += cut
            yield ready

    def _succeed(self, world: World, person: Person, time: int) -> None:
        """Who has left is followed by the next customer in the same place."""
        follower = self.population.after(person)
        begin(world, follower, follower.born)
        world.enter(follower.left_at, follower, self._succeed)

    def _act(self, world: World, edge: int) -> None:
        """Everything in the diary before ``edge``."""
        diary, events = world.diary, world.events
        while diary and diary[0][0] < edge:
            time, _, action, person = heapq.heappop(diary)
            before = len(events)
            action(world, person, time)
            if len(events) > before and events[-1][0] >= person.left_at:  # nothing is heard after leaving
                events[before:] = [event for event in events[before:] if event[0] < person.left_at]
            if world.product_due():
                world.of_products += 1
                events.append((time, *world.catalogue.change(world.rng)))


def _chunk(held: Written, start: int, end: int, at: int) -> Chunk:
    return Chunk(at, held.events[start:end], held.keys[start:end], held.kinds[start:end])


def _check(
    seed: int, customers: int, start_ms: int, speed: float, rate: float | None, days: float, history: float
) -> None:
    faults = [
        f"{name}: {value!r}, allowed is {allowed}"
        for name, value, fine, allowed in (
            ("seed", seed, 0 <= seed < 2**63, "0 to 2^63 - 1"),
            ("customers", customers, 2 <= customers < 2**31, "2 or more"),
            ("start", start_ms, 10**12 <= start_ms < 4 * 10**12, "a time from 2001 to 2096 in ms"),
            ("history", history, 0 <= history <= 3_650, "0 to 3650 days"),
            ("speed", speed, speed > 0, "more than 0"),
            ("rate", rate, rate is None or rate > 0, "more than 0"),
            ("days", days, days > 0 and start_ms + days * DAY < 4.1e12, "more than 0, ending before 2099"),
        )
        if not fine
    ]
    if faults:
        raise ConfigError(faults)
