"""The learn core: when it publishes, for whom, what it is told by operators, that its bytes are all of its state."""

from __future__ import annotations

import random
from hashlib import blake2b
from math import log

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.churn import Learner, Model
from operators.contest import BASE, Contest, Noticed, Published, Said
from operators.features import FEATURES, VERSION
from operators.keys import ROOT
from operators.learning import BUFFER, MAX_KEYS, Learning
from schemas.config import Challenger, Churn
from schemas.outputs import Example
from schemas.stitched import Control

CHURN = Churn(publish_examples=10, publish_seconds=60, publish_each=1)


def example(
    number: int, *, at: int = 0, label: bool | None = None, version: str = VERSION, keys: tuple[str, ...] = ()
) -> Example:
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
        keys=list(keys),
        treated=number % 5 == 0,
    )


def heard(learning: Learning, examples: list[Example], first: int = 0) -> list[tuple[int, Said]]:
    """All that is said, with the index of the example that brought it."""
    return [(n, said) for n, each in enumerate(examples) for said in learning.on_example(each, first + n)]


def fed(learning: Learning, examples: list[Example], first: int = 0) -> list[tuple[int, bytes]]:
    """The published contents with the index of the example that brought them."""
    return [(n, said.content or b"") for n, said in heard(learning, examples, first) if isinstance(said, Published)]


def told(content: bytes) -> dict[str, float]:
    metrics: dict[str, float] = msgspec.json.decode(content)["metrics"]
    return metrics


def learner_of(learning: Learning, key: str = ROOT, name: str = BASE) -> Learner:
    """What was learned of a key, from its bytes."""
    contest = Contest.from_bytes(key, CHURN, learning.contests[key].to_bytes())
    return Learner.from_bytes(contest.standing.contenders[name].learner)


def packed(learning: Learning) -> tuple[bytes, dict[str, bytes]]:
    return learning.state(), {key: contest.to_bytes() for key, contest in learning.contests.items()}


# -- publishing ----------------------------------------------------------------------------------------------


def test_it_publishes_by_count_and_by_the_time_of_the_log() -> None:
    published = fed(Learning(CHURN), [example(n) for n in range(200)], first=1000)
    # One example a second: the count is reached at the tenth, every next publication waits for 60 s.
    assert [n for n, _ in published] == [9, 69, 129, 189]
    assert [msgspec.json.decode(content)["offset"] for _, content in published] == [1010, 1070, 1130, 1190]
    assert [told(content)["learned"] for _, content in published] == [10, 70, 130, 190]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 128, 200])
def test_the_count_is_met_without_waiting_for_a_full_buffer(count: int) -> None:
    churn = Churn(publish_examples=count, publish_seconds=1, publish_each=1)
    examples = [example(n, label=n % 2 == 0) for n in range(2 * count + 4)]
    first = fed(Learning(churn), examples)[0][0]
    assert max(count, 2) <= first + 1 <= count + 3


def test_time_is_the_highest_seen_and_never_runs_back() -> None:
    learning = Learning(Churn(publish_examples=2, publish_seconds=60, publish_each=1))
    times = [100_000, 100_000, 159_999, 1, 2, 160_000, 3, 4]
    published = fed(learning, [example(n, at=at, label=n % 2 == 0) for n, at in enumerate(times)])
    assert [n for n, _ in published] == [1, 5]
    assert learning.contests[ROOT].standing.published_at == learning.progress.clock == 160_000


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize("each", [1, 7])
def test_nothing_is_published_before_enough_of_both_classes_were_seen(label: bool, each: int) -> None:
    learning = Learning(Churn(publish_examples=10, publish_seconds=1, publish_each=each))
    assert fed(learning, [example(n, label=label) for n in range(50)]) == []
    rare = [example(50 + n, label=label if n % 10 else not label) for n in range(100)]
    assert next(n for n, _ in fed(learning, rare)) == each * 10 - 1


def test_metrics_are_measured_before_learning() -> None:
    learning, by_hand = Learning(CHURN), Learner()
    examples = [example(n) for n in range(10)]
    (_, content), *_ = fed(learning, examples)
    lost = 0.0
    for each in sorted(examples, key=lambda each: blake2b(each.id.encode(), digest_size=8).digest()):
        expected = by_hand.probability(each.features, each.treated)
        lost += -log(expected if each.label else 1 - expected)
        by_hand.learn(each.features, each.label, each.treated)
    positives = sum(each.label for each in examples)
    alone = [each.label for each in examples if not each.treated]
    metrics = told(content)
    assert metrics["examples"] == metrics["learned"] == 10
    assert metrics["base_rate"] == positives / 10
    assert metrics["log_loss"] == pytest.approx(lost / 10)
    # What was served is the risk of those left alone: only they can say whether it was right.
    assert metrics["served_examples"] == len(alone) == 8
    assert metrics["served_log_loss"] == pytest.approx(-sum(log(0.25 if label else 0.75) for label in alone) / 8)
    assert learner_of(learning).to_bytes() == by_hand.to_bytes()


