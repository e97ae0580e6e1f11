"""A real Prometheus scrapes a real run: every query of the dashboard and every rule has an answer."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError

import pytest

from schemas.config import Config
from tests.dashboard import queries
from tests.prometheus import PrometheusServer
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic
from tests.test_alerts import ALERTS, RECORDED, RULES

pytestmark = [pytest.mark.flows, pytest.mark.long("dashboard")]

#: What there is nothing to show of while all goes well; all else has values after a short run.
QUIET = {
    "Quality of churn models A",  # needs examples that have matured
    "Alerts that fire A",
    "Goals by what became of them, a day A",  # the plays of these tests have none
}


def test_every_query_has_an_answer(deployment: Config, tmp_path: Path) -> None:
    config = chaotic(deployment)
    with Pipeline(tmp_path, config, ("stitch", "engage", "learn", "kpis")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        await_(lambda: all(flow.logged('"started"') for flow in pipeline.flows), "the flows to start")
        targets = [flow.logged('"started"')[-1]["metrics"] for flow in pipeline.flows]
        with PrometheusServer(tmp_path / "prometheus", targets, RULES) as prometheus:
            feeder = Feeder(config, seed=1, rate=200.0)
            feeder.start()
            try:
                await_(lambda: not missing(prometheus), "an answer to every query", 60.0)
            except TimeoutError:
                pytest.fail(f"no answer to {missing(prometheus)}")
            finally:
                feeder.finish()
            rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
            assert {rule["name"] for rule in rules} == ALERTS.keys() | RECORDED
            assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


def missing(prometheus: PrometheusServer) -> list[str]:
    """The queries that have no answer; those that may have none are only tried."""
    return [name for name, query in queries().items() if not answered(prometheus, query) and name not in QUIET]


def answered(prometheus: PrometheusServer, query: str) -> bool:
    try:
        return bool(prometheus.query(query))
    except HTTPError as error:
        with error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None
