"""A flow's shell in its process: batches counted and timed, lag reported, progress noted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from flows import settings
from flows.process import Process
from operators import metrics
from operators.subscription import Received
from schemas.config import Config

#: How often lag is looked up (seconds).
LAG_EVERY = 1.0

In = TypeVar("In")
Out = TypeVar("Out")


class Shell(Protocol):
    """What engage, learn and stitch have in common."""

    def poll(self, wait: float) -> list[Received]:
        """The next messages, waiting up to ``wait`` seconds."""

    def lag(self) -> Mapping[Any, int]:
        """Records not yet processed, by partition."""


class Running:
    """One flow process: configuration, signals, metrics."""

    def __init__(self, flow: str) -> None:
        self.config: Config = settings.load()
        #: Start anew from the beginning of the logs although positions were lost.
        self.initialise = os.environ.get("TOUCHSTREAM_INITIALISE") == "1"
        self._flow = flow
        self._process = Process.start(flow, self.config)
        self._lag_at = 0.0

    def draining(self) -> bool:
        """Whether to stop after the current batch."""
        return self._process.draining

    def polls(self, shell: Shell, wait: float) -> Callable[[], list[Received]]:
        """``shell.poll``, with progress, rate and lag reported."""
        batch = metrics.BATCH_RECORDS.labels(self._flow)

        def poll() -> list[Received]:
            self._process.beat()
            self._process.ready(True)
            messages = shell.poll(wait)
            if messages:
                batch.observe(len(messages))
                metrics.RECORDS_CONSUMED.labels(self._flow, messages[0].topic()).inc(len(messages))
            self._report_lag(shell)
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

    def _report_lag(self, shell: Shell) -> None:
        if time.monotonic() - self._lag_at < LAG_EVERY:
            return
        self._lag_at = time.monotonic()
        for partition, lag in shell.lag().items():
            topic, number = partition
            metrics.LAG.labels(self._flow, topic, str(number)).set(lag)
