"""Processes that join, leave, or come back from the dead."""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from functools import partial
from typing import Any

from tests.system.pipeline import Flow, Pipeline, await_
from tests.system.scenarios.stage import TAKEN, Stage, commits, owns, taken


def zombie(stage: Stage) -> dict[str, Any]:
    """Freeze a process for ``seconds``, and until another has taken its partitions over and commits, then wake it: one
    of each flow at least."""
    pipeline, woken = stage.pipeline, Counter[str]()
    for turn in range(max(2, stage.count)):
        name = ("engage", "stitch")[turn % 2]
        sleeper, heir = pipeline.of(name) if turn % 4 < 2 else pipeline.of(name)[::-1]
        for flow in (sleeper, heir):
            await_(partial(owns, pipeline, flow), f"{name} to own partitions")
        before = len(heir.logged(TAKEN))
        sleeper.signal(signal.SIGSTOP)
        stage.load(stage.seconds)
        await_(partial(taken, heir, before), "the heir")
        await_(partial(_commits, heir, commits(heir)), "a commit of the heir")
        before = len(sleeper.logged(TAKEN))
        sleeper.signal(signal.SIGCONT)
        await_(lambda n=before, flow=sleeper: pipeline.revive() and taken(flow, n), "the sleeper")  # type: ignore[misc]
        woken[name] += 1
    return {"woken": dict(woken)}


def _commits(flow: Flow, before: float) -> bool:
    return commits(flow) > before


def rebalance(stage: Stage) -> dict[str, Any]:
    """One more process of each flow joins and leaves, ``count`` times. The pause is the longest time a shard of engage
    went without a commit, in milliseconds, from before the change until all shards have committed after it; shards
    that little comes for are silent for long also when nothing happens (``steady``)."""
    pipeline, pauses = stage.pipeline, defaultdict[str, list[int]](list)
    for name in ("engage", "stitch", "learn"):
        extra = pipeline.add(name)
        for _ in range(stage.count):
            pauses["steady"].append(_pause(pipeline, lambda: True, least=3.0))
            before = len(extra.logged(TAKEN))
            extra.start()
            pauses[f"{name} joins"].append(_pause(pipeline, partial(taken, extra, before)))
            extra.signal(signal.SIGTERM)
            pauses[f"{name} leaves"].append(_pause(pipeline, partial(_gone, extra)))
    return {"pause_ms": dict(pauses)}


def _gone(flow: Flow) -> bool:
    return flow.dead


def _pause(pipeline: Pipeline, happened: Any, least: float = 0.0) -> int:
    """The longest gap between two commits of a shard until ``happened``, and every shard committed since."""
    times = pipeline.commit_times()
    longest, started, since = 0, time.monotonic(), 0.0
    deadline = started + 60
    while time.monotonic() < deadline:
        now = pipeline.commit_times()
        longest = max([longest, *(after - before for before, after in zip(times, now, strict=True) if before)])
        times = now
        if not since and happened() and time.monotonic() - started >= least:
            since = time.time() * 1_000
        if since and min(times) > since:
            return longest
        time.sleep(0.01)
    raise TimeoutError("a shard was not committed for a minute")
