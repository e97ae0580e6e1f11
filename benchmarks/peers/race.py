"""The suite ``peers``: one job in several engines, and what an event costs in each.

Each engine meets a fresh Kafka. The first touchpoints warm it up; CPU is counted from then on until the last trigger is
there, of all processes of the engine, Redis included where it has one, the broker not. Its triggers must be those of
the oracle, `benchmarks.peers.job.Reference`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.machine import tree_cpu
from benchmarks.peers import job, plain
from benchmarks.pipeline import pipeline
from flows import playfile
from schemas.topics import topic_name
from state.tokens import Tokens
from tests.servers import CACHE, KafkaServer, locked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: ``known``: 1 if all have signed in on all of their devices before. Of no ``engines``, all.
_ALL: dict[str, Any] = {"known": 1, "rounds": 1, "seed": 1, "engines": []}
SIZES: Mapping[str, dict[str, Any]] = {
    "smoke": {**_ALL, "events": 2_000, "customers": 300, "warm": 500, "engines": ["plain", "touchstream"]},
    "small": {**_ALL, "events": 150_000, "customers": 20_000, "warm": 50_000},
    "full": {**_ALL, "events": 1_000_000, "customers": 100_000, "warm": 200_000, "rounds": 3},
}
#: An engine must start, and bring out the first trigger, within this time (seconds).
PATIENCE = 180.0
#: What is still committed after the last trigger counts, too (seconds).
SETTLE = 1.0
#: Whoever brings out no further trigger for so long (seconds) has none.
QUIET = 20.0

#: Play and touchpoint of a trigger.
Said = tuple[str, str]


class Engine(NamedTuple):
    """A running engine: where it reads and writes, how it names what it says, and its CPU seconds by part."""

    bootstrap: str
    source: str
    triggers: str
    said: Callable[[bytes], Said]
    cpu: Callable[[], dict[str, float]]


class Peer(NamedTuple):
    """An engine that can run: what it promises, and how it is started in a folder. ``missing``: what it lacks here."""

    guarantee: str
    run: Callable[[Path], AbstractContextManager[Engine]]
    missing: Callable[[], str] = str


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Let the engines do the job one after the other, in turns; the middle of their rounds is the figure."""
    events, known = sizes["events"], bool(sizes["known"])
    touchpoints = list(job.records(events + sizes["warm"], sizes["customers"], sizes["seed"], known=known))
    warm = len(touchpoints) - events
    names = sizes["engines"] or list(PEERS)
    missing = {name: why for name in names if (why := PEERS[name].missing())}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names if name not in missing}
    for number in range(sizes["rounds"]):
        for name, found in rounds.items():
            print(f"{name}, round {number + 1}", file=sys.stderr, flush=True)
            found.append(measure(PEERS[name], folder / f"{name}-{number}", touchpoints, warm))
    engines = {name: summary(PEERS[name], found) for name, found in rounds.items()}
    for each in engines.values():
        if "plain" in engines:
            each["ratio"] = round(each["events_per_cpu_second"] / engines["plain"]["events_per_cpu_second"], 3)
    exact = [each for name, each in engines.items() if PEERS[name].guarantee == EXACTLY_ONCE]
    right = all([each["lost"] == 0 for each in engines.values()]) and all([each["wrong"] == 0 for each in exact])
    return {"engines": engines, "missing": missing, "right": right}


def measure(peer: Peer, folder: Path, touchpoints: Sequence[job.Record], warm: int) -> dict[str, Any]:
    """One engine, once."""
    folder.mkdir(parents=True, exist_ok=True)
    oracle = job.Reference()
    expected = [[(each.play, each.touchpoint) for each in oracle.take(record.value)] for record in touchpoints]
    first, rest = list(chain(*expected[:warm])), list(chain(*expected[warm:]))
    with peer.run(folder) as engine:
        reader = _Reader(engine)
        write(engine, touchpoints[:warm])
        before, started = reader.await_count(len(first))
        write(engine, touchpoints[warm:])
        after, ended = reader.await_count(len(first) + len(rest))
        reader.close()
    events = len(touchpoints) - warm
    cpu = {part: spent - before[part] for part, spent in after.items()}
    right, found = Counter(first + rest), reader.found
    return {
        "events": events,
        "seconds": round(ended - started, 1),
        "cpu_seconds": {part: round(spent, 2) for part, spent in cpu.items()},
        "events_per_cpu_second": round(events / sum(cpu.values())),
        "triggers": len(rest),
        "lost": (right - found).total(),
        "wrong": (found - right).total(),
    }


