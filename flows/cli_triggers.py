"""``touchstream triggers``: what a marketing system does, on the command line."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from flows.delivery import Delivery
    from schemas.outputs import Trigger


@click.group()
def triggers() -> None:
    """Receive triggers, as marketing systems do."""


@triggers.command(
    epilog=examples(
        "touchstream triggers consume --group mailer --decrypt --json",
        "touchstream triggers consume --group check --end",
    )
)
@click.option("--group", help="Consumer group: who shares it shares the triggers [PREFIX.consume].")
@click.option("--decrypt", is_flag=True, help="Open addresses and customer numbers, with keys.master.")
@click.option("--end", is_flag=True, help="Stop at the end instead of waiting for more.")
@click.option("--json", "as_json", is_flag=True, help="One delivery a line: trigger, address, customer_number.")
@with_config
def consume(group: str | None, decrypt: bool, end: bool, as_json: bool, path: str | None) -> None:
    """Print each trigger once for the group, and acknowledge it once printed.

    Needs Kafka and the master key, not Redis. Triggers that have expired, that came before or whose customer was
    erased are skipped, which standard error tells. SIGTERM ends it after the trigger in hand.
    """
    from flows.delivery import Receiver
    from flows.tail import printable, trigger_line
    from operators.kafka import client_properties

    def show(each: Delivery) -> None:
        line = "  ".join(filter(None, [trigger_line(each.trigger), each.address, each.customer_number]))
        print_json(each) if as_json else click.echo(printable(line))

    def skipped(trigger: Trigger, why: str) -> None:
        click.echo(f"skipped {trigger.id}: {why}", err=True)

    config = load_config(path)
    master = config.keys.master if decrypt else None
    with Receiver(
        client_properties(config), group=group or f"{config.prefix}.consume", master=master, prefix=config.prefix,
        log_clock=config.clock == "log", skipped=skipped,
    ) as receiver:  # fmt: skip
        signal.signal(signal.SIGTERM, lambda *_: receiver.stop())
        counts = receiver.run(show, follow=not end)
    click.echo(", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "nothing new", err=True)
