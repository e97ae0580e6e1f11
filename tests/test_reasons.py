"""Why a decision came out as it did: every check in words, from what was recorded alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from operators import reasons
from operators.texts import duration
from schemas.outputs import Decision
from schemas.stitched import Control
from tests.engage_helpers import DAY, MINUTE, A, T, World, event, tick
from tests.test_plays import on, plays, tier, waiting, world


def told(found: World) -> list[reasons.Check]:
    """The checks of the last decision, of what came out of Kafka."""
    decision = msgspec.json.decode(msgspec.json.encode(found.decisions[-1]), type=Decision)
    assert reasons.recorded(reasons.again(decision, found.books), decision)
    return reasons.checks(decision, found.books)


def last(found: World) -> tuple[str, str]:
    """The step that decided, and its text."""
    check = told(found)[-1]
    return check.step, check.text


def test_what_is_sent_has_passed_every_check() -> None:
    file = plays(each=on("Tier Changed") | {"variants": {"long": {}}})
    checks = told(world(file).feed(tier("gold")).run())
    assert all(each.passed for each in checks)
    assert [each.step for each in checks] == [
        "mode", "consent", "filter", "exit", "duplicate", "cool_down", "arbitration", "frequency_cap", "budget",
        "quiet_hours", "holdout", "variant", "channel",
    ]  # fmt: skip
    said = {each.step: each.text for each in checks}
    assert said["consent"] == "sms/marketing: agreed 2025-10-08T08:53:20.000Z"
    assert said["variant"] == "long, drawn"
    assert said["channel"] == "sms: phone"


def test_the_false_term_is_named_with_what_it_saw() -> None:
    who = "profile.tier == 'gold' and profile.orders >= 2 and since(profile.last_order) < days(3)"
    file = plays(each=on("Points Earned") | {"who": who})
    found = world(file).feed(tier("gold"), event(A, "Points Earned", {"points": 1}, T)).run()
    step, text = last(found)
    assert step == "filter"
    assert text == (
        "does not hold: profile.orders >= 2; since(profile.last_order) < days(3) "
        "(with profile.last_order = missing, profile.orders = 0, profile.tier = 'gold')"
    )


LIMITS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str]]] = [
    ({}, {"budget": {"messages": 0, "per": "1d"}}, ("budget", "0 left of this shard's share")),
    ({"holdout": 1.0}, {}, ("channel", "sms: phone")),
    ({"quiet_hours": {"start": "00:00", "end": "12:00", "then": "drop"}}, {},
     ("quiet_hours", "UTC (the customer's is not known): quiet until 2025-10-09T12:00:00.000Z")),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "more", "expected"), LIMITS)
def test_what_a_limit_looked_at(limits: dict[str, Any], more: dict[str, Any], expected: tuple[str, str]) -> None:
    file = plays(limits, each=on("Tier Changed") | more)
    assert last(world(file).feed(tier("gold")).run()) == expected


def test_who_is_held_out_is_told_so_and_all_that_was_decided_beside() -> None:
    file = plays({"holdout": 1.0}, each=on("Tier Changed"))
    checks = told(world(file).feed(tier("gold")).run())
    assert [(each.step, each.text) for each in checks if not each.passed] == [("holdout", "in that of all plays")]


def test_a_full_cap_says_until_when() -> None:
    file = plays({"caps": [{"messages": 1, "within": "1d"}]}, each=on("Tier Changed") | {"cool_down": "1m"})
    found = world(file).feed(tier("gold"), tier("platinum", T + 5 * MINUTE)).run()
    assert last(found) == (
        "frequency_cap", "1 messages remembered; sms: full until 2025-10-10T08:53:20.000Z"
    )  # fmt: skip


def test_a_cool_down_says_since_when() -> None:
    file = plays(each=on("Tier Changed") | {"cool_down": "2d"})
    found = world(file).feed(tier("gold"), tier("platinum", T + DAY + 5 * MINUTE)).run()
    assert last(found) == ("cool_down", "last 2025-10-09T08:53:20.000Z, 1d 5m before; waits 2d")


def test_the_winner_of_a_group_is_named() -> None:
    one = on("Tier Changed") | {"group": "offers"}
    file = plays({"groups": {"offers": {}}}, one=one | {"priority": 1}, two=one)
    assert last(world(file).feed(tier("gold")).run()) == ("arbitration", "one was chosen of group offers")


def test_a_pause_is_told_though_nothing_was_asked() -> None:
    file = plays(left=waiting())
    found = world(file).feed(Control(T, "pause", "left"))
    found.feed(event(A, "Checkout Started", {"cart_id": "c"}, T), tick(T + DAY)).run()
    assert last(found) == ("paused", "the play was paused by an operator")


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (999, "0s"), (61_000, "1m 1s"), (90 * DAY, "90d"), (-MINUTE, "-1m")]
)
def test_durations(ms: int, text: str) -> None:
    assert duration(ms) == text
