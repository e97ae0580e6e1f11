"""What the commands share: the ``--config`` option, examples in the help, JSON on standard output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from schemas.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])


def with_config(command: Command) -> Command:
    """Add ``--config``, given to the command as ``path``."""
    option = click.option(
        "-c", "--config", "path", type=click.Path(dir_okay=False), help="Configuration file [touchstream.yaml]."
    )
    return option(command)


def load_config(path: str | None) -> Config:
    """The configuration. Raises `ConfigError`."""
    from flows.settings import load

    return load(path)


def print_json(value: Any) -> None:
    """A struct or plain value as one line of JSON."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
