"""Goals through the whole core: each emitted or held-out decision has one outcome, whatever happens to its customer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.outcomes import KEPT_GOALS
from operators.playbook import PlayBook
from schemas.outputs import Outcome
from schemas.stitched import Change, Control
from tests.effort import examples
from tests.engage_helpers import DAY, A, B, T, World, event, replayed, tick, token, viewed
from tests.test_limits import customers, of, reachable_ids
from tests.test_plays import HOUR, on, order, plays, tier, world
from tests.test_undo import shown, split

GOAL = {"goal": {"event": {"event": "Order Completed"}, "within": "14d"}}
END = T + 14 * DAY
EACH = plays(each=on("Tier Changed") | GOAL)


def outcomes(found: World) -> list[Outcome]:
    return found.run().written("ts.outcomes")


def said(found: World) -> list[tuple[bool, int, float]]:
    return [(each.converted, each.times, each.revenue) for each in outcomes(found)]


# -- what reaches a goal -----------------------------------------------------------------------------------


def test_what_converts_is_written_when_the_window_closes() -> None:
    found = world(EACH).feed(tier("gold"), order("one", T + HOUR, 19.5), order("two", T + DAY, 5.0), tick(END - 1))
    assert outcomes(found) == []
    (decision,) = found.decisions
    (outcome,) = outcomes(found.feed(tick(END), tick(END + DAY)))
    assert outcome == Outcome(
        id=decision.id, play="each", play_version=decision.play_version, customer=A, outcome="emitted",
        decided_at=T, until=END, at=END, converted=True, channel="sms", converted_at=T + HOUR, after=HOUR, times=2,
        revenue=24.5,
    )  # fmt: skip
    assert found.profile(A).goals == []
    assert [timer.kind for timer in found.profile(A).timers if timer.kind == "goal"] == []
    assert found.counts["outcome/each/converted"] == 1


def test_what_does_not_convert_is_written_at_the_same_time() -> None:
    (outcome,) = outcomes(world(EACH).feed(tier("gold"), viewed(A, "tea", T + HOUR), tick(END)))
    assert (outcome.converted, outcome.converted_at, outcome.after, outcome.times) == (False, None, None, 0)
    assert msgspec.json.decode(msgspec.json.encode(outcome))["converted"] is False


@pytest.mark.parametrize(
    ("time", "converted"), [(T - 1, False), (T, False), (T + 1, True), (END, True), (END + 1, False)]
)
def test_only_what_happens_after_the_decision_and_within_the_window_counts(time: int, converted: bool) -> None:
    """By event time: it may arrive in any order."""
    late = msgspec.structs.replace(order("one", time, 1.0), at=max(time, T + 2 * DAY))
    assert said(world(EACH).feed(tier("gold"), late, tick(END)))[0][0] is converted


def test_the_first_conversion_is_the_first_by_event_time() -> None:
    late = msgspec.structs.replace(order("one", T + HOUR, 1.0), at=T + 2 * DAY)
    (outcome,) = outcomes(world(EACH).feed(tier("gold"), order("two", T + DAY, 1.0), late, tick(END)))
    assert (outcome.after, outcome.times) == (HOUR, 2)


def test_a_goal_has_a_filter_and_says_what_it_brings() -> None:
    goal = {"event": {"event": ["Product Added", "Checkout Started"], "where": "event.value > 10"}, "within": "1d"}
    file = plays(each=on("Tier Changed") | {"goal": goal | {"revenue": "event.value * 2"}})
    carts = [event(A, "Product Added", {"value": value}, T + HOUR + n) for n, value in enumerate((5.0, 11.0, 12.0))]
    found = world(file).feed(tier("gold"), *carts, order("one", T + HOUR, 99.0), tick(T + DAY))
    assert said(found) == [(True, 2, 46.0)]


@pytest.mark.parametrize(("revenue", "expected"), [("event.nothing", None), ("1 / 0", 0.0), ("1e15 * 1e15", 0.0)])
def test_revenue_that_is_missing_or_absurd_is_none(revenue: str, expected: float | None) -> None:
    goal = {"goal": GOAL["goal"] | {"revenue": revenue}}
    if expected is None:
        with pytest.raises(Exception, match=r"goal.revenue"):
            plays(each=on("Tier Changed") | goal)
    else:
        found = world(plays(each=on("Tier Changed") | goal)).feed(tier("gold"), order("one", T + 1, 9.0), tick(END))
        assert said(found) == [(True, 1, expected)]


def test_a_goal_can_ask_for_the_key_of_the_decision() -> None:
    goal = {"event": {"event": "Order Completed", "by": "event.skus"}, "within": "14d"}
    file = plays(each=on("Product Viewed", by="event.product.sku") | {"goal": goal})
    found = world(file).feed(viewed(A, "tea", T), viewed(A, "cup", T + HOUR), order("one", T + DAY, 1.0, "mug", "cup"))
    assert [each.converted for each in outcomes(found.feed(tick(END + HOUR)))] == [False, True]


def test_each_decision_has_an_outcome_of_its_own_and_what_is_stopped_has_none() -> None:
    file = plays(each=on("Tier Changed") | GOAL | {"cool_down": "2d"}, other=on("Tier Changed"))
    some = [tier(f"tier{n}", T + n * DAY) for n in range(4)]
    found = world(file).feed(*some, order("one", T + DAY, 1.0), tick(T + 20 * DAY)).run()
    goals = {each.id: each.converted for each in outcomes(found)}
    sent = [each.id for each in found.decisions if each.play == "each" and each.outcome == "emitted"]
    assert goals == {sent[0]: True, sent[1]: False}


def test_who_is_sent_nothing_and_kept_for_no_comparison_has_no_outcome() -> None:
    found = world(plays(each=on("Tier Changed") | GOAL | {"mode": "shadow"})).feed(tier("gold"), tick(END))
    assert (found.run().decisions[0].outcome, outcomes(found)) == ("shadow", [])


def test_a_goal_that_cannot_be_evaluated_is_not_reached_and_harms_nothing_else() -> None:
    def fails(*given: object) -> bool:
        raise OverflowError

    found = world(EACH)
    (book,) = found.books.values()
    play = book.plays["each"]
    assert play.goal is not None
    broken = play._replace(goal=play.goal._replace(where=fails))
    book.plays["each"] = broken
    book.reactions["Tier Changed"] = [each._replace(play=broken) for each in book.reactions["Tier Changed"]]
    found.feed(tier("gold"), order("one", T + HOUR, 1.0), tick(END))
    assert said(found) == [(False, 0, 0.0)]


def test_what_was_held_counts_from_when_it_is_sent() -> None:
    limits = {"caps": [], "quiet_hours": {"start": "08:00", "end": "12:00"}}
    found = world(plays(limits, each=on("Tier Changed") | GOAL)).feed(tier("gold"), order("one", T + 1, 1.0))
    sent = T - T % DAY + 12 * HOUR
    assert sent > T
    assert found.run().profile(A).goals == []
    assert said(found.feed(tick(sent), tick(sent + 14 * DAY))) == [(False, 0, 0.0)]


def test_who_is_held_out_has_an_outcome_and_who_was_sent_it_before_is_flagged() -> None:
    limits = {"caps": [], "holdout": 0.2}
    play = on("Tier Changed") | GOAL | {"variants": {"a": {}, "b": {}}}
    (into, _), (out, _) = customers(False, 0.2), customers(True, 0.2)
    found = world(plays(limits, each=play), into, out).feed(of(into, "one"), of(out, "one")).run()
    found.merge(out, into, 10, T + HOUR).run().feed(of(into, "two", T + DAY), tick(T + 16 * DAY))
    told = [(each.outcome, each.treated, each.variant is not None) for each in outcomes(found)]
    assert Counter(told) == {("emitted", False, True): 1, ("held_out", False, True): 1, ("held_out", True, True): 1}


def test_the_goal_of_a_play_that_is_gone_stays_as_it_was_and_of_one_that_changed_goes_by_the_new() -> None:
    other = PlayBook(plays(changed=on("Tier Changed") | {"goal": {"event": {"event": "Signed Up"}, "within": "1d"}}))
    found = world(plays(gone=on("Tier Changed") | GOAL, changed=on("Tier Changed") | GOAL))
    found.books[other.version] = other
    found.feed(tier("gold"), order("one", T + 1, 2.0), Control(T + 2, "plays", "", other.version))
    found.feed(order("two", T + HOUR, 3.0), event(A, "Signed Up", {}, T + 2 * DAY, at=T + 2 * DAY), tick(END))
    assert {each.play: (each.times, each.revenue) for each in outcomes(found)} == {
        "gone": (1, 2.0),
        "changed": (2, 2.0),
    }


def test_so_many_goals_are_open_and_what_is_too_much_is_closed_as_not_observed() -> None:
    found = world(EACH).feed(*[tier(f"tier{n}", T + n * HOUR) for n in range(KEPT_GOALS + 3)]).run()
    assert len(found.profile(A).goals) == KEPT_GOALS
    early = outcomes(found)
    assert [(each.decided_at, each.observed, each.converted) for each in early] == [
        (T + n * HOUR, False, False) for n in range(3)
    ]  # fmt: skip
    assert found.counts["outcome/each/not_observed"] == 3
    found.feed(tick(END + DAY)).run()
    closed = outcomes(found)
    assert sorted(each.id for each in closed) == sorted(each.id for each in found.decisions)
    assert sum(each.observed for each in closed) == KEPT_GOALS


# -- merges, splits, erasures ------------------------------------------------------------------------------


def test_goals_go_along_when_customers_merge_and_an_order_of_either_reaches_them() -> None:
    found = world(EACH, A, B).feed(tier("gold"), of(B, "silver", T + 1)).run().merge(A, B, 10, T + 2).run()
    found.feed(msgspec.structs.replace(order("one", T + DAY, 1.0), customer=B), tick(END + 1))
    assert [(each.customer, each.converted) for each in outcomes(found)] == [(B, True), (B, True)]
    assert {each.id for each in outcomes(found)} == {each.id for each in found.decisions}


def test_when_customers_part_each_has_its_own_goals_and_the_common_stay() -> None:
    found = world(EACH, A, B).feed(tier("gold"), of(B, "silver", T + 1)).run().merge(A, B, 10, T + 2).run()
    found.feed(shown(of(B, "common", T + 2 * HOUR), *reachable_ids(B)))
    bought = shown(msgspec.structs.replace(order("one", T + DAY, 1.0), customer=B), *reachable_ids(A))
    split(found.feed(bought), B, A, reachable_ids(A), 11, T + 2 * DAY)
    found.run().feed(tick(END + DAY))
    assert {(each.customer, each.decided_at): each.converted for each in outcomes(found)} == {
        (A, T): True,  # the order was its own
        (B, T + 1): False,
        (B, T + 2 * HOUR): True,  # they were one then
    }
    assert len(outcomes(found)) == 3


def test_what_has_closed_does_not_close_again_when_customers_part() -> None:
    found = world(EACH, A, B).feed(tier("gold"), of(B, "silver", T + 1)).run().merge(A, B, 10, T + 2).run()
    found.feed(tick(END + 1)).run()
    split(found, B, A, reachable_ids(A), 11, END + 2)
    found.run().feed(tick(END + DAY))
    assert len(outcomes(found)) == 2


def test_a_merge_leaves_no_more_open_than_are_kept() -> None:
    found = world(EACH, A, B)
    for each in (A, B):
        found.feed(*[of(each, f"tier{n}", T + n * HOUR) for n in range(KEPT_GOALS - 5)])
    found.run().merge(A, B, 10, T + DAY).run()
    assert len(found.profile(B).goals) == KEPT_GOALS
    assert [each.observed for each in outcomes(found)] == [False] * (KEPT_GOALS - 10)
    found.feed(tick(END + DAY)).run()
    assert Counter(each.id for each in outcomes(found)) == Counter(each.id for each in found.decisions)


def erased(customer: str, at: int) -> Change:
    return Change(at, token(f"erased {customer}"), "erased", customer, 20, at)


def test_goals_of_an_erased_customer_are_dropped_and_counted() -> None:
    found = world(EACH, A, B).feed(tier("gold"), of(B, "gold", T + 1), erased(A, T + 2)).run()
    assert found.written("ts.audit")[0].counts["open_goals"] == 1
    found.feed(erased(B, T + 3)).merge(B, A, 30, T + 4).run().feed(tick(END + DAY))
    assert outcomes(found) == []
    assert found.counts["outcome/each/erased"] == 2


def test_what_comes_to_an_erased_customer_is_counted_too() -> None:
    found = world(EACH, A, B).feed(tier("gold"), erased(B, T + 1)).run().merge(A, B, 30, T + 2).run()
    assert found.feed(tick(END)).run().counts["outcome/each/erased"] == 1
    assert outcomes(found) == []


acts = st.lists(
    st.tuples(st.sampled_from(["decide", "order", "merge", "split", "tick"]), st.booleans(), st.integers(1, 96)),
    max_size=25,
)


@given(acts, st.lists(st.integers(1, 6), max_size=10))
@settings(max_examples=examples(150), deadline=None)
def test_every_decision_has_one_outcome_whatever_is_merged_and_split(some: Any, splits: list[int]) -> None:
    file = plays(each=on("Tier Changed") | {"goal": GOAL["goal"] | {"within": "3d"}, "holdout": 0.3})
    found, at, apart, version = world(file, A, B).run(), T, True, 10
    for n, (what, first, hours) in enumerate(some):
        at, version = at + hours * HOUR, version + 1
        customer = A if first and apart else B
        ids = reachable_ids(A if first else B)
        if what == "decide":
            found.feed(shown(of(customer, f"tier{n}", at), *ids))
        elif what == "order":
            found.feed(shown(msgspec.structs.replace(order(f"o{n}", at, 1.0), customer=customer), *ids))
        elif what == "tick":
            found.feed(tick(at))
        elif what == "merge" and apart:
            found.run().merge(A, B, version, at)
            apart = False
        elif what == "split" and not apart:
            split(found, B, A, reachable_ids(A), version, at)
            apart = True
        found.run()
    found.feed(tick(at + 30 * DAY)).run()
    sent = [each.id for each in found.decisions if each.outcome in ("emitted", "held_out")]
    assert Counter(each.id for each in outcomes(found)) == Counter(sent)
    assert all(each.observed for each in outcomes(found)) or len(sent) > KEPT_GOALS
    assert replayed(found, splits).everything() == found.everything()
