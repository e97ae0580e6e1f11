"""The learn core: when it publishes, what it measures, that its bytes are all of its state."""

from __future__ import annotations

import random
from hashlib import blake2b
from math import log

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.churn import Learner, Model
from operators.features import FEATURES, VERSION
from operators.learning import BUFFER, Learning, log_loss
from schemas.config import Churn
from schemas.outputs import Example

CHURN = Churn(publish_examples=10, publish_seconds=60)


def example(number: int, *, at: int = 0, label: bool | None = None, version: str = VERSION) -> Example:
    draw = random.Random(number)
    return Example(
        id=f"customer-{number}",
        customer="c",
        time=0,
        features=[draw.gauss(2, 1) for _ in FEATURES],
        features_version=version,
        label=draw.random() < 0.4 if label is None else label,
        probability=0.25,
        model="m",
        at=at or 1_000 * (number + 1),
    )


def fed(learning: Learning, examples: list[Example], churn: Churn = CHURN, first: int = 0) -> list[tuple[int, bytes]]:
    """The published contents with the index of the example that brought them."""
    contents = ((n, learning.on_example(each, first + n, churn)) for n, each in enumerate(examples))
    return [(n, content) for n, content in contents if content is not None]


def told(content: bytes) -> dict[str, float]:
    metrics: dict[str, float] = msgspec.json.decode(content)["metrics"]
    return metrics


def test_it_publishes_by_count_and_by_the_time_of_the_log() -> None:
    published = fed(Learning(), [example(n) for n in range(200)], first=1000)
    # One example a second: the count is reached at the tenth, every next publication waits for 60 s.
    assert [n for n, _ in published] == [9, 69, 129, 189]
    assert [msgspec.json.decode(content)["offset"] for _, content in published] == [1010, 1070, 1130, 1190]
    assert [told(content)["examples"] for _, content in published] == [10, 60, 60, 60]
    assert [told(content)["learned"] for _, content in published] == [10, 70, 130, 190]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 128, 200])
def test_the_count_is_met_without_waiting_for_a_full_buffer(count: int) -> None:
    churn = Churn(publish_examples=count, publish_seconds=1)
    examples = [example(n, label=n % 2 == 0) for n in range(2 * count + 4)]
    first = fed(Learning(), examples, churn)[0][0]
    assert max(count, 2) <= first + 1 <= count + 3


def test_time_is_the_highest_seen_and_never_runs_back() -> None:
    churn = Churn(publish_examples=2, publish_seconds=60)
    learning = Learning()
    times = [100_000, 100_000, 159_999, 1, 2, 160_000, 3, 4]
    published = fed(learning, [example(n, at=at, label=n % 2 == 0) for n, at in enumerate(times)], churn)
    assert [n for n, _ in published] == [1, 5]
    assert learning.progress.published_at == learning.progress.clock == 160_000


@pytest.mark.parametrize("label", [True, False])
def test_nothing_is_published_before_both_classes_were_seen(label: bool) -> None:
    learning = Learning()
    assert fed(learning, [example(n, label=label) for n in range(50)]) == []
    more = [example(50 + n, label=not label) for n in range(10)]
    assert [n for n, _ in fed(learning, more)] == [9]


def test_metrics_are_measured_before_learning() -> None:
    learning, by_hand = Learning(), Learner()
    examples = [example(n) for n in range(10)]
    (_, content), *_ = fed(learning, examples)
    lost = 0.0
    for each in sorted(examples, key=lambda each: blake2b(each.id.encode(), digest_size=8).digest()):
        expected = by_hand.probability(each.features)
        lost += -log(expected if each.label else 1 - expected)
        by_hand.learn(each.features, each.label)
    positives = sum(each.label for each in examples)
    assert told(content) == {
        "examples": 10,
        "learned": 10,
        "base_rate": positives / 10,
        "log_loss": pytest.approx(lost / 10),
        "served_log_loss": pytest.approx(-(positives * log(0.25) + (10 - positives) * log(0.75)) / 10),
    }
    assert learning.learner.to_bytes() == by_hand.to_bytes()


