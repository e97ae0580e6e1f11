"""The demo as a user runs it: everything starts, the account closes, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import playfile

pytestmark = [pytest.mark.system, pytest.mark.flows]
ROOT = Path(__file__).parents[2]
MARK = "DEMO_TEST_RUN"


def start(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The demo with its temporary files in ``folder``, and the mark that all its processes inherit."""
    mark = uuid.uuid4().hex
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {MARK: mark, "TMPDIR": str(folder), "PYTHONPATH": path, "TOUCHSTREAM_PREFIX": "not this one"}
    command = [sys.executable, "-m", "flows.cli", "demo", "--rate", "200", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), mark


def left_behind(mark: str) -> list[psutil.Process]:
    """Processes of the run that still live."""
    return [
        process for process in psutil.process_iter(["environ"]) if (process.info["environ"] or {}).get(MARK) == mark
    ]


def check_account(account: dict[str, Any]) -> None:
    ended = sum(account[name] for name in ("applied", "duplicates", "erased", "dead_letters"))
    assert account["closes"]
    assert account["consumed"] == account["written"] == ended > 0
    assert set(account["triggers"]) <= set(playfile.load().plays)
    assert sum(account["triggers"].values()) > 0
    assert 0 < account["latency_ms"]["p50"] <= account["latency_ms"]["p99"]


def test_a_run_of_twenty_seconds_closes_and_leaves_nothing(tmp_path: Path) -> None:
    process, mark = start(tmp_path, "--seconds", "20", "--json")
    output, errors = process.communicate(timeout=150)
    assert process.returncode == 0, output + errors
    lines = output.splitlines()
    assert any("  trigger  welcome" in line for line in lines)
    assert any("The account closes" in line for line in lines)
    check_account(json.loads(lines[-1]))
    assert left_behind(mark) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long("demo")
def test_live_screens_are_there_and_leave_with_the_run(tmp_path: Path) -> None:
    process, mark = start(tmp_path)
    assert process.stdout is not None
    with process:
        url = next(line.split()[-1] for line in process.stdout if "live screens: " in line)
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "touchstream" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, output + errors
    assert "The account closes" in output
    assert left_behind(mark) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_drains_and_prints_the_account(tmp_path: Path) -> None:
    process, mark = start(tmp_path, "--json")
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "  trigger  " in line and " ms" in line:  # one that no timer has woken: it took a measured time
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, output + errors
    check_account(json.loads(output.splitlines()[-1]))
    assert left_behind(mark) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_it_runs_ends_it_at_once(tmp_path: Path) -> None:
    process, mark = start(tmp_path)
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "starting the flows" in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "touchstream demo: stopped"
    assert left_behind(mark) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long("demo")
def test_real_servers_are_used_and_left_clean(tmp_path: Path, kafka: str, redis_server: str) -> None:
    import redis as client

    from flows.admin import admin_client
    from tests.conftest import new_config

    process, mark = start(tmp_path, "--seconds", "8", "--json", "--kafka", kafka, "--redis", redis_server)
    output, errors = process.communicate(timeout=150)
    assert process.returncode == 0, output + errors
    check_account(json.loads(output.splitlines()[-1]))
    assert left_behind(mark) == []
    admin = admin_client(new_config(kafka, redis_server))
    assert not [name for name in admin.list_topics(timeout=10).topics if name.startswith("demo-")]
    with client.Redis.from_url(redis_server) as connection:
        assert list(connection.scan_iter(match="{demo-*")) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--kafka", "127.0.0.1:1"), "no Kafka answers at 127.0.0.1:1: check --kafka"),
        (("--redis", "redis://127.0.0.1:1/0"), "no Redis answers at redis://127.0.0.1:1/0: check --redis"),
        (("--seed", "-1", "--seconds", "0"), "--seconds: 0.0, allowed is more than 0\n--seed: -1"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    process, mark = start(tmp_path, *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, 2)
    assert told in errors
    assert left_behind(mark) == []
