"""Identity is a pure, order-free function of evidence."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import combinations
from random import Random
from uuid import uuid5

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.identity import (
    CUSTOMERS,
    LAST_MS,
    LOGIN,
    OBSERVED,
    SEEN,
    Change,
    Effect,
    Evidence,
    Sighting,
    changes,
    customer_id,
    effect,
    facts_of,
    join,
    partition,
    rank,
)
from state.tokens import Tokens, token_text

TOKENS = Tokens(bytes(32))
POOL = sorted(TOKENS.identifier(ns, str(n)) for ns in ("member", "device", "phone") for n in range(4))
HOUR = LAST_MS


def sightings(most: int = 3) -> st.SearchStrategy[Sighting]:
    """Events with up to ``most`` identifiers of a small pool, some proven by a login, within four hours."""
    who = st.lists(st.sampled_from(POOL), min_size=1, max_size=most, unique=True).map(lambda some: tuple(sorted(some)))
    time = st.integers(1, 4 * HOUR)
    return st.builds(
        lambda who, logins, time: Sighting(who, logins % 2 ** len(who), time, time), who, st.integers(0, 7), time
    )


def evidence_of(some: list[Sighting]) -> Evidence:
    evidence: Evidence = {}
    for sighting in some:
        join(evidence, facts_of(sighting))
    return evidence


events = st.lists(sightings(), max_size=12)


def test_the_facts_of_an_event() -> None:
    a, b, c = POOL[:3]
    time = 2 * HOUR + 7
    assert facts_of(Sighting((a, b, c), 0b100, time, time)) == {
        (SEEN, a, a): (time, 2 * HOUR),
        (SEEN, b, b): (time, 2 * HOUR),
        (SEEN, c, c): (time, 2 * HOUR),
        (OBSERVED, a, b): (time, 2 * HOUR),
        (LOGIN, a, c): (time, time),
        (LOGIN, b, c): (time, time),
    }


@given(some=events, order=st.randoms(use_true_random=False))
@settings(max_examples=1_000)
def test_order_and_duplicates_do_not_matter(some: list[Sighting], order: Random) -> None:
    shuffled = [*some, *some[::2]]
    order.shuffle(shuffled)
    assert evidence_of(shuffled) == evidence_of(some)


@given(parts=st.tuples(events, events, events))
def test_joining_is_commutative_associative_and_idempotent(parts: tuple[list[Sighting], ...]) -> None:
    a, b, c = map(evidence_of, parts)

    def joined(*some: Evidence) -> Evidence:
        def both(left: Evidence, right: Evidence) -> Evidence:
            result = dict(left)
            join(result, right)
            return result

        return reduce(both, some)

    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(a, a) == a


@given(some=events)
def test_customers_are_connected_components_named_after_their_oldest_identifier(some: list[Sighting]) -> None:
    evidence = evidence_of(some)
    after = partition(evidence)
    assert set(after) == {token for sighting in some for token in sighting.tokens}
    for sighting in some:
        assert len({after[token] for token in sighting.tokens}) == 1
    for customer in set(after.values()):
        members = [token for token in after if after[token] == customer]
        oldest = min(members, key=lambda token: (evidence[SEEN, token, token][0], token))
        assert customer == customer_id(token_text(oldest))
        assert reachable(members[0], some) == set(members)


def reachable(token: bytes, some: list[Sighting]) -> set[bytes]:
    """What one gets to from ``token``, the slow way."""
    found = {token}
    while True:
        more = {other for each in some if found & set(each.tokens) for other in each.tokens}
        if more <= found:
            return found
        found |= more


@given(some=events, more=sightings())
@settings(max_examples=1_000)
def test_the_cheap_test_never_says_less_than_what_happens(some: list[Sighting], more: Sighting) -> None:
    before, facts = evidence_of(some), facts_of(more)
    after = dict(before)
    join(after, facts)
    said = effect(before, facts)
    if said is Effect.NOTHING:
        assert after == before
    if said is not Effect.RESOLVE:
        assert partition(after) == partition(before)


def test_what_the_cheap_test_says() -> None:
    known = evidence_of([Sighting(tuple(POOL[:2]), 0, HOUR + 5, HOUR + 5)])

    def said(tokens: list[bytes], time: int) -> Effect:
        return effect(known, facts_of(Sighting(tuple(tokens), 0, time, time)))

    assert said(POOL[:2], HOUR + 9) is Effect.NOTHING
    assert said(POOL[:2], 2 * HOUR) is Effect.TOUCH
    assert said(POOL[:2], HOUR + 4) is Effect.RESOLVE
    assert said(POOL[:3], HOUR + 9) is Effect.RESOLVE


@given(some=events, more=events)
@settings(max_examples=500)
def test_applying_changes_to_the_old_partition_gives_the_new_one(some: list[Sighting], more: list[Sighting]) -> None:
    before, after = partition(evidence_of(some)), partition(evidence_of(some + more))
    told = changes(before, after, set(before.values()))
    folded = dict(before)
    for change in told:
        if change.kind == "merged":
            assert {folded[token] for token in change.ids} == {change.old}
            folded = {token: change.customer if owner == change.old else owner for token, owner in folded.items()}
        else:
            assert not set(change.ids) & set(before)
            folded |= dict.fromkeys(change.ids, change.customer)
    assert folded == after
    created = [change.customer for change in told if change.kind == "created"]
    assert sorted(created) == sorted(set(after.values()) - set(before.values()))
    assert len({change.old for change in told if change.old}) == sum(change.kind == "merged" for change in told)


def at(*some: tuple[list[int], int]) -> Evidence:
    return evidence_of([Sighting(tuple(POOL[n] for n in numbers), 0, time, time) for numbers, time in some])


def kinds(
    before: Evidence, after: Evidence, known: Callable[[dict[bytes, str]], set[str]] = lambda _: set()
) -> list[str]:
    old = partition(before)
    return [change.kind for change in changes(old, partition(after), set(old.values()) | known(old))]


def test_changes_by_example() -> None:
    assert kinds({}, at(([0, 1], 5))) == ["created"]
    assert kinds(at(([0], 5)), at(([0], 5), ([0, 1], 6))) == ["linked"]
    assert kinds(at(([0], 5), ([1], 6)), at(([0], 5), ([1], 6), ([0, 1], 7))) == ["merged"]
    assert kinds(at(([0], 5)), at(([0], 5), ([0], 1))) == []


def test_an_older_identifier_that_comes_to_light_moves_the_id() -> None:
    before, after = at(([0], 5)), at(([0], 5), ([1], 2), ([0, 1], 5))
    first, second = changes(partition(before), partition(after), set(partition(before).values()))
    old, new = (customer_id(token_text(POOL[n])) for n in (0, 1))
    assert first == Change("created", new, (POOL[1],))
    assert second == Change("merged", new, (POOL[0],), old)


def test_a_customer_known_before_is_not_created_again() -> None:
    moved, back = at(([0], 5), ([0, 1], 5), ([1], 2)), at(([0], 1), ([0, 1], 5), ([1], 2))
    old, new = partition(moved), partition(back)
    (change,) = changes(old, new, {customer_id(token_text(POOL[n])) for n in (0, 1)})
    assert (change.kind, change.old, change.customer) == ("merged", old[POOL[0]], new[POOL[0]])


def test_pairs_of_many_identifiers_are_all_linked() -> None:
    facts = facts_of(Sighting(tuple(POOL), 0, 5, 5))
    assert {fact[1:] for fact in facts if fact[0] == OBSERVED} == set(combinations(POOL, 2))


@given(text=st.text())
def test_customer_ids_are_uuids_of_version_5(text: str) -> None:
    assert customer_id(text) == str(uuid5(CUSTOMERS, text))


def test_ranks() -> None:
    assert rank("member") < rank("email") < rank("device") < rank("household") < rank("whatever")


@given(a=st.text(max_size=8), b=st.text(max_size=8))
def test_tokens_tell_values_and_kinds_apart(a: str, b: str) -> None:
    assume(a != b)
    assert TOKENS.identifier("device", a) != TOKENS.identifier("device", b)
    assert TOKENS.text("order_id", a) != TOKENS.text("order_id", b)
    assert TOKENS.text("order_id", a) != TOKENS.text("cart_id", a)
    assert TOKENS.event("web", a) != TOKENS.event("till", a)
    assert TOKENS.event("a", f":{b}") != TOKENS.event("a:", b)


def test_tokens_are_keyed_and_readable_by_namespace() -> None:
    token = TOKENS.identifier("device", "ab12")
    assert token != Tokens(b"\x01" * 32).identifier("device", "ab12")
    assert token.startswith(b"device:")
    assert len(token) == len("device:") + 16
    assert len(token_text(token)) == len("device:") + 22
    assert len(TOKENS.text("session", "s1")) == 16