def summary(peer: Peer, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The round in the middle, and the figures of all."""
    rates = [each["events_per_cpu_second"] for each in rounds]
    middle = min(rounds, key=lambda each: abs(each["events_per_cpu_second"] - median(rates)))
    worst = {kind: max([each[kind] for each in rounds]) for kind in ("lost", "wrong")}
    return {"guarantee": peer.guarantee, **middle, **worst, "rounds": rates}


def table(result: Mapping[str, Any]) -> str:
    """The engines, the cheapest first."""
    lines = [f"{'engine':22}{'events/CPU s':>13}{'of plain':>9}{'us each':>9}{'lost':>6}{'wrong':>6}  guarantee"]
    for name, each in sorted(result["engines"].items(), key=lambda item: -item[1]["events_per_cpu_second"]):
        rate, ratio = each["events_per_cpu_second"], each.get("ratio")
        lines.append(
            f"{name:22}{rate:13,}{'' if ratio is None else f'{ratio:.2f}':>9}{1e6 / rate:9.1f}"
            f"{each['lost']:6}{each['wrong']:6}  {each['guarantee']}"
        )
    lines += [f"{name:22} left out: {why}" for name, why in result["missing"].items()]
    return "\n".join(lines)


def write(engine: Engine, touchpoints: Sequence[job.Record]) -> None:
    """Write touchpoints to the one partition of the source."""
    producer = Producer({"bootstrap.servers": engine.bootstrap, "enable.idempotence": True, "linger.ms": 20,
                         "queue.buffering.max.messages": 2_000_000})  # fmt: skip
    for key, value in touchpoints:
        producer.produce(engine.source, value, key)
    producer.flush()


class _Reader:
    """Reads triggers as a marketing system would: committed ones only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.found: Counter[Said] = Counter()
        self._consumer = Consumer(
            {"bootstrap.servers": engine.bootstrap, "group.id": "race", "isolation.level": "read_committed",
             "enable.auto.commit": False}
        )  # fmt: skip
        partitions = self._consumer.list_topics(engine.triggers, timeout=10).topics[engine.triggers].partitions
        self._consumer.assign([TopicPartition(engine.triggers, each, 0) for each in partitions])

    def await_count(self, count: int) -> tuple[dict[str, float], float]:
        """Read until there are so many different triggers, or no more. What CPU the engine has spent `SETTLE` after the
        last, and when that was: waiting for more is not charged."""
        moved, spent = time.monotonic(), None
        while spent is None or (len(self.found) < count and time.monotonic() - moved < QUIET):
            if self._read(0.2):
                moved, spent = time.monotonic(), None
            elif not self.found and time.monotonic() - moved > PATIENCE:
                raise TimeoutError(f"no trigger within {PATIENCE:.0f} s")
            elif self.found and spent is None and time.monotonic() - moved > SETTLE:
                spent = self._engine.cpu(), time.monotonic()
        return spent

    def _read(self, seconds: float) -> int:
        messages = [each for each in self._consumer.consume(1_000, seconds) if each.error() is None]
        self.found.update([self._engine.said(each.value() or b"") for each in messages])
        return len(messages)

    def close(self) -> None:
        self._consumer.close()


# -- engines -----------------------------------------------------------------------------------------------

EXACTLY_ONCE, AT_LEAST_ONCE = "exactly once", "at least once"


def _peer(folder: Path, commands: Callable[[str], Mapping[str, Sequence[str]]]) -> AbstractContextManager[Engine]:
    """Engines that are programs: a Kafka of their own with the topics of the job, and their processes."""
    return _programs(folder, commands)


@contextmanager
def _programs(folder: Path, commands: Callable[[str], Mapping[str, Sequence[str]]]) -> Iterator[Engine]:
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaServer(folder / "kafka", lasting=True))
        _create_topics(kafka.bootstrap)
        processes = {
            name: stack.enter_context(_program(folder / f"{name}.log", command))
            for name, command in commands(kafka.bootstrap).items()
        }

        def cpu() -> dict[str, float]:
            if ended := [name for name, process in processes.items() if process.poll() is not None]:
                raise RuntimeError(f"{ended[0]} has ended: look at {folder}/{ended[0]}.log")
            return {name: tree_cpu(process.pid) for name, process in processes.items()}

        yield Engine(kafka.bootstrap, job.SOURCE, job.TRIGGERS, _said, cpu)


