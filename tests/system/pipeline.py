"""Flows as processes, a feeder that keeps a steady rate, and the wait until nothing is left to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import psutil
import yaml
from confluent_kafka import Producer

from flows import playfile, plays_control
from operators.failpoints import ARMED, LOG
from operators.kafka import group_id
from schemas.config import Churn, Config, Limits, Metrics
from schemas.topics import COMMANDS, STITCHED, topic_name
from state.connection import connect
from state.identity import IdentityStore
from state.shards import ShardStore
from tests.system.feed import EXPECT, PEOPLE, START_MS, Feed
from tests.system.reading import Tail, committed

#: Put in force before the flows begin.
PLAYS = playfile.load(Path(__file__).parent / "plays.yaml")
#: Whatever is waited for must happen within this time (seconds); crash detection and restarts included.
PATIENCE = 120.0
#: How often a condition is looked at (seconds).
LOOK = 0.05
FLOWS = ("stitch", "stitch", "engage", "engage", "learn")


def chaotic(config: Config) -> Config:
    """``config`` with the log's clock and limits that make carts, caps, scores and models happen within a minute."""
    return msgspec.structs.replace(
        config,
        clock="log",
        churn=Churn(horizon_days=1, grid_days=1, publish_examples=40, publish_seconds=1, publish_each=1),
        # The log runs an hour a second: who waits for a hand-over waits long by its clock.
        limits=Limits(batch=200, park_seconds=7 * 86_400, cached_bytes=2_000_000, customers_per_step=2),
        kafka=msgspec.structs.replace(config.kafka, session_timeout_ms=3_000),
        metrics=Metrics(port=0),
    )


