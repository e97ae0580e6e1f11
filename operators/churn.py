"""The churn model: learned online by river, served by plain arithmetic, stored by the hash of its content.

Logistic regression on standardised features, weights w and intercept b (averages over the latest `WINDOW` examples),
feature means m and variances v::

    P(no purchase within the horizon) = 1 / (1 + exp(-(b + sum of w (x - m) / sqrt(v))))

A message changes what it is to predict. So whether one was sent meanwhile is learned with an indicator beside the
features, of weight d where there was one; what is served is the risk of those who are left alone.

A `Learner` learns, its `Learner.content` is what is published, a `Model` is what serves::

    learner = Learner()
    learner.learn(vector, label=True)
    model = Model.from_bytes(learner.content(offset=1, metrics={}))
    model.probability(vector) == learner.probability(vector)     # within 1e-9
"""

from __future__ import annotations

from hashlib import blake2b
from math import exp, isfinite, sqrt
from typing import Any

import msgspec

from operators.features import FEATURES, VERSION, version_of
from schemas.config import Churn
from schemas.errors import MALFORMED, MissingContent

#: On standardised features a weight of 10 turns the odds by 22,000 for one deviation: far beyond it, learning exploded.
MAX_WEIGHT = 100.0
#: The indicator among river's weights (no feature has this name), and what it is where there was a message: about as
#: far from 0 as a scaled feature would be, so that it learns as fast.
_TREATED, _INDICATED = "*treated", 2.0
#: Step size of the weights (measured on two retail logs) and of the intercept (river's own).
LEARNING_RATE, INTERCEPT_RATE = 0.003, 0.01
#: In the average of weights, those of the latest step weigh 8 in n + 7, so that what was before the first thousand
#: examples is soon gone, and never less than one in 10,000.
RECENT, WINDOW = 8, 10_000
#: river's logistic function is exactly 0 or 1 beyond this.
_SATURATED = 30.0

BANDS = ("low", "medium", "high")
#: Features that are told as the reasons of a score.
REASONS = 3


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The published form, as canonical JSON. ``offset``: the next one of the example log; ``treatment``: what a message
    adds to the log-odds, which is told and not served; ``key``: the customers it is about; ``by``: what it was learned
    as, the first of a key or a challenger."""

    features: tuple[str, ...]
    features_version: str
    offset: int
    metrics: dict[str, float]
    means: tuple[float, ...]
    variances: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    kind: str = "logistic"
    treatment: float = 0.0
    key: str = "default"
    by: str = ""


class _State(msgspec.Struct, array_like=True):
    """A learner's memory, as msgpack: doubles survive bit by bit."""

    features_version: str
    count: int
    means: list[float]
    variances: list[float]
    weights: list[float]
    intercept: float
    treatment: float = 0.0
    features: list[str] = []
    averages: list[float] = []
    average_intercept: float = 0.0
    average_treatment: float = 0.0


_content_decoder = msgspec.json.Decoder(Content)
_state_decoder = msgspec.msgpack.Decoder(_State)


class Model(msgspec.Struct, frozen=True):
    """The serving form: ``terms`` holds each feature's mean and its weight over its standard deviation.

    The means are not folded into the intercept: where a feature hardly varies, that difference of two huge
    numbers would leave nothing right. ``features``: which they are, some of those that are known.
    """

    hash: str
    features_version: str
    intercept: float
    terms: tuple[tuple[float, float], ...]
    features: tuple[str, ...] = FEATURES
    key: str = "default"

    @classmethod
    def from_bytes(cls, content: bytes) -> Model:
        """Read published content. Raises `MissingContent` if this program cannot serve it."""
        digest = content_hash(content)
        try:
            learned = _content_decoder.decode(content)
        except MALFORMED as error:
            raise MissingContent(f"model {digest} cannot be read: {error}; store its content again") from None
        if learned.features_version != version_of(learned.features) or learned.kind != "logistic":
            raise MissingContent(
                f"model {digest} is {learned.kind} on features {learned.features_version}, this program knows only "
                f"logistic on {VERSION} and parts of it; run the version of touchstream that the model was learned with"
            )
        if not _sound(learned, len(learned.features)):
            raise MissingContent(f"model {digest} is numerically broken; activate an earlier one")
        # The very same tuple, so that `project` need not compare names.
        names = FEATURES if learned.features == FEATURES else learned.features
        return cls(digest, learned.features_version, learned.intercept, _terms(learned), names, learned.key)

    def probability(self, vector: list[float]) -> float:
        """Probability of no purchase within the horizon, for the features in the order of `FEATURES`."""
        logit, vector = self.intercept, project(vector, self.features)
        # Not sum(): from Python 3.12 on it rounds otherwise, and a replay must give the same score.
        for value, (mean, slope) in zip(vector, self.terms, strict=True):
            logit += (value - mean) * slope
        return _logistic(logit)

    def reasons(self, vector: list[float]) -> dict[str, float]:
        """The features that move the log-odds most, each with its term of the sum above: at most `REASONS`, the
        largest first, to three decimals. Above 0 is towards no purchase."""
        terms = [
            (round((value - mean) * slope, 3), name)
            for name, value, (mean, slope) in zip(
                self.features, project(vector, self.features), self.terms, strict=True
            )
        ]
        terms.sort(key=lambda term: -abs(term[0]))
        return {name: term for term, name in terms[:REASONS] if term}


