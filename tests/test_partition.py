"""Customers keep to limits and decisions."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from operators.birth import customer_id
from operators.evidence import (
    ERASE,
    LINKS,
    LOGOUT,
    MERGE,
    SPLIT,
    TILL,
    Evidence,
    Sighting,
    facts_of,
    join,
    marker,
)
from operators.graph import effective
from operators.partition import Partition, partition
from operators.rules import Rules
from schemas.policy import Namespace, Policy
from state.tokens import namespace, token_text
from tests.effort import thorough
from tests.identity_worlds import (
    EVERYONE,
    POOL,
    Anything,
    events,
    evidence_of,
    groups,
    mixed,
    plain,
    rules,
    times,
)


def links_of(evidence: Evidence) -> dict[bytes, set[bytes]]:
    near: dict[bytes, set[bytes]] = {}
    for kind, a, b in evidence:
        if kind in (*LINKS, MERGE):
            near.setdefault(a, set()).add(b)
            near.setdefault(b, set()).add(a)
    return near


@given(some=mixed, rules=rules)
@thorough
def test_limits_are_never_broken_and_customers_are_connected(some: Anything, rules: Rules) -> None:
    evidence = evidence_of(some, rules)
    result = partition(evidence, rules)
    merged = {token for kind, a, b in evidence if kind == MERGE for token in (a, b)}
    near = links_of(evidence)
    for group in groups(result.customers):
        for name, count in Counter(map(namespace, group)).items():
            limit = rules.policy.of(name).limit
            # whom an operator united counts once, whatever he united
            loosened = sum(namespace(token) == name for token in group & merged)
            assert limit is None or count <= limit + max(loosened - 1, 0)
        reached, left = {min(group)}, [min(group)]
        while left:
            fresh = near.get(left.pop(), set()) & group - reached
            reached |= fresh
            left.extend(fresh)
        assert reached == group
    for token in result.nobody:
        assert sum(customer == result.customers[token] for customer in result.customers.values()) == 1


@given(some=mixed, rules=rules)
@thorough
def test_what_an_operator_split_is_never_one_customer(some: Anything, rules: Rules) -> None:
    evidence = evidence_of(some, rules)
    customers = partition(evidence, rules).customers
    facts, _ = effective(evidence, rules)  # what was decided of an identifier before it was erased is gone, too
    for (kind, a, b), (_, last) in facts.items():
        if kind == SPLIT and last >= facts.get((MERGE, a, b), (0, 0))[1] and a in customers and b in customers:
            assert customers[a] != customers[b]


@given(some=events, rules=rules, two=st.lists(st.sampled_from(EVERYONE), min_size=2, max_size=2, unique=True))
@thorough
def test_a_merge_and_its_split_restore_what_was(some: list[Sighting], rules: Rules, two: list[bytes]) -> None:
    evidence = evidence_of(some, rules)
    before = partition(evidence, rules)
    a, b = two
    if a not in before.customers or b not in before.customers or before.customers[a] == before.customers[b]:
        return
    if any([each.shared == "ambiguous" for each in rules.policy.namespaces.values()]):
        return  # there a split is news: that two cannot be one makes what they share ambiguous
    join(evidence, marker(MERGE, a, b, 20))
    merged = partition(evidence, rules)
    if not {a, b} & merged.nobody:
        assert merged.customers[a] == merged.customers[b]
    join(evidence, marker(SPLIT, a, b, 30))
    assert partition(evidence, rules).customers == before.customers


def test_the_newest_decision_counts_and_a_tie_is_a_split() -> None:
    rules, (a, b) = plain("last_login_wins"), POOL["member"][:2]
    evidence = evidence_of([Sighting((a,), 0, 1, 1), Sighting((b,), 0, 1, 1)], rules)

    def one(*markers: Evidence) -> bool:
        known = dict(evidence)
        for each in markers:
            join(known, each)
        customers = partition(known, rules).customers
        return customers[a] == customers[b]

    assert one(marker(MERGE, a, b, 5))
    assert not one(marker(MERGE, a, b, 5), marker(SPLIT, b, a, 5))
    assert not one(marker(MERGE, a, b, 5), marker(SPLIT, a, b, 6))
    assert one(marker(SPLIT, a, b, 5), marker(MERGE, a, b, 6))


def test_merges_are_heard_newest_first_and_only_splits_stop_them() -> None:
    rules, (a, b, c), (x, y) = plain("last_login_wins"), POOL["member"], POOL["device"][:2]
    evidence = evidence_of([Sighting((token,), 0, 1, 1) for token in (a, b, c)], rules)
    for each in (marker(MERGE, a, b, 5), marker(MERGE, b, c, 6), marker(SPLIT, a, c, 7)):
        join(evidence, each)
    customers = partition(evidence, rules).customers
    assert customers[b] == customers[c] != customers[a]
    # the two count as one member, so devices of either still find their way
    for time, pair in ((8, (b, x)), (9, (c, y))):
        join(evidence, facts_of(Sighting(tuple(sorted(pair)), 0, time, time), rules))
    customers = partition(evidence, rules).customers
    assert customers[x] == customers[y] == customers[b]


def test_a_superseded_owner_does_not_come_back() -> None:
    """The newest member cannot have the device, because its phone number contradicts; the one before has lost it."""
    one = Namespace(limit=1)
    rules = Rules(Policy(priority=("member", "phone", "device"), namespaces={"member": one, "phone": one}, step_ms=1))
    (ann, bob), (p, q), (device, *_) = POOL["member"][:2], POOL["phone"][:2], POOL["device"]
    events = [(bob, q), (ann, device), (bob, device), (p, device)]
    some = [Sighting(tuple(sorted(pair)), 0, time, time) for time, pair in enumerate(events)]
    assert groups(partition(evidence_of(some, rules), rules).customers) == {
        frozenset({ann}),
        frozenset({bob, q}),
        frozenset({p, device}),
    }


def test_a_stronger_kind_of_link_is_heard_before_a_newer_one() -> None:
    rules, (ann, bob), device = plain("last_login_wins"), POOL["member"][:2], POOL["device"][0]
    some = [
        Sighting(tuple(sorted((ann, device))), 0b11, 1, 1),
        Sighting(tuple(sorted((bob, device))), 0, 2, 2),
        Sighting(tuple(sorted((bob, device))), 0, 3, 3, TILL),
    ]
    assert frozenset({ann, device}) in groups(partition(evidence_of(some, rules), rules).customers)
    some.append(Sighting(tuple(sorted((bob, device))), 0b11, 2, 2))
    assert frozenset({bob, device}) in groups(partition(evidence_of(some, rules), rules).customers)


def test_a_logout_parts_people_and_devices_not_devices() -> None:
    rules, ann, (x, y) = plain("explicit_logout"), POOL["member"][0], POOL["device"][:2]
    some = [Sighting(tuple(sorted(pair)), 0, 1, 1) for pair in ((ann, x), (x, y))]

    def left(*markers: Evidence) -> set[frozenset[bytes]]:
        return groups(partition(evidence_of([*some, *markers], rules), rules).customers)

    assert left() == {frozenset({ann, x, y})}
    assert left(marker(LOGOUT, x, x, 0)) == {frozenset({ann, x, y})}
    assert left(marker(LOGOUT, x, x, 1)) == {frozenset({ann}), frozenset({x, y})}
    assert left(marker(LOGOUT, ann, ann, 1)) == {frozenset({ann, x, y})}  # it is the weaker end that is left


def test_a_shared_identifier_links_nothing_at_all() -> None:
    each = {"member": Namespace(limit=1), "device": Namespace(shared="ambiguous")}
    rules = Rules(Policy(priority=("member", "device", "cookie"), namespaces=each, step_ms=1))
    (ann, bob), device, cookie = POOL["member"][:2], POOL["device"][0], POOL["cookie"][0]
    pairs = [(device, cookie), (ann, device), (bob, device)]
    some = [Sighting(tuple(sorted(pair)), 0, time, time) for time, pair in enumerate(pairs)]
    assert groups(partition(evidence_of(some[:2], rules), rules).customers) == {frozenset({ann, device, cookie})}
    result = partition(evidence_of(some, rules), rules)
    assert result.nobody == {device}
    assert groups(result.customers) == {frozenset({each}) for each in (ann, bob, device, cookie)}


def test_ambiguity_knows_no_phantom_owner() -> None:
    """Who is refused proves nothing there: whoever fits may have the device."""
    one = Namespace(limit=1)
    rules = Rules(
        Policy(
            priority=("member", "phone", "device"),
            namespaces={"member": one, "phone": one, "device": Namespace(shared="ambiguous")},
            step_ms=1,
        )
    )
    (ann, bob), (p, q), (x, y) = POOL["member"][:2], POOL["phone"][:2], POOL["device"][:2]
    events = [(ann, p), (q, x), (x, y), (ann, y), (bob, x)]
    some = [Sighting(tuple(sorted(pair)), 0, time, time) for time, pair in enumerate(events)]
    assert groups(partition(evidence_of(some, rules), rules).customers) == {
        frozenset({ann, p}),
        frozenset({bob, q, x, y}),
    }


@given(some=events, rules=rules, times=st.dictionaries(st.sampled_from(EVERYONE), times, max_size=4))
@thorough
def test_erasing_is_order_free_for_each_identifier(some: list[Sighting], rules: Rules, times: dict[bytes, int]) -> None:
    """Late events may be dropped or not, before the erasure or after: the same identifiers are known, and what they
    are called does not depend on it."""
    erasures = [marker(ERASE, token, token, time) for token, time in times.items()]
    late = [each for each in some if any([each.last <= times.get(token, 0) for token in each.tokens])]
    kept = [each for each in some if each not in late]
    whole = evidence_of([*some, *erasures], rules)
    for token, time in times.items():
        known = partition(whole, rules).customers.get(token)
        if not any([token in each.tokens for each in kept]) and rules.step == 1:
            assert known is None or any([token in each.tokens and each.last > time for each in some])
    # dropping those late events that touch nothing but erased identifiers changes nothing at all
    pure = [each for each in late if all([each.last <= times.get(token, 0) for token in each.tokens])]
    rest = evidence_of([*[each for each in some if each not in pure], *erasures], rules)
    assert partition(rest, rules) == partition(whole, rules)


def test_who_comes_back_after_an_erasure_is_someone_new() -> None:
    rules, (device, member) = plain("last_login_wins"), (POOL["device"][0], POOL["member"][0])
    event = Sighting(tuple(sorted((device, member))), 0b11, 5, 5)
    evidence = facts_of(event, rules)
    old = partition(evidence, rules).customers[member]
    for token in (device, member):
        join(evidence, marker(ERASE, token, token, 7))
    assert partition(evidence, rules) == Partition({}, erased={device: 7, member: 7}, spent=frozenset((device, member)))
    join(evidence, facts_of(event._replace(first=7, last=7), rules))
    assert partition(evidence, rules).customers == {}  # the moment itself is before
    join(evidence, facts_of(event._replace(first=9, last=9), rules))
    new = partition(evidence, rules).customers
    assert new[member] == new[device] == customer_id(f"{token_text(min(device, member))}@7") != old


def test_what_survives_an_erasure_begins_with_it() -> None:
    """Whether an event of before was dropped on its way must not show in the name."""
    rules, (a, b) = plain("last_login_wins"), sorted((POOL["device"][0], POOL["member"][0]))
    left: Anything = [Sighting((a, b), 0, 9, 9), *(marker(ERASE, token, token, 7) for token in (a, b))]
    whole = evidence_of([Sighting((b,), 0, 5, 5), *left], rules)
    assert partition(whole, rules) == partition(evidence_of(left, rules), rules)
