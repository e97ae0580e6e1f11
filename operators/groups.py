"""Evidence of clusters and visits that belong together, joined: who is who now, and what that changes.

The pure half of `operators.planning`, which makes records and writes of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from operators.changes import ERASED, EXPIRED, MERGED, REFUSED, Change, changes, displaced, forgotten
from operators.clusters import heir, lives_in, move_times, newer_logout
from operators.commands import Answer, answer_to, erase, said, spend, stamps
from operators.evidence import KINDS, LINKS, LOGOUT, Evidence, Fact, Sighting, facts_of, join, marker, tombstones
from operators.explain import explain
from operators.graph import purged
from operators.hubs import quarantine
from operators.partition import Partition, partition
from operators.reading import Person, Touch
from operators.rules import Rules
from schemas import stitched
from state.identity import Cluster, Held, Key, Span
from state.tokens import CUT


class Visit(msgspec.Struct, eq=False):
    """A person and the touches of the batch that show him; ``sighting`` is what they say together.

    ``home``: the cluster looked at. ``moved``: the times that the sighting moves on there, None if it may change the
    partition.
    """

    person: Person
    touches: list[Touch]
    sighting: Sighting = Sighting((), 0, 0, 0)
    sure: bool = True
    home: Held | None = None
    moved: dict[int, Span] | None = None

    def sum_up(self) -> None:
        """All touches are there."""
        if not self.touches:
            return
        times = [touch.time for touch in self.touches]
        self.sighting = self.person.sighting(min(times), max(times))
        self.sure = all([touch.sure for touch in self.touches])

    def drop_late(self, erased: int) -> None:
        """Let go of what happened up to ``erased`` (ms), when one of the identifiers was erased."""
        for touch in self.touches:
            touch.late = touch.time <= erased
        self.touches = [touch for touch in self.touches if not touch.late]
        self.sum_up()

    def look(self, home: Held | None, rules: Rules) -> None:
        """Compare with a cluster the person may be in."""
        self.home, self.moved = home, None
        if home is None or self.person.command is not None or not self._lives_in(home.cluster):
            return
        if not self.sure and _untold(home.cluster):
            return
        if not newer_logout(home.cluster, self.person.logouts, self.sighting.last):
            self.moved = move_times(home.cluster, self.sighting, self.person.by_last, rules)

    def _lives_in(self, cluster: Cluster) -> bool:
        """Whether any identifier is in its place there: one that has become a hub is still mentioned where it was."""
        return not cluster.nobody or any([lives_in(cluster, token) for token in self.sighting.tokens])

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


class Joined(NamedTuple):
    """Everything known in a group once it is joined.

    ``before``, ``after``: whose its identifiers were and are; ``keys`` as they are now, without those in ``destroyed``,
    which go with the customers that are forgotten; ``pending``: changes of before, and ``changes`` what changes now;
    ``cause``: the touch that mattered; ``apart``: whether the evidence may have to be kept in several clusters.
    """

    visits: list[Visit]
    evidence: Evidence
    before: dict[bytes, str]
    after: Partition
    keys: dict[str, Key]
    destroyed: Mapping[str, list[Key]]
    pending: list[stitched.Change]
    changes: list[Change]
    cause: Touch
    apart: bool
    answer: Answer | None


def join_up(group: Group, rules: Rules) -> Joined:
    """Join the evidence of a group's clusters and visits, and see who is who now."""
    before, keys, pending, evidence = _contents(group)
    blocked = rules.blocked.intersection(before)
    if blocked:  # since they were stored
        evidence = {fact: span for fact, span in evidence.items() if blocked.isdisjoint(fact[1:])}
    cause, news = _join_visits(evidence, group.visits, rules)
    command, named = cause.person.command, cause.person.who[0]
    used = stamps(evidence)
    gone = erase(evidence, command, named, before)
    destroyed = _destroy(keys, gone)
    expired = command is not None and command.op == "expire"
    if gone and command is not None and not expired:
        dead = {*gone, *[key.kid.rpartition(".")[0] for key in chain(*destroyed.values())]}
        spend(evidence, dead, used, command.time)
        pending = [msgspec.structs.replace(each, contacts=[]) if each.customer in gone else each for each in pending]
    evidence = purged(evidence)
    before = {token: customer for token, customer in before.items() if customer not in gone}
    after, apart = _partition(evidence, rules)
    before |= {hub: after.customers[hub] for hub in group.hubs}
    kind = EXPIRED if expired else ERASED
    made = [Change(kind, customer, tuple(sorted(tokens))) for customer, tokens in gone.items()]
    made += changes(before, after.customers, keys, _nobody(group), after.nobody)
    if not all([visit.sure for visit in group.visits]):
        made += forgotten(_people(after), [*pending, *made])
        made += displaced(after.customers, after.nobody, [*pending, *made])
    made += _refusals(news, evidence, after, rules)
    answer = None if command is None else answer_to(command, named, after, gone)
    if answer is not None and answer.why and answer.customers:
        made.append(Change(REFUSED, answer.customers[0], named, why=answer.why))
    _inherit(keys, made, after)
    return Joined(group.visits, evidence, before, after, keys, destroyed, pending, made, cause, apart, answer)


