"""What to write for touches that belong together: times moved on, or their clusters joined and partitioned anew."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from operators.changes import CREATED, MERGED, MOVED, Change, changes, forgotten
from operators.evidence import KINDS, LOGIN, OBSERVED, SEEN, Effect, Evidence, Sighting, facts_of, join
from operators.partition import Partition, partition
from operators.reading import DELIVERABLE, Person, Touch
from operators.rules import Rules
from schemas import stitched
from state.identity import (
    ABSENT,
    ANY,
    DELETED,
    KINDS as KINDS_ROOM,
    Cluster,
    Held,
    IdentityStore,
    Set,
    Span,
    Write,
    code,
)
from state.tokens import Tokens, namespace, token_text
from state.vault import Vault, kid

_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
_SEEN, _OBSERVED, _LOGIN = (_NUMBER[kind] for kind in (SEEN, OBSERVED, LOGIN))


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
        if home is not None and (self.live or not forgotten(home.cluster.partition(), home.cluster.pending)):
            self.moved = move_times(home.cluster, self.sighting, self.person.by_last, rules)

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
        cause = _join_visits(evidence, group.visits, self.rules)
        after = partition(evidence, self.rules)
        made = changes(before, after.customers, keys)
        if not all([visit.live for visit in group.visits]):
            made += forgotten(after.customers, [*pending, *made])
        joined = _Join(evidence, after, keys, version, cause, group.visits)
        pending += [self._change(change, joined) for change in made]
        largest = max(group.clusters, key=lambda held: (len(held.cluster.ids), held.id), default=None)
        name = largest.id if largest else os.urandom(8)
        home = Held(name, self._store.stamp(version), _cluster(joined, pending))
        return Plan(group, self._replace(group, home, before, after.customers), home, Effect.RESOLVE, made)

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


def move_times(cluster: Cluster, sighting: Sighting, by_last: Sequence[bool], rules: Rules) -> dict[int, Span] | None:
    """The cheap test on a cluster as it is stored: the spans that joining ``sighting`` moves on, by code; empty if
    all is known. None if it may change the partition. The same as `effect` after `facts_of`, without spelling out
    either (tested). ``by_last``: see `Person`."""
    ids, spans, owners, nobody = cluster.ids, cluster.spans, cluster.owners, cluster.nobody
    tokens, logins, first, last, _ = sighting
    plain, deciding = last - last % rules.step, last - last % rules.deciding_step
    moved: dict[int, Span] = {}
    places: list[int] = []
    pair = 0
    for n, token in enumerate(tokens):
        j = bisect_left(ids, token)
        if j == len(ids) or ids[j] != token:
            return None
        row = j * (j + 1) // 2
        for m, i in enumerate(places):
            decides = by_last[pair]
            pair += 1
            kind = _LOGIN if logins and (logins >> m & 1 or logins >> n & 1) else _OBSERVED
            number, end = (row + i) * KINDS_ROOM + kind, deciding if decides else plain
            span = spans.get(number)
            if span is None or first < span[0]:
                return None
            if end > span[1]:
                if decides and owners[i] != owners[j] and i not in nobody and j not in nobody:
                    return None
                moved[number] = (span[0], end)
        places.append(j)
        number = (row + j) * KINDS_ROOM + _SEEN
        span = spans.get(number)
        if span is None or first < span[0]:
            return None
        if plain > span[1]:
            moved[number] = (span[0], plain)
    return moved


def _join_visits(evidence: Evidence, visits: list[Visit], rules: Rules) -> Touch:
    """Join what the visits say, in place; the first touch that could change the partition."""
    cause = None
    for visit in visits:
        facts = facts_of(visit.sighting, rules)
        if cause is None and visit.moved is None:
            cause = visit.touches[0]
        join(evidence, facts)
    return cause or visits[0].touches[0]


def _cluster(joined: _Join, pending: list[stitched.Change]) -> Cluster:
    held = joined.after.customers
    ids = sorted(held)
    place = {token: i for i, token in enumerate(ids)}
    customers = sorted(set(held.values()))
    number = {customer: i for i, customer in enumerate(customers)}
    spans = {code(_NUMBER[kind], place[a], place[b]): span for (kind, a, b), span in joined.evidence.items()}
    nobody = sorted([place[token] for token in joined.after.nobody])
    owners = [number[held[token]] for token in ids]
    return Cluster(ids, spans, customers, owners, joined.keys, pending, nobody)
