"""Variants chosen by what came of earlier decisions: draws, what is learned, and the way between."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from operators import reasons
from operators.bandit import EXPLORED, choose
from operators.beliefs import Beliefs
from operators.shard import ShardState, arms_of
from schemas.outputs import Outcome
from schemas.plays import Variant
from schemas.stitched import Control
from tests.engage_helpers import DAY, SHARDS, A, B, T, World, event, ordered, replayed, tick
from tests.test_plays import HOUR, plays, tier, world

TWO = {"a": Variant(offer="discount"), "b": Variant(offer="gift")}


def chosen(arms: Any, refused: Any, many: int = 4_000) -> Counter[str | None]:
    """What decisions that are not drawn evenly say."""
    found = [choose(TWO, arms, refused, f"decision {n}") for n in range(many)]
    return Counter(name for name, evenly in found if not evenly)


def test_the_better_one_is_said_more_often_and_the_unknown_is_tried() -> None:
    better = chosen({"a": (5, 95), "b": (25, 75)}, {})
    assert better["b"] > 50 * better["a"]
    unknown = chosen({"a": (50, 950)}, {})
    assert unknown["b"] > 10 * unknown["a"] > 0
    even = chosen({}, {})
    assert abs(even["a"] - even["b"]) < 300


def test_an_offer_that_was_refused_is_tried_less_by_that_customer() -> None:
    counts = [chosen({"a": (30, 70), "b": (30, 70)}, {"discount": times})["a"] for times in range(3)]
    assert counts[0] > 1.5 * counts[1] > 0
    assert counts[2] < 0.05 * counts[0]


def test_a_tenth_is_drawn_evenly_whatever_is_known() -> None:
    found = [choose(TWO, {"a": (0, 1_000), "b": (900, 100)}, {"gift": 0}, f"{n}") for n in range(20_000)]
    evenly = Counter(name for name, explored in found if explored)
    assert abs(evenly.total() / 20_000 - EXPLORED) < 0.01
    assert abs(evenly["a"] / evenly.total() - 0.5) < 0.04


def test_the_same_decision_draws_the_same() -> None:
    arms = {"a": (3, 9), "b": (4, 8)}
    assert len({choose(TWO, arms, {}, "one") for _ in range(5)}) == 1


def outcome(n: int, variant: str | None = "a", **more: Any) -> Outcome:
    given: dict[str, Any] = {"outcome": "emitted", "converted": False, "explored": False} | more
    return Outcome(f"d{n}", "offer", "v", A, decided_at=T, until=T + DAY, at=T + DAY, variant=variant, **given)


def test_both_classes_are_learned_of_what_was_sent_and_watched() -> None:
    beliefs = Beliefs()
    some = [outcome(0, converted=True), outcome(1), outcome(2), outcome(3, "b", explored=True)]
    ignored = [
        outcome(4, outcome="held_out"), outcome(5, observed=False), outcome(6, explored=None), outcome(7, None),
    ]  # fmt: skip
    for each in [*some, *ignored]:
        beliefs.learn(each)
    assert list(beliefs.due(T, 1_000)) == [("offer", {"a": (1, 2), "b": (0, 1)})]


def test_what_is_believed_is_published_when_it_is_news_and_not_too_often() -> None:
    beliefs = Beliefs()
    assert list(beliefs.due(T, 1_000)) == []
    beliefs.learn(outcome(0))
    assert len(list(beliefs.due(T, 1_000))) == 1
    assert list(beliefs.due(T + 5_000, 1_000)) == []
    beliefs.learn(outcome(1))
    again = Beliefs.from_bytes(beliefs.to_bytes())
    assert again.to_bytes() == beliefs.to_bytes()
    for each in (beliefs, again):
        assert list(each.due(T + 999, 1_000)) == []
        assert list(each.due(T + 1_000, 1_000)) == [("offer", {"a": (0, 2)})]


def test_what_partitions_say_adds_up_and_the_latest_of_each_counts() -> None:
    state = ShardState(bandits={"offer": {0: {"a": (1, 2)}, 3: {"a": (4, 0), "b": (1, 1)}}})
    assert arms_of(state, "offer") == {"a": (5, 2), "b": (1, 1)}
    assert arms_of(state, "other") == {}


PLAY = {
    "when": {"event": {"event": "Tier Changed"}},
    "goal": {"event": {"event": "Order Completed"}, "within": "1d"},
    "choose": "bandit",
    "variants": {"a": {"offer": "discount", "values": {"text": "a"}}, "b": {"offer": "gift", "values": {"text": "b"}}},
}


def belief(at: int, part: int, **arms: tuple[int, int]) -> Control:
    return Control(at, "bandit", "offer", part=part, arms=arms)


def test_decisions_go_by_what_was_believed_then_and_can_be_taken_again() -> None:
    found = world(plays(offer=PLAY)).feed(tier("first"), belief(T + 1, 0, a=(0, 50)), belief(T + 2, 1, b=(50, 0)))
    found.feed(*[tier(f"t{n}", T + n * HOUR) for n in range(1, 40)]).run()
    first, *later = found.decisions
    assert first.explored is not None
    assert first.grounds is not None and first.grounds.arms == {}
    assert all(each.grounds and each.grounds.arms == {"a": (0, 50), "b": (50, 0)} for each in later)
    assert {each.variant for each in later if each.explored is False} == {"b"}
    assert {each.variant for each in later if each.explored} <= {"a", "b"}
    assert [each.data.values["text"] for each in found.triggers] == [each.variant for each in found.decisions]
    assert all(reasons.recorded(reasons.again(each, found.books), each) for each in found.decisions)
    said = [each.text for each in reasons.checks(later[0], found.books) if each.step == "variant"]
    assert said[0].endswith("(a 0 of 50, b 50 of 50)")
    assert replayed(found, [4]).everything() == found.everything()


def test_an_offer_that_came_to_nothing_is_remembered_until_one_is_taken() -> None:
    found = world(plays(offer=PLAY)).feed(tier("gold"), tick(T + DAY), tick(T + DAY + HOUR)).run()
    (decision,) = found.decisions
    offer = {"a": "discount", "b": "gift"}[decision.variant or ""]
    assert found.profile(A).refused == {offer: 1}
    (told,) = found.written("ts.outcomes")
    assert (told.explored, told.variant, told.converted) == (decision.explored, decision.variant, False)
    again = T + 3 * DAY
    while found.profile(A).refused == {offer: 1}:
        found.feed(tier(str(again), again), ordered(A, again + HOUR), tick(again + DAY + HOUR)).run()
        again += 3 * DAY
    assert found.profile(A).refused == {}


def test_refusals_go_along_when_customers_merge() -> None:
    found = world(plays(offer=PLAY), A, B).feed(event(B, "Tier Changed", {"tier": "x"}, T), tick(T + DAY + HOUR)).run()
    refused = found.profile(B).refused
    assert refused
    assert found.merge(B, A, 9, T + 2 * DAY).run().profile(A).refused == refused


def test_a_bandit_finds_out_which_is_better() -> None:
    """The whole way, but for Kafka: decide, convert at the true rates, learn, tell."""
    truth, rng, beliefs = {"a": 0.05, "b": 0.2}, Random(1), Beliefs()
    arms: dict[str, tuple[int, int]] = {}
    said: Counter[str] = Counter()
    for n in range(1_500):
        name, explored = choose(TWO, arms, {}, f"d{n}")
        assert name is not None
        said[name] += 1
        beliefs.learn(outcome(n, name, converted=rng.random() < truth[name], explored=explored))
        arms = dict(beliefs.due(T + n * 1_000, 1_000))["offer"]
    assert said["b"] > 0.8 * said.total()
    assert said["a"] > 0.03 * said.total()


@pytest.mark.parametrize("number", range(SHARDS))
def test_every_shard_is_told(number: int) -> None:
    found = World(plays=plays(offer=PLAY)).feed(belief(T, 0, a=(1, 1))).run()
    assert found.state(number).bandits == {"offer": {0: {"a": (1, 1)}}}
