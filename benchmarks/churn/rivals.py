"""What the online model is compared with, on the same rows: rules, BG/NBD, and batch models refitted every 28 days on
the examples that have matured by then.

Rules give a rank, which a logistic regression on it turns into a probability, refitted as the batch models are. BG/NBD
(Fader, Hardie and Lee, "Counting your customers" the easy way, Marketing Science 24, 2005) needs no labels: its four
parameters are fitted to repeats, latest repeat and age of all customers at each refit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, gammaln

from benchmarks.churn.lived import Lived, steps

Floats = NDArray[np.float64]
NAMES = ("few orders", "recency", "BG/NBD", "batch logistic", "batch boosting")


def rivals(lived: Lived, seed: int) -> Iterator[tuple[str, Floats]]:
    """Each rival's name and its probability for every row, nan where it is not judged."""
    table = lived.table
    yield NAMES[0], _refitted(lived, np.log1p(table["few"])[:, None], _logistic)
    yield NAMES[1], _refitted(lived, np.log1p(table["recency"])[:, None], _logistic)
    yield NAMES[2], _bgnbd(lived)
    yield NAMES[3], _refitted(lived, lived.vectors, _logistic)
    yield NAMES[4], _refitted(lived, lived.vectors, lambda: _boosting(seed))


def _refitted(lived: Lived, inputs: Floats, model: Any) -> Floats:
    answers, labels = np.full(len(inputs), np.nan), lived.table["label"]
    for tested, known, _ in steps(lived):
        fitted = model().fit(inputs[known], labels[known])
        answers[tested] = fitted.predict_proba(inputs[tested])[:, 1]
    return answers


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _boosting(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.06, max_leaf_nodes=12, min_samples_leaf=80, l2_regularization=5.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip


def _bgnbd(lived: Lived) -> Floats:
    """P(no order within the horizon) = 1 - P(alive) * P(an order | alive)."""
    table, day = lived.table, lived.table["day"]
    repeats, last, age = table["repeats"], table["last"], table["age"]
    answers, parameters = np.full(len(day), np.nan), np.zeros(4)
    for tested, _, start in steps(lived):
        now = day == day[day <= start].max()
        parameters = _fit(repeats[now], last[now], age[now], parameters)
        answers[tested] = _none(parameters, repeats[tested], last[tested], age[tested], lived.log.churn.horizon_days)
    return answers


def _fit(x: Floats, t: Floats, age: Floats, start: Floats) -> Floats:
    """ln r, ln alpha, ln a, ln b of largest likelihood; days as months, so that the four are of one size."""
    t, age = t / 30, age / 30
    found = minimize(lambda logs: -_log_likelihood(np.exp(logs), x, t, age), start, method="Nelder-Mead")
    best: Floats = found.x
    return best


def _log_likelihood(parameters: Floats, x: Floats, t: Floats, age: Floats) -> float:
    r, alpha, a, b = parameters
    alive = -(r + x) * np.log(alpha + age)
    gone = np.where(x > 0, np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t), -np.inf)
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    drop = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    return float((common + drop + np.logaddexp(alive, gone)).mean())


def _none(logs: Floats, x: Floats, t: Floats, age: Floats, horizon: int) -> Floats:
    r, alpha, a, b = np.exp(logs)
    t, age, ahead = t / 30, age / 30, horizon / 30
    gone = np.log(a) - np.log(b + np.maximum(x, 1) - 1) + (r + x) * (np.log(alpha + age) - np.log(alpha + t))
    alive = np.where(x > 0, expit(-gone), 1.0)
    silent = ((alpha + age) / (alpha + age + ahead)) ** (r + x)
    none: Floats = 1 - alive * (1 - silent)
    return none
