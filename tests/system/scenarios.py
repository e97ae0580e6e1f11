"""What is done to a running deployment. Each scenario returns its own figures."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

import redis

from tests.servers import ValkeyServer
from tests.system.pipeline import LOOK, Flow, Pipeline, await_

FAILPOINTS = {
    "stitch": ("stitch.after_redis", "stitch.before_offsets", "stitch.before_clear", "stitch.taking_over"),
    "engage": (
        "engage.after_redis",
        "engage.before_offsets",
        "engage.before_clear",
        "engage.absorbing",
        "engage.stepping",
        "engage.taking_over",
        "engage.republishing",
    ),
    "learn": ("learn.after_redis", "learn.before_offsets", "learn.before_clear", "learn.taking_over"),
    "kpis": ("kpis.after_redis", "kpis.before_offsets", "kpis.before_clear", "kpis.taking_over"),
}
#: Share of kills at failpoints.
ARMED_SHARE = 0.8
#: A failpoint that is not reached within this time (seconds) becomes a kill at a random moment.
REACH = 20.0
TAKEN = "partitions taken over"


class Chain:
    """The kills of one flow, one after the other: the next begins when the last victim is dead."""

    def __init__(self, flows: list[Flow], rng: Random, count: int) -> None:
        self._flows, self._rng, self._left = flows, rng, count
        self._names = list(FAILPOINTS[flows[0].name])
        self._next_name = rng.randrange(len(self._names))
        self._victim: Flow | None = None
        self._due = 0.0
        self.killed = 0
        self.unplanned: list[str] = []

    @property
    def done(self) -> bool:
        return not self._left and self._victim is None

    def step(self) -> None:
        """Restart what died; kill what is due."""
        for flow in self._flows:
            if flow.dead:
                self._bury(flow)
        if self._victim is None and self._left:
            self._choose()
        elif self._victim is not None and time.monotonic() >= self._due:
            self._victim.signal(signal.SIGKILL)

    def _bury(self, flow: Flow) -> None:
        assert flow.process is not None
        if flow.process.returncode != -signal.SIGKILL:
            self.unplanned.append(f"{flow.log.name}: {flow.process.returncode}")
        else:
            self.killed += 1
        if flow is self._victim or flow.armed:
            self._victim = None
        armed = ""
        if self._victim is None and self._left and self._rng.random() < ARMED_SHARE:
            armed = self._arm()
            self._victim, self._due, self._left = flow, time.monotonic() + REACH, self._left - 1
        flow.start(armed)

    def _arm(self) -> str:
        name = self._names[self._next_name % len(self._names)]
        self._next_name += 1
        once = name.endswith(("taking_over", "republishing", "absorbing", "stepping"))
        # The learner commits seldom.
        most = 1 if once else 2 if name.startswith("learn") else 12
        return f"{name}:{self._rng.randint(1, most)}"

    def _choose(self) -> None:
        """Any process of the flow, at a random moment."""
        self._victim, self._left = self._rng.choice(self._flows), self._left - 1
        self._due = time.monotonic() + self._rng.uniform(0.2, 5.0)


#: Who is killed how often: all flows alike, or mostly who resolves identities.
SHARES = {"stitch": 0.43, "engage": 0.45, "learn": 0.12}
COUNTING = {"kpis": 0.6, "engage": 0.4}
STITCHING = {"stitch": 0.7, "engage": 0.3}


def kills(pipeline: Pipeline, seed: int, count: int, shares: Mapping[str, float] = SHARES) -> dict[str, Any]:
    """``count`` kills, shared out over the flows."""
    rng = Random(seed)
    numbers = {name: int(count * share) for name, share in shares.items()}
    numbers["engage"] += count - sum(numbers.values())
    chains = {name: Chain(pipeline.of(name), rng, number) for name, number in numbers.items()}
    while not all(chain.done for chain in chains.values()):
        for chain in chains.values():
            chain.step()
        time.sleep(LOOK)
    hits = Counter(pipeline.hits())
    killed = {name: chain.killed for name, chain in chains.items()}
    unplanned = [each for chain in chains.values() for each in chain.unplanned]
    return {
        "kills": killed,
        "at_failpoints": hits.total(),
        "hits": dict(sorted(hits.items())),
        "unplanned_ends": unplanned,
    }


def scattered(pipeline: Pipeline, valkey: ValkeyServer, seed: int, count: int) -> dict[str, Any]:
    """``count`` kills, mostly of those who resolve identities, and after each ten of them, once at least, Redis loses
    its last second."""
    killed: Counter[str] = Counter()
    unplanned: list[str] = []
    parts, lost = max(1, count // 10), 0
    figures: dict[str, Any] = {}
    for part in range(parts):
        figures |= kills(pipeline, seed + part, count // parts + (part < count % parts), STITCHING)
        killed.update(figures["kills"])
        unplanned += figures["unplanned_ends"]
        figures |= rollback(pipeline, valkey, 1)
        lost += figures["bytes_lost"]
    return {**figures, "kills": dict(killed), "unplanned_ends": unplanned, "rollbacks": parts, "bytes_lost": lost}


def zombie(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """Freeze a process until another has taken its partitions over and commits, then wake it."""
    woken: Counter[str] = Counter()
    for turn in range(count):
        name = ("engage", "stitch")[turn % 2]
        sleeper, heir = pipeline.of(name) if turn % 4 < 2 else pipeline.of(name)[::-1]
        for flow in (sleeper, heir):
            await_(partial(_owns, pipeline, flow), f"{name} to own partitions")
        taken = len(heir.logged(TAKEN))
        sleeper.signal(signal.SIGSTOP)
        await_(partial(_taken, heir, taken), "the heir")
        await_(partial(_commits, heir, heir.metric("touchstream_commits_total", flow=name)), "a commit of the heir")
        taken = len(sleeper.logged(TAKEN))
        sleeper.signal(signal.SIGCONT)
        await_(lambda taken=taken, flow=sleeper: pipeline.revive() and _taken(flow, taken), "the sleeper")  # type: ignore[misc]
        woken[name] += 1
    return {"woken": dict(woken)}


def _owns(pipeline: Pipeline, flow: Flow) -> bool:
    """Whether the running process has taken partitions over: since its last start, that is."""
    lines = flow.logged('"')
    started = max(at for at, line in enumerate(lines) if line["message"] == "started") if lines else 0
    return pipeline.revive() and any(line["message"] == TAKEN for line in lines[started:])


def _taken(flow: Flow, before: int) -> bool:
    return len(flow.logged(TAKEN)) > before


def _taken_again(pipeline: Pipeline, flow: Flow, before: int) -> bool:
    return pipeline.revive() and _taken(flow, before)


def _commits(flow: Flow, before: float) -> bool:
    return flow.metric("touchstream_commits_total", flow=flow.name) > before


def rebalance(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """One more process of engage joins and leaves, ``count`` times. The pause is the longest time a shard went
    without a commit, in milliseconds, from before the change until all shards have committed after it."""
    pauses: dict[str, list[int]] = {"steady": [], "join": [], "leave": []}
    extra = pipeline.add("engage")
    for _ in range(count):
        pauses["steady"].append(_pause(pipeline, lambda: True, least=3.0))
        taken = len(extra.logged(TAKEN))
        extra.start()
        pauses["join"].append(_pause(pipeline, lambda n=taken: len(extra.logged(TAKEN)) > n))
        extra.signal(signal.SIGTERM)
        pauses["leave"].append(_pause(pipeline, lambda: extra.dead))
    return {"pause_ms": pauses, "rebalances": 2 * count}


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


def rollback(pipeline: Pipeline, valkey: ValkeyServer, count: int) -> dict[str, Any]:
    """Kill Redis, take at least a second off its file, start it again; ``count`` times."""
    lost = 0
    for _ in range(count):
        started = time.monotonic()
        await_(lambda t=started: time.monotonic() - t > 4, "a stretch of load")  # type: ignore[misc]
        flows = [flow for flow in pipeline.flows if flow.name != "learn"]
        taken = {flow: len(flow.logged(TAKEN)) for flow in flows}
        valkey.kill()
        lost += valkey.cut_log(1.0)
        valkey.start()
        for flow in flows:
            # A commit alone says nothing: it may have been on its way when Redis died.
            await_(partial(_taken_again, pipeline, flow, taken[flow]), "a take-over after it")
        commits = {flow: flow.metric("touchstream_commits_total", flow=flow.name) for flow in flows}
        for flow in flows:
            await_(lambda flow=flow, n=commits[flow]: _commits_again(pipeline, flow, n), "commits after it")  # type: ignore[misc]
    takeovers = {
        name: sum(flow.metric("touchstream_takeovers_total", flow=name, kind="rollback") for flow in pipeline.of(name))
        for name in ("stitch", "engage")
    }
    return {"rollbacks": count, "bytes_lost": lost, "takeovers_after_rollback": takeovers}


def _commits_again(pipeline: Pipeline, flow: Flow, before: float) -> bool:
    if not pipeline.revive():
        return False
    try:
        pipeline.redis.ping()
    except redis.RedisError:
        return False
    return flow.metric("touchstream_commits_total", flow=flow.name) != before
