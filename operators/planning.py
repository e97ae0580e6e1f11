"""What to write for touches that belong together: times moved on, or their clusters joined and partitioned anew."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from operators.changes import CREATED, MERGED, Change, changes, forgotten
from operators.clusters import cluster_of, lives_in, move_times, newer_logout
from operators.evidence import KINDS, LOGOUT, Effect, Evidence, Sighting, facts_of, join, marker
from operators.hubs import quarantine, separate
from operators.partition import Partition, partition
from operators.reading import DELIVERABLE, Person, Touch
from operators.rules import Rules
from schemas import stitched
from state.identity import ABSENT, ANY, DELETED, SAME, Held, IdentityStore, Set, Span, Write
from state.tokens import Tokens, namespace, token_text
from state.vault import Vault, kid


class Visit(msgspec.Struct, eq=False):
    """A person and the touches of the batch that show him; ``sighting`` is what they say together.

    ``home``: the cluster looked at. ``moved``: the times that the sighting moves on there, None if it may change the
    partition.
    """

    person: Person
    touches: list[Touch]
    sighting: Sighting = Sighting((), 0, 0, 0)
    live: bool = True
    home: Held | None = None
    moved: dict[int, Span] | None = None

    def sum_up(self) -> None:
        """All touches are there."""
        times = [touch.time for touch in self.touches]
        self.sighting = Sighting(*self.person.who, min(times), max(times))
        self.live = all([touch.live for touch in self.touches])

    def look(self, home: Held | None, rules: Rules) -> None:
        """Compare with a cluster the person may be in."""
        self.home, self.moved = home, None
        if home is None or not (self.live or not forgotten(home.cluster.partition(), home.cluster.pending)):
            return
        if not newer_logout(home.cluster, self.person.logouts, self.sighting.last):
            self.moved = move_times(home.cluster, self.sighting, self.person.by_last, rules)

    @property
    def known(self) -> bool:
        """Whether it says nothing new."""
        return self.moved is not None and not self.moved


class Group(NamedTuple):
    """Visits that share identifiers or clusters, the clusters they reach, and the clusters of the hubs they pass, by
    hub: these are read only."""

    visits: list[Visit]
    clusters: list[Held]
    hubs: dict[bytes, Held]


class Plan(NamedTuple):
    """What to write for a group, and what it leads to."""

    group: Group
    write: Write
    homes: Sequence[Held]
    effect: Effect
    changes: Sequence[Change] = ()

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


class _Join(NamedTuple):
    """Everything known in a group once it is joined: evidence, partition, data keys, the touch that mattered."""

    evidence: Evidence
    after: Partition
    keys: dict[str, tuple[str, bytes]]
    version: int
    cause: Touch
    visits: list[Visit]


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
        before: dict[bytes, str] = {}
        keys: dict[str, tuple[str, bytes]] = {}
        pending: list[stitched.Change] = []
        evidence: Evidence = {}
        for held in group.clusters:
            before.update(held.cluster.partition())
            keys.update(held.cluster.keys)
            pending += held.cluster.pending
            join(evidence, held.cluster.facts(KINDS))
        for hub, held in group.hubs.items():
            join(evidence, {fact: span for fact, span in held.cluster.facts(KINDS).items() if fact[1:] == (hub, hub)})
        blocked = self.rules.blocked.intersection(before)
        if blocked:  # since they were stored
            evidence = {fact: span for fact, span in evidence.items() if blocked.isdisjoint(fact[1:])}
        cause = _join_visits(evidence, group.visits, self.rules)
        after, parts = self._partition(evidence)
        before |= {hub: after.customers[hub] for hub in group.hubs}
        for hub in _elsewhere(group):
            parts.pop(hub, None)
        was_nobody = {held.cluster.ids[i] for held in group.clusters for i in held.cluster.nobody}.union(group.hubs)
        made = changes(before, after.customers, keys, was_nobody, after.nobody)
        if not all([visit.live for visit in group.visits]):
            people = {token: each for token, each in after.customers.items() if token not in after.nobody}
            made += forgotten(people, [*pending, *made])
        joined = _Join(evidence, after, keys, version, cause, group.visits)
        pending += [self._change(change, joined) for change in made]
        homes = self._homes(group, joined, parts, pending)
        write = self._replace(group, homes, before, after)
        write += [Set(self._store.identifier_key(token), ANY, DELETED) for token in blocked]
        return Plan(group, write, homes, Effect.RESOLVE, made)

    def _partition(self, evidence: Evidence) -> tuple[Partition, dict[bytes, Evidence]]:
        """The customers, and the clusters they are stored in: one, unless there are hubs, which keep them apart."""
        after = partition(evidence, self.rules)
        if not after.hubs and len(after.customers) <= self.rules.cap:
            return after, {b"": evidence}
        join(evidence, quarantine(evidence, self.rules))
        return partition(evidence, self.rules), separate(evidence, self.rules)

    def _homes(
        self, group: Group, joined: _Join, parts: Mapping[bytes, Evidence], pending: list[stitched.Change]
    ) -> list[Held]:
        """The clusters that take the place of the group's; the largest keeps the id of the largest. All tell of all
        changes: whichever is read first has to."""
        largest = max(group.clusters, key=lambda held: (len(held.cluster.ids), held.id), default=None)
        names = [largest.id] if largest else []
        stamp, homes = self._store.stamp(joined.version), []
        for key, evidence in sorted(parts.items(), key=lambda part: len(part[1]), reverse=True):
            hub = key if key in joined.after.hubs else b""
            cluster = cluster_of(evidence, joined.after, joined.keys, pending, hub)
            homes.append(Held(names.pop() if names else os.urandom(8), stamp, cluster))
        return homes

    def _replace(self, group: Group, homes: list[Held], before: Mapping[bytes, str], after: Partition) -> list[Set]:
        """The write that puts ``homes`` in the place of the group's clusters."""
        store, kept = self._store, {home.id for home in homes}
        stamps = {held.id: held.stamp for held in group.clusters}
        write = [Set(store.cluster_key(held.id), held.stamp, SAME) for held in group.hubs.values()]
        write += [Set(store.cluster_key(id), stamp, DELETED) for id, stamp in stamps.items() if id not in kept]
        inside = {
            token: held.id for held in group.clusters for token in held.cluster.ids if lives_in(held.cluster, token)
        }
        for id, stamp, cluster in homes:
            write.append(Set(store.cluster_key(id), stamps.get(id, ABSENT), store.pack(stamp, cluster)))
            for token in cluster.ids:
                customer = after.customers[token]
                if (inside.get(token) != id or before.get(token) != customer) and lives_in(cluster, token):
                    expected = ANY if token in before else ABSENT
                    write.append(Set(store.identifier_key(token), expected, store.place(id, customer)))
        return write

    def _change(self, change: Change, joined: _Join) -> stitched.Change:
        """The record of a change, and the data key of a new customer.

        Its id follows from what changes and, where that may go back and forth, from the touchpoint that brought it
        about, not from when: made again, it is the same.
        """
        if change.kind == CREATED:
            wrapped = self._vault.new_key(change.customer)
            joined.keys[change.customer] = (kid(change.customer, wrapped), wrapped)
        texts = [token_text(token) for token in change.ids]
        what = [change.kind, change.customer, *texts]
        if change.old is not None:
            what += [change.old, joined.cause.event.eid]
        return stitched.Change(
            at=0,  # stamped by whoever publishes it
            id=self._tokens.text("change", "|".join(what)),
            kind=change.kind,
            customer=change.customer,
            version=joined.version,
            time=joined.cause.time,
            ids=texts,
            contacts=[] if change.kind == MERGED else self._contacts(change, joined),
            old=change.old,
            new=change.customer if change.old else None,
            touchpoint=joined.cause.event.eid,
            policy=self.rules.version,
        )

    def _contacts(self, change: Change, joined: _Join) -> list[stitched.Contact]:
        """The values a message can be sent to among the identifiers that joined, sealed for the customer."""
        wanted = {token for token in change.ids if namespace(token) in DELIVERABLE}
        if not wanted:
            return []
        name, wrapped = joined.keys[change.customer]
        key = self._vault.data_key(wrapped, change.customer, name)
        found = []
        for visit in joined.visits:
            for known in visit.person.contacts:
                if known.token in wanted:
                    wanted.discard(known.token)
                    sealed = key.seal(known.value.encode())
                    token = token_text(known.token)
                    found.append(stitched.Contact(known.ns, name, sealed, visit.touches[0].time, token))
        return found


def _join_visits(evidence: Evidence, visits: list[Visit], rules: Rules) -> Touch:
    """Join what the visits say, in place; the first touch that could change the partition."""
    cause = None
    for visit in visits:
        facts = facts_of(visit.sighting, rules)
        for token in visit.person.logouts:
            facts |= marker(LOGOUT, token, token, visit.sighting.last)
        if cause is None and visit.moved is None:
            cause = visit.touches[0]
        join(evidence, facts)
    return cause or visits[0].touches[0]


def _elsewhere(group: Group) -> set[bytes]:
    """The hubs that the group mentions and that have clusters of their own, which it does not rewrite."""
    clusters = [held.cluster for held in group.clusters]
    mentioned = {token for cluster in clusters for token in cluster.ids if not lives_in(cluster, token)}
    return mentioned.union(group.hubs).difference([cluster.hub for cluster in clusters])