def await_(condition: Callable[[], bool], what: str, patience: float = PATIENCE, look: float = LOOK) -> None:
    """Wait until ``condition``, looked at every ``look`` seconds, holds. Raises `TimeoutError`."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s for {what}")
        time.sleep(look)


class Flow:
    """One process of a flow, restarted on demand; ``armed`` is its failpoint, if any."""

    def __init__(self, name: str, number: int, folder: Path, config_file: Path) -> None:
        self.name = name
        self.log = folder / f"{name}-{number}.log"
        self.armed = ""
        self.started_at = 0.0
        #: Where its code is, if not here.
        self.tree: Path | None = None
        self.environment = {**os.environ, "TOUCHSTREAM_CONFIG": str(config_file), LOG: str(folder / "failpoints")}
        # Both ways to run a flow.
        shell = ["-m", "flows.cli", "run", name] if number % 2 == 0 else ["-m", "bytewax.run", f"flows.{name}"]
        self._command = [sys.executable, *shell]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, armed: str = "") -> None:
        """Start it, with a failpoint ``name:n`` armed or none."""
        self.armed, self.started_at = armed, time.monotonic()
        with self.log.open("ab") as log:
            environment = {**self.environment, ARMED: armed}
            self.process = subprocess.Popen(self._command, cwd=self.tree, env=environment, stdout=log, stderr=log)

    @property
    def dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def up(self) -> bool:
        """Whether it has said that it has started, and so listens to signals."""
        said = self.logged('"started"')
        return self.process is not None and bool(said) and said[-1]["pid"] == self.process.pid

    @property
    def stopped(self) -> bool:
        """Whether it stands still until SIGCONT."""
        return self.process is not None and psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    @property
    def memory(self) -> int:
        """Bytes of main memory it takes; 0 if it never ran. Raises `psutil.Error` when it is gone."""
        return psutil.Process(self.process.pid).memory_info().rss if self.process is not None else 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def drain(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self.process.wait(60) if self.process is not None else 0

    def logged(self, message: str) -> list[dict[str, Any]]:
        """What it has logged under ``message`` since the file began."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and message in line]

    @property
    def last_words(self) -> str:
        """Types and texts of the error that it has ended on; empty if there was none."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        for line in reversed(lines):
            if line.startswith("touchstream: "):
                return line
            if line.startswith("{") and '"started"' in line:
                break
            if line.startswith("{") and '"critical"' in line:
                said = json.loads(line)
                errors = said.get("exception", [])
                return ": ".join(f"{error['type']} {error['text']}" for error in errors) or said["message"]
        return ""

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric of the running process, summed over its further labels; 0 when it does not answer."""
        started = self.logged('"started"')
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        try:
            with urllib.request.urlopen(f"http://{started[-1]['metrics']}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except (OSError, HTTPException, IndexError):
            return 0.0
        found = [line for line in lines if line.startswith(name + "{") and all(each in line for each in wanted)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


class Feeder(threading.Thread):
    """Produces a steady rate until stopped; ``speed`` is how much faster the log's clock runs."""

    def __init__(
        self,
        config: Config,
        seed: int,
        rate: float,
        speed: float = 3_600.0,
        *,
        people: int = PEOPLE,
        scattered: bool = False,
    ) -> None:
        super().__init__(name="feeder", daemon=True)
        self._feed = Feed(seed, people, scattered=scattered)
        self._topic = topic_name(config, config.topics.sources[0])
        self._partitions = config.topics.source_partitions
        #: Records a second; may change.
        self.rate = rate
        #: The log's clock goes by what is sent: this much with each record (ms); may change.
        self.each = 1_000 * speed / rate if rate else 0.0
        self._ended = threading.Event()
        self._lock = threading.RLock()
        self._now = float(START_MS)
        self._producer = Producer(
            {
                "bootstrap.servers": config.kafka.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "topic.metadata.refresh.interval.ms": 1_000,
                "log_level": 0,
            }
        )
        self.sent = 0

    def run(self) -> None:
        due, looked = 0.0, time.monotonic()
        while not self._ended.wait(0.02):
            now = time.monotonic()
            due, looked = due + (now - looked) * self.rate, now
            self.send_many(int(due))
            due -= int(due)
            self._producer.poll(0)

    def send_many(self, count: int) -> None:
        """Send so many records at once."""
        for _ in range(count):
            with self._lock:
                self.send(self.now)
                self._now += self.each

    @property
    def now(self) -> int:
        """The time by the log's clock (ms)."""
        return int(self._now)

    def send(self, at: int) -> None:
        """Send one record, written at ``at``."""
        fed = self._feed.record(at)
        self.put(crc32(fed.key) % self._partitions, fed.value, fed.key, good=fed.good)

    def widen(self, partitions: int) -> None:
        """Send to so many partitions from now on."""
        self._partitions = partitions

    def put(self, partition: int, value: bytes | None, key: bytes | None = None, *, good: bool = True) -> None:
        """Send this record to that partition."""
        headers: list[tuple[str, str | bytes | None]] = [(EXPECT, b"good" if good else b"bad")]
        with self._lock:
            try:
                self._producer.produce(self._topic, value, key, partition, headers=headers)
            except BufferError:
                self._producer.flush(60)
                self._producer.produce(self._topic, value, key, partition, headers=headers)
            self.sent += 1

    def finish(self) -> None:
        """Stop and wait until everything is in the topic. Raises `TimeoutError`."""
        self._ended.set()
        if self.ident is not None:
            self.join()
        self.flush()

    def flush(self) -> None:
        """Wait until all that was sent is in the topic. Raises `TimeoutError`."""
        if left := self._producer.flush(60):
            raise TimeoutError(f"{left} records could not be sent")


class Pipeline:
    """One deployment's processes. Use as a context manager; whatever still runs at the end is killed."""

    def __init__(self, folder: Path, config: Config, flows: Sequence[str] = FLOWS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config = folder, config
        self._file = folder / "touchstream.yaml"
        self._file.write_text(yaml.safe_dump(msgspec.to_builtins(config)))
        self.redis = connect(config)
        self._store = ShardStore(self.redis, config.prefix)
        self._identity = IdentityStore(self.redis, config.prefix)
        self._tail = Tail(config, topic_name(config, STITCHED), config.topics.shards)
        self._last = [-1] * config.topics.shards
        self.flows: list[Flow] = []
        #: Who ended by itself, on what.
        self.ends: list[str] = []
        for name in flows:
            self.add(name)

    def __enter__(self) -> Pipeline:
        plays_control.apply(self.config, PLAYS)
        return self

    def __exit__(self, *_: object) -> None:
        for flow in self.flows:
            if flow.process is not None:
                flow.process.kill()
                flow.process.wait()
        self._tail.close()

    def add(self, name: str) -> Flow:
        """One more process of a flow, not yet started."""
        number = sum(flow.name == name for flow in self.flows)
        flow = Flow(name, number, self.folder, self._file)
        self.flows.append(flow)
        return flow

    def of(self, name: str) -> list[Flow]:
        """The processes of a flow."""
        return [flow for flow in self.flows if flow.name == name]

    def revive(self) -> bool:
        """Start again what ended by itself, as a supervisor would; whether all are alive."""
        dead = [flow for flow in self.flows if flow.dead]
        for flow in dead:
            code = flow.process.returncode if flow.process is not None else 0
            if code:  # else it was asked to leave
                self.ends.append(f"{flow.log.stem}: {code} {flow.last_words}")
            flow.start()
        return not dead

    def hits(self) -> list[str]:
        """Failpoints that were hit so far, in order."""
        log = self.folder / "failpoints"
        return log.read_text().split() if log.exists() else []

    def commit_times(self) -> list[int]:
        """When each shard was last committed (wall clock, ms)."""
        pipe: Any = self.redis.pipeline(transaction=False)
        for shard in range(self.config.topics.shards):
            pipe.hget(self._store.key(shard, "shard"), "committed")
        return [int(each or 0) for each in pipe.execute()]

    def rest(self, sent: int) -> None:
        """Wait until all that was sent is stitched, engaged, and no timer is due; then drain everything."""
        self.settle(sent)
        self.drain()

    def await_stitched(self, sent: int) -> None:
        """Wait until so many records are stitched."""
        self._await(lambda: self.stitched(sent), "all input to be stitched", sent)

    def settle(self, sent: int) -> None:
        """Wait until all that was sent is stitched, engaged, and no timer is due."""
        self.await_stitched(sent)
        self._await(self._engaged, "engage to reach the end of stitched", sent)

    def _await(self, condition: Callable[[], bool], what: str, sent: int) -> None:
        """More takes longer, and is looked at less often."""
        await_(lambda: self.revive() and condition(), what, PATIENCE + sent / 100, max(LOOK, sent / 2_000_000))

    def drain(self) -> None:
        """Drain every process."""
        for flow in self.flows:
            flow.drain()

    def stitched(self, sent: int) -> bool:
        """Whether so many records of the first source have been stitched and published."""
        partitions = self.config.topics.source_partitions
        topic = topic_name(self.config, self.config.topics.sources[0])
        offsets = committed(self.config, group_id(self.config, "stitch"), topic, partitions)
        return sum(max(0, each.offset) for each in offsets.values()) >= sent

    def _engaged(self) -> bool:
        """Whether R and K of every shard are behind the last record, no timer is due and no example unread."""
        numbers = range(self.config.topics.shards)
        topic = topic_name(self.config, STITCHED)
        k = committed(self.config, group_id(self.config, "engage"), topic, len(numbers))
        stored = self._store.read(list(numbers))
        # Afterwards: what engage writes to its own log is there when K says that it has come so far.
        for read in self._tail.read():
            self._last[read.partition] = max(self._last[read.partition], read.offset)
        return self._nothing_due() and all(self._last[n] < (stored[n].r or 0) <= k[n].offset for n in numbers)

    def happened(self, touchpoints: int) -> bool:
        """Whether engage has seen so many, and what was due by then has happened: a look at Redis alone."""
        counts = self._store.counts(range(self.config.topics.shards))
        seen = sum(counts.get(name, 0) for name in ("applied", "duplicates", "erased"))
        return seen >= touchpoints and self._nothing_due()

    def _nothing_due(self) -> bool:
        watermark = self._identity.watermark(topic_name(self.config, COMMANDS)) or 0
        first = self._store.timers(dict.fromkeys(range(self.config.topics.shards), 1)).values()
        return all(due > watermark for timers in first for due, _ in timers)
