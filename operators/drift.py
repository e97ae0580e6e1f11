"""Whether a stream of means is still what it was: Page and Hinkley's test, as river has it, on standardised values.

The first `WARM` values say what is usual, mean and standard deviation; then the test sums up how far the others are
off, less half a deviation each, and speaks when that comes to `THRESHOLD` either way: a shift by two deviations within
some eight values, none at all in tens of thousands where nothing changes. Then all begins anew::

    watch = Watch()
    for value in values:
        if (drift := observe(watch, value)) is not None:
            print(drift.usual, drift.lately)

E. S. Page, *Continuous inspection schemes*, Biometrika 41 (1954).
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any, NamedTuple

import msgspec

#: Values that say what is usual.
WARM = 50
#: In standard deviations: what is forgiven each value, the sum at which the test speaks, and as how far off the
#: furthest value counts, so that no single one can speak alone.
FORGIVEN, THRESHOLD, FURTHEST = 0.5, 12.0, 5.0
#: What a new value weighs in ``lately``.
_NEW = 0.2


class Watch(msgspec.Struct, array_like=True):
    """What is kept of one stream: of the usual values how many, mean and sum of squares; the test's own numbers; and
    what values are lately. Doubles survive bit by bit."""

    warm: int = 0
    mean: float = 0.0
    squares: float = 0.0
    tested: float = float(WARM)
    shift: float = 0.0
    increase: float = 0.0
    decrease: float = 0.0
    least: float = inf
    most: float = -1.0
    lately: float = 0.0


class Drift(NamedTuple):
    """What was usual, and what has become of it."""

    usual: float
    lately: float


def observe(watch: Watch, value: float) -> Drift | None:
    """Look at the next value, in place; what has changed, if anything has."""
    if watch.warm < WARM:
        watch.warm += 1
        off = value - watch.mean
        watch.mean += off / watch.warm
        watch.squares += off * (value - watch.mean)
        watch.lately = watch.mean
        return None
    watch.lately += _NEW * (value - watch.lately)
    # What never varied is expected not to.
    deviation = max(sqrt(watch.squares / (WARM - 1)), 1e-9 * (1.0 + abs(watch.mean)))
    if not _test(watch, max(-FURTHEST, min(FURTHEST, (value - watch.mean) / deviation))):
        return None
    drift = Drift(watch.mean, watch.lately)
    for field, default in zip(Watch.__struct_fields__, Watch.__struct_defaults__, strict=True):
        setattr(watch, field, default)
    return drift


def _test(watch: Watch, value: float) -> bool:
    from river import stats
    from river.drift import PageHinkley

    # It has methods without types.
    test: Any = PageHinkley(min_instances=1, delta=FORGIVEN, threshold=THRESHOLD, alpha=1.0)
    test._x_mean = stats.Mean._from_state(watch.tested, watch.shift)
    test._sum_increase, test._sum_decrease = watch.increase, watch.decrease
    test._min_increase, test._max_decrease = watch.least, watch.most
    test.update(value)
    watch.tested, watch.shift = test._x_mean.n, test._x_mean.get()
    watch.increase, watch.decrease = test._sum_increase, test._sum_decrease
    watch.least, watch.most = test._min_increase, test._max_decrease
    return bool(test.drift_detected)
