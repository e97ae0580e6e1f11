"""``touchstream plays``: write plays, check them, put them in force, stop them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flows.plays_control import InForce
    from operators.segmentbook import SegmentBook
    from schemas.config import Config
    from schemas.plays import PlayFile

_PATH = click.Path(dir_okay=False, path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_WAIT = click.option("--wait", default=10.0, show_default=True, help="Seconds to wait until engage has come to it.")


@click.group()
def plays() -> None:
    """What is said to whom, when: check plays, put them in force, stop them."""


@plays.command(epilog=examples("touchstream plays check plays.yaml", "touchstream plays check plays.yaml --json"))
@click.argument("file", type=_PATH)
@_JSON
@click.pass_context
def check(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check FILE as engage would, and list every fault; exit code 2 if there is one."""
    from flows import playfile
    from operators.playbook import PlayBook
    from operators.texts import duration
    from schemas.errors import ConfigError

    try:
        book = PlayBook(playfile.load(file))
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"version": None, "plays": [], "faults": error.faults})
        ctx.exit(2)
    if as_json:
        print_json({"version": book.version, "plays": list(book.plays), "faults": [], **_footprint(book.segments)})
        return
    click.echo(f"{len(book.plays)} plays are fine, version {book.version}")
    for name, window in book.segments.windows.items():
        said = f"counts no further than {window.kept}" if window.exact else f"up to {duration(window.late)} late"
        click.echo(f"window   {name:26}{window.bytes:6} bytes a customer at most; {said}")
    for name, segment in book.segments.segments.items():
        click.echo(f"segment  {name:26}{segment.bytes:6} bytes a customer in it")
    if book.segments.version:
        click.echo(f"together {'':26}{book.segments.bytes:6} bytes a customer at most")


@plays.command(epilog=examples("touchstream plays apply plays.yaml"))
@click.argument("file", type=_PATH)
@_WAIT
@with_config
def apply(file: Path, wait: float, path: str | None) -> None:
    """Put the plays of FILE in force, without a restart; those in force stay if one of them is bad.

    Every shard switches at one point of its log. What plays that stay are counting or waiting for goes on; waits of
    plays that go end with `play_removed`.
    """
    from flows import playfile, plays_control

    config, given = load_config(path), playfile.load(file)
    for what, name in plays_control.differences(_in_force(config), given):
        click.echo(f"{what:8} {name}")
    version = plays_control.apply(config, given)
    click.echo(f"{len(given.plays)} plays, version {version}")
    _reached(config, lambda found: found.versions.get(version, 0), wait)


@plays.command("list", epilog=examples("touchstream plays list", "touchstream plays list plays.yaml --json"))
@click.argument("file", required=False, type=_PATH)
@_JSON
@with_config
def list_plays(file: Path | None, as_json: bool, path: str | None) -> None:
    """List plays: name, what wakes it, channels, what it is for. Without FILE: those in force, and what is paused."""
    from flows import playfile, plays_control
    from schemas.plays import kinds_of
    from schemas.stitched import EVERY
    from state.connection import connect

    paused: set[str] = set()
    if file is None:
        config = load_config(path)
        given, found = _in_force(config), plays_control.in_force(config, connect(config))
        paused = set(found.paused)
        for version, shards in sorted(found.versions.items()):
            click.echo(f"version {version or '(none yet)'} in {shards} of {found.shards} shards", err=True)
    else:
        given = playfile.load(file)
    for name, play in given.plays.items():
        kind, held = kinds_of(play.when)[0], not paused.isdisjoint((name, EVERY))
        if as_json:
            row = {"name": name, "when": kind, "channels": play.channels, "paused": held}
            print_json({**row, "description": play.description})
        else:
            said = f"(paused) {play.description}" if held else play.description
            click.echo(f"{name:26}{kind:10}{','.join(play.channels):20}{said}")


@plays.command(epilog=examples("touchstream plays show", "touchstream plays show --starter > plays.yaml"))
@click.option("--starter", is_flag=True, help="The starter set, with its comments, to begin with.")
@with_config
def show(starter: bool, path: str | None) -> None:
    """Print the plays in force as YAML."""
    from flows import playfile

    text = playfile.STARTER.read_text() if starter else playfile.dump(_in_force(load_config(path)))
    click.echo(text, nl=False)


