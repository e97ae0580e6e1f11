"""What `touchstream tail` shows of a record."""

from __future__ import annotations

import msgspec

from flows import tail
from schemas.outputs import Kpis, PlayFigures

MINUTE = 1_767_607_200_000


def test_figures_are_a_line_each() -> None:
    plays = {"welcome": PlayFigures(sent={"sms": 2, "email": 1})}
    figures = Kpis(MINUTE, 60, 7, MINUTE + 90_000, {"web": {"Product Viewed": 3}}, orders=2, revenue=9.5, plays=plays)
    line = tail._LINES["kpis"](msgspec.json.encode(figures))
    assert line == "2026-01-05 10:00:00.000  60 s   revision 7        3 touchpoints, 2 orders, 9.50, 3 messages"
    whole = tail._LINES["kpis"](msgspec.json.encode(msgspec.structs.replace(figures, start=0, seconds=0)))
    assert whole.startswith("2026-01-05 10:01:30.000  in all ")


def test_what_has_a_line_can_be_shown() -> None:
    assert set(tail._LINES) < set(tail.NAMES)
