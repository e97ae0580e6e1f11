"""Real servers for tests and benchmarks: Apache Kafka from its Maven artifacts, Valkey from a wheel.

Each lives in a folder of its own on free ports and can be stopped, killed with -9, frozen, and started
again on the same data and port::

    with KafkaServer(folder / "kafka") as kafka, ValkeyServer(folder / "valkey") as valkey:
        ...
        valkey.kill()
        valkey.cut_log(seconds=1.0)
        valkey.start()
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis

from flows.embedded import HOST, EmbeddedValkey, Server, free_port, kafka_answers
from schemas.errors import TouchstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Not 4.3.1, the latest: after a hard stop it leaves transactions open for ever (KAFKA-20734; docs/decisions.md).
KAFKA_VERSION = os.environ.get("TOUCHSTREAM_TEST_KAFKA_VERSION", "4.2.1")
FILES = Path(__file__).parent / "kafka"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchstream"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``: one process at a time fills a cache folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kafka_libraries() -> Path:
    """The folder of Kafka's jars, fetched with Maven the first time (46 jars, 43 MB)."""
    folder = CACHE / f"kafka-{KAFKA_VERSION}"
    with locked(CACHE / "kafka.lock"):
        if not folder.exists():
            fresh = folder.with_suffix(".partial")
            shutil.rmtree(fresh, ignore_errors=True)
            maven = ["mvn", "-q", "-B", "-f", str(FILES / "pom.xml"), "dependency:copy-dependencies"]
            options = [f"-Dkafka.version={KAFKA_VERSION}", f"-DoutputDirectory={fresh}"]
            subprocess.run([*maven, *options], check=True, timeout=300)
            fresh.rename(folder)
    return folder


class KafkaServer(Server):
    """Apache Kafka, one node. ``bootstrap`` is its address; the data lies in ``folder/data``. ``lasting``: it runs for
    so long, or is measured, that its JVM does well to compile it as well as it can."""

    def __init__(
        self, folder: Path, port: int | None = None, *, heap: str = "1g", node: int = 1, lasting: bool = False
    ) -> None:
        super().__init__("kafka", folder.resolve(), port)
        self.controller_port = free_port()
        self.heap = heap
        self.node = node
        self.lasting = lasting
        #: Further configuration, and who may be the controller.
        self.settings: dict[str, str] = {}
        self.voters = [self]

    @property
    def bootstrap(self) -> str:
        """What ``kafka.bootstrap`` of the configuration takes."""
        return f"{HOST}:{self.port}"

    @property
    def address(self) -> str:
        return self.bootstrap

    def command(self) -> list[str]:
        if not (self.folder / "data").exists():
            self._format()
        return self._java("kafka.Kafka", str(self.folder / "server.properties"))

    def answers(self) -> bool:
        return kafka_answers(self.bootstrap)

    def start(self, seconds: float = 120.0) -> KafkaServer:
        """As `Server.start`; a JVM on a busy machine takes its time."""
        super().start(seconds)
        return self

    #: Further arguments of the tool that initialises the data folder.
    format_options: Sequence[str] = ()

    def listeners(self) -> dict[str, str]:
        """Where the broker listens and as what, in words of its configuration."""
        return {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
        }

    def _java(self, main: str, *arguments: str) -> list[str]:
        options = [f"-Xmx{self.heap}", f"-Dlog4j2.configurationFile={FILES / 'log4j2.properties'}"]
        # In the first minute compiling takes more CPU than all that the broker does.
        options += [] if self.lasting else ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return ["java", *options, "-cp", f"{kafka_libraries()}/*", main, *arguments]

    def _format(self) -> None:
        """Write the configuration and initialise the data folder."""
        own = {
            "node.id": str(self.node),
            "controller.quorum.voters": ",".join(f"{each.node}@{HOST}:{each.controller_port}" for each in self.voters),
            "log.dirs": str(self.folder / "data"),
            **self.listeners(),
            **self.settings,
        }
        properties = self.folder / "server.properties"
        lines = "".join(f"{key}={value}\n" for key, value in own.items())
        properties.write_text((FILES / "server.properties").read_text() + lines)
        # A cluster id is any 16 bytes in base64; a fixed one saves starting a JVM to draw it.
        tool = self._java("kafka.tools.StorageTool", "format", "-t", "dG91Y2hzdHJlYW10ZXN0cw", "-c", str(properties))
        tool += self.format_options
        with self.log.open("ab") as log:
            subprocess.run(tool, check=True, stdout=log, stderr=subprocess.STDOUT, timeout=60)


