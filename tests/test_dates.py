"""Plays that go by dates: those that touchpoints tell, and those that come every year."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.dates import Offset, month_day, next_yearly, shifted
from schemas.stitched import Control, Event, Visit
from schemas.touchpoint import Registration, decode_body
from tests.effort import thorough
from tests.engage_helpers import DAY, MINUTE, SHARDS, A, B, T, World, event, ordered, replayed, tick, token
from tests.test_plays import HOUR, on, plays, world

SHANGHAI = "Asia/Shanghai"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# -- the calendar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "offset", "after", "zone", "expected"),
    [
        ("02-28", Offset(at=time(9)), "2025-10-09", "UTC", ("2026-02-28T09:00", 2026)),
        ("02-28", Offset(at=time(9)), "2025-02-28T08:59:59.999", "UTC", ("2025-02-28T09:00", 2025)),
        ("02-28", Offset(at=time(9)), "2025-02-28T09:00", "UTC", ("2026-02-28T09:00", 2026)),
        ("02-29", Offset(at=time(9)), "2025-10-09", "UTC", ("2026-02-28T09:00", 2026)),
        ("02-29", Offset(at=time(9)), "2027-10-09", "UTC", ("2028-02-29T09:00", 2028)),
        ("01-02", Offset(-3, at=time(9)), "2025-12-01", "UTC", ("2025-12-30T09:00", 2026)),
        ("12-31", Offset(2), "2026-01-01", "UTC", ("2026-01-02T00:00", 2025)),
        ("03-01", Offset(at=time(9)), "2025-10-09", SHANGHAI, ("2026-03-01T01:00", 2026)),
        ("03-29", Offset(at=time(9)), "2025-10-09", "Europe/Berlin", ("2026-03-29T07:00", 2026)),
        ("03-28", Offset(at=time(9)), "2025-10-09", "Europe/Berlin", ("2026-03-28T08:00", 2026)),
        ("03-01", Offset(0, 2 * HOUR, time(23)), "2025-10-09", "UTC", ("2026-03-02T01:00", 2026)),
    ],
)
def test_days_that_come_every_year(day: str, offset: Offset, after: str, zone: str, expected: tuple[str, int]) -> None:
    assert next_yearly(day, offset, ms(after), zone) == (ms(expected[0]), expected[1])


def test_days_are_those_of_the_calendar_not_of_24_hours() -> None:
    before = ms("2026-03-28T10:00")  # clocks in Berlin go forward the night after
    assert shifted(before, Offset(1), "Europe/Berlin") == before + DAY - HOUR
    assert shifted(before, Offset(0, DAY), "Europe/Berlin") == before + DAY
    assert shifted(before, Offset(-1, at=time(9)), "no zone", "Europe/Berlin") == ms("2026-03-27T08:00")


moments = st.integers(ms("2000-01-01"), ms("2060-01-01"))
zones = st.sampled_from(["UTC", SHANGHAI, "America/New_York", "Australia/Lord_Howe", "Europe/London"])
days = st.dates(datetime(2000, 1, 1).date(), datetime(2000, 12, 31).date()).map(lambda day: day.strftime("%m-%d"))


@given(days, moments, zones, st.integers(-40, 40))
@thorough
def test_every_year_has_one_and_none_is_left_out(day: str, after: int, zone: str, shift: int) -> None:
    offset = Offset(shift, at=time(9))
    first, year = next_yearly(day, offset, after, zone)
    second, following = next_yearly(day, offset, first, zone)
    assert (after < first < second, following) == (True, year + 1)
    local = datetime.fromtimestamp(first / 1000, ZoneInfo(zone))
    assert (local.hour, local.minute) == (9, 0)
    shown = local.date() - timedelta(days=shift)
    assert shown.strftime("%m-%d") == day or (day, shown.strftime("%m-%d")) == ("02-29", "02-28")
    assert next_yearly(day, offset, first - 1, zone) == (first, year)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("1990-02-28", "02-28"), ("--02-29", "02-29"), ("19900228", "02-28"), ("02-28", "02-28"), ("soon", None),
     ("1990-02-30", None), ("1990-02-28T00:00:00Z", "02-28"), ("1977-zq-07", None)],
)  # fmt: skip
def test_of_a_birthday_only_the_day_is_left_in_the_clear(text: str, kept: str | None) -> None:
    body = Registration(birthday=text)
    body.reduce()
    assert body.birth_day == kept


def test_times_that_touchpoints_tell_are_milliseconds_however_they_are_written() -> None:
    for written in (b'"2026-02-28T10:00:00+08:00"', b"1772244000000"):
        body: Any = decode_body("Points Earned", b'{"points": 5, "expires_at": ' + written + b"}")
        assert body.expires_at == 1_772_244_000_000
    assert month_day(1_772_244_000_000, SHANGHAI) == "02-28"


# -- plays -------------------------------------------------------------------------------------------------


def born(day: str, at: int = T, customer: str = A, zone: str | None = SHANGHAI) -> Event:
    return event(customer, "Signed Up", {"birth_day": day, "timezone": zone}, at)


def yearly(**more: Any) -> dict[str, Any]:
    return {"when": {"yearly": {"day": "birthday", "at": "09:00", **more}}, "cool_down": "1d"}


def told(found: World) -> list[tuple[str, str]]:
    """When something was decided, and for which year."""
    return [(datetime.fromtimestamp(each.at / 1000, UTC).isoformat()[:16], each.touchpoint) for each in found.decisions]


def daily(start: int, days: int) -> list[Any]:
    return [tick(start + n * DAY) for n in range(1, days)]


def test_a_birthday_is_told_every_year_in_the_customers_time() -> None:
    found = world(plays(bd=yearly(before="3d"))).feed(born("01-02"), *daily(ms("2025-10-10T01:00"), 900)).run()
    assert told(found) == [
        ("2025-12-30T01:00", "birthday:2026"), ("2026-12-30T01:00", "birthday:2027"),
        ("2027-12-30T01:00", "birthday:2028"),
    ]  # fmt: skip
    assert {each.business_key for each in found.decisions} == {"birthday"}
    assert len({each.id for each in found.decisions}) == 3


def test_a_birthday_that_was_told_wrong_is_told_right() -> None:
    file = plays(bd=yearly())
    found = world(file).feed(born("10-20"), born("11-30", T + HOUR), *daily(ms("2025-10-10T01:00"), 100)).run()
    assert told(found) == [("2025-11-30T01:00", "birthday:2025")]


def test_who_moves_is_told_by_the_clock_of_the_new_place() -> None:
    moved = event(A, "Signed Up", {"timezone": "America/New_York"}, T + HOUR)
    hours = [tick(ms("2025-10-19T20:00") + n * HOUR) for n in range(24)]
    found = world(plays(bd=yearly())).feed(born("10-20"), moved, *hours).run()
    assert told(found) == [("2025-10-20T13:00", "birthday:2025")]


def test_the_first_order_has_anniversaries_but_is_none() -> None:
    file = plays(year={"when": {"yearly": {"day": "first_order"}}, "cool_down": "1d"})
    found = world(file).feed(ordered(A, T), ordered(A, T + 40 * DAY), *daily(ms("2025-10-09T09:00"), 800)).run()
    assert told(found) == [("2026-10-09T09:00", "first_order:2026"), ("2027-10-09T09:00", "first_order:2027")]


def test_a_merged_customer_keeps_its_birthday() -> None:
    found = (
        world(plays(bd=yearly()), A, B).feed(born("10-20", customer=B), ordered(A, T)).merge(B, A, 9, T + HOUR).run()
    )
    found.feed(*daily(ms("2025-10-10T01:00"), 30)).run()
    assert [(each.customer, each.touchpoint) for each in found.decisions] == [(A, "birthday:2025")]


def test_plays_that_are_put_in_force_later_find_those_who_were_born_before_when_they_are_seen_again() -> None:
    found = World(plays=plays(other=yearly(after="1d")))
    book = World(plays=plays(bd=yearly())).books
    found.books.update(book)
    found.feed(born("10-20"), Control(T + HOUR, "plays", "", next(iter(book))), ordered(A, T + 2 * HOUR))
    found.feed(*daily(ms("2025-10-10T01:00"), 30)).run()
    assert [(each.play, each.touchpoint) for each in found.decisions] == [("bd", "birthday:2025")]


def test_who_is_visited_is_found_without_being_seen_again_and_only_once() -> None:
    found = World(plays=plays(other=on("Tier Changed")))
    book = World(plays=plays(bd=yearly())).books
    found.books.update(book)
    found.feed(born("10-20"), Control(T + HOUR, "plays", "", next(iter(book)))).run()
    assert found.profile(A).timers == []
    assert [found.state(number).visited for number in range(SHARDS)] == [0] * SHARDS
    for _ in range(2):
        found.feed(Visit(0, [A, "nobody", B])).run()
    found.feed(Visit(0, [], 1)).run()
    assert [timer.kind for timer in found.profile(A).timers] == ["yearly"]
    assert "c:nobody" not in found.entities
    assert [found.state(number).visited for number in range(SHARDS)] == [1] * SHARDS
    found.feed(*daily(ms("2025-10-10T01:00"), 30)).run()
    assert told(found) == [("2025-10-20T01:00", "birthday:2025")]
    assert replayed(found, [3]).everything() == found.everything()


EXPIRING = {
    "when": {
        "date": {
            "of": {"event": "Points Earned"}, "time": "event.expires_at", "before": "7d", "at": "10:00",
        }
    },
    "values": {"points": "event.points"},
}  # fmt: skip


def earned(expires: int | None, at: int = T, points: int = 5) -> Event:
    return event(A, "Points Earned", {"points": points, "expires_at": expires}, at)


def test_points_about_to_expire_are_told_of_before_they_do() -> None:
    file = plays({"timezone": SHANGHAI, "caps": []}, expiring=EXPIRING)
    expires = ms("2026-01-10T23:59")
    found = world(file).feed(earned(expires, points=7), earned(None, T + 1), earned(T - DAY, T + 2))
    found.feed(*daily(ms("2025-10-10T02:00"), 120)).run()
    assert [each.data.values for each in found.triggers] == [{"points": 7}]
    assert found.triggers[0].data.decided_at == ms("2026-01-04T02:00")  # the 11th over there, a week before


def test_what_is_told_too_late_to_be_told_before_is_told_at_once_while_it_is_not_over() -> None:
    found = world(plays(expiring=EXPIRING)).feed(earned(T + 2 * DAY), tick(T + MINUTE)).run()
    assert found.told() == [("expiring", "emitted")]


def ticket(kind: str, at: int, due: int | None = None, name: str = "t1") -> Event:
    return event(A, f"Ticket {kind}", {"ticket_id": name, "due_at": due}, at)


def test_a_ticket_that_is_closed_in_time_breaks_no_promise() -> None:
    play = {
        "when": {
            "date": {
                "of": {"event": "Ticket Opened", "by": "event.ticket_id"}, "time": "event.due_at", "before": "1h",
                "without": {"event": "Ticket Closed", "by": "event.ticket_id"},
            }
        }
    }  # fmt: skip
    found = world(plays(promise=play)).feed(
        ticket("Opened", T, T + 4 * HOUR), ticket("Opened", T, T + 4 * HOUR, "t2"), ticket("Closed", T + HOUR),
        tick(T + 3 * HOUR - 1),
    )  # fmt: skip
    assert found.run().told() == []
    found.feed(tick(T + 3 * HOUR)).run()
    assert [(each.business_key, each.outcome) for each in found.decisions] == [("t2", "emitted")]


# -- validity, lateness ------------------------------------------------------------------------------------


def test_a_play_speaks_while_it_is_valid() -> None:
    until = {"valid_from": "2025-10-09T10:00:00+00:00", "valid_until": "2025-10-09T12:00:00+00:00"}
    file = plays(sale={"when": {"event": {"event": "Tier Changed"}}, **until})
    times = [ms("2025-10-09T09:59:59.999"), ms("2025-10-09T10:00"), ms("2025-10-09T11:59"), ms("2025-10-09T12:00")]
    found = world(file).feed(*[event(A, "Tier Changed", {"tier": "x"}, at, eid=token(str(at))) for at in times]).run()
    assert [code for _, code in found.told()] == ["not_valid", "emitted", "emitted", "not_valid"]


@pytest.mark.parametrize(("late", "code"), [("send", "emitted"), ("drop", "late")])
def test_what_fell_due_while_nothing_ran_is_sent_or_dropped(late: str, code: str) -> None:
    play = {"when": {"delay": {"after": {"event": "Tier Changed"}, "wait": "1h"}}, "late": late}
    file = plays({"start_within": "10m", "caps": []}, soon=play)
    found = world(file).feed(event(A, "Tier Changed", {"tier": "x"}, T), tick(T + HOUR + 10 * MINUTE)).run()
    assert found.told() == [("soon", "emitted")]
    found = world(file).feed(event(A, "Tier Changed", {"tier": "x"}, T), tick(T + HOUR + 10 * MINUTE + 1)).run()
    assert found.told() == [("soon", code)]
