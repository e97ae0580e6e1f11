"""Customer ids: which customer is called what. Step 4 of `operators.partition`.

A *birth group* is everyone who met, in the order in which they met, as long as it holds one value of the strongest
namespace (where that is limited): links that were cut later count too, so ids do not follow devices around. The
head of a birth group is its strongest member, then the oldest. A customer owns the birth groups whose head it
holds, and is named after the oldest identifier in them: somebody who signs up keeps the id of his anonymous days,
also when the device that he did so with has gone to someone else since.

A customer that heads nothing is named after the head it would be of its own, with a mark, since that name may be
taken: not after its oldest member, which is the device that guests hand on to each other. An identifier that is
nobody's is named after itself. A name also says when its identifier was erased, or its name was with somebody who had
that: what comes after is new.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from operators.graph import Graph, meetings
from operators.rules import Rules
from operators.union_find import unite
from operators.uuids import uuid5_text
from state.tokens import token_text

#: Fixed for ever: customer ids are UUIDv5 of token texts in it.
CUSTOMERS = UUID("5f3b6c1e-8d0a-5b7e-9c44-2f6d1a7e0b93")
#: Appended to the token text. No token text ends so.
LOOSE, NOBODY = "~", "*"


def customer_id(text: str) -> str:
    """The id of the customer whose oldest identifier has this token, as text: UUIDv5 in `CUSTOMERS`."""
    return uuid5_text(CUSTOMERS, text)


def name(token: bytes, stamps: Mapping[bytes, int], mark: str = "") -> str:
    """The id that an identifier gives a customer. ``stamps``: when which names were used up."""
    text = token_text(token)
    if token in stamps:
        text += f"@{stamps[token]}"
    return customer_id(text + mark)


def oldest_of(graph: Graph, members: Collection[int]) -> int:
    """The identifier first seen, or the smallest of several; one whose name is used up only if there is no other."""
    members = [i for i in members if i not in graph.spent] or members if graph.spent else members
    return min(members) if len(members) == 1 else min(zip([graph.firsts[i] for i in members], members, strict=True))[1]


def head_of(graph: Graph, members: Collection[int]) -> int:
    """The strongest identifier, of these the first seen."""
    return min(members, key=lambda i: (graph.ranks[i], graph.firsts[i], i))


def owned(graph: Graph, rules: Rules, group: Sequence[int], hubs: Collection[int]) -> dict[int, int]:
    """The oldest identifier of the birth groups of each customer that owns any. ``group``: the customer of each
    identifier."""
    found: dict[int, int] = {}
    for members in birth_groups(graph, rules, hubs):
        oldest, owner = oldest_of(graph, members), group[head_of(graph, members)]
        found[owner] = oldest_of(graph, {oldest, found.get(owner, oldest)})
    return found


def birth_groups(graph: Graph, rules: Rules, hubs: Collection[int]) -> list[list[int]]:
    """Who met whom before either belonged to another value of the strongest namespace."""
    group = list(range(len(graph.tokens)))
    members = [[i] for i in group]
    strongest = graph.layout.strongest
    held = [rank == strongest for rank in graph.ranks]
    for _, _, _, i, j in meetings(graph, rules, hubs):
        a, b = group[i], group[j]
        if a != b and not (held[a] and held[b]):
            held[unite(group, members, a, b)] = held[a] or held[b]
    return [each for i, each in enumerate(members) if each and i not in hubs]
