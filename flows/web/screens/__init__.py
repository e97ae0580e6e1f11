"""The live screens: NiceGUI pages that a feed of the output topics is pushed to (docs/dashboard.md)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import FastAPI, Request
from nicegui import ui
from starlette.websockets import WebSocket

from flows.web.access import who
from flows.web.feed import Feed
from flows.web.screens import churn, customers, frame, overview, plays, quality
from flows.web.screens.live import Hub
from schemas.config import Config

#: Pages that are pushed: their name, path, title, module.
_LIVE: Final[tuple[tuple[str, str, str, Any], ...]] = (
    ("overview", "/", "Overview", overview),
    ("plays", "/plays", "Plays", plays),
    ("churn", "/churn", "Churn and value", churn),
    ("quality", "/quality", "Data quality", quality),
)


def install(app: FastAPI, feed: Feed, config: Config) -> None:
    """Add all pages to ``app``; they take every path that is not taken before. The feed runs while the service does."""
    hub = Hub(feed, {name: module.view for name, _, _, module in _LIVE})

    @app.websocket("/live/{name}")
    async def live(socket: WebSocket, name: str) -> None:
        board = hub.boards.get(name)
        if board is None:
            await socket.close()
        else:
            await board.attend(socket, feed)

    for name, path, title, module in _LIVE:
        _add(name, path, title, module)
    customers.install(app.state.people, feed)
    _run_beside(app, feed, hub)
    ui.run_with(
        app, title="touchstream", dark=None, tailwind=False, binding_refresh_interval=None, reconnect_timeout=30.0,
        show_welcome_message=False,
    )  # fmt: skip


def _add(name: str, path: str, title: str, module: Any) -> None:
    @ui.page(path, title=title)
    def screen(request: Request) -> None:
        frame.page(path, title, module.LAYOUT, who(request), live=name)


def _run_beside(app: FastAPI, feed: Feed, hub: Hub) -> None:
    """Let the feed and the hub run from the start of the service to its end."""
    before = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        feed.start()
        drawing = asyncio.create_task(hub.run())
        try:
            async with before(app) as state:
                yield state
        finally:
            drawing.cancel()
            await asyncio.to_thread(feed.stop)

    app.router.lifespan_context = lifespan
