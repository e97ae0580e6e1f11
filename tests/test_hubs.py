"""Hubs link nobody, and clusters stay small."""

from __future__ import annotations

from hypothesis import given

from operators.evidence import (
    HUB,
    Evidence,
    Sighting,
    facts_of,
    join,
    marker,
)
from operators.hubs import quarantine, separate
from operators.partition import partition
from operators.rules import Rules
from schemas.policy import RETAIL, Namespace, Policy
from tests.effort import thorough
from tests.identity_worlds import (
    POOL,
    TOKENS,
    Anything,
    evidence_of,
    groups,
    mixed,
    rules,
)


@given(some=mixed, rules=rules)
@thorough
def test_clusters_apart_give_what_they_give_together(some: Anything, rules: Rules) -> None:
    evidence = evidence_of(some, rules)
    whole = partition(evidence, rules)
    join(evidence, quarantine(evidence, rules))
    assert partition(evidence, rules) == whole
    found: dict[bytes, str] = {}
    for cluster in separate(evidence, rules).values():
        found |= partition(cluster, rules).customers
    assert found == whole.customers


def test_a_kiosk_links_nobody() -> None:
    hub = Namespace(hub={"member": 2})
    policy = Policy(priority=("member", "device"), namespaces={"member": Namespace(limit=1), "device": hub}, step_ms=1)
    rules, kiosk, evidence = Rules(policy), POOL["device"][0], Evidence()
    for time, member in enumerate(POOL["member"]):
        assert partition(evidence, rules).hubs == set()  # as many as it may meet
        join(evidence, facts_of(Sighting(tuple(sorted((member, kiosk))), 0b11, time, time), rules))
    result = partition(evidence, rules)
    assert result.nobody == result.hubs == {kiosk}
    assert len(set(result.customers.values())) == 4
    assert quarantine(evidence, rules) == {(HUB, kiosk, kiosk): (2, 2)}
    join(evidence, marker("release", kiosk, kiosk, 9))
    assert partition(evidence, rules).customers[kiosk] == partition(evidence, rules).customers[POOL["member"][2]]


def test_only_those_whom_a_limit_is_about_count() -> None:
    """A device with as many members as it may have, and any number of cookies besides, is no kiosk."""
    device, policy = (
        POOL["device"][0],
        Policy(priority=("member",), namespaces={"device": Namespace(hub={"member": 2})}),
    )
    rules = Rules(policy)
    met = [*POOL["member"][:2], *POOL["cookie"]]
    some = [Sighting(tuple(sorted((device, other))), 0, 5, 5) for other in met]
    assert partition(evidence_of(some, rules), rules).hubs == set()
    some.append(Sighting(tuple(sorted((device, POOL["member"][2]))), 0, 5, 5))
    assert partition(evidence_of(some, rules), rules).hubs == {device}


def test_a_household_is_known_and_connects_nobody() -> None:
    rules, device, household = Rules(RETAIL), POOL["device"][0], TOKENS.identifier("household", "1")
    pairs = [(POOL["member"][0], household), (POOL["member"][1], household), (device, household)]
    evidence = evidence_of([Sighting(tuple(sorted(pair)), 0, 5, 5) for pair in pairs], rules)
    result = partition(evidence, rules)
    assert result.nobody == result.hubs == {household}
    assert len(set(result.customers.values())) == len(separate(evidence, rules)) == 4
    assert quarantine(evidence, rules) == {}  # the policy says so, no marker has to


def test_a_hub_that_was_released_can_become_one_again_by_the_cap() -> None:
    rules, device = Rules(Policy(cap=2)), POOL["device"][0]
    some = [Sighting(tuple(sorted((member, device))), 0, 5, 5) for member in POOL["member"]]
    evidence = evidence_of([*some, marker(HUB, device, device, 5), marker("release", device, device, 9)], rules)
    assert partition(evidence, rules).hubs == set()
    markers = quarantine(evidence, rules)
    join(evidence, markers)
    assert markers
    assert quarantine(evidence, rules) == {}
    assert max(map(len, groups(partition(evidence, rules).customers))) <= 2


def test_the_busiest_identifier_of_too_large_a_cluster_becomes_a_hub() -> None:
    policy = Policy(priority=("member", "device"), namespaces={"member": Namespace(limit=1)}, cap=3, step_ms=1)
    rules, evidence = Rules(policy), Evidence()
    shared, own = POOL["device"][:2]
    for time, (member, device) in enumerate([(0, shared), (1, shared), (2, shared), (0, own)]):
        join(evidence, facts_of(Sighting(tuple(sorted((POOL["member"][member], device))), 0, time, time), rules))
    assert quarantine(evidence, rules) == {(HUB, shared, shared): (2, 2)}
    join(evidence, quarantine(evidence, rules))
    assert sorted(map(len, groups(partition(evidence, rules).customers))) == [1, 1, 1, 2]
