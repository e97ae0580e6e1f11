"""A short run of each kind of disaster; `python -m tests.system.chaos` does the long ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows import admin
from schemas.config import Config
from tests.servers import KafkaServer, ValkeyServer
from tests.system.chaos import run, small, summed
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
    result = run(chaotic(deployment), tmp_path, "zombie", seed=12, count=2, rate=150)
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
    result = own.run(tmp_path, "rollback", seed=14, count=2, rate=150)
    assert result["faults"] == []
    assert min(result["takeovers_after_rollback"].values()) >= 1


@pytest.mark.system
@pytest.mark.long("scattered")
def test_four_processes_stitch_customers_that_are_scattered_over_all_partitions(own: Servers, tmp_path: Path) -> None:
    result = own.run(tmp_path, "scattered", seed=15, count=5, rate=100, rules="retail")
    assert result["faults"] == []
    assert sum(result["kills"].values()) >= 5
    assert result["rollbacks"] == 1
    assert min(result["takeovers_after_rollback"].values()) >= 1
    assert min(result["changes"][kind] for kind in ("merged", "moved", "refused")) > 10


def case(scenario: str, *happened: str) -> Any:
    """A scenario that takes less than a minute; ``happened``: figures that are not 0 if it has done harm."""
    return pytest.param(scenario, happened, id=scenario, marks=pytest.mark.long(scenario))


@pytest.mark.system
@pytest.mark.parametrize(
    ("scenario", "happened"),
    [
        case("flushed", "stopped", "restored"),
        case("failover", "failovers", "behind"),
        case("full", "refused"),
        case("reset", "cuts"),
        case("scripts", "unknown_scripts"),
        case("frozen", "back_after"),
        case("crash", "crashes"),
        case("outage", "outages"),
        case("slow", "freezes"),
        case("timed-out", "hung"),
        case("large", "refused"),
        case("widened", "partitions"),
        case("resharded", "said"),
        case("unread", "said"),
        case("recreated", "said"),
        case("refilled", "said"),
        case("drains", "drains"),
        case("backlog", "reminded"),
        case("stepped", "said"),
        case("crowd", "of_one_customer"),
        case("burst", "sent"),
        case("catch-up", "backlog"),
        case("upgrade", "mixtures"),
    ],
)
def test_nothing_is_lost_and_nothing_done_twice(
    own: Servers, tmp_path: Path, scenario: str, happened: tuple[str, ...]
) -> None:
    result = own.run(tmp_path, scenario, seed=16, rate=80, seconds=8)
    assert result["faults"] == []
    assert all(result[name] for name in happened)


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
