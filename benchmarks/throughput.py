"""Throughput with exactly-once on real Kafka and Valkey: CPU seconds per stage.

``python -m benchmarks.throughput --events 1000000 --json`` starts the servers, writes the simulated retailer's
touchpoints and lets one stitch and one engage process work them off. The figure to compare is touchpoints per CPU
second of stitch + engage + Redis together; wall-clock time depends on how many cores they share with the broker.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.pipeline import Pipeline, accounted, pipeline
from flows import playfile
from schemas.plays import PlayFile
from schemas.topics import topic_name

STAGES = ("stitch", "engage", "redis")


def main() -> int:
    """Run the benchmark; exit code 1 if the account does not close."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="touchpoints to write (default 1,000,000)")
    parser.add_argument("--customers", type=int, default=20_000, help="customers of the shop (default 20,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("--keep", type=Path, help="folder for logs and data (default: a temporary one)")
    parser.add_argument("--plays", type=Path, help="file of plays (default: the starter set)")
    parser.add_argument("--no-plays", action="store_true", help="without any: the difference is what plays cost")
    options = parser.parse_args()
    plays = PlayFile(plays={}) if options.no_plays else playfile.load(options.plays or playfile.STARTER)
    with tempfile.TemporaryDirectory() as temporary, pipeline(options.keep or Path(temporary), plays) as running:
        result = measure(running, options.events, options.customers, options.seed)
    print(json.dumps(result) if options.json else _table(result))
    return 0 if result["account_closes"] else 1


def measure(running: Pipeline, events: int, customers: int, seed: int) -> dict[str, Any]:
    """Write ``events`` touchpoints, wait until all are worked off, count CPU seconds."""
    running.start(["stitch", "engage"])
    running.baseline()
    started = time.monotonic()
    written = write(running, events, customers, seed)
    for done in running.await_done(written["written"]):
        print(f"\r{done:,} done", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    seconds = time.monotonic() - started
    cpu = running.cpu_seconds()
    account = running.account()
    total = sum(cpu[stage] for stage in STAGES)
    done = written["written"]
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
        "account_closes": account.consumed == accounted(account) == written["written"],
        "python": platform.python_version(),
    }


def write(running: Pipeline, events: int, customers: int, seed: int) -> dict[str, int]:
    """Let the simulated retailer write to the source topic; what it says it wrote."""
    command = [sys.executable, "-m", "flows.retailer", "--customers", str(customers), "--events", str(events)]
    command += ["--seed", str(seed), "--kafka", running.config.kafka.bootstrap]
    command += ["--topic", topic_name(running.config, "touchpoints")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _table(result: dict[str, Any]) -> str:
    lines = [f"{result['touchpoints']:,} touchpoints in {result['seconds']} s"]
    lines += [
        f"  {stage:8}{result['cpu_seconds'][stage]:8.1f} CPU s  {result['cpu_us_per_touchpoint'][stage]:6.1f} us each"
        for stage in STAGES
    ]
    lines.append(f"  {result['touchpoints_per_cpu_second']:,} touchpoints per CPU second (stitch + engage + Redis)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
