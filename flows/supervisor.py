"""Start one process per flow, restart what dies, stop them all.

::

    with Supervisor({"stitch": ["touchstream", "run", "stitch"]}) as supervisor:
        while wanted():
            supervisor.poll()
            time.sleep(0.2)

Children live in sessions of their own, so that Ctrl-C in a terminal reaches the supervisor alone, which
forwards it once; and they are told to stop when the supervisor dies (Linux).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from flows import logs
from flows.process import build_info
from flows.settings import FILE, load
from schemas.config import Config

log = logging.getLogger(__name__)

FLOWS: Final = ("stitch", "engage", "learn", "kpis")
POLL_SECONDS: Final = 0.2
#: Waits between restarts (seconds): doubled from the first to the last, and back to the first after a
#: process has lived for `STEADY_SECONDS`.
FIRST_WAIT, LAST_WAIT, STEADY_SECONDS = 0.5, 30.0, 60.0
_PR_SET_PDEATHSIG: Final = 1


@dataclass
class Child:
    """One supervised command. ``restarts`` counts all its restarts, ``failures`` those in a row."""

    command: Sequence[str]
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    restarts: int = 0


class Supervisor:
    """Keeps ``commands`` (by name) running between `start` and `stop`.

    ``env`` is the environment of all (default: this process'), ``envs`` what is added per name; ``output`` takes
    standard output and error of all (default: this process' own). Start it from a thread that outlives it:
    the kernel ties children to the thread that started them.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        env: Mapping[str, str] | None = None,
        envs: Mapping[str, Mapping[str, str]] | None = None,
        output: IO[bytes] | int | None = None,
        drain_seconds: float = 30.0,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        base = dict(os.environ if env is None else env)
        self._children = {
            name: Child(command, base | dict((envs or {}).get(name, {}))) for name, command in commands.items()
        }
        self._output = output
        self._drain_seconds = drain_seconds
        self._first_wait = first_wait

    @property
    def restarts(self) -> dict[str, int]:
        """How often each command was started again."""
        return {name: child.restarts for name, child in self._children.items()}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of what runs now."""
        return {name: child.process.pid for name, child in self._children.items() if child.process}

    def start(self) -> Self:
        """Start all, or none: when one cannot be started the others are stopped. Raises `OSError`."""
        try:
            for name, child in self._children.items():
                self._spawn(name, child)
        except OSError:
            self.stop()
            raise
        return self

    def poll(self) -> list[str]:
        """Notice the dead and start again those whose wait is over; the names of those. Never blocks."""
        now = time.monotonic()
        restarted = []
        for name, child in self._children.items():
            self._bury(name, child, now)
            if child.process is None and now >= child.due:
                child.restarts += 1
                self._spawn(name, child)
                restarted.append(name)
        return restarted

    def stop(self) -> dict[str, int]:
        """Ask all to drain, kill those that have not after ``drain_seconds``; exit codes by name."""
        running = {name: child.process for name, child in self._children.items() if child.process}
        for process in running.values():
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # one that was frozen could not hear it
        deadline = time.monotonic() + self._drain_seconds
        codes = {name: self._await(name, process, deadline) for name, process in running.items()}
        for child in self._children.values():
            child.process = None
        return codes

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _spawn(self, name: str, child: Child) -> None:
        child.process = subprocess.Popen(
            list(child.command),
            env=child.env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
            preexec_fn=_tie_to_parent(),
        )
        child.started = time.monotonic()
        log.info("process started", extra={"child": name, "pid": child.process.pid, "restarts": child.restarts})

    def _bury(self, name: str, child: Child, now: float) -> None:
        """Note a death and when to start again."""
        if child.process is None or (code := child.process.poll()) is None:
            return
        child.process = None
        child.failures = 1 if now - child.started > STEADY_SECONDS else child.failures + 1
        wait = min(LAST_WAIT, self._first_wait * 2 ** min(child.failures - 1, 10))
        child.due = now + wait
        log.warning("process died", extra={"child": name, "exit": code, "restart_in_seconds": wait})

    def _await(self, name: str, process: subprocess.Popen[bytes], deadline: float) -> int:
        try:
            return process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("process did not drain in time, killed", extra={"child": name})
            process.kill()
            return process.wait()


def run_all(config_path: str | None, flows: Sequence[str] = FLOWS) -> int:
    """Run one process per flow until SIGTERM or SIGINT, then drain them; 0 if all drained. Raises `ConfigError`."""
    config = load(config_path)
    logs.setup(config.log)
    log.info("supervisor started", extra={**build_info("all"), "flows": list(flows)})
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopping.append(number))
    supervisor = Supervisor(
        {flow: flow_command(flow) for flow in flows},
        env={**os.environ, **({FILE: str(Path(config_path).absolute())} if config_path else {})},
        envs={flow: _port(config, number) for number, flow in enumerate(flows)},
        drain_seconds=config.limits.drain_seconds,
    )
    with supervisor:
        while not stopping:
            supervisor.poll()
            time.sleep(POLL_SECONDS)
        codes = supervisor.stop()
    log.info("all flows have stopped", extra={"exits": codes})
    return 0 if not any(codes.values()) else 1


def flow_command(flow: str) -> list[str]:
    """The command that runs one flow with this very interpreter."""
    return [sys.executable, "-m", "flows.cli", "run", flow]


def _port(config: Config, number: int) -> dict[str, str]:
    """Each flow serves its metrics on a port of its own."""
    port = config.metrics.port
    return {"TOUCHSTREAM_METRICS__PORT": str(port + number)} if port else {}


def _tie_to_parent() -> Callable[[], None] | None:
    """What a child runs before its program: get SIGTERM when the thread that started it ends (Linux)."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return tie
