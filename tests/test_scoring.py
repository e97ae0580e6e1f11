"""Scores, bands and learning examples: at purchases, on the grid, and when the label matures."""

from __future__ import annotations

from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import clv, features, governance
from operators.churn import PRIOR, Model
from operators.scoring import OPEN_EXAMPLES, forget_spent, schedule_grid, schedule_label, treated_between
from schemas.config import Churn
from schemas.outputs import Example
from schemas.plays import PlayFile, QuietHours, Segment
from schemas.stitched import Control, Record, shard_of
from state.behaviour import Behaviour
from state.profile import OpenExample, Profile, Timer
from tests.engage_helpers import (
    DAY,
    MINUTE,
    PLAYS,
    SHARDS,
    A,
    B,
    T,
    World,
    activate,
    config,
    constant_model,
    event,
    living_in,
    ordered,
    reachable,
    replayed,
    signed_up,
    tick,
)

CHURN = Churn()
GRID, HORIZON = 7 * DAY, 28 * DAY


def phase(customer: str, after: int) -> int:
    """The first grid point of a customer after a moment, found step by step."""
    point = crc32(customer.encode()) % GRID
    return point + (after - point) // GRID * GRID + GRID


def days(world: World, *numbers: int) -> World:
    """Daily ticks."""
    return world.feed(*(tick(T + number * DAY) for number in numbers)).run()


# -- the grid ------------------------------------------------------------------------------------------------


@given(st.integers(T, T + 400 * DAY), st.text("abc", min_size=1))
@settings(deadline=None)
def test_the_grid_is_weekly_and_spread_by_customer(at: int, customer: str) -> None:
    profile = Profile(customer, behaviour=Behaviour(recent=[at - DAY]))
    schedule_grid(profile, at, CHURN)
    (timer,) = profile.timers
    assert at < timer.due <= at + GRID
    assert timer == Timer(phase(customer, at), "grid", "")
    schedule_grid(profile, timer.due, CHURN)
    assert profile.timers == [Timer(timer.due + GRID, "grid", "")]


def test_after_long_silence_nobody_is_scored() -> None:
    profile = Profile(A, behaviour=Behaviour(recent=[T]), timers=[Timer(5, "grid", "")])
    schedule_grid(profile, T + 6 * HORIZON, CHURN)
    assert [timer.kind for timer in profile.timers] == ["grid"]
    schedule_grid(profile, T + 6 * HORIZON + 1, CHURN)
    assert profile.timers == []


def test_a_purchase_is_scored_and_puts_the_customer_on_the_grid() -> None:
    world = World().feed(ordered(A, T)).run()
    (score,) = world.written("ts.scores")
    assert (score.customer, score.at, score.at_purchase, score.model) == (A, T, True, PRIOR.hash)
    assert score.probability == PRIOR.probability(features.vector(world.profile(A).behaviour, T))
    assert world.profile(A).timers == [Timer(phase(A, T), "grid", "")]
    assert world.examples(A) == []


def test_a_grid_point_is_scored_and_kept_as_an_example() -> None:
    point = phase(A, T)
    world = World().feed(ordered(A, T), tick(point - 1), tick(point)).run()
    _, score = world.written("ts.scores")
    assert (score.at, score.at_purchase) == (point, False)
    behaviour = world.profile(A).behaviour
    vector, outlooks = features.vector(behaviour, point), clv.outlooks(behaviour, point, 28)
    assert world.examples(A) == [
        OpenExample(
            point, vector, features.VERSION, score.probability, PRIOR.hash, A, [], T, score.lapse, outlooks, 1_000
        )
    ]
    due = sorted((timer.kind, timer.due) for timer in world.profile(A).timers)
    assert due == [("grid", point + GRID), ("label", point + HORIZON)]


def test_a_late_tick_scores_as_of_now() -> None:
    """What happened between grid point and tick is in the features, so the label must not count it."""
    point = phase(A, T)
    world = World().feed(ordered(A, T), ordered(A, point + MINUTE), tick(point + 2 * MINUTE)).run()
    (example,) = world.examples(A)
    assert example.time == point + 2 * MINUTE
    world.feed(*(tick(example.time + number * DAY) for number in range(40))).run()
    assert world.written("ts.churn.examples")[0].label is True


