"""What every flow process shares: signals, logs, metrics and health, garbage collection, one worker.

::

    process = Process.start("engage", config)
    process.ready(True)
    while not process.draining:
        process.beat()
        ...

SIGTERM or SIGINT sets ``draining``: the source ends at the next batch and the process leaves with 0. A
second signal, or a drain that takes longer than ``limits.drain_seconds``, ends it at once: what is not
committed is done again by whoever takes over.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from prometheus_client import disable_created_metrics

from flows import logs
from flows.health import HealthServer, Report
from operators import metrics
from schemas.config import Config
from schemas.errors import ConfigError

log = logging.getLogger(__name__)

#: A loop that has not come round for this long hangs; a take-over may wait 15 s for Kafka, twice.
STALL_SECONDS: Final = 60.0
#: Collections were 24 % of engage's time with 50,000 cached profiles at the default of 700. Cycles are rare
#: here, so memory does not grow between collections this far apart.
GC_THRESHOLD: Final = (1_000_000, 100, 1_000)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Process:
    """A running flow process. Made by `Process.start`; `stop` undoes it, for processes that live on."""

    def __init__(self, name: str, config: Config, *, stall_seconds: float = STALL_SECONDS) -> None:
        self.name = name
        self._draining = False
        self.address: str | None = None
        self._drain_seconds = config.limits.drain_seconds
        self._stall_seconds = stall_seconds
        self._last_beat = time.monotonic()
        self._ready, self._why = False, "starting"
        self._judge: Callable[[], list[str]] = list
        self._server: HealthServer | None = None
        self._stopped = threading.Event()
        self._undo: list[Callable[[], object]] = []

    @classmethod
    def start(cls, name: str, config: Config, *, stall_seconds: float = STALL_SECONDS, cycles: bool = False) -> Process:
        """Set everything up; ``cycles``: it makes many, so they are looked for as often as Python does by itself.
        Raises `ConfigError` for an open Bytewax port or a metrics port in use."""
        refuse_open_port(os.environ)
        logs.setup(config.log)
        process = cls(name, config, stall_seconds=stall_seconds)
        process._serve(config)
        process._handle_signals()
        process._tame_collector(cycles=cycles)
        facts = build_info(name)
        # When a metric was made says nothing that the start of the process does not, and doubles what is scraped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        metrics.BUILD.info(facts)
        metrics.IDLE.source(process._idle)
        log.info("started", extra={**facts, "pid": os.getpid(), "metrics": process.address})
        return process

    @property
    def draining(self) -> bool:
        """Whether to finish the current batch and leave; the loop asks."""
        return self._draining

    def beat(self) -> None:
        """The loop came round."""
        self._last_beat = time.monotonic()

    def ready(self, ready: bool, why: str = "") -> None:
        """Say whether this process does its work, and if not, why."""
        if ready and not self._ready:
            gc.freeze()  # what a flow has built up by now stays
        self._ready, self._why = ready, why

    def drain(self) -> None:
        """Finish the current batch and leave; in time, or at once."""
        if not self._draining:
            log.info("draining", extra={"flow": self.name})
            self._draining = True
            threading.Thread(target=self._watch_drain, name="drain", daemon=True).start()

    def judge(self, problems: Callable[[], list[str]]) -> None:
        """Ask ``problems``, from the thread of whoever asks for readiness, why this process cannot work."""
        self._judge = problems

    def health(self) -> Report:
        """Good while the loop comes round."""
        idle = time.monotonic() - self._last_beat
        good = idle < self._stall_seconds
        why = [] if good else [f"the loop has not come round for {idle:.0f} s (bound {self._stall_seconds:.0f} s)"]
        facts = {"flow": self.name, "healthy": good, "why": why, "seconds_since_progress": round(idle, 3)}
        return Report(good, facts)

    def readiness(self) -> Report:
        """Good while the process does its work and is not about to leave."""
        why = ["draining"] if self._draining else self._judge() if self._ready else [self._why]
        return Report(not why, {"flow": self.name, "ready": not why, "why": why})

    def stop(self) -> None:
        """Close the server and give signals and collector back."""
        self._stopped.set()
        while self._undo:
            self._undo.pop()()

    def _idle(self) -> list[metrics.Sample]:
        return [((self.name,), time.monotonic() - self._last_beat)]

    def _serve(self, config: Config) -> None:
        if config.metrics.port is not None:
            server = HealthServer(config.metrics, self.health, self.readiness)
            self.address = server.address
            self._undo.append(server.stop)

    def _handle_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may; a flow run in another is drained by its owner
        # Python calls handlers in the main thread, when that comes back from librdkafka or Redis, which may take longer
        # than there is to drain. The number of a signal is written to a pipe at once, and a thread acts on it.
        heard, told = os.pipe()
        os.set_blocking(told, False)
        self._undo += [partial(os.close, told), partial(signal.set_wakeup_fd, signal.set_wakeup_fd(told))]
        for number in _SIGNALS:
            before = signal.signal(number, lambda number, frame: None)
            self._undo.append(partial(signal.signal, number, before))
        threading.Thread(target=self._hear, args=(heard,), name="signals", daemon=True).start()

    def _hear(self, pipe: int) -> None:
        """Act on signals until the pipe's other end is closed."""
        while number := os.read(pipe, 1):
            if number[0] in _SIGNALS and self._draining:
                os._exit(128 + number[0])
            if number[0] in _SIGNALS:
                self.drain()
        os.close(pipe)

    def _watch_drain(self) -> None:
        if not self._stopped.wait(self._drain_seconds):
            log.error("drain took too long, leaving at once", extra={"seconds": self._drain_seconds})
            os._exit(1)

    def _tame_collector(self, *, cycles: bool) -> None:
        before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        if not cycles:
            gc.set_threshold(*GC_THRESHOLD)
        self._undo += [gc.unfreeze, partial(gc.set_threshold, *before)]


def run_flow(name: str) -> int:
    """Run the dataflow that ``flows.NAME.flow()`` returns until it drains; the exit code of the process."""
    refuse_open_port(os.environ)
    run: Any = importlib.import_module("bytewax.run").cli_main
    dataflow: Any = importlib.import_module(f"flows.{name}").flow()
    try:
        run(dataflow)
    except Exception as error:
        log.critical("the flow ends on an error", extra={"flow": name}, exc_info=error)
        return 2 if isinstance(_root(error), ConfigError) else 1
    log.info("the flow has drained", extra={"flow": name})
    return 0


def refuse_open_port(env: Mapping[str, str]) -> None:
    """Refuse Bytewax's own web server: any value opens an unauthenticated port on all addresses."""
    if "BYTEWAX_DATAFLOW_API_ENABLED" in env:
        raise ConfigError(
            ["BYTEWAX_DATAFLOW_API_ENABLED: must not be set, whatever its value: it opens an unauthenticated port"]
        )


def build_info(flow: str) -> dict[str, str]:
    """What runs: versions and the flow's name."""
    return {
        "flow": flow,
        "version": _version("touchstream"),
        "bytewax": _version("bytewax"),
        "python": platform.python_version(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree
        return "unknown"


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
