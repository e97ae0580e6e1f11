"""What the customers act in: the catalogue, the dice, the diary of what is to happen, the events so far."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from flows.retailer.catalogue import Catalogue, Product
from flows.retailer.population import Person
from flows.retailer.rates import Rates

MINUTE, HOUR = 60_000, 3_600_000
#: (time, key, head and body) of an event.
Item = tuple[int, bytes, bytes]
#: What a customer does at a time.
Action = Callable[["World", Person, int], None]


class Line(NamedTuple):
    """One position of a cart or order."""

    product: Product
    quantity: int

    @property
    def json(self) -> bytes:
        return self.product.json[:-1] + b',"quantity":%d}' % self.quantity

    @property
    def value(self) -> float:
        return self.product.price * self.quantity


class World:
    """``events`` are those not yet taken, in no order; ``later`` writes into the diary."""

    def __init__(self, seed: int, rates: Rates, customers: int) -> None:
        self.rng = Random(f"{seed}/behaviour")
        self.chance = self.rng.random
        self.rates = rates
        self.catalogue = Catalogue(Random(f"{seed}/catalogue"), customers)
        self.events: list[Item] = []
        self.diary: list[tuple[int, int, Action, Person]] = []
        self.taken = self.in_kiosk = self.of_products = 0
        self._prefix = b"%d-" % seed
        self._serial = 0

    def later(self, time: int, person: Person, action: Action) -> None:
        """Do ``action`` at ``time`` (ms), unless the customer has left by then."""
        if time < person.left_at:
            self.enter(time, person, action)

    def enter(self, time: int, person: Person, action: Action) -> None:
        """Do ``action`` at ``time`` (ms) in any case."""
        self._serial += 1
        heapq.heappush(self.diary, (time, self._serial, action, person))

    def between(self, low: int, high: int) -> int:
        """A whole number, ``low`` ≤ n < ``high``."""
        return low + int(self.chance() * (high - low))

    def new_id(self) -> bytes:
        """A number no other cart, order, session or ticket of this seed has."""
        self._serial += 1
        return self._prefix + b"%d" % self._serial

    def any_product(self, person: Person) -> Product:
        """Something from the two shelves the customer likes."""
        shelves = self.catalogue.by_category
        shelf = shelves[(person.x >> (16 if self.chance() < 0.3 else 8)) % len(shelves)]
        return shelf[int(self.chance() * len(shelf))]

    def product_due(self) -> bool:
        """Whether the stock system is behind its share of the events."""
        return self.of_products < self.rates.product * (self.taken + len(self.events))

    def kiosk_due(self) -> bool:
        """Whether the kiosks are behind their share of the events."""
        return self.in_kiosk < self.rates.kiosk * (self.taken + len(self.events))
