"""Limits through the whole core: quiet hours, holdouts, variants, budgets, plays that compete, and their order."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import chance, governance, quiet, reasons
from operators.governance import GLOBAL, KEPT_HELD, OF_PLAY
from operators.playbook import PlayBook
from operators.quiet import Quiet
from schemas.outputs import Decision
from schemas.stitched import Control, Event
from tests.effort import thorough
from tests.engage_helpers import DAY, MINUTE, SHARDS, A, B, T, World, created, event, reachable, replayed, tick, token
from tests.test_plays import HOUR, checkout, on, plays, reachable_by_mail, tier, waiting, world
from tests.test_undo import split

NIGHT = {"start": "21:00", "end": "09:00"}
#: 02:00 UTC of the day after T.
NIGHTLY = T - T % DAY + DAY + 2 * HOUR
MORNING = NIGHTLY + 7 * HOUR


def told(found: World) -> list[tuple[str, str | None]]:
    """What was decided: outcome and code."""
    return [(each.outcome, each.code) for each in found.decisions]


# -- quiet hours -------------------------------------------------------------------------------------------


def in_zone(zone: str, at: int = T - DAY) -> Event:
    return event(A, "Signed Up", {"timezone": zone}, at)


def night(then: str = "hold", **more: Any) -> dict[str, Any]:
    return {"caps": [], "quiet_hours": {**NIGHT, "then": then, **more}}


def test_what_would_be_sent_in_quiet_hours_is_held_and_sent_when_they_end() -> None:
    found = world(plays(night(), each=on("Tier Changed"))).feed(tier("gold", NIGHTLY)).run()
    (held,) = found.decisions
    assert (held.outcome, held.code, held.until) == ("held", "quiet_hours", MORNING)
    found.feed(tick(MORNING - 1)).run()
    assert found.triggers == []
    found.feed(tick(MORNING, at=MORNING + 5), tick(MORNING + HOUR)).run()
    assert told(found) == [("held", "quiet_hours"), ("emitted", None)]
    assert {each.id for each in found.decisions} == {held.id}
    assert [(each.id, each.data.not_before) for each in found.triggers] == [(held.id, MORNING)]
    assert found.profile(A).held == []
    assert found.profile(A).timers == []


def test_quiet_hours_can_drop() -> None:
    found = world(plays(night("drop"), each=on("Tier Changed"))).feed(tier("gold", NIGHTLY), tick(MORNING)).run()
    assert told(found) == [("stopped", "quiet_hours")]


def test_the_customers_own_time_counts_and_else_the_configured_one() -> None:
    file = plays(night() | {"timezone": "America/New_York"}, each=on("Tier Changed"))
    assert told(world(file).feed(tier("gold", NIGHTLY)).run())[0][0] == "held"  # 22:00 there
    assert told(world(file).feed(tier("gold", NIGHTLY - HOUR)).run())[0][0] == "held"
    assert told(world(file).feed(tier("gold", NIGHTLY - 2 * HOUR)).run())[0][0] == "emitted"
    assert told(world(file).feed(in_zone("Asia/Shanghai"), tier("gold", NIGHTLY)).run())[0][0] == "emitted"
    assert told(world(file).feed(in_zone("No/Where"), tier("gold", NIGHTLY)).run())[0][0] == "held"


def test_a_channel_that_is_not_quiet_is_taken() -> None:
    file = plays(night(channels=["sms"]), each=on("Tier Changed") | {"channels": ["sms", "email"]})
    found = world(file).feed(*reachable_by_mail(A), tier("gold", NIGHTLY)).run()
    assert [each.data.channel for each in found.triggers] == ["email"]
    assert told(world(file).feed(tier("gold", NIGHTLY)).run()) == [("held", "quiet_hours")]  # no consent for the other


def test_a_message_of_service_skips_what_it_says() -> None:
    file = plays(night(), each=on("Tier Changed") | {"skips": ["quiet_hours", "consent"]})
    found = World(plays=file).feed(*reachable(A, T - DAY)[:1], tier("gold", NIGHTLY)).run()
    assert told(found) == [("emitted", None)]


def test_everything_is_asked_anew_at_release() -> None:
    file = plays(night(), each=on("Tier Changed") | {"who": "profile.tier == 'gold'"})
    found = world(file).feed(tier("gold", NIGHTLY), tier("silver", NIGHTLY + 1), tick(MORNING)).run()
    assert told(found) == [("held", "quiet_hours"), ("stopped", "filter"), ("stopped", "filter")]
    withdrawn = event(A, "Consent Changed", {}, NIGHTLY + 1, consent={"sms": False})
    found = world(file).feed(tier("gold", NIGHTLY), withdrawn, tick(MORNING)).run()
    assert told(found) == [("held", "quiet_hours"), ("stopped", "no_consent")]


def test_what_is_held_is_held_once() -> None:
    file = plays(night(), gained=on("Tier Changed", by="event.tier") | {"once": True})
    found = world(file).feed(tier("gold", NIGHTLY), tier("gold", NIGHTLY + 1), tick(MORNING)).run()
    assert told(found) == [("held", "quiet_hours"), ("stopped", "duplicate"), ("emitted", None)]


def test_so_much_is_held_and_no_more() -> None:
    file = plays(night(), each=on("Tier Changed"))
    found = world(file).feed(*[tier(f"tier{n}", NIGHTLY + n) for n in range(KEPT_HELD + 1)]).run()
    assert told(found)[-1] == ("stopped", "too_many_held")
    assert len(found.profile(A).held) == KEPT_HELD


@pytest.mark.parametrize("resumed", [False, True])
def test_pausing_cancels_what_is_held(resumed: bool) -> None:
    found = world(plays(night(), each=on("Tier Changed"))).feed(
        tier("gold", NIGHTLY), Control(NIGHTLY, "pause", "each")
    )
    found.feed(*[Control(NIGHTLY, "resume", "each")] * resumed, tick(MORNING)).run()
    assert told(found) == [("held", "quiet_hours"), ("stopped", "paused")]


def test_what_is_held_after_a_pause_is_sent() -> None:
    found = world(plays(night(), each=on("Tier Changed")))
    found.feed(Control(NIGHTLY, "pause", "each"), Control(NIGHTLY, "resume", "each"), tier("gold", NIGHTLY + 1))
    assert told(found.feed(tick(MORNING)).run()) == [("held", "quiet_hours"), ("emitted", None)]


def test_what_is_held_goes_along_when_customers_merge_and_stays_when_they_part() -> None:
    file = plays(night(), each=on("Tier Changed"))
    of_b = msgspec.structs.replace(tier("silver", NIGHTLY + 1), customer=B, eid=token("of b"))
    found = world(file, A, B).feed(tier("gold", NIGHTLY), of_b).run().merge(A, B, 10, NIGHTLY + 2).run()
    late = msgspec.structs.replace(tier("late", NIGHTLY + 3), customer=B, eid=token("late"))
    found.feed(late).run()
    assert len(found.profile(B).held) == 3
    ids = [each.id for each in found.decisions]
    split(found, B, A, found.profile(A).ids or reachable_ids(A), 11, NIGHTLY + 4)
    found.run()
    assert [len(found.profile(each).held) for each in (A, B)] == [1, 2]
    assert [len([timer for timer in found.profile(each).timers if timer.kind == "held"]) for each in (A, B)] == [1, 2]
    found.feed(tick(MORNING)).run()
    final = [each for each in found.decisions if each.outcome != "held"]
    assert sorted(each.id for each in final) == sorted(ids)


def reachable_ids(customer: str) -> list[str]:
    return created(customer, T - DAY, "phone").ids


#: A moment between 2020 and 2030, and zones with and without summer time, on both sides of the date line and by halves.
moments = st.integers(1_577_836_800_000, 1_893_456_000_000)
zones = st.sampled_from(
    ["UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata",
     "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Kiritimati", "Asia/Tehran"]
)  # fmt: skip
clocks = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda each: time(*each))


def inside(at: int, zone: str, start: time, end: time) -> bool:
    """Minute by minute, without arithmetic on wall clocks."""
    clock = datetime.fromtimestamp(at / 1000, quiet.zone(zone)).time()
    return start <= clock < end if start <= end else clock >= start or clock < end


@given(moments, zones, clocks, clocks)
@thorough
def test_no_release_lies_in_quiet_hours_nor_long_after_them(at: int, zone: str, start: time, end: time) -> None:
    hours = Quiet(start, end, (), True)
    until = quiet.ends(hours, at, zone)
    assert (until > 0) == inside(at, zone, start, end)
    released, looks = at, 0
    while (until := quiet.ends(hours, released, zone)) > 0:
        assert until > released
        released, looks = until, looks + 1
    # Where clocks are put back over the end it is looked at twice.
    assert looks <= 3
    assert not inside(released, zone, start, end)
    if looks:
        assert inside(released - 1, zone, start, end) or clocks_changed(released, zone)


def clocks_changed(at: int, zone: str) -> bool:
    here = datetime.fromtimestamp(at / 1000, quiet.zone(zone))
    before = datetime.fromtimestamp(at / 1000 - 86_400, quiet.zone(zone))
    return here.utcoffset() != before.utcoffset()


def test_what_is_no_zone_is_none() -> None:
    for name in ("", "../../etc/passwd", "Europe/Nowhere", "Europe", "a/b/c/d", "/UTC", "zone.tab", "Asia/\0"):
        assert quiet.zone(name) is None
    assert quiet.zone("America/Argentina/Buenos_Aires") is not None


# -- holdouts ----------------------------------------------------------------------------------------------


def customers(held_out: bool, share: float, *salt: str) -> list[str]:
    """Two customers who are, or are not, in a holdout of this share."""
    found = [f"customer-{n}" for n in range(1_000)]
    return [each for each in found if (chance.share("holdout", *salt, each) < share) == held_out][:2]


def of(customer: str, name: str, at: int = T) -> Event:
    return msgspec.structs.replace(tier(name, at), customer=customer, eid=token(f"{customer} {name} {at}"))


@pytest.mark.parametrize("code", [GLOBAL, OF_PLAY])
def test_who_is_held_out_is_decided_on_to_the_end_but_never_sent_anything(code: str) -> None:
    salt = () if code == GLOBAL else ("each",)
    limits = {"caps": [{"messages": 1, "within": "7d"}], "holdout": 0.2 if code == GLOBAL else 0.0}
    play = on("Tier Changed") | {"cool_down": "1h", "variants": {"a": {}, "b": {}}}
    play |= {"holdout": 0.2 if code == OF_PLAY else 0.0}
    out, into = customers(True, 0.2, *salt)[0], customers(False, 0.2, *salt)[0]
    some = [of(each, name, T + at) for name, at in (("a", 0), ("b", 1), ("c", HOUR)) for each in (out, into)]
    found = world(plays(limits, each=play), out, into).feed(*some).run()
    by = {each: [one for one in found.decisions if one.customer == each] for each in (out, into)}
    assert [one.code for one in by[out]] == [code, "cool_down", code]  # the cool-down is taken, the cap is not
    assert [one.code for one in by[into]] == [None, "cool_down", "frequency_cap"]
    assert (by[out][0].outcome, by[out][0].channel) == ("held_out", "sms")
    assert by[out][0].variant in ("a", "b")
    assert {each.subject for each in found.triggers} == {into}


def test_who_cannot_be_reached_is_not_held_out() -> None:
    limits = {"caps": [], "holdout": 1.0}
    found = world(plays(limits, each=on("Tier Changed") | {"channels": ["email"]})).feed(tier("gold")).run()
    assert told(found) == [("stopped", "no_consent")]
    mailed = event(A, "Consent Changed", {}, T - 1, consent={"email": True})
    found = world(plays(limits, each=on("Tier Changed") | {"channels": ["email"]})).feed(mailed, tier("gold")).run()
    assert told(found) == [("stopped", "unreachable")]


def test_a_holdout_stays_one_through_a_merge_and_who_was_treated_is_flagged() -> None:
    (into, _), (out, _) = customers(False, 0.2), customers(True, 0.2)
    found = world(plays({"caps": [], "holdout": 0.2}, each=on("Tier Changed")), into, out).feed(of(into, "a")).run()
    assert told(found) == [("emitted", None)]
    found.merge(out, into, 10, T + 1).run().feed(of(into, "b", T + HOUR)).run()
    last = found.decisions[-1]
    assert (last.customer, last.outcome, last.code, last.treated) == (into, "held_out", GLOBAL, True)


def test_who_was_never_treated_is_not_flagged() -> None:
    out = customers(True, 0.2)[0]
    file = plays({"caps": [], "holdout": 0.2}, each=on("Tier Changed"))
    found = world(file, out).feed(of(out, "a"), of(out, "b", T + HOUR)).run()
    assert [each.treated for each in found.decisions] == [False, False]


def test_holdouts_have_the_size_they_say() -> None:
    book = PlayBook(plays({"caps": [], "holdout": 0.1}, each=on("Tier Changed") | {"holdout": 0.2}))
    found = [governance.held_out(book.plays["each"], [f"customer-{n}"], book) for n in range(20_000)]
    assert found.count(GLOBAL) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert found.count(OF_PLAY) / 20_000 == pytest.approx(0.9 * 0.2, abs=0.01)


# -- variants ----------------------------------------------------------------------------------------------


def variants(**weights: int) -> dict[str, Any]:
    return {"variants": {name: {"weight": weight, "values": {"text": name}} for name, weight in weights.items()}}


def test_a_variant_is_said_and_stays_the_same_for_a_customer() -> None:
    file = plays(each=on("Tier Changed") | variants(a=1, b=1) | {"values": {"text": "'none'", "tier": "event.tier"}})
    found = world(file).feed(*[tier(f"t{n}", T + n * HOUR) for n in range(5)]).run()
    (said,) = {each.data.variant for each in found.triggers}
    assert found.triggers[0].data.values == {"text": said, "tier": "t0"}
    assert {each.variant for each in found.decisions} == {said}


def test_a_variant_stays_though_weights_change_but_not_when_it_is_gone() -> None:
    found = world(plays(each=on("Tier Changed") | variants(a=1, b=0))).feed(tier("one")).run()
    for weights, expected in (({"a": 1, "b": 1000}, "a"), ({"b": 1, "c": 0}, "b")):
        other = PlayBook(plays(each=on("Tier Changed") | variants(**weights)))
        found.books[other.version] = other
        at = found.state(0).at
        found.feed(Control(at, "plays", "", other.version), tier(f"then {expected}", at + HOUR)).run()
        assert found.triggers[-1].data.variant == expected


def test_variants_come_as_often_as_their_weights_say() -> None:
    play = PlayBook(plays(each=on("Tier Changed") | variants(a=3, b=1, never=0))).plays["each"]
    found = [governance.variant(play, f"customer-{n}") for n in range(20_000)]
    assert found.count("a") / 20_000 == pytest.approx(0.75, abs=0.01)
    assert found.count("never") == 0


# -- budgets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [0, 1, 3, 6, 9])
def test_a_budget_is_shared_out_and_used_up_exactly(messages: int) -> None:
    crowd = [f"customer-{n}" for n in range(60)]
    file = plays(each=on("Tier Changed") | {"budget": {"messages": messages, "per": "1d"}, "cool_down": "1m"})
    today = T - T % DAY + 12 * HOUR
    found = world(file, *crowd).feed(*[of(each, "gold", today) for each in crowd]).run()
    assert len(found.triggers) == messages
    assert {each.code for each in found.decisions} == {None, "budget"} - ({None} if not messages else set())
    found.feed(*[of(each, "again", today + DAY) for each in crowd]).run()
    assert len(found.triggers) == 2 * messages


def test_who_is_held_out_costs_no_budget() -> None:
    out = customers(True, 0.2)[0]
    play = on("Tier Changed") | {"budget": {"messages": SHARDS, "per": "1d"}, "holdout": 1.0}
    found = world(plays(each=play), out).feed(*[of(out, f"t{n}", T + n * HOUR) for n in range(3)]).run()
    assert told(found) == [("held_out", OF_PLAY)] * 3


# -- plays that compete ------------------------------------------------------------------------------------


def group(window: str | None = None) -> dict[str, Any]:
    return {"caps": [], "groups": {"offers": {} if window is None else {"window": window}}}


def test_of_what_one_touchpoint_wakes_the_best_of_a_group_is_sent() -> None:
    rivals = {
        "low": on("Tier Changed") | {"group": "offers", "priority": 1},
        "high": on("Tier Changed") | {"group": "offers", "priority": 2},
        "other": on("Tier Changed"),
    }
    found = world(plays(group(), **rivals)).feed(tier("gold")).run()
    assert found.told() == [("high", "emitted"), ("low", "arbitration"), ("other", "emitted")]


def test_among_equals_the_worth_decides_and_then_the_name() -> None:
    rivals = {name: on("Tier Changed") | {"group": "offers", "worth": worth} for name, worth in
              (("a", "1"), ("b", "profile.points"), ("c", "1"))}  # fmt: skip
    earned = event(A, "Points Earned", {"points": 7}, T - 1)
    assert world(plays(group(), **rivals)).feed(tier("gold")).run().told()[0] == ("a", "emitted")
    assert world(plays(group(), **rivals)).feed(earned, tier("gold")).run().told()[0] == ("b", "emitted")


def test_who_is_stopped_before_does_not_win() -> None:
    rivals = {
        "high": on("Tier Changed") | {"group": "offers", "priority": 2, "who": "profile.tier == 'nobody'"},
        "low": on("Tier Changed") | {"group": "offers", "priority": 1},
    }
    assert world(plays(group(), **rivals)).feed(tier("gold")).run().told() == [("high", "filter"), ("low", "emitted")]


def test_a_window_waits_for_others_and_then_takes_the_best() -> None:
    rivals = {
        "first": on("Tier Changed") | {"group": "offers", "priority": 1},
        "second": on("Points Earned") | {"group": "offers", "priority": 2},
    }
    found = world(plays(group("10m"), **rivals)).feed(tier("gold"), event(A, "Points Earned", {}, T + 9 * MINUTE)).run()
    assert [(each.play, each.outcome, each.until) for each in found.decisions] == [
        ("first", "held", T + 10 * MINUTE), ("second", "held", T + 10 * MINUTE),
    ]  # fmt: skip
    found.feed(tick(T + 10 * MINUTE)).run()
    assert found.told()[2:] == [("second", "emitted"), ("first", "arbitration")]
    found.feed(event(A, "Points Earned", {}, T + HOUR), tick(T + 2 * HOUR)).run()
    assert found.told()[4:] == [("second", "arbitration"), ("second", "emitted")]


def test_who_has_waited_for_others_can_still_be_held_till_morning_and_waits_for_nobody_again() -> None:
    rivals = {"first": on("Tier Changed") | {"group": "offers"}}
    found = world(plays(night() | group("10m"), **rivals)).feed(tier("gold", NIGHTLY))
    found.feed(tick(NIGHTLY + 11 * MINUTE), tick(MORNING), tick(MORNING + HOUR)).run()
    assert told(found) == [("held", "arbitration"), ("held", "quiet_hours"), ("emitted", None)]
    assert len({each.id for each in found.decisions}) == 1


# -- all of it ---------------------------------------------------------------------------------------------

_ALL = plays(
    {"caps": [{"messages": 2, "within": "1d"}], "quiet_hours": NIGHT, "timezone": "Asia/Shanghai", "holdout": 0.3,
     "groups": {"offers": {"window": "10m"}, "rest": {}}},
    one=on("Tier Changed") | {"group": "offers", "priority": 1, "cool_down": "1h"},
    two=on("Points Earned") | {"group": "offers", "cool_down": "1h", "variants": {"a": {}, "b": {}}},
    three=on("Tier Changed") | {"group": "rest", "budget": {"messages": 4, "per": "1d"}},
    four=on("Tier Changed") | {"group": "rest", "holdout": 0.5},
    left=waiting(),
)  # fmt: skip
happenings = st.lists(
    st.tuples(st.sampled_from(["tier", "points", "cart", "merge"]), st.integers(0, 3), st.integers(0, 3 * 24 * 60)),
    max_size=25,
)


@given(happenings)
@thorough
def test_decisions_reconcile_and_promises_hold_whatever_happens(some: list[tuple[str, int, int]]) -> None:
    """Every decision has one end; caps, quiet hours and holdouts hold; a replay in other batches says the same."""
    crowd = [f"customer-{n}" for n in range(4)]
    found, merged = world(_ALL, *crowd), dict.fromkeys(crowd)
    for version, (kind, who, minute) in enumerate(sorted(some, key=lambda each: each[2]), 10):
        at, customer = T + minute * MINUTE, crowd[who]
        if kind == "merge":
            # In a ring, each once: whoever is merged is not merged again.
            heir = crowd[(who + 1) % 4]
            if merged[customer] is None and merged[heir] is None:
                merged[customer] = heir
                found.merge(customer, heir, version, at)
        else:
            made = {"tier": tier(f"t{version}", at), "points": event(A, "Points Earned", {"points": 1}, at),
                    "cart": checkout("cart", at)}[kind]  # fmt: skip
            found.feed(msgspec.structs.replace(made, customer=customer, eid=token(f"{version}")))
        found.feed(tick(at))
    found.feed(*[tick(T + 4 * DAY + hours * HOUR) for hours in range(24)]).run()
    final: dict[str, list[Decision]] = {}
    for each in found.decisions:
        final.setdefault(each.id, []).append(each)
    held = {each.own for customer in crowd for each in found.profile(customer).held}
    for own_id, decided in final.items():
        ends = [one for one in decided if one.outcome != "held"]
        duplicates = [one for one in ends if one.code in ("duplicate",)]
        assert len(ends) - len(duplicates) == (own_id not in held)
    for trigger in found.triggers:
        local = datetime.fromtimestamp(trigger.data.decided_at / 1000, UTC) + timedelta(hours=8)
        assert 9 <= local.hour < 21
        assert chance.share("holdout", trigger.subject) >= 0.3
    for customer in crowd:
        times = sorted(each.data.decided_at for each in found.triggers if each.subject == customer)
        assert all(later - first >= DAY for first, later in zip(times, times[2:], strict=False))
    assert len({each.id for each in found.triggers}) == len(found.triggers)
    for decision in found.decisions:
        assert reasons.recorded(reasons.again(decision, found.books), decision)
        steps = reasons.checks(decision, found.books)
        assert [each.passed for each in steps if not each.passed] == [False] * (decision.outcome != "emitted")
    assert replayed(found, [3, 1, 7]).everything() == found.everything()
