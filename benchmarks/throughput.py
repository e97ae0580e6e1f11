"""The suite ``throughput``: the whole product, exactly-once, on real Kafka and Valkey; CPU seconds per stage.

The simulated retailer writes its touchpoints, and stitch and engage work them off. The figure to compare is touchpoints
per CPU second of stitch + engage + Redis together; how long it takes depends on the cores they share with the broker.
``plays``: ``starter``, ``none`` (the difference is what plays cost), or a file. With ``profile=15`` py-spy looks for so
many seconds where the time goes, which itself takes a tenth and more: its figures are not to be compared with others.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.pipeline import Pipeline, accounted, pipeline
from benchmarks.run import alone
from flows import playfile
from flows.retailer.simulation import Retailer
from flows.retailer.write import KafkaSink, Summary, write
from schemas.plays import PlayFile
from schemas.topics import topic_name

SIZES: Mapping[str, dict[str, Any]] = {
    "smoke": {"events": 3_000, "customers": 300, "seed": 1, "plays": "starter", "profile": 1},
    "small": {"events": 200_000, "customers": 20_000, "seed": 1, "plays": "starter", "profile": 0},
    "full": {"events": 2_000_000, "customers": 200_000, "seed": 1, "plays": "starter", "profile": 0},
}
STAGES = ("stitch", "engage", "redis")
#: Functions that a profile names.
NAMED = 25


def run(folder: Path, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Work off the touchpoints, and say what that took."""
    with pipeline(folder, plays_of(sizes["plays"])) as running:
        running.start(["stitch", "engage"])
        profiled = _Profiled(running, sizes["profile"])
        result = measure(running, sizes["events"], sizes["customers"], sizes["seed"])
        return {**result, "profile": profiled.result(), "right": result["account_closes"]}


def plays_of(name: str) -> PlayFile:
    """The plays of a size: the starter set, none, or those of a file."""
    if name == "none":
        return PlayFile(plays={})
    return playfile.load(playfile.STARTER if name == "starter" else Path(name))


def measure(running: Pipeline, events: int, customers: int, seed: int, warm: int = 0) -> dict[str, Any]:
    """Let the retailer write touchpoints, wait until all are worked off, count CPU seconds, but not of the first
    ``warm``."""
    warmed = _Warm(running, warm)
    running.baseline()
    started = time.monotonic()
    sink = KafkaSink(running.config.kafka.bootstrap, topic_name(running.config, "touchpoints"))
    written = write(Retailer(seed, customers), sink, events=warm + events, progress=warmed).written
    for done in running.await_done(written):
        _progress(done)
    print(file=sys.stderr)
    seconds = time.monotonic() - (warmed.ended or started)
    cpu = running.cpu_seconds()
    account = running.account()
    total, done = sum(cpu[stage] for stage in STAGES), written - warmed.written
    return {
        "touchpoints": done,
        "seconds": round(seconds, 1),
        "cpu_seconds": {name: round(spent, 2) for name, spent in cpu.items()},
        "cpu_us_per_touchpoint": {stage: round(cpu[stage] / done * 1e6, 2) for stage in STAGES},
        "touchpoints_per_cpu_second": round(done / total),
        "records_per_batch": {flow: round(mean) for flow, mean in running.mean_batch().items()},
        "account": msgspec.to_builtins(account),
        "counts": running.counts(),
        "profile_bytes": running.profile_bytes(),
        "account_closes": account.consumed == accounted(account) == written,
    }


def _progress(done: int) -> None:
    print(f"\r{done:,} done", end="", file=sys.stderr, flush=True)


class _Warm:
    """Once the first touchpoints are written, waits until they are worked off, and charges CPU from then on."""

    def __init__(self, running: Pipeline, touchpoints: int) -> None:
        self._running, self._touchpoints = running, touchpoints
        self.written, self.ended = 0, 0.0

    def __call__(self, summary: Summary) -> None:
        if self._touchpoints and not self.written and summary.written >= self._touchpoints:
            for done in self._running.await_done(summary.written):
                _progress(done)
            self._running.baseline()
            self.written, self.ended = summary.written, time.monotonic()


class _Profiled:
    """py-spy on each flow, for so many seconds from now on; nothing where it may not look."""

    def __init__(self, running: Pipeline, seconds: int) -> None:
        self._files = {name: running.folder / f"{name}.folded" for name in running.pids() if seconds}
        sampler = ["py-spy", "record", "--nonblocking", "-r", "100", "-d", str(seconds), "-f", "raw"]
        self._samplers = [
            subprocess.Popen(
                [*sampler, "-o", str(file), "-p", str(running.pids()[name])],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name, file in self._files.items()
        ]

    def result(self) -> dict[str, list[tuple[float, str]]]:
        """By flow: the share of samples in each function itself, the largest first."""
        for sampler in self._samplers:
            sampler.wait(120)
        return {name: hottest(file.read_text()) for name, file in self._files.items() if file.exists()}


def hottest(folded: str) -> list[tuple[float, str]]:
    """Shares of functions themselves in folded stacks (``a;b;c 12`` in a line): where the main thread was at work."""
    counted: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        counted[stack.rpartition(";")[2]] += int(count)
    total = counted.total()
    return [(round(count / total, 3), function) for function, count in counted.most_common(NAMED)]


def table(result: Mapping[str, Any]) -> str:
    """What each stage took, and where the time went."""
    touchpoints = result["touchpoints"]
    lines = [f"{touchpoints:,} touchpoints in {result['seconds']} s"]
    for stage in (*STAGES, "kafka"):
        seconds = result["cpu_seconds"][stage]
        each, rate = seconds / touchpoints * 1e6, round(touchpoints / seconds) if seconds else 0
        lines.append(f"  {stage:8}{seconds:8.1f} CPU s  {each:6.1f} us each  {rate:7,} a CPU second")
    lines.append(f"  {result['touchpoints_per_cpu_second']:,} touchpoints per CPU second (stitch + engage + Redis)")
    for name, functions in result["profile"].items():
        lines += [f"  {name}:", *[f"    {share:6.1%}  {function}" for share, function in functions[:10]]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(alone("throughput"))
