"""Customer ids: stable, and never of two people."""

from __future__ import annotations

from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from operators.birth import CUSTOMERS, customer_id
from operators.evidence import (
    SPLIT,
    Evidence,
    Sighting,
    facts_of,
    join,
    marker,
)
from operators.partition import Solver, partition
from operators.rules import Rules
from state.tokens import namespace, token_text
from tests.effort import thorough
from tests.identity_worlds import (
    POOL,
    Anything,
    evidence_of,
    mixed,
    plain,
    rules,
    sightings,
)


def test_names_are_those_of_always() -> None:
    assert str(CUSTOMERS) == "5f3b6c1e-8d0a-5b7e-9c44-2f6d1a7e0b93"
    assert customer_id("device:x") == str(uuid5(CUSTOMERS, "device:x"))


def family(shared: str, *markers: Evidence) -> tuple[str, str, str]:
    """The ids of a tablet that somebody browsed on, of Ann, who logged in on it, and of Bob, who did so after her."""
    rules, tablet, (ann, bob) = plain(shared), POOL["device"][0], POOL["member"][:2]
    logins = [Sighting(tuple(sorted((tablet, member))), 0b11, time, time) for time, member in ((2, ann), (3, bob))]
    customers = partition(evidence_of([Sighting((tablet,), 0, 1, 1), *logins, *markers], rules), rules).customers
    return customers[tablet], customers[ann], customers[bob]


def test_who_signs_up_keeps_the_anonymous_id_also_when_the_device_goes_on() -> None:
    tablet, bob = (customer_id(token_text(POOL[ns][n])) for ns, n in (("device", 0), ("member", 1)))
    assert family("last_login_wins") == (bob, tablet, bob)


def test_what_is_cut_off_from_who_is_named_after_it_has_an_id_of_its_own() -> None:
    text = token_text(POOL["device"][0])
    for_good = [marker(SPLIT, POOL["device"][0], member, 5) for member in POOL["member"][:2]]
    assert family("last_login_wins", *for_good)[:2] == (customer_id(f"{text}~"), customer_id(text))
    assert family("ambiguous")[:2] == (customer_id(f"{text}*"), customer_id(text))


@given(some=mixed, rules=rules)
@thorough
def test_a_customer_has_one_id_of_its_own(some: Anything, rules: Rules) -> None:
    solver = Solver(evidence_of(some, rules), rules)
    result = solver.result()
    named = set(zip(solver.group, map(result.customers.get, solver.graph.tokens), strict=True))
    assert len(named) == len(set(solver.group)) == len(set(result.customers.values()))
    assert result.loose <= set(result.customers.values())


@given(
    some=st.lists(sightings, max_size=16),
    shared=st.sampled_from(["last_login_wins", "first_owner_keeps", "ambiguous", "explicit_logout"]),
    limit=st.sampled_from([None, 1, 2]),
)
@thorough
def test_in_time_order_no_id_ever_serves_two_people(some: list[Sighting], shared: str, limit: int | None) -> None:
    """People are members: one value of the strongest namespace. Whoever has had an id keeps it from everyone else, and
    gives it up only for one that is older."""
    rules, evidence = plain(shared, limit), Evidence()
    served: dict[str, bytes] = {}
    born: dict[str, int] = {}
    had: dict[bytes, str] = {}
    for time, each in enumerate(some):
        join(evidence, facts_of(each._replace(first=time, last=time), rules))
        for token, customer in partition(evidence, rules).customers.items():
            born.setdefault(customer, time)
            if namespace(token) == "member":
                assert served.setdefault(customer, token) == token
                assert born[customer] <= born[had.get(token, customer)]
                had[token] = customer
