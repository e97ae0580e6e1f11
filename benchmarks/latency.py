"""The suite ``latency``: touchpoint to trigger at a steady rate, exactly-once, on real Kafka and Valkey.

From the moment the retailer handed the touchpoint to Kafka (its record's timestamp), whether we keep up or not, to the
moment a consumer with ``isolation.level=read_committed`` has the trigger in hand, so transactions count. Triggers of
timers have no touchpoint to measure from and are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.pipeline import Pipeline, pipeline
from benchmarks.run import alone
from operators.kafka import client_properties
from schemas.outputs import Trigger
from schemas.topics import topic_name

SIZES: Mapping[str, dict[str, Any]] = {
    "smoke": {"rates": [200], "seconds": 6, "warm": 2, "customers": 200, "seed": 1},
    "small": {"rates": [500, 1_000, 2_000], "seconds": 30, "warm": 45, "customers": 2_000, "seed": 1},
    "full": {"rates": [1_000, 2_000, 5_000], "seconds": 60, "warm": 90, "customers": 2_000, "seed": 1},
}  # fmt: skip
#: When everything is worked off, and nothing has come for so long (seconds), nothing more will.
QUIET = 2.0


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Each rate on a deployment of its own."""
    rates = []
    for rate in sizes["rates"]:
        with pipeline(folder / str(rate)) as running:
            running.start(["stitch", "engage"])
            rates.append({"asked": rate, **measure(running, rate, sizes)})
    return {"rates": rates, "right": all([each["triggers"] > 0 and not each["missing"] for each in rates])}


def measure(running: Pipeline, rate: int, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Latencies in ms of the triggers that touchpoints lead to, once the first ``warm`` seconds are over: so long
    caches fill, everybody signs up, and the broker compiles itself, which takes as much CPU as its work. All are waited
    for: those that come last have taken longest."""
    seconds = sizes["warm"] + sizes["seconds"]
    command = [sys.executable, "-m", "flows.retailer", "--customers", str(sizes["customers"])]
    command += ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(sizes["seed"])]
    command += ["--kafka", running.config.kafka.bootstrap, "--topic", topic_name(running.config, "touchpoints")]
    warm = time.time_ns() // 1_000_000 + 1_000 * sizes["warm"]
    with _Reader(_triggers(running), warm) as reader:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        written = json.loads(done.stdout.splitlines()[-1])["written"]
        for _ in running.await_done(written):
            pass
    emitted = sum([count for name, count in running.counts().items() if re.fullmatch("decision/.*/emitted", name)])
    return {
        "rate": round(written / seconds),
        "triggers": len(reader.latencies),
        "missing": emitted - reader.read,
        **quantiles(reader.latencies),
    }


class _Reader(threading.Thread):
    """Reads triggers while its block lasts, and until none has come for a while: ``read``, and ``latencies`` (ms) of
    those whose touchpoint was written after ``warm`` (ms)."""

    def __init__(self, consumer: Consumer, warm: int) -> None:
        super().__init__(name="reader", daemon=True)
        self._consumer, self._warm = consumer, warm
        self._ended = threading.Event()
        self.read, self.latencies = 0, list[int]()

    def __enter__(self) -> _Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._consumer.close()

    def run(self) -> None:
        decode = msgspec.json.Decoder(Trigger).decode
        came = time.monotonic()
        while not self._ended.is_set() or time.monotonic() - came < QUIET:
            for message in self._consumer.consume(500, 0.005):
                value = message.value()
                if message.error() is None and value is not None:
                    self.read, came = self.read + 1, time.monotonic()
                    born = decode(value).data.touchpoint_ts
                    if born > self._warm:
                        self.latencies.append(time.time_ns() // 1_000_000 - born)


def quantiles(latencies: list[int]) -> dict[str, int]:
    """p50, p90, p99, p99.9 and the largest (ms)."""
    ordered, last = sorted(latencies), len(latencies) - 1
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99.9_ms": 0.999, "max_ms": 1.0}
    return {name: ordered[min(last, int(len(ordered) * share))] for name, share in shares.items() if ordered}


def _triggers(running: Pipeline) -> Consumer:
    """A reader of all triggers, as a marketing system would be."""
    topic = topic_name(running.config, "triggers")
    consumer = Consumer(
        {
            **client_properties(running.config),
            "group.id": "latency",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    return consumer


def table(result: Mapping[str, Any]) -> str:
    """A line for each rate."""
    return "\n".join(["  ".join([f"{name} {value}" for name, value in each.items()]) for each in result["rates"]])


if __name__ == "__main__":
    sys.exit(alone("latency"))
