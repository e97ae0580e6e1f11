"""What to write for touches that belong together: times moved on, or their clusters joined and partitioned anew."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from operators.identity import (
    DELIVERABLE,
    KINDS,
    LAST_MS,
    SEEN,
    Change,
    Effect,
    Evidence,
    Sighting,
    changes,
    customer_id,
    effect,
    facts_of,
    join,
    oldest,
    partition,
)
from operators.reading import Person, Touch
from schemas import stitched
from state.identity import ABSENT, ANY, DELETED, Cluster, Held, IdentityStore, Set, Span, Write, code
from state.tokens import Tokens, namespace, token_text
from state.vault import Vault, kid

_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
_SEEN, _OBSERVED, _LOGIN = range(3)


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

    def look(self, home: Held | None) -> None:
        """Compare with a cluster the person may be in."""
        self.home, self.moved = home, None
        if home is not None and (self.live or not forgotten(home.cluster.partition(), home.cluster.pending)):
            self.moved = move_times(home.cluster, (self.sighting,))

    @property
    def known(self) -> bool:
        """Whether it says nothing new."""
        return self.moved is not None and not self.moved


class Group(NamedTuple):
    """Visits that share identifiers or clusters, and the clusters they reach."""

    visits: list[Visit]
    clusters: list[Held]


class Plan(NamedTuple):
    """What to write for a group, and what it leads to."""

    group: Group
    write: Write
    home: Held
    effect: Effect
    changes: Sequence[Change] = ()


class _Join(NamedTuple):
    """Everything known in a group once it is joined: evidence, partition, data keys, the touch that mattered."""

    evidence: Evidence
    after: dict[bytes, str]
    keys: dict[str, tuple[str, bytes]]
    version: int
    cause: Touch
    visits: list[Visit]


class Planner:
    """Plans the writes of one process."""

    def __init__(self, store: IdentityStore, vault: Vault, tokens: Tokens) -> None:
        self._store = store
        self._vault = vault
        self._tokens = tokens

    def plan(self, group: Group, now_us: int) -> Plan:
        """The write for ``group``. ``now_us``: this process' clock (µs)."""
        visits, clusters = group
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
        return Plan(group, write, home, Effect.TOUCH)

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
        cause = _join_visits(evidence, group.visits)
        after = partition(evidence)
        made = changes(before, after, keys)
        if not all([visit.live for visit in group.visits]):
            made += forgotten(after, [*pending, *made])
        joined = _Join(evidence, after, keys, version, cause, group.visits)
        pending += [self._change(change, joined) for change in made]
        largest = max(group.clusters, key=lambda held: (len(held.cluster.ids), held.id), default=None)
        name = largest.id if largest else os.urandom(8)
        home = Held(name, self._store.stamp(version), _cluster(joined, pending))
        return Plan(group, self._replace(group, home, before, after), home, Effect.RESOLVE, made)

    def _replace(self, group: Group, home: Held, before: dict[bytes, str], after: dict[bytes, str]) -> Write:
        """The write that puts ``home`` in the place of the group's clusters."""
        store, id = self._store, home.id
        write = [Set(store.cluster_key(held.id), held.stamp, DELETED) for held in group.clusters if held.id != id]
        inside: set[bytes] = set()
        expected = ABSENT
        for held in group.clusters:
            if held.id == id:
                inside, expected = set(held.cluster.ids), held.stamp
        write.append(Set(store.cluster_key(id), expected, store.pack(home.stamp, home.cluster)))
        for token, customer in after.items():
            old = before.get(token)
            if old != customer or token not in inside:
                known = ABSENT if old is None else ANY
                write.append(Set(store.identifier_key(token), known, store.place(id, customer)))
        return write

    def _change(self, change: Change, joined: _Join) -> stitched.Change:
        """The record of a change, and the data key of a new customer.

        Its id follows from what changes, not from when: made again, it is the same.
        """
        if change.kind == "created":
            wrapped = self._vault.new_key(change.customer)
            joined.keys[change.customer] = (kid(change.customer, wrapped), wrapped)
        texts = [token_text(token) for token in change.ids]
        what = [change.kind, change.customer, *([change.old, _age(change, joined)] if change.old else texts)]
        return stitched.Change(
            at=0,  # stamped by whoever publishes it
            id=self._tokens.text("change", "|".join(what)),
            kind=change.kind,
            customer=change.customer,
            version=joined.version,
            time=joined.cause.time,
            ids=texts,
            contacts=[] if change.old else self._contacts(change, joined),
            old=change.old,
            new=change.customer if change.old else None,
            touchpoint=joined.cause.event.eid,
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
                    found.append(stitched.Contact(known.ns, name, sealed, visit.touches[0].time))
        return found


def forgotten(customers: Mapping[bytes, str], told: Iterable[Change | stitched.Change]) -> list[Change]:
    """Merges that may have been published and then forgotten by Redis, beside those ``told``.

    What was stitched one by one before Redis lost it may be stitched at once afterwards, and then a customer that
    existed in between is not made again, although ``stitched`` holds its touchpoints. It was named after one of
    these identifiers; to hand over a customer that never was is harmless.
    """
    live, olds = set(customers.values()), {change.old for change in told}
    named = {token: customer_id(token_text(token)) for token in customers}
    return [
        Change("merged", customers[token], (token,), name)
        for token, name in sorted(named.items())
        if name not in live and name not in olds
    ]


def move_times(cluster: Cluster, sightings: Sequence[Sighting]) -> dict[int, Span] | None:
    """The cheap test on a cluster as it is stored: the spans that joining ``sightings`` moves on, by code; empty if
    all is known. None if it may change the partition. The same as `effect` after `facts_of`, without spelling out
    either (tested)."""
    ids, spans = cluster.ids, cluster.spans
    moved: dict[int, Span] = {}
    for tokens, logins, first, last in sightings:
        day = last - last % LAST_MS
        places: list[int] = []
        for n, token in enumerate(tokens):
            j = bisect_left(ids, token)
            if j == len(ids) or ids[j] != token:
                return None
            row = j * (j + 1) // 2
            places.append(j)
            for m, i in enumerate(places):
                number, end = (row + i) * 8, day
                if m < n:
                    number += _OBSERVED
                    if logins and (logins >> m & 1 or logins >> n & 1):
                        number, end = number - _OBSERVED + _LOGIN, last
                span = spans.get(number)
                if span is None or first < span[0]:
                    return None
                if end > span[1] and (number not in moved or end > moved[number][1]):
                    moved[number] = (span[0], end)
    return moved


def _join_visits(evidence: Evidence, visits: list[Visit]) -> Touch:
    """Join what the visits say, in place; the first touch that could change the partition."""
    cause = None
    for visit in visits:
        facts = facts_of(visit.sighting)
        if cause is None and effect(evidence, facts) is Effect.RESOLVE:
            cause = visit.touches[0]
        join(evidence, facts)
    return cause or visits[0].touches[0]


def _cluster(joined: _Join, pending: list[stitched.Change]) -> Cluster:
    ids = sorted(joined.after)
    place = {token: i for i, token in enumerate(ids)}
    customers = sorted(set(joined.after.values()))
    number = {customer: i for i, customer in enumerate(customers)}
    spans = {code(_NUMBER[kind], place[a], place[b]): span for (kind, a, b), span in joined.evidence.items()}
    return Cluster(ids, spans, customers, [number[joined.after[token]] for token in ids], joined.keys, pending)


def _age(change: Change, joined: _Join) -> str:
    """When the surviving customer began. An id can move away and back, but each time to something older."""
    own = [token for token, customer in joined.after.items() if customer == change.customer]
    head = oldest(joined.evidence, own)
    return str(joined.evidence[SEEN, head, head][0])
