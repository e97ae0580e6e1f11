"""Evidence is a join, and the cheap test knows when it matters."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.evidence import (
    ERASE,
    HUB,
    KINDS,
    LINKS,
    MARKERS,
    SEEN,
    Effect,
    Evidence,
    Sighting,
    effect,
    facts_of,
    join,
    marker,
)
from operators.partition import partition
from operators.rules import Rules
from schemas.policy import Namespace, Policy
from tests.effort import examples, thorough
from tests.identity_worlds import (
    LAST,
    POOL,
    Anything,
    decisions,
    evidence_of,
    facts,
    mixed,
    plain,
    rules,
    sightings,
)


@given(parts=st.tuples(mixed, mixed, mixed), rules=rules)
@thorough
def test_joining_is_commutative_associative_and_idempotent(parts: tuple[Anything, ...], rules: Rules) -> None:
    a, b, c = [evidence_of(part, rules) for part in parts]

    def joined(*some: Evidence) -> Evidence:
        result = Evidence()
        for each in some:
            join(result, each)
        return result

    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(a, a) == a
    assert joined(a, Evidence()) == a


@given(some=mixed, rules=rules, order=st.randoms(use_true_random=False))
@thorough
def test_neither_order_nor_duplicates_matter(some: Anything, rules: Rules, order: Random) -> None:
    shuffled = [*some, *some[::2]]
    order.shuffle(shuffled)
    evidence = evidence_of(shuffled, rules)
    assert evidence == evidence_of(some, rules)
    # and neither does the order in which a map happens to keep its facts
    facts = list(evidence.items())
    order.shuffle(facts)
    assert partition(dict(facts), rules) == partition(evidence, rules)


def test_a_fact_keeps_its_earliest_first_and_its_latest_last() -> None:
    device = POOL["device"][0]
    evidence: Evidence = {(SEEN, device, device): (5, 6)}
    for span, joined in (((3, 4), (3, 6)), ((4, 9), (3, 9)), ((5, 8), (3, 9))):
        join(evidence, {(SEEN, device, device): span})
        assert evidence == {(SEEN, device, device): joined}


def test_what_comes_after_an_erasure_on_its_day_is_not_rounded_down_to_before_it() -> None:
    rules, device = Rules(Policy(step_ms=100)), POOL["device"][0]
    event = Sighting((device,), 0, 1_050, 1_060)
    for erased, last in ((-1, 1_000), (999, 1_000), (1_000, 1_060), (1_020, 1_060)):
        assert facts_of(event, rules, {device: erased}) == {(SEEN, device, device): (1_050, last)}


def test_an_event_that_confuses_people_gives_nothing() -> None:
    one, two = POOL["member"][:2]
    device = POOL["device"][0]
    rules = plain("last_login_wins")
    assert facts_of(Sighting(tuple(sorted((one, two, device))), 0, 5, 5), rules) == {}
    assert len(facts_of(Sighting(tuple(sorted((one, device))), 0, 5, 5), rules)) == 3


def test_blocked_values_give_nothing_and_are_in_no_partition() -> None:
    member, device = POOL["member"][0], POOL["device"][0]
    policy = plain("last_login_wins").policy
    before, after = Rules(policy), Rules(policy, blocked=[device])
    event = Sighting(tuple(sorted((member, device))), 0, 5, 5)
    assert facts_of(event, after) == {(SEEN, member, member): (5, 5)}
    assert set(partition(facts_of(event, before), after).customers) == {member}  # also backwards


def again(what: Sighting | Evidence, time: int) -> Sighting | Evidence:
    """The same at another time."""
    return what._replace(first=time, last=time) if isinstance(what, Sighting) else dict.fromkeys(what, (time, time))


@given(
    some=mixed,
    other=st.one_of(sightings, decisions),
    pick=st.integers(0, 20),
    time=st.integers(1, LAST + 2),
    rules=rules,
)
@settings(max_examples=examples(2_000), deadline=None)
def test_the_cheap_test_never_says_less_than_what_happens(
    some: Anything, other: Sighting | Evidence, pick: int, time: int, rules: Rules
) -> None:
    """Whatever comes: something new, or, since most is not, what has been before."""
    more = again(some[pick], time) if pick < len(some) else other
    before, news = evidence_of(some, rules), facts(more, rules)
    now = partition(before, rules)
    said = effect(before, news, rules, now)
    after = dict(before)
    join(after, news)
    if said is Effect.NOTHING:
        assert after == before
    if said is not Effect.RESOLVE:
        assert partition(after, rules) == now


def test_whoever_was_erased_is_resolved_when_he_comes_back() -> None:
    rules, device = plain("last_login_wins"), POOL["device"][0]
    event = Sighting((device,), 0, 1, 1)
    evidence = evidence_of([event, marker(ERASE, device, device, 5)], rules)
    now = partition(evidence, rules)
    assert effect(evidence, facts(again(event, 5), rules), rules, now) is Effect.TOUCH
    assert effect(evidence, facts(again(event, 6), rules), rules, now) is Effect.RESOLVE
    assert effect(evidence, marker(ERASE, device, device, 6), rules, now) is Effect.RESOLVE


def test_what_the_cheap_test_says() -> None:
    rules = Rules(Policy(priority=("member", "device"), namespaces={"member": Namespace(limit=1)}, step_ms=100))
    (ann, bob), device = POOL["member"][:2], POOL["device"][0]

    def login(member: bytes, time: int) -> Evidence:
        return facts_of(Sighting(tuple(sorted((member, device))), 0b11, time, time), rules)

    evidence = login(ann, 1_000)
    join(evidence, login(bob, 2_000))
    now = partition(evidence, rules)

    def said(facts: Evidence) -> Effect:
        return effect(evidence, facts, rules, now)

    assert said(login(bob, 2_000)) is Effect.NOTHING
    assert said(login(bob, 2_001)) is Effect.TOUCH  # whose it is anyway
    assert said(login(ann, 2_001)) is Effect.RESOLVE  # it changes hands
    assert said(login(ann, 1_000)) is Effect.NOTHING
    assert said(login(bob, 1_999)) is Effect.RESOLVE  # an earlier first
    assert said(facts_of(Sighting((device,), 0, 2_050, 2_050), rules)) is Effect.NOTHING  # the same step
    assert said(facts_of(Sighting((device,), 0, 2_100, 2_100), rules)) is Effect.TOUCH
    assert said(marker(HUB, device, device, 1)) is Effect.RESOLVE


def test_kinds_are_links_markers_and_the_sight_itself() -> None:
    assert set(KINDS) == {SEEN, *LINKS, *MARKERS}
    assert len(KINDS) == len(set(KINDS))
    assert set(Rules(Policy()).strength) == set(LINKS)
