"""What to write for touches that belong together: times moved on, or their clusters joined and partitioned anew."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from operators.changes import CREATED, FORGOTTEN, MERGED, REFUSED, Change
from operators.clusters import cluster_of, lives_in
from operators.commands import Answer
from operators.evidence import Effect, Evidence
from operators.groups import Group, Joined, elsewhere, join_up
from operators.hubs import separate
from operators.reading import Person
from operators.rules import Rules
from schemas import stitched
from state.identity import ABSENT, ANY, DELETED, NO_CUSTOMER, SAME, Held, IdentityStore, Key, Set, Write
from state.tokens import Tokens, token_text
from state.vault import Vault, kid


class Plan(NamedTuple):
    """What to write for a group, and what it leads to."""

    group: Group
    write: Write
    homes: Sequence[Held]
    effect: Effect
    changes: Sequence[Change] = ()
    answer: Answer | None = None

    def home_of(self, person: Person) -> Held:
        """The cluster that the touchpoints of ``person`` belong to: of the strongest identifier that is no hub."""
        if len(self.homes) == 1:
            return self.homes[0]
        own = [
            held
            for token in person.strongest
            for held in self.homes
            if held.cluster.index(token) >= 0 and lives_in(held.cluster, token)
        ]
        people = [held for held in own if not held.cluster.hub]
        return (people or own)[0]


class Planner:
    """Plans the writes of one process, by the ``rules`` of its policy."""

    def __init__(self, store: IdentityStore, vault: Vault, tokens: Tokens, rules: Rules) -> None:
        self.rules = rules
        self._store = store
        self._vault = vault
        self._tokens = tokens

    def plan(self, group: Group, now_us: int) -> Plan:
        """The write for ``group``. ``now_us``: this process' clock (µs)."""
        visits, clusters, _ = group
        version = max([now_us, *[held.version + 1 for held in clusters]])
        if len(clusters) == 1 and all([visit.moved is not None for visit in visits]):
            return self._touch(group, version)
        return self._resolve(group, version)

    def _touch(self, group: Group, version: int) -> Plan:
        (held,) = group.clusters
        spans = held.cluster.spans.copy()
        for visit in group.visits:
            for number, span in (visit.moved or {}).items():
                spans[number] = max(spans[number], span)
        cluster = msgspec.structs.replace(held.cluster, spans=spans)
        home = Held(held.id, self._store.stamp(version), cluster)
        write = [Set(self._store.cluster_key(held.id), held.stamp, self._store.pack(home.stamp, cluster))]
        return Plan(group, write, [home], Effect.TOUCH)

    def _resolve(self, group: Group, version: int) -> Plan:
        joined = join_up(group, self.rules)
        parts = self._parts(group, joined)
        pending = joined.pending + [self._change(change, joined, version) for change in joined.changes]
        homes = self._homes(group, joined, parts, pending, self._store.stamp(version))
        write = self._replace(group, homes, joined)
        return Plan(group, write, homes, Effect.RESOLVE, joined.changes, joined.answer)

    def _parts(self, group: Group, joined: Joined) -> dict[bytes, Evidence]:
        """The clusters to store: one, unless there are hubs, which keep them apart, or tombstones, which shall not tell
        who had been one. Hubs that have clusters of their own elsewhere stay there."""
        if not joined.apart:
            return {b"": joined.evidence}
        parts = separate(joined.evidence, self.rules)
        for hub in elsewhere(group):
            parts.pop(hub, None)
        return parts

    def _homes(
        self,
        group: Group,
        joined: Joined,
        parts: Mapping[bytes, Evidence],
        pending: list[stitched.Change],
        stamp: bytes,
    ) -> list[Held]:
        """The clusters that take the place of the group's; the largest keeps the id of the largest. All tell of all
        changes: whichever is read first has to."""
        largest = max(group.clusters, key=lambda held: (len(held.cluster.ids), held.id), default=None)
        names = [largest.id] if largest else []
        homes = []
        for key, evidence in sorted(parts.items(), key=lambda part: len(part[1]), reverse=True):
            hub = key if key in joined.after.hubs else b""
            cluster = cluster_of(evidence, joined.after, joined.keys, pending, hub)
            homes.append(Held(names.pop() if names else os.urandom(8), stamp, cluster))
        return homes

    def _replace(self, group: Group, homes: list[Held], joined: Joined) -> list[Set]:
        """The write that puts ``homes`` in the place of the group's clusters."""
        store, kept, before = self._store, {home.id for home in homes}, joined.before
        stamps = {held.id: held.stamp for held in group.clusters}
        write = [Set(store.cluster_key(held.id), held.stamp, SAME) for held in group.hubs.values()]
        write += [Set(store.cluster_key(id), stamp, DELETED) for id, stamp in stamps.items() if id not in kept]
        inside = {
            token: held.id for held in group.clusters for token in held.cluster.ids if lives_in(held.cluster, token)
        }
        for id, stamp, cluster in homes:
            write.append(Set(store.cluster_key(id), stamps.get(id, ABSENT), store.pack(stamp, cluster)))
            for token in cluster.ids:
                customer = joined.after.customers.get(token, NO_CUSTOMER)
                if (inside.get(token) != id or before.get(token) != customer) and lives_in(cluster, token):
                    expected = ANY if token in before or token in inside else ABSENT
                    write.append(Set(store.identifier_key(token), expected, store.place(id, customer)))
        # Blocked since they were stored, or mentioned in nothing but what was erased.
        left = inside.keys() - {token for home in homes for token in home.cluster.ids}
        return write + [Set(store.identifier_key(token), ANY, DELETED) for token in left]

    def _change(self, change: Change, joined: Joined, version: int) -> stitched.Change:
        """The record of a change, and the data key of a new customer.

        Its id follows from what changes and from the version. Made again after Redis forgot it, it is another change:
        what was handed over for the first may have gone on since.
        """
        if change.kind == CREATED:
            wrapped = self._vault.new_key(change.customer)
            joined.keys[change.customer] = Key(kid(change.customer, wrapped), wrapped)
        texts = [token_text(token) for token in change.ids]
        what = [change.kind, change.customer, change.old or "", str(version), *texts]
        return stitched.Change(
            at=0,  # stamped by whoever publishes it
            id=self._tokens.text("change", "|".join(what)),
            kind=change.kind,
            customer=change.customer,
            version=version,
            time=joined.cause.time,
            ids=texts,
            contacts=[] if change.kind in (MERGED, REFUSED, *FORGOTTEN) else self._contacts(change, joined),
            old=change.old,
            new=change.customer if change.old else None,
            touchpoint=joined.cause.event.eid,
            policy=self.rules.version,
            why=change.why,
            keys=_keys_of(change, joined),
        )

    def _contacts(self, change: Change, joined: Joined) -> list[stitched.Contact]:
        """The values that triggers carry among the identifiers that joined, sealed for the customer."""
        wanted, found = set(change.ids), []
        for visit in joined.visits:
            for known in visit.person.contacts:
                if known.token in wanted:
                    wanted.discard(known.token)
                    held = joined.keys[change.customer]
                    key = self._vault.data_key(held.wrapped, change.customer, held.kid)
                    sealed, token = key.seal(known.value.encode()), token_text(known.token)
                    found.append(stitched.Contact(known.ns, held.kid, sealed, visit.touches[0].time, token))
        return found


def _keys_of(change: Change, joined: Joined) -> list[str]:
    """The data key that a change makes, or those that it destroys."""
    if change.kind == CREATED:
        return [joined.keys[change.customer].kid]
    return [key.kid for key in joined.destroyed.get(change.customer, ())] if change.kind in FORGOTTEN else []
