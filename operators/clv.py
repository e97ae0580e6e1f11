"""What a customer will spend within the horizon: what an order is worth, times the orders to expect.

An order's worth is the mean of the recent ones (half-life 112 days). Orders come at the rate of the repeated ones
(half-life 56 days): the first says when watching began and not how often one comes. How far a short past is to be
trusted differs between shops, so the time watched is lengthened by each of `PRIOR_DAYS`, and what turns out better is
used, with a factor where demand moves::

    chances = outlooks(behaviour, now_ms, horizon_days=28)        # major units, one for each of PRIOR_DAYS
    worth = Worth()
    worth.learn(chances_then, spent_since)                        # when the horizon has passed
    worth.expected(chances)
"""

from __future__ import annotations

from math import exp2, log

import msgspec

from operators.features import DAY_MS
from state.behaviour import Behaviour

#: Days added to the time watched. The first is used until another has proven better.
PRIOR_DAYS = (60.0, 7.0)
#: Repeated orders taken for given.
PRIOR_ORDERS = 0.1
#: A factor that is learned must err so much less than none, by mean square.
MARGIN = 0.1
#: Examples that errors and factors are remembered for: of fewer the plain mean, then a newer one weighs 1 / this.
WINDOW = 50_000
_HALF_LIFE = 56


class Rival(msgspec.Struct, array_like=True):
    """How one outlook has done: mean ``product`` of expected and spent over mean ``square`` of expected is the factor
    that would have been best; ``plain`` and ``corrected`` are the mean square errors without and with it."""

    product: float = 0.0
    square: float = 0.0
    plain: float = 0.0
    corrected: float = 0.0

    @property
    def factor(self) -> float:
        """By least squares; 1 before anything is known."""
        return self.product / self.square if self.square else 1.0


class Worth(msgspec.Struct, array_like=True):
    """Learns which outlook to believe. Errors are measured before learning, so none is judged by what it has seen."""

    count: int = 0
    rivals: list[Rival] = msgspec.field(default_factory=lambda: [Rival() for _ in PRIOR_DAYS])

    def expected(self, outlooks: tuple[float, ...]) -> float:
        """Spend to expect, by the outlook that has erred least."""
        chosen, factor = self.choice()
        return outlooks[chosen] * factor

    def choice(self) -> tuple[int, float]:
        """The number of the outlook that is believed, and the factor on it."""
        errors = [(rival.plain, number, 1.0) for number, rival in enumerate(self.rivals)]
        errors += [(each.corrected * (1 + MARGIN), number, each.factor) for number, each in enumerate(self.rivals)]
        _, chosen, factor = min(errors)
        return chosen, factor

    def learn(self, outlooks: tuple[float, ...], spent: float) -> None:
        """Learn what came of outlooks when their horizon has passed, all in major units."""
        self.count += 1
        share = 1 / min(self.count, WINDOW)
        for rival, outlook in zip(self.rivals, outlooks, strict=True):
            rival.plain += ((spent - outlook) ** 2 - rival.plain) * share
            rival.corrected += ((spent - rival.factor * outlook) ** 2 - rival.corrected) * share
            rival.product += (outlook * spent - rival.product) * share
            rival.square += (outlook * outlook - rival.square) * share


def outlooks(behaviour: Behaviour, now_ms: int, horizon_days: int) -> tuple[float, ...]:
    """Spend of the next ``horizon_days`` in major units, for each of `PRIOR_DAYS`; 0 without orders."""
    if not behaviour.recent:
        return (0.0,) * len(PRIOR_DAYS)
    first = exp2(-max(0, now_ms - behaviour.first_order) / (_HALF_LIFE * DAY_MS))
    left = exp2(-max(0, now_ms - behaviour.recent[-1]) / (_HALF_LIFE * DAY_MS))
    repeated = max(0.0, behaviour.orders_56 * left - first) + PRIOR_ORDERS
    watched = _HALF_LIFE / log(2) * (1 - first)
    worth = max(0.0, behaviour.spend_slow / behaviour.orders_slow) / 100 * horizon_days
    return tuple(worth * repeated / (watched + days) for days in PRIOR_DAYS)
