"""The door: nothing but signing in and health is reached without a role, and every answer carries its headers."""

from __future__ import annotations

from typing import Final

import orjson
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.web.access import Guard, Refusal, scope_state

#: Reached by anybody.
OPEN: Final = frozenset({"/login", "/healthz", "/readyz"})
#: The pages' own channel: checks where it comes from, but cannot send a header along.
_CHANNEL: Final = "/_nicegui_ws/"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Middleware of the whole service."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            await self._enter(scope, Headers(scope=scope))
        except Refusal as refusal:
            await self._refuse(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _enter(self, scope: Scope, headers: Headers) -> None:
        self._guard.check_host(headers)
        socket = scope["type"] == "websocket"
        changes = socket or scope["method"] not in _SAFE
        if changes:
            self._guard.check_origin(headers)
        if scope["path"] in OPEN and not socket:
            return
        asks = await run_sync(self._guard.identify, headers)
        if changes and not socket and not scope["path"].startswith(_CHANNEL):
            self._guard.check_csrf(headers, asks)
        scope_state(scope)["who"] = asks

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        page = refusal.status == 401 and "text/html" in Headers(scope=scope).get("accept", "")
        body = orjson.dumps({"error": refusal.code})
        response = (
            RedirectResponse("/login", 303)
            if page
            else Response(body, refusal.status, media_type="application/json", headers=refusal.headers)
        )
        await response(scope, receive, send)
