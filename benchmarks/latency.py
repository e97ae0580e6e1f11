"""The suite ``latency``: touchpoint to trigger at a steady rate, exactly-once, on real Kafka and Valkey.

From the moment the retailer handed the touchpoint to Kafka (its record's timestamp), whether we keep up or not, to the
moment a consumer with ``isolation.level=read_committed`` has the trigger in hand, so transactions count. Triggers of
timers have no touchpoint to measure from and are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
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
    "smoke": {"rates": [200], "seconds": 6, "customers": 200, "seed": 1},
    "small": {"rates": [500, 1_000, 2_000], "seconds": 30, "customers": 2_000, "seed": 1},
    "full": {"rates": [1_000, 2_000, 5_000], "seconds": 60, "customers": 2_000, "seed": 1},
}
#: The first seconds are left out, as far as they are a fourth: caches fill, and everybody signs up.
WARM_UP = 10.0


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Each rate on a deployment of its own."""
    rates = []
    for rate in sizes["rates"]:
        with pipeline(folder / str(rate)) as running:
            running.start(["stitch", "engage"])
            rates.append({"asked": rate, **measure(running, rate, sizes)})
    return {"rates": rates, "right": all([each["triggers"] > 0 for each in rates])}


def measure(running: Pipeline, rate: int, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Latencies in ms of the triggers that reach a consumer while the retailer writes."""
    consumer = _triggers(running)
    command = [sys.executable, "-m", "flows.retailer", "--customers", str(sizes["customers"])]
    command += ["--rate", str(rate), "--seconds", str(sizes["seconds"]), "--seed", str(sizes["seed"])]
    command += ["--kafka", running.config.kafka.bootstrap, "--topic", topic_name(running.config, "touchpoints")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as retailer:
        latencies = _collect(consumer, retailer, sizes["seconds"])
        output = retailer.stdout.read() if retailer.stdout else b""
    consumer.close()
    written = json.loads(output.splitlines()[-1])
    rate = round(written["written"] / sizes["seconds"])
    return {"rate": rate, "triggers": len(latencies), **quantiles(latencies)}


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


def _collect(consumer: Consumer, retailer: subprocess.Popen[bytes], seconds: int) -> list[int]:
    decode = msgspec.json.Decoder(Trigger).decode
    started, latencies, warm_up = time.monotonic(), [], min(WARM_UP, seconds / 4)
    while retailer.poll() is None or time.monotonic() - started < seconds + 2:
        for message in consumer.consume(500, 0.005):
            value = message.value()
            if message.error() is None and value is not None and time.monotonic() - started > warm_up:
                born = decode(value).data.touchpoint_ts
                if born:
                    latencies.append(time.time_ns() // 1_000_000 - born)
    return latencies


def table(result: Mapping[str, Any]) -> str:
    """A line for each rate."""
    return "\n".join(["  ".join([f"{name} {value}" for name, value in each.items()]) for each in result["rates"]])


if __name__ == "__main__":
    sys.exit(alone("latency"))
