"""The simulated retailer on the command line: ``python -m flows.retailer --help``."""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from flows.retailer.rates import Rates
from flows.retailer.simulation import SPEED, START_MS, Retailer
from flows.retailer.write import BEAT, FileSink, KafkaSink, Sink, Summary, write
from schemas.errors import ConfigError, TouchstreamError

_EXAMPLES = """examples:
  a million touchpoints into a file, with their truth
    python -m flows.retailer --customers 50000 --events 1000000 --out touchpoints.ndjson --truth truth.ndjson
  a minute of live business, a simulated day a second
    python -m flows.retailer --customers 1000 --rate 1500 --seconds 60 --kafka localhost:9092
  load for a measurement, without broken records
    python -m flows.retailer --events 1000000 --kafka localhost:9092 --set broken=0 --set duplicates=0

The last line on stdout counts what was written, as JSON: written = valid + duplicates + broken.
Exit status: 0 done or stopped by a signal, 1 some records were not delivered, 2 wrong arguments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = _parser().parse_args(arguments)
    # Nothing here makes cycles, and a hundred thousand living customers are many objects to search for them.
    gc.set_threshold(100_000, 50, 1_000)
    try:
        retailer = _retailer(options)
        _warn(retailer, options)
        sink = _open(retailer, options)
    except (TouchstreamError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    summary = write(
        retailer,
        sink,
        events=options.events,
        rate=options.rate,
        seconds=options.seconds,
        beat=options.beat,
        stop=_stop_on_signals(),
        progress=_progress(options.events) if options.progress else None,
    )
    if options.progress and sys.stderr.isatty():
        print(file=sys.stderr)
    print(json.dumps(summary.as_dict()))
    return _verdict(summary, sink)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.retailer",
        description="A simulated retailer: seeded touchpoints of customers whose truth is known.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--customers", type=int, default=1_000, help="customers at any time (default 1000)")
    add("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    add("--rate", type=float, help="records per real second (default: as fast as possible)")
    add("--beat", type=float, default=BEAT, help=f"seconds between writes at --rate (default {BEAT})")
    add("--speed", type=float, default=SPEED, help="simulated ms per real ms at --rate (default 86400: a day a second)")
    add("--start", type=_time, default=START_MS, help="simulated start: RFC 3339 or 'now' (default 2026-01-01T00:00Z)")
    add("--history", type=float, default=0.0, help="days before that, told first as an import (default 0)")
    add("--events", type=int, help="stop after this many records")
    add("--seconds", type=float, help="stop after this many real seconds")
    add("--set", action="append", default=[], metavar="NAME=SHARE", help="change a rate, see docs/retailer.md")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, help="write to this file")
    target.add_argument("--kafka", metavar="BOOTSTRAP", help="write to this Kafka")
    add("--topic", default="ts.touchpoints", help="topic for --kafka (default ts.touchpoints)")
    add("--property", action="append", default=[], metavar="NAME=VALUE", help="a librdkafka property for --kafka")
    add("--truth", type=Path, help="write the truth to this file, before the first touchpoint")
    add("--truth-topic", help="write the truth to this topic of --kafka, before the first touchpoint")
    add("--progress", action="store_true", help="show progress on stderr")
    return parser


def _time(text: str) -> int:
    if text == "now":
        return int(time.time() * 1000)
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _retailer(options: argparse.Namespace) -> Retailer:
    """Days reach as far as the run can, so that the truth covers it."""
    rates = _rates(options.set)
    arguments = (options.seed, options.customers, rates, options.start, options.speed, options.rate)
    activity = Retailer(*arguments, history=options.history).activity
    ends = []
    if options.events is not None:
        ends.append(options.events / (options.customers * activity) * 1.5 + 30)
    if options.seconds is not None and options.rate is not None:
        ends.append(options.seconds * options.speed / 86_400 * 1.5 + 30)
    return Retailer(*arguments, days=min([*ends, 3_650.0]), history=options.history)


def _rates(settings: list[str]) -> Rates:
    names = [field.name for field in fields(Rates)]
    values: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            raise ConfigError([f"--set {setting}: expected NAME=SHARE"]) from None
        if name not in names:
            raise ConfigError([f"--set {name}: allowed are {', '.join(names)}"])
    return Rates(**values)


def _warn(retailer: Retailer, options: argparse.Namespace) -> None:
    """Rate, customers and speed are honoured even where no shop is like that; say so."""
    if not 0.3 <= retailer.activity <= 8:
        print(
            f"{retailer.activity:.3g} records per customer and day; shops see 0.3 to 8 (1.5 is natural). "
            f"For that with --rate {options.rate:g} --speed {options.speed:g}: "
            f"--customers {max(2, round(retailer.customers * retailer.activity / 1.5))}",
            file=sys.stderr,
        )


def _open(retailer: Retailer, options: argparse.Namespace) -> Sink:
    """The sink, with the truth told before it gets its first record."""
    if options.truth:
        with options.truth.open("wb") as file:
            file.writelines(line + b"\n" for line in retailer.truth())
    if options.kafka is None:
        return FileSink(options.out)
    sink = KafkaSink(options.kafka, options.topic, _properties(options.property))
    if options.truth_topic:
        sink.lines(options.truth_topic, retailer.truth())
    return sink


def _properties(settings: list[str]) -> dict[str, str]:
    faults = [f"--property {each}: expected NAME=VALUE" for each in settings if "=" not in each]
    if faults:
        raise ConfigError(faults)
    return dict(each.split("=", 1) for each in settings)


def _stop_on_signals() -> Event:
    """The first signal ends the run in order, the second at once."""
    stop = Event()

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop


def _progress(events: int | None) -> Callable[[Summary], None]:
    """A line that is rewritten on a terminal, a plain line every five seconds elsewhere."""
    terminal = sys.stderr.isatty()
    every, shown = (0.2, 0.0) if terminal else (5.0, 0.0)
    start, end = ("\r", "") if terminal else ("", "\n")

    def show(summary: Summary) -> None:
        nonlocal shown
        if summary.seconds - shown < every:
            return
        shown = summary.seconds
        share = f" {100 * summary.written / events:.0f} %" if events else ""
        text = f"{summary.written:,} records{share}, {summary.per_second:,.0f}/s, day {summary.days:,.1f}"
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    return show


def _verdict(summary: Summary, sink: Sink) -> int:
    if summary.failed and isinstance(sink, KafkaSink):
        print(f"not delivered: {summary.failed} {dict(sink.failures) or '(no answer)'}", file=sys.stderr)
    return 1 if summary.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
