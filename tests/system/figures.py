"""The figures of the shop, recomputed from the other topics alone: plain, slow, with none of the product's counting."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import redis

from operators.shard import state_of
from schemas.config import Config
from schemas.topics import KPIS, PARTIALS, STITCHED, topic_name
from schemas.touchpoint import TYPES
from state.shards import ShardStore
from tests.system.reading import read_topic

#: By minute, and then by what.
Minutes = defaultdict[int, Counter[tuple[str, ...]]]
DAY = 86_400_000


def check_kpis(config: Config, client: redis.Redis) -> tuple[list[str], int]:
    """Where the figures of minutes are not what the topics say, and how many minutes there are. What the shards have
    counted but not told yet is added to the figures."""
    published = _published(config)
    minutes = {number: figures for (seconds, number), figures in published.items() if seconds == 60}
    told: Minutes = defaultdict(Counter)
    for number, figures in minutes.items():
        told[number] = Counter(dict(_of_figures(figures)))
    so_far = Counter(dict(_of_figures(published[0, 0])))
    untold: Minutes = defaultdict(Counter)
    _add_untold(config, client, untold)
    for number, counts in untold.items():
        told[number] += counts
        so_far += counts
    expected = _recomputed(config)
    whole = sum(expected.values(), Counter[tuple[str, ...]]())
    faults = [
        f"minute {number}: told {dict(told[number] - expected[number])}, not {dict(expected[number] - told[number])}"
        for number in sorted({*told, *expected})
        if +told[number] != +expected[number]
    ]
    if +so_far != +whole:
        faults.append(f"so far: told {dict(so_far - whole)}, not {dict(whole - so_far)}")
    return faults, len(minutes)


def last_partial(config: Config) -> int:
    """The offset of the last record of ``kpi.partials``, -1 if there is none."""
    return max((read.offset for read in read_topic(config, topic_name(config, PARTIALS))), default=-1)


def summed(config: Config, client: redis.Redis) -> int:
    """Up to which offset of ``kpi.partials`` the figures go."""
    return ShardStore(client, config.prefix, "kpis").read([0])[0].r or 0


def _published(config: Config) -> dict[tuple[int, int], dict[str, Any]]:
    """The newest revision of each window. Raises `AssertionError` where a revision does not follow the last."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for read in read_topic(config, topic_name(config, KPIS)):
        figures = json.loads(read.value or b"")
        key = figures["seconds"], figures["start"] // (figures["seconds"] * 1000 or 1)
        assert read.key == f"{figures['seconds']}/{figures['start']}".encode()
        assert key not in found or found[key]["revision"] < figures["revision"], (key, figures)
        found[key] = figures
    return found


def _of_figures(figures: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], int]]:
    for source, types in figures.get("touchpoints", {}).items():
        for type, count in types.items():
            yield ("touchpoint", source, type), count
    yield ("orders",), figures.get("orders", 0)
    yield ("revenue",), round(figures.get("revenue", 0) * 100)
    yield ("late",), figures.get("late", 0)
    for name, play in figures.get("plays", {}).items():
        for channel, count in play.get("sent", {}).items():
            yield ("emitted", name, channel), count
        for code, count in play.get("stopped", {}).items():
            yield ("stopped", name, code), count
        yield ("held", name), play.get("held", 0)
        yield ("held_out", name), play.get("held_out", 0)
        for outcome, goals in play.get("goals", {}).items():
            yield ("closed", name, outcome), goals.get("closed", 0)
            yield ("converted", name, outcome), goals.get("converted", 0)


def _add_untold(config: Config, client: redis.Redis, told: Minutes) -> None:
    store = ShardStore(client, config.prefix)
    for stored in store.read(range(config.topics.shards)):
        for number, counts in state_of(stored.state).tally.items():
            for name, count in counts.items():
                told[number].update(_renamed(name, count))


def _renamed(name: str, count: int) -> dict[tuple[str, ...], int]:
    kind, *rest = name.split("/")
    if kind == "touchpoint":
        return {(kind, *rest): count}
    if kind in ("order", "revenue", "late"):
        return {("orders" if kind == "order" else kind,): count}
    if kind == "play":
        play, outcome, why = rest
        return {(outcome, play, why) if outcome in ("emitted", "stopped") else (outcome, play): count}
    if kind == "outcome" and rest[2] != "revenue":
        return {(rest[2], rest[0], rest[1]): count}
    return {}


def _recomputed(config: Config) -> Minutes:
    found: Minutes = defaultdict(Counter)
    for minute, what, count in (*_touchpoints(config), *_decisions(config), *_outcomes(config)):
        found[minute][what] += count
    return found


def _touchpoints(config: Config) -> Iterator[tuple[int, tuple[str, ...], int]]:
    """Each touchpoint once, where it was applied; the rest are duplicates where they came."""
    clocks: Counter[int] = Counter()
    seen: set[str] = set()
    for read in read_topic(config, topic_name(config, STITCHED)):
        record = json.loads(read.value or b"")
        clock = clocks[read.partition] = max(clocks[read.partition], record["at"])
        if record["k"] != "event" or record["eid"] in seen:
            continue
        seen.add(record["eid"])
        if clock - record["time"] > DAY:
            yield clock // 60_000, ("late",), 1
            continue
        minute, type = record["time"] // 60_000, record["type"]
        yield minute, ("touchpoint", record["source"], type if type in TYPES else "other"), 1
        if type == "Order Completed":
            yield minute, ("orders",), 1
            yield minute, ("revenue",), round(record["data"]["revenue"] * 100)


def _decisions(config: Config) -> Iterator[tuple[int, tuple[str, ...], int]]:
    for read in read_topic(config, topic_name(config, "decisions")):
        decision = json.loads(read.value or b"")
        outcome, why = decision["outcome"], decision.get("code") or decision.get("channel")
        named = (outcome, decision["play"], why) if outcome in ("emitted", "stopped") else (outcome, decision["play"])
        yield decision["at"] // 60_000, named, 1


def _outcomes(config: Config) -> Iterator[tuple[int, tuple[str, ...], int]]:
    for read in read_topic(config, topic_name(config, "outcomes")):
        outcome = json.loads(read.value or b"")
        if outcome.get("observed", True) and not outcome.get("treated"):
            minute = outcome["at"] // 60_000
            yield minute, ("closed", outcome["play"], outcome["outcome"]), 1
            yield minute, ("converted", outcome["play"], outcome["outcome"]), int(outcome["converted"])
