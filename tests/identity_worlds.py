"""Small worlds of identity for property tests: few identifiers, few moments, so that everything collides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from hypothesis import strategies as st

from operators.evidence import (
    ALIAS,
    ERASE,
    HUB,
    LOGOUT,
    MERGE,
    OBSERVED,
    RELEASE,
    SPENT,
    SPLIT,
    TILL,
    Evidence,
    Sighting,
    facts_of,
    join,
    marker,
)
from operators.rules import Rules
from schemas.policy import ANY, Namespace, Policy
from state.tokens import Tokens

TOKENS = Tokens(bytes(32))
Anything = list[Sighting | Evidence]
#: Strongest first; the last is in no policy's priority.
NAMES = ("member", "phone", "card", "device", "cookie")
POOL = {name: sorted(TOKENS.identifier(name, str(n)) for n in range(3)) for name in NAMES}
EVERYONE = sorted(token for some in POOL.values() for token in some)
LAST = 12

treatments = st.sampled_from(["last_login_wins", "first_owner_keeps", "ambiguous", "explicit_logout"])
times = st.integers(1, LAST)


def namespaces(limits: st.SearchStrategy[int | None]) -> st.SearchStrategy[Namespace]:
    hubs = st.sampled_from([{}, {}, {"member": 2}, {ANY: 4}])
    return st.builds(
        Namespace, limit=limits, shared=treatments, hub=hubs, connects=st.sampled_from([True] * 9 + [False])
    )


policies = st.builds(
    lambda member, others, step: Policy(
        priority=NAMES[:-1],
        namespaces={"member": member, **dict(zip(NAMES[1:], others, strict=False))},
        step_ms=step,
    ),
    namespaces(st.sampled_from([1, 1, 1, 2, None])),
    st.lists(namespaces(st.sampled_from([None, None, 1, 2])), min_size=2, max_size=4),
    st.sampled_from([1, 1, 4]),
)
rules = policies.map(Rules)


def plain(shared: str, limit: int | None = None, member: int | None = 1) -> Rules:
    """One treatment for everything, a limit for members and one for the others."""
    each = Namespace(limit=limit, shared=shared)  # type: ignore[arg-type]
    return Rules(
        Policy(
            priority=NAMES[:-1],
            namespaces={"member": msgspec.structs.replace(each, limit=member)},
            others=each,
            step_ms=1,
        )
    )


sightings = st.builds(
    lambda who, logins, time, kind: Sighting(tuple(sorted(who)), logins, time, time, kind),
    st.lists(st.sampled_from(EVERYONE), min_size=1, max_size=3, unique=True),
    st.integers(0, 7),
    times,
    st.sampled_from([OBSERVED, OBSERVED, ALIAS, TILL]),
)
_alone = st.builds(
    lambda kind, token, time: marker(kind, token, token, time),
    st.sampled_from([LOGOUT, LOGOUT, ERASE, HUB, RELEASE, SPENT]),
    st.sampled_from(EVERYONE),
    times,
)
_pairs = st.builds(
    lambda kind, two, time: marker(kind, two[0], two[1], time),
    st.sampled_from([MERGE, SPLIT]),
    st.sampled_from([(POOL["member"][0], POOL["member"][1]), *zip(EVERYONE[::5], EVERYONE[1::5], strict=False)]),
    times,
)
decisions = st.one_of(_alone, _pairs)
events = st.lists(sightings, max_size=12)
#: Sightings, with a decision now and then.
mixed = st.lists(st.one_of(sightings, sightings, sightings, decisions), max_size=14)


def facts(what: Sighting | Evidence, rules: Rules) -> Evidence:
    return facts_of(what, rules) if isinstance(what, Sighting) else what


def evidence_of(some: Iterable[Sighting | Evidence], rules: Rules) -> Evidence:
    evidence: Evidence = {}
    for each in some:
        join(evidence, facts(each, rules))
    return evidence


def groups(customers: Mapping[bytes, str]) -> set[frozenset[bytes]]:
    found: dict[str, set[bytes]] = {}
    for token, customer in customers.items():
        found.setdefault(customer, set()).add(token)
    return {frozenset(some) for some in found.values()}
