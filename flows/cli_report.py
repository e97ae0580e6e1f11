"""``touchstream report``: what plays have brought about."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from datetime import datetime

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def report() -> None:
    """What plays have brought about."""


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
    import msgspec

    from flows import uplift as reports
    from flows.progress import Progress
    from schemas.plays import Duration, milliseconds

    try:
        length = milliseconds(msgspec.convert(period, Duration))
    except msgspec.ValidationError:
        raise click.BadParameter(f"{period!r}; allowed: minutes, hours or days: 30d", param_hint="--period") from None
    asked = reports.Asked(play, _ms(start), _ms(end), length)
    config = load_config(path)
    with Progress("outcomes") as shown:
        tally = reports.uplift(config, asked, shown.update)
    if as_json:
        print_json(reports.as_json(asked, tally))
    else:
        for line in reports.readable(tally):
            click.echo(line)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)
