"""The commands about identity: try, look, count, export, and what operators decide."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from flows.cli_base import Command, examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from flows.identity_simulate import Outcome
    from schemas.commands import Op


@click.group()
def identity() -> None:
    """Who is who: try a policy, look somebody up, see what it comes to."""


@identity.command(
    epilog=examples(
        "touchstream identity simulate cases.json",
        "touchstream identity simulate cases.json --check",
        "touchstream identity simulate cases.json --policy first_owner_keeps --json",
    )
)
@click.argument("file", type=click.File("rb"))
@click.option("--check", is_flag=True, help="Show only what is not as expected, and exit 1 if anything is not.")
@click.option("--policy", help="Use this policy for all cases instead of their own.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each case.")
def simulate(file: Any, check: bool, policy: str | None, as_json: bool) -> None:
    """Show which customers the identity cases of FILE (JSON; - for standard input) come to.

    A case holds events in their order of arrival, a policy, and the customers that are expected; see
    tests/data/identity.json. Nothing is read from Kafka or Redis, and nothing is written. Exit 2 if the file, or
    a case of it, cannot be used; the other cases are shown.
    """
    from flows.identity_cases import TREATMENTS, CaseError, read_cases
    from flows.identity_simulate import simulate as run

    if policy is not None and policy not in TREATMENTS:
        raise click.BadParameter(f"{policy!r} is none of {', '.join(TREATMENTS)}", param_hint="--policy")
    try:
        cases, faults = read_cases(file.read())
    except CaseError as error:
        raise click.BadParameter(str(error), param_hint="FILE") from None
    outcomes = [run(case, policy) for case in cases]
    wrong = sum(not outcome.ok for outcome in outcomes)
    for outcome in outcomes:
        if as_json:
            print_json(outcome)
        else:
            for line in _lines(outcome, brief=check):
                click.echo(line)
    if not as_json:
        click.echo(f"{len(outcomes)} cases: {len(outcomes) - wrong} as expected, {wrong} not")
    if faults:
        raise click.BadParameter("\n  ".join(["some cases cannot be used:", *faults]), param_hint="FILE")
    if check and wrong:
        raise click.exceptions.Exit(1)


@identity.command(
    epilog=examples(
        "touchstream identity show member:1001",
        "touchstream identity show 'phone:138 0013 8001' --json",
        "touchstream identity show 451c1e50-7d2d-5a2b-85d9-7b6a26f3a2e4",
    )
)
@click.argument("identifier", metavar="NAMESPACE:VALUE|CUSTOMER")
@with_config
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def show(identifier: str, path: str | None, as_json: bool) -> None:
    """Show whose an identifier is, what it was seen together with, and why each of these links holds or was cut.

    Values are not stored: other identifiers are shown as shortened keyed hashes.
    """
    from flows.identity_show import readable
    from flows.identity_show import show as look_up
    from state.connection import connect

    config = load_config(path)
    with connect(config) as client:
        shown = look_up(config, client, identifier)
    if as_json:
        print_json(shown)
    else:
        for line in readable(shown):
            click.echo(line)


def _lines(outcome: Outcome, *, brief: bool) -> list[str]:
    """What to show of a case. ``brief``: nothing but what is wrong."""
    lines = [f"{'ok     ' if outcome.ok else 'DIFFERS'} {outcome.name} ({outcome.policy})"]
    lines += [f"        {fault}" for fault in outcome.faults]
    if not brief:
        lines += [f"        {customer[:8]}  {', '.join(some)}" for customer, some in outcome.customers.items()]
        lines += [f"        {what:8}  {', '.join(some)}" for what, some in
                  (("nobody's", outcome.nobody), ("erased", outcome.erased)) if some]  # fmt: skip
        lines += [f"        the event at {time:g} is confused and gave nothing" for time in outcome.nothing]
    return lines


@identity.command(epilog=examples("touchstream identity stats", "touchstream identity stats --top 50 --json"))
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="Name so many hubs at most.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@with_config
def stats(top: int, as_json: bool, path: str | None) -> None:
    """Count identifiers, customers and clusters, and show the unification rate, the hubs, and what is nobody's.

    Reads every cluster of the deployment once, while flows run; what they write meanwhile may be counted or not.
    """
    from flows.identity_stats import readable
    from flows.identity_stats import stats as count
    from flows.progress import Progress
    from state.connection import connect

    config = load_config(path)
    with connect(config) as client, Progress("clusters") as shown:
        found = count(config, client, top=top, progress=shown.update)
    if as_json:
        print_json(found)
    else:
        for line in readable(found):
            click.echo(line)


@identity.command(
    epilog=examples("touchstream identity export member:1001", "touchstream identity export member:1001 --history")
)
@click.argument("identifier", metavar="NAMESPACE:VALUE|CUSTOMER")
@click.option("--history", is_flag=True, help="Read the log for the touchpoints that are still there, too (slow).")
@with_config
def export(identifier: str, history: bool, path: str | None) -> None:
    """Print all that is held about a customer as JSON, personal values in the clear: the right of access.

    What is not: originals in the source topics and dead letters, which expire with their topics.
    """
    from flows.identity_export import export as collect
    from state.connection import connect

    config = load_config(path)
    with connect(config) as client:
        print_json(collect(config, client, identifier, history=history))


def _decision(command: Command) -> Command:
    """Add what all decisions have in common."""
    for option in (
        with_config,
        click.option("--json", "as_json", is_flag=True, help="One line of JSON."),
        click.option("--wait", type=click.FloatRange(min=0), default=30.0, show_default=True,
                     help="Seconds to wait for what comes of it."),
        click.option("--by", default=lambda: os.environ.get("USER", ""), help="Who decides, for the audit [$USER]."),
    ):  # fmt: skip
        command = option(command)
    return command


_two = click.argument("two", nargs=2, metavar="NAMESPACE:VALUE NAMESPACE:VALUE")
_reason = click.option("--reason", default="", help="Why, for the audit. Kept in the clear.")


@identity.command(epilog=examples("touchstream identity merge member:1001 phone:13800138001 --reason 'ticket 7'"))
@_two
@_reason
@_decision
def merge(two: tuple[str, ...], **options: Any) -> None:
    """Make one customer of two, whatever the policy says. `split` undoes it.

    Decided in the order in which operators decide: of a merge and a split of the same two the newest holds.
    """
    _carry_out("merge", two, **options)


@identity.command(epilog=examples("touchstream identity split member:1001 device:ab12 --reason 'sold the tablet'"))
@_two
@_reason
@_decision
def split(two: tuple[str, ...], **options: Any) -> None:
    """Keep two identifiers apart from now on. If a merge of the last days had made them one, each side gets back what
    it had, and what its identifiers have sent since (see identity.undo_days)."""
    _carry_out("split", two, **options)


@identity.command(epilog=examples("touchstream identity release device:tablet-7 --reason 'was a kiosk, now sold'"))
@click.argument("hub", metavar="NAMESPACE:VALUE")
@_reason
@_decision
def release(hub: str, **options: Any) -> None:
    """Let a hub stand for a person again: its links count from now on, whatever their number.

    Reads all clusters to find whom it has met.
    """
    _carry_out("release", [hub], **options)


@identity.command(
    epilog=examples(
        "touchstream identity erase member:1001 --reason 'request 2026-17'",
        "touchstream identity erase 451c1e50-7d2d-5a2b-85d9-7b6a26f3a2e4 --reason 'request 2026-18' --yes --json",
    )
)
@click.argument("who", metavar="NAMESPACE:VALUE|CUSTOMER")
@click.option("--reason", required=True, help="Why, for the audit. Kept in the clear: name a request, not a person.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_decision
def erase(who: str, yes: bool, **options: Any) -> None:
    """Forget a customer: all identifiers, profile, timers, open learning examples, and the key of all sealed values.

    Touchpoints from before that come later are dropped; one from after starts a new customer. Cannot be undone. What
    the source systems have sent stays in the source topics, and sealed in dead letters, until these expire.
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Erase all that is known of {who}? This cannot be undone", abort=True)
    _carry_out("erase", [who], **options)


def _carry_out(
    op: Op, named: Sequence[str], *, reason: str, by: str, wait: float, as_json: bool, path: str | None
) -> None:
    from flows.identity_commands import prepare, readable, send
    from schemas.errors import TouchstreamError
    from state.connection import connect

    config = load_config(path)
    with connect(config) as client:
        command = prepare(config, client, op, named, by=by, reason=reason)
    answer = send(config, command, wait=wait)
    if as_json:
        print_json(answer)
    else:
        for line in readable(answer):
            click.echo(line)
    if any(audit.outcome == "refused" for audit in answer.audit):
        raise click.exceptions.Exit(1)
    if not answer.done:
        raise TouchstreamError(
            f"the command is in Kafka, but was not carried out within {wait:g} s: are stitch and engage running "
            "(`touchstream status`)? It will be as soon as they are; see `touchstream tail audit --from-start`"
        )
