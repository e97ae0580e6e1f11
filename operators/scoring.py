"""Scoring: the churn score at purchases and on a weekly grid per customer, and the learning examples of the grid.

The features at a grid point are kept with the prediction and released with the label when the horizon has
passed: both classes with the same delay, or the model learns that news is good news.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from operators import features, fold, governance
from operators.churn import PRIOR, Model, band
from operators.keys import ROOT, path
from operators.playbook import PlayBook
from operators.plays import DAY
from operators.shard import Shard
from schemas import outputs, stitched
from schemas.config import Churn, Config
from schemas.topics import topic_name
from state.profile import OpenExample, Profile

#: Open examples of one customer, the newest stay.
OPEN_EXAMPLES = 8
#: Whose model answered where none was learned: the prior.
NO_MODEL = "prior"
#: A customer silent for this many horizons is not scored until the next purchase: everything is said.
SILENT_HORIZONS = 6


class Scorer:
    """Scores with the models that the shard's log has activated, or with the stated prior before any was."""

    def __init__(self, config: Config, models: Mapping[str, Model]) -> None:
        self._churn = config.churn
        self._models = models
        self._scores = topic_name(config, "scores")
        self._examples = topic_name(config, "churn.examples")

    def score(
        self, shard: Shard, profile: Profile, time: int, examples: list[OpenExample] | None = None
    ) -> outputs.Score:
        """Score a customer at ``time`` (ms): on the grid, where ``examples`` keep the features for learning, or
        at a purchase, where there are none."""
        keys = path(profile, self._churn.keys)
        model, key = self._answering(shard, keys)
        vector = features.vector(profile.behaviour, time)
        probability = model.probability(vector)
        profile.band = band(probability, profile.band or None, self._churn)
        profile.score, profile.scored_at = probability, time
        score = outputs.Score(
            profile.customer, time, probability, profile.band, model.hash, examples is None, model.reasons(vector), key
        )
        shard.emit(self._scores, -1, profile.customer, stitched.encode(score))
        if examples is not None:
            examples.append(
                OpenExample(time, vector, features.VERSION, probability, model.hash, profile.customer, keys)
            )
            del examples[:-OPEN_EXAMPLES]
        return score

    def _answering(self, shard: Shard, keys: list[str]) -> tuple[Model, str]:
        """The model of the narrowest key that has one, and the key."""
        active = shard.state.models
        for key in (*reversed(keys), ROOT):
            if key in active:
                return self._models[active[key]], key
        return PRIOR, NO_MODEL

    def mature(self, shard: Shard, profile: Profile, examples: list[OpenExample], due: int, book: PlayBook) -> None:
        """Release the examples whose horizon has passed at ``due``: label = no purchase within it."""
        horizon = self._churn.horizon_days * DAY
        for example in [example for example in examples if example.time + horizon <= due]:
            examples.remove(example)
            released = outputs.Example(
                id=f"{example.customer}/{example.time}",
                customer=profile.customer,
                time=example.time,
                features=example.features,
                features_version=example.version,
                label=not features.purchased_between(profile.behaviour, example.time, example.time + horizon),
                probability=example.probability,
                model=example.model,
                at=shard.state.at,
                keys=example.keys,
                treated=treated_between(profile.treatments, example.time, example.time + horizon),
                held_out=governance.never_told([profile.customer, *profile.births], book),
            )
            shard.emit(self._examples, 0, profile.customer, stitched.encode(released))


def treated_between(treatments: Sequence[int], after: int, until: int) -> bool:
    """Whether a message was sent after ``after`` and up to ``until`` (ms). Of whom older ones have been forgotten,
    since there were so many later ones, it is taken to be so."""
    if len(treatments) == governance.KEPT_TREATMENTS and treatments[0] > until:
        return True
    return any([after < time <= until for time in treatments])


def schedule_grid(profile: Profile, at: int, churn: Churn) -> None:
    """The next grid point after ``at``, spread over the grid by the customer's hash; none after long silence.

    Points that passed unnoticed are skipped: a score of the past helps nobody.
    """
    silent = at - fold.last_order(profile.behaviour)
    if silent > SILENT_HORIZONS * churn.horizon_days * DAY:
        fold.set_timer(profile, "grid", "", None)
        return
    grid = churn.grid_days * DAY
    fold.set_timer(profile, "grid", "", at + grid - (at - crc32(profile.customer.encode())) % grid)


def schedule_label(profile: Profile, examples: list[OpenExample], churn: Churn) -> None:
    """When the earliest open example matures."""
    due = min((example.time + churn.horizon_days * DAY for example in examples), default=None)
    fold.set_timer(profile, "label", "", due)
