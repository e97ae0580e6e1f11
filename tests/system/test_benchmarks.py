"""Every suite of the benchmarks, as small as it goes: it runs, what it measures is right, and it keeps its result."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import run

pytestmark = [pytest.mark.flows]


def measured(suite: str, folder: Path, *sizes: str) -> dict[str, Any]:
    code = run.main(["--suite", suite, "--scale", "smoke", "--results", str(folder / "results"), *sizes])
    assert code == 0
    (file,) = (folder / "results").iterdir()
    kept = json.loads(file.read_text())
    assert kept["command"].startswith(f"python -m benchmarks.run --suite {suite} --scale smoke")
    assert kept["machine"]["calibration_s"] > 0
    assert import_module(run.SUITES[suite]).table(kept["result"])
    return dict(kept["result"])


@pytest.mark.long("benchmarks")
def test_throughput(tmp_path: Path) -> None:
    result = measured("throughput", tmp_path)
    assert result["account"]["consumed"] == result["touchpoints"] == 3_000
    assert all(seconds > 0 for seconds in result["cpu_seconds"].values())


@pytest.mark.long("benchmarks")
def test_state(tmp_path: Path) -> None:
    result = measured("state", tmp_path)
    parts = result["parts_median"]
    assert result["customers"] >= 50
    assert min(parts["profile"], parts["index"], parts["evidence"], parts["timer"]) > 0
    assert parts["profile"] + parts["index"] < result["bytes_p90"]


@pytest.mark.long("benchmarks")
def test_peers_come_to_the_same_triggers(tmp_path: Path) -> None:
    engines = measured("peers", tmp_path)["engines"]
    assert set(engines) == {"plain", "touchstream"}
    for each in engines.values():
        assert (each["lost"], each["wrong"]) == (0, 0)
        assert each["triggers"] > 50
        assert each["ratio"] > 0


@pytest.mark.long("speed")
def test_latency(tmp_path: Path) -> None:
    (rate,) = measured("latency", tmp_path)["rates"]
    assert 0 < rate["p50_ms"] <= rate["p99_ms"] <= rate["p99.9_ms"] <= rate["max_ms"]


@pytest.mark.long("speed")
def test_recovery(tmp_path: Path) -> None:
    (found,) = measured("recovery", tmp_path)["seconds"].values()
    assert 0 < found["restart"] < 60


@pytest.mark.long("speed")
def test_scale(tmp_path: Path) -> None:
    varied = measured("scale", tmp_path)["varied"]
    assert set(varied["shards"]) == {"8", "16"}
    assert varied["shards"]["8"]["ratio"] == 1.0
    assert varied["shards"]["16"]["cpu_us"] > 0
