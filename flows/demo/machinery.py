"""The demo's servers and processes: started, watched, stopped, and nothing of them left behind."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Final

import orjson
import redis
from confluent_kafka import KafkaException

from flows.admin import admin_client
from flows.demo.options import HISTORY, OFFICES, Options
from flows.embedded import HOST, EmbeddedBroker, EmbeddedValkey, Server, free_port, kafka_answers, redis_answers
from flows.settings import FILE
from flows.supervisor import FLOWS, Supervisor, flow_command
from operators.kafka import group_id
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.topics import topic_name, topics
from state.connection import connect

FLOW_LOG, RETAILER_LOG, OWN_LOG = "flows.log", "retailer.log", "demo.log"
#: A flow that died this often is not going to live.
DEATHS: Final = 3
DRAIN_SECONDS: Final = 30.0
#: How often the retailer writes. Each beat is a transaction of stitch and one of engage, and a transaction costs the
#: embedded broker the more the more there were (0.5 ms at first, 1.6 ms after 3,000): half the usual number.
BEAT_SECONDS: Final = 0.05
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Ctrl-C and other requests to end. Before `gentle` they end the command at once; after it the first only
    sets ``wanted``, so that the run can be drained, and the next ends it at once."""

    def __init__(self) -> None:
        self.wanted = False
        self._gentle = False

    def gentle(self) -> None:
        """From now on the run can be drained."""
        self._gentle = True

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._gentle or self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


class Folder:
    """The run's own folder, removed at the end unless `keep` was called because its logs tell something."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="touchstream-demo-"))
        except OSError as error:
            raise TouchstreamError(f"no folder for temporary files: {error}; set TMPDIR to one") from error
        self._kept = False

    def keep(self) -> Path:
        """Leave it in place."""
        self._kept = True
        return self.path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._kept:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def logs_to(path: Path) -> Iterator[None]:
    """Send this process' own logs to a file: a terminal page has no room for them."""
    root = logging.getLogger()
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    before, level = root.handlers, root.level
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)
        handler.close()


