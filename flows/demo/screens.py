"""The demo's live screens in a browser."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from flows.demo.machinery import environment
from flows.embedded import HOST, free_port
from flows.settings import FILE
from flows.supervisor import Supervisor

LOG: Final = "dashboard.log"
#: Where the live screens are, if nobody else is there.
PORT: Final = 8080
#: How often (seconds) they are asked whether they are there yet.
EVERY: Final = 0.5


class Screens:
    """The live screens in a browser: one more process. It is no part of what the demo answers for, so it begins when
    all else runs, and if it cannot live the run goes on without."""

    def __init__(self, config_path: Path, folder: Path) -> None:
        self.url = ""
        self._port = _port(PORT)
        self._output = (folder / LOG).open("ab")
        command = [sys.executable, "-m", "flows.cli", "dashboard", "--port", str(self._port)]
        env = environment() | {FILE: str(config_path)}
        self._supervisor = Supervisor({"dashboard": command}, env=env, output=self._output)
        self._asked: float | None = None

    def watch(self, *, wanted: bool) -> None:
        """Begin when they are ``wanted``, start them again when they died; ``url`` is theirs once they answer."""
        now = time.monotonic()
        if self._asked is None:
            if wanted:
                self._supervisor.start()
                self._asked = now
            return
        self._supervisor.poll()
        if not self.url and now - self._asked >= EVERY:
            self._asked = now
            with suppress(OSError), socket.create_connection((HOST, self._port), timeout=EVERY):
                self.url = f"http://{HOST}:{self._port}"

    def __enter__(self) -> Screens:
        return self

    def __exit__(self, *error: object) -> None:
        self._supervisor.stop()
        self._output.close()


def _port(wanted: int) -> int:
    """This port of this machine if it is free, else another."""
    try:
        with socket.create_server((HOST, wanted)):
            return wanted
    except OSError:
        return free_port()
