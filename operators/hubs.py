"""Hubs: identifiers that so many meet at that they say nothing of anyone. A kiosk, a test number, a shared tablet.

Step 1 of `operators.partition`. An identifier is a hub if it has met more distinct identifiers of a namespace than
its own allows, carries the marker ``hub``, or never connects by policy. Its links are ignored and it is nobody's. The
marker ``release``, given by an operator, overrides the count, and a marker that is not newer.

Whoever stores clusters of evidence separately must not follow connectivity through a hub, and has to keep its
marker with each: `quarantine` gives the markers, `separate` the clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from operators.evidence import HUB, Evidence, Fact, Span
from operators.graph import Graph, graph
from operators.rules import Rules, hub_limits
from operators.union_find import roots


def find_hubs(graph: Graph) -> set[int]:
    """The numbers of all hubs."""
    found = {i for i, time in graph.hubs.items() if time > graph.released.get(i, -1)}
    if len(graph.tokens) > graph.layout.least_hub:  # nobody has met more than there are
        limits = [hub_limits(graph.layout, place) for place in range(len(graph.layout.names))]
        for i, met in enumerate(neighbours(graph)):
            if i not in graph.released and _too_many(met, graph.ranks, *limits[graph.ranks[i]]):
                found.add(i)
    return found if graph.layout.connected else found | _idle(graph)


def _idle(graph: Graph) -> set[int]:
    """Identifiers that never connect by policy."""
    namespaces = graph.layout.namespaces
    return {i for i, rank in enumerate(graph.ranks) if not namespaces[rank].connects}


def neighbours(graph: Graph) -> list[set[int]]:
    """Who has met whom, before any link is judged."""
    met: list[set[int]] = [set() for _ in graph.tokens]
    for links in (graph.links, graph.dropped):
        for _, _, _, _, i, j in links:
            met[i].add(j)
            met[j].add(i)
    return met


def _too_many(met: set[int], ranks: list[int], limits: Mapping[int, int], most: int | None) -> bool:
    if most is not None and len(met) > most:
        return True
    return any([len(met) > limit < sum([ranks[other] == rank for other in met]) for rank, limit in limits.items()])


def quarantine(evidence: Mapping[Fact, Span], rules: Rules) -> Evidence:
    """The hub markers that are missing: of hubs by count, and of whoever makes a cluster exceed the cap.

    The busiest identifier that connects goes first: the one that most stronger identifiers meet at, then that most
    meet at. A marker's time is that of the hub's last link (past its release), so it follows from the evidence.
    """
    found = graph(evidence, rules)
    hubs = find_hubs(found)
    if len(found.tokens) > rules.cap:
        _cap(found, hubs, rules.cap)
    released = found.released
    missing = [i for i in sorted(hubs - _idle(found)) if found.hubs.get(i, -1) <= released.get(i, -1)]
    times = {found.tokens[i]: released.get(i, -2) + 1 for i in missing}
    for (_, a, b), (_, last) in found.facts.items() if times else ():
        for token in {a, b} & times.keys():
            times[token] = max(times[token], last)
    return {(HUB, token, token): (time, time) for token, time in times.items()}


def _cap(graph: Graph, hubs: set[int], cap: int) -> None:
    """Add hubs until no cluster has more than ``cap`` identifiers."""
    met, ranks = neighbours(graph), graph.ranks
    waiting = _components(range(len(met)), met, hubs)
    while waiting:
        cluster = waiting.pop()
        if len(cluster) <= cap:
            continue

        def busy(i: int) -> tuple[int, int, int, int]:
            others = met[i] - hubs
            return sum([ranks[other] < ranks[i] for other in others]), len(others), ranks[i], i

        candidates = [i for i in cluster if i not in graph.released] or cluster
        hubs.add(max(candidates, key=busy))
        waiting += _components(cluster, met, hubs)


def _components(members: Iterable[int], met: list[set[int]], hubs: set[int]) -> list[list[int]]:
    """What is connected among ``members`` without following a hub."""
    left = set(members) - hubs
    found = []
    while left:
        cluster = [left.pop()]
        for i in cluster:  # grows meanwhile
            fresh = met[i] & left
            left -= fresh
            cluster.extend(fresh)
        found.append(cluster)
    return found


def separate(evidence: Mapping[Fact, Span], rules: Rules) -> dict[bytes, Evidence]:
    """The clusters of evidence, which together give the same customers as the whole: what any fact connects, but not
    through a hub, by one of its identifiers. Each knows its hubs and their markers; a hub is a cluster of its own."""
    evidence = {**evidence, **quarantine(evidence, rules)}
    found = graph(evidence, rules)
    hubs = {found.tokens[i] for i in find_hubs(found)}
    root = roots([(a, b) for _, a, b in evidence if a not in hubs and b not in hubs])
    clusters: dict[bytes, Evidence] = {}
    for fact, span in evidence.items():
        for end in {root.get(fact[1], fact[1]), root.get(fact[2], fact[2])} - hubs or {fact[1], fact[2]}:
            clusters.setdefault(end, {})[fact] = span
    own = [(fact, span) for fact, span in evidence.items() if fact[1] == fact[2] and fact[1] in hubs]
    for cluster in clusters.values():
        near = {end for _, a, b in cluster for end in (a, b)} & hubs
        cluster.update([(fact, span) for fact, span in own if fact[1] in near])
    return clusters
