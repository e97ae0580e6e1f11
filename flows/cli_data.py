"""The commands that move or show data: ingest, tail, dead-letters, status, demo."""

from __future__ import annotations

import sys
from typing import Any

import click

from flows.cli_base import examples, load_config, print_json, with_config
from schemas.errors import TouchstreamError


@click.command(
    epilog=examples("touchstream ingest events.ndjson --rate 500", "zcat old.gz | touchstream ingest - --at event-time")
)
@click.argument("file", type=click.File("rb"))
@click.option("--topic", help="Source topic without the prefix [the first of topics.sources].")
@click.option(
    "--at",
    type=click.Choice(["now", "event-time"]),
    default="now",
    help="event-time: stamp `at` with the event's own time, to replay history. Honoured only by deployments with "
    "`clock: log`; others stamp their own clock.",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Lines a second [as fast as possible].")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@with_config
def ingest(file: Any, topic: str | None, at: str, rate: float | None, as_json: bool, path: str | None) -> None:
    """Send touchpoints from FILE (NDJSON; - for standard input) to a source topic.

    Lines that are no touchpoints are sent as they are and become dead letters. Exit 1 unless Kafka has
    confirmed every line.
    """
    from flows.ingest import ingest as send
    from flows.progress import Progress

    settings = load_config(path)
    with Progress("lines") as shown:
        done = send(
            settings, file, topic=topic, at_event_time=at == "event-time", rate=rate,
            progress=lambda done: shown.update(done.delivered, failed=done.failed),
        )  # fmt: skip
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"{done.lines} lines: {done.delivered} sent, {done.failed} failed; {done.invalid} are no touchpoints"
        )
    if done.failed:
        raise TouchstreamError(
            f"{done.failed} lines were not sent ({done.error}); mend the cause and ingest them again"
        )


@click.command(
    epilog=examples("touchstream tail triggers", "touchstream tail decisions --from-start --json --count 10")
)
@click.argument("name")
@click.option("--from-start", is_flag=True, help="Begin with the oldest record [with the next one].")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--end", is_flag=True, help="Stop at the end instead of waiting for more.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are, one a line.")
@with_config
def tail(name: str, from_start: bool, count: int | None, end: bool, as_json: bool, path: str | None) -> None:
    """Show the records of an output as they come (read_committed).

    NAME: triggers, decisions, outcomes, segments, scores, identity.changes, audit, alerts, kpis, churn.examples,
    aliases, dead-letters, stitched.
    """
    from flows import tail as tails

    if name not in tails.NAMES:
        raise click.BadParameter(f"{name!r} cannot be shown; there are: {', '.join(tails.NAMES)}")
    tails.tail(load_config(path), name, click.echo, from_start=from_start, as_json=as_json, count=count, follow=not end)


@click.group("dead-letters")
def dead_letters() -> None:
    """List records that could not be used, and send them back."""


@dead_letters.command("list", epilog=examples("touchstream dead-letters list", "touchstream dead-letters list --json"))
@click.option("--reason", help="Only those with this reason.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are, one a line.")
@with_config
def list_letters(reason: str | None, as_json: bool, path: str | None) -> None:
    """List dead letters with offset, reason and source position. The originals stay sealed."""
    from flows.dead_letters import letters
    from flows.tail import clock

    for batch in letters(load_config(path), reason=reason):
        for each in batch:
            it = each.letter
            source = f"{it.topic}/{it.partition}/{it.offset}"
            line = f"{each.offset:>8}  {clock(it.at)}  {it.reason} at {it.path} ({it.stage})  {source}"
            print_json(it) if as_json else click.echo(line)


@dead_letters.command(
    epilog=examples("touchstream dead-letters replay --reason invalid", "touchstream dead-letters replay --from 1200")
)
@click.option("--reason", help="Only those with this reason.")
@click.option("--from", "start", type=click.IntRange(min=0), default=0, help="Begin at this offset, as listed.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@with_config
def replay(reason: str | None, start: int, limit: int | None, as_json: bool, path: str | None) -> None:
    """Send the originals of dead letters back to their source topics, in transactions.

    What is still broken becomes a dead letter again; what was processed meanwhile is a duplicate.
    """
    from flows.dead_letters import replay as send
    from flows.progress import Progress

    with Progress("dead letters") as shown:
        done = send(
            load_config(path), reason=reason, start=start, limit=limit,
            progress=lambda done: shown.update(done.sent, failed=done.unopened + done.foreign),
        )  # fmt: skip
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.sent} sent back; to go on after these: --from {done.next_offset}")
    if done.unopened or done.foreign:
        raise TouchstreamError(
            f"{done.unopened} are sealed under another key than keys.dead_letters, "
            f"{done.foreign} came from topics that are not in topics.sources"
        )


@click.command(epilog=examples("touchstream status", "touchstream status --json"))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@with_config
def status(as_json: bool, path: str | None) -> None:
    """Who owns what, how far behind, the account, the age of the last commit."""
    from flows.status import status as look

    found = look(load_config(path))
    if as_json:
        print_json(found)
        return
    from flows.status_text import lines

    for line in lines(found):
        click.echo(line)


@click.command(epilog=examples("touchstream rebuild", "touchstream rebuild --json"))
@click.option("--json", "as_json", is_flag=True, help="Print what was put back as JSON.")
@with_config
def rebuild(as_json: bool, path: str | None) -> None:
    """Prepare an empty Redis, after all of it was lost, to be made again from what Kafka still has.

    Stop all flows before and start them afterwards: they read their logs from the beginning and publish nothing a
    second time. What is older than the logs is not made again.
    """
    from flows.progress import Progress
    from flows.rebuild import rebuild as prepare

    done = 0
    with Progress("contents") as shown:

        def progress(count: int) -> None:
            nonlocal done
            done += count
            shown.update(done)

        found = prepare(load_config(path), progress)
    if as_json:
        print_json(found)
        return
    click.echo(", ".join(f"{count} {kind}" for kind, count in found.contents.items()) + " put back")
    for flow, records in found.again.items():
        click.echo(f"{flow:8} reads {records:,} offsets again")
    click.echo("now start the flows")


@click.command(epilog=examples("touchstream demo", "touchstream demo --seconds 60 --rate 500 --json"))
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so many seconds [on Ctrl-C].")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Touchpoints a second.")
@click.option("--customers", type=click.IntRange(min=1), help="Customers of the simulated retailer.")
@click.option("--seed", type=int, help="Seed of the simulated retailer.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Simulated seconds per second.")
@click.option("--json", is_flag=True, help="End with the account as JSON on the last line.")
@click.option("--kafka", help="Bootstrap address of a real Kafka [an embedded broker].")
@click.option("--redis", help="URL of a real Redis or Valkey [an embedded Valkey].")
def demo(**options: Any) -> None:
    """Run everything on this machine with a simulated retailer, and watch triggers come out."""
    import importlib

    sys.exit(importlib.import_module("flows.demo").main(options))


COMMANDS = (ingest, tail, dead_letters, status, rebuild, demo)
