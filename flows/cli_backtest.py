"""``touchstream backtest``: what plays would have done."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli_base import examples, load_config, print_json, with_config
from flows.progress import Progress

if TYPE_CHECKING:
    from flows.history import History
    from schemas.config import Config

_HISTORY = click.Path(exists=True, dir_okay=False, allow_dash=True)
_PLAYS = click.Path(dir_okay=False, path_type=Path)


class _Moment(click.ParamType[int]):
    """A time, in ms; without a zone it is UTC, without an hour midnight."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; allowed: such as 2026-01-31 or 2026-01-31T08:00:00Z", param, ctx)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command(
    epilog=examples(
        "touchstream backtest --topic stitched --plays new.yaml",
        "touchstream backtest --topic stitched --plays new.yaml --against plays.yaml --customers",
        "touchstream backtest --input history.ndjson --plays plays.yaml --from 2026-01-01 --json",
    )
)
@click.option("--input", "file", type=_HISTORY, help="Touchpoints, or records of stitched (NDJSON; - for stdin).")
@click.option("--topic", type=click.Choice(["stitched"]), help="The log that the deployment has kept.")
@click.option("--plays", type=_PLAYS, required=True, help="The plays to try.")
@click.option("--against", type=_PLAYS, help="Others to compare them with.")
@click.option("--from", "since", type=_Moment(), default=0, help="Count from here on; what was before is replayed too.")
@click.option("--to", "until", type=_Moment(), help="Stop here.")
@click.option("--customers", is_flag=True, help="With --against: what differs, customer by customer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_config
def backtest(
    file: str | None,
    topic: str | None,
    plays: Path,
    against: Path | None,
    since: int,
    until: int | None,
    customers: bool,
    as_json: bool,
    path: str | None,
) -> None:
    """Replay history under other plays: what would have been sent to whom, and what would have stopped the rest.

    Nothing is sent or stored. The history is a file, or the log of the deployment, which is only read. Under the very
    plays that made the log the answer is what live decided; under others time passes as it would have.
    """
    from flows import playfile
    from flows.backtest import NEVER, Options
    from flows.backtest import backtest as run
    from flows.backtest_text import lines
    from operators.playbook import PlayBook

    logging.getLogger("operators").setLevel(logging.ERROR)  # what happened then was told then
    if (file is None) == (topic is None):
        raise click.UsageError("allowed: exactly one of --input and --topic")
    if customers and against is None:
        raise click.UsageError("--customers needs --against")
    book, other = PlayBook(playfile.load(plays)), None if against is None else PlayBook(playfile.load(against))
    config = load_config(path)
    history, contents = _history(config, file)
    with Progress("lines" if file else "records", history.total) as shown:
        options = Options(
            **contents, since=since, until=NEVER if until is None else until, customers=customers,
            progress=shown.update,
        )  # fmt: skip
        report = run(config, history, book, other, options)
    if as_json:
        print_json(report)
    else:
        for line in lines(report):
            click.echo(line)


def _history(config: Config, file: str | None) -> tuple[History, dict[str, Any]]:
    """What is replayed, and what it may name."""
    if file is None:
        from flows.contents import Contents
        from flows.history import TopicHistory
        from operators.churn import Model
        from operators.playbook import PlayBook
        from schemas.topics import MODELS, PLAYS

        models, books = Contents(config, MODELS, Model.from_bytes), Contents(config, PLAYS, PlayBook.from_bytes)
        return TopicHistory(config), {"models": models, "books": books}
    from flows.history_file import FileHistory

    with click.open_file(file, "rb") as opened, Progress("lines looked through") as shown:
        return FileHistory(config, opened, shown.update), {}
