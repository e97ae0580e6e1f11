"""The suite ``scale``: what a touchpoint costs with more customers, shards, plays and processes.

One thing is varied at a time, each on a deployment of its own; the others are as in the first of each list. The first
``warm`` touchpoints a customer are not counted: then most are known.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import throughput
from benchmarks.pipeline import pipeline
from schemas.plays import PlayFile

SIZES: Mapping[str, dict[str, Any]] = {
    "smoke": {
        "events": 2_000, "warm": 1, "customers": [200], "shards": [8, 16], "plays": [5], "processes": [1], "seed": 1,
    },
    "small": {
        "events": 60_000, "warm": 1, "customers": [5_000, 50_000], "shards": [8, 64], "plays": [5, 500],
        "processes": [1, 2], "seed": 1,
    },
    "full": {
        "events": 1_000_000, "warm": 2, "customers": [10_000, 100_000, 1_000_000, 5_000_000],
        "shards": [8, 64, 256], "plays": [5, 50, 500], "processes": [1, 2, 4], "seed": 1,
    },
}  # fmt: skip
VARIED = ("customers", "shards", "plays", "processes")
#: What plays wait for, in turn; none of them ever speaks.
EVENTS = {
    "Product Viewed": "default(event.product.price, 0) >= {}",
    "Product Added": "default(event.value, 0) >= {}",
    "Order Completed": "event.revenue >= {}",
    "Ticket Closed": "default(event.satisfaction, 0) >= {}",
    "Points Earned": "default(event.points, 0) >= {}",
}


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Vary one thing at a time."""
    base = {name: sizes[name][0] for name in VARIED}
    first = measure(folder / "base", base, sizes)
    results: dict[str, dict[str, Any]] = {}
    for name in VARIED:
        results[name] = {str(base[name]): first}
        for value in sizes[name][1:]:
            print(f"{name} {value:,}", file=sys.stderr, flush=True)
            results[name][str(value)] = measure(folder / f"{name}-{value}", {**base, name: value}, sizes)
    for measured in results.values():
        for each in measured.values():
            each["ratio"] = round(each["cpu_us"] / first["cpu_us"], 3)
    right = all([each["account_closes"] for measured in results.values() for each in measured.values()])
    return {"base": base, "varied": results, "right": right}


def measure(folder: Path, given: Mapping[str, int], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """CPU microseconds a touchpoint of one deployment."""
    with pipeline(folder, plays(given["plays"]), shards=given["shards"]) as running:
        running.start(["stitch", "engage"] * given["processes"])
        customers, seed = given["customers"], sizes["seed"]
        result = throughput.measure(running, sizes["events"], customers, seed, warm=sizes["warm"] * customers)
    stages = result["cpu_us_per_touchpoint"]
    return {"cpu_us": round(sum(stages.values()), 2), **stages, "account_closes": result["account_closes"]}


def plays(count: int) -> PlayFile:
    """So many plays with conditions that are looked at and never hold."""
    events = list(EVENTS)
    made = {}
    for number in range(count):
        event = events[number % len(events)]
        pattern = {"event": event, "where": EVENTS[event].format(900_000_000 + number)}
        made[f"play_{number}"] = {"when": {"event": pattern}, "channels": ["sms"], "cool_down": "1d"}
    return msgspec.convert({"plays": made}, PlayFile)


def table(result: Mapping[str, Any]) -> str:
    """A line for each value."""
    lines = [f"{'':24}{'us each':>9}{'stitch':>8}{'engage':>8}{'redis':>8}{'ratio':>7}"]
    for name, measured in result["varied"].items():
        for value, each in measured.items():
            stages = "".join([f"{each[stage]:8.1f}" for stage in throughput.STAGES])
            lines.append(f"{name:12}{int(value):12,}{each['cpu_us']:9.1f}{stages}{each['ratio']:7.2f}")
    return "\n".join(lines)
