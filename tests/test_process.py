"""The shell of a flow process: signals, logs, metrics, health. Signals are tried on a real process."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from flows import logs, process
from flows.process import Process
from schemas.config import Config, Keys, Limits, Log, Metrics
from schemas.errors import ConfigError, PositionError

CONFIG = Config(keys=Keys(index="a" * 64, dead_letters="b" * 64, master={"k": "c" * 64}))
ROOT = Path(__file__).parent.parent

#: A flow as a Bytewax dataflow; what a poll does, and what the drain does, is filled in.
FLOW = """
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink
from flows.process import Process
from flows.settings import load
from operators.batches import BatchSource

def flow():
    process = Process.start("sample", load())
    def poll():
        process.ready(True)
        process.beat()
        {work}
        return 1
    def draining():
        if process.draining:
            {drain}
        return False
    dataflow = Dataflow("sample")
    op.output("out", op.input("in", dataflow, BatchSource(poll, draining)), TestingSink([]))
    return dataflow
"""


@contextmanager
def started(config: Config, **options: Any) -> Iterator[Process]:
    hooks = sys.excepthook, sys.unraisablehook, logging.getLogger().handlers, logging.getLogger().level
    running = Process.start("sample", config, **options)
    try:
        yield running
    finally:
        running.stop()
        sys.excepthook, sys.unraisablehook, logging.getLogger().handlers, level = hooks
        logging.getLogger().setLevel(level)
        logging.captureWarnings(False)


def get(address: str | None, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health_are_served() -> None:
    config = msgspec.structs.replace(CONFIG, metrics=Metrics(port=0))
    with started(config) as running:
        assert get(running.address, "/readyz") == (503, '{"flow":"sample","ready":false,"why":["starting"]}\n')
        running.ready(True)
        assert get(running.address, "/readyz")[0] == 200
        assert get(running.address, "/healthz")[0] == 200
        status, text = get(running.address, "/metrics")
        assert status == 200
        assert 'touchstream_build_info{bytewax="0.21.1",flow="sample"' in text
        assert get(running.address, "/other")[0] == 404
        running.drain()
        assert json.loads(get(running.address, "/readyz")[1])["why"] == ["draining"]


def test_a_loop_that_hangs_is_not_healthy() -> None:
    with started(msgspec.structs.replace(CONFIG, metrics=Metrics(port=0)), stall_seconds=0.0) as running:
        status, text = get(running.address, "/healthz")
        assert (status, json.loads(text)["healthy"]) == (503, False)
        (why,) = json.loads(text)["why"]
        assert re.fullmatch(r"the loop has not come round for \d+ s \(bound 0 s\)", why)
        assert 'touchstream_loop_idle_seconds{flow="sample"} ' in get(running.address, "/metrics")[1]


def test_who_cannot_work_is_not_ready_and_says_all_that_is_wrong() -> None:
    with started(msgspec.structs.replace(CONFIG, metrics=Metrics(port=0))) as running:
        wrong = ["redis: does not answer within 1 s", "lag: 90 s behind"]
        running.judge(lambda: wrong)
        running.ready(True)
        status, text = get(running.address, "/readyz")
        assert (status, json.loads(text)) == (503, {"flow": "sample", "ready": False, "why": wrong})
        wrong.clear()
        assert json.loads(get(running.address, "/readyz")[1]) == {"flow": "sample", "ready": True, "why": []}


def test_a_taken_port_is_a_configuration_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = msgspec.structs.replace(CONFIG, metrics=Metrics(port=taken.getsockname()[1]))
        with pytest.raises(ConfigError, match="cannot listen on"), started(config):
            pass


def test_the_collector_and_signals_are_given_back() -> None:
    before = gc.get_threshold(), signal.getsignal(signal.SIGTERM)
    with started(CONFIG):
        assert gc.get_threshold() == process.GC_THRESHOLD
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (gc.get_threshold(), signal.getsignal(signal.SIGTERM)) == before


def test_the_open_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_ENABLED", "0")
    with pytest.raises(ConfigError, match="BYTEWAX_DATAFLOW_API_ENABLED"):
        Process.start("sample", CONFIG)


def run(
    tmp_path: Path, command: list[str], *, drain: str = "return True", work: str = "pass", **limits: int
) -> subprocess.Popen[str]:
    (tmp_path / "sample.py").write_text(FLOW.format(drain=drain, work=work))
    config = msgspec.structs.replace(CONFIG, limits=Limits(**limits))
    (tmp_path / "touchstream.yaml").write_bytes(msgspec.yaml.encode(config))
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    return subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)


def entries(child: subprocess.Popen[str], signals: list[int]) -> list[dict[str, object]]:
    """The log of ``child``, which gets the next signal after each line, and is killed if that goes on for a minute."""
    assert child.stderr is not None
    found = []
    late = threading.Timer(60, child.kill)
    late.start()
    for line in child.stderr:
        if line.startswith("{"):
            found.append(json.loads(line))
        if signals:
            child.send_signal(signals.pop(0))
    child.wait(20)
    late.cancel()
    child.stderr.close()
    return found


BYTEWAX = ["-m", "bytewax.run", "sample"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: Path, number: int) -> None:
    child = run(tmp_path, BYTEWAX)
    assert [entry["message"] for entry in entries(child, [number])] == ["started", "draining"]
    assert child.returncode == 0


def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    child = run(tmp_path, BYTEWAX, drain="pass")
    entries(child, [signal.SIGTERM, signal.SIGTERM])
    assert child.returncode == 128 + signal.SIGTERM


def test_a_drain_that_hangs_is_cut_short(tmp_path: Path) -> None:
    child = run(tmp_path, BYTEWAX, drain="pass", drain_seconds=1)
    assert entries(child, [signal.SIGTERM])[-1]["message"] == "drain took too long, leaving at once"
    assert child.returncode == 1


#: Says so, and does what no signal interrupts, as some calls of librdkafka: locks a mutex that is locked.
STUCK = """
        import ctypes, sys
        mutex, lock = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
        lock(mutex)
        print("stuck", file=sys.stderr, flush=True)
        lock(mutex)
