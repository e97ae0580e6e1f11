"""What the screens know: bounded memory of the last hour, filled from the output topics.

::

    known = Known()
    known.take("kpis", key, value, timestamp)     # any record of `READ`, with the broker's time (ms)
    known.hour["orders"][""], known.rate("source", now, name="web")

What happened is the difference between two records of all that has happened so far (`schemas.outputs.Kpis`, key
``0/0``), put into the second in which the broker got the later one. So rates are those of the wall clock, whatever
clock the log goes by, and nothing has to be added up again when a window is corrected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from operators.churn import Content
from operators.figures import bucket
from schemas.outputs import Alert, DeadLetter, Kpis
from schemas.topics import ALERTS, DEAD_LETTERS, KPIS, MODELS

#: What is read, and of each topic at most how many of the records that are there at the start: an hour of figures, and
#: of the rest what is listed or counted.
READ: Final = {
    KPIS: 40_000, "triggers": 5_000, "decisions": 2_000, ALERTS: 500, "scores": 10_000, DEAD_LETTERS: 5_000,
    MODELS: 1_000,
}  # fmt: skip
#: Seconds that are remembered one by one.
KEPT: Final = 3_600
#: What is listed, the newest of each; and of so many customers, the latest that were heard of, the score is known.
LISTED, CUSTOMERS = 60, 10_000
#: How often (ms) levels are noted for their course over the hour.
_NOTED: Final = 10_000
SO_FAR: Final = b"0/0"
_MINUTES: Final = b"60/"

#: How much or how often, by kind and by name within.
Counts = dict[str, dict[str, float]]


class _At(Protocol):
    @property
    def at(self) -> int:
        """When (ms)."""


T = TypeVar("T")
Dated = TypeVar("Dated", bound=_At)


class Fired(NamedTuple):
    """A trigger as listed; times in ms, ``latency`` from the broker's time of the touchpoint to its own, None where a
    timer gave birth to it."""

    at: int
    play: str
    channel: str
    customer: str
    latency: int | None


class Stopped(NamedTuple):
    """A decision against a message."""

    at: int
    play: str
    outcome: str
    code: str
    customer: str


class Scored(NamedTuple):
    """What a score says that is shown."""

    at: int
    probability: float
    band: str
    stage: str
    segment: str
    value: float | None
    reasons: Mapping[str, float]


class Learned(NamedTuple):
    """A model as published, and how good it was then."""

    at: int
    key: str
    metrics: Mapping[str, float]


class _TriggerData(msgspec.Struct):
    play: str
    channel: str
    customer: str
    touchpoint_ts: int


class _Trigger(msgspec.Struct):
    data: _TriggerData


class _Decision(msgspec.Struct):
    play: str
    outcome: str
    customer: str
    code: str | None = None


class _Score(msgspec.Struct):
    customer: str
    probability: float
    band: str
    stage: str = ""
    rfm_segment: str = ""
    clv: float | None = None
    reasons: dict[str, float] = {}


_kpis = msgspec.json.Decoder(Kpis)
_triggers = msgspec.json.Decoder(_Trigger)
_decisions = msgspec.json.Decoder(_Decision)
_scores = msgspec.json.Decoder(_Score)
_alerts = msgspec.json.Decoder(Alert)
_dead = msgspec.json.Decoder(DeadLetter)
_models = msgspec.json.Decoder(Content)


class Known:
    """``seconds``: what happened, by Unix second; ``hour`` the sum of them; ``since`` when (ms) they begin;
    ``so_far`` the last record of all that has happened, ``told`` when (ms) the broker got it; ``seen`` when each source
    was last heard of; ``active``: customers, by the start of the minute (ms). By customer, of the latest ones:
    ``scores``, and ``news``: when (ms) there was any."""

    def __init__(self) -> None:
        self.seconds: dict[int, Counts] = {}
        self.hour: Counts = {}
        self.since = 0
        self.so_far: Kpis | None = None
        self.told = 0
        self.seen: dict[str, int] = {}
        self.active: dict[int, int] = {}
        self.levels: deque[tuple[int, Mapping[str, int], float]] = deque(maxlen=KEPT * 1000 // _NOTED)
        self.triggers: deque[Fired] = deque(maxlen=LISTED)
        self.decisions: deque[Stopped] = deque(maxlen=LISTED)
        self.alerts: deque[Alert] = deque(maxlen=LISTED)
        self.scores: dict[str, Scored] = {}
        self.news: dict[str, int] = {}
        self.models: deque[Learned] = deque(maxlen=500)
        self._flat: dict[tuple[str, str], float] | None = None
        self._take = {
            KPIS: self._figures, "triggers": self._trigger, "decisions": self._decision, ALERTS: self._alert,
            "scores": self._score, DEAD_LETTERS: self._dead_letter, MODELS: self._model,
        }  # fmt: skip

    def take(self, name: str, key: bytes | None, value: bytes, timestamp: int) -> None:
        """Take a record of topic ``name``. One that cannot be read is left out: only touchstream writes there, perhaps
        in a newer version."""
        try:
            self._take[name](key or b"", value, timestamp)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return

    def begin(self) -> None:
        """Nothing was told before what comes now, so all that is told first is new."""
        self._flat = {}

    def forget(self, now: int) -> None:
        """Let go of what is older than an hour."""
        first = now // 1000 - KEPT
        for second in [each for each in self.seconds if each < first]:
            for kind, counts in self.seconds.pop(second).items():
                left = self.hour[kind]
                for name, by in counts.items():
                    left[name] -= by
                    if not left[name]:
                        del left[name]
        self.since = max(self.since, first * 1000) if self.since else 0

    # -- asked ---------------------------------------------------------------------------------------------

    def of(self, kind: str, name: str = "") -> float:
        """How much there was in the hour."""
        return self.hour.get(kind, {}).get(name, 0)

    def names(self, kind: str) -> list[str]:
        """What there was of a kind in the hour, the most first."""
        counts = self.hour.get(kind, {})
        return sorted(counts, key=lambda name: (-counts[name], name))

    def nested(self, kind: str) -> dict[str, dict[str, float]]:
        """What there was in the hour under names of two parts, by the first of them."""
        found: dict[str, dict[str, float]] = {}
        for name, by in self.hour.get(kind, {}).items():
            first, _, rest = name.partition("/")
            found.setdefault(first, {})[rest] = by
        return found

    def rate(self, kind: str, now: int, name: str = "", over: int = 10) -> float:
        """How much a second, in the last ``over`` seconds that are whole."""
        last = now // 1000
        return self._sum(kind, name, last - over, last) / over

    def course(self, kind: str, now: int, over: int, step: int, name: str = "") -> list[tuple[int, float]]:
        """How much in each ``step`` of the last ``over`` seconds, with when (ms) it began. Steps begin where the clock
        on the wall does, so that what was is not told differently a second later."""
        return [(start * 1000, self._sum(kind, name, start, start + step)) for start in steps(now, over, step)]

    def between(self, kind: str, first: int, last: int) -> dict[str, float]:
        """What there was of a kind from second ``first`` until before ``last``."""
        found: dict[str, float] = {}
        for second in range(first, last):
            for name, by in self.seconds.get(second, {}).get(kind, {}).items():
                found[name] = found.get(name, 0) + by
        return found

    def _sum(self, kind: str, name: str, first: int, last: int) -> float:
        seconds = self.seconds
        counts = [
            seconds[second][kind] for second in range(first, last) if second in seconds and kind in seconds[second]
        ]
        return sum([each.get(name, 0) for each in counts])

    # -- told ----------------------------------------------------------------------------------------------

    def _figures(self, key: bytes, value: bytes, at: int) -> None:
        if key == SO_FAR:
            self._advance(_kpis.decode(value), at)
        elif key.startswith(_MINUTES) and self.so_far is not None:
            # Of minutes only the present and the one before are of interest: the others are not even decoded.
            start = int(key[len(_MINUTES) :])
            if start >= self.so_far.clock - 180_000:
                self.active[start] = _kpis.decode(value).customers.get("active", 0)
                for old in sorted(self.active)[:-4]:
                    del self.active[old]

    def _advance(self, kpis: Kpis, at: int) -> None:
        flat, before = {(kind, name): count for kind, name, count in _flat(kpis)}, self._flat
        self.so_far, self._flat, self.told = kpis, flat, max(self.told, at)
        self.since = self.since or at
        if not self.levels or at - self.levels[-1][0] >= _NOTED:
            self.levels.append((at, kpis.bands, kpis.at_risk))
        if before is None or any([flat.get(name, 0) < count for name, count in before.items()]):
            return  # the first, or counting has begun anew
        for (kind, name), count in flat.items():
            if by := count - before.get((kind, name), 0):
                self._add(at, kind, name, by)
                if kind == "source":
                    self.seen[name] = at

    def _trigger(self, key: bytes, value: bytes, at: int) -> None:
        data = _triggers.decode(value).data
        latency = max(0, at - data.touchpoint_ts) if data.touchpoint_ts else None
        self.triggers.append(Fired(at, data.play, data.channel, data.customer, latency))
        _renew(self.news, data.customer, at)
        if latency is not None:
            self._add(at, "latency", str(bucket(latency)))

    def _decision(self, key: bytes, value: bytes, at: int) -> None:
        decision = _decisions.decode(value)
        _renew(self.news, decision.customer, at)
        if decision.outcome != "emitted":
            self.decisions.append(Stopped(at, decision.play, decision.outcome, decision.code or "", decision.customer))

    def _score(self, key: bytes, value: bytes, at: int) -> None:
        score = _scores.decode(value)
        found = Scored(at, score.probability, score.band, score.stage, score.rfm_segment, score.clv, score.reasons)
        _renew(self.scores, score.customer, found)
        _renew(self.news, score.customer, at)

    def _alert(self, key: bytes, value: bytes, at: int) -> None:
        self.alerts.append(msgspec.structs.replace(_alerts.decode(value), at=at))

    def _dead_letter(self, key: bytes, value: bytes, at: int) -> None:
        letter = _dead.decode(value)
        self._add(at, "dead", f"{letter.topic}/{letter.reason}")

    def _model(self, key: bytes, value: bytes, at: int) -> None:
        model = _models.decode(value)
        self.models.append(Learned(at, model.key, model.metrics))

    def _add(self, at: int, kind: str, name: str, by: float = 1) -> None:
        for counts in (self.seconds.setdefault(at // 1000, {}), self.hour):
            of_kind = counts.setdefault(kind, {})
            of_kind[name] = of_kind.get(name, 0) + by


def _renew(known: dict[str, T], customer: str, value: T) -> None:
    """Note what is the latest of a customer; whoever was not heard of for longest is forgotten."""
    known.pop(customer, None)
    known[customer] = value
    if len(known) > CUSTOMERS:
        del known[next(iter(known))]


def newest(found: Iterable[Dated]) -> list[Dated]:
    """What happened, the latest first: partitions are not read in the order of time."""
    return sorted(found, key=lambda each: -each.at)


def steps(now: int, over: int, step: int) -> range:
    """When (s) each whole step of the last ``over`` seconds began."""
    last = now // 1000 // step * step
    return range(last - over, last, step)


def _flat(kpis: Kpis) -> Iterator[tuple[str, str, float]]:
    """What can only grow, by kind and name; revenue in minor units, whose sums are exact."""
    for source, types in kpis.touchpoints.items():
        yield "source", source, sum(types.values())
        for type, count in types.items():
            yield "type", f"{source}/{type}", count
    yield "touchpoints", "", sum([sum(types.values()) for types in kpis.touchpoints.values()])
    yield "orders", "", kpis.orders
    yield "revenue", "", round(kpis.revenue * 100)
    yield "too_late", "", kpis.late
    yield from _pairs("customers", kpis.customers)
    yield from _pairs("funnel", kpis.funnel)
    for source, defects in kpis.defects.items():
        yield from _pairs("defect", defects, f"{source}/")
    for name, play in kpis.plays.items():
        yield "sent", name, sum(play.sent.values())
        yield from _pairs("channel", play.sent, f"{name}/")
        yield "stops", name, sum(play.stopped.values())
        yield from _pairs("stopped", play.stopped, f"{name}/")
        yield "held", name, play.held
        yield "held_out", name, play.held_out
        yield "shadow", name, play.shadow


def _pairs(kind: str, values: Mapping[str, float], prefix: str = "") -> Iterator[tuple[str, str, float]]:
    for name, value in values.items():
        yield kind, prefix + name, value
