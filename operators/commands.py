"""What operators, and time, decide of identity, as evidence, and what came of it, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import NamedTuple

from operators.birth import LOOSE, NOBODY, name
from operators.evidence import ERASE, LINKS, LOGOUT, MERGE, RELEASE, SEEN, SPENT, SPLIT, Evidence, join, marker
from operators.partition import Partition
from schemas.commands import Command

#: Commands that forget customers.
FORGETS = frozenset(("erase", "expire"))
#: Facts that go with whoever is forgotten, and concern nobody else.
_PLAIN = frozenset((SEEN, *LINKS, LOGOUT))


class Answer(NamedTuple):
    """What came of a command: ``why`` it was refused (empty: it was not), and the customers concerned."""

    why: str
    customers: list[str]


def said(command: Command, tokens: tuple[bytes, ...]) -> Evidence:
    """The evidence of a command about ``tokens``; of an erasure see `erase`."""
    if command.op == "release":
        return marker(RELEASE, tokens[0], tokens[0], command.time)
    if command.op in FORGETS:
        return {}
    return marker(MERGE if command.op == "merge" else SPLIT, tokens[0], tokens[1], command.time)


def erase(
    evidence: Evidence, command: Command | None, tokens: tuple[bytes, ...], customers: Mapping[bytes, str]
) -> dict[str, list[bytes]]:
    """Put tombstones into ``evidence`` where ``command`` is to forget: on ``tokens``, and on all that those hold who
    hold them now; if they are to expire, on what they hold who may. What was carried out already is not done again,
    although others may hold them since. Returns who is forgotten, and their identifiers."""
    if command is None or command.op not in FORGETS:
        return {}
    time, known = command.time, [evidence.get((ERASE, token, token)) for token in tokens]
    if all([span is not None and span[1] >= time for span in known]):
        return {}
    gone: dict[str, list[bytes]] = {customers[token]: [] for token in tokens if token in customers}
    for token, customer in customers.items():
        if customer in gone:
            gone[customer].append(token)
    if command.op == "expire":
        gone = {customer: held for customer, held in gone.items() if _silent(evidence, held, tokens, time)}
        tokens = ()
    for token in {*tokens, *chain.from_iterable(gone.values())}:
        join(evidence, marker(ERASE, token, token, time))
    return gone


def _silent(evidence: Evidence, held: Collection[bytes], named: Collection[bytes], time: int) -> bool:
    """Whether somebody who holds ``held`` may be forgotten without anybody noticing: nothing is known of it after
    ``time``, nor that is not ``named``, that somebody decided, or that says something of others, too."""
    return set(held) <= set(named) and all(
        kind in _PLAIN and last <= time and a in held and b in held
        for (kind, a, b), (_, last) in evidence.items()
        if a in held or b in held
    )


def stamps(evidence: Evidence) -> dict[bytes, int]:
    """When the names that identifiers give were used up: see `operators.birth`."""
    found: dict[bytes, int] = {}
    for (kind, token, _), (_, last) in evidence.items():
        if kind in (ERASE, SPENT):
            found[token] = max(last, found.get(token, last))
    return found


def spend(evidence: Evidence, names: AbstractSet[str], before: Mapping[bytes, int], time: int) -> None:
    """Mark the identifiers that erased customers were named after by the stamps of ``before``, in ``evidence``, unless
    the erasure has changed the name they give: others may hold them by now, who must not inherit a dead name."""
    now = stamps(evidence)
    for token in {a for kind, a, _ in evidence if kind == SEEN}:
        stamp = before.get(token, -1)
        unnamed = names.isdisjoint([name(token, before, mark) for mark in ("", LOOSE, NOBODY)])
        if not unnamed and now.get(token, -1) == stamp:
            join(evidence, marker(SPENT, token, token, max(time, stamp + 1)))


def answer_to(command: Command, tokens: tuple[bytes, ...], after: Partition, gone: Collection[str]) -> Answer:
    """What came of ``command``."""
    if command.op in FORGETS:
        return Answer("", sorted(gone))
    named = tokens[:1] if command.op == "release" else tokens[:2]
    customers = [after.customers[token] for token in named if token in after.customers]
    if len(customers) < len(named):
        return Answer("unknown identifier", customers)
    if command.op == "release":
        return Answer("made a hub again since" if named[0] in after.nobody else "", customers)
    one = customers[0] == customers[1]
    if one == (command.op == "merge"):
        return Answer("", customers[:1] if one else customers)
    if one:
        return Answer("merged again since", customers[:1])
    return Answer("stands for no person" if after.nobody.intersection(named) else "split since", customers)