@contextmanager
def _program(log: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said that it is ready."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + PATIENCE
        while b"ready" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start: look at {log}\n{log.read_text()[-2_000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _create_topics(bootstrap: str) -> None:
    compacted = {"cleanup.policy": "compact"}
    topics = [
        NewTopic(job.SOURCE, 1, 1),
        NewTopic(job.KEYED, job.PARTITIONS, 1),
        NewTopic(job.TRIGGERS, job.PARTITIONS, 1),
        NewTopic(plain.DEVICES, 1, 1, config=compacted),
        NewTopic(plain.PROFILES, job.PARTITIONS, 1, config=compacted),
    ]
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.create_topics(topics).values():
        future.result(30)


def _said(value: bytes) -> Said:
    trigger = json.loads(value)
    return trigger["play"], trigger["touchpoint"]


def _plain(folder: Path) -> AbstractContextManager[Engine]:
    script = [sys.executable, str(HERE / "plain.py")]
    return _peer(folder, lambda bootstrap: {step: [*script, bootstrap, step] for step in ("attribute", "decide")})


def _bytewax(folder: Path) -> AbstractContextManager[Engine]:
    store = folder / "recovery"
    store.mkdir(parents=True)
    script = [sys.executable, str(HERE / "stock_bytewax.py")]
    return _peer(folder, lambda bootstrap: {"bytewax": [*script, bootstrap, str(store)]})


def _quix(folder: Path) -> AbstractContextManager[Engine]:
    python = str(quix_python())
    return _peer(folder, lambda bootstrap: {"quix": [python, str(HERE / "quix.py"), bootstrap, str(folder / "state")]})


def quix_python() -> Path:
    """The Python of Quix Streams' own environment, made the first time."""
    pins = HERE / "quix-requirements.txt"
    folder = CACHE / "peers" / "quix"
    with locked(CACHE / "quix.lock"):
        mark = folder / "pins.txt"
        if not mark.exists() or mark.read_text() != pins.read_text():
            shutil.rmtree(folder, ignore_errors=True)
            # Without our own constraints: it pins some packages otherwise.
            uv = ["uv", "--quiet", "--no-config"]
            subprocess.run([*uv, "venv", "--python", sys.executable, str(folder)], check=True, timeout=120)
            into = ["--python", str(folder / "bin" / "python"), "--require-hashes", "-r", str(pins)]
            subprocess.run([*uv, "pip", "install", *into], check=True, timeout=600)
            mark.write_text(pins.read_text())
    return folder / "bin" / "python"


def _kafka_streams(store: str) -> Callable[[Path], AbstractContextManager[Engine]]:
    def run(folder: Path) -> AbstractContextManager[Engine]:
        classes = f"{kafka_streams()}:{CACHE / 'peers' / 'kafka-streams' / 'libs'}/*"
        java = ["java", "-Xmx1g", "-XX:+UseSerialGC", "-cp", classes, "Job"]
        state = str(folder / "state")
        return _peer(folder, lambda bootstrap: {"kafka-streams": [*java, bootstrap, state, store]})

    return run


def kafka_streams() -> Path:
    """The folder of the compiled job in Java, made if it is not there or older than its source."""
    source, folder = HERE / "kafka-streams", CACHE / "peers" / "kafka-streams"
    with locked(CACHE / "kafka-streams.lock"):
        mark, made_of = folder / "made-of", "".join([each.read_text() for each in (source / "pom.xml", _JAVA)])
        if not mark.exists() or mark.read_text() != made_of:
            shutil.rmtree(folder, ignore_errors=True)
            maven = ["mvn", "-q", "-B", "-f", str(source / "pom.xml"), "dependency:copy-dependencies"]
            subprocess.run([*maven, f"-DoutputDirectory={folder / 'libs'}"], check=True, timeout=600)
            compiler = ["javac", "-cp", f"{folder / 'libs'}/*", "-d", str(folder / "classes"), str(_JAVA)]
            subprocess.run(compiler, check=True, timeout=120)
            mark.write_text(made_of)
    return folder / "classes"


_JAVA = HERE / "kafka-streams" / "src" / "main" / "java" / "Job.java"


@contextmanager
def _touchstream(folder: Path) -> Iterator[Engine]:
    """The product: its flows, its guarantees, its Redis; plays.yaml is all that is made for the job."""
    plays = playfile.load(HERE / "plays.yaml")
    with pipeline(folder, plays, source_partitions=1, shards=job.PARTITIONS) as running:
        running.start(["stitch", "engage"])

        ids = _Ids(Tokens(bytes.fromhex(running.config.keys.index)))

        def said(value: bytes) -> Said:
            data = json.loads(value)["data"]
            return data["play"], ids[data["touchpoint"]]

        def cpu() -> dict[str, float]:
            return {part: spent for part, spent in running.cpu_seconds().items() if part != "kafka"}

        config = running.config
        source, triggers = topic_name(config, "touchpoints"), topic_name(config, "triggers")
        yield Engine(config.kafka.bootstrap, source, triggers, said, cpu)


class _Ids(dict[str, str]):
    """The job's ids of touchpoints by the tokens that touchstream has made of them, as far as they were asked for."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def __missing__(self, wanted: str) -> str:
        for number in range(len(self) + 1, len(self) + 1_000_000):
            self[self._tokens.event("app", f"e-{number}")] = f"e-{number}"
            if wanted in self:
                return self[wanted]
        raise KeyError(wanted)


def _without(*programs: str) -> Callable[[], str]:
    def missing() -> str:
        return ", ".join([f"no {each} here" for each in programs if shutil.which(each) is None])

    return missing


PEERS: Mapping[str, Peer] = {
    "plain": Peer(EXACTLY_ONCE, _plain),
    "touchstream": Peer(EXACTLY_ONCE, _touchstream),
    "kafka-streams": Peer(EXACTLY_ONCE, _kafka_streams("rocksdb"), _without("java", "javac", "mvn")),
    "kafka-streams-memory": Peer(EXACTLY_ONCE, _kafka_streams("memory"), _without("java", "javac", "mvn")),
    "quix": Peer(EXACTLY_ONCE, _quix, _without("uv")),
    "bytewax": Peer(AT_LEAST_ONCE, _bytewax),
}
