"""The command: seeds, one after the other; 1 if a promise was broken under one of them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from hashlib import blake2b

from tests.simulation.bugs import BUGS, planted
from tests.simulation.plans import Plan, plan
from tests.simulation.shrinking import excerpt, shrink
from tests.simulation.world import World

#: Of a fault so much is shown.
WIDE = 300


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="as many of them as there is time for")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug: it has to be found")
    parser.add_argument("--trace", action="store_true", help="every effect of what failed, or of --seed")
    parser.add_argument("--json", action="store_true", help="the result as one line of JSON")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    done = effects = harm = 0
    failed: int | None = None
    digest = blake2b(digest_size=8)
    started = time.monotonic()
    with planted(options.bug):
        for seed in seeds:
            if time.monotonic() - started > options.minutes * 60:
                break
            what = plan(seed)
            outcome = World(what).run()
            done, effects, harm = done + 1, effects + len(outcome.trace), harm + len(what.faults)
            digest.update("\n".join(outcome.trace).encode())
            if outcome.faults:
                failed = seed
                break
        seconds = time.monotonic() - started
        if options.trace and options.seed is not None:
            print("\n".join(outcome.trace), file=sys.stderr)
        if failed is not None:
            _tell(plan(failed), whole=options.trace)
    figures = {
        "seeds": done,
        "effects": effects,
        "harm": harm,
        "seconds": round(seconds, 1),
        "seeds_per_second": round(done / seconds, 1),
        "digest": digest.hexdigest(),
        "bug": options.bug,
        "failed": failed,
        "faults": [each[:WIDE] for each in outcome.faults] if failed is not None else [],
    }
    print(json.dumps(figures) if options.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))
    return 0 if failed is None else 1


def _tell(found: Plan, *, whole: bool) -> None:
    """The least that still fails."""
    small, outcome = shrink(found)
    print(f"seed {found.seed} fails; so does {small}:", file=sys.stderr)
    print("\n".join(outcome.trace if whole else excerpt(outcome.trace)), file=sys.stderr)
    print("\n".join(each[:WIDE] for each in outcome.faults), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
