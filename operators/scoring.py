"""Scoring: the churn score at purchases and on a weekly grid per customer, and the learning examples of the grid.

The features at a grid point are kept with the prediction and released with the label when the horizon has
passed: both classes with the same delay, or the model learns that news is good news.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from operators import clv, features, fold, governance, lifecycle
from operators.churn import PRIOR, Model, band
from operators.keys import GAP, ROOT, path
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
        model, key = self._answering(shard, keys) or (PRIOR, NO_MODEL)
        vector = features.vector(profile.behaviour, time)
        probability = model.probability(vector)
        profile.band = band(probability, profile.band or None, self._churn)
        profile.score, profile.scored_at = probability, time
        lapse, lapse_key = self._lapse(shard, profile, keys, vector, probability, time)
        if examples is not None:
            shard.state.ranks = lifecycle.count(shard.state.ranks, profile.behaviour, time)
        horizon = self._churn.horizon_days * DAY
        stands = lifecycle.standing(shard.state.ranks, profile.behaviour, profile.band, time, horizon)
        outlooks = clv.outlooks(profile.behaviour, time, self._churn.horizon_days)
        profile.value = features.cents(shard.state.worth.expected(outlooks))
        score = outputs.Score(
            profile.customer,
            time,
            probability,
            profile.band,
            model.hash,
            examples is None,
            model.reasons(vector),
            key,
            lapse,
            lapse_key,
            *stands,
            profile.value / 100,
        )
        shard.emit(self._scores, -1, profile.customer, stitched.encode(score))
        if examples is not None:
            examples.append(
                OpenExample(
                    time,
                    vector,
                    features.VERSION,
                    probability,
                    model.hash,
                    profile.customer,
                    keys,
                    fold.last_order(profile.behaviour),
                    -1.0 if lapse is None else lapse,
                    outlooks,
                    profile.behaviour.spent,
                )
            )
            del examples[:-OPEN_EXAMPLES]
        return score

    def _answering(self, shard: Shard, keys: list[str], target: str = "") -> tuple[Model, str] | None:
        """The model of the narrowest key that has one, and the key; None if there is none yet."""
        active = shard.state.models
        for key in (*reversed(keys), ROOT):
            if (found := active.get(target + key)) is not None:
                return self._models[found], key
        return None

    def _lapse(
        self, shard: Shard, profile: Profile, keys: list[str], vector: list[float], probability: float, time: int
    ) -> tuple[float | None, str]:
        """The probability that the gap since the last order becomes longer than the horizon, and whose model says so.

        Where none was learned: orders are taken as Poisson, so that to be silent for a share of the horizon is as
        probable as for all of it, to the power of that share.
        """
        horizon = self._churn.horizon_days * DAY
        left = fold.last_order(profile.behaviour) + horizon - time
        if not 0 < left <= horizon:
            return None, ""
        answering = self._answering(shard, keys, GAP)
        if answering is None:
            return probability ** (left / horizon), NO_MODEL
        return answering[0].probability(vector), answering[1]

    def mature(self, shard: Shard, profile: Profile, examples: list[OpenExample], due: int, book: PlayBook) -> None:
        """Release the examples whose horizon has passed at ``due``: label = no purchase within it."""
        horizon = self._churn.horizon_days * DAY
        for example in [example for example in examples if example.time + horizon <= due]:
            examples.remove(example)
            if example.outlooks:
                shard.state.worth.learn(example.outlooks, (profile.behaviour.spent - example.spent) / 100)
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
                lapsed=None
                if example.lapse < 0
                else not features.purchased_between(profile.behaviour, example.time, example.ordered + horizon),
                lapse=None if example.lapse < 0 else example.lapse,
            )
            shard.emit(self._examples, 0, profile.customer, stitched.encode(released))


def treated_between(treatments: Sequence[int], after: int, until: int) -> bool:
    """Whether a message was sent after ``after`` and up to ``until`` (ms). Of whom older ones have been forgotten,
    since there were so many later ones, it is taken to be so."""
    if len(treatments) == governance.KEPT_TREATMENTS and treatments[0] > until:
        return True
    return any([after < time <= until for time in treatments])


def forget_spent(examples: list[OpenExample]) -> None:
    """A customer has become more or fewer: what is spent from now on says nothing of what was expected of it before."""
    for example in examples:
        example.outlooks = ()


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