def test_an_order_does_not_push_a_grid_point_aside() -> None:
    point = phase(A, T)
    world = World().feed(ordered(A, T), ordered(A, point + MINUTE)).run()
    assert world.profile(A).timers == [Timer(point, "grid", "")]


# -- labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "label"), [(None, True), (0, True), (1, False), (HORIZON, False), (HORIZON + 1, True)]
)
def test_an_example_is_released_after_the_horizon_whatever_its_label(again: int | None, label: bool) -> None:
    point = phase(A, T)
    world = World().feed(ordered(A, T), tick(point)).run()
    if again is not None:
        world.feed(ordered(A, point + again)).run()
    world.feed(tick(point + HORIZON - 1)).run()
    assert world.written("ts.churn.examples") == []
    world.feed(tick(point + HORIZON)).run()
    (example,) = world.written("ts.churn.examples")
    assert (example.time, example.label, example.at) == (point, label, max(point + HORIZON, point + (again or 0)))
    assert (example.id, example.customer) == (f"{A}/{point}", A)
    assert example.features_version == features.VERSION
    assert example.model == PRIOR.hash
    (output,) = (each for each in world.everything() if each.topic == "ts.churn.examples")
    assert output.partition == 0


def test_every_grid_point_gets_its_label_once() -> None:
    world = days(World().feed(ordered(A, T), ordered(B, T)), *range(1, 300))
    examples = world.written("ts.churn.examples")
    released = {(example.customer, example.time) for example in examples}
    scored = {(score.customer, score.at) for score in world.written("ts.scores") if not score.at_purchase}
    assert released == scored
    assert len(examples) == len(released)
    assert {customer for customer, _ in released} == {A, B}
    assert world.timers == [{}] * SHARDS
    assert world.examples(A) == world.examples(B) == []


def test_open_examples_are_bounded() -> None:
    world = World()
    shard, examples = world.shards[0], list[OpenExample]()
    for n in range(12):
        world.engage._scorer.score(shard, Profile(A), T + n, examples)
    assert [example.time for example in examples] == [T + n for n in range(12 - OPEN_EXAMPLES, 12)]


def test_a_label_timer_goes_with_its_last_example() -> None:
    profile = Profile(A)
    examples = [OpenExample(T + n, [], "v", 0.5, "m", A) for n in (1, 2)]
    schedule_label(profile, examples, CHURN)
    assert profile.timers == [Timer(T + 1 + HORIZON, "label", "")]
    schedule_label(profile, [], CHURN)
    assert profile.timers == []


# -- value ---------------------------------------------------------------------------------------------------


def test_a_score_says_what_a_customer_is_worth() -> None:
    world = World().feed(ordered(A, T)).run()
    (score,) = world.written("ts.scores")
    (patient, _) = clv.outlooks(world.profile(A).behaviour, T, 28)
    assert score.clv == round(patient, 2) > 0
    assert world.profile(A).value == round(patient * 100)


def test_what_is_spent_after_a_grid_point_teaches_what_to_expect() -> None:
    point = phase(A, T)
    world = World().feed(ordered(A, T), tick(point)).run()
    (example,) = world.examples(A)
    world.feed(ordered(A, point + DAY), tick(point + HORIZON)).run()
    expected = clv.Worth()
    expected.learn(example.outlooks, 10.0)
    assert world.state(shard_of(A, SHARDS)).worth == expected


def test_a_merge_leaves_nothing_to_compare_with_what_was_expected() -> None:
    examples = [OpenExample(T, [], "v", 0.5, "m", A, outlooks=(1.0, 2.0), spent=5)]
    forget_spent(examples)
    world = World()
    shard = world.shards[0]
    world.engage._scorer.mature(shard, Profile(A), examples, T + HORIZON, world.engage._book(shard))
    assert len(shard.outbox) == 1
    assert shard.state.worth == clv.Worth()


# -- models and bands ----------------------------------------------------------------------------------------


def scored(*logits: float, warm: bool = True) -> World:
    """Customer A buys once for each logit, a day apart, under a model that answers it."""
    world = World().feed(*reachable(A, T - DAY))
    for n, logit in enumerate(logits):
        name = f"model{n}"
        world.models[name] = constant_model(logit, name)
        world.feed(activate(name, T + n * DAY), ordered(A, T + n * DAY))
    return world.run()


#: Log-odds of 0.1, 0.77 (high is left below 0.75), 0.7 and 0.9.
LOW, STILL_HIGH, MEDIUM, HIGH = -2.2, 1.208, 0.85, 2.2


