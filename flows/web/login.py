"""Signing in and out: one form that needs no script, light and dark, keyboard first."""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flows.web import access
from flows.web.access import Guard, Refusal
from flows.web.gate import address
from flows.web.limits import Limit
from schemas.config import Dashboard

#: Bytes of a form that is read.
_LARGEST: Final = 4_096
_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --line: #8884; --go: #0b63c5; }
@media (prefers-color-scheme: dark) { :root { --go: #6cb2ff; --ink: #0b1520; } }
body { margin: 0; min-height: 100dvh; display: grid; place-items: center; background: Canvas; color: CanvasText; }
main { width: min(22rem, 100vw - 3rem); }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
p { margin: 0 0 1.5rem; opacity: .75; }
label { display: block; font-weight: 600; margin-bottom: .375rem; }
input, button { box-sizing: border-box; width: 100%; font: inherit; padding: .625rem .75rem; border-radius: .5rem; }
input { border: 1px solid var(--line); background: Field; color: FieldText; margin-bottom: 1rem; }
button { border: 0; background: var(--go); color: var(--ink, #fff); font-weight: 600; cursor: pointer; }
:focus-visible { outline: 3px solid var(--go); outline-offset: 2px; }
[role=alert] { opacity: 1; padding: .625rem .75rem; border: 1px solid #d33; border-radius: .5rem; margin-bottom: 1rem; }
"""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in - touchstream</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>touchstream</h1>
<p>Sign in with a token. An admin makes one by <code>touchstream tokens create</code>.</p>
{fault}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button>
</form>
</main>
</body>
</html>
"""
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FAULT: Final = '<p role="alert">This token lets nobody in: it is unknown, has expired or was revoked.</p>'
_OFTEN: Final = '<p role="alert">Too many attempts. Try again in a minute.</p>'


def install(app: FastAPI, guard: Guard, settings: Dashboard) -> None:
    """Add ``/login`` and ``/logout``."""
    attempts, seconds = Limit(settings.sign_ins_per_minute), settings.session_hours * 3600

    @app.get("/login", include_in_schema=False)
    async def form() -> Response:
        return page(200)

    @app.post("/login", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        if attempts.wait(address(request.scope)):
            return page(429, _OFTEN)
        token = (await _form(request)).get("token", "")
        cookie = await run_sync(guard.sign_in, token, seconds)
        if cookie is None:
            return page(401, _FAULT)
        response = RedirectResponse("/", 303)
        response.set_cookie(guard.cookie, cookie, max_age=seconds, httponly=True, samesite="lax", secure=guard.secure)
        return response

    @app.post("/logout", include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        who = access.who(request)
        if not hmac.compare_digest((await _form(request)).get("csrf", "").encode(), who.csrf.encode()):
            raise Refusal(403, "csrf")
        await run_sync(guard.store.end, guard.cookie_of(request.headers))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(guard.cookie, httponly=True, samesite="lax", secure=guard.secure)
        return response


def page(status: int, fault: str = "") -> Response:
    """The form."""
    body = _PAGE.format(style=_STYLE, fault=fault)
    return HTMLResponse(body, status, headers={"content-security-policy": _POLICY})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > _LARGEST:
            raise Refusal(413, "too_large")
    return {name: values[0] for name, values in parse_qs(found.decode("utf-8", "replace")).items()}
