"""A shop with a running web service, and people to look at: everything personal about them is a sentinel."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import yaml
from click.testing import CliRunner
from confluent_kafka import Producer

from flows import playfile, plays_control
from flows.cli import main
from schemas.config import Config
from schemas.outputs import Audit
from schemas.topics import topic_name
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import read_topic

#: Whoever may not see them must not find these in any answer, however they are written.
EMAIL, PHONE, MEMBER, DEVICE = "zoe.sentinel@example.com", "+8613812345678", "sentinel-1001", "dev-sentinel-1"
NAMES = ("email:" + EMAIL, "phone:" + PHONE, "member:" + MEMBER)
SENTINELS = ("sentinel", "zoe.", "13812345678", "1381234", "2345678", "138 1234", "02-28", "fast-lane")
CLEAR = {"email": EMAIL, "phone": PHONE, "member": MEMBER}
MASKED = {"email": "z***@e***.com", "phone": "138****5678", "member": "s***"}
PLAYS = """
segments:
  buyers: {who: profile.orders >= 1, description: has bought}
plays:
  thanks:
    when: {event: {event: Order Completed, by: event.order_id}}
    channels: [sms, email]
    cool_down: 1h
    skips: [consent, caps]
    description: says thank you
  welcome:
    when: {event: {event: Signed Up}}
    who: profile.country == 'NL'
    channels: [email]
    cool_down: 1d
    skips: [consent]
  later: {when: {silence: {of: {event: Order Completed}, wait: 30d}}, channels: [email], cool_down: 1d}
"""


class Service:
    """The web service as a process, with a configuration or the file of one. ``log``: what it has logged."""

    def __init__(self, folder: Path, config: Config | Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "service.yaml"
        if isinstance(config, Path):
            self.file = config
        else:
            self.file.write_text(yaml.safe_dump(msgspec.to_builtins(config)))
        self._log = folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "flows.cli", "dashboard", "--port", "0", "-c", str(self.file)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})
        await_(lambda: bool(self.address) or self.process.poll() is not None, "the web service to listen")  # type: ignore[union-attr]
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def drain(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def address(self) -> str:
        found = re.findall(r'"message":"serving","address":"([^"]+)"', self.log)
        return found[-1] if found else ""

    def call(self, *arguments: str) -> str:
        """What a command says about this deployment."""
        done = CliRunner().invoke(main, [*arguments, "-c", str(self.file)])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def token(self, role: str, name: str = "") -> str:
        """A new token."""
        return self.call(
            "tokens", "create", name or f"{role}-{time.monotonic_ns()}", "--role", role, "--by", "root"
        ).strip()

    def client(self, token: str = "", **options: Any) -> httpx.Client:
        """A client of the service; with a token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = f"{'https' if 'verify' in options else 'http'}://{self.address}"
        return httpx.Client(base_url=base, headers=headers, timeout=60, **options)


class Shop:
    """A deployment whose flows run, with one customer who has done something of everything."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.pipeline = Pipeline(folder / "flows", config, ("stitch", "engage", "kpis"))
        self._sent = 0
        self._producer = Producer({"bootstrap.servers": config.kafka.bootstrap})

    def send(self, *who: str, kind: str, **data: Any) -> None:
        identifiers = [dict(zip(("ns", "value"), each.split(":", 1), strict=True)) for each in who]
        event: dict[str, Any] = {"id": f"e{self._sent}", "source": "shop", "type": kind, "identifiers": identifiers}
        event |= {"time": time.time_ns() // 1_000_000, "data": data}
        self._sent += 1
        self._producer.produce(topic_name(self.config, "touchpoints"), json.dumps(event), "", 0)
        assert self._producer.flush(30) == 0

    def settle(self) -> None:
        await_(lambda: self.pipeline.happened(self._sent), "all touchpoints to have happened")

    def live(self) -> None:
        """Let it all happen once."""
        self.send(
            *NAMES, "device:" + DEVICE, kind="Signed Up", birthday="1990-02-28", country="sentinel", street="fast-lane"
        )
        lines = [{"sku": "tea", "quantity": 1, "price": 10.0}]
        self.send("member:" + MEMBER, kind="Order Completed", order_id="o-sentinel", revenue=10.0, lines=lines)
        self.send("member:other", kind="Page Viewed", url="https://shop/?q=sentinel")
        self.settle()

    def audit(self) -> list[Audit]:
        found = read_topic(self.config, topic_name(self.config, "audit"))
        return [msgspec.json.decode(read.value or b"", type=Audit) for read in found]


@contextmanager
def shop(config: Config, folder: Path) -> Iterator[Shop]:
    """A shop in which something has happened."""
    made = Shop(config, folder)
    with made.pipeline as pipeline:
        plays_file = folder / "plays.yaml"
        plays_file.write_text(PLAYS)
        plays_control.apply(config, playfile.load(plays_file))
        for flow in pipeline.flows:
            flow.start()
        made.live()
        yield made
