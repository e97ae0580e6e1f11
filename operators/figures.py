"""From what was counted in a window to its figures, as they are published."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from math import ceil, log2
from typing import Final

from schemas.outputs import Kpis, Latency, PlayFigures

#: The lengths of windows, in seconds.
SECOND, MINUTE = 1, 60
#: The steps from looking to buying, and the touchpoints that show them.
FUNNEL: Final = {
    "view": "Product Viewed", "cart": "Product Added", "pay": "Checkout Started", "order": "Order Completed",
}  # fmt: skip
#: Buckets of latencies to a doubling.
STEPS: Final = 8
Tree = dict[str, dict[str, int]]


def figures(
    seconds: int,
    number: int,
    revision: int,
    clock: int,
    counts: Mapping[str, int],
    latency: Mapping[int, int],
    totals: Mapping[str, int],
) -> Kpis:
    """The figures of window ``number`` of so many ``seconds`` (see `schemas.outputs.Kpis`). ``counts`` by the names of
    `operators.tally`, ``latency`` by bucket; ``totals``: levels, and counts since the beginning; ``clock`` in ms."""
    counted, levels = _tree(counts), _tree(totals)
    touchpoints = _tree(counted.get("touchpoint", {}))
    funnel = {step: sum(types.get(type, 0) for types in touchpoints.values()) for step, type in FUNNEL.items()}
    active = _number(counted, "active_second" if seconds == SECOND else "active_minute")
    return Kpis(
        start=number * seconds * 1000,
        seconds=seconds,
        revision=revision,
        clock=clock,
        touchpoints=touchpoints,
        duplicates=_number(counted, "duplicates"),
        late=_number(counted, "late"),
        customers={"active": active, "new": _number(counted, "new"), **counted.get("identity", {})},
        orders=_number(counted, "order"),
        revenue=_number(counted, "revenue") / 100,
        funnel=funnel,
        drop_off=_drop_off(funnel),
        plays=_plays(counted),
        latency=_latency(latency),
        segments=levels.get("segment", {}),
        bands=levels.get("band", {}),
        at_risk=_number(levels, "at_risk") / 100,
        defects=_tree(counted.get("defect", {})),
        goals={play: _goals(_tree(of)) for play, of in _tree(levels.get("outcome", {})).items()},
    )


def bucket(milliseconds: float) -> int:
    """Where a latency is counted: bucket b ends at 2^(b / `STEPS`) ms."""
    return ceil(STEPS * log2(milliseconds)) if milliseconds > 1 else 0


def _tree(counts: Mapping[str, int]) -> Tree:
    """Counts by the first part of their names, then by the rest."""
    found: Tree = {}
    for name, by in sorted(counts.items()):
        kind, _, rest = name.partition("/")
        found.setdefault(kind, {})[rest] = by
    return found


def _number(tree: Tree, name: str) -> int:
    return tree.get(name, {}).get("", 0)


def _drop_off(funnel: Mapping[str, int]) -> dict[str, float]:
    """Of each step but the first the share that is lost before it; none where nobody came so far, below 0 where more
    came from elsewhere."""
    steps = list(funnel.items())
    return {step: round(1 - count / before, 4) for (_, before), (step, count) in pairwise(steps) if before}


def _plays(counted: Tree) -> dict[str, PlayFigures]:
    decided, goals = _tree(counted.get("play", {})), _tree(counted.get("outcome", {}))
    return {name: _play(_tree(decided.get(name, {})), goals.get(name, {})) for name in sorted({*decided, *goals})}


def _play(decided: Tree, goals: Mapping[str, int]) -> PlayFigures:
    held, held_out, shadow = (sum(decided.get(outcome, {}).values()) for outcome in ("held", "held_out", "shadow"))
    return PlayFigures(
        decided.get("emitted", {}), held, held_out, shadow, decided.get("stopped", {}), _goals(_tree(goals))
    )


def _goals(goals: Tree) -> dict[str, dict[str, float]]:
    """Counts as they are, money in major units."""
    return {
        outcome: {name: by / 100 if name == "revenue" else by for name, by in counts.items()}
        for outcome, counts in goals.items()
    }


def _latency(buckets: Mapping[int, int]) -> Latency | None:
    count = sum(buckets.values())
    if not count:
        return None
    return Latency(count, *[quantile(buckets, share) or 0.0 for share in (0.5, 0.99, 1)])


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """The upper end (ms) of the bucket that so large a share of the values does not pass; None of no values."""
    numbers, rank = sorted(buckets), share * sum(buckets.values())
    reached = accumulate([buckets[number] for number in numbers])
    found = [number for number, count in zip(numbers, reached, strict=True) if count >= rank]
    return round(2 ** (found[0] / STEPS), 1) if found else None
