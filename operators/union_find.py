"""What is connected: disjoint sets that are united pair by pair.

>>> roots([("a", "b"), ("c", "c"), ("b", "d")])
{'a': 'a', 'b': 'a', 'c': 'c', 'd': 'a'}
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def roots(pairs: Iterable[tuple[Node, Node]]) -> dict[Node, Node]:
    """One node for all that the pairs connect, by node, in order of appearance."""
    parent: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        root = parent.setdefault(node, node)
        while root != parent[root]:
            parent[root] = root = parent[parent[root]]
        return root

    for a, b in pairs:
        root = find(a)
        parent[find(b)] = root
    return {node: find(node) for node in list(parent)}


def unite(group: list[int], members: list[list[int]], a: int, b: int) -> int:
    """Make two groups one, the smaller joining the larger; its number. ``group``: each node's; ``members``: each
    group's."""
    if len(members[a]) < len(members[b]):
        a, b = b, a
    for i in members[b]:
        group[i] = a
    members[a] += members[b]
    members[b] = []
    return a
