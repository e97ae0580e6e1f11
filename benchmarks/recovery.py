"""The suite ``recovery``: for how long nothing comes out when processes crash, join, leave and start.

Two processes of each flow work at a steady rate. A read_committed consumer sees what comes out of every shard of engage
(its partials of figures, which a shard writes with each second of the log) and of every source partition of stitch (its
records in ``stitched``). The pause of an event is the longest time that any of them was silent around it; ``calm`` is
that of a time in which nothing happens.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.pipeline import PATIENCE, Pipeline, pipeline
from operators.kafka import client_properties
from schemas.topics import PARTIALS, STITCHED, topic_name

SIZES: Mapping[str, dict[str, Any]] = {
    "smoke": {"rate": 200, "customers": 200, "flows": ["engage"], "events": ["restart"], "calm": 2, "seed": 1},
    "small": {"rate": 400, "customers": 500, "flows": ["engage", "stitch"], "events": [], "calm": 5, "seed": 1},
    "full": {"rate": 1_000, "customers": 2_000, "flows": ["engage", "stitch"], "events": [], "calm": 10, "seed": 1},
}
#: So long (seconds) nothing comes where nothing works.
SILENCE = 2.0
#: What happens, one after the other.
EVENTS = ("calm", "crash", "join", "leave", "restart")


class _Source(msgspec.Struct):
    src: str = ""


_source = msgspec.json.Decoder(_Source)


class Outputs:
    """When what came out of each shard or partition last, and the longest silences; read in a thread of its own."""

    def __init__(self, running: Pipeline, topic: str, origin: Callable[[Any], str]) -> None:
        self._consumer = Consumer(
            {**client_properties(running.config), "group.id": "recovery", "isolation.level": "read_committed",
             "enable.auto.commit": False, "fetch.wait.max.ms": 10}
        )  # fmt: skip
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        self._origin = origin
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._longest: dict[str, float] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="outputs")
        self._thread.start()

    def _read(self) -> None:
        while not self._ended:
            messages = [each for each in self._consumer.consume(500, 0.005) if each.error() is None]
            now = time.monotonic()
            with self._lock:
                for origin in {self._origin(each) for each in messages} - {""}:
                    silent = now - self._last.get(origin, now)
                    self._longest[origin] = max(self._longest.get(origin, 0.0), silent)
                    self._last[origin] = now
        self._consumer.close()

    def begin(self) -> float:
        """Look for the longest silences from now on; now."""
        with self._lock:
            self._longest = {}
        return time.monotonic()

    def pause(self) -> float:
        """The longest silence of any origin, also one that has not ended."""
        now = time.monotonic()
        with self._lock:
            return max([*self._longest.values(), *[now - last for last in self._last.values()]])

    def await_all(self, count: int, since: float) -> None:
        """Wait until so many origins have been heard of since then. Raises `TimeoutError`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with self._lock:
                if sum([last > since for last in self._last.values()]) >= count:
                    return
            time.sleep(0.01)
        raise TimeoutError(f"only some of {count} origins have said something within {PATIENCE:.0f} s")

    def await_silence(self) -> None:
        """Wait until nothing has come for a while: then all that was written has been read."""
        while True:
            with self._lock:
                if time.monotonic() - max(self._last.values()) > SILENCE:
                    return
            time.sleep(0.01)

    def first(self, since: float) -> float:
        """Seconds from then until the first output."""
        self.await_all(1, since)
        with self._lock:
            return min([last for last in self._last.values() if last > since]) - since

    def close(self) -> None:
        self._ended = True
        self._thread.join()


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Let it all happen to each flow, on a deployment of its own."""
    events = sizes["events"] or list(EVENTS)
    found = {}
    for flow in sizes["flows"]:
        with pipeline(folder / flow) as running, _rate(running, sizes):
            found[flow] = happen(running, flow, events, sizes["calm"])
    return {"seconds": found, "right": True}


def happen(running: Pipeline, flow: str, events: list[str], calm: float) -> dict[str, float]:
    """What happens to one flow, and for how long (seconds) it was silent."""
    config = running.config
    names = running.start([*[each for each in ("stitch", "engage") if each != flow], flow, flow])[1:]
    if flow == "engage":
        count, outputs = config.topics.shards, Outputs(running, topic_name(config, PARTIALS), _shard)
    else:
        count, outputs = config.topics.source_partitions, Outputs(running, topic_name(config, STITCHED), _partition)
    try:
        outputs.await_all(count, 0.0)
        found = {}
        for event in events:
            print(f"{flow}: {event}", file=sys.stderr, flush=True)
            began = outputs.begin()
            if event == "crash":
                running.end(names.pop(), signal.SIGKILL)
            elif event == "join":
                names += running.start([flow])
            elif event == "leave":
                running.end(names.pop(), signal.SIGTERM)
            elif event == "restart":
                while names:
                    running.end(names.pop(), signal.SIGTERM)
                outputs.await_silence()
                began = time.monotonic()
                names.append(running.launch(flow))
                found[event] = round(outputs.first(began), 2)
                running.await_log(names[0], b"partitions taken over")
            # Whoever owns a shard now has said something of it, and goes on doing so.
            outputs.await_all(count, time.monotonic())
            time.sleep(calm)
            if event != "restart":
                found[event] = round(outputs.pause(), 2)
        return found
    finally:
        outputs.close()


def _shard(message: Any) -> str:
    return (message.key() or b"").decode()


def _partition(message: Any) -> str:
    """Where a touchpoint came from; empty for what is no touchpoint of a source."""
    return _source.decode(message.value()).src.rpartition("/")[0]


@contextmanager
def _rate(running: Pipeline, sizes: Mapping[str, Any]) -> Iterator[None]:
    """The retailer, writing at a steady rate until the end of the block."""
    command = [sys.executable, "-m", "flows.retailer", "--customers", str(sizes["customers"]), "--seconds", "900"]
    command += ["--rate", str(sizes["rate"]), "--seed", str(sizes["seed"])]
    command += ["--kafka", running.config.kafka.bootstrap, "--topic", topic_name(running.config, "touchpoints")]
    retailer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        retailer.kill()
        retailer.wait()


def table(result: Mapping[str, Any]) -> str:
    """A line for each flow."""
    return "\n".join(
        [
            f"{flow:8}" + "".join([f"  {event} {seconds:.2f} s" for event, seconds in found.items()])
            for flow, found in result["seconds"].items()
        ]
    )
