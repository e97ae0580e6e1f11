"""A batch of touches, resolved against the store: two reads, a plan, one compare-and-set.

Touches that tell nothing new are done after the reads. The others are grouped by the clusters they
reach, and each group is written at once. Whoever loses a race against another process reads everything
again: what was written meanwhile is then nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

from operators.identity import Sighting
from operators.planning import Group, Plan, Planner, Visit, forgotten, move_times
from operators.reading import Touch
from schemas.errors import Conflict
from state.identity import Held, IdentityStore, Mark, Partition, Write
from state.tokens import Tokens
from state.vault import Vault

#: Losing this often in a row means something else is wrong.
ROUNDS = 100


class Resolution(NamedTuple):
    """The cluster of each touch, in order; changes made, by kind; touches by effect; rounds it took."""

    homes: list[Held]
    changes: Counter[str]
    effects: Counter[str]
    rounds: int


class Resolver:
    """Resolves for one process. ``now_us``: its clock (µs)."""

    def __init__(self, store: IdentityStore, vault: Vault, tokens: Tokens, now_us: Callable[[], int]) -> None:
        self._store = store
        self._planner = Planner(store, vault, tokens)
        self._now_us = now_us

    def resolve(
        self, touches: Sequence[Touch], marks: Sequence[Mark], committed: Mapping[Partition, int]
    ) -> Resolution:
        """Write what ``touches`` say and give each its cluster. Those below ``committed``, K by partition, were
        stitched before Redis was rolled back. Raises `Conflict`, `redis.RedisError`."""
        visits, numbers = _visits(touches)
        replayed = {
            number
            for number, touch in zip(numbers, touches, strict=True)
            if touch.offset < committed.get(touch.source, 0)
        }
        tokens = list(dict.fromkeys(token for visit in visits for token in visit.sighting.tokens))
        made: Counter[str] = Counter()
        effects: Counter[str] = Counter()
        late: set[int] = set()
        for rounds in range(1, ROUNDS + 1):
            homes, groups = self._look(visits, tokens, replayed)
            now = self._now_us()
            plans = [self._planner.plan(group, visits, now, replayed) for group in groups]
            writes = [plan.write for plan in plans] + self._checks(late, homes, groups)
            done = self._store.write(writes, marks)
            for plan, written in zip(plans, done, strict=False):
                if written:
                    made.update(change.kind for change in plan.changes)
                    effects[plan.effect.name.lower()] += sum(len(visits[each].touches) for each in plan.group.visits)
            if all(done):
                effects["nothing"] = len(touches) - effects.total()
                settled = _settle(homes, plans)
                return Resolution([settled[number] for number in numbers], made, effects, rounds)
            late.update(number for number, home in enumerate(homes) if home is None)
        raise Conflict(f"identity: lost {ROUNDS} races in a row")

    def _look(
        self, visits: list[Visit], tokens: list[bytes], replayed: Set[int]
    ) -> tuple[list[Held | None], list[Group]]:
        """Read, and tell what is known from what is not: the cluster of each visit that says nothing new, and the
        groups of the others. A merge between the two reads leaves tokens without the cluster they are said to be
        in; they are then taken for new, and the write fails, since they are not."""
        places = self._store.places(tokens)
        held = self._store.clusters(list(dict.fromkeys(places.values())))
        homes: list[Held | None] = []
        news = []
        for number, visit in enumerate(visits):
            home = held.get(places.get(visit.sighting.tokens[0], b""))
            if (
                home is None
                or move_times(home.cluster, (visit.sighting,)) != {}
                or (number in replayed and forgotten(home.cluster.partition(), home.cluster.pending))
            ):
                home = None
                news.append(number)
            homes.append(home)
        return homes, _groups(news, visits, places, held)

    def _checks(self, late: set[int], homes: list[Held | None], groups: list[Group]) -> list[Write]:
        """Writes that only compare: what an earlier round wrote for these visits must still be there when the
        last one is done, or Redis could forget it in between without anyone noticing."""
        written = {held.id for group in groups for held in group.clusters}
        resting = {home.id: home for number in late if (home := homes[number]) and home.id not in written}
        return [Write([(self._store.cluster_key(held.id), held.stamp)], []) for held in resting.values()]


def _visits(touches: Sequence[Touch]) -> tuple[list[Visit], list[int]]:
    """Touches that show the same identifiers, together, and the number of each touch's visit."""
    index: dict[tuple[tuple[bytes, ...], int], int] = {}
    together: list[list[Touch]] = []
    numbers = []
    for touch in touches:
        number = index.setdefault(touch.person.who, len(together))
        if number == len(together):
            together.append([touch])
        else:
            together[number].append(touch)
        numbers.append(number)
    return [Visit(_sighting(each), each) for each in together], numbers


def _sighting(touches: list[Touch]) -> Sighting:
    times = [touch.time for touch in touches]
    return Sighting(*touches[0].person.who, min(times), max(times))


def _groups(
    numbers: list[int], visits: list[Visit], places: dict[bytes, bytes], held: dict[bytes, Held]
) -> list[Group]:
    """Visits that share a cluster or a new token, directly or through others, in order of appearance.

    A cluster id has 8 bytes and a token at least 18, so the two can be nodes of one graph.
    """
    parent: dict[bytes, bytes] = {}

    def find(node: bytes) -> bytes:
        root = parent.setdefault(node, node)
        while root != parent[root]:
            parent[root] = root = parent[parent[root]]
        return root

    for number in numbers:
        first, *others = (places.get(token, token) for token in visits[number].sighting.tokens)
        root = find(first)
        for node in others:
            parent[find(node)] = root
    groups: dict[bytes, Group] = {}
    for number in numbers:
        token = visits[number].sighting.tokens[0]
        groups.setdefault(find(places.get(token, token)), Group([], [])).visits.append(number)
    for node in parent:
        if node in held:
            groups[find(node)].clusters.append(held[node])
    return list(groups.values())


def _settle(homes: list[Held | None], plans: list[Plan]) -> list[Held]:
    """The cluster of each visit after the plans were carried out."""
    moved = {held.id: plan.home for plan in plans for held in plan.group.clusters}
    own = {number: plan.home for plan in plans for number in plan.group.visits}
    return [own[number] if home is None else moved.get(home.id, home) for number, home in enumerate(homes)]
