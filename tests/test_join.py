"""Joining two profiles is as if all their touchpoints had been folded into one."""

from __future__ import annotations

from copy import deepcopy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import join
from operators.fold import KEPT_CARTS
from operators.plays import KEPT_SENT
from operators.progress import KEPT_KEYS, timers
from schemas.stitched import Event
from state.behaviour import DECAYED
from state.profile import SEEN_EVENTS, SEEN_WIDTH, Cart, Contact, Decided, Park, Profile, Progress, Sent, Timer, pack
from tests.effort import examples
from tests.engage_helpers import MINUTE, A, B, T, carted, consented, event, ordered, signed_up, viewed
from tests.test_fold import folded


def absorbed(mine: Profile, other: Profile) -> Profile:
    joined = deepcopy(mine)
    join.absorb(joined, deepcopy(other))
    return joined


def made(kind: int, n: int) -> Event:
    """A touchpoint of minute ``n``, of a kind whose fold does not depend on the order of arrival."""
    time, at = T + n * MINUTE, T + 40 * MINUTE
    return [
        viewed(A, f"sku{n % 9}", time, at=at),
        ordered(A, time, f"bought{n}", at=at),
        carted(A, f"cart{n % 4}", time, 5.0, at=at),
        event(A, "Points Earned", {"points": n}, time, at=at),
        event(A, "Ticket Opened", {"ticket_id": "t"}, time, at=at),
        event(A, "Order Refunded", {"order_id": "o", "amount": 0.5}, time, at=at),
        consented(A, time, at=at, sms=False),
        consented(A, time, at=at, email=True),
    ][kind]


lives = st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=18)


@given(lives)
@settings(deadline=None, max_examples=examples(200))
def test_a_join_is_as_if_one_had_lived_it_all(life: list[tuple[int, bool]]) -> None:
    events = [(made(kind, n), first) for n, (kind, first) in enumerate(life)]
    one, other, both = (
        folded(*(each for each, first in events if first)),
        folded(*(each for each, first in events if not first)),
        folded(*(each for each, _ in events)),
    )
    joined = absorbed(one, other)
    for profile in (joined, both):
        profile.timers = sorted(profile.timers, key=lambda timer: (timer.due, timer.key))
        for field in DECAYED:
            setattr(profile.behaviour, field, pytest.approx(getattr(profile.behaviour, field)))
    assert joined == both


@given(lives)
@settings(deadline=None)
def test_nobody_joins_as_nothing(life: list[tuple[int, bool]]) -> None:
    profile = folded(*(made(kind, n) for n, (kind, _) in enumerate(life)))
    profile.carts = dict(sorted(profile.carts.items(), key=lambda item: (item[1].time, item[0])))
    assert absorbed(profile, Profile(B)) == msgspec.structs.replace(profile, births=[B])
    joined = absorbed(Profile(A), profile)
    assert pack(joined) == pack(profile)


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        (None, True, True),
        (True, None, True),
        (True, True, True),
        (True, False, False),
        (False, True, False),
        (None, False, False),
        (None, None, None),
    ],
)
def test_consent_is_the_most_restrictive_as_of_the_newest(
    mine: bool | None, other: bool | None, expected: bool | None
) -> None:
    def profile(granted: bool | None, time: int) -> Profile:
        return Profile(A) if granted is None else Profile(A, consent={"sms/marketing": (granted, time)})

    for times in ((1, 2), (2, 1)):
        held = absorbed(profile(mine, times[0]), profile(other, times[1])).consent.get("sms/marketing")
        if expected is None:
            assert held is None
        else:
            known = [time for granted, time in zip((mine, other), times, strict=True) if granted is not None]
            assert held == (expected, max(known))


def test_addresses_are_the_newest() -> None:
    old, new = Contact("k1", "a", 1), Contact("k2", "b", 2)
    assert absorbed(Profile(A, contacts={"phone": old}), Profile(B, contacts={"phone": new})).contacts["phone"] == new
    assert absorbed(Profile(A, contacts={"phone": new}), Profile(B, contacts={"phone": old})).contacts["phone"] == new
    assert absorbed(Profile(A), Profile(B, contacts={"phone": old})).contacts == {"phone": old}


