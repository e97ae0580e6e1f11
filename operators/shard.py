"""A shard as engage holds it in memory between commits: profiles, timers, clock, and what changed.

Plain data. Reading it from Redis is the business of `operators.loading`, writing it back of `operators.engagement`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from operators.clv import Worth
from operators.timers import TimerIndex
from state.products import Product
from state.profile import OpenExample, Part, Profile, pack, unpack
from state.shards import Output

#: What a profile takes in memory (bytes): so much, and so much for each byte of it packed. By tracemalloc that is 1,918
#: and 5.68 (3,082 profiles of 225 to 9,863 bytes); what 40,000 of 533 bytes add to a process is 15 % more.
_EMPTY, _UNPACKED = 2_500, 7


class ShardState(msgspec.Struct, array_like=True):
    """What is remembered of the shard itself: its clock (highest ``at``, ms), the active models by key, the hash of the
    plays in force, which of them are paused (`EVERY`: all), when each was paused last, and how much of its budget each
    has used up: the number of the period, messages.

    ``applied``: how often plays were put in force; ``visited``: up to which time that was all customers have been
    looked at; ``greeting``: since which time plays are in force that speak to those they find; ``failed``: how often
    each play could not be evaluated; ``bandits``: by play, partition of ``outcomes`` and variant, how often that has
    converted and has not; ``forgotten``: up to when (ms) interest in products has been forgotten; ``tally``: what was
    counted in the second of the clock, by minute of event time and name (`operators.tally`); ``ranks``: among whom
    buyers are ranked (`operators.lifecycle`); ``worth``: which expectation of spend has proven right.
    """

    at: int = 0
    models: dict[str, str] = {}
    plays: str = ""
    paused: list[str] = []
    paused_at: dict[str, int] = {}
    budgets: dict[str, tuple[int, int]] = {}
    applied: int = 0
    failed: dict[str, int] = {}
    visited: int = 0
    greeting: dict[str, int] = {}
    bandits: dict[str, dict[int, dict[str, tuple[int, int]]]] = {}
    forgotten: int = 0
    tally: dict[int, dict[str, int]] = {}
    ranks: list[list[int]] = []
    worth: Worth = msgspec.field(default_factory=Worth)


_states = msgspec.msgpack.Decoder(ShardState)


def state_of(packed: bytes) -> ShardState:
    """The state of a shard as Redis has it; a new one if it has none."""
    return _states.decode(packed) if packed else ShardState()


def arms_of(state: ShardState, play: str) -> dict[str, tuple[int, int]]:
    """How often each variant of a play has converted and has not, by all that is known."""
    total: dict[str, tuple[int, int]] = {}
    for arms in state.bandits.get(play, {}).values():
        for variant, (converted, others) in arms.items():
            before = total.get(variant, (0, 0))
            total[variant] = (before[0] + converted, before[1] + others)
    return total


class Shard:
    """One shard. ``r`` is the next input offset, ``floor`` K at take-over: outputs born of inputs below it are
    already in Kafka and are not written again. ``started`` collects broker and event times of touchpoints that led to
    triggers, ``repeated`` counts
    duplicates by topic, for the metrics."""

    def __init__(self, number: int, r: int, stored: int | None, state: ShardState, floor: int) -> None:
        self.number = number
        self.r = r
        self.stored = stored
        self.state = state
        self.floor = floor
        self.timers = TimerIndex()
        self.profiles: OrderedDict[str, Profile] = OrderedDict()
        #: Those of whom Redis knew nothing at the last commit.
        self.absent: set[str] = set()
        #: About how many bytes of memory each of them takes, and all.
        self._sizes: dict[str, int] = {}
        self._size = 0
        self.examples: dict[str, list[OpenExample]] = {}
        self.parts: dict[str, list[Part]] = {}
        #: What plays have been woken by; None if it no longer holds.
        self.products: dict[str, Product | None] = {}
        #: Product -> customer -> time of interest (ms), noted since the last commit.
        self.interest: dict[str, dict[str, int]] = {}
        #: The same of products that are asked for, as of that commit.
        self.interested: dict[str, dict[str, int]] = {}
        #: In the order of their first change, which decides who leaves the cache.
        self.changed: dict[str, None] = {}
        self.changed_examples: set[str] = set()
        self.changed_parts: set[str] = set()
        self.changed_products: set[str] = set()
        self.counters: dict[str, int] = {}
        self.outbox: list[Output] = []
        self.started: list[tuple[int, int]] = []
        self.repeated: dict[str, int] = {}
        #: How long triggers have been under way, as measured since the last partial was told: by bucket, how many.
        self.latency: dict[int, int] = {}
        #: Whether anything is counted for the figures of the shop.
        self.counting = True

    def profile(self, customer: str) -> Profile:
        """The profile of a customer (a new one if nothing is known), marked as changed.

        Everything that may be asked for was loaded before: what is absent does not exist.
        """
        profile = self.profiles.get(customer)
        if profile is None:
            profile = self.profiles[customer] = Profile(customer)
            if not customer.startswith("product:"):
                self.count("customers")
        self.changed[customer] = None
        return profile

    def forget(self, customer: str) -> None:
        """Nothing is known of a customer any more: what comes now finds a new one."""
        self.timers.set(customer, None)
        del self.profiles[customer]
        self.changed[customer] = None

    def keep(self, customer: str, packed: bytes) -> None:
        """The profile of a customer as Redis has it."""
        self.profiles[customer] = unpack(packed)
        self._weigh(customer, packed)

    def _weigh(self, customer: str, packed: bytes | None) -> None:
        self._size -= self._sizes.pop(customer, 0)
        if packed is not None:
            self._sizes[customer] = size = _EMPTY + _UNPACKED * len(packed)
            self._size += size

    def unread(self, customers: Iterable[str]) -> list[str]:
        """Those of ``customers`` of whom Redis may know something that is not here."""
        profiles, changed, absent = self.profiles, self.changed, self.absent
        return [each for each in customers if not (each in profiles or each in changed or each in absent)]

    def open_examples(self, customer: str) -> list[OpenExample]:
        """The customer's open learning examples, marked as changed."""
        self.changed_examples.add(customer)
        return self.examples.setdefault(customer, [])

    def kept_parts(self, customer: str) -> list[Part]:
        """The customer's parts, marked as changed; empty if nothing can be undone."""
        self.changed_parts.add(customer)
        return self.parts.setdefault(customer, [])

    def sides(self, profile: Profile) -> list[Profile]:
        """A customer and all its parts: whichever leaves, what was said in this name counts on both sides."""
        kept = self.kept_parts(profile.customer) if profile.parted else []
        return [profile, *[part.profile for part in kept]]

    def set_product(self, sku: str, product: Product | None) -> None:
        """What is known of a product from now on."""
        self.products[sku] = product
        self.changed_products.add(sku)

    def note(self, sku: str, customer: str, time: int) -> None:
        """Index the interest of a customer in a product."""
        customers = self.interest.setdefault(sku, {})
        customers[customer] = max(time, customers.get(customer, time))

    def count(self, name: str, by: int = 1) -> None:
        """Add to the account."""
        self.counters[name] = self.counters.get(name, 0) + by

    def tally(self, name: str, by: int = 1, *, time: int = 0) -> None:
        """Count something for the figures of the shop, at ``time`` (ms of event time; 0: now)."""
        if not self.counting:
            return
        minute = (time or self.state.at) // 60_000
        counts = self.state.tally.get(minute)
        if counts is None:
            counts = self.state.tally[minute] = {}
        counts[name] = counts.get(name, 0) + by

    def emit(self, topic: str, partition: int, key: str, value: bytes) -> None:
        """Put one output of the current input, offset ``r``, into the outbox."""
        if self.r >= self.floor:
            self.outbox.append(Output(self.r, topic, partition, key.encode(), value))

    def packed(self) -> dict[str, bytes | None]:
        """What the commit writes, by its key in the shard: what has changed, None if it is gone."""
        entities: dict[str, bytes | None] = {}
        for customer in sorted(self.changed):
            profile = self.profiles.get(customer)
            entities["c:" + customer] = packed = None if profile is None else pack(profile)
            self._weigh(customer, packed)
        for customer in sorted(self.changed_examples):
            examples = self.examples.get(customer)
            entities["x:" + customer] = pack(examples) if examples else None
        for customer in sorted(self.changed_parts):
            parts = self.parts[customer]
            entities["u:" + customer] = pack(parts) if parts else None
        for sku in sorted(self.changed_products):
            product = self.products[sku]
            entities["p:" + sku] = pack(product) if product is not None else None
        return entities

    def settle(self, cached: int) -> None:
        """After the commit: nothing is changed any more, and profiles of about ``cached`` bytes of memory stay."""
        for customer in self.changed:
            if customer in self.profiles:
                self.profiles.move_to_end(customer)
        self.stored = self.r
        self.changed.clear()
        self.changed_examples.clear()
        self.examples.clear()
        for customer in self.changed_parts:
            if not self.parts[customer]:
                del self.parts[customer]
        self.changed_parts.clear()
        self.products.clear()
        self.changed_products.clear()
        self.interest.clear()
        self.interested.clear()
        self.absent.clear()
        self.counters.clear()
        self.timers.changed.clear()
        self.timers.trim()
        self.outbox = []
        self.started.clear()
        self.repeated.clear()
        while self._size > cached:
            customer, _ = self.profiles.popitem(last=False)
            self._weigh(customer, None)
            self.parts.pop(customer, None)
