"""Touchpoint-to-trigger latency at a steady rate, exactly-once, on real Kafka and Valkey.

``python -m benchmarks.latency --rate 2000 --seconds 60 --json``: from the moment the retailer handed the touchpoint to
Kafka (its record's timestamp) to the moment a consumer with ``isolation.level=read_committed`` has the trigger in
hand, so transactions count. Triggers of timers have no touchpoint to measure from and are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.pipeline import Pipeline, pipeline
from operators.kafka import client_properties
from schemas.outputs import Trigger
from schemas.topics import topic_name

#: The first seconds are left out: caches fill, and everybody signs up.
WARM_UP = 10.0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2_000, help="touchpoints per second (default 2,000)")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("--keep", type=Path, help="folder for logs and data (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, pipeline(options.keep or Path(temporary)) as running:
        running.start(["stitch", "engage"])
        result = measure(running, options)
    print(json.dumps(result) if options.json else "  ".join(f"{key} {value}" for key, value in result.items()))
    return 0


def measure(running: Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """Latencies in ms of the triggers that reach a consumer while the retailer writes."""
    consumer = _triggers(running)
    command = [sys.executable, "-m", "flows.retailer", "--customers", str(options.customers)]
    command += ["--rate", str(options.rate), "--seconds", str(options.seconds), "--seed", str(options.seed)]
    command += ["--kafka", running.config.kafka.bootstrap, "--topic", topic_name(running.config, "touchpoints")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as retailer:
        latencies = _collect(consumer, retailer, options.seconds)
        output = retailer.stdout.read() if retailer.stdout else b""
    consumer.close()
    written = json.loads(output.splitlines()[-1])
    return {"rate": round(written["written"] / options.seconds), "triggers": len(latencies), **quantiles(latencies)}


def quantiles(latencies: list[int]) -> dict[str, int]:
    """p50, p90, p99 and the largest (ms)."""
    ordered = sorted(latencies)
    return {
        f"p{percent}_ms" if percent < 100 else "max_ms": ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
        for percent in (50, 90, 99, 100)
        if ordered
    }


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
    started, latencies = time.monotonic(), []
    while retailer.poll() is None or time.monotonic() - started < seconds + 2:
        for message in consumer.consume(500, 0.005):
            value = message.value()
            if message.error() is None and value is not None and time.monotonic() - started > WARM_UP:
                born = decode(value).data.touchpoint_ts
                if born:
                    latencies.append(time.time_ns() // 1_000_000 - born)
    return latencies


if __name__ == "__main__":
    sys.exit(main())
