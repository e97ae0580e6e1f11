"""Processes die by SIGKILL, at named failpoints and at random moments, and are restarted at once."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from tests.system.pipeline import LOOK, Flow
from tests.system.scenarios.stage import Stage
from tests.system.scenarios.store import rollback

FAILPOINTS = {
    "stitch": (
        "stitch.decoded",
        "stitch.committing",
        "stitch.after_redis",
        "stitch.before_offsets",
        "stitch.before_clear",
        "stitch.taking_over",
    ),
    "engage": (
        "engage.loaded",
        "engage.committing",
        "engage.after_redis",
        "engage.before_offsets",
        "engage.before_clear",
        "engage.handing_over",
        "engage.absorbing",
        "engage.firing",
        "engage.stepping",
        "engage.taking_over",
        "engage.republishing",
    ),
    "learn": (
        "learn.committing",
        "learn.after_redis",
        "learn.before_offsets",
        "learn.before_clear",
        "learn.taking_over",
    ),
    "kpis": ("kpis.committing", "kpis.after_redis", "kpis.before_offsets", "kpis.before_clear", "kpis.taking_over"),
}
#: What is done now and then.
SELDOM = ("taking_over", "republishing", "absorbing", "handing_over", "stepping", "firing")
#: Share of kills at failpoints.
ARMED_SHARE = 0.8
#: A failpoint that is not reached within this time (seconds) becomes a kill at a random moment.
REACH = 20.0


class Chain:
    """The kills of one flow, one after the other: the next begins when the last victim is dead."""

    def __init__(self, flows: list[Flow], rng: Random, count: int) -> None:
        self._flows, self._rng, self._left = flows, rng, count
        self._names = list(FAILPOINTS[flows[0].name])
        self._next_name = rng.randrange(len(self._names))
        self._victim: Flow | None = None
        self._due = 0.0
        self.killed = self.fenced = 0
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
        if flow.process.returncode == -signal.SIGKILL:
            self.killed += 1
        elif "Fenced" in flow.last_words:
            # Whoever is taken for dead while it waits for a CPU finds its producer fenced, and leaves to begin anew.
            self.fenced += 1
        else:
            self.unplanned.append(f"{flow.log.name}: {flow.process.returncode} {flow.last_words}")
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
        once = name.partition(".")[2] in SELDOM
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


def kills(stage: Stage, shares: Mapping[str, float] = SHARES) -> dict[str, Any]:
    """So many kills, shared out over the flows; one of each at least."""
    rng, count = Random(stage.seed), stage.count
    numbers = {name: max(1, int(count * share)) for name, share in shares.items()}
    numbers["engage"] += max(0, count - sum(numbers.values()))
    chains = {name: Chain(stage.pipeline.of(name), rng, number) for name, number in numbers.items()}
    before = len(stage.pipeline.hits())
    while not all(chain.done for chain in chains.values()):
        for chain in chains.values():
            chain.step()
        time.sleep(LOOK)
    hits = Counter(stage.pipeline.hits()[before:])
    return {
        "kills": {name: chain.killed for name, chain in chains.items()},
        "at_failpoints": hits.total(),
        "hits": dict(sorted(hits.items())),
        "fenced": sum(chain.fenced for chain in chains.values()),
        "faults": [each for chain in chains.values() for each in chain.unplanned],
    }


def scattered(stage: Stage) -> dict[str, Any]:
    """Kills, mostly of those who resolve identities, and after each ten of them, once at least, Redis loses its last
    second."""
    parts, total = max(1, stage.count // 10), Counter[str]()
    killed, hits, unplanned = Counter[str](), Counter[str](), list[str]()
    for part in range(parts):
        count = stage.count // parts + (part < stage.count % parts)
        figures = kills(replace(stage, seed=stage.seed + part, count=count), STITCHING)
        figures |= rollback(replace(stage, count=1))
        killed.update(figures["kills"])
        hits.update(figures["hits"])
        unplanned += figures["faults"]
        total.update({name: figures[name] for name in ("at_failpoints", "fenced", "bytes_lost", "rollbacks")})
    more = {"kills": dict(killed), "hits": dict(sorted(hits.items())), "faults": unplanned}
    return {**figures, **total, **more}
