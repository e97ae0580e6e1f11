"""Evidence made ready for computing: what holds after erasures, identifiers as numbers, links as tuples that sort.

Step 0 of `operators.partition`: facts that touch a blocked identifier are left out. ``erase(x, T)`` removes the
facts that touch x and have last <= T; what survives begins at T, also where it began later: an event of before T
that comes late may or may not have been dropped on its way, and must not make a difference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from operators.evidence import (
    ERASE,
    HUB,
    LOGOUT,
    MARKERS,
    MERGE,
    RELEASE,
    SEEN,
    SPENT,
    SPLIT,
    Evidence,
    Fact,
    Span,
    tombstones,
)
from operators.rules import Layout, Rules
from state.tokens import CUT

#: (rank of the weaker end, minus strength, time, rank of the stronger end, the ends): in the order to hear them.
#: An end is a number in `Graph.tokens`, the smaller first. ``time``: minus the last if that decides, else the first.
Link = tuple[int, int, int, int, int, int]


class Graph(NamedTuple):
    """``facts`` are those that hold, ``numbers`` where each identifier stands in ``tokens``, ``ranks`` and
    ``firsts`` go by number. ``dropped``: links before a logout. ``hubs``, ``released``: when someone marked an
    identifier so. ``decisions``: (time, is a split, the two). ``stamps``: when the name that an identifier gives was
    used up; ``spent``: by somebody else."""

    facts: Mapping[Fact, Span]
    tokens: list[bytes]
    numbers: dict[bytes, int]
    ranks: list[int]
    firsts: list[int]
    layout: Layout
    links: list[Link]
    dropped: list[Link]
    erased: dict[bytes, int]
    hubs: dict[int, int]
    released: dict[int, int]
    decisions: list[tuple[int, bool, int, int]]
    stamps: dict[bytes, int]
    spent: set[int]


def effective(evidence: Mapping[Fact, Span], rules: Rules) -> tuple[Mapping[Fact, Span], dict[bytes, int]]:
    """What the evidence says now, and when which identifiers were erased."""
    erased = tombstones(evidence)
    blocked = rules.blocked
    if blocked and not blocked.isdisjoint([a for _, a, _ in evidence] + [b for _, _, b in evidence]):
        evidence = {fact: span for fact, span in evidence.items() if fact[1] not in blocked and fact[2] not in blocked}
        erased = {token: time for token, time in erased.items() if token not in blocked}
    return (_after(evidence, erased) if erased else evidence), erased


def purged(evidence: Evidence) -> Evidence:
    """What has to be kept of evidence: what erasures have left of it, and the tombstones."""
    erased = tombstones(evidence)
    if not erased:
        return evidence
    return _after(evidence, erased) | {(ERASE, token, token): evidence[ERASE, token, token] for token in erased}


def _after(evidence: Mapping[Fact, Span], erased: Mapping[bytes, int]) -> Evidence:
    left: Evidence = {}
    for fact, (first, last) in evidence.items():
        kind, a, b = fact
        time = max(erased.get(a, -1), erased.get(b, -1))
        if time < 0:
            left[fact] = first, last
        elif last > time and kind != ERASE:
            left[fact] = time, last
            for end in {a, b} & erased.keys():  # a link may tell what a rounded last has lost: that it was seen again
                left.setdefault((SEEN, end, end), (erased[end], last))
    return left


def graph(evidence: Mapping[Fact, Span], rules: Rules) -> Graph:
    """The graph of everything that holds."""
    facts, erased = effective(evidence, rules)
    firsts = {a: span[0] for (kind, a, _), span in facts.items() if kind == SEEN}
    tokens = sorted(firsts)
    index = {token: number for number, token in enumerate(tokens)}
    names = [token[:CUT] for token in tokens]
    layout = rules.layout(frozenset(names))
    ranks = [layout.rank[name] for name in names]
    found = Graph(
        facts, tokens, index, ranks, [firsts[token] for token in tokens], layout,
        [], [], erased, {}, {}, [], dict(erased), set(),
    )  # fmt: skip
    if len(facts) > len(tokens):
        _add_links(found, facts, rules, _add_markers(found, facts))
    return found


def _add_markers(graph: Graph, facts: Mapping[Fact, Span]) -> dict[int, int]:
    """Sort out the markers; returns when who logged out."""
    index, logouts = graph.numbers, {}
    for kind, a, b in [fact for fact in facts if fact[0] in MARKERS]:
        if a not in index or b not in index:
            continue  # decided of an identifier that is not known (any more)
        last = facts[kind, a, b][1]
        if kind == LOGOUT:
            logouts[index[a]] = last
        elif kind == HUB:
            graph.hubs[index[a]] = last
        elif kind == RELEASE:
            graph.released[index[a]] = last
        elif kind == SPENT:
            graph.stamps[a] = max(last, graph.stamps.get(a, last))
            graph.spent.add(index[a])
        elif kind in (MERGE, SPLIT):
            graph.decisions.append((last, kind == SPLIT, index[a], index[b]))
    return logouts


def _add_links(graph: Graph, facts: Mapping[Fact, Span], rules: Rules, logouts: dict[int, int]) -> None:
    index, ranks, strength = graph.numbers, graph.ranks, rules.strength
    newest, by_logout, links = graph.layout.newest, graph.layout.logout, graph.links
    for (kind, a, b), (first, last) in facts.items():
        worth = strength.get(kind)
        if worth is None:
            continue
        i, j = index[a], index[b]
        strong, weak = ranks[i], ranks[j]
        if strong > weak:
            strong, weak = weak, strong
        link = (weak, -worth, -last if newest[weak] else first, strong, i, j)
        if logouts and by_logout[weak] and strong != weak and last <= logouts.get(i if ranks[i] == weak else j, -1):
            graph.dropped.append(link)
        else:
            links.append(link)


def meetings(graph: Graph, rules: Rules, nobody: Collection[int]) -> list[tuple[int, int, int, int, int]]:
    """Every link past ``nobody`` as (first, ranks of the weaker and the stronger end, the ends), in this order."""
    index, ranks, strength = graph.numbers, graph.ranks, rules.strength
    found = []
    for (kind, a, b), (first, _) in graph.facts.items():
        if kind in strength:
            i, j = index[a], index[b]
            if i not in nobody and j not in nobody:
                strong, weak = ranks[i], ranks[j]
                found.append((first, weak, strong, i, j) if strong <= weak else (first, strong, weak, i, j))
    found.sort()
    return found
