"""The rights that `touchstream acls` prints: for everyone who needs some, no more than is said, as documented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AclBinding, AclOperation, ResourcePatternType, ResourceType

from flows import rights
from flows.cli import main
from flows.cli import run as run_command
from flows.rights import Grant, Role
from schemas.config import Config
from schemas.topics import topics
from tests.conftest import KEYS
from tests.secured import bindings

ROOT = Path(__file__).parent.parent
CONFIG = Config(keys=KEYS)
ROLES = rights.roles(CONFIG)


def test_every_flow_has_rights() -> None:
    flows: Any = next(each for each in run_command.params if each.name == "flow").type
    assert set(flows.choices) - {"all"} <= set(ROLES)


@pytest.mark.parametrize(
    ("role", "script"),
    [("stitch", "identity"), ("engage", "commit"), ("engage", "own"), ("learn", "commit"), ("kpis", "commit")],
)
def test_what_scripts_call_is_allowed(role: str, script: str) -> None:
    called = re.findall(r"call\('([A-Z]+)'", (ROOT / "state/scripts" / f"{script}.lua").read_text())
    assert len(called) >= 2
    assert {each.lower() for each in called} - set(ROLES[role].commands) == set()


def test_every_topic_has_a_writer_and_only_flows_and_operators_write_the_log() -> None:
    writers = {topic.name: _who(AclOperation.WRITE, topic.name) for topic in topics(CONFIG)}
    assert [name for name, who in writers.items() if not who] == []
    assert writers["ts.stitched"] == {"stitch", "engage", "learn", "dashboard", "operator"}
    assert writers["ts.triggers"] == {"engage"}
    assert writers["ts.commands"] == {"dashboard", "operator", "engage"}  # engage lets who is silent expire
    assert writers["ts.touchpoints"] == {"source", "operator"}


def _who(operation: AclOperation, topic: str) -> set[str]:
    return {
        name
        for name, role in ROLES.items()
        for each in bindings(rights.kafka_lines(CONFIG, role))
        if each.restype == ResourceType.TOPIC
        and each.operation == operation
        and (topic == each.name or _begins(topic, each))
    }


def _begins(topic: str, each: AclBinding) -> bool:
    return each.resource_pattern_type == ResourcePatternType.PREFIXED and topic.startswith(each.name)


def test_lines_are_calls_of_the_tools_and_hold_no_password() -> None:
    called = CliRunner().invoke(main, ["acls", "redis", "learn", "source"], env=_environment())
    assert called.exit_code == 0
    [line] = called.output.splitlines()
    assert line.startswith("ACL SETUSER ts-learn on resetkeys resetchannels -@all ~{ts.learn.* ~{ts.rewards.* ")
    assert not re.search(r" [><#]|allkeys|allcommands|\+@", line)
    called = CliRunner().invoke(main, ["acls", "kafka", "learn"], env=_environment())
    assert called.output.splitlines()[2] == (
        "kafka-acls.sh --bootstrap-server localhost:9092 --command-config admin.properties --add "
        "--allow-principal User:ts-learn --operation Read --group ts.learn --group ts.rewards"
    )
    assert CliRunner().invoke(main, ["acls", "kafka", "lern"], env=_environment()).exit_code == 2


def _environment() -> dict[str, str]:
    keys = {"INDEX": KEYS.index, "DEAD_LETTERS": KEYS.dead_letters, "MASTER__K1": KEYS.master["k1"]}
    return {f"TOUCHSTREAM_KEYS__{name}": value for name, value in keys.items()}


def test_the_documented_table_is_what_is_granted() -> None:
    documented = (ROOT / "docs/security.md").read_text()
    assert [row for row in map(_row, ROLES.values()) if row not in documented] == []


def _row(role: Role) -> str:
    """A line of the table in docs/security.md."""
    kafka = "; ".join(_granted(grant) for grant in role.kafka)
    keys = ", ".join(f"`{each.removeprefix('%R')[1:]}`{' (reads)' * each.startswith('%R')}" for each in role.keys)
    return f"| `{role.name}` | {role.what} | {kafka} | {keys or 'none'} |\n"


def _granted(grant: Grant) -> str:
    names = ", ".join(f"`{name}*`" if grant.prefixed else f"`{name}`" for name in grant.names)
    return f"{', '.join(grant.operations)} {grant.kind} {names}"


if __name__ == "__main__":
    print("".join(map(_row, ROLES.values())), end="")
