"""``touchstream plays``: write, check and look at plays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from schemas.plays import PlayFile

_FILE = click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def plays() -> None:
    """What is said to whom, when: check and show plays."""


@plays.command(epilog=examples("touchstream plays check plays.yaml", "touchstream plays check plays.yaml --json"))
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: version, plays, faults.")
@with_config
@click.pass_context
def check(ctx: click.Context, file: Path | None, as_json: bool, path: str | None) -> None:
    """Read FILE as engage would (without it, the plays of the configuration), and list every fault.

    Exit code 2 if there is one.
    """
    from operators.plays import PlayBook
    from schemas.errors import ConfigError

    try:
        book = PlayBook(_read(file, path)[0])
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"version": None, "plays": [], "faults": error.faults})
        ctx.exit(2)
    if as_json:
        print_json({"version": book.version, "plays": list(book.plays), "faults": []})
    else:
        click.echo(f"{len(book.plays)} plays are fine, version {book.version}")


@plays.command("list", epilog=examples("touchstream plays list", "touchstream plays list plays.yaml --json"))
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per play.")
@with_config
def list_plays(file: Path | None, as_json: bool, path: str | None) -> None:
    """List plays: name, what wakes it, channels, and what it is for."""
    from schemas.plays import kinds_of

    for name, play in _read(file, path)[0].plays.items():
        row = {"name": name, "when": kinds_of(play.when)[0], "channels": play.channels, "description": play.description}
        if as_json:
            print_json(row)
        else:
            click.echo(f"{name:24}{row['when']:10}{','.join(play.channels):20}{play.description}")


@plays.command(epilog=examples("touchstream plays show > plays.yaml   # to begin with"))
@_FILE
@with_config
def show(file: Path | None, path: str | None) -> None:
    """Print plays as they are written: those of the configuration, or the starter set."""
    _, place = _read(file, path)
    click.echo(place.read_text(), nl=False)


@plays.command(epilog=examples("touchstream plays schema > plays.schema.json"))
def schema() -> None:
    """Print the JSON Schema of a file of plays, for editors."""
    import orjson

    from flows.playfile import json_schema

    found: Any = json_schema()
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def _read(file: Path | None, path: str | None) -> tuple[PlayFile, Path]:
    """The plays meant, and where they stand. Raises `ConfigError`."""
    from flows import playfile, settings

    if file is None:
        file = playfile.place(load_config(path)) if settings.present(path) else playfile.STARTER
    return playfile.load(file), file
