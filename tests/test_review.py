"""Scores held against what happened: groups, periods, warnings and their lead; the page that shows them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.churn_page import page
from flows.churn_report import Asked, as_json, readable
from operators.review import ALONE, EVERYONE, HELD_OUT, TREATED, Review
from schemas.config import Config
from schemas.outputs import Example, Score
from schemas.stitched import Control
from tests.engage_helpers import DAY, T
from tests.test_ingest import call, produce

HORIZON = 28 * DAY


def review() -> Review:
    return Review(HORIZON, 0.8, 7 * DAY)


def matured(n: int, probability: float, label: bool, *, treated: bool = False, **more: object) -> Example:
    example = Example(f"c{n}", f"c{n}", T + n * DAY, [], "v", label, probability, "m", T, treated=treated)
    return msgspec.structs.replace(example, **more)


def scored(day: float, band: str = "low", *, purchase: bool = False, key: str = "default", who: str = "c") -> Score:
    probability = {"low": 0.1, "medium": 0.6, "high": 0.9}[band]
    return Score(who, T + int(day * DAY), probability, band, "m", purchase, key=key)


def warned(*scores: Score, until: float = 100) -> dict[str, float]:
    found = review()
    for score in scores:
        found.score(score)
    found.finish(T + int(until * DAY))
    return found.keys["default"].warnings.measures()


# -- examples ------------------------------------------------------------------------------------------------


def test_who_was_sent_a_message_is_told_apart() -> None:
    found = review()
    for n in range(100):
        found.example(matured(n, 0.5, n % 2 == 0, held_out=n < 20))
        found.example(matured(n, 0.5, n % 5 == 0, treated=True))
    groups = found.keys["default"].groups
    assert {name: group.tally.count for name, group in groups.items()} == {
        EVERYONE: 200,
        ALONE: 100,
        TREATED: 100,
        HELD_OUT: 20,
    }
    assert groups[ALONE].measures()["ece"] == groups[HELD_OUT].measures()["ece"] == 0.0
    assert groups[TREATED].measures()["ece"] == pytest.approx(0.3)
    assert groups[TREATED].reliability() == [(0.5, 0.2, 100)]


def test_precision_and_recall_are_those_at_the_high_threshold() -> None:
    found = review()
    said = [(0.8, True)] * 3 + [(0.9, False)] + [(0.79, True)] * 3 + [(0.1, False)] * 9
    for n, (probability, label) in enumerate(said):
        found.example(matured(n, probability, label))
    measures = found.keys["default"].groups[EVERYONE].measures()
    assert (measures["precision"], measures["recall"]) == (0.75, 0.5)
    only_low = review()
    only_low.example(matured(1, 0.1, False))
    assert not {"precision", "recall"} & only_low.keys["default"].groups[EVERYONE].measures().keys()


def test_each_key_has_its_own_and_periods_are_of_those_left_alone() -> None:
    found = review()
    for n in range(60):
        keys = ["country=CN"] if n % 3 == 0 else []
        found.example(matured(n, 0.5, False, treated=n % 2 == 0, keys=keys))
    assert found.keys["default"].groups[EVERYONE].tally.count == 60
    assert found.keys["country=CN"].groups[EVERYONE].tally.count == 20
    periods = found.keys["default"].periods
    assert sum(tally.count for tally in periods.values()) == 30
    assert all(start % (7 * DAY) == 0 for start in periods)
    assert len(periods) in (9, 10)


# -- warnings ------------------------------------------------------------------------------------------------


def test_a_warning_comes_true_if_the_horizon_passes_after_the_purchase() -> None:
    assert warned(
        scored(0, purchase=True), scored(10, "high"), scored(12, "high"), scored(40, purchase=True), until=41
    ) == {
        "warnings": 1,
        "lapses": 1,
        "precision": 1.0,
        "recall": 1.0,
        "median_lead_days": 18.0,
        "lead_of_14_days": 1.0,
    }


def test_a_warning_before_a_purchase_in_time_was_wrong() -> None:
    found = warned(scored(0, purchase=True), scored(10, "high"), scored(28, purchase=True), until=30)
    assert found == {"warnings": 1, "lapses": 0, "precision": 0.0}


def test_a_lapse_without_warning_in_time_was_missed() -> None:
    assert warned(scored(0, purchase=True), scored(29, "high"))["recall"] == 0.0
    assert warned(scored(0, purchase=True), scored(27, "medium")) == {"warnings": 0, "lapses": 1, "recall": 0.0}


def test_of_gaps_that_have_not_ended_nothing_is_said() -> None:
    some = scored(0, purchase=True), scored(10, "high")
    assert warned(*some, until=28) == {"warnings": 0, "lapses": 0}
    assert warned(*some, until=28.1)["lapses"] == 1
    # What came before the first purchase that is kept, nobody knows.
    assert warned(scored(1, "high")) == {"warnings": 0, "lapses": 0}


def test_a_purchase_may_warn_itself_and_a_late_one_changes_nothing() -> None:
    assert warned(scored(0, "high", purchase=True))["median_lead_days"] == 28
    late = scored(0, purchase=True), scored(5, "high"), scored(-3, purchase=True)
    assert warned(*late) == warned(*late[:2])


def test_warnings_are_told_of_the_key_whose_model_scored_last() -> None:
    found = review()
    for score in (
        scored(0, purchase=True, key="prior", who="a"),
        scored(7, "high", key="country=CN", who="a"),
        scored(0, purchase=True, key="default", who="b"),
    ):
        found.score(score)
    found.finish(T + 99 * DAY)
    rights = {key: (known.warnings.right, known.warnings.missed) for key, known in found.keys.items()}
    assert rights == {"default": (1, 1), "country=CN": (1, 0), "prior": (0, 0)}
    assert sum(found.keys["default"].levels) == 3


@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("plmh")), max_size=30))
def test_lapses_are_the_gaps_that_are_too_long(moments: list[tuple[int, str]]) -> None:
    bands = {"l": "low", "m": "medium", "h": "high", "p": "low"}
    moments = sorted([*moments, (0, "p")])
    found = warned(*[scored(day, bands[kind], purchase=kind == "p") for day, kind in moments])
    bought = sorted({day for day, kind in moments if kind == "p"})
    gaps = [later - day for day, later in zip(bought, [*bought[1:], 100], strict=True)]
    assert found["lapses"] == sum(gap > 28 for gap in gaps)
    assert found["warnings"] <= len(gaps)


# -- shown ---------------------------------------------------------------------------------------------------


def a_year() -> Review:
    found, draw = review(), random.Random(1)
    for n in range(400):
        probability = draw.random()
        example = matured(n, probability, draw.random() < probability, treated=n % 3 == 0, held_out=n % 10 == 1)
        found.example(msgspec.structs.replace(example, keys=["country=<CN>"] if n % 2 else []))
    for n in range(30):
        for score in (scored(n, purchase=True, who=f"c{n}"), scored(n + n % 20, "high", who=f"c{n}")):
            found.score(score)
    found.finish(T + 300 * DAY)
    return found


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text = page(a_year(), "Churn scores of <ts>")
    assert "http" not in text and "<script" not in text
    assert "country=&lt;CN&gt;" in text and "<ts>" not in text
    figures = text.split("<svg")[1:]
    assert len(figures) == 4 + 3  # leads are of warnings, which those of one country had none of
    for figure in figures:
        ElementTree.fromstring("<svg" + figure.split("</svg>")[0] + "</svg>")
    assert text.count("<circle") > 50
    assert page(review(), "nothing").startswith("<!doctype html>")


def test_lines_say_what_the_json_says() -> None:
    found = a_year()
    (row, other) = as_json(Asked(None, None, 7 * DAY), found)["keys"].values()
    lines = list(readable(found))
    assert lines[0] == "default"
    assert lines[1].startswith("  everyone") and f"AUC {row['groups'][EVERYONE]['auc']:.3f}" in lines[1]
    assert [line.split("  ")[1] for line in lines[2:5]] == ["left alone", "held out of all plays", "sent a message"]
    assert lines[5].startswith("  30 warnings, 30 lapses, precision 1.000, recall 1.000, ")
    assert len([line for line in lines if line.startswith("  from ")]) == len(row["periods"]) + len(other["periods"])
    assert list(readable(review())) == [
        "no scores and no matured examples: they come a horizon after customers have been scored"
    ]


@pytest.mark.system
def test_churn_is_reported(deployment: Config, tmp_path: Path) -> None:
    examples = [matured(n, 0.25, n % 4 == 0, treated=n % 2 == 0) for n in range(100)]
    produce(deployment, "churn.examples", [msgspec.json.encode(each) for each in examples])
    produce(deployment, "churn.examples", [msgspec.json.encode(Control(T, "release", "default"))], key=None)
    scores = [scored(0, purchase=True), scored(10, "high"), scored(80)]
    produce(deployment, "scores", [msgspec.json.encode(each) for each in scores])
    html = tmp_path / "churn.html"
    result = call(tmp_path, deployment, "report", "churn", "--json", "--html", str(html), "--period", "30d")
    found = json.loads(result.stdout)
    assert found["period"] == 30 * DAY
    (row,) = found["keys"].values()
    assert {name: group["examples"] for name, group in row["groups"].items()} == {
        EVERYONE: 100,
        ALONE: 50,
        TREATED: 50,
    }
    assert row["warnings"] == {
        "warnings": 1,
        "lapses": 1,
        "precision": 1.0,
        "recall": 1.0,
        "median_lead_days": 18.0,
        "lead_of_14_days": 1.0,
        "leads": {"18": 1},
    }
    assert "Churn scores of" in html.read_text()
    lines = call(tmp_path, deployment, "report", "churn", "--to", "2025-01-01").stdout.splitlines()
    assert lines[0].startswith("no scores and no matured examples")