"""


def test_signals_are_heard_while_the_main_thread_waits_for_others(tmp_path: Path) -> None:
    child = run(tmp_path, BYTEWAX, work=STUCK, drain_seconds=1)
    assert entries(child, [0, signal.SIGTERM])[-1]["message"] == "drain took too long, leaving at once"
    assert child.returncode == 1
    child = run(tmp_path, BYTEWAX, work=STUCK)
    entries(child, [0, signal.SIGTERM, signal.SIGTERM])
    assert child.returncode == 128 + signal.SIGTERM


def test_two_workers_end_with_the_reason(tmp_path: Path) -> None:
    child = run(tmp_path, [*BYTEWAX, "-w", "2"])
    assert "workers: 2 is not allowed" in json.dumps(entries(child, []))
    assert child.returncode == 1


def test_an_error_in_a_step_shows_no_values(tmp_path: Path) -> None:
    child = run(tmp_path, BYTEWAX, work="raise ValueError('sentinel-9')")
    assert child.stderr is not None
    text = child.stderr.read()
    child.stderr.close()
    assert child.wait(20) == 1
    assert "sentinel-9" not in text.replace("raise ValueError('sentinel-9')", "")
    last = json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
    assert (last["message"], last["exception"][-1]["type"]) == ("uncaught error", "ValueError")


def record(error: Exception | None = None, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("a.b")
    info = (type(error), error, error.__traceback__) if error else None
    return logger.makeRecord("a.b", logging.WARNING, "f", 1, "line\n%s", ("x",), info, extra=extra)


def test_json_and_text_lines() -> None:
    entry = json.loads(logs.JsonFormatter().format(record(PositionError("gone"), shard=3)))
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "a.b",
        "message": "line\nx",
        "shard": 3,
        "exception": [{"type": "PositionError", "text": "gone", "at": []}],
    }
    text = logs.TextFormatter().format(record(KeyError("sentinel"), shard=3))
    assert text[12:].splitlines() == [
        " warning a.b: line\\nx (shard=3)",
        "    KeyError: (text withheld: it may hold personal values)",
    ]


def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with started(msgspec.structs.replace(CONFIG, log=Log(format="text", level="error"))):
        logging.getLogger("x").warning("no")
        logging.getLogger("x").error("yes")
    assert capsys.readouterr().err.endswith("error   x: yes\n")
