"""Evidence: the mergeable facts that identity is computed from.

A map ``(kind, a, b) -> (first, last)`` of identifier tokens a <= b to event times (ms). Joining two maps takes
the earliest first and the latest last, so neither order, nor duplicates, nor who joined what with what can
change the outcome. Facts about one identifier are written ``(kind, x, x)``.

>>> from operators.rules import Rules
>>> from schemas.policy import RETAIL
>>> from state.tokens import Tokens
>>> tokens, rules = Tokens(bytes(32)), Rules(RETAIL)
>>> device, member = tokens.identifier("device", "ab12"), tokens.identifier("member", "1001")
>>> evidence: Evidence = {}
>>> join(evidence, facts_of(Sighting((device, member), 0b10, 20, 20), rules))
>>> evidence[LOGIN, device, member]
(20, 20)
>>> two = tuple(sorted((member, tokens.identifier("member", "1002"))))
>>> facts_of(Sighting(two, 0, 30, 30), rules)  # a person is one member: this event confuses two
{}
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from itertools import combinations
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from state.tokens import CUT

if TYPE_CHECKING:
    from operators.partition import Partition
    from operators.rules import Rules

#: An identifier was seen. Two were seen together: plainly, with a login, declared to be one, in one hand at a till.
SEEN, OBSERVED, LOGIN, ALIAS, TILL = "seen", "observed", "login", "alias", "till"
LINKS = (OBSERVED, LOGIN, ALIAS, TILL)
#: What someone decided: of one identifier (logged out, erased, links nobody, does so again), of two.
LOGOUT, ERASE, HUB, RELEASE, MERGE, SPLIT = "logout", "erase", "hub", "release", "merge", "split"
#: A customer named after this identifier was erased, although the identifier was another's by then.
SPENT = "spent"
MARKERS = frozenset((LOGOUT, ERASE, HUB, RELEASE, MERGE, SPLIT, SPENT))
#: Every kind. Only ever appended to: numbers of kinds are stored.
KINDS = (SEEN, OBSERVED, LOGIN, ALIAS, TILL, LOGOUT, ERASE, MERGE, SPLIT, HUB, RELEASE, SPENT)

Fact = tuple[str, bytes, bytes]
Span = tuple[int, int]
Evidence = dict[Fact, Span]


class Sighting(NamedTuple):
    """What one event, or several with the same identifiers, say of identity: distinct tokens in ascending order, a
    bit per token that a login proved, the first and last event time (ms), and the kind of the other links."""

    tokens: tuple[bytes, ...]
    logins: int
    first: int
    last: int
    kind: str = OBSERVED


class Effect(IntEnum):
    """What facts do to evidence: nothing, move times on, or possibly change the partition."""

    NOTHING = 0
    TOUCH = 1
    RESOLVE = 2


def facts_of(sighting: Sighting, rules: Rules, erased: Mapping[bytes, int] = MappingProxyType({})) -> Evidence:
    """The evidence of a sighting: each identifier seen, each pair linked.

    Nothing if it holds more values of a namespace than a customer may: it cannot be of one person (`confused`).
    ``erased``: when identifiers were erased, as far as is known. What they did later on that day must not be rounded
    down to before.
    """
    tokens = sighting.tokens if rules.blocked.isdisjoint(sighting.tokens) else _allowed(sighting.tokens, rules)
    if confused(tokens, rules):
        return {}
    first, last = sighting.first, sighting.last
    plain, deciding = (first, last - last % rules.step), (first, last - last % rules.deciding_step)
    late = max([erased.get(token, -1) for token in tokens], default=-1)
    if late >= 0:
        plain, deciding = [(first, time if time > late else last) for _, time in (plain, deciding)]
    facts: Evidence = {(SEEN, token, token): plain for token in tokens}
    proven = {token for i, token in enumerate(sighting.tokens) if sighting.logins >> i & 1}
    for a, b in combinations(tokens, 2):
        kind = LOGIN if a in proven or b in proven else sighting.kind
        facts[kind, a, b] = deciding if rules.by_last(a, b) else plain
    return facts


def _allowed(tokens: tuple[bytes, ...], rules: Rules) -> tuple[bytes, ...]:
    return tuple(token for token in tokens if token not in rules.blocked)


def confused(tokens: tuple[bytes, ...], rules: Rules) -> bool:
    """Whether these cannot be of one customer: more values of a namespace than its limit."""
    return len({token[:CUT] for token in tokens}) < len(tokens) and rules.exceeds(tokens)


def marker(kind: str, a: bytes, b: bytes, at: int) -> Evidence:
    """Someone's decision at time ``at`` (ms) about two identifiers, or about one given twice."""
    return {(kind, min(a, b), max(a, b)): (at, at)}


def join(evidence: Evidence, facts: Mapping[Fact, Span]) -> None:
    """Add facts to evidence, in place: commutative, associative, idempotent."""
    for fact, span in facts.items():
        known = evidence.get(fact)
        evidence[fact] = span if known is None else (min(known[0], span[0]), max(known[1], span[1]))


def tombstones(evidence: Mapping[Fact, Span]) -> dict[bytes, int]:
    """When which identifiers were erased."""
    return {token: last for (kind, token, _), (_, last) in evidence.items() if kind == ERASE}


def effect(evidence: Mapping[Fact, Span], facts: Mapping[Fact, Span], rules: Rules, now: Partition) -> Effect:
    """The cheap test: whether joining ``facts`` can change the partition, which is ``now``.

    Never says less than what happens; says more for some. A later last matters only between customers: inside of
    one, hearing a link earlier that is obeyed anyway changes nothing.
    """
    found, customers, erased = Effect.NOTHING, now.customers, now.erased
    for fact, (first, last) in facts.items():
        known = evidence.get(fact)
        if known is None or first < known[0]:
            return Effect.RESOLVE
        if last > known[1]:
            kind, a, b = fact
            inside = customers.get(a) == customers.get(b) and not erased and kind not in MARKERS
            if not inside and _decides(fact, known[1], last, rules, now):
                return Effect.RESOLVE
            found = Effect.TOUCH
    return found


def _decides(fact: Fact, known: int, last: int, rules: Rules, now: Partition) -> bool:
    """Whether moving the last time of a known fact on can change who holds what."""
    kind, a, b = fact
    if kind in MARKERS:
        return True
    erased, customers = now.erased, now.customers
    if erased and known <= max(erased.get(a, -1), erased.get(b, -1)):
        return last > max(erased.get(a, -1), erased.get(b, -1))
    if customers.get(a) == customers.get(b) or a in now.nobody or b in now.nobody:
        return False
    return rules.by_last(a, b)
