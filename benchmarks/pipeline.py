"""A whole deployment for a measurement: servers, topics, flow processes, their CPU time.

Each flow is a process of its own with its output in ``FOLDER/FLOW.log``; CPU is counted from the moment `baseline`
is called, so that imports and start-up are not charged to the touchpoints.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import msgspec
import psutil
import redis
import yaml

from flows import admin, playfile, plays_control
from flows.embedded import free_port
from flows.status import Account, status
from schemas.config import Config, Kafka, Keys, Limits, Redis, Topics
from schemas.plays import PlayFile
from state.shards import ShardStore
from tests.servers import KafkaServer, ValkeyServer

#: Servers and flows must do something within this time (seconds).
PATIENCE = 120.0


def new_config(
    bootstrap: str, url: str, *, clock: str = "log", shards: int = 8, source_partitions: int = 4, **sections: object
) -> Config:
    """A deployment with fresh keys, for simulated time by default; further ``sections`` of the configuration."""
    keys = Keys(index=secrets.token_hex(32), dead_letters=secrets.token_hex(32), master={"k1": secrets.token_hex(32)})
    return msgspec.convert(
        {
            "keys": msgspec.to_builtins(keys),
            "clock": clock,
            "kafka": msgspec.to_builtins(Kafka(bootstrap=bootstrap)),
            "redis": msgspec.to_builtins(Redis(url=url)),
            "topics": msgspec.to_builtins(Topics(source_partitions=source_partitions, shards=shards)),
            "limits": msgspec.to_builtins(Limits(park_seconds=3_600)),
            **sections,
        },
        Config,
    )


class Pipeline:
    """Running flows and the servers below them."""

    def __init__(self, folder: Path, config: Config, servers: dict[str, int]) -> None:
        self.config = config
        self.folder = folder
        self._servers = servers
        self._flows: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        self._before: dict[str, float] = {}
        self._redis = redis.Redis.from_url(config.redis.url)
        self._store = ShardStore(self._redis, config.prefix)
        self._file = folder / "touchstream.yaml"
        self._file.write_text(yaml.safe_dump(msgspec.to_builtins(config)))

    def start(self, flows: Sequence[str]) -> list[str]:
        """Start a process for each flow that is named and wait until each owns its partitions. Their names: that of the
        flow, with a number from the second process of one flow on."""
        names = [self.launch(flow) for flow in flows]
        for name in names:
            self.await_log(name, b"partitions taken over")
        return names

    def launch(self, flow: str) -> str:
        """Start a process of a flow; its name."""
        number = 1 + sum([flow_of(each) == flow for each in self._flows])
        name = flow if number == 1 else f"{flow}-{number}"
        self._ports[name] = free_port()
        environment = {
            **os.environ,
            "TOUCHSTREAM_CONFIG": str(self._file),
            "TOUCHSTREAM_METRICS__PORT": str(self._ports[name]),
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "flows.cli", "run", flow]
            self._flows[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return name

    def end(self, name: str, number: int) -> None:
        """End a process by a signal, and wait for it; its CPU is no longer counted."""
        process = self._flows.pop(name)
        self._ports.pop(name)
        process.send_signal(number)
        process.wait(60)

    def pids(self) -> dict[str, int]:
        """Processes of flows by name."""
        return {name: process.pid for name, process in self._flows.items()}

    def baseline(self) -> None:
        """Charge CPU from now on."""
        self._before = self._cpu()

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds since `baseline`, by flow and server."""
        spent = dict.fromkeys([*self._servers, *map(flow_of, self._flows)], 0.0)
        for name, after in self._cpu().items():
            spent[flow_of(name)] += after - self._before.get(name, 0.0)
        return spent

    def mean_batch(self) -> dict[str, float]:
        """Records in a batch, on average, by flow."""
        means = {}
        for name, port in self._ports.items():
            flow = flow_of(name)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
            metric, label = "touchstream_batch_records", f'{{flow="{flow}"}}'
            means[name] = float(lines[f"{metric}_sum{label}"]) / float(lines[f"{metric}_count{label}"])
        return means

    def counts(self) -> dict[str, int]:
        """The account of engage."""
        return self._store.counts(range(self.config.topics.shards))

    def profile_bytes(self) -> dict[str, int]:
        """Packed profiles of customers: median, 90th percentile, largest, of up to 5,000."""
        keys = islice(self._redis.scan_iter(f"{{{self.config.prefix}.*}}c:*", count=5_000), 5_000)
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.strlen(key)
        sizes = sorted(pipe.execute()) or [0]
        return {"p50": sizes[len(sizes) // 2], "p90": sizes[len(sizes) * 9 // 10], "max": sizes[-1]}

    def account(self) -> Account:
        """Where the touchpoints are."""
        return status(self.config).account

    def await_done(self, expected: int, *, stall: float = PATIENCE) -> Iterator[int]:
        """Yield progress until ``expected`` records are accounted for. Raises `TimeoutError` when nothing moves."""
        last, moved = -1, time.monotonic()
        while (now := accounted(self.account())) < expected:
            if now != last:
                last, moved = now, time.monotonic()
            elif time.monotonic() - moved > stall:
                raise TimeoutError(f"stuck at {now} of {expected} touchpoints: look at {self.folder}/*.log")
            self._check_alive()
            yield now
            time.sleep(0.5)
        yield now

    def stop(self) -> None:
        """Drain all flows."""
        for process in self._flows.values():
            process.terminate()
        for process in self._flows.values():
            process.wait(60)

    def _cpu(self) -> dict[str, float]:
        pids = {**self._servers, **{flow: process.pid for flow, process in self._flows.items()}}
        times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
        return {name: each.user + each.system for name, each in times.items()}

    def _check_alive(self) -> None:
        for flow, process in self._flows.items():
            if process.poll() is not None:
                raise RuntimeError(f"{flow} ended with {process.returncode}: look at {self.folder}/{flow}.log")

    def await_log(self, flow: str, text: bytes) -> None:
        """Wait until a process has said something in its log. Raises `TimeoutError`."""
        deadline = time.monotonic() + PATIENCE
        while text not in (self.folder / f"{flow}.log").read_bytes():
            self._check_alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{flow} did not start: look at {self.folder}/{flow}.log")
            time.sleep(0.05)


def flow_of(name: str) -> str:
    """The flow of a process of that name."""
    return name.partition("-")[0]


def accounted(account: Account) -> int:
    """Records that have ended as applied, duplicate, erased or dead letter."""
    return account.applied + account.duplicates + account.erased + (account.dead_letters or 0)


@contextmanager
def pipeline(folder: Path, plays: PlayFile | None = None, **options: object) -> Iterator[Pipeline]:
    """Real Kafka and Valkey with an empty deployment in which ``plays`` (None: the starter set) are in force.

    Everything is stopped at the end."""
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaServer(folder / "kafka", lasting=True))
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        config = new_config(kafka.bootstrap, valkey.url, **options)  # type: ignore[arg-type]
        admin.create(config)
        plays_control.apply(config, playfile.load() if plays is None else plays)
        running = Pipeline(folder, config, {"kafka": kafka.pid, "redis": valkey.pid})
        stack.callback(running.stop)
        yield running
