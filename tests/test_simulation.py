"""The simulation: it finds planted bugs and none without, a seed is always the same run, and its Redis is like the real
one (`tests.system.test_simulation`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.effort import examples
from tests.simulation.bugs import BUGS, planted
from tests.simulation.plans import KINDS, plan
from tests.simulation.shrinking import excerpt, shrink
from tests.simulation.world import World

#: A bug is found within so many seeds.
WITHIN = 40
#: So much harm shows a bug, if it comes at the right moments.
ENOUGH = 3
#: Seeds without a bug: thousands were run by the command.
SEEDS = examples(80)


def test_nothing_is_lost_or_doubled_whatever_happens() -> None:
    assert {seed: faults for seed in range(SEEDS) if (faults := World(plan(seed)).run().faults)} == {}


#: Under these it would be seen what was wrong once, or may easily be: a process that stands still while another begins
#: its partitions anew (382); an outbox of which the first output is forgotten (145).
ONCE = (145, 382)


@pytest.mark.parametrize("seed", ONCE)
def test_what_was_once_wrong(seed: int) -> None:
    assert World(plan(seed)).run().faults == []


def test_all_kinds_of_harm_are_done() -> None:
    assert {fault.kind for seed in range(WITHIN) for fault in plan(seed).faults} == KINDS.keys()


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: str) -> None:
    """... where harm is done, and not without."""
    with planted(bug):
        found = next((seed for seed in range(WITHIN) if World(plan(seed)).run().faults), None)
        assert found is not None, f"not within {WITHIN} seeds"
        assert World(plan(found)._replace(faults=())).run().faults == []
    assert World(plan(found)).run().faults == []


def test_what_fails_is_shown_by_the_least_that_does() -> None:
    bug = "outbox-before-transaction"
    with planted(bug):
        much = (seed for seed in range(WITHIN) if len(plan(seed).faults) > ENOUGH)
        seed = next(seed for seed in much if World(plan(seed)).run().faults)
        small, outcome = shrink(plan(seed))
    assert outcome.faults
    assert small.records <= plan(seed).records
    assert len(small.faults) < len(plan(seed).faults)
    shown = excerpt(outcome.trace)
    assert len(shown) < len(outcome.trace)
    assert all(any(fault.kind in line for line in shown) for fault in small.faults)


@pytest.mark.parametrize("hashed", ["1", "2"])
def test_a_seed_is_always_the_same_run(hashed: str) -> None:
    """Also where sets of texts are in another order."""
    command = "from tests.simulation.plans import plan; from tests.simulation.world import World; "
    command += "print('\\n'.join(World(plan(23)).run().trace))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONHASHSEED": hashed, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == World(plan(23)).run().trace