def test_a_model_counts_from_its_control_record_on() -> None:
    world = World()
    world.models.update(one=constant_model(LOW, "one"), two=constant_model(HIGH, "two"))
    world.feed(ordered(A, T), activate("one"), ordered(A, T + 1), activate("two"), ordered(A, T + 2)).run()
    assert [(score.model, score.band) for score in world.written("ts.scores")] == [
        (PRIOR.hash, "high"),
        ("one", "low"),
        ("two", "high"),
    ]
    assert world.state(0).models == {"default": "two"}
    assert world.counts["activations"] == 2 * SHARDS


@pytest.mark.parametrize(
    ("logits", "bands", "warnings"),
    [
        ([LOW, HIGH], "low high", 1),
        ([MEDIUM, HIGH], "medium high", 1),
        ([HIGH, HIGH], "high high", 0),
        ([LOW, HIGH, STILL_HIGH, HIGH, STILL_HIGH], "low high high high high", 1),
        ([LOW, MEDIUM, STILL_HIGH], "low medium medium", 0),
    ],
)
def test_a_band_that_rises_to_high_warns_once(logits: list[float], bands: str, warnings: int) -> None:
    world = scored(*logits)
    assert " ".join(score.band for score in world.written("ts.scores")) == bands
    assert world.told() == [("churn_warning", "emitted")] * warnings
    if warnings:
        (trigger,) = world.triggers
        assert trigger.data.score == pytest.approx(0.9, abs=0.01)
        assert (trigger.data.touchpoint_ts, trigger.data.touchpoint) == (0, f"score:{trigger.data.touchpoint_time}")


@pytest.mark.parametrize("night", [None, QuietHours(start="08:00", end="10:00")], ids=["at once", "held"])
def test_a_warning_gives_the_reasons_of_its_score(night: QuietHours | None) -> None:
    file = msgspec.structs.replace(PLAYS, limits=msgspec.structs.replace(PLAYS.limits, quiet_hours=night))
    world = World(plays=file).feed(*reachable(A, T - DAY), activate("low"), ordered(A, T), activate("high"))
    slopes = {"orders_slow": 0.5, "gap": -0.1, "basket": 0.01, "tenure": 0.001}
    terms = tuple((0.0, slopes.get(name, 0.0)) for name in features.FEATURES)
    world.models.update(low=constant_model(LOW, "low"), high=Model("high", PRIOR.features_version, HIGH, terms))
    world.feed(ordered(A, T + MINUTE), tick(T + 120 * MINUTE)).run()
    (trigger,), (_, score) = world.triggers, world.written("ts.scores")[:2]
    assert trigger.data.reasons == score.reasons
    assert list(score.reasons) == ["orders_slow", "gap", "basket"]
    assert [term > 0 for term in score.reasons.values()] == [True, False, True]


def test_a_band_that_rises_again_is_stopped_by_the_cool_down() -> None:
    assert scored(LOW, HIGH, MEDIUM, HIGH).told() == [("churn_warning", "emitted"), ("churn_warning", "cool_down")]


def test_the_grid_warns_too() -> None:
    world = World().feed(*reachable(A, T - DAY), activate("low"), ordered(A, T), activate("high"))
    world.models.update(low=constant_model(LOW, "low"), high=constant_model(HIGH, "high"))
    days(world, *range(1, 9))
    assert world.told() == [("churn_warning", "emitted")]


BUYERS = msgspec.structs.replace(PLAYS, segments={"buyers": Segment(who="profile.orders > 0")})
KEYED = config(churn=Churn(keys=("country", "segment:buyers")))


def keyed(*active: str) -> World:
    """Customer A, a buyer of CN, under a model of each of these keys."""
    world = World(KEYED, plays=BUYERS)
    for n, key in enumerate(active):
        world.models[f"model{n}"] = constant_model(LOW, f"model{n}")
        world.feed(Control(T, "model", key, f"model{n}"))
    return world.feed(signed_up(A), ordered(A, T + 1), ordered(A, T + 2)).run()


