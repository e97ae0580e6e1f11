"""A batch of touches, resolved against the store: a few reads, a plan, one compare-and-set.

Touches that tell nothing new are done after the reads. The others are grouped by the clusters they
reach, and each group is written at once. Whoever loses a race against another process reads everything
again: what was written meanwhile is then nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from operators.clusters import is_hub
from operators.commands import Answer
from operators.failpoints import ROUND_TRIP, failpoint_within
from operators.groups import Group, Visit
from operators.planning import Plan, Planner
from operators.reading import NOBODY, Person, Touch
from operators.union_find import roots
from schemas.errors import Conflict
from state.identity import SAME, Held, IdentityStore, Mark, Set, Write

#: Losing this often in a row means something else is wrong.
ROUNDS = 100


class Resolution(NamedTuple):
    """The cluster of each person shown; the clusters that came apart; changes made, by kind; touches by effect; rounds
    it took; what came of commands."""

    homes: dict[Person, Held]
    apart: list[Held]
    changes: Counter[str]
    effects: Counter[str]
    rounds: int
    answers: list[Answer]


class Resolver:
    """Resolves for one process. ``now_us``: its clock (µs)."""

    def __init__(self, store: IdentityStore, planner: Planner, now_us: Callable[[], int]) -> None:
        self._store = store
        self._planner = planner
        self._now_us = now_us

    def resolve(self, touches: Sequence[Touch], marks: Sequence[Mark]) -> Resolution:
        """Write what ``touches`` say and find the cluster of each person. Those not live were stitched before Redis
        was rolled back. A command comes alone, or with others of those who expire.

        Raises `Conflict`, `redis.RedisError`.
        """
        visits = _visits(touches)
        made: Counter[str] = Counter()
        effects: Counter[str] = Counter()
        late: set[Visit] = set()
        for rounds in range(1, ROUNDS + 1):
            groups = self._look(visits)
            now = self._now_us()
            plans = [self._planner.plan(group, now) for group in groups]
            writes = [plan.write for plan in plans] + self._checks(late, groups)
            failpoint_within("stitch.committing", ROUND_TRIP)
            done = self._store.write(writes, marks)
            for plan, written in zip(plans, done, strict=False):
                if written:
                    made.update(change.kind for change in plan.changes)
                    effects[plan.effect.name.lower()] += sum(len(visit.touches) for visit in plan.group.visits)
            if all(done):
                effects["nothing"] = sum(len(visit.touches) for visit in visits) - effects.total()
                apart = [home for plan in plans if len(plan.homes) > 1 for home in plan.homes]
                answers = [plan.answer for plan in plans if plan.answer]
                return Resolution(_settle(visits, plans), apart, made, effects, rounds, answers)
            late.update(visit for group in groups for visit in group.visits)
        raise Conflict(f"identity: lost {ROUNDS} races in a row")

    def _look(self, visits: list[Visit]) -> list[Group]:
        """Read, and tell what is known from what is not: each visit's cluster, and the groups of those that say
        something new.

        First where the person was found last; identifiers are looked up only where that does not answer. A merge
        between two reads leaves tokens without the cluster they are said to be in; they are then taken for new, and
        the write fails, since they are not.
        """
        store, rules = self._store, self._planner.rules
        visits = [visit for visit in visits if visit.touches]
        held = store.clusters({visit.person.cluster for visit in visits if visit.person.cluster})
        for visit in visits:
            visit.look(held.get(visit.person.cluster), rules)
        strangers = [visit for visit in visits if visit.moved is None]
        places = store.places({token for visit in strangers for token in visit.sighting.tokens})
        held |= store.clusters({place for place in places.values() if place not in held})
        for visit in strangers:
            _drop_vain(visit, places, held)
            visit.look(_place_of(visit, places, held), rules)
        return _groups([visit for visit in visits if visit.touches and not visit.known], places, held)

    def _checks(self, late: set[Visit], groups: list[Group]) -> list[Write]:
        """Writes that only compare: what an earlier round wrote for these visits must still be there when the
        last one is done, or Redis could forget it in between without anyone noticing."""
        written = {held.id for group in groups for held in group.clusters}
        resting = {visit.home.id: visit.home for visit in late if visit.known and visit.home}
        return [
            [Set(self._store.cluster_key(held.id), held.stamp, SAME)]
            for held in resting.values()
            if held.id not in written
        ]


def _visits(touches: Sequence[Touch]) -> list[Visit]:
    """The touches of each person together; products are nobody."""
    visits: dict[Person, Visit] = {}
    for touch in touches:
        person = touch.person
        visit = visits.get(person)
        if visit is not None:
            visit.touches.append(touch)
        elif person is not NOBODY:
            visits[person] = Visit(person, [touch])
    for visit in visits.values():
        visit.sum_up()
    return list(visits.values())


def _drop_vain(visit: Visit, places: dict[bytes, bytes], held: dict[bytes, Held]) -> None:
    """Let go of the touches from before an erasure of one of their identifiers, and of who has expired before."""
    command = visit.person.command
    if command is not None and command.op == "expire" and places.keys().isdisjoint(visit.sighting.tokens):
        visit.touches = []
    elif command is None:
        homes = [(token, held.get(places.get(token, b""))) for token in visit.sighting.tokens]
        erased = max([home.cluster.erased_at(token) for token, home in homes if home is not None], default=-1)
        if erased >= visit.sighting.first:
            visit.drop_late(erased)


def _place_of(visit: Visit, places: dict[bytes, bytes], held: dict[bytes, Held]) -> Held | None:
    """The cluster of the strongest identifier that has one; of a hub only if there is nothing else."""
    hub = None
    for token in visit.person.strongest:
        home = held.get(places.get(token, b""))
        if home is not None and not is_hub(home.cluster, token):
            return home
        hub = hub or home
    return hub


def _groups(visits: list[Visit], places: dict[bytes, bytes], held: dict[bytes, Held]) -> list[Group]:
    """Visits that share a cluster or a new token, directly or through others, in order of appearance. Hubs join
    nobody.

    A cluster id has 8 bytes and a token at least 18, so the two can be nodes of one graph.
    """
    reached = [_reach(visit, places, held) for visit in visits]
    root = roots([(nodes[0], node) for nodes, _ in reached for node in nodes])
    groups: dict[bytes, Group] = {}
    for visit, (nodes, hubs) in zip(visits, reached, strict=True):
        group = groups.setdefault(root[nodes[0]], Group([], [], {}))
        group.visits.append(visit)
        group.hubs.update(hubs)
    for node in root:
        if node in held:
            groups[root[node]].clusters.append(held[node])
    return list(groups.values())


def _reach(visit: Visit, places: dict[bytes, bytes], held: dict[bytes, Held]) -> tuple[list[bytes], dict[bytes, Held]]:
    """The clusters and new tokens that a visit connects, and the hubs it passes; a hub alone is a cluster."""
    if visit.moved is not None and visit.home is not None:
        return [visit.home.id], {}
    nodes: list[bytes] = []
    hubs: dict[bytes, Held] = {}
    for token in visit.sighting.tokens:
        home = held.get(places.get(token, b""))
        if home is not None and visit.person.command is None and is_hub(home.cluster, token):
            hubs[token] = home
        else:
            nodes.append(places.get(token, token))
    if nodes:
        return nodes, hubs
    token = next(token for token in visit.person.strongest if token in hubs)
    return [hubs.pop(token).id], hubs


def _settle(visits: list[Visit], plans: list[Plan]) -> dict[Person, Held]:
    """The cluster of each person after the plans were carried out; where to look for him next time."""
    moved = {held.id: plan for plan in plans for held in plan.group.clusters}
    homes = {visit.person: plan.home_of(visit.person) for plan in plans for visit in plan.group.visits}
    for visit in [visit for visit in visits if visit.touches]:
        person, home = visit.person, visit.home
        if person not in homes and home is not None:
            homes[person] = moved[home.id].home_of(person) if home.id in moved else home
        person.cluster = homes[person].id
    return homes