class Learner:
    """river's logistic regression by SGD on standardised ``features``, served with the average of its weights.

    The weights of SGD jitter around what they estimate, and their average is better than any of them (Polyak and
    Juditsky, Acceleration of stochastic approximation by averaging, 1992), later ones counting more (Shamir and Zhang,
    Stochastic gradient descent for non-smooth optimization, 2013). It is one linear model still, and as fast to serve.
    Scaling is what river's ``StandardScaler`` does, in one loop: its dictionaries take half of the time. river is
    imported here and not above: it takes two seconds and 100 MB, and only learning needs it.
    """

    def __init__(self, features: tuple[str, ...] = FEATURES, rate: float = LEARNING_RATE) -> None:
        from river import linear_model, optim

        self.features, self.version = features, version_of(features)
        # It has methods without types.
        self._regression: Any = linear_model.LogisticRegression(optimizer=optim.SGD(rate), intercept_lr=INTERCEPT_RATE)
        self._means = [0.0] * len(features)
        self._variances = [0.0] * len(features)
        self._averages = [0.0] * len(features)
        self._intercept = self._treatment = 0.0

    @property
    def count(self) -> int:
        """Examples learned."""
        return int(self._regression.optimizer.n_iterations)

    @property
    def treatment(self) -> float:
        """What a message adds to the log-odds, as far as is known."""
        return self._treatment * _INDICATED

    def learn(self, vector: list[float], label: bool, treated: bool = False) -> None:
        """Learn one matured example; ``label``: no purchase followed within the horizon; ``treated``: a message did."""
        regression, nth = self._regression, self.count + 1
        scaled = self._scale(vector, nth)
        # The indicator is not scaled: it is 0 for those who are left alone, so that serving can leave it out.
        if treated:
            scaled[_TREATED] = _INDICATED
        regression.learn_one(scaled, label)
        weights, share = regression.weights, max(RECENT / (nth + RECENT - 1), 1.0 / WINDOW)
        self._averages = [
            average + (weights[name] - average) * share
            for name, average in zip(self.features, self._averages, strict=True)
        ]
        self._intercept += (regression.intercept - self._intercept) * share
        self._treatment += (weights.get(_TREATED, 0.0) - self._treatment) * share

    def _scale(self, vector: list[float], nth: int) -> dict[str, float]:
        """Take the ``nth`` example into means and variances, and standardise it by them."""
        means, variances, scaled = [], [], {}
        for name, value, mean, variance in zip(self.features, vector, self._means, self._variances, strict=True):
            off = value - mean
            mean += off / nth
            rest = value - mean
            variance += (off * rest - variance) / nth
            means.append(mean)
            variances.append(variance)
            scaled[name] = rest / sqrt(variance) if variance > 0 else 0.0
        self._means, self._variances = means, variances
        return scaled

    def probability(self, vector: list[float], treated: bool = False) -> float:
        """What a model published now would answer, and with a message in between; 0.5 before anything was learned."""
        logit = self._intercept + self.treatment if treated else self._intercept
        for value, mean, variance, weight in zip(vector, self._means, self._variances, self._averages, strict=True):
            if variance > 0:
                logit += (value - mean) / sqrt(variance) * weight
        return _logistic(logit)

    def to_bytes(self) -> bytes:
        """Everything learned, so that `from_bytes` goes on to bit-identical weights."""
        return msgspec.msgpack.encode(self._state())

    @classmethod
    def from_bytes(cls, raw: bytes, rate: float = LEARNING_RATE) -> Learner:
        """Raises `MissingContent` if ``raw`` was learned from features that this program does not know."""
        from river.utils import VectorDict

        state = _state_decoder.decode(raw)
        if state.features_version != version_of(state.features):
            raise MissingContent(
                f"the learner's state is on features {state.features_version}, this program's are {VERSION}; "
                "remove the state to learn anew, or run the version it was written with"
            )
        learner = cls(tuple(state.features), rate)
        learner._means, learner._variances = state.means, state.variances
        learner._averages = state.averages
        learner._intercept, learner._treatment = state.average_intercept, state.average_treatment
        if not state.averages:  # written before weights were averaged
            learner._averages = state.weights
            learner._intercept, learner._treatment = state.intercept, state.treatment / _INDICATED
        if state.count:
            weights = dict(zip(state.features, state.weights, strict=True))
            learner._regression._weights = VectorDict({**weights, _TREATED: state.treatment / _INDICATED})
        learner._regression.intercept = state.intercept
        learner._regression.optimizer.n_iterations = state.count
        return learner

    def sound(self) -> bool:
        """Whether all numbers are finite and no weight has exploded."""
        return _sound(self._state(), len(self.features))

    def content(self, offset: int, metrics: dict[str, float], key: str = "default", by: str = "") -> bytes:
        """Canonical bytes of the serving model: same learning, offset and metrics, same bytes.

        Raises `ValueError` for a numerically broken model, which must never be published.
        """
        state = self._state()
        if not _sound(state, len(self.features)) or not all(map(isfinite, metrics.values())):
            raise ValueError(f"the churn model is numerically broken after {state.count} examples: {state}")
        return _encoded(
            Content(
                features=self.features,
                features_version=self.version,
                offset=offset,
                metrics=metrics,
                means=tuple(state.means),
                variances=tuple(state.variances),
                weights=tuple(self._averages),
                intercept=self._intercept,
                treatment=self.treatment,
                key=key,
                by=by,
            )
        )

    def _state(self) -> _State:
        regression, weights = self._regression, self._regression.weights
        return _State(
            self.version,
            self.count,
            self._means,
            self._variances,
            [float(weights.get(name, 0.0)) for name in self.features],
            float(regression.intercept),
            float(weights.get(_TREATED, 0.0)) * _INDICATED,
            list(self.features),
            self._averages,
            self._intercept,
            self._treatment,
        )


