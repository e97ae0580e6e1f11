"""Churn and value: who is about to leave and what is at stake, and how far the model that says so can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from flows.web.known import Known, Learned, newest
from flows.web.screens import charts, parts
from flows.web.screens.live import Chart, View
from flows.web.screens.overview import alerts
from flows.web.screens.parts import Column, Html
from operators.churn import BANDS
from operators.keys import ROOT

#: Columns of the distribution of probabilities.
LEVELS: Final = 20
_BANDS: Final = {"low": "var(--good)", "medium": "var(--warn)", "high": "var(--bad)"}
#: Measures that are shown: how they are called, and whether more is better.
MEASURES: Final = {"auc": "AUC", "log_loss": "log loss", "brier": "Brier score", "ece": "calibration error"}
_COLUMNS: Final = (
    Column("Model"), Column("Learned", "num"), Column("AUC", "num"), Column("Log loss", "num"),
    Column("Calibration error", "num wide"), Column("Base rate", "num wide"), Column("Published", "num wide"),
)  # fmt: skip

LAYOUT: Final = parts.join(
    [
        parts.tag("div", data_html="tiles"),
        parts.grid(
            parts.card(
                "Probability to leave", "probability", "of customers scored lately", "two", "Distribution of scores"
            ),
            parts.card("Bands", "bands", "customers now"),
            parts.card(
                "Value at risk", "at_risk", "what customers of the high band have spent", "two", "Value at risk"
            ),
            parts.card("Buyers by recency, frequency and value", "segments", "of customers scored lately"),
            parts.card(
                "How good the model is", "quality", "area under the ROC curve, as published", "two", "AUC over time"
            ),
            parts.card("Stages", "stages", "of customers scored lately"),
            parts.card("Models", "models", "the newest of each", "all"),
            parts.card("Drift, and what became of models", "drift", "", "all"),
        ),
    ]
)


def view(known: Known, now: int) -> View:
    """What it shows."""
    return View(
        {
            "tiles": _tiles(known),
            "bands": _bands(known),
            "segments": _shares(score.segment for score in known.scores.values()),
            "stages": _shares(score.stage for score in known.scores.values()),
            "models": _models(known),
            "drift": alerts(
                [each for each in newest(known.alerts) if each.kind.startswith("model_")][:8],
                "No drift, and nobody has intervened.",
            ),
        },
        {"probability": _probability(known), "at_risk": _at_risk(known), "quality": _quality(known)},
    )


def _tiles(known: Known) -> Html:
    bands = known.so_far.bands if known.so_far else {}
    customers, high = sum(bands.values()), bands.get("high", 0)
    model = next(iter(newest([each for each in known.models if each.key == ROOT])), None)
    values = sorted([score.value for score in known.scores.values() if score.value is not None])
    part = f"{parts.share(high / customers)} are in the high band" if customers else "the high band"
    return parts.tiles(
        parts.tile("Customers with a score", parts.short(customers), "", "now"),
        parts.tile("About to leave", parts.short(high), "customers", part),
        parts.tile(
            "Value at risk", parts.money(known.so_far.at_risk if known.so_far else 0), "", "what those have spent"
        ),
        parts.tile(
            "To be expected",
            parts.money(values[len(values) // 2]) if values else parts.NONE,
            "",
            "what the median customer will spend within the horizon",
        ),
        parts.tile(
            "Model",
            f"{model.metrics['auc']:.3f}" if model and "auc" in model.metrics else parts.NONE,
            "AUC",
            parts.join(["published ", parts.ago(model.at)]) if model else "the prior serves",
        ),
    )


def _bands(known: Known) -> Html:
    bands = known.so_far.bands if known.so_far else {}
    total = sum(bands.values())
    rows = []
    for band in reversed(BANDS) if total else ():
        n = bands.get(band, 0)
        said = parts.join([parts.tag("b", parts.short(n)), parts.tag("small", parts.share(n / total))])
        rows.append((band, n, said))
    return parts.bars(rows, "Nobody has a score yet.", "bands")


def _shares(names: Iterable[str]) -> Html:
    counts = Counter(name for name in names if name)
    return parts.bars(
        [(parts.words(name), n, parts.share(n / counts.total(), 0)) for name, n in counts.most_common(8)],
        "No scores yet.",
    )


def _probability(known: Known) -> Chart:
    counts = Counter(min(LEVELS - 1, int(score.probability * LEVELS)) for score in known.scores.values())
    bands = {min(LEVELS - 1, int(score.probability * LEVELS)): score.band for score in known.scores.values()}
    names = [f"{100 * level // LEVELS} %" for level in range(LEVELS)]
    colours = [_BANDS.get(bands.get(level, ""), "var(--c1)") for level in range(LEVELS)]
    return charts.columns(names, [counts[level] for level in range(LEVELS)], "customers", colours)


def _at_risk(known: Known) -> Chart:
    return charts.course({"value at risk": [(at, value) for at, _, value in known.levels]}, "", digits=0)


def _quality(known: Known) -> Chart:
    series: dict[str, list[tuple[int, float | None]]] = {}
    for each in sorted(known.models, key=lambda each: each.at):
        for measure, title in (("auc", ""), ("served_auc", " as served")):
            if measure in each.metrics:
                series.setdefault(each.key + title, []).append((each.at, each.metrics[measure]))
    return charts.course(dict(sorted(series.items())[:6]), "AUC", digits=3, from_zero=False)


def _models(known: Known) -> Html:
    latest: dict[str, Learned] = {each.key: each for each in sorted(known.models, key=lambda each: each.at)}
    return parts.table(
        "Models",
        _COLUMNS,
        [_model(each) for _, each in sorted(latest.items())],
        "No model was learned yet: the prior serves.",
    )


def _model(each: Learned) -> list[object]:
    def said(name: str) -> str:
        return f"{each.metrics[name]:.3f}" if name in each.metrics else parts.NONE

    learned = parts.short(each.metrics.get("learned", 0))
    return [each.key, learned, said("auc"), said("log_loss"), said("ece"), said("base_rate"), parts.ago(each.at)]