def test_the_buffer_takes_the_order_out_of_a_burst() -> None:
    churn = Churn(publish_examples=BUFFER, publish_seconds=1)
    burst = sorted((example(n, at=5_000) for n in range(BUFFER)), key=lambda each: each.label)
    turned = burst[::-1]
    one, other = fed(Learning(), burst, churn), fed(Learning(), turned, churn)
    assert one == other
    assert [n for n, _ in one] == [BUFFER - 1]
    learned_as_they_came = Learner()
    for each in burst:
        learned_as_they_came.learn(each.features, each.label)
    assert (
        msgspec.json.decode(one[0][1])["weights"] != msgspec.json.decode(learned_as_they_came.content(0, {}))["weights"]
    )


@given(st.integers(0, 160), st.integers(1, 150))
@settings(max_examples=30, deadline=None)
def test_state_read_back_goes_on_to_the_same_bytes(cut: int, count: int) -> None:
    churn = Churn(publish_examples=count, publish_seconds=20)
    examples = [example(n, version=VERSION if n % 7 else "other") for n in range(160)]
    straight, before = Learning(), Learning()
    expected = fed(straight, examples, churn)
    head = fed(before, examples[:cut], churn)
    restored = Learning.from_bytes(before.to_bytes())
    assert restored.to_bytes() == before.to_bytes()
    tail = fed(restored, examples[cut:], churn, first=cut)
    assert head + [(cut + n, content) for n, content in tail] == expected
    assert restored.to_bytes() == straight.to_bytes()


def test_what_cannot_be_learned_is_counted_and_skipped() -> None:
    learning = Learning()
    fed(learning, [example(n) for n in range(10)])
    before = learning.learner.to_bytes()
    short, broken = example(1), example(2)
    short.features, broken.features = [1.0], [float("nan")] * len(FEATURES)
    fed(learning, [example(3, version="other"), short, broken] * 10)
    assert (learning.progress.learned, learning.progress.skipped) == (10, 30)
    assert learning.learner.to_bytes() == before
    assert learning.progress.buffer == []


def test_a_learner_that_breaks_begins_anew_and_is_never_published() -> None:
    learning = Learning()
    fed(learning, [example(n) for n in range(10)])
    poison = example(10)
    poison.features = [1e200] * len(FEATURES)
    assert fed(learning, [poison, *(example(n, at=90_000) for n in range(11, 20))]) == []
    progress = learning.progress
    assert (progress.restarts, progress.learned, progress.fresh, progress.positives, progress.negatives) == (
        1,
        20,
        0,
        0,
        0,
    )
    assert progress.loss == progress.served_loss == 0.0
    (_, content), *_ = fed(learning, [example(n) for n in range(80, 110)])
    assert Model.from_bytes(content).hash
    assert learning.learner.count == 30
    assert learning.progress.restarts == 1


def test_log_loss_of_a_wrong_certainty_is_dear_but_finite() -> None:
    assert log_loss(0.0, True) == log_loss(1.0, False) == pytest.approx(34.54, abs=0.01)
    assert log_loss(1.0, True) == log_loss(0.0, False) == 0.0
    assert log_loss(0.25, True) == pytest.approx(-log(0.25))
    assert log_loss(0.25, False) == pytest.approx(-log(0.75))


def test_what_it_learns_beats_what_was_served() -> None:
    """A world where the first feature decides: the learner's expectation overtakes a constant guess."""
    learning, churn = Learning(), Churn(publish_examples=512, publish_seconds=1)
    draw = random.Random(11)
    examples = []
    for n in range(3000):
        each = example(n)
        each.label = draw.random() < (0.9 if each.features[0] > 2 else 0.1)
        each.probability = 0.5
        examples.append(each)
    published = fed(learning, examples, churn)
    assert len(published) == 5
    metrics = told(published[-1][1])
    assert metrics["served_log_loss"] == pytest.approx(log(2))
    assert metrics["log_loss"] < 0.5
