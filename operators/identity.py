"""Who is who: a pure function of mergeable evidence.

Evidence is a map ``(kind, a, b) -> (first, last)`` of identifier tokens a <= b to event times (ms). Joining
two maps takes the earliest first and the latest last, so neither order, nor duplicates, nor who joined
what with what can change the outcome. `partition` turns evidence into customers; here it is plain union:
identifiers that are connected by links are one customer.

>>> from state.tokens import Tokens
>>> tokens = Tokens(bytes(32))
>>> device, member = tokens.identifier("device", "ab12"), tokens.identifier("member", "1001")
>>> evidence: Evidence = {}
>>> join(evidence, facts_of(Sighting((device,), 0, 10, 10)))
>>> join(evidence, facts_of(Sighting((device, member), 0b10, 20, 20)))
>>> customers = partition(evidence)
>>> customers[member] == customers[device] == customer_id(token_text(device))
True
>>> effect(evidence, facts_of(Sighting((device, member), 0b10, 30, 30))) is Effect.TOUCH
True
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from enum import IntEnum
from itertools import combinations
from typing import NamedTuple
from uuid import UUID

from schemas.uuids import uuid5_text
from state.tokens import token_text

#: Identifier namespaces of retail, strongest first. Unknown ones are legal and weaker than all of these.
NAMESPACES = (
    "member",
    "phone",
    "email",
    "wechat_unionid",
    "wechat_openid",
    "alipay",
    "payment_token",
    "loyalty_card",
    "device",
    "cookie",
    "advertising_id",
    "household",
)
RANKS = {namespace: rank for rank, namespace in enumerate(NAMESPACES)}
#: Many people share one: it is known of a customer, and never connects two.
HOUSEHOLD = "household"
#: A message can be sent to these.
DELIVERABLE = frozenset(("email", "phone", "wechat_openid", "wechat_unionid"))

#: Kinds of facts: an identifier was seen; two were seen together, plainly or with a login. Only ever appended to.
SEEN, OBSERVED, LOGIN = KINDS = ("seen", "observed", "login")
#: `last` of a fact without a login is kept to the day, rounded down: a deterministic step, so joins stay
#: order-free, that spares most repeat visits a write. No such `last` decides between customers.
LAST_MS = 86_400_000

Fact = tuple[str, bytes, bytes]
Span = tuple[int, int]
Evidence = dict[Fact, Span]

#: Fixed for ever: customer ids are UUIDv5 of token texts in it.
CUSTOMERS = UUID("5f3b6c1e-8d0a-5b7e-9c44-2f6d1a7e0b93")


class Sighting(NamedTuple):
    """What one event, or several with the same identifiers, say of identity: distinct tokens in ascending order, a
    bit per token that a login proved, and the first and last event time (ms)."""

    tokens: tuple[bytes, ...]
    logins: int
    first: int
    last: int


class Effect(IntEnum):
    """What facts do to evidence: nothing, move times on, or possibly change the partition."""

    NOTHING = 0
    TOUCH = 1
    RESOLVE = 2


class Change(NamedTuple):
    """One difference between two partitions. ``created``, ``linked``: ``ids`` joined ``customer``;
    ``merged``: ``ids`` went with customer ``old`` into ``customer``."""

    kind: str
    customer: str
    ids: tuple[bytes, ...]
    old: str | None = None


def rank(namespace: str) -> int:
    """Position from strong (0) to weak."""
    return RANKS.get(namespace, len(NAMESPACES))


def customer_id(text: str) -> str:
    """The id of the customer whose oldest identifier has this token, as text: UUIDv5 in `CUSTOMERS`."""
    return uuid5_text(CUSTOMERS, text)


def kind_of(logins: int, i: int, j: int) -> str:
    """The kind of the link between the i-th and the j-th token of a sighting."""
    return LOGIN if logins >> i & 1 or logins >> j & 1 else OBSERVED


def facts_of(sighting: Sighting) -> Evidence:
    """The evidence of a sighting: each identifier seen, each pair linked."""
    tokens, logins, first, last = sighting
    seen = (first, last - last % LAST_MS)
    facts: Evidence = {(SEEN, token, token): seen for token in tokens}
    for (i, a), (j, b) in combinations(enumerate(tokens), 2):
        kind = kind_of(logins, i, j)
        facts[kind, a, b] = (first, last) if kind == LOGIN else seen
    return facts


def join(evidence: Evidence, facts: Mapping[Fact, Span]) -> None:
    """Add facts to evidence, in place: commutative, associative, idempotent."""
    for fact, span in facts.items():
        known = evidence.get(fact)
        evidence[fact] = span if known is None else (min(known[0], span[0]), max(known[1], span[1]))


def effect(evidence: Mapping[Fact, Span], facts: Mapping[Fact, Span]) -> Effect:
    """The cheap test: whether joining ``facts`` can change the partition. Never says less than what happens."""
    found = Effect.NOTHING
    for fact, (first, last) in facts.items():
        known = evidence.get(fact)
        if known is None or first < known[0]:
            return Effect.RESOLVE
        if last > known[1]:
            found = Effect.TOUCH
    return found


def partition(evidence: Mapping[Fact, Span]) -> dict[bytes, str]:
    """The customer of each identifier: connected components, named after their oldest identifier.

    Oldest is first seen; ties go to the smaller token.
    """
    return {
        token: customer
        for members in _components(evidence)
        for customer in [customer_id(token_text(oldest(evidence, members)))]
        for token in members
    }


def oldest(evidence: Mapping[Fact, Span], members: Iterable[bytes]) -> bytes:
    """The identifier first seen, or the smallest of several."""
    return min(members, key=lambda token: (evidence[SEEN, token, token][0], token))


def _components(evidence: Mapping[Fact, Span]) -> list[list[bytes]]:
    parent: dict[bytes, bytes] = {}

    def find(token: bytes) -> bytes:
        root = parent.setdefault(token, token)
        while root != parent[root]:
            parent[root] = root = parent[parent[root]]
        return root

    for _, a, b in evidence:
        root, other = find(a), find(b)
        if root != other:
            parent[other] = root
    components: dict[bytes, list[bytes]] = {}
    for token in parent:
        components.setdefault(find(token), []).append(token)
    return list(components.values())


def changes(before: Mapping[bytes, str], after: Mapping[bytes, str], known: Container[str]) -> list[Change]:
    """What turns partition ``before`` into ``after``, in the order in which to tell it.

    ``known`` holds the customers that were created already, current or merged away. An id that moves
    because an older identifier came to light is a merge into the older id.
    """
    olds = set(before.values())
    news: dict[str, list[bytes]] = {customer: [] for customer in after.values()}
    gone: dict[str, list[bytes]] = {customer: [] for customer in before.values() if customer not in news}
    for token, customer in after.items():
        old = before.get(token)
        if old is None:
            news[customer].append(token)
        elif old in gone:
            gone[old].append(token)
    found = []
    for customer, joined in sorted(news.items()):
        if customer not in olds and customer not in known:
            found.append(Change("created", customer, tuple(sorted(joined))))
        elif joined:
            found.append(Change("linked", customer, tuple(sorted(joined))))
    for old, moved in sorted(gone.items()):
        found.append(Change("merged", after[min(moved)], tuple(sorted(moved)), old))
    return found