def test_the_buffer_takes_the_order_out_of_a_burst() -> None:
    churn = Churn(publish_examples=BUFFER, publish_seconds=1, publish_each=1)
    burst = sorted((example(n, at=5_000) for n in range(BUFFER)), key=lambda each: each.label)
    one, other = fed(Learning(churn), burst), fed(Learning(churn), burst[::-1])
    assert one == other
    assert [n for n, _ in one] == [BUFFER - 1]
    as_they_came = Learner()
    for each in burst:
        as_they_came.learn(each.features, each.label, each.treated)
    weights = msgspec.json.decode(as_they_came.content(0, {}))["weights"]
    assert msgspec.json.decode(one[0][1])["weights"] != weights


@given(st.integers(0, 160), st.integers(1, 150))
@settings(max_examples=20, deadline=None)
def test_state_read_back_goes_on_to_the_same_bytes(cut: int, count: int) -> None:
    challengers = {"fast": Challenger(rate=0.01), "narrow": Challenger(features=FEATURES[:2])}
    churn = Churn(publish_examples=count, publish_seconds=20, publish_each=1, challengers=challengers)
    keys = [(), ("country=CN",), ("country=CN", "country=CN,tier=gold")]
    examples = [example(n, version=VERSION if n % 7 else "other", keys=keys[n % 3]) for n in range(160)]
    straight, before = Learning(churn), Learning(churn)
    expected = fed(straight, examples)
    head = fed(before, examples[:cut])
    restored = Learning(churn, *packed(before))
    assert packed(restored) == packed(before)
    tail = fed(restored, examples[cut:], first=cut)
    assert head + [(cut + n, content) for n, content in tail] == expected
    assert packed(restored) == packed(straight)


def test_what_has_changed_is_all_that_has_to_be_kept() -> None:
    """Whoever writes the state and, each time, what has changed, has all of it."""
    learning, kept = Learning(CHURN), dict[str, bytes]()
    for n in range(40):
        learning.on_example(example(n, keys=("country=CN",) if n % 20 < 10 else ("country=DE",)), n)
        changed = learning.changed()
        assert changed.keys() <= {ROOT, "country=CN", "country=DE"}
        assert bool(changed) == (n % 10 == 9)
        kept |= changed
    assert (learning.state(), kept) == packed(learning)


def test_what_cannot_be_learned_is_counted_and_skipped() -> None:
    learning = Learning(CHURN)
    fed(learning, [example(n) for n in range(10)])
    before = learner_of(learning).to_bytes()
    short, broken = example(1), example(2)
    short.features, broken.features = [1.0], [float("nan")] * len(FEATURES)
    fed(learning, [example(3, version="other"), short, broken] * 10)
    assert (learning.progress.learned, learning.progress.skipped) == (10, 30)
    assert learner_of(learning).to_bytes() == before
    assert learning.progress.buffer == []


def test_a_learner_that_breaks_begins_anew_and_is_never_published() -> None:
    learning = Learning(CHURN)
    fed(learning, [example(n) for n in range(10)])
    poison = example(10)
    poison.features = [1e200] * len(FEATURES)
    ((_, said),) = heard(learning, [poison, *(example(n, at=90_000) for n in range(11, 20))])
    assert isinstance(said, Noticed) and said.kind == "model_broken"
    known = learning.contests[ROOT].standing.contenders[BASE]
    assert (known.restarts, known.positives, known.negatives) == (1, 0, 0)
    (_, content), *_ = fed(learning, [example(n) for n in range(180, 210)])
    assert Model.from_bytes(content).hash
    assert learner_of(learning).count == 30
    assert learning.progress.learned == 50


def test_what_it_learns_beats_what_was_served() -> None:
    """A world where the first feature decides: the learner's expectation overtakes a constant guess."""
    learning = Learning(Churn(publish_examples=512, publish_seconds=1))
    draw = random.Random(11)
    examples = []
    for n in range(3000):
        each = example(n)
        each.label = draw.random() < (0.9 if each.features[0] > 2 else 0.1)
        each.probability = 0.5
        examples.append(each)
    published = fed(learning, examples)
    assert len(published) == 5
    metrics = told(published[-1][1])
    assert metrics["served_log_loss"] == pytest.approx(log(2))
    assert metrics["log_loss"] < 0.62
    assert metrics["auc"] > 0.8 > 0.5 == metrics["served_auc"]


# -- keys ----------------------------------------------------------------------------------------------------