@pytest.mark.parametrize(
    ("active", "answers"),
    [
        ([], "prior"),
        (["country=DE"], "prior"),
        (["default"], "default"),
        (["default", "country=CN"], "country=CN"),
        (["default", "country=CN,segment=buyers"], "country=CN,segment=buyers"),
        (["country=CN,segment=buyers", "country=CN", "default"], "country=CN,segment=buyers"),
        (["segment=buyers"], "prior"),
    ],
)
def test_the_narrowest_key_with_a_model_answers_and_the_score_says_so(active: list[str], answers: str) -> None:
    world = keyed(*active)
    *_, score = world.written("ts.scores")
    assert score.key == answers
    assert score.model == (f"model{active.index(answers)}" if answers in active else PRIOR.hash)


def test_examples_are_for_the_keys_that_the_customer_had_at_its_grid_point() -> None:
    world = keyed()
    point = phase(A, T)
    world.feed(tick(point), event(A, "Signed Up", {"country": "DE"}, point + 1), tick(point + HORIZON)).run()
    (example, *_) = world.written("ts.churn.examples")
    assert example.keys == ["country=CN", "country=CN,segment=buyers"]


# -- the other target ----------------------------------------------------------------------------------------


def test_a_lapse_is_nearer_than_a_silence_of_a_whole_horizon() -> None:
    """By the prior: so probable as orders are rare, for as long as is left of the horizon since the last one."""
    point = phase(A, T)
    world = World().feed(ordered(A, T), tick(point)).run()
    at_once, later = world.written("ts.scores")
    assert (at_once.lapse, at_once.lapse_key) == (at_once.probability, "prior")
    assert later.lapse == later.probability ** ((T + HORIZON - point) / HORIZON) > later.probability


def test_a_learned_model_says_whether_the_gap_becomes_a_lapse() -> None:
    world = keyed("default", "gap:default", "gap:country=CN")
    world.models["model2"] = constant_model(HIGH, "model2")
    *_, score = world.feed(ordered(A, T + 3)).run().written("ts.scores")
    assert (score.key, score.lapse_key) == ("default", "country=CN")
    assert score.probability < 0.2 < 0.8 < score.lapse


@pytest.mark.parametrize(
    ("again", "lapsed", "label"),
    [(None, True, True), (-1, False, False), (0, False, False), (1, True, False)],
)
def test_an_example_says_whether_the_gap_of_then_became_a_lapse(again: int | None, lapsed: bool, label: bool) -> None:
    """``again``: the next order, this long after the horizon since the last one."""
    point = phase(A, T)
    world = World().feed(ordered(A, T), tick(point)).run()
    if again is not None:
        world.feed(ordered(A, T + HORIZON + again)).run()
    example = matured(world)
    assert (example.lapsed, example.label) == (lapsed, label)
    assert example.lapse == world.written("ts.scores")[1].lapse


def test_of_a_gap_that_is_a_lapse_already_nothing_is_said() -> None:
    world = days(World().feed(ordered(A, T)), *range(1, 80))
    scores = [each for each in world.written("ts.scores") if each.at - T > HORIZON]
    assert scores and {(score.lapse, score.lapse_key) for score in scores} == {(None, "")}
    late = [each for each in world.written("ts.churn.examples") if each.time - T > HORIZON]
    assert late and {(each.lapsed, each.lapse) for each in late} == {(None, None)}


def test_scores_say_where_the_customer_stands() -> None:
    world = World().feed(activate("low"))
    world.models["low"] = constant_model(LOW, "low")
    for n in range(200):
        world.feed(ordered(living_in(0, f"crowd-{n}"), T, revenue=float(n)))
    world.feed(ordered(A, T, revenue=500.0), *(tick(T + day * DAY) for day in range(8)))
    world.feed(ordered(A, T + 8 * DAY, revenue=500.0)).run()
    first = next(each for each in world.written("ts.scores") if each.customer == A)
    last = [each for each in world.written("ts.scores") if each.customer == A][-1]
    assert (first.rfm, first.rfm_segment, first.stage, first.high_potential) == ("", "", "new", False)
    assert (last.rfm, last.rfm_segment, last.stage, last.high_potential) == ("5-5-5", "champion", "active", True)
    assert {score.stage for score in world.written("ts.scores")} == {"new", "active"}


# -- messages ------------------------------------------------------------------------------------------------


def warned(**warning: object) -> PlayFile:
    """The plays, of which the warning is another."""
    changed = msgspec.structs.replace(PLAYS.plays["churn_warning"], **warning)
    return msgspec.structs.replace(PLAYS, plays={**PLAYS.plays, "churn_warning": changed})


