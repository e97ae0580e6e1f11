"""The churn model: served as river would, bytes that go round, refusals, the prior, bands."""

from __future__ import annotations

import random
import subprocess
import sys
from math import comb, exp, inf, log, log1p, nan, sqrt
from operator import mul
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, optim, preprocessing

from operators.churn import BANDS, PRIOR, PRIOR_CONTENT, REASONS, Content, Learner, Model, band, content_hash, project
from operators.features import FEATURES, VERSION, version_of
from schemas.config import Churn
from schemas.errors import MissingContent

COUNT = len(FEATURES)
Row = tuple[list[float], bool]
rows = st.lists(st.tuples(st.lists(st.floats(0, 12), min_size=COUNT, max_size=COUNT), st.booleans()), max_size=25)


def people(count: int, seed: int) -> list[tuple[list[float], bool, float]]:
    """Vectors, labels and the true probability behind them: a logistic world with two features that matter."""
    draw = random.Random(seed)
    world = []
    for _ in range(count):
        vector = [draw.gauss(3, 1) for _ in FEATURES]
        truth = 1 / (1 + exp(-(1.2 * (vector[0] - 3) - 0.9 * (vector[3] - 3) - 0.8)))
        world.append((vector, draw.random() < truth, truth))
    return world


def taught(examples: list[Row]) -> Learner:
    learner = Learner()
    for vector, label in examples:
        learner.learn(vector, label)
    return learner


def auc(probabilities: list[float], labels: list[bool]) -> float:
    """The share of (leaver, stayer) pairs that are ranked right."""
    ranked = [label for _, label in sorted(zip(probabilities, labels, strict=True))]
    positives = sum(ranked)
    ranks = sum(rank for rank, label in enumerate(ranked, 1) if label)
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(ranked) - positives))


def changed(**fields: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(PRIOR_CONTENT), **fields})


@given(rows, st.lists(st.floats(0, 12), min_size=COUNT, max_size=COUNT))
@settings(deadline=None)
def test_model_answers_what_its_learner_answers(examples: list[Row], vector: list[float]) -> None:
    learner = taught(examples)
    model = Model.from_bytes(learner.content(0, {}))
    assert model.probability(vector) == pytest.approx(learner.probability(vector), abs=1e-9)


@given(rows, st.lists(st.floats(0, 12), min_size=COUNT, max_size=COUNT))
def test_reasons_are_the_largest_terms_of_the_log_odds(examples: list[Row], vector: list[float]) -> None:
    content = taught(examples).content(0, {})
    learned = msgspec.json.decode(content, type=Content)
    terms = {
        name: round((x - mean) * (weight / sqrt(variance)), 3) if variance else 0.0
        for name, x, mean, variance, weight in zip(
            FEATURES, vector, learned.means, learned.variances, learned.weights, strict=True
        )
    }
    largest = sorted(terms, key=lambda name: -abs(terms[name]))[:REASONS]
    assert list(Model.from_bytes(content).reasons(vector).items()) == [(n, terms[n]) for n in largest if terms[n]]


def test_the_prior_gives_orders_as_its_one_reason_to_stay() -> None:
    vector = [log1p(2)] * COUNT
    assert PRIOR.reasons(vector) == {"orders_slow": round(-1.7 * log1p(2), 3)}
    assert PRIOR.reasons([0.0] * COUNT) == {}


def test_the_learner_is_the_pipeline_it_says_with_averaged_weights() -> None:
    """river's own scaler and regression, step by step, and the mean of the weights, in which step n weighs as the
    binomial coefficient of n + 6 over 7: that is 8 in n + 7 of all up to it."""
    scaler: Any = preprocessing.StandardScaler()
    regression = linear_model.LogisticRegression(optim.SGD(0.003), intercept_lr=0.01)
    learner, steps = Learner(), [[0.0] * (COUNT + 1)]
    shares = [1, *[comb(n + 6, 7) for n in range(1, 101)]]
    for vector, label, _ in people(100, 2):
        share = shares[1 : len(steps)] or [1]
        latest = steps[1:] or steps
        mean = [sum(map(mul, share, column)) / sum(share) for column in zip(*latest, strict=True)]
        scaled = scaler.transform_one(dict(zip(FEATURES, vector, strict=True)))
        logit = mean[-1] + sum(weight * scaled[name] for name, weight in zip(FEATURES, mean, strict=False))
        assert learner.probability(vector) == pytest.approx(1 / (1 + exp(-logit)), abs=1e-12)
        learner.learn(vector, label)
        scaler.learn_one(dict(zip(FEATURES, vector, strict=True)))
        regression.learn_one(scaler.transform_one(dict(zip(FEATURES, vector, strict=True))), label)
        steps.append([*(regression.weights[name] for name in FEATURES), regression.intercept])


