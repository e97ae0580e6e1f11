"""The command line. Imports are made where they are used, so that ``touchstream --help`` answers at once.

Exit codes: 0 done, 1 failed (what to do stands on standard error), 2 bad configuration or arguments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli_acls import acls
from flows.cli_backtest import backtest
from flows.cli_base import examples, load_config, with_config
from flows.cli_dashboard import dashboard, tokens
from flows.cli_data import COMMANDS
from flows.cli_identity import identity
from flows.cli_models import models
from flows.cli_plays import plays
from flows.cli_report import report
from flows.cli_triggers import triggers
from flows.cli_why import why
from schemas.errors import ConfigError, TouchstreamError


class Main(click.Group):
    """Turns the errors of the project into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            _complain("configuration is not usable:", *error.faults)
            ctx.exit(2)
        except TouchstreamError as error:
            _complain(str(error))
            ctx.exit(1)
        except BrokenPipeError:  # `touchstream tail | head`
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  (flushed at exit: nothing may be left to flush)
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(130)
        except Exception as error:
            if (told := _of_servers(error)) is None:
                raise
            _complain(told)
            ctx.exit(1)


def _of_servers(error: Exception) -> str | None:
    """What to say of a server that does not answer as it should; None of other errors. The clients take long to import:
    only a command that has done so can have met their errors."""
    redis, kafka = sys.modules.get("redis"), sys.modules.get("confluent_kafka")
    if redis is None and kafka is None:
        return None
    from operators.access import refusal

    if told := refusal(error):
        return told
    if redis is not None and isinstance(error, redis.RedisError):
        return f"Redis does not answer: {str(error).rstrip('.')}; check redis.url"
    if kafka is not None and isinstance(error, kafka.KafkaException):
        return f"Kafka does not answer: {error.args[0].str()}; check kafka.bootstrap"
    return None


def _complain(*lines: str) -> None:
    for line in lines:
        click.echo(f"touchstream: {line}" if line is lines[0] else f"  {line}", err=True)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="touchstream")
def main() -> None:
    """Every touchpoint, one customer, the right trigger, once, within a second."""


# -- configuration -----------------------------------------------------------------------------------


@main.group()
def config() -> None:
    """Write, check and describe touchstream.yaml."""


@config.command(epilog=examples("touchstream config check", "touchstream config check -c production.yaml"))
@with_config
def check(path: str | None) -> None:
    """Read file and environment as a flow would, and list every fault."""
    load_config(path)
    click.echo("configuration is fine")


@config.command(epilog=examples("touchstream config init > touchstream.yaml"))
def init() -> None:
    """Print a commented default configuration with fresh random keys."""
    from flows.settings_help import example

    click.echo(example(), nl=False)


@config.command(epilog=examples("touchstream config show", "touchstream config show -c production.yaml"))
@with_config
def show(path: str | None) -> None:
    """Print the configuration in force, from file and environment, defaults included. Secrets are masked."""
    from flows.settings_help import shown

    click.echo(shown(load_config(path)), nl=False)


@config.command(epilog=examples("touchstream config schema > touchstream.schema.json"))
def schema() -> None:
    """Print the JSON Schema of touchstream.yaml."""
    from flows.settings_help import json_schema

    _pretty(json_schema())


def _pretty(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


@main.command(
    epilog=examples("touchstream schemas triggers", "touchstream schemas --out dir", "touchstream schemas --asyncapi")
)
@click.argument("name", required=False)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write files here: NAME.schema.json.")
@click.option("--asyncapi", is_flag=True, help="The AsyncAPI 3.0 document of the configured deployment instead.")
@with_config
def schemas(name: str | None, out: Path | None, asyncapi: bool, path: str | None) -> None:
    """Print the JSON Schemas of touchpoints and of all outputs, or of one NAME."""
    from flows.schema_export import export

    if asyncapi:
        from flows.asyncapi import document

        _pretty(document(load_config(path)))
        return
    found = export()
    if name is not None and name not in found:
        raise click.BadParameter(f"no schema {name!r}; there are: {', '.join(found)}")
    if out is None:
        _pretty(found[name] if name else found)
        return
    out.mkdir(parents=True, exist_ok=True)
    for each in [name] if name else found:
        _write_schema(out / f"{each}.schema.json", found[each])


def _write_schema(path: Path, value: Any) -> None:
    import orjson

    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    click.echo(str(path))


# -- topics --------------------------------------------------------------------------------------------


@main.group()
def topics() -> None:
    """Create and check the deployment's topics."""


@topics.command(epilog=examples("touchstream topics create"))
@with_config
def create(path: str | None) -> None:
    """Create the topics that are missing; refuse if existing ones differ in what is fixed."""
    from flows import admin

    created = admin.create(load_config(path))
    click.echo("\n".join(f"created {name}" for name in created) or "nothing to create")


@topics.command("check", epilog=examples("touchstream topics check"))
@with_config
def check_topics(path: str | None) -> None:
    """Compare partitions, retention and compaction with the configuration; exit 1 if they differ."""
    from flows import admin

    if faults := admin.check(load_config(path)):
        raise TouchstreamError("\n  ".join(["topics are not as configured:", *faults]))
    click.echo("topics are fine")


# -- running -------------------------------------------------------------------------------------------


@main.command(
    epilog=examples("touchstream run all", "touchstream run engage -c production.yaml   # as often as you like")
)
@click.argument("flow", type=click.Choice(["stitch", "engage", "learn", "kpis", "all"]))
@click.option(
    "--initialise", is_flag=True, help="Start anew from the beginning of the logs although positions were lost."
)
@with_config
def run(flow: str, initialise: bool, path: str | None) -> None:
    """Run one flow in this process, or all, each in a process of its own that is restarted when it dies.

    SIGTERM or Ctrl-C drains: the batch in hand is finished and committed. A second one leaves at once.
    """
    from flows.settings import FILE

    if initialise:
        os.environ["TOUCHSTREAM_INITIALISE"] = "1"
    if path:
        os.environ[FILE] = str(Path(path).absolute())
    load_config(path)
    if flow == "all":
        from flows.supervisor import run_all

        sys.exit(run_all(path))
    from flows.process import run_flow

    sys.exit(run_flow(flow))


for _command in (*COMMANDS, acls, dashboard, identity, models, plays, report, tokens, triggers, why, backtest):
    main.add_command(_command)

if __name__ == "__main__":
    main()
