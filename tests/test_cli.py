"""The command line without servers: help, configuration, schemas, messages and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import orjson
import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from flows.schema_export import export
from flows.settings_help import example
from flows.status import Account, FlowStatus, PartitionStatus, Status
from flows.status_text import lines
from schemas.touchpoint import TYPES

ROOT = Path(__file__).parent.parent


def call(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=env)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize("path", [path for path, _ in commands(main)], ids=" ".join)
def test_every_command_has_help_with_examples(path: tuple[str, ...]) -> None:
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert f"  touchstream {' '.join(path)}" in result.output.partition("Examples:")[2]


def test_the_commands_are_those_of_the_readme() -> None:
    assert {" ".join(path) for path, _ in commands(main)} == {
        "acls kafka", "acls redis", "config check", "config init", "config schema", "config show", "schemas",
        "topics create", "topics check", "run",
        "ingest", "tail", "dead-letters list", "dead-letters replay", "status", "demo", "identity simulate",
        "identity show", "identity stats", "identity merge", "identity split", "identity release", "identity erase",
        "identity export", "plays check", "plays apply", "plays list", "plays show", "plays diff", "plays pause",
        "plays resume", "plays schema", "report uplift", "report churn", "models list", "models versions",
        "models show", "models promote", "models rollback", "models release", "triggers consume", "why", "backtest",
        "rebuild", "dashboard", "tokens create", "tokens list", "tokens revoke",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "server"),
    [
        (("plays", "list"), "Redis"),
        (("plays", "pause", "--all"), "Redis"),
        (("why", "member:1001"), "Redis"),
        (("identity", "stats"), "Redis"),
        (("status",), "Kafka"),
    ],
)
def test_servers_that_do_not_answer_are_named(tmp_path: Path, command: tuple[str, ...], server: str) -> None:
    path = tmp_path / "touchstream.yaml"
    path.write_text(call("config", "init").output)
    nowhere = {"TOUCHSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1", "TOUCHSTREAM_REDIS__URL": "redis://127.0.0.1:1/0"}
    result = call(*command, "-c", str(path), env=nowhere)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"touchstream: {server} does not answer: ")
    assert result.stderr.endswith(("; check redis.url\n", "; check kafka.bootstrap\n"))


def test_config_init_gives_a_file_that_checks(tmp_path: Path) -> None:
    path = tmp_path / "touchstream.yaml"
    path.write_text(call("config", "init").output)
    result = call("config", "check", "-c", str(path))
    assert (result.exit_code, result.output) == (0, "configuration is fine\n")


def test_faults_of_the_configuration_go_to_stderr_with_code_2(tmp_path: Path) -> None:
    path = tmp_path / "touchstream.yaml"
    path.write_text(example() + "\ntopic: 1\n")
    result = call("config", "check", "-c", str(path), env={"TOUCHSTREAM_TOPICS__SHARDS": "0"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "touchstream: configuration is not usable:",
        "  topics.shards: is not allowed: '0' (from TOUCHSTREAM_TOPICS__SHARDS); "
        "allowed: a whole number from 1 to 4096",
        "  topic: is not a key; did you mean topics?",
    ]


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.reading.TIMEOUT_SECONDS", 0.1)
    path = tmp_path / "touchstream.yaml"
    path.write_text(example())
    result = call("status", "-c", str(path), env={"TOUCHSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1"})
    assert result.exit_code == 1
    assert result.stderr.startswith("touchstream: Kafka does not answer")


def test_names_that_do_not_exist_are_usage_errors() -> None:
    assert call("tail", "touchpoints").exit_code == 2
    assert call("schemas", "nothing").exit_code == 2
    assert call("run", "nothing").exit_code == 2


def test_schemas_are_printed_and_written(tmp_path: Path) -> None:
    assert set(json.loads(call("schemas").stdout)) == set(export())
    assert json.loads(call("schemas", "triggers").stdout)["title"] == "triggers"
    result = call("schemas", "--out", str(tmp_path))
    assert len(result.stdout.splitlines()) == len(export()) == len(list(tmp_path.iterdir()))


def test_the_touchpoint_schema_has_a_body_for_every_type() -> None:
    schema = export()["touchpoint"]
    bodies = {
        name: rule["then"]["properties"]["data"]["$ref"].rpartition("/")[2]
        for rule in schema["allOf"]
        for name in rule["if"]["properties"]["type"]["enum"]
    }
    assert bodies == {name: body.__name__ for name, (_, body) in TYPES.items()}
    assert schema["$defs"]["Order"]["x-sealed"] == ["address", "note"]
    assert set(schema["$defs"]["Touchpoint"]["required"]) == {"id", "source", "type", "time"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, flows.cli; print([m for m in sys.modules if m in {'bytewax','confluent_kafka','river','redis'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_open_port_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "touchstream.yaml"
    path.write_text(example())
    env = {**os.environ, "BYTEWAX_DATAFLOW_API_ENABLED": "0"}
    command = [sys.executable, "-m", "flows.cli", "run", "engage", "-c", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "BYTEWAX_DATAFLOW_API_ENABLED: must not be set" in done.stderr


def test_status_in_words() -> None:
    partitions = [PartitionStatus("ts.stitched", number, "a" if number != 2 else None, 5, 7, 2) for number in range(5)]
    flow = FlowStatus("engage", "stable", 1, 10, partitions)
    account = Account(consumed=10, applied=7, duplicates=1, erased=0, dead_letters=1, under_way=1)
    assert list(lines(Status("ts", [flow], account, 1.25))) == [
        "engage         stable, 1 processes, 10 records behind",
        "  (nobody): ts.stitched 2, 2 behind",
        "  a: ts.stitched 0-1,3-4, 8 behind",
        "account        consumed 10 = applied 7 + duplicates 1 + erased 0 + dead letters 1 + under way 1",
        "last commit    1.2 s ago",
    ]
    unknown = msgspec.structs.replace(account, consumed=None, dead_letters=None, under_way=None)
    assert "consumed unknown" in next(lines(Status("ts", [], unknown, None)))
    assert orjson.loads(msgspec.json.encode(Status("ts", [flow], account, None)))["flows"][0]["lag"] == 10
