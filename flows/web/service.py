"""The web service as a process: pages and read API behind one door, in the frame of every other process."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, Final

import redis
import uvicorn
from confluent_kafka import KafkaException
from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from flows.admin import admin_client
from flows.health import Report
from flows.process import Process
from flows.running import ANSWER_SECONDS, redis_answers
from flows.web import access, api, login
from flows.web.audit import Auditor
from flows.web.gate import Gate
from flows.web.people import People
from flows.web.shop import Shop
from operators import metrics
from schemas.config import Config, Dashboard
from schemas.errors import ConfigError
from state.connection import connect
from state.tls import load_own

log = logging.getLogger(__name__)
NAME: Final = "dashboard"
#: Left of the time to drain for what comes after the last answer (seconds).
_REST: Final = 2
_BACKLOG: Final = 1_024


def build(
    config: Config, client: redis.Redis | None = None, process: Process | None = None, *, pages: bool = True
) -> FastAPI:
    """The service as an ASGI application; ``client``: its Redis, else one of its own; ``process``: asked for health;
    ``pages``: the live screens, too, of which a process can serve one application alone.

    ``app.state.people`` and ``app.state.shop`` are what routes and pages ask.
    """
    client = client or connect(config, metrics.redis_observer(NAME))
    auditor = Auditor(config)
    guard = access.Guard(config, client)
    app = FastAPI(title="touchstream", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.people, app.state.shop = People(config, client, auditor), Shop(config, client, auditor)
    if process is not None:
        _add_health(app, process)
    login.install(app, guard, config.dashboard)
    app.mount("/v1", api.build(app.state.people, app.state.shop))
    if pages:
        _add_screens(app, config)
    api.answer_errors(app)  # such as a path with a line break, which nothing takes
    app.add_middleware(Gate, guard=guard, settings=config.dashboard)
    return app


def _add_health(app: FastAPI, process: Process) -> None:
    for path, question in (("/healthz", process.health), ("/readyz", process.readiness)):
        app.add_api_route(path, partial(_reported, question), include_in_schema=False)


def _reported(question: Callable[[], Report]) -> Response:
    report = question()
    return JSONResponse(report.facts, 200 if report.good else 503)


def _add_screens(app: FastAPI, config: Config) -> None:
    """The live pages; they take every path that is not taken before."""
    from flows.web import feed, screens

    screens.install(app, feed.Feed(config), config)


def serve(config: Config) -> int:
    """Serve until SIGTERM; the exit code of the process. Raises `ConfigError` before it listens."""
    with connect(config) as client:
        access.refuse_open(config, client)
    with listen(config.dashboard) as listening:
        process = Process.start(NAME, config, cycles=True)
        process.judge(_Servers(config).problems)
        _hush()
        try:
            # In a thread of its own: an event loop in the main thread would take the process' signals for itself.
            with ThreadPoolExecutor(1, "web") as threads:
                threads.submit(_Server(process, config).run, [listening]).result()
        finally:
            process.stop()
    return 0


def listen(settings: Dashboard) -> socket.socket:
    """The address, taken. Raises `ConfigError` where it cannot be had."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigError([f"dashboard: cannot listen on {where}: {error.strerror}; choose another port"]) from error
    # Connections inherit it. Else the body of an answer waits 40 ms for the client to acknowledge its head: asyncio
    # sees to that only for sockets that say they are TCP, which accepted ones do not.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _tls(settings: Dashboard) -> dict[str, Any]:
    """What makes uvicorn speak TLS."""
    if settings.certificate is None or settings.private_key is None:
        return {}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_own(context, settings.certificate, settings.private_key)
    return {"ssl_context_factory": lambda config, default: context}


class _Servers:
    """Redis and Kafka, asked whether they answer: at most once a second, since anybody may ask for readiness."""

    def __init__(self, config: Config) -> None:
        self._config, self._admin = config, admin_client(config)
        self._lock, self._asked, self._found = Lock(), 0.0, list[str]()

    def problems(self) -> list[str]:
        """Why requests cannot be answered."""
        with self._lock:
            if time.monotonic() - self._asked > ANSWER_SECONDS:
                self._found = self._ask()
                self._asked = time.monotonic()
            return self._found

    def _ask(self) -> list[str]:
        found = [] if redis_answers(self._config) else [f"redis: does not answer within {ANSWER_SECONDS:.0f} s"]
        try:
            self._admin.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException:
            found.append(f"kafka: does not answer within {ANSWER_SECONDS:.0f} s")
        return found


def _hush() -> None:
    """Let nobody log what URLs and errors of requests say: they may name people."""
    for name in ("uvicorn", "uvicorn.error", "nicegui", "socketio", "engineio", "asyncio"):
        logging.getLogger(name).addFilter(_discreet)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _discreet(record: logging.LogRecord) -> bool:
    """Only where it comes from, and the error, whose text the log withholds."""
    record.msg, record.args = f"{record.module}:{record.lineno} has something to say", ()
    return True


class _Server(uvicorn.Server):
    """Uvicorn, told by the process when to leave."""

    def __init__(self, process: Process, config: Config) -> None:
        settings = config.dashboard
        super().__init__(
            uvicorn.Config(
                build(config, process=process),
                loop="asyncio",  # uvloop takes signals away from the process
                ws_per_message_deflate=False,  # the same few bytes to all, which each would compress anew
                access_log=False,  # URLs may name people
                log_config=None,
                **_tls(settings),
                server_header=False,
                proxy_headers=settings.behind_proxy,
                forwarded_allow_ips="*" if settings.behind_proxy else "",
                timeout_graceful_shutdown=max(1, config.limits.drain_seconds - _REST),
            )
        )
        self._process = process

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._process.ready(True)
        log.info("serving", extra={"address": f"{host}:{port}"})

    async def on_tick(self, counter: int) -> bool:
        self._process.beat()
        return await super().on_tick(counter) or self._process.draining

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process' business."""
        yield
