"""What turns one partition of identifiers into the next, customer by customer.

>>> a, b = b"device:" + bytes(16), b"member:" + bytes(16)
>>> [(change.kind, change.customer, change.old) for change in changes({a: "one", b: "one"}, {a: "one", b: "two"}, ())]
[('created', 'two', None), ('moved', 'two', 'one')]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple

from operators.birth import customer_id
from schemas import stitched
from state.tokens import token_text

CREATED, LINKED, MERGED, MOVED, SPLIT_OFF = "created", "linked", "merged", "moved", "split"
QUARANTINED, RELEASED, REFUSED = "quarantined", "released", "refused"
ERASED, EXPIRED = "erased", "expired"
#: Nothing is left of the customer.
FORGOTTEN = frozenset((ERASED, EXPIRED))
#: Why a move is told that is none if all is well.
AGAIN = "told again"


class Change(NamedTuple):
    """One difference between two partitions. ``created``, ``linked``: the new identifiers ``ids`` joined ``customer``.
    ``merged``: customer ``old`` is now ``customer``, whose ``ids`` came along. ``moved``: ``ids`` went from ``old``,
    who goes on without them, to ``customer``; ``split`` if they are all there is to it, ``quarantined`` if they stand
    for no person any more, ``released`` if they do so again (what came meanwhile stays nobody's). ``refused``: ``ids``
    were not made one of ``customer``, ``why`` says why not. ``erased``, ``expired``: all ``ids`` of ``customer`` were
    forgotten, by command or after a long silence."""

    kind: str
    customer: str
    ids: tuple[bytes, ...]
    old: str | None = None
    why: str = ""


def changes(
    before: Mapping[bytes, str],
    after: Mapping[bytes, str],
    known: Container[str],
    was_nobody: Collection[bytes] = (),
    nobody: Collection[bytes] = (),
) -> list[Change]:
    """What turns partition ``before`` into ``after``, in the order in which to tell it: who is new, who has more
    identifiers, what has moved, who has become another.

    ``known`` holds the customers that were created already, current or merged away. An id that moves
    because an older identifier came to light is a merge into the older id. ``was_nobody``, ``nobody``: identifiers
    that stood, and stand, for no person; they inherit from none. An identifier that is in ``after`` no more, since its
    value is blocked, is not told of.
    """
    olds, lives = set(before.values()), set(after.values())
    joined: dict[str, list[bytes]] = {customer: [] for customer in lives}
    went: dict[tuple[str, str], list[bytes]] = {}
    for token, customer in after.items():
        old = before.get(token)
        if old is None:
            joined[customer].append(token)
        elif old != customer:
            went.setdefault((old, customer), []).append(token)
    found = []
    for customer, tokens in sorted(joined.items()):
        if customer not in olds and customer not in known:
            found.append(Change(CREATED, customer, tuple(sorted(tokens))))
        elif tokens:
            found.append(Change(LINKED, customer, tuple(sorted(tokens))))
    heirs = {old: _heir(old, went, nobody) for old in {old for old, _ in went} - lives}
    sizes = Counter(after.values())
    moves = []
    for (old, customer), tokens in went.items():
        if tokens[0] in was_nobody and tokens[0] not in nobody:
            kind = RELEASED
        elif heirs.get(old) == customer:
            kind = MERGED
        elif tokens[0] in nobody:
            kind = QUARANTINED
        else:
            kind = SPLIT_OFF if customer not in olds and len(tokens) == sizes[customer] else MOVED
        moves.append(Change(kind, customer, tuple(sorted(tokens)), old))
    # What moves leaves before the rest is handed over.
    moves.sort(key=lambda change: (change.kind == MERGED, change.old or "", change.customer))
    return found + moves + _called_back(moves, known, olds | lives)


def _called_back(moves: Iterable[Change], known: Container[str], here: Container[str]) -> list[Change]:
    """Ids that were merged away earlier and are named after identifiers that are split off now: they follow these."""
    return [
        Change(MERGED, change.customer, (token,), named)
        for change in moves
        if change.kind == SPLIT_OFF
        for token in change.ids
        if (named := customer_id(token_text(token))) in known and named not in here
    ]


def _heir(old: str, went: Mapping[tuple[str, str], list[bytes]], nobody: Container[bytes]) -> str:
    """Who has become of a customer that is no more: the holder of the identifier that it was named after, else of
    most of its identifiers; of those that stand for a person, if any does."""
    heirs = {customer: tokens for (gone, customer), tokens in went.items() if gone == old}
    people = {customer: left for customer, tokens in heirs.items() if (left := [t for t in tokens if t not in nobody])}
    for customer, tokens in (people or heirs).items():
        if any([customer_id(token_text(token)) == old for token in tokens]):
            return customer
    return max((people or heirs).items(), key=lambda heir: (len(heir[1]), heir[0]))[0]


def forgotten(customers: Mapping[bytes, str], told: Iterable[Change | stitched.Change]) -> list[Change]:
    """Merges that may have been published and then forgotten by Redis, beside those ``told``.

    What was stitched one by one before Redis lost it may be stitched at once afterwards, and then a customer that
    existed in between is not made again, although ``stitched`` holds its touchpoints. It was named after one of
    these identifiers; to hand over a customer that never was is harmless.
    """
    live, olds = set(customers.values()), {change.old for change in told}
    named = {token: customer_id(token_text(token)) for token in customers}
    return [
        Change(MERGED, customers[token], (token,), name)
        for token, name in sorted(named.items())
        if name not in live and name not in olds
    ]


def displaced(
    customers: Mapping[bytes, str], nobody: Container[bytes], told: Iterable[Change | stitched.Change]
) -> list[Change]:
    """Who holds what, as moves from all others of a cluster, beside those ``told``.

    What Redis forgot may have given identifiers to any of them, and once everything is known together there is nothing
    to take back. Where nothing is out of place this changes nothing.
    """
    held: dict[str, list[bytes]] = {}
    for token, customer in sorted(customers.items()):
        held.setdefault(customer, []).append(token)
    known = {(change.old, change.customer, tuple(map(_text, change.ids))) for change in told}
    return [
        Change(QUARANTINED if tokens[0] in nobody else MOVED, customer, tuple(tokens), other, AGAIN)
        for customer, tokens in held.items()
        for other in held
        if other != customer and (other, customer, tuple(map(token_text, tokens))) not in known
    ]


def _text(token: bytes | str) -> str:
    return token if isinstance(token, str) else token_text(token)
