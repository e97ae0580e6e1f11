"""All measurements of speed, in one frame.

::

    python -m benchmarks.run                                       all suites, each in a process of its own
    python -m benchmarks.run --suite peers --json                  one of them
    python -m benchmarks.run --suite throughput --scale small events=500000

What was measured is kept in ``benchmarks/results/`` (``--results``) with its command, the sizes, the machine, its
speed at the time and the versions. ``docs/measuring.md`` says what each suite does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from benchmarks import machine

SUITES = {
    "throughput": "benchmarks.throughput",
    "latency": "benchmarks.latency",
    "scale": "benchmarks.scale",
    "state": "benchmarks.state",
    "recovery": "benchmarks.recovery",
    "peers": "benchmarks.peers.race",
}
#: ``smoke`` shows that it runs, ``small`` fits a shared machine, ``full`` is what is promised.
SCALES = ("smoke", "small", "full")
RESULTS = Path(__file__).parent / "results"

Sizes = dict[str, Any]


class Suite(Protocol):
    """A module of a suite."""

    #: By scale and name: numbers, or lists of what is measured one after the other.
    SIZES: Mapping[str, Sizes]

    def run(self, folder: Path, sizes: Sizes) -> dict[str, Any]:
        """Measure, with logs and data in ``folder``."""

    def table(self, result: dict[str, Any]) -> str:
        """The result for people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; exit code 1 if a suite found what it measures to be wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=SUITES, help="default: all, one after the other")
    parser.add_argument("--scale", choices=SCALES, default="full", help="default: full")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder that keeps them")
    parser.add_argument("--keep", type=Path, help="folder for logs and data (default: a temporary one)")
    parser.add_argument("sizes", nargs="*", metavar="NAME=VALUE", help="instead of the scale's; lists with commas")
    options = parser.parse_args(arguments)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if options.suite is None:
        codes = [subprocess.call([sys.executable, "-m", "benchmarks.run", "--suite", each, *given]) for each in SUITES]
        return max(codes)
    suite = cast(Suite, import_module(SUITES[options.suite]))
    try:
        sizes = sized(suite.SIZES[options.scale], options.sizes)
    except ValueError as error:
        parser.error(str(error))
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as temporary, machine.watched() as conditions:
        result = suite.run(options.keep or Path(temporary), sizes)
    # Without the folders: they are this machine's.
    command = ["python -m benchmarks.run --suite", options.suite, "--scale", options.scale, *options.sizes]
    kept = {
        "suite": options.suite,
        "command": " ".join(command),
        "started": started.isoformat(timespec="seconds"),
        "sizes": sizes,
        "machine": {**(facts := machine.facts()), **conditions},
        "result": result,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    file = options.results / f"{options.suite}-{started:%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(kept, indent=1) + "\n")
    print(
        json.dumps(kept)
        if options.json
        else f"{suite.table(result)}\n{_named(facts)}\n{_conditions(conditions)}; kept in {file}"
    )
    return 0 if result.get("right", True) else 1


def alone(suite: str) -> int:
    """A suite as a command of its own, each size an option: ``python -m benchmarks.throughput --events 1000000``."""
    module = import_module(SUITES[suite])
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{suite}", description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, default in module.SIZES["full"].items():
        shown = ",".join(map(str, default)) if isinstance(default, list) else default
        parser.add_argument(f"--{name}", help=f"default: {shown}")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    options = vars(parser.parse_args())
    shown = ["--json"] if options.pop("json") else []
    return main(
        ["--suite", suite, *shown, *[f"{name}={given}" for name, given in options.items() if given is not None]]
    )


def sized(sizes: Sizes, given: Sequence[str]) -> Sizes:
    """The scale's sizes with those that were given in their place. Raises `ValueError`."""
    found = dict(sizes)
    for each in given:
        name, sign, text = each.partition("=")
        if name not in sizes or not sign:
            raise ValueError(f"{each}: expected NAME=VALUE with one of {', '.join(sizes)}")
        kept = sizes[name]
        found[name] = [_value(part) for part in text.split(",") if part] if isinstance(kept, list) else _value(text)
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text.replace("_", ""))
        except ValueError:
            continue
    return text


def _named(facts: Mapping[str, Any]) -> str:
    return ", ".join([f"{name.replace('_', ' ')} {each}" for name, each in facts.items()])


def _conditions(found: Mapping[str, float]) -> str:
    return (
        f"{machine.ADDITIONS:,} additions took {found['calibration_s']} s of CPU before and "
        f"{found['calibration_after_s']} s after; {found['steal']:.0%} of the CPU was stolen, {found['idle']:.0%} idle"
    )


if __name__ == "__main__":
    sys.exit(main())