@plays.command(epilog=examples("touchstream plays diff plays.yaml", "touchstream plays diff new.yaml old.yaml"))
@click.argument("file", type=_PATH)
@click.argument("other", required=False, type=_PATH)
@_JSON
@with_config
def diff(file: Path, other: Path | None, as_json: bool, path: str | None) -> None:
    """What FILE would change in what is in force, or in OTHER."""
    from flows import playfile, plays_control

    given = playfile.load(file)
    for what, name in plays_control.differences(playfile.load(other) if other else _in_force(load_config(path)), given):
        if as_json:
            print_json({"what": what, "name": name})
        else:
            click.echo(f"{what:8} {name}")


@plays.command(epilog=examples("touchstream plays pause welcome", "touchstream plays pause --all   # the kill switch"))
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every play there is or will be.")
@_WAIT
@with_config
def pause(names: tuple[str, ...], every: bool, wait: float, path: str | None) -> None:
    """Stop plays at once. They go on counting and waiting; what they would say is stopped with the code `paused`."""
    from flows import plays_control

    config = load_config(path)
    wanted = _named(config, names, every=every)
    plays_control.pause(config, wanted)
    _reached(config, lambda found: min(found.paused.get(name, 0) for name in wanted), wait)


@plays.command(epilog=examples("touchstream plays resume welcome", "touchstream plays resume --all"))
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Everything that is paused.")
@_WAIT
@with_config
def resume(names: tuple[str, ...], every: bool, wait: float, path: str | None) -> None:
    """Let paused plays speak again."""
    from flows import plays_control

    config = load_config(path)
    wanted = _named(config, names, every=every)
    plays_control.resume(config, wanted)
    _reached(config, lambda found: found.shards - _held_back(found.paused, wanted, every=every), wait)


@plays.command(epilog=examples("touchstream plays schema > plays.schema.json"))
def schema() -> None:
    """Print the JSON Schema of a file of plays, for editors."""
    import orjson

    from flows.playfile import json_schema

    found: Any = json_schema()
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def _footprint(book: SegmentBook) -> dict[str, Any]:
    """What windows and segments take of a customer's profile at most, and how late what leaves a window does (ms)."""
    windows = {name: {"bytes": each.bytes, "late_ms": each.late} for name, each in book.windows.items()}
    segments = {name: {"bytes": each.bytes} for name, each in book.segments.items()}
    return {"windows": windows, "segments": segments, "bytes": book.bytes}


def _reached(config: Config, reached: Callable[[InForce], int], wait: float) -> None:
    """Wait for engage, and say how far it is."""
    from flows import plays_control
    from state.connection import connect

    shards = plays_control.await_reached(config, connect(config), reached, wait)
    click.echo(f"in force in {shards} of {config.topics.shards} shards")
    if shards < config.topics.shards:
        click.echo("the others follow as soon as engage comes to it: see `touchstream status`", err=True)


def _in_force(config: Config) -> PlayFile:
    """The plays in force in most shards."""
    from flows import plays_control
    from schemas.plays import PlayFile
    from state.connection import connect

    client = connect(config)
    version = plays_control.in_force(config, client).version
    return plays_control.content(config, client, version) if version else PlayFile(plays={})


def _held_back(paused: Mapping[str, int], names: Sequence[str], *, every: bool) -> int:
    """In how many shards one of ``names`` is still paused, or anything."""
    return max([shards for name, shards in paused.items() if every or name in names], default=0)


def _named(config: Config, names: tuple[str, ...], *, every: bool) -> list[str]:
    """The plays meant. Raises `click.UsageError` where there are none, or no such play."""
    from schemas.stitched import EVERY

    if bool(names) == every:
        raise click.UsageError("name plays, or give --all")
    known = _in_force(config).plays
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"no play {', '.join(unknown)} is in force; there are: {', '.join(known) or 'none'}")
    return [EVERY] if every else list(names)
