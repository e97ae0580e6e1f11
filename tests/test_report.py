"""``touchstream report uplift`` on a real Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from schemas.config import Config
from schemas.outputs import Alias
from tests.engage_helpers import DAY, T
from tests.test_ingest import call, produce
from tests.test_uplift import PERIOD, outcome

pytestmark = pytest.mark.system


def test_uplift_is_reported(deployment: Config, tmp_path: Path) -> None:
    sent = [outcome(f"t{n}", PERIOD, converted=n < 60, revenue=20.0 * (n < 60)) for n in range(300)]
    kept = [outcome(f"h{n}", PERIOD, "held_out", n < 10, revenue=20.0 * (n < 10)) for n in range(149)]
    merged = [outcome("old", PERIOD, "held_out"), outcome("new", PERIOD + DAY, "held_out", True, revenue=99.0)]
    flagged = [outcome("f", PERIOD, "held_out", treated=True)]
    other = [msgspec.structs.replace(outcome("x", T - 90 * DAY), play="other")]
    values = [msgspec.json.encode(each) for each in [*sent, *kept, *merged, *flagged, *other]]
    produce(deployment, "outcomes", values, transactional="committed").commit_transaction()
    lost = [msgspec.json.encode(outcome(f"lost{n}", PERIOD, converted=True)) for n in range(9)]
    produce(deployment, "outcomes", lost, transactional="aborted").abort_transaction()
    produce(deployment, "aliases", [msgspec.json.encode(Alias("old", "new", 1, T))])

    result = call(tmp_path, deployment, "report", "uplift", "--play", "play", "--json")
    found = json.loads(result.stdout)
    (row,) = found["comparisons"]
    assert (row["treated"]["customers"], row["treated"]["conversions"]) == (300, 60)
    assert (row["held_out"]["customers"], row["held_out"]["conversions"]) == (150, 10)
    assert row["enough"]
    assert row["conversion"]["difference"] == pytest.approx(0.2 - 10 / 150)
    assert row["conversion"]["low"] > 0
    assert row["revenue"]["difference"] == pytest.approx(20 * (0.2 - 10 / 150))
    assert (row["natural"], row["stimulated"]) == (20.0, 40.0)
    assert found["excluded"] == {"treated": 1, "not_observed": 0}

    lines = call(tmp_path, deployment, "report", "uplift", "--from", "2025-01-01").stdout.splitlines()
    assert lines[:3] == [
        "other",
        "  sent        1 customers, 0 converted (0.00 %), 0.00 a customer",
        "  held out    0 customers, 0 converted (0.00 %), 0.00 a customer",
    ]
    assert "  too little data: only 0 were held out, 100 are needed" in lines
    assert "  conversions 20 natural, 40 stimulated" in lines
    assert lines[-1] == "not compared: 1 held out, but sent the play before"


def test_what_is_asked_for_is_checked(deployment: Config, tmp_path: Path) -> None:
    result = call(tmp_path, deployment, "report", "uplift", "--period", "soon")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'soon'; allowed: minutes, hours or days: 30d" in result.stderr
    assert call(tmp_path, deployment, "report", "uplift", "--to", "2020-01-01").stdout.startswith("no outcomes")
