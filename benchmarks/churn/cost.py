"""What the churn model costs an event, in CPU time of one core."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import process_time

from benchmarks.churn.logs import Purchase
from operators import features
from operators.churn import Learner, Model
from state.behaviour import Behaviour

ROUNDS, COUNT = 20, 2_000


def cost(purchases: list[Purchase]) -> dict[str, float]:
    """Microseconds an event: features (fold an order in, read them all) and score, learning an example, and a turn of
    an empty loop with a function call, to compare machines by. The best of some rounds: others disturb the rest.

    Without collections of garbage, as in the flows, which hardly ever collect.
    """
    gc.disable()
    some = purchases[:COUNT]
    people: dict[str, Behaviour] = {}
    vectors: list[list[float]] = []
    learner = Learner()
    fold = _best(lambda: _fold(some, people), len(some))
    read = _best(lambda: _read(some, people, vectors), len(some))
    learn = _best(lambda: _learn(learner, vectors), len(some))
    model = Model.from_bytes(learner.content(0, {}))
    score = _best(lambda: _score(model, vectors), len(some))
    turn = _best(lambda: _turn(len(some)), len(some))
    gc.enable()
    return {
        "features": fold + read,
        "score": score,
        "features_and_score": fold + read + score,
        "learn": learn,
        "turn": turn,
    }


def _best(work: Callable[[], None], count: int) -> float:
    spent = []
    for _ in range(ROUNDS):
        begun = process_time()
        work()
        spent.append(process_time() - begun)
    return min(spent) / count * 1e6


def _fold(some: list[Purchase], people: dict[str, Behaviour]) -> None:
    people.clear()
    for time, customer, order in some:
        if customer not in people:
            people[customer] = Behaviour()
        features.observe(people[customer], "order", "Order Completed", order, time)


def _read(some: list[Purchase], people: dict[str, Behaviour], vectors: list[list[float]]) -> None:
    vectors.clear()
    for each in some:
        vectors.append(features.vector(people[each.customer], each.time))


def _learn(learner: Learner, vectors: list[list[float]]) -> None:
    for number, vector in enumerate(vectors):
        learner.learn(vector, number % 3 == 0)


def _score(model: Model, vectors: list[list[float]]) -> None:
    for vector in vectors:
        model.probability(vector)


def _turn(count: int) -> None:
    for number in range(count):
        _nothing(number)


def _nothing(number: int) -> None:
    """A call."""
