"""Customer ids: stable, and never of two people."""

from __future__ import annotations

from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from operators.birth import CUSTOMERS, customer_id
from operators.evidence import (
    Evidence,
    Sighting,
    facts_of,
    join,
)
from operators.partition import partition
from operators.rules import Rules
from state.tokens import namespace
from tests.identity_worlds import (
    Anything,
    evidence_of,
    groups,
    mixed,
    plain,
    rules,
    sightings,
    thorough,
)


def test_names_are_those_of_always() -> None:
    assert str(CUSTOMERS) == "5f3b6c1e-8d0a-5b7e-9c44-2f6d1a7e0b93"
    assert customer_id("device:x") == str(uuid5(CUSTOMERS, "device:x"))


@given(some=mixed, rules=rules)
@thorough
def test_a_customer_has_one_id_of_its_own(some: Anything, rules: Rules) -> None:
    result = partition(evidence_of(some, rules), rules)
    assert len(set(result.customers.values())) == len(groups(result.customers))
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
