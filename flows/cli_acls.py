"""``touchstream acls``: the least rights of each user, as the commands that grant them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flows.cli_base import examples, load_config, with_config

if TYPE_CHECKING:
    from flows.rights import Role
    from schemas.config import Config


@click.group()
def acls() -> None:
    """Print the least rights of each process and user as the commands that grant them (docs/security.md)."""


@acls.command(epilog=examples("touchstream acls kafka", "touchstream acls kafka stitch engage | sh"))
@click.argument("roles", nargs=-1)
@with_config
def kafka(roles: tuple[str, ...], path: str | None) -> None:
    """Calls of kafka-acls.sh, for all ROLES or some. They sign in as admin.properties says."""
    from flows.rights import kafka_lines

    config = load_config(path)
    for role in _chosen(config, roles):
        click.echo(f"# {role.name}: {role.what}")
        click.echo("\n".join(kafka_lines(config, role)))


@acls.command(epilog=examples("touchstream acls redis", "touchstream acls redis engage | redis-cli --user admin"))
@click.argument("roles", nargs=-1)
@with_config
def redis(roles: tuple[str, ...], path: str | None) -> None:
    """ACL SETUSER commands, for all ROLES or some. Passwords stay as they are: set them yourself."""
    from flows.rights import redis_line

    config = load_config(path)
    click.echo("\n".join(filter(None, [redis_line(config, role) for role in _chosen(config, roles)])))


def _chosen(config: Config, names: tuple[str, ...]) -> list[Role]:
    from flows import rights

    roles = rights.roles(config)
    if unknown := [name for name in names if name not in roles]:
        raise click.BadParameter(f"no role {unknown[0]!r}; there are: {', '.join(roles)}")
    return [roles[name] for name in names or roles]
