"""Much to do, or much of it in one place, or for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import msgspec
import psutil

from schemas.config import Config, Limits
from tests.messages import touchpoint
from tests.system.pipeline import Flow
from tests.system.scenarios.stage import Stage

#: How long processes are away by the log's clock (ms): less than anybody waits for a hand-over.
AWAY = 3 * 86_400_000
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


def roomy(config: Config) -> Config:
    """With the limits of production, not those that make caches and batches overflow."""
    park = config.limits.park_seconds
    return msgspec.structs.replace(config, limits=Limits(park_seconds=park))


def many(count: int) -> int:
    """Of whom each sends about five of ``count`` thousands of records: of five millions one million people."""
    return 200 * count


def catch_up(stage: Stage) -> dict[str, Any]:
    """All processes are away for three days in which ``count`` thousands of records come, of a fifth as many people
    (`many`); records a second until all is done, and memory meanwhile: caches fill, so that is told, not judged."""
    pipeline, feeder = stage.pipeline, stage.feeder
    stage.load(2)
    for flow in pipeline.flows:
        flow.drain()
    before, feeder.each = feeder.sent, AWAY / (1_000 * stage.count)
    feeder.send_many(1_000 * stage.count)
    feeder.finish()
    for flow in pipeline.flows:
        flow.start()
    with Memory(pipeline.flows) as memory:
        pipeline.settle(feeder.sent)
    backlog = feeder.sent - before
    return {"backlog": backlog, "per_second": round(backlog / memory.seconds), **memory.figures()}


def soak(stage: Stage) -> dict[str, Any]:
    """A steady load for ``seconds``: the memory of every process stays flat once it is warm."""
    with Memory(stage.pipeline.flows) as memory:
        stage.load(stage.seconds)
    figures = memory.figures()
    faults = [
        f"{name} grows by {grows:,} bytes an hour" for name, grows in figures["bytes_an_hour"].items() if grows > FLAT
    ]
    # Little time tells little.
    return {**figures, "faults": faults if stage.seconds >= 600 else []}


class Memory(threading.Thread):
    """Looks at the memory of processes while its block lasts."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        super().__init__(name="memory", daemon=True)
        self._flows = flows
        self._seen: dict[Flow, list[tuple[float, int]]] = {flow: [] for flow in flows}
        self._began = time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self.seconds = time.monotonic() - self._began

    def run(self) -> None:
        while not self._ended.wait(EVERY):
            for flow in self._flows:
                # It may end at any moment.
                with suppress(psutil.Error):
                    self._seen[flow].append((time.monotonic() - self._began, flow.memory))

    def figures(self) -> dict[str, Any]:
        """What each grew by in an hour, once warm, and its most (bytes)."""
        warm = {
            flow.log.stem: [each for each in seen if each[0] >= WARM * self.seconds]
            for flow, seen in self._seen.items()
        }
        slopes = {name: round(slope(points) * 3_600) for name, points in warm.items() if points}
        largest = {name: max(memory for _, memory in points) for name, points in warm.items() if points}
        return {"bytes_an_hour": slopes, "bytes": largest}


def slope(points: list[tuple[float, int]]) -> float:
    """Of the straight line that fits best (least squares)."""
    times, values = [at for at, _ in points], [value for _, value in points]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (value - mean) for at, value in points) / spread if spread else 0.0
