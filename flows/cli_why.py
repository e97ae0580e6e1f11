"""``touchstream why``: why a customer was sent something, or was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.why import Line


@click.command(
    epilog=examples(
        "touchstream why member:1001",
        "touchstream why member:1001 --play welcome   # sent or not, and why",
        "touchstream why 5e0c0f0e-2b1f-5d0e-9d0a-0c8a4d1f7b11 --json   # a trigger's or decision's id",
    )
)
@click.argument("subject")
@click.option("--play", help="Its latest decision on the customer or, if there is none, what it waits for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_config
def why(subject: str, play: str | None, as_json: bool, path: str | None) -> None:
    """Say why SUBJECT was decided so: the id of a trigger or decision, of a customer, or namespace:value.

    Of a decision: what brought it about, whose identifiers it carried, and every check with what it looked at. Of a
    customer: its last decisions or, with --play, why one play has spoken or not.
    """
    from flows.why import Why, readable
    from state.connection import connect

    config = load_config(path)
    with connect(config) as client:
        asked = Why(config, client)
        customer = asked.customer(subject)
        if customer is None and play is not None:
            raise click.UsageError(f"{subject} is no customer; --play asks about one")
        if customer is not None and play is None:
            _last(asked.last(customer), as_json=as_json)
            return
        answer = asked.play(customer, play) if customer is not None and play else asked.decision(subject)
    if as_json:
        print_json(answer)
    else:
        click.echo("\n".join(readable(answer)))


def _last(lines: Sequence[Line], *, as_json: bool) -> None:
    """The latest decisions on a customer, a line each."""
    from operators.texts import rfc3339

    for each in lines:
        if as_json:
            print_json(each)
        else:
            click.echo(f"{rfc3339(each.at)}  {each.play:26}{each.code:16}{each.id}")
    if not lines:
        click.echo("nothing was decided; --play NAME says what a play waits for", err=True)