def test_customers_alike_have_models_of_their_own_below_that_of_all() -> None:
    """In one country leaving is the rule, in the other the exception; each learns its own, all of them both."""
    learning = Learning(Churn(publish_examples=64, publish_seconds=1, publish_each=20))
    draw, examples = random.Random(1), []
    for n in range(1280):
        country = "CN" if n % 2 else "DE"
        examples.append(
            example(n, label=draw.random() < (0.9 if country == "CN" else 0.1), keys=(f"country={country}",))
        )
    newest = {
        said.key: Model.from_bytes(said.content or b"")
        for _, said in heard(learning, examples)
        if isinstance(said, Published)
    }
    assert {key: model.key for key, model in newest.items()} == {
        each: each for each in (ROOT, "country=CN", "country=DE")
    }
    at = [2.0] * len(FEATURES)
    assert newest["country=DE"].probability(at) < 0.35 < newest[ROOT].probability(at) < 0.65
    assert newest["country=CN"].probability(at) > 0.65
    assert {key: contest.standing.learned for key, contest in learning.contests.items()} == {
        ROOT: 1280,
        "country=CN": 640,
        "country=DE": 640,
    }


def test_a_small_key_publishes_nothing_until_it_has_enough_of_both() -> None:
    learning = Learning(Churn(publish_examples=10, publish_seconds=1, publish_each=8))
    examples = [example(n, label=n % 2 == 0, keys=("country=CN",) if n % 10 < 2 else ()) for n in range(200)]
    first: dict[str, int] = {}
    for n, said in heard(learning, examples):
        assert isinstance(said, Published)
        first.setdefault(said.key, n)
    assert first == {ROOT: 19, "country=CN": 79}


def test_each_key_waits_for_its_own_minute() -> None:
    learning = Learning(CHURN)
    examples = [example(n, keys=("country=CN",) if n >= 30 else ()) for n in range(200)]
    found = [(n, said.key) for n, said in heard(learning, examples) if isinstance(said, Published)]
    assert [n for n, key in found if key == ROOT] == [9, 69, 129, 189]
    assert [n for n, key in found if key != ROOT] == [39, 99, 159]


def test_keys_are_bounded() -> None:
    learning = Learning(CHURN)
    fed(learning, [example(n, keys=(f"tier={n}",)) for n in range(MAX_KEYS + 10)])
    assert len(learning.contests) == len(learning.progress.keys) == MAX_KEYS
    assert learning.contests[ROOT].standing.learned == MAX_KEYS + 10


def test_what_became_of_the_gap_is_a_target_of_its_own() -> None:
    """Where it was open: examples of whom it had closed on before teach nothing of it."""
    learning = Learning(CHURN)
    examples = [example(n, keys=("country=CN",)) for n in range(100)]
    for n, each in enumerate(examples):
        if n % 2:
            each.lapsed, each.lapse = not each.label, 0.9
    said = [each for _, each in heard(learning, examples) if isinstance(each, Published)]
    assert {key: contest.standing.learned for key, contest in learning.contests.items()} == {
        ROOT: 100,
        "country=CN": 100,
        "gap:default": 50,
        "gap:country=CN": 50,
    }
    assert {each.key for each in said} == set(learning.contests)
    silence, gap = learning.contests[ROOT].metrics(), learning.contests["gap:default"].metrics()
    assert gap["served_log_loss"] > silence["served_log_loss"]
    assert learning.progress.learned == 100


# -- operators -----------------------------------------------------------------------------------------------


def taught(churn: Churn = CHURN) -> tuple[Learning, str]:
    """A learner that has published, and the version."""
    learning = Learning(churn)
    published = [said for _, said in heard(learning, [example(n) for n in range(10)]) if isinstance(said, Published)]
    return learning, published[-1].hash


def test_an_operator_goes_back_to_a_version_and_it_stays() -> None:
    learning, first = taught()
    later = fed(learning, [example(n) for n in range(10, 70)])
    assert len(later) == 1
    said = learning.on_control(Control(80_000, "hold", ROOT, first), 70)
    assert said[0] == Published(ROOT, first, None)
    assert [each.kind for each in said if isinstance(each, Noticed)] == ["model_held"]
    assert fed(learning, [example(n) for n in range(70, 400)]) == []
    restored = Learning(CHURN, *packed(learning))
    notice, published = restored.on_control(Control(400_001, "release", ROOT), 401)
    assert isinstance(notice, Noticed) and notice.kind == "model_released"
    assert isinstance(published, Published) and told(published.content or b"")["learned"] == 400
    assert len(fed(restored, [example(n) for n in range(401, 481)])) == 1


@pytest.mark.parametrize("what", ["promote", "hold", "release"])
def test_what_an_operator_says_of_an_unknown_key_is_refused(what: str) -> None:
    learning, _ = taught()
    before = packed(learning)
    (said,) = learning.on_control(Control(0, what, "country=XX", "x"), 70)
    assert isinstance(said, Noticed) and said.kind == "model_refused"
    assert packed(learning) == before


def test_words_of_operators_move_the_clock_and_nothing_else_of_other_keys() -> None:
    learning, _ = taught()
    learning.changed()
    learning.on_control(Control(99_000, "hold", ROOT, "v"), 70)
    assert learning.progress.clock == 99_000
    assert learning.changed().keys() == {ROOT}
