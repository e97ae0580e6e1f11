"""What scenarios have in hand, and what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import redis

from tests.front import Front
from tests.servers import KafkaCluster, KafkaServer, ValkeyServer
from tests.system.pipeline import PATIENCE, Feeder, Flow, Pipeline, await_

TAKEN = "partitions taken over"


@dataclass
class Stage:
    """A running deployment under load. ``count``: how often the harm is done, ``seconds``: how long what stands still
    does; servers are those that a scenario may harm, if it may."""

    pipeline: Pipeline
    feeder: Feeder
    seed: int
    count: int
    own_kafka: KafkaServer | KafkaCluster | None = None
    own_valkey: ValkeyServer | None = None
    own_front: Front | None = None
    seconds: float = 15.0

    @property
    def kafka(self) -> KafkaServer:
        """Kafka, to be harmed."""
        assert isinstance(self.own_kafka, KafkaServer), "Kafka may be harmed only if nobody else uses it"
        return self.own_kafka

    @property
    def cluster(self) -> KafkaCluster:
        """The nodes of Kafka."""
        assert isinstance(self.own_kafka, KafkaCluster), "this scenario needs three nodes"
        return self.own_kafka

    @property
    def valkey(self) -> ValkeyServer:
        """Redis, to be harmed."""
        assert self.own_valkey is not None, "Redis cannot lose anything unless it is a Valkey of its own"
        return self.own_valkey

    @property
    def front(self) -> Front:
        """What stands before Redis."""
        assert self.own_front is not None, "this scenario needs a front"
        return self.own_front

    @property
    def committing(self) -> list[Flow]:
        """The processes that commit all the time under load."""
        return [flow for flow in self.pipeline.flows if flow.name in ("stitch", "engage")]

    def load(self, seconds: float) -> None:
        """A stretch of load."""
        over = time.monotonic() + seconds
        await_(lambda: time.monotonic() > over, "a stretch of load", seconds + PATIENCE)

    def survives(self, harm: Callable[[], None]) -> float:
        """Do ``harm``; whoever it hits takes over again, and all commit. How long that takes after it (seconds)."""
        taken = self._taken_over()
        harm()
        started = time.monotonic()
        # A commit alone says nothing: it may have been on its way when the harm was done. Who asked for nothing in that
        # moment goes on as if nothing had been.
        await_(lambda: self.pipeline.revive() and self._taken_over() > taken, "somebody to take over again")
        self.commits()
        return round(time.monotonic() - started, 1)

    def commits(self, flows: Iterable[Flow] | None = None) -> None:
        """Wait until each of ``flows`` has committed once more."""
        flows = self.committing if flows is None else list(flows)
        before = {flow: commits(flow) for flow in flows}
        for flow in flows:
            await_(partial(self._commits_again, flow, before[flow]), f"commits of {flow.log.stem}")

    def stops(self, flow: Flow) -> str:
        """Wait until it ends by itself; what it ended on."""
        await_(lambda: flow.dead, f"{flow.log.stem} to stop")
        return flow.last_words

    def _taken_over(self) -> int:
        return sum(len(flow.logged(TAKEN)) for flow in self.committing)

    def _commits_again(self, flow: Flow, before: float) -> bool:
        if not self.pipeline.revive():
            return False
        try:
            self.pipeline.redis.ping()
        except redis.RedisError:
            return False
        return commits(flow) != before


def commits(flow: Flow) -> float:
    """How often the running process has committed."""
    return flow.metric("touchstream_commits_total", flow=flow.name)


def takeovers(pipeline: Pipeline, kind: str) -> dict[str, float]:
    """How many take-overs of a kind there were, by flow, in the lives of the processes that run."""
    return {
        name: sum(flow.metric("touchstream_takeovers_total", flow=name, kind=kind) for flow in pipeline.of(name))
        for name in ("stitch", "engage")
    }


def taken(flow: Flow, before: int) -> bool:
    """Whether it has taken over more often than ``before``."""
    return len(flow.logged(TAKEN)) > before


def owns(pipeline: Pipeline, flow: Flow) -> bool:
    """Whether the running process has taken partitions over: since its last start, that is."""
    lines = flow.logged('"')
    started = max(at for at, line in enumerate(lines) if line["message"] == "started") if lines else 0
    return pipeline.revive() and any(line["message"] == TAKEN for line in lines[started:])
