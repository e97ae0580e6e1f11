"""Whether the live path finds out who is about to leave: its scores against the true hazard of the simulated retailer.

::

    python -m benchmarks.hazard --customers 1000 --rate 1500 --seconds 150 --json

Real Kafka and Valkey, one process each of stitch, engage and learn, and a retailer at high speed (a day a second). Each
grid point that has matured is a row: what was served then, what the retailer's truth says of that customer's hazard
and of when it left. ``buys``: who buys nothing within the horizon, as the model is taught. ``leaves``: of those who had
not left by then, who does so within the horizon, which the model is never told and the hazard alone decides. AUC
of both rankings on the same rows, from ``--from-day`` on, when a first model has been learned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sklearn.metrics import roc_auc_score

from benchmarks.pipeline import Pipeline, pipeline
from flows.identity_lookup import Lookup
from flows.reading import read
from operators.churn import PRIOR
from operators.features import DAY_MS
from schemas.errors import TouchstreamError
from schemas.outputs import Example
from schemas.plays import PlayFile
from schemas.topics import topic_name
from state.connection import connect

_example = msgspec.json.Decoder(Example)


class Row(NamedTuple):
    """A grid point: by which model what probability was served, true hazard a day, and whether the customer bought
    nothing and left within the horizon (None: had left before)."""

    model: str
    served: float
    hazard: float
    silent: bool
    leaves: bool | None


class Person(NamedTuple):
    """A customer of the truth: hazard a day, when it left (ms, None: it did not)."""

    hazard: float
    left_at: int | None


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=1_500.0, help="touchpoints a real second (default 1500)")
    parser.add_argument("--speed", type=float, default=86_400.0, help="of the shop's clock (default: a day a second)")
    parser.add_argument("--seconds", type=float, default=150.0, help="real seconds (default 150)")
    parser.add_argument("--from-day", type=float, default=70.0, help="rows from this day on (default 70)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-plays", action="store_true", help="without the starter plays")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    options = parser.parse_args(arguments)
    plays = PlayFile(plays={}) if options.no_plays else None
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), plays) as running:
        result = measure(running, options)
    print(json.dumps(result) if options.json else "\n".join(f"{name:24}{value}" for name, value in result.items()))
    return 0


def measure(running: Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """Let the shop live, then compare."""
    running.start(["stitch", "engage", "learn"])
    truth = running.folder / "truth.ndjson"
    command = [sys.executable, "-m", "flows.retailer", "--truth", str(truth), "--seed", str(options.seed)]
    for name in ("customers", "rate", "speed", "seconds"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--kafka", running.config.kafka.bootstrap, "--topic", topic_name(running.config, "touchpoints")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    written = json.loads(done.stdout.splitlines()[-1])
    for count in running.await_done(written["written"]):
        print(f"\r{count:,} done", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = _rows(running, truth, options.from_day)
    if not rows:
        sys.exit(f"no grid point from day {options.from_day:g} on has matured: give it more --seconds")
    return {"touchpoints": written["written"], "days": written["days"], **figures(rows)}


def figures(rows: list[Row]) -> dict[str, Any]:
    """AUC of both rankings under both questions."""
    staying = [row for row in rows if row.leaves is not None]
    return {
        "rows": len(rows),
        "models": len({row.model for row in rows}),
        "by_prior": round(sum(row.model == PRIOR.hash for row in rows) / len(rows), 4),
        "buys_nothing": round(sum(row.silent for row in rows) / len(rows), 4),
        "auc_buys": _auc([row.silent for row in rows], [row.served for row in rows]),
        "auc_buys_hazard": _auc([row.silent for row in rows], [row.hazard for row in rows]),
        "rows_staying": len(staying),
        "leaves": round(sum(bool(row.leaves) for row in staying) / len(staying), 4),
        "auc_leaves": _auc([bool(row.leaves) for row in staying], [row.served for row in staying]),
        "auc_leaves_hazard": _auc([bool(row.leaves) for row in staying], [row.hazard for row in staying]),
    }


def _auc(labels: list[bool], ranks: list[float]) -> float | None:
    return round(float(roc_auc_score(labels, ranks)), 4) if len(set(labels)) == 2 else None


def _rows(running: Pipeline, truth: Path, from_day: float) -> list[Row]:
    """The matured grid points. Customers of whom several people are known, or none, are left out."""
    header, *records = map(msgspec.json.decode, truth.read_bytes().splitlines())
    horizon = running.config.churn.horizon_days * DAY_MS
    people = _people(running, records)
    rows = []
    for example in _examples(running):
        person = people.get(example.customer)
        if person is None or example.time < header["start"] + from_day * DAY_MS:
            continue
        left = person.left_at
        gone = left is not None and left <= example.time
        leaves = None if gone else left is not None and left <= example.time + horizon
        rows.append(Row(example.model, example.probability, person.hazard, example.label, leaves))
    return rows


def _people(running: Pipeline, records: list[dict[str, Any]]) -> dict[str, Person]:
    """By the id that a customer had at any time: who that is, if it is one."""
    with connect(running.config) as client:
        lookup = Lookup(running.config, client)
        found: dict[str, list[str]] = {}
        people = {each["customer"]: Person(each["hazard"], each["left_at"]) for each in records if "hazard" in each}
        for record in records:
            for identifier in record.get("identifiers", ()):
                for customer in _names(lookup, identifier):
                    found.setdefault(customer, []).append(record["customer"])
    return {customer: people[names[0]] for customer, names in found.items() if len(set(names)) == 1}


def _names(lookup: Lookup, identifier: str) -> list[str]:
    """All ids of the customer who has an identifier now."""
    try:
        held = lookup.meant(identifier)
    except TouchstreamError:
        return []
    if held.held is None:
        return []
    profile = lookup.profile(held.held.cluster.owner(held.token))
    return [] if profile is None else [profile.customer, *profile.births]


def _examples(running: Pipeline) -> Iterator[Example]:
    for messages in read(running.config, topic_name(running.config, "churn.examples"), start=0, follow=False):
        for message in messages:
            value = message.value()
            if message.key() is not None and value is not None:
                yield _example.decode(value)


if __name__ == "__main__":
    sys.exit(main())
