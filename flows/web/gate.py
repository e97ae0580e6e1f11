"""The door: nothing but signing in and health is reached without a role, and every answer carries its headers."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.web.access import Guard, Refusal, Who, scope_state
from flows.web.api import problem
from flows.web.limits import Limit
from operators import metrics
from schemas.config import Dashboard

log = logging.getLogger(__name__)
#: Reached by anybody.
OPEN: Final = frozenset({"/login", "/healthz", "/readyz"})
#: Cannot send a header along: the pages' own channel, which checks where a message comes from, and a form, which has a
#: field for it.
_HEADERLESS: Final = ("/_nicegui_ws/", "/logout")
#: What pages consist of: dozens of files, that cost nothing.
_ASSETS: Final = "/_nicegui"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: An open web socket is asked for its right this often (seconds).
AGAIN: Final = 2.0

_CLOSE: Final[Message] = {"type": "websocket.close", "code": 1008}

#: Pages run scripts that are part of them, and compile their templates.
_PAGES: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_DATA: Final = "default-src 'none'; frame-ancestors 'none'"
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # of a page without, forms are sent as from nowhere (Origin: null)
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Gate:
    """Middleware of the whole service."""

    def __init__(self, app: ASGIApp, guard: Guard, settings: Dashboard) -> None:
        self.app = app
        self._guard = guard
        self._requests = Limit(settings.requests_per_minute)
        self._headers = dict(_HEADERS)
        if guard.secure:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, told = time.perf_counter(), _Told(scope["path"], self._headers, send)
        try:
            await self._enter(scope, Headers(scope=scope))
            await self.app(scope, receive, told)
        except Refusal as refusal:
            await self._refuse(refusal, scope, receive, told)
        except redis.RedisError as error:
            log.warning("a request could not be judged", exc_info=error)
            await problem(503, "unavailable")(scope, receive, told)
        except Exception as error:
            log.error("a request has failed", exc_info=error)
            if not told.status:
                await problem(500, "failed")(scope, receive, told)
        finally:
            seconds = time.perf_counter() - started
            metrics.HTTP_SECONDS.labels(_route(scope), str(told.status)).observe(seconds)

    async def _enter(self, scope: Scope, headers: Headers) -> None:
        self._guard.check_host(headers)
        changes, path = scope["method"] not in _SAFE, scope["path"]
        if changes:
            self._guard.check_origin(headers)
        if path in OPEN:
            return
        asks = await self._identify(scope, headers)
        if changes and not path.startswith(_HEADERLESS):
            self._guard.check_csrf(headers, asks)
        if not path.startswith(_ASSETS):
            self._requests.take(asks.token or address(scope))

    async def _identify(self, scope: Scope, headers: Headers) -> Who:
        asks = await run_sync(self._guard.identify, headers)
        scope_state(scope)["who"] = asks
        return asks

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        page = refusal.status == 401 and "text/html" in Headers(scope=scope).get("accept", "")
        response = RedirectResponse("/login", 303) if page else problem(refusal.status, refusal.code, **refusal.headers)
        await response(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)

        async def judge() -> bool:
            try:
                self._guard.check_host(headers)
                self._guard.check_origin(headers)
                await self._identify(scope, headers)
            except (Refusal, redis.RedisError):
                return False
            return True

        if await judge():
            socket = _Socket(judge, receive, send)
            await self.app(scope, socket.receive, socket.send)
        else:
            await send(_CLOSE)


class _Socket:
    """A web socket that is closed when whoever opened it may not go on: the token was revoked, or the session ended."""

    def __init__(self, judge: Callable[[], Awaitable[bool]], receive: Receive, send: Send) -> None:
        self._judge, self._receive, self._send = judge, receive, send
        self._asked, self._closed = time.monotonic(), False

    async def receive(self) -> Message:
        """What has come in; that it was closed, if it may not."""
        message = await self._receive()
        return message if await self._goes_on() else {"type": "websocket.disconnect", "code": _CLOSE["code"]}

    async def send(self, message: Message) -> None:
        """Let something out, if it may."""
        if await self._goes_on():
            await self._send(message)

    async def _goes_on(self) -> bool:
        if not self._closed and time.monotonic() - self._asked > AGAIN:
            self._asked = time.monotonic()
            if not await self._judge():
                self._closed = True
                await self._send(_CLOSE)
        return not self._closed


class _Told:
    """Sends an answer, with the headers that all have; ``status`` is 0 before."""

    def __init__(self, path: str, headers: dict[str, str], send: Send) -> None:
        self.status = 0
        self._path, self._headers, self._send = path, headers, send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
            data = headers.get("content-type", "").startswith("application/json")
            headers.setdefault("content-security-policy", _DATA if data else _PAGES)
            if not self._path.startswith(_ASSETS):
                headers["cache-control"] = "no-store"
        await self._send(message)


def _route(scope: Scope) -> str:
    """The path as it is written down: never what stands in for its parameters."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return "pages"
    return f"{scope.get('root_path', '')}{path}"


def address(scope: Scope) -> str:
    """Where a request comes from."""
    client: Any = scope.get("client")
    return client[0] if client else ""
