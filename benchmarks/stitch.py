"""The stitch core alone: CPU a touchpoint in this process and in Redis, without Kafka.

::

    python -m flows.retailer --customers 60000 --events 400000 --out touchpoints.ndjson
    python -m benchmarks.stitch touchpoints.ndjson [--warm 100000] [--batch 1000] [--blocked device:kiosk-0001]

Starts a Valkey of its own. The first ``--warm`` records are stitched without being measured. ``quiet_us`` is the
tenth percentile of batches: what remains when nothing else runs on the machine.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import redis

from flows.embedded import EmbeddedValkey
from operators.stitching import Stitcher
from schemas.config import Config, Identity, Keys, Limits, Topics
from state.identity import IdentityStore

#: Of no deployment: figures are to be compared.
KEYS = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})


class Message(NamedTuple):
    """A record as the consumer would hand it out."""

    place: int
    raw: bytes

    def topic(self) -> str:
        return "ts.touchpoints"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.place

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self.raw

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000


def main() -> None:
    """Measure and print one JSON object."""
    options = _options()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedValkey(Path(folder)) as valkey,
        redis.Redis.from_url(valkey.url) as client,
        options.file.open("rb") as lines,
    ):
        print(json.dumps(_measure(client, (Message(*each) for each in enumerate(lines)), options)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--warm", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--blocked", action="append", default=[])
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def _measure(client: redis.Redis, messages: Iterator[Message], options: argparse.Namespace) -> dict[str, Any]:
    config = Config(
        keys=KEYS,
        clock="log",
        topics=Topics(shards=64),
        identity=Identity(blocked=tuple(options.blocked)),
        limits=Limits(batch=options.batch),
    )
    stitcher = Stitcher(config, IdentityStore(client, config.prefix), lambda: time.time_ns() // 1_000_000)
    stitcher.positions.take([("ts.touchpoints", 0)])
    tally: Counter[str] = Counter()
    _run(stitcher, islice(messages, options.warm), options.batch, tally)
    tally.clear()
    gc.collect()
    gc.freeze()
    gc.disable()
    profile = cProfile.Profile() if options.profile else None
    redis_before, wall = _redis_cpu(client), time.perf_counter()
    if profile:
        profile.enable()
    batches = _run(stitcher, messages, options.batch, tally)
    if profile:
        profile.disable()
    wall = time.perf_counter() - wall
    redis_cpu = _redis_cpu(client) - redis_before
    if profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    events = tally["events"]
    del tally["events"]
    info: Any = client.info("memory")
    identifiers = sum(1 for _ in client.scan_iter("{ts.i}*", count=5_000)) - 1
    return {
        "events": events,
        "cpu_us": round(sum(batches) / events * 1e6, 2),
        "quiet_us": round(sorted(batches)[len(batches) // 10] / options.batch * 1e6, 2),
        "redis_cpu_us": round(redis_cpu / events * 1e6, 2),
        "wall_us": round(wall / events * 1e6, 2),
        "redis_bytes_per_key": info["used_memory_dataset"] // identifiers,
        "redis_keys": identifiers,
        **{name: round(count / events, 4) for name, count in sorted(tally.items())},
    }


def _run(stitcher: Stitcher, messages: Iterator[Message], size: int, tally: Counter[str]) -> list[float]:
    """Stitch all; the CPU seconds of each batch."""
    seconds = []
    while some := list(islice(messages, size)):
        before = time.process_time()
        batch = stitcher.stitch(some, {}, {})
        stitcher.published(batch)
        seconds.append(time.process_time() - before)
        tally["events"] += len(some)
        tally.update(batch.effects)
        tally.update(batch.changes)
        tally["dead"] += sum(batch.faults.values())
        tally["bytes_out"] += sum(len(each.value or b"") for each in batch.outgoing)
    return seconds


def _redis_cpu(client: redis.Redis) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


if __name__ == "__main__":
    main()
