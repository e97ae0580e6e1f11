"""``touchstream models``: churn models, those in force and those that learn beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.config import Config

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_KEY = click.option("--key", default="default", show_default=True, help="Of which customers the models are.")
_WAIT = click.option("--wait", default=10.0, show_default=True, help="Seconds to wait until the flows have come to it.")


@click.group()
def models() -> None:
    """Churn models: what is in force, what learns beside it, and going back."""


@models.command("list", epilog=examples("touchstream models list", "touchstream models list --json"))
@_JSON
@with_config
def list_models(as_json: bool, path: str | None) -> None:
    """Who contends for each model key, and how good each was lately, expecting examples just before learning them.

    Of challengers, by how much their log loss is lower than the champion's, with the interval of 99 %. `served` is
    what scores said to customers whom no message was sent meanwhile.
    """
    from flows import models_control
    from state.connection import connect

    config = load_config(path)
    for row in models_control.rows(config, connect(config)):
        print_json(row) if as_json else click.echo(_line(row))


@models.command(epilog=examples("touchstream models versions", "touchstream models versions --key country=CN --json"))
@_KEY
@_JSON
@with_config
def versions(key: str, as_json: bool, path: str | None) -> None:
    """All versions of a key that were ever published, the oldest first."""
    from flows import models_control

    for each in models_control.versions(load_config(path)):
        content = each.content
        if content.key != key:
            continue
        if as_json:
            row = {"version": each.hash, "key": key, "by": content.by, "offset": content.offset}
            print_json({**row, "features_version": content.features_version, "metrics": content.metrics})
        else:
            click.echo(f"{each.hash}  {content.by:16}{_measured(content.metrics)}")


@models.command(epilog=examples("touchstream models show 5e1fbc0c9d2a4c61a5b7b6a0c3f1d2e4"))
@click.argument("version")
@_JSON
@with_config
def show(version: str, as_json: bool, path: str | None) -> None:
    """What a published VERSION has learned: each feature's weight, in deviations of it, and what a message adds."""
    import msgspec

    from flows import models_control
    from state.connection import connect

    config = load_config(path)
    content = models_control.version(config, connect(config), version).content
    if as_json:
        print_json({"version": version, **msgspec.to_builtins(content)})
        return
    click.echo(f"{version} of {content.key}, learned as {content.by}: {_measured(content.metrics)}")
    for name, weight in sorted(zip(content.features, content.weights, strict=True), key=lambda each: -abs(each[1])):
        click.echo(f"{name:24}{weight:+.3f}")
    click.echo(f"{'(intercept)':24}{content.intercept:+.3f}\n{'(a message)':24}{content.treatment:+.3f}")


@models.command(epilog=examples("touchstream models promote fast", "touchstream models promote fast --key country=CN"))
@click.argument("name")
@_KEY
@_WAIT
@with_config
def promote(name: str, key: str, wait: float, path: str | None) -> None:
    """Let the challenger NAME take the champion's place: it is published at once, and from then on."""
    from flows import models_control
    from state.connection import connect

    config = load_config(path)
    models_control.promote(config, connect(config), key, name)
    _obeyed(config, key, wait, champion=name, held="")


@models.command(epilog=examples("touchstream models rollback 5e1fbc0c9d2a4c61a5b7b6a0c3f1d2e4"))
@click.argument("version")
@_WAIT
@with_config
def rollback(version: str, wait: float, path: str | None) -> None:
    """Go back to a published VERSION and stay there. What is learned is published again after `release`."""
    from flows import models_control
    from state.connection import connect

    config = load_config(path)
    key = models_control.rollback(config, connect(config), version)
    _obeyed(config, key, wait, held=version)


@models.command(epilog=examples("touchstream models release", "touchstream models release --key country=CN"))
@_KEY
@_WAIT
@with_config
def release(key: str, wait: float, path: str | None) -> None:
    """After a rollback: publish again what is learned."""
    from flows import models_control
    from state.connection import connect

    config = load_config(path)
    models_control.release(config, connect(config), key)
    _obeyed(config, key, wait, held="")


def _obeyed(config: Config, key: str, wait: float, **wanted: str) -> None:
    """Wait for the learn flow, and say how far it is."""
    from flows import models_control
    from state.connection import connect

    done = models_control.await_obeyed(
        config,
        connect(config),
        key,
        lambda known: all(getattr(known, field) == value for field, value in wanted.items()),
        wait,
    )
    click.echo("done" if done else "written; the learn flow will follow as soon as it comes to it")


def _line(row: Mapping[str, Any]) -> str:
    mark = "*" if row["champion"] else " "
    compared = row.get("compared")
    beside = ""
    if compared:
        low, high = compared["low"], compared["high"]
        beside = f"  log loss lower by {compared['difference']:.4f} ({low:.4f} to {high:.4f})"
    held = "  held" if row["champion"] and row["held"] else ""
    return f"{row['key']:28}{mark} {row['by']:16}{_measured(row['measures'])}{beside}{held}"


def _measured(found: Mapping[str, float]) -> str:
    names = (("AUC", "auc"), ("log loss", "log_loss"), ("ECE", "ece"), ("base rate", "base_rate"))
    said = [f"{title} {found[name]:.3f}" for title, name in names if name in found]
    return "  ".join([f"{int(found.get('examples', 0)):>7,} examples", *said])
