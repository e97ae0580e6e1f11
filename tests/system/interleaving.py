"""Stitch and engage short of Kafka, every step in the hands of a test.

A process stitches a batch into Redis, and publishes it when it is told to: in between others go on, it is killed, or
Redis forgets. The shards of engage read what was published when they are told to. In the end everybody finishes, and
what engage has told of identity is judged as whoever reads ``identity.changes`` would.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import redis

from operators.stitching import Batch
from schemas.config import Identity
from schemas.outputs import IdentityChange
from state.profile import Profile, unpack
from state.tokens import token_text
from tests.engage_helpers import SHARDS
from tests.engage_helpers import World as Shards
from tests.messages import START, TOPIC, Message, message
from tests.system.changes import faults_of
from tests.system.identity_world import World, pure, restore, snapshot
from tests.system.replay import differences


class Touch(NamedTuple):
    """An order, sent to a source partition, that shows identifiers (``!``: logged in) at a time (ms)."""

    partition: int
    who: tuple[str, ...]
    time: int


class _Flight(NamedTuple):
    """A batch that is in Redis and not yet in Kafka, and the next offset."""

    batch: Batch
    next: int


class Story:
    """A deployment of one stitch process per source partition, and what is still to be stitched."""

    def __init__(self, client: redis.Redis, identity: Identity, touches: Sequence[Touch]) -> None:
        self._identity = identity
        self._world = World(client, identity=identity)
        self._shards = Shards()
        self._fed = 0
        self.messages: list[Message] = []
        queues: defaultdict[int, list[Message]] = defaultdict(list)
        for number, (partition, who, time) in enumerate(touches):
            order = {"order_id": f"o{number}", "revenue": 1.0}
            offset, time = len(queues[partition]), START + time
            queues[partition].append(
                message(offset, *who, part=partition, time=time, type="Order Completed", data=order)
            )
            self.messages.append(queues[partition][-1])
        self._queues = dict(sorted(queues.items()))
        self._processes = {partition: self._world.process(partition) for partition in self._queues}
        self._next = dict.fromkeys(self._queues, 0)
        self._committed = dict.fromkeys(self._queues, 0)
        self._flights: dict[int, _Flight] = {}
        self._remembered: dict[bytes, bytes] | None = None

    @property
    def partitions(self) -> list[int]:
        """The source partitions that something was sent to."""
        return list(self._queues)

    # -- what may happen -----------------------------------------------------------------------------------

    def step(self, partition: int, most: int) -> bool:
        """The process publishes what it has stitched, else it stitches ``most`` records; False if it has finished."""
        self._world.now += 1
        flight = self._flights.pop(partition, None)
        if flight is not None:
            self._world.publish(flight.batch)
            self._shards.feed(*self._world.log[self._fed :])
            self._fed = len(self._world.log)
            self._committed[partition] = max(self._committed[partition], flight.next)
            self._processes[partition].published(flight.batch)
            return True
        start = self._next[partition]
        records = self._queues[partition][start : start + most]
        if records:
            k = {(TOPIC, partition): self._committed[partition]}
            batch = self._processes[partition].stitch(records, k, {})
            self._next[partition] = start + len(records)
            self._flights[partition] = _Flight(batch, self._next[partition])
        return bool(records)

    def engage(self, shard: int, most: int) -> None:
        """A shard processes ``most`` records."""
        self._shards.step(shard % SHARDS, most)

    def kill(self, partition: int) -> None:
        """The process dies, and another takes its partition over."""
        self._processes[partition] = self._world.process(partition)
        self._take_over(partition)

    def remember(self) -> None:
        """What Redis holds now it will hold after it forgets."""
        self._remembered = snapshot(self._world)

    def forget(self) -> None:
        """Redis loses what it was told since; every process takes its partition over again."""
        if self._remembered is not None:
            restore(self._world, self._remembered)
            self._remembered = None
            for partition in self._queues:
                self._take_over(partition)

    def _take_over(self, partition: int) -> None:
        self._flights.pop(partition, None)
        r = self._processes[partition].positions.take([(TOPIC, partition)]).get((TOPIC, partition), 0)
        self._next[partition] = min(r, self._committed[partition])

    # -- the end -------------------------------------------------------------------------------------------

    def finish(self) -> list[str]:
        """Everybody finishes; every fault."""
        for partition in self._queues:
            while self.step(partition, 2):
                pass
        self._shards.run()
        truth = {token_text(token): customer for token, customer in pure(self.messages, self._identity).items()}
        stored = {token_text(token): customer for token, customer in self._world.stored()[0].items()}
        packed = [value for key, value in self._shards.entities.items() if key.startswith("c:")]
        profiles = {profile.customer: profile for profile in map(unpack, packed)}
        aliases = {customer: profile.alias for customer, profile in profiles.items() if profile.alias}
        faults = differences("identity", Counter(truth.items()), Counter(stored.items()))
        faults += faults_of(self.told(), truth, aliases, {event.customer for event in self._world.events()})
        return faults + self._check_log() + _check_profiles(truth, profiles) + self._check_orders(profiles)

    def clear(self) -> None:
        """Leave nothing in Redis."""
        for key in snapshot(self._world):
            self._world.redis.delete(key)

    def told(self) -> dict[bytes, list[IdentityChange]]:
        """What was told of identity, by key."""
        told: defaultdict[bytes, list[IdentityChange]] = defaultdict(list)
        for output in self._shards.everything():
            if output.topic == "ts.identity.changes":
                told[output.key or b""].append(msgspec.json.decode(output.value, type=IdentityChange))
        return dict(told)

    def _check_log(self) -> list[str]:
        """Every touchpoint is in ``stitched`` once."""
        expected = Counter(f"{TOPIC}/{each.partition()}/{each.offset()}" for each in self.messages)
        return differences("touchpoints", expected, Counter(event.src for event in self._world.events()))

    def _check_orders(self, profiles: dict[str, Profile]) -> list[str]:
        """Every order counts once, whatever was merged and split, and nobody waits for a hand-over any more."""
        known = sum(profile.behaviour.orders for profile in profiles.values())
        faults = (
            [f"{len(self.messages)} orders were made, profiles know {known}"] if known != len(self.messages) else []
        )
        return faults + [f"{each.customer} still waits" for each in profiles.values() if each.parks or each.parked]


def _check_profiles(truth: dict[str, str], profiles: dict[str, Profile]) -> list[str]:
    """Every customer's profile knows its identifiers, and no others."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    for token, customer in truth.items():
        held[customer].add(token)
    return [
        f"{profiles.get(customer)} should know {sorted(tokens)}"
        for customer, tokens in held.items()
        if customer not in profiles or set(profiles[customer].ids) != tokens
    ]
