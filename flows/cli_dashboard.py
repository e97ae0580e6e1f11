"""``touchstream dashboard`` and ``touchstream tokens``: the web service, and who may use it."""

from __future__ import annotations

import os

import click

from flows.cli_base import examples, load_config, print_json, with_config

_by = click.option("--by", default=lambda: os.environ.get("USER", ""), help="Who does, for the audit [$USER].")


@click.command(epilog=examples("touchstream dashboard", "touchstream dashboard --port 9000"))
@click.option("--host", help="Address to listen on [dashboard.host].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on [dashboard.port].")
@with_config
def dashboard(host: str | None, port: int | None, path: str | None) -> None:
    """Serve the live screens and the read API until SIGTERM or Ctrl-C.

    On this machine alone and without tokens, everybody sees what viewers do: values masked. See docs/dashboard.md.
    """
    import sys

    import msgspec

    from flows.web.service import serve

    config = load_config(path)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    sys.exit(serve(msgspec.structs.replace(config, dashboard=msgspec.structs.replace(config.dashboard, **given))))


@click.group()
def tokens() -> None:
    """Create, list and revoke the tokens that let people and programs use the dashboard."""


@tokens.command(epilog=examples("touchstream tokens create anna --role agent --days 90"))
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "agent", "operator", "admin"]), required=True)
@click.option("--days", type=click.IntRange(min=1), help="Let it expire after so many days.")
@_by
@with_config
def create(name: str, role: str, days: int | None, by: str, path: str | None) -> None:
    """Create a token for NAME, as whom the audit knows them, and print it: it is told once, and not stored.

    viewer: everything, personal values masked. agent: one customer's values, for a purpose that is recorded. operator:
    decides of identity, erases, pauses plays. admin: tokens. Each may do what those before may.
    """
    from typing import Any

    from flows.web.tokens import create as make

    kind: Any = role
    click.echo(make(load_config(path), name, kind, days=days, by=by))


@tokens.command("list", epilog=examples("touchstream tokens list", "touchstream tokens list --json"))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each.")
@with_config
def list_tokens(as_json: bool, path: str | None) -> None:
    """List all tokens: id, name, role, since when, until when. What they say is not stored."""
    from flows.web.tokens import known, state_of
    from operators.texts import rfc3339

    for each in known(load_config(path)):
        if as_json:
            print_json({name: getattr(each, name) for name in each.__struct_fields__} | {"state": state_of(each)})
        else:
            click.echo(f"{each.id}  {each.name:24}{each.role:10}{rfc3339(each.created)}  {state_of(each)}")


@tokens.command(epilog=examples("touchstream tokens revoke 5f0c9a7d21be"))
@click.argument("id")
@_by
@with_config
def revoke(id: str, by: str, path: str | None) -> None:
    """Let nobody in by the token ID any more, from the next request on; sessions that it began end, too."""
    from flows.web.tokens import revoke as take_back

    token = take_back(load_config(path), id, by=by)
    click.echo(f"revoked {token.id} of {token.name}")
