"""A short run of each kind of disaster; `python -m tests.system.chaos` does the long ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from schemas.config import Config
from tests.servers import ValkeyServer
from tests.system.chaos import run
from tests.system.pipeline import chaotic

pytestmark = pytest.mark.flows


def test_processes_are_killed(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path, "kills", seed=11, count=8, rate=150)
    assert result["faults"] == []
    assert sum(result["kills"].values()) >= 8
    assert result["at_failpoints"] >= 4
    assert result["identity_merged"] > 0
    assert result["triggers"].keys() >= {"welcome", "repeat_view", "cart_abandoned", "cheaper", "again"}


@pytest.mark.long("zombie")
def test_a_process_is_frozen_past_its_session(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path, "zombie", seed=12, count=2, rate=150)
    assert result["faults"] == []
    assert result["woken"] == {"engage": 1, "stitch": 1}


@pytest.mark.long("rebalance")
def test_a_process_joins_and_leaves(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path, "rebalance", seed=13, count=1, rate=150)
    assert result["faults"] == []


@pytest.mark.system
@pytest.mark.long("rollback")
def test_redis_loses_its_last_second(kafka: str, tmp_path: Path) -> None:
    from flows import admin
    from tests.system.chaos import small

    with ValkeyServer(tmp_path / "valkey") as valkey:
        config = chaotic(small(kafka, valkey.url))
        admin.create(config)
        result = run(config, tmp_path, "rollback", seed=14, count=2, rate=150, valkey=valkey)
    assert result["faults"] == []
    assert min(result["takeovers_after_rollback"].values()) >= 1


@pytest.mark.system
@pytest.mark.long("scattered")
def test_four_processes_stitch_customers_that_are_scattered_over_all_partitions(kafka: str, tmp_path: Path) -> None:
    from flows import admin
    from tests.system.chaos import small

    with ValkeyServer(tmp_path / "valkey") as valkey:
        config = msgspec.structs.replace(chaotic(small(kafka, valkey.url, "retail")), prefix="scattered")
        admin.create(config)
        result = run(config, tmp_path, "scattered", seed=15, count=5, rate=100, valkey=valkey)
    assert result["faults"] == []
    assert sum(result["kills"].values()) >= 5
    assert result["rollbacks"] == 1
    assert min(result["takeovers_after_rollback"].values()) >= 1
    assert min(result["changes"][kind] for kind in ("merged", "moved", "refused")) > 10
