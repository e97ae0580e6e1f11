"""The supervisor with real processes: restarts, back-off, drains, and what happens when it dies itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.supervisor import Supervisor

ROOT = Path(__file__).parent.parent
#: Drains on SIGTERM and says so.
GOOD = "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('up', flush=True)\nsignal.pause()"
#: Does not listen.
DEAF = "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: signal.pause()"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for ``condition``, which also moves things on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "output"


def test_what_dies_is_started_again_and_all_drain(output: Path) -> None:
    with (
        output.open("wb") as file,
        Supervisor({"a": python(GOOD), "b": python(GOOD)}, output=file, first_wait=0.01) as supervisor,
    ):
        first = supervisor.pids["a"]
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.poll() == ["a"])
        assert supervisor.restarts == {"a": 1, "b": 0}
        assert supervisor.pids["a"] != first
        until(lambda: all(_catches_sigterm(pid) for pid in supervisor.pids.values()))
        assert supervisor.stop() == {"a": 0, "b": 0}


def _catches_sigterm(pid: int) -> bool:
    """Whether the process has set its handler for SIGTERM (bit 14 of the caught signals)."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << 14)


def test_restarts_wait_longer_and_longer() -> None:
    times: list[float] = []

    def third_restart() -> bool:
        if supervisor.poll():
            times.append(time.monotonic())
        return len(times) == 3

    with Supervisor({"a": python("raise SystemExit(3)")}, output=subprocess.DEVNULL, first_wait=0.1) as supervisor:
        until(third_restart)
    assert times[1] - times[0] > 0.2
    assert times[2] - times[1] > 0.4


def test_a_child_that_does_not_drain_is_killed(output: Path) -> None:
    with output.open("wb") as file, Supervisor({"a": python(DEAF)}, output=file, drain_seconds=0.2) as supervisor:
        until(lambda: "up" in output.read_text())
        assert supervisor.stop() == {"a": -signal.SIGKILL}


def test_environments_are_added_per_child(output: Path) -> None:
    code = "import os; print(os.environ['WHO'], os.environ['ALL'], flush=True)"
    envs = {"a": {"WHO": "first"}, "b": {"WHO": "second"}}
    with (
        output.open("wb") as file,
        Supervisor(dict.fromkeys("ab", python(code)), env={**os.environ, "ALL": "x"}, envs=envs, output=file),
    ):
        until(lambda: set(output.read_text().splitlines()) == {"first x", "second x"})


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties children to their parent on Linux only")
def test_children_die_with_the_supervisor() -> None:
    code = f"""
import signal
from flows.supervisor import Supervisor
supervisor = Supervisor({{"a": {python(GOOD)!r}}}).start()
print(supervisor.pids["a"], flush=True)
signal.pause()
"""
    parent = subprocess.Popen(python(code), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(20)


def test_when_one_cannot_start_none_runs() -> None:
    supervisor = Supervisor({"a": python(GOOD), "b": ["/no/such/program"]}, output=subprocess.DEVNULL)
    with pytest.raises(OSError, match="no/such/program"):
        supervisor.start()
    assert supervisor.pids == {}