def _partition(evidence: Evidence, rules: Rules) -> tuple[Partition, bool]:
    """The customers, and whether their evidence may have to be kept apart. Marks hubs, in place."""
    after = partition(evidence, rules)
    if not after.hubs and not after.erased and len(after.customers) <= rules.cap:
        return after, False
    join(evidence, quarantine(evidence, rules))
    return partition(evidence, rules), True


def _untold(cluster: Cluster) -> bool:
    """Whether there is something to tell again of a cluster, since Redis may have forgotten what was told."""
    customers, nobody = cluster.partition(), {cluster.ids[i] for i in cluster.nobody}
    return bool(forgotten(customers, cluster.pending) or displaced(customers, nobody, cluster.pending))


def _people(after: Partition) -> dict[bytes, str]:
    """The customers of identifiers that stand for a person and always have."""
    out = after.nobody | after.spent
    return {token: customer for token, customer in after.customers.items() if token not in out}


def _contents(group: Group) -> tuple[dict[bytes, str], dict[str, Key], list[stitched.Change], Evidence]:
    """What a group's clusters hold together: customers, data keys, pending changes, evidence."""
    before: dict[bytes, str] = {}
    keys: dict[str, Key] = {}
    pending: list[stitched.Change] = []
    evidence: Evidence = {}
    for held in group.clusters:
        before.update(held.cluster.partition())
        keys.update({name: key for name, key in held.cluster.keys.items() if key.heir or name not in keys})
        pending += held.cluster.pending
        join(evidence, held.cluster.facts(KINDS))
    for hub, held in group.hubs.items():
        join(evidence, {fact: span for fact, span in held.cluster.facts(KINDS).items() if fact[1:] == (hub, hub)})
    return before, keys, pending, evidence


def _join_visits(evidence: Evidence, visits: list[Visit], rules: Rules) -> tuple[Touch, set[Fact]]:
    """Join what the visits say, in place; the first touch that could change the partition, and what was not known."""
    cause, news = None, set[Fact]()
    erased = tombstones(evidence)
    for visit in visits:
        person = visit.person
        facts = said(person.command, person.who[0]) if person.command else facts_of(visit.sighting, rules, erased)
        for token in person.logouts:
            facts |= marker(LOGOUT, token, token, visit.sighting.last)
        if cause is None and visit.moved is None:
            cause = visit.touches[0]
        news |= facts.keys() - evidence.keys()
        join(evidence, facts)
    return cause or visits[0].touches[0], news


def _nobody(group: Group) -> set[bytes]:
    """The identifiers that stood for no person."""
    return {held.cluster.ids[i] for held in group.clusters for i in held.cluster.nobody}.union(group.hubs)


def _destroy(keys: dict[str, Key], gone: Collection[str]) -> dict[str, list[Key]]:
    """Take the data keys of erased customers, and of all who were merged into them, out of ``keys``."""
    owners = {name: heir(name, keys) for name in keys} if gone else {}
    destroyed: dict[str, list[Key]] = {}
    for name, owner in owners.items():
        if owner in gone:
            destroyed.setdefault(owner, []).append(keys.pop(name))
    return destroyed


def _refusals(news: Collection[Fact], evidence: Evidence, after: Partition, rules: Rules) -> list[Change]:
    """Links that were seen for the first time and make nobody one, although both ends stand for a person."""
    customers = after.customers
    cut = {
        (kind, a, b)
        for kind, a, b in news
        if kind in LINKS and customers.get(a) != customers.get(b) and after.nobody.isdisjoint((a, b))
    }
    if not cut:
        return []
    found = []
    for link in explain(evidence, rules).links:
        if (link.kind, link.a, link.b) in cut and link.rule in ("limit", "split", "superseded"):
            stronger, weaker = sorted((link.a, link.b), key=lambda token: (rules.order(token[:CUT]), token))
            why = " ".join([link.rule, *link.limits])
            found.append(Change(REFUSED, customers[stronger], (stronger, weaker), why=why))
    return found


def _inherit(keys: dict[str, Key], made: Sequence[Change], after: Partition) -> None:
    """Note who has become another; who lives has not."""
    for change in made:
        if change.kind == MERGED and change.old in keys:
            keys[change.old] = msgspec.structs.replace(keys[change.old], heir=change.customer)
    for customer in keys.keys() & set(after.customers.values()):
        if keys[customer].heir:
            keys[customer] = msgspec.structs.replace(keys[customer], heir="")


def elsewhere(group: Group) -> set[bytes]:
    """The hubs that the group mentions and that have clusters of their own, which it does not rewrite."""
    clusters = [held.cluster for held in group.clusters]
    mentioned = {token for cluster in clusters for token in cluster.ids if not lives_in(cluster, token)}
    return mentioned.union(group.hubs).difference([cluster.hub for cluster in clusters])
