"""Redis is lost, all of it: what Kafka still has makes everything again, and nothing is published a second time."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from flows.rebuild import rebuild
from schemas.config import Config
from schemas.errors import TouchstreamError
from tests.system.oracle import judge
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic

pytestmark = [pytest.mark.flows, pytest.mark.long("rebuild")]

#: Touchpoints before Redis is lost, and at least so many after it.
BEFORE, AFTER = 1_500, 500


def test_what_is_lost_is_made_again(deployment: Config, client: redis.Redis, tmp_path: Path) -> None:
    config = chaotic(deployment)
    with Pipeline(tmp_path, config, ("stitch", "engage", "learn", "kpis")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        feeder = Feeder(config, seed=3, rate=150)
        feeder.start()
        try:
            await_(lambda: pipeline.revive() and pipeline.happened(BEFORE), "a stretch of load")
            with pytest.raises(TouchstreamError, match="flows are running: stitch, engage"):
                rebuild(config, lambda _: None)
            pipeline.drain()
            with pytest.raises(TouchstreamError, match="it is not lost"):
                rebuild(config, lambda _: None)
            _lose(config, client)
            found = rebuild(config, lambda _: None)
            with pytest.raises(TouchstreamError, match="it is not lost"):
                rebuild(config, lambda _: None)
            lost = feeder.sent
            for flow in pipeline.flows:
                flow.start()
            await_(lambda: pipeline.revive() and feeder.sent >= lost + AFTER, "more load")
        finally:
            feeder.finish()
        pipeline.rest(feeder.sent)
        verdict = judge(config, pipeline.redis)
    assert found.contents["plays"] == 1
    assert found.again["stitch"] > BEFORE
    assert found.again["engage"] > BEFORE
    assert found.again["kpis"] > 0
    assert verdict.faults == []


def _lose(config: Config, client: redis.Redis) -> None:
    """Everything of this deployment; others use the same server."""
    keys = list(client.scan_iter(match=f"{{{config.prefix}.*", count=10_000))
    assert len(keys) > BEFORE / 10
    client.unlink(*keys)
