"""Figures are exact, though who counts and who adds up are killed again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.config import Config
from tests.effort import GATE
from tests.system.figures import check_kpis, last_partial, summed
from tests.system.oracle import judge
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic
from tests.system.scenarios.kills import COUNTING, kills
from tests.system.scenarios.stage import Stage

pytestmark = [pytest.mark.flows, pytest.mark.long("kpis")]

KILLS = 5 if GATE else 20


def test_every_figure_is_what_the_topics_say(deployment: Config, tmp_path: Path) -> None:
    config = chaotic(deployment)
    with Pipeline(tmp_path, config, ("stitch", "engage", "engage", "kpis", "kpis")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        # Slow enough that what waits for a take-over is not a day late by the log's clock.
        feeder = Feeder(config, seed=5, rate=150, speed=300.0)
        feeder.start()
        try:
            figures = kills(Stage(pipeline, feeder, 5, KILLS), COUNTING)
        finally:
            feeder.finish()
        pipeline.settle(feeder.sent)
        last = last_partial(config)
        await_(lambda: pipeline.revive() and summed(config, pipeline.redis) > last, "all that was counted to be added")
        pipeline.drain()
        verdict = judge(config, pipeline.redis)
        faults, minutes = check_kpis(config, pipeline.redis)
    assert figures["faults"] == []
    assert sum(figures["kills"].values()) >= KILLS
    assert verdict.faults == []
    assert faults == []
    assert minutes > 100