def test_messages_decisions_and_cool_downs_of_both_count() -> None:
    mine = Profile(
        A, sent=[Sent(1, "x", "sms"), Sent(5, "x", "sms")], decided=[Decided("a", 5, "x", "emitted")], cooling={"x": 5}
    )
    other = Profile(B, sent=[Sent(3, "y", "sms")], decided=[Decided("b", 3, "y", "emitted")], cooling={"x": 2, "y": 3})
    joined = absorbed(mine, other)
    assert [sent.at for sent in joined.sent] == [1, 3, 5]
    assert [decided.id for decided in joined.decided] == ["b", "a"]
    assert joined.cooling == {"x": 5, "y": 3}


def test_the_newer_score_is_kept_and_registers_fill_up() -> None:
    mine = Profile(A, score=0.1, band="low", scored_at=1, tier="gold")
    other = Profile(B, score=0.9, band="high", scored_at=2, tier="silver", language="zh")
    assert absorbed(mine, other).band == "high"
    assert absorbed(other, mine).band == "high"
    joined = absorbed(mine, other)
    assert (joined.tier, joined.language) == ("gold", "zh")
    assert absorbed(folded(), folded(signed_up(A))).country == "CN"


def test_a_cart_ended_by_the_others_order_is_closed() -> None:
    joined = absorbed(folded(carted(A, "old", T), carted(A, "new", T + 2)), folded(ordered(B, T + 1)))
    assert list(joined.carts) == ["new"]
    assert [timer.key for timer in joined.timers] == ["cart_abandoned\x1fnew"]


def test_the_same_cart_of_both_is_the_later() -> None:
    early, late = folded(carted(A, "cart", T, 1.0)), folded(carted(A, "cart", T + 1, 2.0))
    for joined in (absorbed(early, late), absorbed(late, early)):
        assert joined.carts["cart"].value == 200
        assert joined.timers == [Timer(T + 1 + 30 * MINUTE, "wait", "cart_abandoned\x1fcart")]


def test_of_two_grid_points_the_earlier_stays() -> None:
    one, other = Profile(A, timers=[Timer(7, "grid", "")]), Profile(B, timers=[Timer(5, "grid", "")])
    assert absorbed(one, other).timers == absorbed(other, one).timers == [Timer(5, "grid", "")]


@given(st.integers(0, SEEN_EVENTS), st.integers(0, SEEN_EVENTS))
@settings(deadline=None)
def test_recent_ids_of_both_stay_as_far_as_there_is_room(m: int, n: int) -> None:
    def marks(count: int, letter: str) -> str:
        return "".join(f"{letter}{number:0{SEEN_WIDTH - 1}}" for number in range(count))

    mine, other = marks(m, "m"), marks(n, "o")
    joined = absorbed(Profile(A, seen=mine), Profile(B, seen=other)).seen
    assert len(joined) == min(m + n, SEEN_EVENTS) * SEEN_WIDTH
    half = SEEN_EVENTS // 2 * SEEN_WIDTH
    assert joined.endswith(mine[-half:])
    assert other[-half:] in joined


def test_everything_stays_bounded() -> None:
    def full(customer: str, base: int) -> Profile:
        return Profile(
            customer,
            ids=[f"device:{base + n}" for n in range(150)],
            progress={"x": {f"k{base + n}": Progress((base + n,), 0, base + n) for n in range(KEPT_KEYS)}},
            carts={f"c{base + n}": Cart(base + n, 0) for n in range(KEPT_CARTS)},
            sent=[Sent(base + n, "x", "sms") for n in range(KEPT_SENT)],
            decided=[Decided(f"{base + n}", base + n, "x", "emitted") for n in range(20)],
            absorbed=[f"{base + n}" for n in range(32)],
        )

    joined = absorbed(full(A, 1_000), full(B, 2_000))
    assert (len(joined.ids), len(joined.sent), len(joined.decided)) == (200, KEPT_SENT, 20)
    assert sorted(joined.carts) == [f"c{2_000 + n}" for n in range(KEPT_CARTS)]
    assert sorted(joined.progress["x"]) == [f"k{2_000 + n}" for n in range(KEPT_KEYS)]
    assert joined.timers == timers(joined)
    assert len(joined.timers) == KEPT_KEYS
    assert joined.absorbed == [f"{1_000 + n}" for n in range(32)]


def test_what_the_other_waits_for_is_waited_for() -> None:
    one, two = Park("one", 5), Park("two", 6)
    assert absorbed(Profile(A, parks=[one]), Profile(B, parks=[two, one])).parks == [one, two]
