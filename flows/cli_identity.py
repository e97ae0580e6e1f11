"""The commands about identity: simulate, show, stats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flows.cli_base import examples, load_config, print_json, with_config

if TYPE_CHECKING:
    from flows.identity_simulate import Outcome


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
    )
)
@click.argument("identifier", metavar="NAMESPACE:VALUE")
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
