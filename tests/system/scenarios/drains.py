"""Processes are asked to leave, at good times and bad ones."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Collection
from random import Random
from typing import Any

import msgspec

from schemas.config import Config
from tests.system.pipeline import Flow, await_
from tests.system.scenarios.stage import Stage

#: How long a drain may take (seconds), and how much longer until the process is gone.
DRAIN, GRACE = 8, 4.0
#: Exit codes: drained; given up after `DRAIN`; told twice; told before it listens.
DRAINED, GIVEN_UP, AT_ONCE, DEAF = 0, 1, 128 + signal.SIGTERM, -signal.SIGTERM


def brief(config: Config) -> Config:
    """Drains may take `DRAIN` seconds."""
    return msgspec.structs.replace(config, limits=msgspec.structs.replace(config.limits, drain_seconds=DRAIN))


def drains(stage: Stage) -> dict[str, Any]:
    """SIGTERM under load, twice, while Redis or the broker is away, and during the start: each process leaves in time,
    with the code it should, and whoever comes after it finds nothing lost."""
    rng, found = Random(stage.seed), dict[str, Any]()
    faults: list[str] = []

    def judge(when: str, codes: Collection[int], within: float, ask: Callable[[Flow], None]) -> None:
        """Ask all processes to leave."""
        flows = stage.pipeline.flows
        started = time.monotonic()
        for flow in flows:
            ask(flow)
        ends = [(flow.log.stem, *_ends(flow, started)) for flow in flows]
        found[when] = {"codes": sorted({code for _, code, _ in ends}), "seconds": max(after for _, _, after in ends)}
        faults.extend(
            f"{when}: {name} left with {code} after {after} s"
            for name, code, after in ends
            if code not in codes or after > within
        )

    for _ in range(stage.count):
        _all_work(stage)
        judge("under load", {DRAINED}, DRAIN, _ask)
        _all_work(stage)
        judge("twice", {DRAINED, AT_ONCE}, GRACE, _ask_twice)
        _all_work(stage)
        stage.valkey.pause()
        judge("Redis stands still", {DRAINED, GIVEN_UP}, DRAIN + GRACE, _ask)
        stage.valkey.resume()
        _all_work(stage)
        stage.valkey.kill()
        judge("Redis is down", {DRAINED}, DRAIN, _ask)
        stage.valkey.start()
        _all_work(stage)
        stage.kafka.kill()
        judge("the broker is down", {DRAINED, GIVEN_UP}, DRAIN + GRACE, _ask)
        stage.kafka.start()
        for flow in stage.pipeline.flows:
            flow.start()
        judge("during start", {DRAINED, DEAF}, DRAIN, lambda flow: _ask_after(flow, rng.uniform(0.1, 1.0)))
    _all_work(stage)
    return {"drains": found, "faults": faults}


def _all_work(stage: Stage) -> None:
    for flow in stage.pipeline.flows:
        if flow.dead:
            flow.start()
    await_(lambda: all(flow.up for flow in stage.pipeline.flows), "all to have started")
    stage.commits()


def _ask(flow: Flow) -> None:
    flow.signal(signal.SIGTERM)


def _ask_twice(flow: Flow) -> None:
    flow.signal(signal.SIGTERM)
    flow.signal(signal.SIGTERM)


def _ask_after(flow: Flow, seconds: float) -> None:
    time.sleep(seconds)
    flow.signal(signal.SIGTERM)


def _ends(flow: Flow, since: float) -> tuple[int, float]:
    """The exit code, and how long it took."""
    assert flow.process is not None
    try:
        code = flow.process.wait(DRAIN + 30)
    except subprocess.TimeoutExpired:
        code = 99
    return code, round(time.monotonic() - since, 1)