class KafkaCluster:
    """Three nodes, each broker and controller; what two of them hold is safe. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [KafkaServer(folder / f"kafka-{node}", heap="512m", node=node) for node in (1, 2, 3)]
        thrice = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        for each in self.nodes:
            each.voters = self.nodes
            each.settings = {f"{topic}.replication.factor": "3" for topic in thrice}
            each.settings |= {"transaction.state.log.min.isr": "2", "min.insync.replicas": "2"}

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes."""
        return ",".join(node.bootstrap for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait(120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()


class ValkeyServer(EmbeddedValkey):
    """Valkey with an append-only file, written to disk every second as in production."""

    options: tuple[str, ...] = (
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--save",
        "",
        "--aof-timestamp-enabled",
        "yes",
    )

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder.resolve(), port)

    def append_only_file(self) -> Path:
        """The file that commands are appended to now (its base, written at start or rewrite, lies beside it)."""
        return max((self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))

    def copy_log(self, to: Path) -> None:
        """Copy what it has written to the folder ``to``, as a backup does."""
        shutil.copytree(self.folder / "appendonlydir", to)

    def cut_log(self, seconds: float) -> int:
        """Take the last ``seconds`` of commands (at least that long) off the append-only file of a stopped server.

        It is what a crash of the operating system does between two writes to disk. Returns the bytes lost;
        raises `TouchstreamError` when the file is not that long. The cut is made at a second's mark, so
        that whole transactions are lost and none is torn.
        """
        if self._process is not None:
            raise TouchstreamError("stop or kill the server before its file is cut")
        path = self.append_only_file()
        content = path.read_bytes()
        keep = _cut_position(content, seconds)
        with path.open("r+b") as file:
            file.truncate(keep)
        return len(content) - keep


def _cut_position(content: bytes, seconds: float) -> int:
    """Where the last ``seconds`` begin. Valkey writes ``#TS:epoch-seconds`` before a new second's commands,
    so all that follows a mark was written in that second or later; the last command may be as early as
    its own mark, and the mark to cut at must lie that much before it."""
    marks = _marks(content)
    if not marks:
        raise TouchstreamError("the append-only file has no time marks")
    last = marks[-1][1]
    for position, second in reversed(marks):
        if last - second >= seconds:
            return position
    raise TouchstreamError(f"the append-only file holds {last - marks[0][1]} s, cannot cut {seconds:g} s")


def _marks(content: bytes) -> Sequence[tuple[int, int]]:
    """(position, second) of each time mark, reading command by command: values may contain anything."""
    marks: list[tuple[int, int]] = []
    position = 0
    while (end := content.find(b"\r\n", position)) >= 0:
        line = content[position:end]
        if line.startswith(b"#TS:"):
            marks.append((position, int(line[4:])))
            position = end + 2
        else:
            position = _command_end(content, end + 2, arguments=int(line[1:]))
    return marks


def _command_end(content: bytes, position: int, arguments: int) -> int:
    """The position after ``arguments`` bulk strings (``$LENGTH CRLF BYTES CRLF``); the file's end if torn."""
    for _ in range(arguments):
        end = content.find(b"\r\n", position)
        if end < 0:
            return len(content)
        position = end + 2 + int(content[position + 1 : end]) + 2
    return position


@contextmanager
def kafka_server(folder: Path) -> Iterator[str]:
    """Bootstrap address of a real Kafka: TOUCHSTREAM_TEST_KAFKA, or one of its own until the end of the block."""
    if existing := os.environ.get("TOUCHSTREAM_TEST_KAFKA"):
        yield existing
        return
    with KafkaServer(folder) as server:
        yield server.bootstrap


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """URL of a real Redis: TOUCHSTREAM_TEST_REDIS, or a Valkey of its own until the end of the block."""
    if existing := os.environ.get("TOUCHSTREAM_TEST_REDIS"):
        yield existing
        return
    with ValkeyServer(folder) as server:
        yield server.url


def clear(url: str, prefix: str) -> int:
    """Delete a deployment's keys (all begin with ``{PREFIX.``) from an existing Redis; returns how many."""
    with redis.Redis.from_url(url) as client:
        keys = list(client.scan_iter(match=f"{{{prefix}.*", count=10_000))
        return sum(int(client.unlink(*keys[i : i + 1_000])) for i in range(0, len(keys), 1_000))