def test_averages_forget_what_is_older_than_their_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only one thing ever happens the intercept climbs and climbs, and its average comes after it."""
    always = [(vector, True) for vector, _, _ in people(400, 2)]
    behind = {}
    for window in (10, 10_000):
        monkeypatch.setattr("operators.churn.WINDOW", window)
        learner = taught(always)
        behind[window] = learner._regression.intercept - learner._intercept
    assert 0 < behind[10] < behind[10_000] / 2


def test_a_state_from_before_weights_were_averaged_goes_on_with_them() -> None:
    learner = taught([(vector, label) for vector, label, _ in people(50, 4)])
    state = msgspec.msgpack.decode(learner.to_bytes())
    restored = Learner.from_bytes(msgspec.msgpack.encode(state[:8]))
    assert restored._averages == state[4] != learner._averages
    assert (restored._intercept, restored.count) == (state[5], 50)


def test_model_answers_what_its_learner_answers_where_a_feature_hardly_varies() -> None:
    learner = taught([([5.0 + 1e-13 * (n % 3)] * COUNT, n % 2 == 0) for n in range(40)])
    model = Model.from_bytes(learner.content(0, {}))
    for vector in ([5.0] * COUNT, [5.0 + 2e-13] * COUNT, [6.0] * COUNT, [0.0] * COUNT):
        assert model.probability(vector) == pytest.approx(learner.probability(vector), abs=1e-9)


def test_a_feature_that_never_varied_counts_nothing() -> None:
    learner = taught([([1.5, *vector[1:]], label) for vector, label, _ in people(100, 1)])
    model = Model.from_bytes(learner.content(0, {}))
    vector = [2.0] * COUNT
    assert model.probability(vector) == model.probability([99.0, *vector[1:]])
    assert model.probability(vector) != model.probability([2.0, 99.0, *vector[2:]])


@given(rows, rows)
@settings(max_examples=50, deadline=None)
def test_a_learner_read_back_goes_on_bit_by_bit(before: list[Row], after: list[Row]) -> None:
    straight, restored = taught(before), Learner.from_bytes(taught(before).to_bytes())
    assert restored.to_bytes() == straight.to_bytes()
    assert restored.count == len(before)
    for n, (vector, label) in enumerate(after):
        assert restored.probability(vector) == straight.probability(vector)
        straight.learn(vector, label, n % 3 == 0)
        restored.learn(vector, label, n % 3 == 0)
    restored = Learner.from_bytes(restored.to_bytes())
    assert restored.to_bytes() == straight.to_bytes()
    assert restored.content(7, {"a": 1.0}) == straight.content(7, {"a": 1.0})


def test_it_learns_ranks_and_is_calibrated() -> None:
    """On a logistic world the online model comes close to the truth itself."""
    learner, world = Learner(), people(8000, 7)
    for vector, label, _ in world[:6000]:
        learner.learn(vector, label)
    model = Model.from_bytes(learner.content(6000, {}))
    held_out = world[6000:]
    probabilities = [model.probability(vector) for vector, _, _ in held_out]
    labels = [label for _, label, _ in held_out]
    best = auc([truth for _, _, truth in held_out], labels)
    assert auc(probabilities, labels) > best - 0.01 > 0.75
    bins = [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01)]
    for low, high in bins:
        inside = [(p, label) for p, label in zip(probabilities, labels, strict=True) if low <= p < high]
        assert len(inside) > 50
        assert sum(p for p, _ in inside) / len(inside) == pytest.approx(
            sum(label for _, label in inside) / len(inside), abs=0.08
        )


def test_content_is_canonical_and_says_what_it_is() -> None:
    examples = [(vector, label) for vector, label, _ in people(50, 3)]
    content = taught(examples).content(51, {"log_loss": 0.5, "base_rate": 0.25})
    assert content == taught(examples).content(51, {"base_rate": 0.25, "log_loss": 0.5})
    assert content != taught(examples).content(52, {"log_loss": 0.5, "base_rate": 0.25})
    told = msgspec.json.decode(content)
    assert told["features"] == list(FEATURES)
    assert (told["features_version"], told["offset"], told["kind"]) == (VERSION, 51, "logistic")
    assert told["metrics"] == {"base_rate": 0.25, "log_loss": 0.5}
    model = Model.from_bytes(content)
    assert model.hash == content_hash(content)
    assert model.features_version == VERSION
    assert len(model.hash) == 32
    assert int(model.hash, 16)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (PRIOR_CONTENT[:-1], "cannot be read"),
        (changed(intercept=None), "cannot be read"),
        (changed(weights=["1"] * COUNT), "cannot be read"),
        (changed(features_version="0" * 16), f"knows only logistic on {VERSION}"),
        (changed(features=[*FEATURES[1:], FEATURES[0]]), f"knows only logistic on {VERSION}"),
        (changed(features=["unheard_of", *FEATURES[1:]]), f"knows only logistic on {VERSION}"),
        (changed(kind="forest"), "is forest on features"),
        (changed(weights=[0.0] * (COUNT - 1)), "numerically broken"),
        (changed(weights=[101.0] * COUNT), "numerically broken"),
        (changed(intercept=-101.0), "numerically broken"),
        (changed(treatment=101.0), "numerically broken"),
        (changed(variances=[1.0] * (COUNT - 1) + [-1.0]), "numerically broken"),
        (changed(means=[]), "numerically broken"),
    ],
)
def test_content_that_cannot_be_served_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MissingContent, match=reason) as refusal:
        Model.from_bytes(content)
    assert content_hash(content) in str(refusal.value)


def test_content_on_the_limits_is_served() -> None:
    assert Model.from_bytes(changed(weights=[100.0] * COUNT, intercept=-100.0)).probability([0.0] * COUNT) == 0.0
    assert Model.from_bytes(changed(variances=[0.0] * COUNT)).probability([9.0] * COUNT) == pytest.approx(
        1 / (1 + exp(-2.7))
    )


@pytest.mark.parametrize("value", [nan, inf, -inf, 1e200])
def test_a_broken_learner_publishes_nothing(value: float) -> None:
    learner = taught([(vector, label) for vector, label, _ in people(20, 5)])
    assert learner.sound()
    learner.learn([value] * COUNT, True)
    learner.learn([1.0] * COUNT, False)
    assert not learner.sound()
    with pytest.raises(ValueError, match="numerically broken after 22 examples"):
        learner.content(0, {})


def test_broken_metrics_are_not_published() -> None:
    with pytest.raises(ValueError, match="numerically broken"):
        Learner().content(0, {"log_loss": nan})


def test_a_vector_of_another_length_is_an_error() -> None:
    for wrong in ([0.0] * (COUNT - 1), [0.0] * (COUNT + 1)):
        with pytest.raises(ValueError, match="zip"):
            PRIOR.probability(wrong)
        with pytest.raises(ValueError, match="zip"):
            Learner().learn(wrong, True)


def test_a_learner_of_another_feature_list_is_refused() -> None:
    state = msgspec.msgpack.decode(Learner().to_bytes())
    with pytest.raises(MissingContent, match="on features other"):
        Learner.from_bytes(msgspec.msgpack.encode(["other", *state[1:]]))


SOME = ("gap", "recency")


def test_some_of_the_features_are_learned_and_served_as_all_are() -> None:
    learner = Learner(SOME)
    for vector, label, _ in people(100, 4):
        learner.learn(project(vector, SOME), label)
    learner = Learner.from_bytes(learner.to_bytes())
    content = learner.content(0, {})
    model = Model.from_bytes(content)
    assert (learner.features, model.features) == (SOME, SOME)
    assert msgspec.json.decode(content)["features_version"] == model.features_version == version_of(SOME) != VERSION
    assert version_of(FEATURES) == VERSION
    vector = people(1, 5)[0][0]
    assert project(vector, SOME) == [vector[FEATURES.index("gap")], vector[FEATURES.index("recency")]]
    assert model.probability(vector) == pytest.approx(learner.probability(project(vector, SOME)), abs=1e-9)
    assert set(model.reasons(vector)) <= set(SOME)


def test_a_message_is_learned_beside_the_features_and_the_untreated_are_served() -> None:
    """Half are sent a message that keeps some; those sent one are who would leave anyway, so that leaving it out of
    account teaches that they stay."""
    draw, learner, blind = random.Random(3), Learner(), Learner()
    for vector, _, truth in people(20_000, 8):
        treated = draw.random() < truth
        odds = log(truth / (1 - truth)) - (1.5 if treated else 0.0)
        label = draw.random() < 1 / (1 + exp(-odds))
        learner.learn(vector, label, treated)
        blind.learn(vector, label)
    content = learner.content(0, {})
    assert msgspec.json.decode(content)["treatment"] == learner.treatment == pytest.approx(-1.5, abs=0.5)
    model, misled = Model.from_bytes(content), Model.from_bytes(blind.content(0, {}))
    held_out = people(2_000, 9)
    vector = held_out[0][0]
    assert model.probability(vector) == pytest.approx(learner.probability(vector), abs=1e-9)
    assert learner.probability(vector, treated=True) < learner.probability(vector)
    mean = sum(truth for _, _, truth in held_out) / len(held_out)
    served, wrong = [sum(each.probability(v) for v, _, _ in held_out) / len(held_out) for each in (model, misled)]
    assert abs(served - mean) < 0.05 < mean - wrong


@pytest.mark.parametrize("orders", [0, 0.5, 1, 2, 3, 4, 6, 8, 12, 20, 40])
def test_the_prior_is_the_low_count_rule_it_states(orders: float) -> None:
    watched = 112 / log(2)
    stated = ((30 + watched) / (58 + watched)) ** (orders + 0.5)
    vector = [0.0] * COUNT
    vector[FEATURES.index("orders_slow")] = log1p(orders)
    assert PRIOR.probability(vector) == pytest.approx(stated, abs=0.061)


def test_the_prior_is_the_same_everywhere() -> None:
    assert Model.from_bytes(PRIOR_CONTENT) == PRIOR
    assert PRIOR.hash == content_hash(PRIOR_CONTENT) == "d7cbf80596cade828422df44df410a6f"


def test_probability_saturates_as_river_does() -> None:
    vector = [0.0] * COUNT
    at = FEATURES.index("orders_slow")
    vector[at] = (2.7 + 31) / 1.7
    assert PRIOR.probability(vector) == 0.0
    vector[at] = (2.7 - 31) / 1.7
    assert PRIOR.probability(vector) == 1.0
    vector[at] = (2.7 + 29) / 1.7
    assert 0.0 < PRIOR.probability(vector) < 1e-12


@pytest.mark.parametrize(
    ("probability", "previous", "expected"),
    [
        (0.49, None, "low"),
        (0.5, None, "medium"),
        (0.79, None, "medium"),
        (0.8, None, "high"),
        (1.0, None, "high"),
        (0.49, "low", "low"),
        (0.5, "low", "medium"),
        (0.8, "low", "high"),
        (0.46, "medium", "medium"),
        (0.44, "medium", "low"),
        (0.79, "medium", "medium"),
        (0.8, "medium", "high"),
        (0.76, "high", "high"),
        (0.74, "high", "medium"),
        (0.46, "high", "medium"),
        (0.44, "high", "low"),
        (0.78, "unheard of", "medium"),
    ],
)
def test_bands(probability: float, previous: str | None, expected: str) -> None:
    assert band(probability, previous, Churn(medium=0.5, high=0.8, hysteresis=0.05)) == expected


@given(st.floats(0, 1), st.sampled_from(BANDS))
@settings(deadline=None)
def test_a_band_once_chosen_stays_chosen(probability: float, previous: str) -> None:
    chosen = band(probability, previous, Churn())
    assert band(probability, chosen, Churn()) == chosen


def test_serving_does_not_load_river() -> None:
    code = "import sys, operators.churn, operators.learning; sys.exit('river' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
