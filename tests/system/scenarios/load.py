"""Much to do, or much of it in one place, or for long."""

from __future__ import annotations

import time
from typing import Any

import psutil

from tests.messages import touchpoint
from tests.system.pipeline import Flow
from tests.system.scenarios.stage import Stage

#: How much more a burst is.
BURST = 10
#: Processes have warmed up after this share of a soak, and are looked at this often (seconds).
WARM, EVERY = 0.3, 1.0
#: Memory that grows less than this (bytes an hour) is flat: what is seen in a few minutes is mostly noise.
FLAT = 200_000_000


def crowd(stage: Stage) -> dict[str, Any]:
    """One customer sends as much as all others together."""
    feeder, hot = stage.feeder, 0
    for _ in range(5 * stage.count):
        stage.load(1)
        while hot < feeder.sent - hot:
            at, hot = feeder.now, hot + 1
            feeder.put(0, touchpoint(hot, "!member:hot", time=at, at=at, data={}))
    return {"of_one_customer": hot}


def burst(stage: Stage) -> dict[str, Any]:
    """Ten times as much as before for a while; how long until all of it is done (seconds)."""
    stage.load(3)
    stage.feeder.rate *= BURST
    stage.load(stage.seconds / 2)
    stage.feeder.rate /= BURST
    sent, started = stage.feeder.sent, time.monotonic()
    stage.pipeline.await_stitched(sent)
    return {"caught_up_after": round(time.monotonic() - started, 1), "sent": sent}


def catch_up(stage: Stage) -> dict[str, Any]:
    """All processes are away while ``count`` thousands of records come; records a second until all is done."""
    pipeline = stage.pipeline
    stage.load(2)
    for flow in pipeline.flows:
        flow.drain()
    before = stage.feeder.sent
    stage.feeder.send_many(1_000 * stage.count)
    for flow in pipeline.flows:
        flow.start()
    started = time.monotonic()
    pipeline.settle(stage.feeder.sent)
    seconds = time.monotonic() - started
    return {"backlog": stage.feeder.sent - before, "per_second": round((stage.feeder.sent - before) / seconds)}


def soak(stage: Stage) -> dict[str, Any]:
    """A steady load for ``seconds``: the memory of every process stays flat once it is warm."""
    began, seen = time.monotonic(), dict[Flow, list[tuple[float, int]]]()
    while (elapsed := time.monotonic() - began) < stage.seconds:
        stage.load(EVERY)
        for flow in stage.pipeline.flows:
            if elapsed >= WARM * stage.seconds and flow.process is not None and not flow.dead:
                memory = psutil.Process(flow.process.pid).memory_info().rss
                seen.setdefault(flow, []).append((elapsed, memory))
    slopes = {flow.log.stem: round(slope(points) * 3_600) for flow, points in seen.items()}
    largest = {flow.log.stem: max(memory for _, memory in points) for flow, points in seen.items()}
    faults = [f"{name} grows by {grows:,} bytes an hour" for name, grows in slopes.items() if grows > FLAT]
    # Little time tells little.
    return {"bytes_an_hour": slopes, "bytes": largest, "faults": faults if stage.seconds >= 600 else []}


def slope(points: list[tuple[float, int]]) -> float:
    """Of the straight line that fits best (least squares)."""
    times, values = [at for at, _ in points], [value for _, value in points]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (value - mean) for at, value in points) / spread if spread else 0.0
