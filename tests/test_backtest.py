"""``touchstream backtest`` on files: what it reads, what it says, and what it says of what it cannot read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from flows.backtest import Options, backtest
from flows.backtest_report import Report
from flows.cli import main
from flows.history import Entry, in_order
from flows.history_file import FileHistory
from flows.settings_help import example
from operators.playbook import PlayBook
from schemas import stitched
from schemas.config import Config, Keys, Topics
from schemas.errors import TouchstreamError
from schemas.outputs import Trigger
from schemas.plays import PlayFile
from schemas.stitched import Control, Record, Visit
from state.shards import Output
from tests.engage_helpers import (
    DAY,
    MINUTE,
    PLAYS,
    SHARDS,
    A,
    B,
    C,
    T,
    World,
    capped,
    carted,
    reachable,
    signed_up,
    tick,
    viewed,
)
from tests.messages import touchpoint
from tests.test_replaying import Logs

KEYS = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
CONFIG = Config(keys=KEYS, topics=Topics(shards=4))
BOOK, OTHER_BOOK = PlayBook(PLAYS), PlayBook(capped(1))
MEMBER, PHONE = "!member:m1", "phone:13812345670"


def lines(*raws: bytes) -> BytesIO:
    return BytesIO(b"".join(raw + b"\n" for raw in raws))


def joined(number: int, *who: str, time: int | str, **fields: Any) -> bytes:
    """Somebody signs up who may be written to."""
    consent = [{"channel": "sms", "granted": True}]
    return touchpoint(number, *who, time=time, type="Signed Up", consent=consent, **fields)


def added(number: int, *who: str, time: int, cart: str = "c1", **fields: Any) -> bytes:
    return touchpoint(number, *who, time=time, type="Product Added", data={"cart_id": cart, "value": 50}, **fields)


def run(*raws: bytes, plays: PlayFile = PLAYS, against: PlayFile | None = None, **options: Any) -> Report:
    """A backtest of these lines."""
    history = FileHistory(CONFIG, lines(*raws))
    other = None if against is None else PlayBook(against)
    return backtest(CONFIG, history, PlayBook(plays), other, Options(**options))


# -- touchpoints -------------------------------------------------------------------------------------------


def test_touchpoints_are_resolved_and_decided_on_as_live_would() -> None:
    found = run(
        added(1, "cookie:k1", time=T),
        joined(2, "cookie:k1", MEMBER, PHONE, time=T + MINUTE),
        touchpoint(3, "cookie:k2", time=T + DAY),
    )
    assert (found.touchpoints, found.duplicates, found.customers, found.time) == (3, 0, 2, "virtual")
    assert (found.start, found.end) == ("2025-10-09T08:53:20.000Z", "2025-10-10T08:53:20.000Z")
    assert {name: play.messages for name, play in found.plays.per_play.items() if play.messages} == {
        "welcome": 1,
        "cart_abandoned": 1,
    }
    assert (found.plays.messages, found.plays.customers) == (2, 1)
    assert (found.plays.per_channel, found.plays.per_day) == ({"sms": 2}, {"2025-10-09": 2})
    assert found.notes == ["no model was activated: churn scores are those of the built-in prior"]


def test_lines_go_by_their_time_not_by_their_place() -> None:
    raws = [
        joined(1, MEMBER, PHONE, time="2025-10-09T10:00:00+02:00"),
        added(2, MEMBER, time=T),
        touchpoint(3, MEMBER, time=T + DAY),
    ]
    expected = run(*raws)
    assert expected.plays.messages == 2
    assert run(*reversed(raws)) == expected
    # Who says so himself is replayed at another time than his own.
    late = added(2, MEMBER, time=T, at=T + DAY - MINUTE)
    assert run(raws[0], late, raws[2]).plays.messages == 1, "a cart of yesterday starts nothing"


def test_the_same_customers_come_out_as_live_would_name_them() -> None:
    outputs: list[Output] = []
    run(joined(1, MEMBER, PHONE, time=T), touchpoint(2, MEMBER, time=T + 1), take=outputs.append)
    (trigger,) = [msgspec.json.decode(each.value, type=Trigger) for each in outputs if each.topic == "ts.triggers"]
    again: list[Output] = []
    run(joined(7, MEMBER, PHONE, time=T), take=again.append)
    (other,) = [msgspec.json.decode(each.value, type=Trigger) for each in again if each.topic == "ts.triggers"]
    assert (trigger.subject, trigger.id) == (other.subject, other.id)


def test_messages_say_what_they_say_in_the_order_of_live() -> None:
    tree = msgspec.to_builtins(PLAYS)
    tree["plays"]["welcome"]["values"] = {"zone": "event.country", "at": "event.language"}
    outputs: list[Output] = []
    data = {"country": "CN", "language": "zh"}
    run(joined(1, MEMBER, PHONE, time=T, data=data), plays=msgspec.convert(tree, PlayFile), take=outputs.append)
    (trigger,) = [msgspec.json.decode(each.value, type=Trigger) for each in outputs if each.topic == "ts.triggers"]
    assert list(trigger.data.values.items()) == [("at", "zh"), ("zone", "CN")]


def test_lines_that_are_no_touchpoints_are_named_and_left_out() -> None:
    found = run(
        b"nothing", joined(1, MEMBER, PHONE, time=T), b"", b'{"time": 1}', added(2, MEMBER, time=T + 1), b'{"time": 0'
    )
    assert found.touchpoints == 2
    assert found.notes[0] == (
        "3 lines are no touchpoints and were left out: "
        "line 1 (not_json at $), line 4 (invalid at $), line 6 (not_json at $)"
    )
    many = run(*[b"?"] * 12, joined(1, MEMBER, PHONE, time=T))
    assert many.notes[0].startswith("12 lines are no touchpoints and were left out: line 1 (")
    assert many.notes[0].endswith("line 10 (not_json at $) ...")


@pytest.mark.parametrize("raws", [(), (b"",), (b"nothing", b"{}")])
def test_a_file_without_anything_to_replay_is_refused(raws: tuple[bytes, ...]) -> None:
    with pytest.raises(TouchstreamError, match="there is nothing to replay"):
        run(*raws)


# -- records of stitched -----------------------------------------------------------------------------------


def dumped(world: World) -> list[bytes]:
    """The logs as ``tail`` shows them: one after the other, in part."""
    return [raw for log in world.log for raw in log]


def test_records_of_stitched_are_replayed_in_the_order_of_their_clocks() -> None:
    world = World().feed(Control(T, "plays", "", BOOK.version), Control(T, "model", "default", "someone's"))
    world.feed(*reachable(A), *reachable(B, T + 1), carted(A, "cart", T + 2)).merge(A, B, 5, T + MINUTE)
    world.feed(tick(T + 2 * MINUTE), viewed(C, "tea", T + DAY))
    found = run(*dumped(world), b"{}", b'{"k": "event", "at": 1}')
    assert (found.touchpoints, found.customers, found.plays.messages) == (4, 2, 1)
    assert found.notes[0].startswith("2 lines are no records of stitched and were left out: line ")
    assert (
        found.notes[1] == "what was learned is not taken from a file: the built-in prior scores, bandits know nothing"
    )


class Kept:
    """A log as a deployment has kept it."""

    ticked = True

    def __init__(self, *records: Record) -> None:
        self.world = World().feed(*records)
        self.total, self.done = 1, 0

    def entries(self) -> Iterator[Entry]:
        return in_order(Logs(self.world.log), SHARDS)

    def notes(self) -> list[str]:
        return []


def test_a_log_taken_along_in_a_file_gives_what_it_gives_where_it_was_kept() -> None:
    kept = Kept(Control(T + 9 * DAY, "model", "default", "x"), *reachable(A), *reachable(B), carted(A, "cart", T + 1))
    kept.world.feed(tick(T + 7 * DAY), signed_up(B, T + 2)).merge(A, B, 5, T + MINUTE)
    kept.world.feed(signed_up(A, T + 2 * MINUTE), carted(B, "other", T + 3 * MINUTE), viewed(C, "tea", T + DAY))
    there = backtest(CONFIG, kept, BOOK, BOOK)
    assert [there.plays.per_play[name].messages for name in ("welcome", "cart_abandoned")] == [1, 1]
    for logs in (kept.world.log, kept.world.log[::-1]):
        here = run(*[raw for log in logs for raw in log], against=PLAYS)
        assert msgspec.structs.replace(here, notes=[]) == msgspec.structs.replace(there, notes=[])


APPLIED, OTHER = [Control(T - 2, "plays", "", each.version) for each in (BOOK, OTHER_BOOK)]
#: Whether the tick, late as it is, or the clock moves time shows.
WAITING = [*reachable(A), carted(A, "cart", T + 1), tick(T + DAY), viewed(A, "tea", T + 2 * DAY)]


@pytest.mark.parametrize(
    ("records", "time"),
    [
        ([APPLIED, *WAITING], "recorded"),
        ([OTHER, APPLIED, *WAITING], "recorded"),
        ([Control(T - 2, "plays", "", "not kept"), APPLIED, *WAITING], "virtual"),
        ([OTHER, Visit(0, [A], 1), APPLIED, *WAITING[:2], Visit(0, [A], 2), *WAITING[2:]], "recorded"),
        ([APPLIED, *WAITING, Control(T + 3 * DAY, "pause", "welcome")], "recorded"),
        (WAITING, "virtual"),
        ([OTHER, *WAITING], "virtual"),
        ([APPLIED, OTHER, *WAITING], "virtual"),
        ([APPLIED, *WAITING[:3], OTHER, APPLIED, *WAITING[3:]], "recorded"),
        ([APPLIED, *WAITING[:4], OTHER, *WAITING[4:]], "virtual"),
        ([APPLIED, *WAITING[:3], OTHER, WAITING[3], APPLIED, WAITING[4]], "virtual"),
        ([WAITING[0], *WAITING[1:3], APPLIED, *WAITING[3:]], "virtual"),
        ([APPLIED, Control(T, "pause", "*"), Control(T, "resume", "*"), *WAITING], "virtual"),
        ([APPLIED, *WAITING[:4], Control(T + DAY, "pause", "welcome"), *WAITING[4:]], "virtual"),
    ],
)
def test_the_ticks_of_a_log_count_only_if_these_plays_alone_were_in_force(records: list[Record], time: str) -> None:
    outputs: list[Output] = []
    options = Options(take=outputs.append, books={OTHER_BOOK.version: OTHER_BOOK})
    found = backtest(CONFIG, Kept(*records), BOOK, options=options)
    assert (found.time, found.plays.messages) == (time, 1)
    triggers = [msgspec.json.decode(each.value, type=Trigger) for each in outputs if each.topic == "ts.triggers"]
    assert triggers[-1].data.decided_at == (T + DAY if time == "recorded" else T + 1 + 30 * MINUTE)
    assert backtest(CONFIG, Kept(*records), BOOK, BOOK).time == "virtual"


# -- what is counted ---------------------------------------------------------------------------------------


def busy() -> list[bytes]:
    """Two who sign up and leave carts, of whom one has no consent."""
    world = World().feed(*reachable(A), signed_up(A, T + 1), carted(A, "cart", T + 2), signed_up(B, T + 3))
    world.feed(carted(A, "more", T + 2 * DAY), viewed(A, "tea", T + 3 * DAY))
    return dumped(world)


def test_stops_and_cap_pressure_are_told_by_play() -> None:
    plays = run(*busy(), plays=capped(1)).plays
    assert (plays.messages, plays.customers, plays.stopped) == (1, 1, 3)
    assert plays.per_play["welcome"].stopped == {"no_consent": 1}
    assert plays.per_play["welcome"].cap_pressure == 0.0
    assert plays.per_play["cart_abandoned"].stopped == {"frequency_cap": 2}
    assert plays.per_play["cart_abandoned"].cap_pressure == 1.0
    assert plays.per_play["repeat_view"].cap_pressure is None


def test_what_is_held_out_or_still_held_is_no_message() -> None:
    tree = msgspec.to_builtins(PLAYS)
    tree["limits"]["holdout"] = 1.0
    assert run(*busy(), plays=msgspec.convert(tree, PlayFile)).plays.held_out == 3
    tree["limits"] |= {"holdout": 0.0, "quiet_hours": {"start": "08:00", "end": "20:00"}}
    night = msgspec.convert(tree, PlayFile)
    plays = run(*busy()[:3], plays=night).plays
    assert (plays.messages, plays.waiting, plays.per_play["welcome"].waiting) == (0, 1, 1)
    released = run(*busy(), plays=night).plays
    assert (released.messages, released.waiting) == (3, 0)
    assert released.per_play["welcome"].cap_pressure == 0.0, "each counts once, when it is decided in the end"


def test_what_plays_in_shadow_would_have_sent_is_told_apart() -> None:
    tree = msgspec.to_builtins(PLAYS)
    tree["plays"]["welcome"]["mode"] = "shadow"
    plays = run(*busy(), plays=msgspec.convert(tree, PlayFile)).plays
    assert (plays.messages, plays.shadow, plays.per_play["welcome"].shadow) == (2, 1, 1)
    assert plays.per_play["welcome"].stopped == {"no_consent": 1}


def test_the_time_before_is_replayed_but_not_counted_and_that_after_is_not_looked_at() -> None:
    raws = busy()
    found = run(*raws, since=T + DAY)
    assert (found.touchpoints, found.plays.messages, found.start) == (2, 1, "2025-10-11T08:53:20.000Z")
    assert run(*raws, since=T + DAY, plays=capped(1)).plays.per_play["cart_abandoned"].stopped == {"frequency_cap": 1}
    found = run(*raws, until=T + DAY)
    assert (found.touchpoints, found.plays.messages) == (4, 2)
    assert run(*raws, until=T + 30 * MINUTE).plays.messages == 1


def test_two_sets_are_compared_as_a_whole_and_customer_by_customer() -> None:
    found = run(*busy(), plays=capped(1), against=PLAYS, customers=True)
    assert found.against is not None
    assert (found.plays.messages, found.against.messages) == (1, 3)
    less = found.difference
    assert less is not None
    assert (less.messages, less.customers, less.only_plays, less.only_against) == (-2, 0, 0, 0)
    assert (less.per_play, less.per_channel) == ({"cart_abandoned": -2}, {"sms": -2})
    assert less.per_day == {"2025-10-09": -1, "2025-10-11": -1}
    (customer,) = found.customer_by_customer or []
    assert (customer.customer, customer.only_plays) == (A, [])
    assert [(each.play, each.channel) for each in customer.only_against] == [("cart_abandoned", "sms")] * 2
    same = run(*busy(), against=PLAYS, customers=True)
    assert (same.difference and same.difference.messages, same.customer_by_customer) == (0, [])


def test_a_customer_counts_once_whoever_it_was_when_it_was_written_to() -> None:
    world = World().feed(*reachable(A), signed_up(A, T + 1), *reachable(B, T + 2), signed_up(B, T + 3))
    world.merge(A, B, 5, T + MINUTE).feed(viewed(B, "tea", T + DAY))
    found = run(*dumped(world), against=PlayFile(plays={}), customers=True)
    assert (found.plays.messages, found.plays.customers, found.customers) == (2, 1, 1)
    assert found.difference is not None
    assert found.difference.only_plays == 1
    assert [each.customer for each in found.customer_by_customer or ()] == [B]


# -- the command -------------------------------------------------------------------------------------------


class Desk:
    """A folder with a configuration, plays and a history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file("touchstream.yaml", example())
        self.plays = self.file("plays.yaml", yaml.safe_dump(msgspec.to_builtins(PLAYS)))
        self.strict = self.file("strict.yaml", yaml.safe_dump(msgspec.to_builtins(capped(1))))
        self.history = self.file("history.ndjson", lines(*busy()).getvalue().decode())

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def backtest(self, *arguments: str, stdin: bytes | None = None) -> Result:
        env = {"TOUCHSTREAM_CONFIG": str(self.folder / "touchstream.yaml")}
        return CliRunner().invoke(main, ["backtest", *arguments], env=env, input=stdin)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_command_prints_tables_or_json(desk: Desk) -> None:
    shown = desk.backtest("--input", desk.history, "--plays", desk.strict, "--against", desk.plays, "--customers")
    assert shown.exit_code == 0, shown.output
    text = [line.split() for line in shown.stdout.splitlines()]
    assert ["cart_abandoned", "0", "2", "-2", "0", "0", "0", "2", "0", "100.0%"] in text
    assert ["cart_abandoned", "frequency_cap", "2", "0", "+2"] in text
    assert ["sms", "1", "3", "-2"] in text
    assert ["2025-10-09", "1", "2", "-1"] in text
    assert ["customer", A] in text
    assert ["only", "the", "second", "2025-10-09T09:23:20", "sms", "cart_abandoned"] in [row[:6] for row in text]
    told = desk.backtest("--input", "-", "--plays", desk.plays, "--json", stdin=Path(desk.history).read_bytes())
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert report["plays"]["messages"] == 3
    assert report["against"] is None
    window = desk.backtest(
        "--input", desk.history, "--plays", desk.plays, "--json", "--from", "2025-10-10", "--to", "2025-10-11T00:00:00Z"
    )
    assert json.loads(window.stdout)["plays"]["messages"] == 0


