"""``touchstream report``: what plays have brought about, and how good churn scores were."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from datetime import datetime

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def report() -> None:
    """What plays have brought about, and how good churn scores were."""


@report.command(
    epilog=examples(
        "touchstream report uplift", "touchstream report uplift --play win_back_30 --from 2026-01-01 --json"
    )
)
@click.option("--play", help="Only this play [all].")
@click.option("--from", "start", type=_MOMENT, help="Only what was decided from this moment (UTC) on.")
@click.option("--to", "end", type=_MOMENT, help="Only what was decided before this moment (UTC).")
@click.option(
    "--period", default="30d", show_default=True, metavar="DURATION", help="A customer's first decision in each counts."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@with_config
def uplift(
    play: str | None, start: datetime | None, end: datetime | None, period: str, as_json: bool, path: str | None
) -> None:
    """Compare who was sent a play with who was held out: conversion and revenue, with intervals of 95 %.

    Counts decisions whose windows have closed. The unit is a customer's first decision of a play in a period. Says so
    where there is too little data to go by.
    """
    from flows import uplift as reports
    from flows.progress import Progress

    asked = reports.Asked(play, _ms(start), _ms(end), _length(period))
    config = load_config(path)
    with Progress("outcomes") as shown:
        tally = reports.uplift(config, asked, shown.update)
    if as_json:
        print_json(reports.as_json(asked, tally))
    else:
        for line in reports.readable(tally):
            click.echo(line)


@report.command(
    epilog=examples(
        "touchstream report churn", "touchstream report churn --json", "touchstream report churn --html c.html"
    )
)
@click.option("--from", "start", type=_MOMENT, help="Only what was scored from this moment (UTC) on.")
@click.option("--to", "end", type=_MOMENT, help="Only what was scored before this moment (UTC).")
@click.option("--period", default="7d", show_default=True, metavar="DURATION", help="Told apart by.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots here, too.")
@with_config
def churn(
    start: datetime | None, end: datetime | None, period: str, as_json: bool, html: Path | None, path: str | None
) -> None:
    """Hold churn scores against what happened: AUC, average precision, log loss, Brier, ECE, by model key.

    Who was left alone, held out of all plays, and sent a message are told apart: what is served is the risk of those
    left alone. Of warnings, scores that rose to high, it says how many came true and how many days ahead they came.
    """
    from flows import churn_report
    from flows.progress import Progress

    asked = churn_report.Asked(_ms(start), _ms(end), _length(period))
    config = load_config(path)
    with Progress("scores and examples") as shown:
        found = churn_report.review(config, asked, shown.update)
    if html is not None:
        from flows.churn_page import page

        html.write_text(page(found, f"Churn scores of {config.prefix}"))
    if as_json:
        print_json(churn_report.as_json(asked, found))
    else:
        for line in churn_report.readable(found):
            click.echo(line)


def _length(period: str) -> int:
    """Milliseconds of a duration."""
    import msgspec

    from schemas.plays import Duration, milliseconds

    try:
        return milliseconds(msgspec.convert(period, Duration))
    except msgspec.ValidationError:
        raise click.BadParameter(f"{period!r}; allowed: minutes, hours or days: 30d", param_hint="--period") from None


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)
