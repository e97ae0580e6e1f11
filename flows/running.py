"""A flow's shell in its process: batches counted and timed, progress noted, readiness judged."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Protocol, TypeVar

import redis

from flows import settings
from flows.process import Process
from operators import metrics
from operators.subscription import Received, Subscription
from schemas.config import Config
from state.connection import connect

#: How often Redis is asked how it is (seconds).
INFO_EVERY = 15.0
#: So long (seconds) Redis and Kafka have to answer whoever asks whether this process is ready.
ANSWER_SECONDS = 1.0

In = TypeVar("In")
Out = TypeVar("Out")


class Shell(Protocol):
    """What engage, learn and stitch have in common."""

    def poll(self, wait: float) -> list[Received]:
        """The next messages, waiting up to ``wait`` seconds."""

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """What it reads."""


class Running:
    """One flow process: configuration, signals, metrics."""

    def __init__(self, flow: str) -> None:
        self.config: Config = settings.load()
        #: Start anew from the beginning of the logs although positions were lost.
        self.initialise = os.environ.get("TOUCHSTREAM_INITIALISE") == "1"
        self._flow = flow
        self._process = Process.start(flow, self.config)
        self.redis = connect(self.config, metrics.redis_observer(flow))
        self._asked_at = 0.0
        self._evicted = self._memory = 0
        self._caught_up = False
        metrics.REDIS_EVICTED.source(self._redis_evicted)
        metrics.REDIS_MEMORY.source(self._redis_memory)

    def draining(self) -> bool:
        """Whether to stop after the current batch."""
        return self._process.draining

    def polls(self, shell: Shell, wait: float) -> Callable[[], list[Received]]:
        """``shell.poll``, with progress and rate reported."""
        batch = metrics.BATCH_RECORDS.labels(self._flow)
        self._process.judge(lambda: self._problems(shell.subscriptions))

        def poll() -> list[Received]:
            self._process.beat()
            self._process.ready(True)
            self._ask()
            messages = shell.poll(wait)
            if messages:
                batch.observe(len(messages))
            return messages

        return poll

    def timed(self, stage: str, step: Callable[[In], Out]) -> Callable[[In], Out]:
        """``step``, its duration observed when it had something to do."""
        seconds = metrics.BATCH_SECONDS.labels(self._flow, stage)

        def run(batch: In) -> Out:
            started = time.perf_counter()
            result = step(batch)
            if batch:
                seconds.observe(time.perf_counter() - started)
            return result

        return run

    def _problems(self, subscriptions: Sequence[Subscription]) -> list[str]:
        """Why this process does not do its work, or cannot; asked by another thread."""
        found = [each.problem for each in subscriptions if each.problem]
        lag, bound = max(each.lag_seconds for each in subscriptions), self.config.limits.ready_lag_seconds
        self._caught_up = self._caught_up or (not found and lag <= bound)
        if not found and not self._caught_up:
            known = f"{lag:.0f} s behind" if isfinite(lag) else "not known yet"
            found.append(f"lag: {known}; ready from {bound} s on (limits.ready_lag_seconds)")
        if not redis_answers(self.config):
            found.append(f"redis: does not answer within {ANSWER_SECONDS:.0f} s")
        if not subscriptions[0].answers(ANSWER_SECONDS):
            found.append(f"kafka: does not answer within {ANSWER_SECONDS:.0f} s")
        return found

    def _ask(self) -> None:
        if time.monotonic() - self._asked_at < INFO_EVERY:
            return
        self._asked_at = time.monotonic()
        try:
            stats: Any = self.redis.info("stats")
            memory: Any = self.redis.info("memory")
        except redis.RedisError:
            return  # counted, and the flow will meet it too
        self._evicted, self._memory = int(stats["evicted_keys"]), int(memory["used_memory"])

    def _redis_evicted(self) -> list[metrics.Sample]:
        return [((self._flow,), self._evicted)]

    def _redis_memory(self) -> list[metrics.Sample]:
        return [((self._flow,), self._memory)]


def redis_answers(config: Config) -> bool:
    """Whether Redis answers within `ANSWER_SECONDS`."""
    try:
        with connect(config, timeout=ANSWER_SECONDS) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
