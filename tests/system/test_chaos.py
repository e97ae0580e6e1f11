"""A short run of each kind of disaster; `python -m tests.system.chaos` does the long ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows import admin
from schemas.config import Config
from tests.servers import KafkaServer, ValkeyServer
from tests.system.chaos import run, small, summed, unharmed
from tests.system.pipeline import chaotic

pytestmark = pytest.mark.flows


def test_processes_are_killed(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path, "kills", seed=11, count=20, rate=150, least=6_000)
    assert result["faults"] == []
    assert sum(result["kills"].values()) >= 20
    assert result["at_failpoints"] >= 10
    assert result["identity_merged"] > 0
    assert result["triggers"].keys() >= {"welcome", "repeat_view", "cart_abandoned", "cheaper", "again"}


@pytest.mark.long("zombie")
def test_a_process_is_frozen_past_its_session(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path, "zombie", seed=12, count=2, rate=150, seconds=5)
    assert result["faults"] == []
    assert result["woken"] == {"engage": 1, "stitch": 1}


@pytest.mark.long("rebalance")
def test_a_process_joins_and_leaves(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path, "rebalance", seed=13, count=1, rate=150)
    assert result["faults"] == []


class Servers(NamedTuple):
    """Servers that nobody else uses."""

    kafka: KafkaServer
    valkey: ValkeyServer

    def run(self, folder: Path, scenario: str, *, count: int = 1, rules: Any = "union", **options: Any) -> Any:
        """A scenario on a deployment of its own."""
        config = chaotic(small(self.kafka.bootstrap, self.valkey.url, rules, prefix=scenario))
        admin.create(config)
        return run(config, folder, scenario, count=count, kafka=self.kafka, valkey=self.valkey, **options)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("chaos")
    with KafkaServer(folder / "kafka") as kafka, ValkeyServer(folder / "valkey") as valkey:
        yield Servers(kafka, valkey)


@pytest.mark.system
@pytest.mark.long("rollback")
def test_redis_loses_its_last_second(own: Servers, tmp_path: Path) -> None:
    assert own.run(tmp_path, "rollback", seed=14, count=2, rate=150)["faults"] == []


@pytest.mark.system
@pytest.mark.long("scattered")
def test_four_processes_stitch_customers_that_are_scattered_over_all_partitions(own: Servers, tmp_path: Path) -> None:
    result = own.run(tmp_path, "scattered", seed=15, count=5, rate=100, rules="retail")
    assert result["faults"] == []
    assert sum(result["kills"].values()) >= 5
    assert result["rollbacks"] == 1
    assert min(result["changes"][kind] for kind in ("merged", "moved", "refused")) > 10


#: Those that take less than a minute.
SHORT = (
    "flushed", "failover", "full", "reset", "scripts", "frozen", "crash", "outage", "slow", "timed-out", "large",
    "widened", "resharded", "missing", "unread", "recreated", "refilled", "drains", "backlog", "stepped", "crowd",
    "burst", "catch-up", "upgrade",
)  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize("scenario", [pytest.param(each, id=each, marks=pytest.mark.long(each)) for each in SHORT])
def test_nothing_is_lost_and_nothing_done_twice(own: Servers, tmp_path: Path, scenario: str) -> None:
    assert own.run(tmp_path, scenario, seed=16, rate=80, seconds=8)["faults"] == []


@pytest.mark.parametrize(
    ("shown", "harmed"),
    [(3, True), (0, False), ({"stitch": 1, "engage": 0}, False), ({"stitch": 1}, True), ({}, False)],
)
def test_a_scenario_that_has_done_no_harm_is_a_fault(shown: object, harmed: bool) -> None:
    assert bool(unharmed({"figure": shown}, "figure")) != harmed
    assert unharmed({}, "") == []


def test_results_add_up() -> None:
    one = {"scenario": "kills", "seed": 1, "kills": {"stitch": 2}, "hits": {"a": 1}, "triggers": {"x": 3}, "faults": []}
    two = {
        "scenario": "kills",
        "seed": 2,
        "kills": {"stitch": 1, "engage": 4},
        "hits": {"a": 2, "b": 1},
        "faults": ["f"],
    }
    total = summed([one, {**two, "faults": ["f"]}, {"scenario": "large", "seed": 2, "faults": []}])
    assert (total["runs"], total["kills"], total["at_failpoints"], total["triggers"]) == (3, 7, 4, 3)
    assert total["kills_of"] == {"stitch": 3, "engage": 4}
    assert total["hits"] == {"a": 3, "b": 1}
    assert total["seeds"] == {"kills": [1, 2], "large": [2]}
    assert total["faults"] == ["kills 2: f"]
