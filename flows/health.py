"""The HTTP server of a process: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for supervisors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.config import Metrics
from schemas.errors import ConfigError


class Report(NamedTuple):
    """The answer to a health question: good or not, and the facts shown as JSON."""

    good: bool
    facts: dict[str, Any]


class HealthServer:
    """Serves in a thread of its own until `stop`. Raises `ConfigError` when the address cannot be had."""

    def __init__(self, config: Metrics, health: Callable[[], Report], ready: Callable[[], Report]) -> None:
        questions = {"/healthz": health, "/readyz": ready}

        class Handler(_Handler):
            reports = questions

        try:
            self._server = _server(config.host)((config.host, config.port or 0), Handler)
        except OSError as error:
            where = f"{config.host}:{config.port}"
            raise ConfigError([f"metrics: cannot listen on {where}: {error.strerror}; choose another port"]) from error
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    @property
    def address(self) -> str:
        """``host:port`` as bound."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()


def _server(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server


class _Handler(BaseHTTPRequestHandler):
    reports: dict[str, Callable[[], Report]]
    timeout = 5  # a client that says nothing does not hold its thread for ever

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
        elif path in self.reports:
            report = self.reports[path]()
            self._answer(200 if report.good else 503, "application/json", orjson.dumps(report.facts) + b"\n")
        else:
            self._answer(404, "text/plain", b"/metrics /healthz /readyz\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""
