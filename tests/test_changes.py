"""Changes turn one partition into the next, and are told in an order that can be followed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.birth import customer_id
from operators.changes import Change, changes, forgotten
from operators.evidence import Evidence, Sighting, facts_of, join
from operators.partition import partition
from state.tokens import token_text
from tests.effort import examples
from tests.identity_worlds import TOKENS, evidence_of
from tests.sightings import POOL, RULES, events

MEMBER, DEVICE = TOKENS.identifier("member", "1001"), TOKENS.identifier("device", "ab12")


def customers(evidence: Evidence, rules: str = "union") -> dict[bytes, str]:
    return partition(evidence, RULES[rules]).customers


@pytest.mark.parametrize("rules", RULES)
@given(data=st.data())
@settings(max_examples=examples(500))
def test_applying_changes_to_the_old_partition_gives_the_new_one(rules: str, data: st.DataObject) -> None:
    some, more = data.draw(events), data.draw(events)
    before = customers(evidence_of(some, RULES[rules]), rules)
    after = customers(evidence_of(some + more, RULES[rules]), rules)
    told = changes(before, after, set(before.values()))
    folded = dict(before)
    for change in told:
        if change.kind == "merged":
            assert {folded[token] for token in change.ids} == {change.old}
            folded = {token: change.customer if owner == change.old else owner for token, owner in folded.items()}
        elif change.kind in ("moved", "split"):
            assert {folded[token] for token in change.ids} == {change.old}
            folded |= dict.fromkeys(change.ids, change.customer)
        else:
            assert not set(change.ids) & set(before)
            folded |= dict.fromkeys(change.ids, change.customer)
    assert folded == after
    created = [change.customer for change in told if change.kind == "created"]
    assert sorted(created) == sorted(set(after.values()) - set(before.values()))
    merged = [change.old for change in told if change.kind == "merged"]
    assert sorted(merged, key=str) == sorted(set(before.values()) - set(after.values()))
    assert sum(change.kind in ("moved", "split") for change in told) == 0 or rules == "retail"
    for change in told:
        whole = {token for token, customer in after.items() if customer == change.customer} == set(change.ids)
        assert change.kind != "split" or whole


def at(*some: tuple[list[int], int]) -> Evidence:
    return evidence_of([Sighting(tuple(POOL[n] for n in who), 0, time, time) for who, time in some], RULES["union"])


def kinds(before: Evidence, after: Evidence) -> list[str]:
    old = customers(before)
    return [change.kind for change in changes(old, customers(after), set(old.values()))]


def test_changes_by_example() -> None:
    assert kinds({}, at(([0, 1], 5))) == ["created"]
    assert kinds(at(([0], 5)), at(([0], 5), ([0, 1], 6))) == ["linked"]
    assert kinds(at(([0], 5), ([1], 6)), at(([0], 5), ([1], 6), ([0, 1], 7))) == ["merged"]
    assert kinds(at(([0], 5)), at(([0], 5), ([0], 1))) == []


def test_a_device_moves_to_whoever_logged_in_last_and_nobody_is_merged() -> None:
    ann, bob = (TOKENS.identifier("member", name) for name in ("ann", "bob"))

    def seen(*some: tuple[bytes, int]) -> dict[bytes, str]:
        shown = [Sighting(tuple(sorted((DEVICE, member))), 0b11, time, time) for member, time in some]
        return customers(evidence_of(shown, RULES["retail"]), "retail")

    before, after = seen((ann, 10)), seen((ann, 10), (bob, 20))
    first, second = changes(before, after, set(before.values()))
    assert first == Change("created", after[bob], (bob,))
    assert second == Change("moved", after[bob], (DEVICE,), before[ann])
    assert before[ann] == after[ann]


def test_an_older_identifier_that_comes_to_light_moves_the_id() -> None:
    before, after = at(([0], 5)), at(([0], 5), ([1], 2), ([0, 1], 5))
    first, second = changes(customers(before), customers(after), set(customers(before).values()))
    old, new = (customer_id(token_text(POOL[n])) for n in (0, 1))
    assert first == Change("created", new, (POOL[1],))
    assert second == Change("merged", new, (POOL[0],), old)


def test_a_customer_known_before_is_not_created_again() -> None:
    old, new = (customers(at(([0], first), ([0, 1], 5), ([1], 2))) for first in (5, 1))
    (change,) = changes(old, new, {customer_id(token_text(POOL[n])) for n in (0, 1)})
    assert (change.kind, change.old, change.customer) == ("merged", old[POOL[0]], new[POOL[0]])


def test_who_is_no_more_has_become_who_holds_what_it_was_named_after() -> None:
    a, b, c = POOL[:3]

    def heir(old: str, after: dict[bytes, str], nobody: tuple[bytes, ...] = ()) -> str:
        told = changes(dict.fromkeys(after, old), after, {old, *after.values()}, nobody=nobody)
        (merged,) = [change.customer for change in told if change.kind == "merged"]
        return merged

    assert heir(customer_id(token_text(a)), {a: "one", b: "two", c: "two"}) == "one"
    assert heir("anything else", {a: "one", b: "two", c: "two"}) == "two"  # who holds most of it
    assert heir(customer_id(token_text(a)), {a: "kiosk", b: "two"}, nobody=(a,)) == "two"  # people inherit, not things


def test_what_moves_leaves_before_the_rest_is_handed_over() -> None:
    a, b = POOL[:2]
    told = changes({a: "z", b: "z"}, {a: "x", b: "y"}, {"x", "y", "z"})
    assert sorted(change.customer for change in told) == ["x", "y"]
    assert [change.kind for change in told] == ["split", "merged"]


def test_an_id_merged_away_earlier_follows_the_identifier_it_is_named_after() -> None:
    a, b, c = POOL[:3]
    x, y, z = (customer_id(token_text(token)) for token in (a, b, c))
    told = changes({a: x, b: x, c: x}, {a: x, b: y, c: y}, {x, y, z})
    assert told == [Change("split", y, (b, c), x), Change("merged", y, (c,), z)]


# -- what a rolled-back Redis no longer knows of customers is told again ------------------------------------


def test_every_id_that_an_identifier_could_have_given_leads_to_its_holder() -> None:
    rules = RULES["union"]
    evidence = facts_of(Sighting((DEVICE,), 0, 10, 10), rules)
    join(evidence, facts_of(Sighting(tuple(sorted((DEVICE, MEMBER))), 0, 20, 20), rules))
    device, member = customer_id(token_text(DEVICE)), customer_id(token_text(MEMBER))
    # The member may have been a customer of its own, before the device's older sighting came to light.
    expected = Change("merged", device, (MEMBER,), member)
    assert forgotten(customers(evidence), []) == [expected]
    assert forgotten(customers(evidence), [expected]) == []


def test_customers_that_live_are_not_forgotten() -> None:
    evidence = facts_of(Sighting((DEVICE,), 0, 10, 10), RULES["union"])
    join(evidence, facts_of(Sighting((MEMBER,), 0, 20, 20), RULES["union"]))
    assert forgotten(customers(evidence), []) == []
