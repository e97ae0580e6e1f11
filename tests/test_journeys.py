"""Plays of several messages: their waits, what ends them, and that they finish as they began."""

from __future__ import annotations

from typing import Any

import pytest

from operators.journeys import KEPT_JOURNEYS
from operators.playbook import PlayBook
from schemas.plays import PlayFile
from schemas.stitched import Control
from tests.engage_helpers import DAY, MINUTE, A, B, T, World, event, ordered, replayed, tick
from tests.test_plays import HOUR, on, plays, tier, world
from tests.test_undo import split

STEPS = [{"wait": "1d", "values": {"n": "1"}}, {"wait": "2d", "values": {"n": "2"}}]


def journey(**more: Any) -> dict[str, Any]:
    return on("Tier Changed") | {"steps": STEPS, "cool_down": "30d", "values": {"tier": "event.tier"}} | more


def said(found: World) -> list[tuple[int, Any, str]]:
    """Every decision: hours since it began, which message, what came of it."""
    return [((each.at - T) // HOUR, each.step, each.code or each.outcome) for each in found.decisions]


def hourly(days: int, start: int = T) -> list[Any]:
    return [tick(start + n * HOUR) for n in range(1, 24 * days + 1)]


def test_messages_come_one_after_the_other() -> None:
    found = world(plays(onboard=journey())).feed(tier("gold"), *hourly(5)).run()
    assert said(found) == [(0, 0, "emitted"), (24, 1, "emitted"), (72, 2, "emitted")]
    assert [each.data.values for each in found.triggers] == [
        {"tier": "gold"}, {"tier": "gold", "n": 1}, {"tier": "gold", "n": 2},
    ]  # fmt: skip
    assert len({each.id for each in found.triggers}) == 3
    assert found.profile(A).journeys == []
    assert found.profile(A).due is None
    assert replayed(found, [5, 1]).everything() == found.everything()


BEGAN, WHOLE = (0, 0, "emitted"), [(0, 0, "emitted"), (24, 1, "emitted"), (72, 2, "emitted")]


@pytest.mark.parametrize(
    ("exit", "expected"),
    [
        ({"exit": {"event": "Order Completed"}}, [BEGAN, (12, 1, "exit")]),
        ({"exit": {"event": "Order Completed", "where": "event.revenue > 100"}}, WHOLE),
        ({"exit_when": "profile.orders > 0"}, [BEGAN, (12, 1, "exit")]),
        ({"exit_when": "since(profile.last_seen) >= days(2)"}, [*WHOLE[:2], (72, 2, "exit")]),
    ],
)
def test_what_ends_a_journey_ends_it_at_once_or_before_its_next_message(exit: Any, expected: Any) -> None:
    found = world(plays(onboard=journey(**exit))).feed(tier("gold"), ordered(A, T + 12 * HOUR), *hourly(5)).run()
    assert said(found) == expected
    assert found.profile(A).journeys == []


def test_of_two_carts_the_one_that_was_bought_is_left_alone() -> None:
    play = {
        "when": {"event": {"event": "Product Added", "by": "event.cart_id"}},
        "cool_down": "1m",
        "steps": STEPS[:1],
        "exit": {"event": "Order Completed", "by": "event.cart_id"},
    }
    found = world(plays(cart=play)).feed(*[event(A, "Product Added", {"cart_id": each}, T + n * HOUR)
                                           for n, each in enumerate("ab")])  # fmt: skip
    found.feed(ordered(A, T + 2 * HOUR, cart="a"), *hourly(2)).run()
    assert [(each.business_key, each.step, each.outcome) for each in found.decisions] == [
        ("a", 0, "emitted"), ("b", 0, "emitted"), ("a", 1, "stopped"), ("b", 1, "emitted"),
    ]  # fmt: skip


def test_who_a_step_is_for_is_asked_when_it_comes() -> None:
    steps = [{"wait": "1d", "who": "profile.orders > 0"}, {"wait": "1d"}]
    found = world(plays(onboard=journey(steps=steps))).feed(tier("gold"), *hourly(3)).run()
    assert said(found) == [(0, 0, "emitted"), (24, 1, "filter"), (48, 2, "emitted")]


def test_a_step_has_channels_of_its_own() -> None:
    steps = [{"wait": "1d", "channels": ["email"]}]
    assert said(world(plays(onboard=journey(steps=steps))).feed(tier("gold"), *hourly(2)).run())[-1] == (
        24, 1, "no_consent"
    )  # fmt: skip


def test_what_never_began_has_no_further_messages() -> None:
    file = plays(onboard=journey(who="profile.orders > 0"))
    assert said(world(file).feed(tier("gold"), *hourly(5)).run()) == [(0, 0, "filter")]


def test_every_message_passes_the_caps() -> None:
    file = plays({"caps": [{"messages": 1, "within": "2d"}]}, onboard=journey())
    assert said(world(file).feed(tier("gold"), *hourly(5)).run()) == [
        (0, 0, "emitted"), (24, 1, "frequency_cap"), (72, 2, "emitted"),
    ]  # fmt: skip


def switched(before: PlayFile, after: PlayFile) -> World:
    """A journey begins, then other plays are put in force."""
    found, book = world(before), PlayBook(after)
    found.books[book.version] = book
    return found.feed(tier("gold"), Control(T + HOUR, "plays", "", book.version), *hourly(5)).run()


def test_a_journey_finishes_as_it_began() -> None:
    after = plays(onboard=journey(steps=[{"wait": "3h"}], who="profile.orders > 5"))
    found = switched(plays(onboard=journey()), after)
    assert said(found) == [(0, 0, "emitted"), (24, 1, "emitted"), (72, 2, "emitted")]
    first, *later = found.decisions
    assert {each.play_version for each in found.decisions} == {first.play_version}
    assert {each.limits_version for each in later} == {PlayBook(after).version}


def test_a_journey_whose_play_is_gone_ends() -> None:
    assert said(switched(plays(onboard=journey()), plays(other=on("Signed Up")))) == [
        (0, 0, "emitted"), (24, 1, "play_removed"),
    ]  # fmt: skip


def test_an_exit_stops_what_is_held() -> None:
    night = {"quiet_hours": {"start": "08:00", "end": "12:00"}, "caps": []}
    file = plays(night, once=on("Tier Changed") | {"exit": {"event": "Order Completed"}})
    found = world(file).feed(tier("gold"), ordered(A, T + HOUR), *hourly(1)).run()
    assert [code for _, code in found.told()] == ["quiet_hours", "exit"]
    assert found.profile(A).held == []
    assert all(timer.kind != "held" for timer in found.profile(A).timers)


def test_what_is_held_of_a_journey_is_decided_as_it_began() -> None:
    night = {"quiet_hours": {"start": "07:00", "end": "12:00"}, "caps": []}
    before, after = plays(night, onboard=journey(steps=STEPS[:1])), plays(night, onboard=journey(steps=[]))
    found, book = world(before), PlayBook(after)
    found.books[book.version] = book
    found.feed(tier("gold", T + 6 * HOUR), *hourly(1, T)).run()
    found.feed(Control(T + DAY, "plays", "", book.version), *hourly(2, T + DAY - 18 * HOUR)).run()
    assert said(found) == [(6, 0, "emitted"), (30, 1, "emitted")]


def test_journeys_go_along_when_customers_merge_and_stay_when_they_part() -> None:
    found = world(plays(onboard=journey()), A, B)
    found.feed(event(B, "Tier Changed", {"tier": "gold"}, T)).run()
    ids = found.profile(B).ids
    found.merge(B, A, 10, T + HOUR).run()
    found.feed(*hourly(1)).run()
    assert sorted((each.step, each.customer) for each in found.decisions) == [(0, B), (1, A)]
    split(found, A, B, ids, 20, T + DAY + HOUR)
    found.run().feed(*hourly(4, T + DAY)).run()
    assert sorted((each.step, each.customer) for each in found.decisions) == [(0, B), (1, A), (2, B)]


def test_so_many_journeys_and_no_more() -> None:
    play = {"when": {"event": {"event": "Product Added", "by": "event.cart_id"}}, "steps": STEPS[:1]}
    some = [event(A, "Product Added", {"cart_id": f"c{n}"}, T + n * MINUTE * 2) for n in range(KEPT_JOURNEYS + 3)]
    found = world(plays(cart=play)).feed(*some).run()
    assert len(found.profile(A).journeys) == KEPT_JOURNEYS
    assert found.counts["journeys_refused"] == 3


def test_an_exit_also_ends_what_leads_to_the_first_message() -> None:
    play = {"when": {"delay": {"after": {"event": "Tier Changed"}, "wait": "2d"}}}
    ended = plays(late=play | {"exit": {"event": "Order Completed"}})
    assert said(world(ended).feed(tier("gold"), ordered(A, T + HOUR), *hourly(3)).run()) == []
    over = plays(late=play | {"exit_when": "profile.orders > 0"})
    assert said(world(over).feed(tier("gold"), ordered(A, T + HOUR), *hourly(3)).run()) == [(48, 0, "exit")]
