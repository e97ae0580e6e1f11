"""Champion and challengers of one key: who is published, who takes whose place and why, what is noticed."""

from __future__ import annotations

import random
from math import exp, inf

import msgspec
import pytest

from operators import contest as contests
from operators.churn import Content, Learner
from operators.contest import BASE, Contender, Contest, Lesson, Noticed, Published, Said, Standing
from operators.duel import BLOCK, Duel
from operators.features import FEATURES, VERSION, version_of
from operators.keys import ROOT
from schemas.config import Challenger, Churn
from schemas.errors import MissingContent

#: A step so small that it never learns anything, and one that does.
SLOW, QUICK = Challenger(rate=1e-9), Challenger(rate=0.05)
NARROW = FEATURES[:2]


def lessons(count: int, seed: int, *, weight: float = 2.0, base: float = 0.0) -> list[Lesson]:
    """A world in which the first feature says who leaves."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        features = [draw.gauss(2, 1) for _ in FEATURES]
        label = draw.random() < 1 / (1 + exp(-(weight * (features[0] - 2) + base)))
        found.append(Lesson(features, VERSION, False, label, 0.5))
    return found


def taught(contest: Contest, some: list[Lesson], *, at: int = 0) -> list[Said]:
    """All that is said, one batch of 50 a minute after another."""
    said = []
    for n in range(0, len(some), 50):
        for lesson in some[n : n + 50]:
            contest.learn(lesson)
        said += contest.settle(at + n + 49, (at + n + 50) * 1_200)
    return said


def kinds(said: list[Said]) -> list[str]:
    return [each.kind for each in said if isinstance(each, Noticed)]


def by(said: list[Said]) -> list[str]:
    """As what the published models were learned."""
    published = [each.content or b"" for each in said if isinstance(each, Published)]
    return [msgspec.json.decode(content, type=Content).by for content in published]


def again(contest: Contest, churn: Churn) -> Contest:
    """As after a restart, with another configuration."""
    return Contest.from_bytes(contest.key, churn, contest.to_bytes())


# -- compared ------------------------------------------------------------------------------------------------


def test_challengers_learn_the_same_beside_the_champion_and_are_not_published() -> None:
    contest = Contest(ROOT, Churn(challengers={"quick": QUICK, "narrow": Challenger(features=NARROW)}))
    said = taught(contest, lessons(1_000, 1))
    known = contest.standing.contenders
    assert set(by(said)) == {BASE}
    assert [each.quality.filling.count for each in known.values()] == [1_000] * 3
    assert {each.positives + each.negatives for each in known.values()} == {1_000}
    raw = contest.to_bytes()
    learned = {name: Learner.from_bytes(each.learner) for name, each in contests.standing_of(raw).contenders.items()}
    assert (learned["narrow"].features, learned["quick"].features) == (NARROW, FEATURES)
    assert len({each.learner for each in contests.standing_of(raw).contenders.values()}) == 3


def test_a_duel_is_the_mean_difference_of_log_loss_and_its_interval() -> None:
    contest = Contest(ROOT, Churn(challengers={"slow": SLOW}))
    taught(contest, lessons(4_096, 2))
    known, duel = contest.standing.contenders, contest.standing.contenders["slow"].duel
    assert duel.blocks == 4_096 // BLOCK
    # Of what is in both windows: all of the challenger's and champion's examples but the oldest block.
    assert duel.mean < -0.05
    low, high = duel.interval()
    assert low < duel.mean < high < 0
    assert known[BASE].duel == Duel()


def test_the_interval_is_that_of_block_means() -> None:
    draw, covered = random.Random(3), 0
    for _ in range(400):
        duel = Duel()
        for _ in range(40):
            # All of a block share something: as if they were all independent the interval would be eight times too
            # narrow.
            duel.filling = (0.01 + draw.gauss(0, 0.05)) * BLOCK
            duel.close()
        low, high = duel.interval()
        covered += low <= 0.01 <= high
    assert 388 <= covered <= 400
    assert Duel(blocks=1).interval() == (-inf, inf)


# -- promoted ------------------------------------------------------------------------------------------------

BETTER = Churn(challengers={"quick": QUICK, "slow": SLOW}, promote="better", promote_examples=2_000)


def test_a_challenger_that_is_surely_better_takes_the_champions_place_and_is_told() -> None:
    contest = Contest(ROOT, BETTER)
    said = taught(contest, lessons(6_000, 4))
    assert kinds(said) == ["model_promoted"]
    (notice,) = [each for each in said if isinstance(each, Noticed)]
    assert notice.text.startswith(f"{ROOT}: quick takes the place of base, log loss lower by 0.")
    assert contest.standing.champion == "quick"
    before, after = by(said[: said.index(notice)]), by(said[said.index(notice) :])
    assert (set(before), set(after)) == ({BASE}, {"quick"})
    # Not before so many examples, and at once then, whatever the minute.
    assert len(before) == 10


def test_not_before_so_many_examples_and_not_where_it_is_not_wanted() -> None:
    assert kinds(taught(Contest(ROOT, BETTER), lessons(1_950, 4))) == []
    wary = msgspec.structs.replace(BETTER, promote="command")
    assert kinds(taught(Contest(ROOT, wary), lessons(6_000, 4))) == []


def test_who_is_better_by_less_than_the_margin_is_not_promoted() -> None:
    demanding = msgspec.structs.replace(BETTER, promote_margin=0.5)
    contest = Contest(ROOT, demanding)
    assert kinds(taught(contest, lessons(6_000, 4))) == []
    # Asked once for so many examples; then all begins anew.
    assert contest.standing.contenders["quick"].duel.blocks * BLOCK < 2_000 + 50


def test_who_is_as_good_is_promoted_hardly_ever() -> None:
    """Twins: one drops a feature that says nothing."""
    twin = Churn(
        challengers={"twin": Challenger(features=FEATURES[:-1])},
        promote="better",
        promote_examples=2_000,
        promote_margin=0.0,
    )
    said = [kinds(taught(Contest(ROOT, twin), lessons(2_100, seed))) for seed in range(8)]
    assert sum(each.count("model_promoted") for each in said) <= 1


def test_an_operator_promotes_at_once() -> None:
    contest = Contest(ROOT, Churn(challengers={"quick": QUICK}))
    taught(contest, lessons(200, 5))
    said = contest.promote("quick", 200, 300_000)
    assert (kinds(said), by(said)) == (["model_promoted"], ["quick"])
    assert set(by(taught(contest, lessons(500, 6), at=250))) == {"quick"}
    assert contest.standing.contenders[BASE].quality.filling.count == 700


@pytest.mark.parametrize("name", ["unheard_of", "quick"])
def test_who_has_learned_nothing_is_not_promoted(name: str) -> None:
    contest = Contest(ROOT, Churn(challengers={"quick": QUICK}))
    assert kinds(contest.promote(name, 0, 0)) == ["model_refused"]
    assert contest.standing.champion == BASE


def test_promoting_ends_a_hold_but_the_rule_does_not() -> None:
    contest = Contest(ROOT, BETTER)
    taught(contest, lessons(200, 7))
    contest.hold("earlier", 0)
    assert by(taught(contest, lessons(6_000, 8), at=200)) == []
    assert contest.standing.champion == BASE
    assert by(contest.promote("quick", 6_200, 6_200 * 1_200)) == ["quick"]
    assert set(by(taught(contest, lessons(300, 9), at=6_200))) == {"quick"}


# -- lists of features, configuration ------------------------------------------------------------------------


def learned_from(features: tuple[str, ...]) -> Contest:
    """A champion that an earlier program has learned from fewer features."""
    learner = Learner(features)
    for lesson in lessons(100, 10):
        learner.learn(lesson.features[: len(features)], lesson.label)
    known = Contender(learner.to_bytes(), positives=50, negatives=50)
    return Contest(ROOT, Churn(), Standing(contenders={BASE: known}, learned=100))


def test_a_new_list_of_features_starts_as_challenger() -> None:
    contest = learned_from(NARROW)
    former = f"base@{version_of(NARROW)[:8]}"
    assert (contest.standing.champion, set(contest.standing.contenders)) == (former, {former, BASE})
    said = taught(contest, lessons(500, 11))
    assert set(by(said)) == {former}
    assert contest.standing.contenders[BASE].positives + contest.standing.contenders[BASE].negatives == 500
    contest = again(contest, Churn())
    assert contest.standing.champion == former
    assert by(contest.promote(BASE, 500, 10**9)) == [BASE]
    assert set(contest.standing.contenders) == {BASE}
    assert set(again(contest, Churn()).standing.contenders) == {BASE}


def test_examples_of_the_former_list_are_learned_by_those_who_know_it() -> None:
    contest = learned_from(NARROW)
    former = contest.standing.champion
    old = [
        Lesson(each.features[: len(NARROW)], version_of(NARROW), each.treated, each.label, each.served)
        for each in lessons(100, 12)
    ]
    assert contest.knows(version_of(NARROW), len(NARROW)) and not contest.knows(version_of(NARROW), len(NARROW) + 1)
    assert not contest.knows("unheard of", len(NARROW))
    taught(contest, old)
    known = contest.standing.contenders
    assert (known[former].quality.filling.count, known[BASE].quality.filling.count) == (100, 0)


def test_an_unknown_list_of_features_is_refused() -> None:
    learner = msgspec.msgpack.decode(Learner().to_bytes())
    foreign = msgspec.msgpack.encode(["other", *learner[1:]])
    with pytest.raises(MissingContent, match="on features other"):
        Contest(ROOT, Churn(), Standing(contenders={BASE: Contender(foreign)}))


def test_a_challenger_goes_with_its_configuration_unless_it_is_the_champion() -> None:
    contest = Contest(ROOT, Churn(challengers={"quick": QUICK, "slow": SLOW}))
    taught(contest, lessons(100, 13))
    contest.promote("quick", 100, 0)
    left = again(contest, Churn())
    assert set(left.standing.contenders) == {BASE, f"quick@{VERSION[:8]}"}
    assert left.standing.champion == f"quick@{VERSION[:8]}"
    assert set(by(taught(left, lessons(500, 14), at=1_000))) == {f"quick@{VERSION[:8]}"}


# -- broken, drifting ----------------------------------------------------------------------------------------


def test_a_challenger_that_breaks_begins_anew_and_leaves_the_champion_alone() -> None:
    wild = Challenger(rate=1.0)
    contest, alone = Contest(ROOT, Churn(challengers={"wild": wild})), Contest(ROOT, Churn())
    some = [each._replace(features=[x * 1e3 for x in each.features]) for each in lessons(50, 15)]
    some += [lessons(1, 16)[0]._replace(features=[1e160] * len(FEATURES))] * 2
    assert "model_broken" in kinds(taught(contest, some))
    taught(alone, some)
    assert contest.standing.contenders["wild"].restarts == 1
    assert (
        contests.standing_of(contest.to_bytes()).contenders[BASE].learner
        == contests.standing_of(alone.to_bytes()).contenders[BASE].learner
    )


def test_a_drift_of_feature_base_rate_and_log_loss_is_told() -> None:
    contest = Contest(ROOT, Churn())
    assert kinds(taught(contest, lessons(64 * 150, 17))) == []
    moved = [
        each._replace(features=[each.features[0] + 0.5, *each.features[1:]])
        for each in lessons(64 * 40, 18, weight=-2.0, base=2.0)
    ]
    said = [each for each in taught(contest, moved, at=10_000) if isinstance(each, Noticed)]
    assert {each.kind for each in said} == {"model_drift"}
    told = {each.text.split(" is ")[0] for each in said}
    assert told >= {f"{ROOT}: base rate", f"{ROOT}: {FEATURES[0]}", f"{ROOT}: log loss"}
    assert not told & {f"{ROOT}: {name}" for name in FEATURES[1:]}
