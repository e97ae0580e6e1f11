"""Failpoints kill or stop a real process at the n-th hit and leave a note."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from operators.failpoints import parse
from schemas.errors import ConfigError

LOOP = """
from operators.failpoints import failpoint
for number in range(5):
    print(number, flush=True)
    failpoint("a")
    failpoint("b")
"""


def run(tmp_path: Path, armed: str | None) -> tuple[int, list[str], str]:
    log = tmp_path / "hits"
    env = {**os.environ, "TOUCHSTREAM_FAILPOINT_LOG": str(log)}
    env.pop("TOUCHSTREAM_FAILPOINT", None)
    if armed is not None:
        env["TOUCHSTREAM_FAILPOINT"] = armed
    done = subprocess.run([sys.executable, "-c", LOOP], env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split(), log.read_text() if log.exists() else ""


def test_not_armed_does_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, None) == (0, ["0", "1", "2", "3", "4"], "")


def test_dies_at_the_nth_hit_and_notes_it(tmp_path: Path) -> None:
    assert run(tmp_path, "b:3") == (-signal.SIGKILL, ["0", "1", "2"], "b\n")


def test_several_are_armed_and_the_log_grows(tmp_path: Path) -> None:
    assert run(tmp_path, "other:1, b:4,a:2") == (-signal.SIGKILL, ["0", "1"], "a\n")
    assert run(tmp_path, "b")[2] == "a\nb\n"


def test_stops_and_goes_on(tmp_path: Path) -> None:
    env = {**os.environ, "TOUCHSTREAM_FAILPOINT_LOG": str(tmp_path / "hits"), "TOUCHSTREAM_FAILPOINT": "a:3:stop"}
    process = subprocess.Popen([sys.executable, "-c", LOOP], env=env, stdout=subprocess.PIPE, text=True)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert (tmp_path / "hits").read_text() == "a\n"
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=20)[0].split() == ["0", "1", "2", "3", "4"]
    assert process.returncode == 0


def test_dies_a_little_later_in_the_middle_of_what_comes_then() -> None:
    waits = "import time; from operators.failpoints import *; failpoint_within('a', 0.05); print('on'); time.sleep(30)"
    env = {**os.environ, "TOUCHSTREAM_FAILPOINT": "a"}
    command = [sys.executable, "-u", "-c", waits]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "on\n")


@pytest.mark.parametrize("text", ["a:0", "a:x", ":3", "a:-1", "a:1:2", "a:stop", "a:1:stop:2"])
def test_a_bad_plan_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="TOUCHSTREAM_FAILPOINT"):
        parse(text)
