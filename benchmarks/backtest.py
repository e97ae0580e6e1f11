"""Backtest: CPU seconds for a history of the simulated retailer under the starter set, as the command runs it.

``python -m benchmarks.backtest --json`` writes a million touchpoints to a file and the log of ``stitched`` that they
become to another, and replays both by ``touchstream backtest --input``: the log, as it would come from Kafka, and the
touchpoints, which are resolved to customers first. Start-up and the look for the order of the lines are included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import yaml

from benchmarks.stitch import KEYS
from flows import playfile
from flows.history_file import FileHistory
from schemas.config import Config


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--touchpoints", type=int, default=1_000_000, help="of the history (default 1,000,000)")
    parser.add_argument("--customers", type=int, default=20_000, help="customers of the shop (default 20,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plays", type=Path, default=playfile.STARTER, help="file of plays (default: the starter set)")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.touchpoints, options.customers, options.seed, options.plays)
    print(json.dumps(result) if options.json else _table(result))
    return 0


def measure(folder: Path, touchpoints: int, customers: int, seed: int, plays: Path) -> dict[str, Any]:
    """Write the history in both forms and replay both."""
    config = Config(keys=KEYS)
    (folder / "touchstream.yaml").write_text(yaml.safe_dump(msgspec.to_builtins(config)))
    history, log = folder / "touchpoints.ndjson", folder / "stitched.ndjson"
    command = [sys.executable, "-m", "flows.retailer", "--customers", str(customers), "--events", str(touchpoints)]
    subprocess.run([*command, "--seed", str(seed), "--out", str(history)], check=True, stdout=subprocess.DEVNULL)
    with history.open("rb") as lines, log.open("wb") as records:
        records.writelines(raw + b"\n" for _, _, raw in FileHistory(config, lines).entries())
    from_log, from_touchpoints = _run(folder, log, plays), _run(folder, history, plays)
    return {
        "touchpoints": touchpoints,
        "touchpoints_per_cpu_second": round(touchpoints / from_log["cpu_seconds"]),
        "with_identity_per_cpu_second": round(touchpoints / from_touchpoints["cpu_seconds"]),
        "log": from_log,
        "history": from_touchpoints,
        "python": platform.python_version(),
    }


def _run(folder: Path, file: Path, plays: Path) -> dict[str, Any]:
    """One run of the command: CPU, the most memory it had, and what it said."""
    command = [sys.executable, "-m", "flows.cli", "backtest", "--input", str(file), "--plays", str(plays), "--json"]
    environment = {**os.environ, "TOUCHSTREAM_CONFIG": str(folder / "touchstream.yaml")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    report = json.loads(told)
    return {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": usage.ru_maxrss // 1024,
        "customers": report["customers"],
        "messages": report["plays"]["messages"],
        "stopped": report["plays"]["stopped"],
    }


def _table(result: dict[str, Any]) -> str:
    lines = [f"{result['touchpoints']:,} touchpoints, {result['log']['messages']:,} messages"]
    for name, what, rate in (
        ("log", "from the log", result["touchpoints_per_cpu_second"]),
        ("history", "with identity", result["with_identity_per_cpu_second"]),
    ):
        run = result[name]
        lines.append(
            f"  {what:14}{rate:8,} a CPU second ({run['cpu_seconds']:.1f} CPU s, {run['peak_mb']:,} MB at most)"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