@contextmanager
def servers(options: Options, folder: Path, phase: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Bootstrap address of a Kafka and URL of a Redis: those asked for, else embedded ones until the end.

    Raises `TouchstreamError` when one does not answer or cannot be started.
    """
    with ExitStack() as stack:
        bootstrap, url = options.kafka, options.redis
        if url is None:
            phase("starting Valkey")
            url = stack.enter_context(_started(EmbeddedValkey, folder)).address
        elif not redis_answers(url):
            raise TouchstreamError(f"no Redis answers at {url}: check --redis, or leave it out for an embedded Valkey")
        if bootstrap is None:
            phase("starting the broker")
            bootstrap = stack.enter_context(_started(EmbeddedBroker, folder)).address
        elif not kafka_answers(bootstrap, seconds=5):
            raise TouchstreamError(
                f"no Kafka answers at {bootstrap}: check --kafka, or leave it out for an embedded broker"
            )
        yield bootstrap, url


@contextmanager
def _started(kind: type[EmbeddedValkey] | type[EmbeddedBroker], folder: Path) -> Iterator[Server]:
    """An embedded server. Another process may take the free port first: then once more, on another."""
    try:
        server = kind(folder).start()
    except TouchstreamError:
        server = kind(folder).start()
    try:
        yield server
    finally:
        server.stop()


def erase(config: Config) -> None:
    """Delete a run's topics, groups and keys from servers that go on without it. Best effort."""
    with suppress(KafkaException, redis.RedisError, TouchstreamError):
        admin = admin_client(config)
        groups = admin.delete_consumer_groups([group_id(config, flow) for flow in FLOWS])
        names = admin.delete_topics([topic.name for topic in topics(config)])
        for future in [*groups.values(), *names.values()]:
            future.exception(timeout=10)
        client = connect(config)
        keys = list(client.scan_iter(match=f"{{{config.prefix}.*", count=10_000))
        for start in range(0, len(keys), 1_000):
            client.unlink(*keys[start : start + 1_000])
        client.close()


class Flows:
    """The flow processes. ``metrics``: where each serves its metrics."""

    def __init__(self, config_path: Path, folder: Path) -> None:
        ports = {flow: free_port() for flow in FLOWS}
        self.metrics = {flow: f"{HOST}:{port}" for flow, port in ports.items()}
        self.log = folder / FLOW_LOG
        self._output = self.log.open("ab")
        self._supervisor = Supervisor(
            {flow: flow_command(flow) for flow in FLOWS},
            env=environment() | {FILE: str(config_path)},
            envs={flow: {"TOUCHSTREAM_METRICS__PORT": str(port)} for flow, port in ports.items()},
            output=self._output,
            drain_seconds=DRAIN_SECONDS,
        )

    @property
    def restarts(self) -> int:
        """How often any was started again."""
        return sum(self._supervisor.restarts.values())

    def watch(self) -> None:
        """Start again what died. Raises `TouchstreamError` for one that keeps dying."""
        self._supervisor.poll()
        for flow, deaths in self._supervisor.restarts.items():
            if deaths >= DEATHS:
                raise TouchstreamError(f"{flow} died {deaths} times in this run. The end of its log:\n{end(self.log)}")

    def restart(self) -> None:
        """Kill all; `watch` starts them again, and they take over where they were."""
        for pid in self._supervisor.pids.values():
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> dict[str, int]:
        """Drain all; exit codes."""
        return self._supervisor.stop()

    def __enter__(self) -> Flows:
        self._supervisor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._supervisor.stop()
        self._output.close()


class Shop:
    """The retailer's process, which is not started again: a second one would write the same once more."""

    def __init__(self, options: Options, config: Config, folder: Path) -> None:
        self.log = folder / RETAILER_LOG
        self._output: IO[bytes] = self.log.open("ab")
        flags: dict[str, str | int | float] = {
            "--kafka": config.kafka.bootstrap,
            "--topic": topic_name(config, config.topics.sources[0]),
            "--customers": options.shop,
            "--seed": options.seed,
            "--rate": options.rate,
            "--speed": options.speed,
            "--beat": BEAT_SECONDS,
            "--history": HISTORY,
            "--set": f"offices={OFFICES}",
        }
        if options.kafka is None:
            # An idempotent producer waits up to a second for its id, and the first triggers would seem that slow.
            # It guards against retries, which a broker on this very machine gives no cause for.
            flags["--property"] = "enable.idempotence=false"
        command = [sys.executable, "-m", "flows.retailer", *(str(part) for pair in flags.items() for part in pair)]
        self._supervisor = Supervisor({"retailer": command}, env=environment(), output=self._output)

    def works(self) -> bool:
        """Whether it is still there."""
        self._supervisor.poll()
        return bool(self._supervisor.pids)

    def stop(self) -> dict[str, int]:
        """Stop it; its own count: written = valid + duplicates + broken.

        Raises `TouchstreamError` when it failed, or Kafka did not take some.
        """
        self._supervisor.stop()
        summary = self._summary()
        if summary is None or summary["failed"]:
            raise TouchstreamError(f"the retailer failed. The end of its log:\n{end(self.log)}")
        return summary

    def __enter__(self) -> Shop:
        self._supervisor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._supervisor.stop()
        self._output.close()

    def _summary(self) -> dict[str, int] | None:
        """The last line it printed: its own count."""
        lines = self.log.read_bytes().splitlines()
        try:
            found: dict[str, int] = orjson.loads(lines[-1])
        except (IndexError, orjson.JSONDecodeError):
            return None
        return found


def environment() -> dict[str, str]:
    """This process' environment without settings meant for another deployment."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTREAM_")}


def end(log: Path, lines: int = 6, width: int = 1_000) -> str:
    """The last lines of a log that tell something: not Rust's backtraces, not what went well."""
    told = [
        line for line in log.read_text(errors="replace").splitlines() if line and not line.startswith((" ", "note:"))
    ]
    worse = [line for line in told if '"level":"info"' not in line]
    return "\n".join(line[:width] for line in (worse or told)[-lines:]) or "(it is empty)"
