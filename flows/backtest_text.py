"""A backtest's report for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from flows.backtest_report import Difference, Message, OfCustomer, OfPlay, OfPlays, Report

#: Columns where nobody is looking.
WIDTH: Final = 120
_NO_DIFFERENCE: Final = Difference(0, 0, 0, 0, {}, {}, {})


def lines(report: Report) -> Iterator[str]:
    """The report, line by line."""
    plays, against = report.plays, report.against
    less = report.difference or _NO_DIFFERENCE
    yield f"{report.start[:19]} to {report.end[:19]} UTC, {report.time} time"
    yield f"{report.touchpoints} touchpoints ({report.duplicates} duplicates beside them), {report.customers} customers"
    yield f"{_sum(plays)}, plays {plays.version}"
    if against is not None:
        yield f"{_sum(against)}, plays {against.version}, compared with"
        yield f"{less.only_plays} customers are reached by the first alone, {less.only_against} by the second alone"
    yield from _table(_of_plays(plays, against, less))
    yield from _table(_stops(plays, against))
    for what, counted, other, by in (
        ("channel", plays.per_channel, against.per_channel if against else None, less.per_channel),
        ("day", plays.per_day, against.per_day if against else None, less.per_day),
    ):
        yield from _table(_counted(what, counted, other, by))
    for customer in report.customer_by_customer or ():
        yield from _customer(customer)
    yield from (f"note: {note}" for note in report.notes)


def _sum(plays: OfPlays) -> str:
    return (
        f"{plays.messages} messages to {plays.customers} customers; "
        f"{plays.held_out} held out, {plays.shadow} in shadow, {plays.stopped} stopped, {plays.waiting} still held"
    )


def _of_plays(plays: OfPlays, against: OfPlays | None, less: Difference) -> Table:
    compared = ("against", "difference") if against else ()
    table = _new(
        "play", "messages", *compared, "customers", "held out", "shadow", "stopped", "still held", "cap pressure"
    )
    others = against.per_play if against else {}
    for name in _names(plays.per_play, others):
        play = plays.per_play.get(name, OfPlay())
        there = (others.get(name, OfPlay()).messages, f"{less.per_play.get(name, 0):+}") if against else ()
        pressure = "" if play.cap_pressure is None else f"{play.cap_pressure:.1%}"
        rest = (play.customers, play.held_out, play.shadow, sum(play.stopped.values()), play.waiting, pressure)
        _row(table, name, play.messages, *there, *rest)
    return table


def _stops(plays: OfPlays, against: OfPlays | None) -> Table:
    table = _new("stopped", "by", "times", *(("against", "difference") if against else ()))
    others = against.per_play if against else {}
    for name in _names(plays.per_play, others):
        mine, theirs = plays.per_play.get(name, OfPlay()).stopped, others.get(name, OfPlay()).stopped
        for code in sorted(mine.keys() | theirs.keys()):
            times, there = mine.get(code, 0), theirs.get(code, 0)
            _row(table, name, code, times, *((there, f"{times - there:+}") if against else ()))
    table.columns[1].justify = "left"
    return table


def _counted(what: str, counted: Mapping[str, int], other: Mapping[str, int] | None, by: Mapping[str, int]) -> Table:
    table = _new(what, "messages", *(("against", "difference") if other is not None else ()))
    for name in sorted({*counted, *(other or ())}):
        _row(
            table,
            name,
            counted.get(name, 0),
            *((other.get(name, 0), f"{by.get(name, 0):+}") if other is not None else ()),
        )
    return table


def _names(some: Iterable[str], others: Iterable[str]) -> list[str]:
    """Both in their order, each once."""
    return list(dict.fromkeys([*some, *others]))


def _customer(customer: OfCustomer) -> Iterator[str]:
    yield f"customer {customer.customer}"
    yield from (f"  only the first   {_message(each)}" for each in customer.only_plays)
    yield from (f"  only the second  {_message(each)}" for each in customer.only_against)


def _message(message: Message) -> str:
    return f"{message.at[:19]} {message.channel:7} {message.play} {message.id}"


def _new(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _row(table: Table, *cells: str | int) -> None:
    table.add_row(*map(str, cells))


def _table(table: Table) -> Sequence[str]:
    """A table and an empty line before it; nothing if it is empty."""
    if not table.row_count:
        return ()
    console = Console(file=StringIO(), width=WIDTH)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return ["", *[line.rstrip() for line in text.splitlines()]]
