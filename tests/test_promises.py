"""What the oracle judges from triggers alone, tried on triggers that keep promises and on some that break them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from operators.chance import share
from tests.system.pipeline import PLAYS
from tests.system.promises import check_holdouts, check_quiet_hours

SHANGHAI = ZoneInfo("Asia/Shanghai")


def trigger(play: str = "welcome", customer: str = "c", at: str = "12:00") -> dict[str, Any]:
    moment = datetime.fromisoformat(f"2026-03-01T{at}").replace(tzinfo=SHANGHAI)
    return {"subject": customer, "data": {"play": play, "decided_at": int(moment.timestamp() * 1_000)}}


@pytest.mark.parametrize(("at", "quiet"), [("22:59", 0), ("23:00", 1), ("00:00", 1), ("04:59", 1), ("05:00", 0)])
def test_a_trigger_in_quiet_hours_is_seen(at: str, quiet: int) -> None:
    assert len(check_quiet_hours([trigger(at=at)])) == quiet


def test_a_trigger_to_who_is_held_out_is_seen() -> None:
    people = [f"c{n}" for n in range(300)]
    out = {each for each in people if share("holdout", each) < PLAYS.limits.holdout}
    of_play = {each for each in people if share("holdout", "bought", each) < PLAYS.plays["bought"].holdout} - out
    assert len(out) > 10 < len(of_play)
    assert len(check_holdouts([trigger("welcome", each) for each in people])) == len(out)
    assert len(check_holdouts([trigger("bought", each) for each in people])) == len(out | of_play)