def messaged(at: int, plays: PlayFile = PLAYS) -> World:
    """Customer A has an open example from its first grid point on, and is warned ``at`` an order, if it is at all."""
    point = phase(A, T)
    world = World(plays=plays).feed(*reachable(A, T - DAY), activate("low"), ordered(A, T))
    world.models.update(low=constant_model(LOW, "low"), high=constant_model(HIGH, "high"))
    moments: list[tuple[int, list[Record]]] = [(point, [tick(point)]), (at, [activate("high", at), ordered(A, at)])]
    return world.feed(*[record for _, records in sorted(moments) for record in records]).run()


def matured(world: World) -> Example:
    """The example of A's first grid point."""
    point = phase(A, T)
    world.feed(*(tick(point + HORIZON + day * DAY) for day in range(3))).run()
    examples: dict[int, Example] = {each.time: each for each in world.written("ts.churn.examples")}
    return examples[point]


@pytest.mark.parametrize(("after", "treated"), [(-1, False), (1, True), (HORIZON, True), (HORIZON + 1, False)])
def test_an_example_says_whether_a_message_came_within_its_horizon(after: int, treated: bool) -> None:
    world = messaged(phase(A, T) + after)
    assert len(world.triggers) == 1
    example = matured(world)
    assert (example.treated, example.held_out) == (treated, False)


@pytest.mark.parametrize(
    ("warning", "treated"),
    [({"category": "service"}, False), ({"treats": False}, False), ({"category": "care", "treats": True}, True)],
)
def test_a_play_says_whether_it_treats_and_those_of_marketing_do(warning: dict[str, object], treated: bool) -> None:
    world = messaged(phase(A, T) + 1, warned(**warning))
    assert len(world.triggers) == 1
    assert matured(world).treated is treated


def test_who_is_held_out_of_all_plays_is_never_treated() -> None:
    file = msgspec.structs.replace(PLAYS, limits=msgspec.structs.replace(PLAYS.limits, holdout=1.0))
    world = messaged(phase(A, T) + 1, file)
    assert [decision.code for decision in world.decisions] == ["holdout_global"]
    example = matured(world)
    assert (example.treated, example.held_out) == (False, True)


def test_messages_to_whom_was_merged_count_for_who_survives() -> None:
    """And its examples follow it; what came to it before does not go away with a split."""
    point = phase(A, T)
    world = messaged(point + 1)
    world.merge(A, B, 5, at=point + 2).run()
    assert world.profile(B).treatments == [point + 1]
    example = matured(world)
    assert (example.customer, example.treated) == (B, True)


def test_of_many_messages_the_latest_are_remembered() -> None:
    profile = Profile(A)
    for n in range(20):
        governance.treated(profile, [T + n])
    governance.treated(profile, [T + 19, T + 18])
    assert profile.treatments == [T + n for n in range(20 - governance.KEPT_TREATMENTS, 20)]
    # So many since, that what was before them is not known: then there will have been one.
    assert treated_between(profile.treatments, T - 10, T)
    assert not treated_between(profile.treatments, T + 19, T + 30)
    assert not treated_between(profile.treatments[1:], T - 10, T)


def test_an_old_purchase_starts_nothing() -> None:
    world = World().feed(*reachable(A, T - DAY), activate("low"), ordered(A, T), activate("high"))
    world.models.update(low=constant_model(LOW, "low"), high=constant_model(HIGH, "high"))
    world.feed(ordered(A, T + 1, at=T + 61 * MINUTE)).run()
    assert world.profile(A).band == "high"
    assert world.told() == []


def test_a_replay_activates_at_the_same_point() -> None:
    world = days(scored(LOW, HIGH, MEDIUM), *range(1, 60))
    assert replayed(world, [50, 1]).outputs == world.outputs


@given(st.lists(st.integers(0, 90 * DAY), min_size=1, max_size=12), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_labels_are_true(orders: list[int], every: int) -> None:
    """Against the orders themselves: eight are remembered, so few enough of them are exact."""
    orders = sorted(set(orders))[:8]
    world, end = World(), 200
    moments = [(T + order, 0) for order in orders] + [(T + day * DAY, 1) for day in range(0, end, every)]
    for time, is_tick in sorted(moments):
        world.feed(tick(time) if is_tick else ordered(A, time))
    world.run()
    for example in world.written("ts.churn.examples"):
        bought = any(example.time < T + order <= example.time + HORIZON for order in orders)
        assert example.label is not bought