def test_wrong_arguments_and_files_are_refused_with_what_to_do(desk: Desk) -> None:
    def refused(*arguments: str) -> str:
        result = desk.backtest(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        return " ".join(result.stderr.split())

    assert "exactly one of --input and --topic" in refused("--plays", desk.plays)
    both = ("--input", desk.history, "--topic", "stitched", "--plays", desk.plays)
    assert "exactly one of --input and --topic" in refused(*both)
    assert "--customers needs --against" in refused("--input", desk.history, "--plays", desk.plays, "--customers")
    assert "no time; allowed: such as 2026-01-31" in refused(*both[:2], *both[4:], "--from", "yesterday")
    assert "missing.ndjson" in refused("--input", str(desk.folder / "missing.ndjson"), "--plays", desk.plays)
    assert "none.yaml: cannot be read" in refused("--input", desk.history, "--plays", str(desk.folder / "none.yaml"))
    tree = msgspec.to_builtins(PLAYS)
    tree["plays"]["welcome"]["who"] = "profile.nothing == 1"
    tree["plays"]["cart_abandoned"]["cool_down"] = "soon"
    bad = desk.file("bad.yaml", yaml.safe_dump(tree))
    for plays in (("--plays", bad), ("--plays", desk.plays, "--against", bad)):
        faults = refused("--input", desk.history, *plays)
        assert "plays.welcome.who: character 1: profile.nothing is not known here" in faults
        assert "plays.cart_abandoned.cool_down" in faults


def test_a_file_that_holds_nothing_ends_with_code_1(desk: Desk) -> None:
    broken = desk.file("broken.ndjson", "one\ntwo\n")
    result = desk.backtest("--input", broken, "--plays", desk.plays)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is nothing to replay; 2 lines are no touchpoints" in result.stderr
    assert "line 1 (not_json at $), line 2 (not_json at $)" in result.stderr


def test_counts_are_of_what_was_decided() -> None:
    outputs: list[Output] = []
    found = run(*busy(), plays=capped(1), take=outputs.append)
    decided = Counter(
        (each["play"], each.get("code", each["outcome"]))
        for each in (json.loads(output.value) for output in outputs if output.topic == "ts.decisions")
    )
    told = {
        (name, code): count
        for name, play in found.plays.per_play.items()
        for code, count in {"emitted": play.messages, **play.stopped}.items()
        if count
    }
    assert told == decided
    assert all(isinstance(stitched.decode(raw), stitched.Record) for raw in busy())
