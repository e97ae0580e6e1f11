"""``touchstream report churn``: scores held against what happened (`operators.review`), for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from flows.reading import decoded, read
from operators.plays import DAY
from operators.quality import measured
from operators.review import ALONE, EVERYONE, HELD_OUT, TREATED, Review, Reviewed
from schemas.config import Config
from schemas.outputs import Example, Score
from schemas.topics import topic_name

_examples, _scores = msgspec.json.Decoder(Example), msgspec.json.Decoder(Score)


class Asked(msgspec.Struct, frozen=True):
    """What to look at: what was scored from ``start`` until before ``end`` (ms; None: at any time), by ``period``
    (ms)."""

    start: int | None
    end: int | None
    period: int

    def __contains__(self, time: int) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


def review(config: Config, asked: Asked, progress: Callable[[int], None]) -> Review:
    """Read ``scores`` and ``churn.examples`` (read_committed) to their ends. Raises `TouchstreamError`."""
    churn, done, latest = config.churn, 0, 0
    found = Review(churn.horizon_days * DAY, churn.high, asked.period)
    for name in ("scores", "churn.examples"):
        for messages in read(config, topic_name(config, name), start=0, follow=False):
            for message in messages:
                if message.key() is None:  # an operator's word to the learn flow
                    continue
                if name == "scores":
                    score = decoded(_scores, name, message)
                    latest = max(latest, score.at)
                    if score.at in asked:
                        found.score(score)
                else:
                    example = decoded(_examples, name, message)
                    if example.time in asked:
                        found.example(example)
            done += len(messages)
            progress(done)
    found.finish(latest if asked.end is None else min(asked.end, latest))
    return found


# -- shown -------------------------------------------------------------------------------------------------


def as_json(asked: Asked, found: Review) -> dict[str, Any]:
    """All there is to say. Times in ms."""
    return {
        "from": asked.start,
        "to": asked.end,
        "period": asked.period,
        "keys": {key: _row(found.keys[key]) for key in sorted(found.keys, key=widest_first)},
    }


def _row(known: Reviewed) -> dict[str, Any]:
    return {
        "groups": {
            name: {**group.measures(), "reliability": group.reliability()} for name, group in known.groups.items()
        },
        "periods": [{"from": start, **measured(known.periods[start])} for start in sorted(known.periods)],
        "warnings": {
            **known.warnings.measures(),
            "leads": {str(days): known.warnings.leads[days] for days in sorted(known.warnings.leads)},
        },
        "scores": known.levels,
    }


def widest_first(key: str) -> tuple[int, str]:
    """Sorts model keys: that of all customers, then those with fewer in common."""
    return (0 if key == "default" else key.count(",") + 1, key)


#: Measure -> how it is called.
MEASURES = {
    "examples": "examples", "base_rate": "left", "auc": "AUC", "average_precision": "average precision",
    "log_loss": "log loss", "brier": "Brier", "ece": "ECE", "precision": "precision", "recall": "recall",
}  # fmt: skip
#: Group -> how it is called.
GROUPS = {
    EVERYONE: "everyone",
    ALONE: "left alone",
    HELD_OUT: "held out of all plays",
    TREATED: "sent a message",
}


def readable(found: Review) -> Iterator[str]:
    """Lines for people."""
    if not found.keys:
        yield "no scores and no matured examples: they come a horizon after customers have been scored"
    for key in sorted(found.keys, key=widest_first):
        known = found.keys[key]
        yield key
        for name, title in GROUPS.items():
            if name in known.groups:
                yield f"  {title:22}{_said(known.groups[name].measures())}"
        for line in _warned(known.warnings.measures()):
            yield f"  {line}"
        for start, tally in sorted(known.periods.items()):
            yield f"  from {day(start)}       {_said(measured(tally))}"


def _said(measures: Mapping[str, float]) -> str:
    said = [
        f"{title} {measures[name]:.3f}" for name, title in MEASURES.items() if name in measures and name != "examples"
    ]
    return "  ".join([f"{int(measures['examples']):>8,} examples", *said])


def _warned(measures: Mapping[str, float]) -> Iterator[str]:
    if measures["warnings"] or measures["lapses"]:
        said = f"{int(measures['warnings']):,} warnings, {int(measures['lapses']):,} lapses"
        for name, title in (("precision", "precision"), ("recall", "recall")):
            said += f", {title} {measures[name]:.3f}" if name in measures else ""
        if "median_lead_days" in measures:
            said += f", {measures['median_lead_days']:.0f} days ahead in the median"
            said += f", {100 * measures['lead_of_14_days']:.0f} % of them 14 or more"
        yield said


def day(time: int) -> str:
    """The UTC day of a time (ms)."""
    return datetime.fromtimestamp(time / 1000, UTC).date().isoformat()
