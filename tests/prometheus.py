"""Prometheus and promtool, of the system or from Debian's package, unpacked into the cache without being installed.

::

    subprocess.run([program("promtool"), "check", "rules", "rules.yml"], check=True)
    with PrometheusServer(folder, ["127.0.0.1:9100"]) as prometheus:
        prometheus.query("up")
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from flows.embedded import HOST, Server
from tests.servers import CACHE, locked


def program(name: str) -> str:
    """``promtool`` or ``prometheus``: the system's, else Debian's. Skips the test where there is neither."""
    if found := shutil.which(name):
        return found
    folder = CACHE / "prometheus"
    with locked(CACHE / "prometheus.lock"):
        if not folder.exists():
            if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
                pytest.skip(f"{name} is not installed, and without apt-get it cannot be fetched")
            _unpack(folder)
    return str(folder / "usr" / "bin" / name)


def _unpack(folder: Path) -> None:
    """Fetch the package (19 MB) and unpack it. Raises `subprocess.CalledProcessError`."""
    fresh = folder.with_suffix(".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    download = ["apt-get", "download", "prometheus"]
    if subprocess.run(download, cwd=fresh, capture_output=True, timeout=120).returncode:
        # A machine without lists of packages: they need no root where they are kept by ourselves.
        (fresh / "lists" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={fresh / 'lists'}", "-o", f"Dir::Cache={fresh}"]
        subprocess.run(["apt-get", *own, "update"], check=True, capture_output=True, timeout=300)
        subprocess.run([*download, *own], cwd=fresh, check=True, capture_output=True, timeout=300)
        shutil.rmtree(fresh / "lists")
    (package,) = fresh.glob("prometheus_*.deb")
    subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=fresh, check=True, timeout=120)
    package.unlink()
    fresh.rename(folder)


class PrometheusServer(Server):
    """A Prometheus that scrapes ``targets`` once a second and follows ``rules``."""

    def __init__(self, folder: Path, targets: Sequence[str], rules: Path) -> None:
        super().__init__("prometheus", folder.resolve())
        self._targets, self._rules = list(targets), rules

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def command(self) -> list[str]:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self._rules.resolve())],
            "scrape_configs": [{"job_name": "touchstream", "static_configs": [{"targets": self._targets}]}],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        return [
            program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
        ]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, what: str, **arguments: str) -> Any:
        """The data of an answer of the HTTP API. Raises `urllib.error.HTTPError` for a query that is wrong."""
        query = urlencode(arguments)
        with urllib.request.urlopen(f"{self.address}/api/v1/{what}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now."""
        return list(self.ask("query", query=expression)["result"])
