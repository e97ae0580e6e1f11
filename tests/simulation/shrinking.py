"""The least of a plan that still fails, and of its trace what helps to see why."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.plans import Plan
from tests.simulation.world import Outcome, World

#: Effects of a process that are shown before and after something went wrong with it.
_BEFORE, _AFTER = 4, 6


def shrink(plan: Plan) -> tuple[Plan, Outcome]:
    """Leave harm out, then records, as long as it fails in the same way; what is left, and what comes of it."""
    outcome = World(plan).run()
    way = _way(outcome)
    while smaller := next(((each, got) for each, got in _tries(plan) if _way(got) == way), None):
        plan, outcome = smaller
    return plan, outcome


def _way(outcome: Outcome) -> str:
    """How it failed, roughly."""
    return outcome.faults[0].partition(":")[0] if outcome.faults else ""


def _tries(plan: Plan) -> Iterator[tuple[Plan, Outcome]]:
    smaller = [plan._replace(faults=plan.faults[:n] + plan.faults[n + 1 :]) for n in range(len(plan.faults))]
    smaller += [plan._replace(records=records) for records in (plan.records // 2, plan.records - 1) if records]
    for each in smaller:
        yield each, World(each).run()


def excerpt(trace: list[str]) -> list[str]:
    """The lines around whatever went wrong, each with those of its process; ``...`` where some are left out."""
    trace = [line for line in trace if not line.endswith("kafka read")]
    shown: set[int] = set()
    for at, line in enumerate(trace):
        if "***" in line or "->" in line or "ends:" in line:
            name = line.split()[1]
            before = [n for n in range(at) if trace[n].split()[1] == name][-_BEFORE:]
            after = [n for n in range(at + 1, len(trace)) if trace[n].split()[1] == name][:_AFTER]
            shown.update((*before, at, *after))
    lines, last = [], -1
    for at in sorted(shown):
        lines += ["  ..."] if at != last + 1 else []
        lines.append(trace[at])
        last = at
    return lines
