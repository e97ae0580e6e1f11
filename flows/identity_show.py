"""Who an identifier belongs to, and why: the evidence of its cluster as a readable history.

Identifier values are not stored; the others appear as keyed hashes, shortened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import redis

from flows.identity_lookup import Lookup, Meant
from flows.tail import clock
from operators.evidence import KINDS
from operators.explain import Explanation, Why, explain
from schemas.config import Config
from schemas.errors import NoCustomer
from state.identity import Held
from state.tokens import token_text

#: Characters of a hash that are shown.
_SHOWN: Final = 6
_RULES: Final = {
    "holds": "holds",
    "blocked": "cut: {by} is blocked",
    "erased": "cut: {by} was erased afterwards",
    "hub": "cut: {by} is a hub, so many meet there",
    "unconnected": "cut: {by} never makes two people one",
    "shared": "cut: {by} is shared by people who contradict each other",
    "logout": "cut: logged out afterwards",
    "split": "cut: an operator split them",
    "limit": "cut: together they would hold too many of {limits}",
    "superseded": "cut: superseded by another owner",
}


class Person(msgspec.Struct, frozen=True):
    """A customer and the identifiers it holds, as tokens. ``nobody``: it stands for no person."""

    customer: str
    identifiers: list[str]
    nobody: bool


class Link(msgspec.Struct, frozen=True):
    """Two identifiers that were seen together, from ``first`` to ``last`` (ms), and what became of that."""

    kind: str
    a: str
    b: str
    first: int
    last: int
    holds: bool
    why: str


class Shown(msgspec.Struct, frozen=True):
    """What is known of an identifier. ``people``: all customers that evidence connects with it, its own first."""

    identifier: str
    token: str
    customer: str
    policy_version: str
    people: list[Person]
    links: list[Link]
    decisions: list[str]


def show(config: Config, client: redis.Redis, identifier: str) -> Shown:
    """Look ``namespace:value``, or a customer id, up. Raises `NoCustomer` if it is junk, was never seen or erased."""
    lookup = Lookup(config, client)
    meant, held = lookup.seen(identifier)
    return tell(lookup, meant, held, identifier, meant.text)


def tell(lookup: Lookup, meant: Meant, held: Held, identifier: str, text: str) -> Shown:
    """What is known of whom was found. ``identifier`` and ``text``: what it is called. Raises `NoCustomer`."""
    told = explain(held.cluster.facts(KINDS), lookup.rules)
    names = {token: short(token) for token in held.cluster.ids} | {meant.token: text}
    if meant.token not in told.partition.customers:
        erased = clock(held.cluster.erased_at(meant.token))
        raise NoCustomer(f"{identifier!r} was erased (up to {erased})", erased=True)
    return Shown(
        identifier=identifier,
        token=token_text(meant.token),
        customer=told.partition.customers[meant.token],
        policy_version=told.version,
        people=_people(told, names, meant.token),
        links=[_link(link, names) for link in told.links],
        decisions=[f"{clock(time)}  {kind}  {names[a]}" + (f" {names[b]}" if b != a else "")
                   for kind, a, b, time in told.decisions],
    )  # fmt: skip


def readable(shown: Shown) -> Iterator[str]:
    """Lines for people."""
    yield f"{shown.identifier} is customer {shown.customer}"
    for person in shown.people:
        yield f"  {person.customer}{'  (stands for no person)' if person.nobody else ''}"
        yield from (f"      {each}" for each in person.identifiers)
    yield "seen together"
    for link in shown.links:
        yield f"  {clock(link.first)} to {clock(link.last)}  {link.kind:8} {link.a} - {link.b}: {link.why}"
    if shown.decisions:
        yield "decided"
        yield from (f"  {each}" for each in shown.decisions)


def _people(told: Explanation, names: dict[bytes, str], asked: bytes) -> list[Person]:
    customers: dict[str, list[bytes]] = {told.partition.customers[asked]: []}
    for token, customer in sorted(told.partition.customers.items()):
        customers.setdefault(customer, []).append(token)
    return [
        Person(customer, [names[token] for token in tokens], tokens[0] in told.partition.nobody)
        for customer, tokens in customers.items()
    ]


def _link(link: Why, names: dict[bytes, str]) -> Link:
    by = names[link.by] if link.by is not None else ""
    why = _RULES[link.rule].format(by=by, limits=" and ".join(link.limits))
    return Link(link.kind, names[link.a], names[link.b], link.first, link.last, link.holds, why)


def short(token: bytes) -> str:
    """A token as people see it: the namespace, and enough of the hash to tell it from others."""
    name, _, digest = token_text(token).rpartition(":")
    return f"{name}:{digest[:_SHOWN]}…"
