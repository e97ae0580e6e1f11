"""The suite ``state``: bytes of Redis a customer takes after so many simulated days.

Each key is asked with ``MEMORY USAGE``, so names, values and what Redis keeps around them count. What a customer takes
is its profile, its identifiers in the index, its share of the evidence cluster it lies in, and of its shard's timers.
Open learning examples and contributions kept for undo have keys of their own, and are told beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import redis

from benchmarks import throughput
from benchmarks.pipeline import pipeline
from flows.retailer.simulation import NATURAL
from state.tokens import namespace

SIZES: Mapping[str, dict[str, Any]] = {
    "smoke": {"customers": 100, "days": 5, "seed": 1, "shards": 4},
    "small": {"customers": 1_000, "days": 90, "seed": 1, "shards": 8},
    "full": {"customers": 20_000, "days": 90, "seed": 1, "shards": 64},
}
#: Keys asked about in one round trip.
PAGE = 2_000


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Let the retailer live its days, and look at what is in Redis then."""
    with pipeline(folder, shards=sizes["shards"]) as running:
        running.start(["stitch", "engage"])
        events = round(sizes["customers"] * NATURAL * sizes["days"])
        done = throughput.measure(running, events, sizes["customers"], sizes["seed"])["touchpoints"]
        with redis.Redis.from_url(running.config.redis.url) as client:
            found = weigh(client, running.config.prefix)
            info: Any = client.info("memory")
    return {**found, "used_memory": info["used_memory"], "touchpoints": done, "right": found["customers"] > 0}


def weigh(client: redis.Redis, prefix: str) -> dict[str, Any]:
    """What customers take, in bytes: the median, the 90th percentile, and the median of each part."""
    parts: dict[str, Counter[str]] = defaultdict(Counter)
    clusters: dict[bytes, set[str]] = defaultdict(set)
    tag = f"{{{prefix}.i}}".encode()
    index = [key for key in client.scan_iter(tag + b"*", count=PAGE) if b":" in key[len(tag) :]]
    for key, size, value in _weighed(client, index, values=True):
        if len(value) == 24 and namespace(key[len(tag) :]):
            customer = str(UUID(bytes=value[8:24]))
            parts["index"][customer] += size
            clusters[value[:8]].add(customer)
    for key, size, _ in _weighed(client, [tag + b"@" + each for each in clusters]):
        owners = clusters[key[len(tag) + 1 :]]
        for customer in owners:
            parts["evidence"][customer] += size // len(owners)
    names = {b"c": "profile", b"x": "examples", b"u": "undo"}
    for key, size, _ in _weighed(client, client.scan_iter(f"{{{prefix}.*}}[cxu]:*", count=PAGE)):
        kind, _, owner = key.rpartition(b"}")[2].partition(b":")
        parts[names[kind]][owner.decode()] += size
    timers = list(client.scan_iter(f"{{{prefix}.*}}timers", count=PAGE))
    per_timer = _total(client, timers) / max(1, sum([int(client.zcard(key)) for key in timers]))
    customers = [each for each in parts["profile"] if each in parts["index"]]
    totals = sorted(
        sum([parts[part][each] for part in ("profile", "index", "evidence")]) + per_timer for each in customers
    )
    if not totals:
        return {"customers": 0}
    return {
        "customers": len(totals),
        "bytes_median": round(median(totals)),
        "bytes_p90": round(totals[len(totals) * 9 // 10]),
        "parts_median": {
            **{part: round(median([parts[part][each] for each in customers])) for part in sorted(parts)},
            "timer": round(per_timer),
        },
    }


def _total(client: redis.Redis, keys: Iterable[bytes]) -> int:
    return sum([size for _, size, _ in _weighed(client, keys)])


def _weighed(client: redis.Redis, keys: Iterable[bytes], *, values: bool = False) -> Iterator[tuple[bytes, int, bytes]]:
    """Keys with the bytes they take and, on request, their values."""
    remaining = iter(keys)
    while page := list(islice(remaining, PAGE)):
        pipe = client.pipeline(transaction=False)
        for key in page:
            pipe.memory_usage(key, samples=0)
        sizes = pipe.execute()
        found: Any = client.mget(page) if values else [b""] * len(page)
        yield from zip(page, [size or 0 for size in sizes], [value or b"" for value in found], strict=True)


def table(result: Mapping[str, Any]) -> str:
    """The whole and its parts."""
    lines = [f"{result['customers']:,} customers, {result['bytes_median']:,} bytes each (median)"]
    lines += [f"  {part:10}{size:8,}" for part, size in result["parts_median"].items()]
    return "\n".join([*lines, f"  90th percentile {result['bytes_p90']:,}"])