def project(vector: list[float], features: tuple[str, ...]) -> list[float]:
    """Of a vector in the order of `FEATURES` what a model of some of them reads."""
    if features is FEATURES or features == FEATURES:
        return vector
    named = dict(zip(FEATURES, vector, strict=True))
    return [named[name] for name in features]


def content_hash(content: bytes) -> str:
    """The name of model content: blake2b, 16 bytes, in hex."""
    return blake2b(content, digest_size=16).hexdigest()


def band(probability: float, previous: str | None, churn: Churn) -> str:
    """``low``, ``medium`` or ``high``. A band is entered at its threshold and left ``hysteresis`` below it."""
    held = BANDS.index(previous) if previous in BANDS else 0
    for level, threshold in ((2, churn.high), (1, churn.medium)):
        if probability >= (threshold - churn.hysteresis if held >= level else threshold):
            return BANDS[level]
    return BANDS[0]


def _prior() -> bytes:
    """What answers before anything was learned: a low-count rule for a horizon of 28 days.

    A customer's orders are taken as Poisson with a Gamma(1/2, 30 d) rate (mean: one in 60 days). n orders,
    decayed at a half-life of 112 days, stand for T = 112 / ln 2 = 162 days of watching, and
    P(none in 28 d) = ((30 + T) / (58 + T))^(n + 1/2). Log-odds of 2.7 - 1.7 ln(1 + n) come within 0.06 of it.
    """
    weights = {"orders_slow": -1.7}
    return _encoded(
        Content(
            features=FEATURES,
            features_version=VERSION,
            offset=0,
            metrics={},
            means=(0.0,) * len(FEATURES),
            variances=(1.0,) * len(FEATURES),
            weights=tuple(weights.get(name, 0.0) for name in FEATURES),
            intercept=2.7,
        )
    )


def _encoded(content: Content) -> bytes:
    return msgspec.json.encode(content, order="deterministic")


def _sound(numbers: Content | _State, length: int) -> bool:
    """Full length, finite, variances not negative, weights not exploded. Averages are sound if what they are of is."""
    lists = (numbers.means, numbers.variances, numbers.weights)
    if any(len(values) != length or not all(map(isfinite, values)) for values in lists):
        return False
    weights = (*numbers.weights, numbers.intercept, numbers.treatment)
    return min(numbers.variances) >= 0 and all(abs(weight) <= MAX_WEIGHT for weight in weights)


def _terms(learned: Content) -> tuple[tuple[float, float], ...]:
    """A feature that never varied (variance 0) counts nothing, as with river."""
    lists = zip(learned.means, learned.variances, learned.weights, strict=True)
    return tuple((mean, weight / sqrt(variance) if variance > 0 else 0.0) for mean, variance, weight in lists)


def _logistic(logit: float) -> float:
    if logit < -_SATURATED:
        return 0.0
    return 1.0 if logit > _SATURATED else 1.0 / (1.0 + exp(-logit))


PRIOR_CONTENT = _prior()
PRIOR = Model.from_bytes(PRIOR_CONTENT)
