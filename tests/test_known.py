"""What the screens know: rates of what is told as sums, and memory that is bounded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.web import known as memory
from flows.web.known import KEPT, Known, newest, steps
from schemas.outputs import Alert, DeadLetter, Decision, Kpis, PlayFigures, Score, Trigger, TriggerData

#: A moment (ms) on the clock on the wall; the log goes by another.
NOW = 1_790_000_000_000
LOG = 1_600_000_000_000


def so_far(**counts: Any) -> Kpis:
    return Kpis(start=0, seconds=0, revision=1, clock=LOG, **counts)


def tell(known: Known, at: int, kpis: Kpis, key: bytes = b"0/0") -> None:
    known.take("kpis", key, msgspec.json.encode(kpis), at)


def counted(*orders: tuple[int, int]) -> Known:
    """What is known after so many orders in all were told of, each at a second after `NOW`."""
    known = Known()
    for second, count in orders:
        tell(known, NOW + second * 1000, so_far(orders=count, touchpoints={"till": {"Order Completed": count}}))
    return known


def trigger(play: str, ts: int, customer: str = "c") -> Trigger:
    data = TriggerData(play, "v", customer, "sms", "k", "t", NOW, ts, NOW)
    return Trigger(id="i", source="s", type="t", subject="c", time="2026-01-01T00:00:00Z", traceparent="00", data=data)


def test_what_happened_is_the_difference_of_what_is_told() -> None:
    known = counted((0, 100), (1, 103), (2, 103), (5, 110))
    assert known.of("orders") == 10, "what was before is not known to be of this hour"
    assert known.rate("orders", NOW + 6_000, over=5) == 2.0
    assert known.rate("orders", NOW + 5_000, over=5) == 0.6, "a second that is not over counts later"
    assert known.course("source", NOW + 10_000, 10, 5, "till") == [(NOW, 3), (NOW + 5_000, 7)]
    assert (known.since, known.told, known.seen) == (NOW, NOW + 5_000, {"till": NOW + 5_000})


def test_what_is_told_first_is_new_where_nothing_was_told_before() -> None:
    known = Known()
    known.begin()
    tell(known, NOW, so_far(orders=3))
    assert known.of("orders") == 3


def test_when_counting_begins_anew_nothing_is_made_up() -> None:
    known = counted((0, 100), (1, 103), (2, 4), (3, 6))
    assert known.of("orders") == 5


@given(st.lists(st.tuples(st.integers(0, 3 * KEPT), st.integers(0, 9)), max_size=40))
def test_the_hour_is_what_happened_in_it(told: list[tuple[int, int]]) -> None:
    known, total = Known(), 0
    happened: list[tuple[int, int]] = []
    tell(known, NOW, so_far())
    for second, count in sorted(told):
        total += count
        happened.append((second, count))
        tell(known, NOW + second * 1000, so_far(orders=total))
        known.forget(NOW + second * 1000)
        assert known.of("orders") == sum(n for at, n in happened if at >= second - KEPT)
        assert len(known.seconds) <= KEPT + 1


def test_names_of_two_parts_and_the_most_first() -> None:
    known = Known()
    tell(known, NOW, so_far())
    plays = {
        "a": PlayFigures(sent={"sms": 1}, stopped={"cap": 2}),
        "b": PlayFigures(sent={"sms": 4, "email": 1}, shadow=3),
    }
    tell(known, NOW, so_far(plays=plays, defects={"web": {"late": 2}}, funnel={"view": 5}, revenue=12.5))
    assert known.names("sent") == ["b", "a"]
    assert known.nested("channel") == {"a": {"sms": 1}, "b": {"sms": 4, "email": 1}}
    assert (known.nested("stopped"), known.of("stops", "a"), known.of("shadow", "b")) == ({"a": {"cap": 2}}, 2, 3)
    assert (known.nested("defect"), known.of("funnel", "view"), known.of("revenue")) == ({"web": {"late": 2}}, 5, 1250)


def test_active_customers_are_those_of_the_latest_minutes() -> None:
    known = Known()
    tell(known, NOW, so_far())
    for start in range(LOG - 600_000, LOG + 60_000, 60_000):
        minute = Kpis(start=start, seconds=60, revision=1, clock=LOG, customers={"active": start // 60_000})
        tell(known, NOW, minute, f"60/{start}".encode())
    assert sorted(known.active) == list(range(LOG - 180_000, LOG + 60_000, 60_000))
    assert known.active[LOG] == LOG // 60_000


def test_latency_is_that_of_triggers_that_a_touchpoint_gave_birth_to() -> None:
    known = Known()
    for ts in (NOW - 40, 0):
        known.take("triggers", None, msgspec.json.encode(trigger("welcome", ts)), NOW)
    assert [each.latency for each in known.triggers] == [40, None]
    assert sum(known.hour["latency"].values()) == 1


def test_everything_else_is_taken_too_and_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CUSTOMERS", 3)
    known = Known()
    for number in range(memory.LISTED + 5):
        for outcome, code in (("stopped", "no_consent"), ("emitted", None)):
            decision = Decision("i", "p", "v", f"c{number}", outcome, LOG, "k", "t", code)
            known.take("decisions", None, msgspec.json.encode(decision), NOW + number)
        score = Score(f"c{number}", LOG, 0.5, "medium", "m", reasons={"gap": 0.1}, clv=9.5)
        known.take("scores", None, msgspec.json.encode(score), NOW + number)
        known.take("alerts", None, msgspec.json.encode(Alert("kpi", LOG, "", "text")), NOW + number)
    known.take(
        "dead-letters", None, msgspec.json.encode(DeadLetter("not_json", "$", "s", "ts.web", 0, 1, NOW, NOW, "")), NOW
    )
    assert len(known.decisions) == len(known.alerts) == memory.LISTED, "those that were sent are triggers"
    assert list(known.scores) == list(known.news) == ["c62", "c63", "c64"]
    assert known.scores["c64"].reasons == {"gap": 0.1}
    assert [each.at for each in newest(known.alerts)[:2]] == [NOW + 64, NOW + 63], "by the broker's time"
    assert known.nested("dead") == {"ts.web": {"not_json": 1}}


def test_what_a_newer_version_writes_does_no_harm() -> None:
    known = Known()
    for name in memory.READ:
        known.take(name, b"0/0", b"\xff not this", NOW)
        known.take(name, None, b"{}", NOW)
    assert known.seconds == {}


def test_steps_stand_still_while_time_goes_by() -> None:
    assert list(steps(NOW + 14_999, 15, 5)) == list(steps(NOW + 10_000, 15, 5)) == [NOW // 1000 + n for n in (-5, 0, 5)]
