"""The web service as a process: pages and read API behind one door, in the frame of every other process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

import redis
import uvicorn
from fastapi import FastAPI

from flows.process import Process
from flows.web import access
from flows.web.gate import Gate
from schemas.config import Config
from state.connection import connect

log = logging.getLogger(__name__)
#: Left of the time to drain for what comes after the last answer (seconds).
_REST: Final = 2


def build(config: Config, client: redis.Redis | None = None) -> FastAPI:
    """The service as an ASGI application; ``client``: its Redis, else one of its own."""
    client = client or connect(config)
    app = FastAPI(title="touchstream", docs_url=None, redoc_url=None)
    _add_screens(app, config)
    app.add_middleware(Gate, guard=access.Guard(config, client))
    return app


def _add_screens(app: FastAPI, config: Config) -> None:
    """The live pages; they take every path that is not taken before."""
    if find_spec("flows.web.screens") is None:
        return
    from flows.web import feed, screens

    screens.install(app, feed.Feed(config), config)


def serve(config: Config) -> int:
    """Serve until SIGTERM; the exit code of the process. Raises `ConfigError` before it listens."""
    with connect(config) as client:
        access.refuse_open(config, client)
    process = Process.start("dashboard", config)
    try:
        _Server(process, config).run()
    finally:
        process.stop()
    return 0


class _Server(uvicorn.Server):
    """Uvicorn, told by the process when to leave."""

    def __init__(self, process: Process, config: Config) -> None:
        settings = config.dashboard
        super().__init__(
            uvicorn.Config(
                build(config),
                host=settings.host,
                port=settings.port,
                access_log=False,  # URLs may name people
                log_config=None,
                server_header=False,
                proxy_headers=settings.behind_proxy,
                forwarded_allow_ips="*" if settings.behind_proxy else "",
                timeout_graceful_shutdown=max(1, config.limits.drain_seconds - _REST),
            )
        )
        self._process = process

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
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
