"""``identity.changes`` as somebody outside reads it: read_committed, key by key, each key in order, and nothing else.

Two rules fold it, by whatever key one begins. A customer id leads to whoever the change of the highest version that
names it says: a merge to the other, to be given identifiers or another customer to itself again. An identifier is held
by whoever the customer leads to that the change of the highest version that places it names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import msgspec
import redis

from schemas.config import Config
from schemas.outputs import Alias, IdentityChange
from schemas.topics import ALIASES, topic_name
from state.profile import unpack
from state.shards import ShardStore
from tests.system.reading import read_topic, scan
from tests.system.replay import differences

#: Kinds that say where identifiers are from now on; the others but ``erased`` change nobody.
PLACING = ("created", "linked", "merged", "moved", "split", "quarantined", "released")
#: Where an erased customer leads to.
NOBODY = ""

_change = msgspec.json.Decoder(IdentityChange)
_alias = msgspec.json.Decoder(Alias)

#: The changes of each key, in order.
Told = Mapping[bytes, Sequence[IdentityChange]]


class Folded(NamedTuple):
    """``holders``: the customer of each identifier; ``aliases``: of each id that is a customer's no more, the next."""

    holders: dict[str, str]
    aliases: dict[str, str]

    def current(self, customer: str) -> str:
        """Who a customer id leads to."""
        for _ in self.aliases:
            if customer not in self.aliases:
                break
            customer = self.aliases[customer]
        return customer


def fold(changes: Iterable[IdentityChange]) -> Folded:
    """What the changes come to, in whatever order."""
    places: dict[str, tuple[int, str]] = {}
    register: dict[str, tuple[int, str]] = {}
    for change in changes:
        here = (change.version, change.customer if change.kind in PLACING else NOBODY)
        if change.kind not in (*PLACING, "erased", "expired"):
            continue
        for token in change.ids:
            places[token] = max(places.get(token, here), here)
        for customer in (change.customer, change.old if change.kind == "merged" else None):
            if customer is not None:
                register[customer] = max(register.get(customer, here), here)
    aliases = {customer: target for customer, (_, target) in register.items() if target not in (customer, NOBODY)}
    dead = {customer for customer, (_, target) in register.items() if target == NOBODY}
    folded = Folded({}, aliases)
    for token, (_, customer) in places.items():
        if folded.current(customer) not in dead:
            folded.holders[token] = folded.current(customer)
    return folded


def faults_of(
    told: Told, customers: Mapping[str, str], aliases: Mapping[str, str], named: Collection[str]
) -> list[str]:
    """Every fault of what was told. ``customers``: who holds each identifier in truth; ``aliases``: whom the ids lead
    to that are customers' no more; ``named``: the customers that ``stitched`` speaks of."""
    changes = list(chain.from_iterable(told.values()))
    folded = fold(changes)
    ids = Counter(change.id for change in changes)
    faults = differences("change ids", Counter(dict.fromkeys(ids, 1)), ids)
    faults += [fault for key, some in told.items() for fault in _disorder(key, some)]
    faults += differences("identity.changes", Counter(customers.items()), Counter(folded.holders.items()))
    faults += differences("aliases by identity.changes", Counter(aliases.items()), Counter(folded.aliases.items()))
    holding = set(customers.values())
    lost = Counter(each for each in named if folded.current(each) not in holding)
    return faults + differences("customers without a resolution", Counter(), lost)


def _disorder(key: bytes, changes: Sequence[IdentityChange]) -> list[str]:
    """Where the changes of one key do not follow each other."""
    return [
        f"{key.decode()}: {after.kind} {after.id} comes after {before.kind} {before.id}, which is newer"
        for before, after in pairwise(changes)
        if after.version < before.version
    ]


def check_changes(
    config: Config, client: redis.Redis, customers: Mapping[str, str], named: Collection[str]
) -> tuple[list[str], dict[str, int]]:
    """Every fault of the topic, and its changes by kind; that of the old ids says the same."""
    told: defaultdict[bytes, list[IdentityChange]] = defaultdict(list)
    for read in read_topic(config, topic_name(config, "identity.changes")):
        told[read.key or b""].append(_change.decode(read.value or b""))
    aliases = _aliases(config, client)
    faults = faults_of(told, customers, aliases, named)
    latest = [_alias.decode(read.value or b"") for read in read_topic(config, topic_name(config, ALIASES))]
    published = {each.customer: each.target for each in latest}
    current = {customer: target for customer, target in published.items() if target not in (customer, NOBODY)}
    faults += differences("aliases", Counter(aliases.items()), Counter(current.items()))
    return faults, dict(sorted(Counter(change.kind for some in told.values() for change in some).items()))


def _aliases(config: Config, client: redis.Redis) -> dict[str, str]:
    """Whom each merged customer leads to, as Redis holds it."""
    store, found = ShardStore(client, config.prefix), {}
    for shard in range(config.topics.shards):
        for packed in scan(client, store.key(shard, "c:")).values():
            profile = unpack(packed)
            if profile.alias:
                found[profile.customer] = profile.alias
    return found
