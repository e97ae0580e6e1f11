"""``identity.changes`` as somebody outside reads it: read_committed, key by key, each key in order, and nothing else.

Two rules fold it, by whatever key one begins. A customer id leads to whoever the change of the highest version that
names it says: a merge to the other, to be given identifiers or another customer to itself again. An identifier is held
by whoever the customer leads to that the change of the highest version that places it names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec
import redis

from schemas.config import Config
from schemas.outputs import IdentityChange
from schemas.topics import topic_name
from state.profile import unpack
from state.shards import ShardStore
from tests.system.reading import read_topic, scan
from tests.system.replay import differences

#: Kinds that say where identifiers are from now on.
PLACING = ("created", "linked", "merged", "moved", "split", "quarantined", "released")
#: Kinds that change nobody.
SILENT = ("refused",)

_change = msgspec.json.Decoder(IdentityChange)


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
    """What the changes come to. Raises ValueError for a kind that nobody has said the meaning of."""
    places: dict[str, tuple[int, str]] = {}
    register: dict[str, tuple[int, str]] = {}
    for change in changes:
        if change.kind in SILENT:
            continue
        if change.kind not in PLACING:
            raise ValueError(f"identity.changes: what does {change.kind!r} do to identifiers?")
        here = (change.version, change.customer)
        for token in change.ids:
            places[token] = max(places.get(token, here), here)
        register[change.customer] = max(register.get(change.customer, here), here)
        if change.kind == "merged" and change.old:
            register[change.old] = max(register.get(change.old, here), here)
    aliases = {customer: target for customer, (_, target) in register.items() if customer != target}
    folded = Folded({}, aliases)
    folded.holders.update((token, folded.current(customer)) for token, (_, customer) in places.items())
    return folded


def check_changes(
    config: Config, client: redis.Redis, customers: Mapping[str, str], named: Collection[str]
) -> tuple[list[str], dict[str, int]]:
    """Every fault of the topic, and its changes by kind. ``customers``: who holds each identifier in truth; ``named``:
    the customers that ``stitched`` speaks of."""
    keys: defaultdict[bytes, list[IdentityChange]] = defaultdict(list)
    for read in read_topic(config, topic_name(config, "identity.changes")):
        keys[read.key or b""].append(_change.decode(read.value or b""))
    told = [change for changes in keys.values() for change in changes]
    folded = fold(told)
    faults = differences("change ids", Counter({change.id for change in told}), Counter(change.id for change in told))
    faults += [each for key, changes in keys.items() for each in _disorder(key, changes)]
    faults += differences("identity.changes", Counter(customers.items()), Counter(folded.holders.items()))
    aliases = _aliases(config, client)
    faults += differences("aliases by identity.changes", Counter(aliases.items()), Counter(folded.aliases.items()))
    holding = set(customers.values())
    astray = Counter(each for each in named if folded.current(each) not in holding)
    faults += differences("customers without a resolution", Counter(), astray)
    return faults, dict(sorted(Counter(change.kind for change in told).items()))


def _disorder(key: bytes, changes: list[IdentityChange]) -> list[str]:
    """Where the changes of one key do not follow each other."""
    return [
        f"{key.decode()}: {after.kind} {after.id} comes after {before.kind} {before.id}, which is newer"
        for before, after in pairwise(changes)
        if after.version < before.version
    ]


def _aliases(config: Config, client: redis.Redis) -> dict[str, str]:
    """Whom each merged customer leads to, as Redis holds it."""
    store, found = ShardStore(client, config.prefix), {}
    for shard in range(config.topics.shards):
        for packed in scan(client, store.key(shard, "c:")).values():
            profile = unpack(packed)
            if profile.alias:
                found[profile.customer] = profile.alias
    return found
