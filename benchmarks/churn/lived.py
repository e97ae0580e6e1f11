"""A purchase log lived through under a virtual clock, by the product's own code: orders are folded in, customers scored
at their grid points, examples released when their horizon has passed, learned, and models published and served.

What Kafka and Redis do in between is left out; what decides is not: `operators.features`, `operators.learning`,
`operators.churn` and `operators.clv` are called as the flows call them. One thing differs: the product spreads its grid
over the week by hash, here all have theirs on the same day, so that all labels of a week arrive at once. That is the
harder case for learning, and the one that batch models are compared on.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.churn.logs import Log, Purchase
from operators import clv, features
from operators.churn import PRIOR, Model
from operators.contest import Published
from operators.features import DAY_MS, FEATURES
from operators.keys import GAP, ROOT
from operators.learning import Learning
from operators.scoring import SILENT_HORIZONS
from schemas.outputs import Example
from state.behaviour import Behaviour

#: What is kept of each grid point beside its features. Days as in `Log`; ``label`` and ``spent`` are filled in when it
#: matures; ``value`` is the expected spend, ``patient`` and ``hasty`` what it is chosen from.
COLUMNS = (
    "customer", "day", "recency", "probability", "label", "spent", "value", "patient", "hasty",
    "few", "repeats", "last", "age",
)  # fmt: skip

Floats = NDArray[np.float64]


class Open(msgspec.Struct):
    """A prediction that waits for its label: whose, when (ms), which row, what was spent by then (minor units), and
    when the latest order was (ms)."""

    customer: str
    time: int
    row: int
    spent: int
    latest: int


class Lived(msgspec.Struct):
    """What a run leaves: the grid points, row by row (`COLUMNS`, `FEATURES`), and early warnings' scores by the day.

    ``examples`` is how many were learned, ``models`` how many were published."""

    log: Log
    names: list[str]
    table: dict[str, Floats]
    vectors: Floats
    daily: Floats
    examples: int
    models: int

    @property
    def judged(self) -> NDArray[np.bool_]:
        """The rows that figures are about: from the first day on, of those who are active, whose label is known."""
        table, log = self.table, self.log
        known = ~np.isnan(table["label"])
        return known & (table["day"] >= log.first) & (table["recency"] <= log.active)


class Clock:
    """Lives through a log. ``told`` hears of each day that is over."""

    def __init__(self, log: Log, purchases: Sequence[Purchase], told: Callable[[int], None] = lambda day: None) -> None:
        self._log, self._purchases, self._told = log, purchases, told
        self._next = 0
        self._people: dict[str, Behaviour] = {}
        self._numbers: dict[str, int] = {}
        self._open: deque[Open] = deque()
        self._worth = clv.Worth()
        self._learning, self._examples = Learning(log.churn), 0
        self._models, self._published = {ROOT: PRIOR, GAP + ROOT: PRIOR}, 0
        self._vectors, self._daily = array("d"), array("d")
        self._columns = {name: array("d") for name in COLUMNS}

    def run(self) -> Lived:
        """To the end of the log."""
        log, silent = self._log, SILENT_HORIZONS * self._log.horizon
        for day in range(1, log.days + 1):
            now = log.at(day)
            self._buy(now)
            self._mature(now)
            if day % log.churn.grid_days == 0:
                for customer, behaviour in self._people.items():
                    if now - behaviour.recent[-1] <= silent:
                        self._score(customer, behaviour, now)
            if log.warned and day >= log.warned[0].start:
                self._score_all(day)
            self._told(day)
        vectors = np.frombuffer(self._vectors).reshape(-1, len(FEATURES))
        table = {name: np.frombuffer(column).copy() for name, column in self._columns.items()}
        daily = np.frombuffer(self._daily).reshape(-1, 4)
        names = list(self._numbers)
        learned = self._learning.progress.learned
        return Lived(self._log, names, table, vectors, daily, learned, self._published)

    def _buy(self, until: int) -> None:
        """Fold in the orders up to and at ``until``."""
        while self._next < len(self._purchases) and self._purchases[self._next].time <= until:
            time, customer, order = self._purchases[self._next]
            self._next += 1
            if customer not in self._people:
                self._people[customer], self._numbers[customer] = Behaviour(), len(self._numbers)
            features.observe(self._people[customer], "order", "Order Completed", order, time)

    def _score(self, customer: str, behaviour: Behaviour, time: int) -> None:
        """Score at a grid point, and keep what was known then."""
        log = self._log
        vector = features.vector(behaviour, time)
        outlooks = clv.outlooks(behaviour, time, log.churn.horizon_days)
        since = (time - behaviour.recent[-1]) / DAY_MS
        decayed = {28: behaviour.orders_fast, 112: behaviour.orders_slow}[log.half_life]
        row = (
            self._numbers[customer], (time - log.start) / DAY_MS, since, self._models[ROOT].probability(vector),
            np.nan, np.nan, self._worth.expected(outlooks), *outlooks,
            decayed * 2 ** (-since / log.half_life), behaviour.orders - 1,
            (behaviour.recent[-1] - behaviour.first_order) / DAY_MS, (time - behaviour.first_order) / DAY_MS,
        )  # fmt: skip
        number = len(self._columns["day"])
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        self._vectors.extend(vector)
        if time + log.horizon <= log.at(log.days):
            self._open.append(Open(customer, time, number, behaviour.spent, behaviour.recent[-1]))

    def _mature(self, now: int) -> None:
        """Release and learn the examples whose horizon has passed, one a second, so that models can be published."""
        horizon = self._log.horizon
        at = now
        while self._open and self._open[0].time + horizon <= now:
            example = self._open.popleft()
            behaviour, row = self._people[example.customer], example.row
            label = not features.purchased_between(behaviour, example.time, example.time + horizon)
            spent = (behaviour.spent - example.spent) / 100
            self._columns["label"][row], self._columns["spent"][row] = label, spent
            self._worth.learn((self._columns["patient"][row], self._columns["hasty"][row]), spent)
            lapsed = not features.purchased_between(behaviour, example.time, example.latest + horizon)
            self._learn(example, label, lapsed if example.latest + horizon > example.time else None, at)
            at += 1000

    def _learn(self, example: Open, label: bool, lapsed: bool | None, at: int) -> None:
        """Learn for both targets; whoever was silent for longer than a horizon had lapsed before."""
        width, row = len(FEATURES), example.row
        released = Example(
            id=f"{example.customer}/{example.time}",
            customer=example.customer,
            time=example.time,
            features=self._vectors[row * width : (row + 1) * width].tolist(),
            features_version=features.VERSION,
            label=label,
            probability=self._columns["probability"][row],
            model="",
            at=at,
            lapsed=lapsed,
            lapse=None if lapsed is None else 0.5,
        )
        for said in self._learning.on_example(released, self._examples):
            if isinstance(said, Published) and said.content is not None:
                self._models[said.key] = Model.from_bytes(said.content)
                self._published += said.key == ROOT
        self._examples += 1

    def _score_all(self, day: int) -> None:
        """Daily, of all whose silence has not yet lasted a horizon: customer, day, since (days), P(it will)."""
        now = self._log.at(day)
        for customer, behaviour in self._people.items():
            since = (now - behaviour.recent[-1]) / DAY_MS
            if since <= self._log.churn.horizon_days:
                probability = self._models[GAP + ROOT].probability(features.vector(behaviour, now))
                self._daily.extend((self._numbers[customer], day, since, probability))


def steps(lived: Lived, every: int = 28) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_], float]]:
    """The judged rows cut by days, each with the active rows that have matured before: what a batch model refitted
    ``every`` so many days is tested on, and may know. The third is the day of the refit."""
    day, log = lived.table["day"], lived.log
    known = ~np.isnan(lived.table["label"]) & (lived.table["recency"] <= log.active)
    for start in range(log.first, log.days, every):
        tested = lived.judged & (day >= start) & (day < start + every)
        if tested.any():
            yield tested, known & (day + log.churn.horizon_days <= start), float(start)
