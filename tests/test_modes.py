"""Plays that do not simply speak: in the shadow, for testers, too late, or broken."""

from __future__ import annotations

from typing import Any

from operators.deciding import FAILURES
from schemas.stitched import Control
from tests.engage_helpers import MINUTE, A, B, T, World, event, replayed
from tests.test_plays import HOUR, on, plays, tier, world

NEVER = " * ".join(["event.points"] * 45)
#: Overflows where points are many.
BROKEN = f"round(({NEVER}) / 1.5) > 1"


def points(n: int, count: int = 1, customer: str = A) -> Any:
    return event(customer, "Points Earned", {"points": count}, T + n * MINUTE)


def test_a_play_in_the_shadow_does_everything_but_send() -> None:
    file = plays(
        {"caps": [{"messages": 1, "within": "1d"}]},
        dark=on("Tier Changed") | {"mode": "shadow", "cool_down": "1h", "variants": {"a": {}}},
        bright=on("Points Earned"),
    )
    found = world(file).feed(tier("gold"), tier("silver", T + MINUTE), tier("none", T + 2 * HOUR), points(130)).run()
    dark = [each for each in found.decisions if each.play == "dark"]
    assert [(each.outcome, each.code, each.channel, each.variant) for each in dark] == [
        ("shadow", "shadow", "sms", "a"), ("stopped", "cool_down", None, None), ("shadow", "shadow", "sms", "a"),
    ]  # fmt: skip
    assert [each.data.play for each in found.triggers] == ["bright"]  # the cap is free


def test_a_play_in_the_shadow_takes_no_place_from_one_that_speaks() -> None:
    one = on("Tier Changed") | {"group": "g"}
    file = plays({"groups": {"g": {}}}, dark=one | {"mode": "shadow", "priority": 9}, bright=one)
    assert world(file).feed(tier("gold")).run().told() == [("dark", "shadow"), ("bright", "emitted")]


def test_a_play_under_test_speaks_to_testers_also_after_a_merge() -> None:
    file = plays({"testers": [B], "caps": []}, new=on("Tier Changed") | {"mode": "test"})
    found = world(file, A, B).feed(tier("gold")).merge(B, A, 9, T + MINUTE).run()
    found.feed(tier("silver", T + HOUR)).run()
    assert [(each.outcome, each.code) for each in found.decisions] == [("stopped", "not_a_tester"), ("emitted", None)]


def test_what_comes_too_late_to_start_anything_is_recorded_and_done_with() -> None:
    file = plays(
        each=on("Tier Changed"), gained=on("Tier Changed", by="event.tier") | {"once": True}, other=on("Points Earned")
    )
    found = world(file).feed(event(A, "Tier Changed", {"tier": "gold"}, T, at=T + 2 * HOUR))
    found.feed(event(A, "Tier Changed", {"tier": "gold"}, T + 2 * HOUR)).run()
    assert found.told() == [
        ("each", "too_old"), ("gained", "too_old"), ("each", "emitted"), ("gained", "duplicate"),
    ]  # fmt: skip


def broken(world_: World, n: int) -> World:
    return world_.feed(*[points(each, 10**9) for each in range(n)]).run()


def test_a_play_that_cannot_be_evaluated_stops_alone_and_is_told_of() -> None:
    file = plays(bad=on("Points Earned", where=BROKEN), good=on("Points Earned"))
    found = broken(world(file), 2)
    assert found.told() == [("bad", "error"), ("good", "emitted")] * 2
    (alert,) = found.written("ts.alerts")
    assert (alert.kind, alert.customer, "play bad of version" in alert.text) == ("play_error", A, True)
    assert replayed(found, [2]).everything() == found.everything()


def test_a_play_that_goes_on_failing_is_taken_out_until_it_is_resumed() -> None:
    file = plays(bad=on("Points Earned", where=BROKEN))
    found = broken(world(file), FAILURES + 2)
    assert [code for _, code in found.told()] == ["error"] * FAILURES + ["paused"] * 2
    assert len(found.written("ts.alerts")) == 2
    assert "is paused in shard" in found.written("ts.alerts")[-1].text
    found.feed(Control(T + HOUR, "resume", "bad"), points(70, 10**9), points(71, 2)).run()
    assert [code for _, code in found.told()][-2:] == ["error", "emitted"]


def test_a_condition_on_the_profile_that_cannot_be_evaluated_stops_its_play() -> None:
    who = f"round({' * '.join(['profile.points'] * 45)} / 1.5) > 1"
    file = plays(bad=on("Points Earned") | {"who": who})
    assert broken(world(file), 1).told() == [("bad", "error")]
    said = {"values": {"n": f"round({' * '.join(['profile.points'] * 45)} / 1.5)"}}
    assert broken(world(plays(bad=on("Points Earned") | said)), 1).told() == [("bad", "error")]
