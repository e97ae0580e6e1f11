"""Who asks: every request and web socket is let in by a token, or a session that one began, or refused.

As long as no token was ever created, a service on a loopback address lets everybody on that machine see what viewers
do. Pages and routes find out by `who`::

    who = access.who(request)
    if who.may("agent"): ...
"""

from __future__ import annotations

import hmac
import ipaddress
import time
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NamedTuple

import redis
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from schemas.config import Config
from schemas.errors import ConfigError
from state.access import ROLES, AccessStore, Role, Token, digest

#: Names that a browser calls its own machine by.
_OWN_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
#: What a proxy adds: who comes through one does not sit at this machine.
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
CSRF_HEADER: Final = "x-csrf-token"


class Who(NamedTuple):
    """Who asks, as the audit calls them. ``token``: its id; empty where nobody needs one. ``csrf``: what a form or
    script of a session must send along with what changes something; empty without a session."""

    name: str
    role: Role
    token: str = ""
    csrf: str = ""

    def may(self, role: Role) -> bool:
        """Whether they may do what ``role`` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


#: Whoever looks while there are no tokens.
ANYBODY: Final = Who("anybody", "viewer")


class Refusal(Exception):
    """A request is not let in: the status and a code for it."""

    def __init__(self, status: int, code: str, **headers: str) -> None:
        self.status, self.code, self.headers = status, code, headers
        super().__init__(code)


def who(request: HTTPConnection) -> Who:
    """Who sends this request."""
    found: Who = request.state.who
    return found


class Guard:
    """Tells who asks. Blocks on Redis; raises `Refusal`, `redis.RedisError`."""

    def __init__(self, config: Config, client: redis.Redis) -> None:
        self.store = AccessStore(client, config.prefix)
        self._settings = config.dashboard
        self._loopback = is_loopback(config.dashboard.host)
        self.secure = config.dashboard.certificate is not None or config.dashboard.behind_proxy
        #: Browsers take a cookie with this prefix only over TLS, from this very host.
        self.cookie = "__Host-touchstream" if self.secure else "touchstream"

    def check_host(self, headers: Headers) -> None:
        """Refuse names that are not ours: a foreign page may have its name resolve to this machine."""
        names = self._settings.hosts or (_OWN_NAMES if self._loopback else ())
        if names and _name(headers.get("host", "")) not in names:
            raise Refusal(421, "not_this_host")

    def check_origin(self, headers: Headers) -> None:
        """Refuse what another site's page has sent."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        foreign = origin is not None and origin.partition("://")[2] != headers.get("host", "")
        if foreign or site not in ("same-origin", "none"):
            raise Refusal(403, "foreign_origin")

    def identify(self, headers: Headers) -> Who:
        """Who asks, by bearer token or session."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme:
            token = self.store.find(bearer.strip()) if scheme.lower() == "bearer" else None
            return _let_in(token)
        cookie = self.cookie_of(headers)
        token = self.store.signed_in(cookie) if cookie else None
        if token is not None and _holds(token):
            return _let_in(token)._replace(csrf=csrf(cookie))
        if self._open(headers):
            return ANYBODY
        raise Refusal(401, "sign_in")

    def sign_in(self, text: str, seconds: int) -> str | None:
        """Begin a session with a token: its cookie; None if the token lets nobody in."""
        token = self.store.find(text.strip())
        return self.store.begin(text.strip(), seconds) if token is not None and _holds(token) else None

    def check_csrf(self, headers: Headers, asks: Who) -> None:
        """Refuse what changes something in the name of a session, but was not sent by our own pages."""
        if asks.csrf and not hmac.compare_digest(headers.get(CSRF_HEADER, ""), asks.csrf):
            raise Refusal(403, "csrf")

    def cookie_of(self, headers: Headers) -> str:
        """The session's cookie; empty without one."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def _open(self, headers: Headers) -> bool:
        return self._loopback and not any([name in headers for name in _FORWARDED]) and not self.store.any()


def csrf(cookie: str) -> str:
    """What proves that a form was ours: only who can read the cookie, or a page of ours, knows it."""
    return digest("csrf:" + cookie)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open(config: Config, client: redis.Redis) -> None:
    """Raises `ConfigError` where others than this machine would be served without any token."""
    host = config.dashboard.host
    if not is_loopback(host) and not any([_holds(each) for each in AccessStore(client, config.prefix).all()]):
        raise ConfigError(
            [f"dashboard.host: {host} is reached from elsewhere, and there are no tokens; `touchstream tokens create`"]
        )


def _let_in(token: Token | None) -> Who:
    if token is None or not _holds(token):
        raise Refusal(401, "no_token", **{"www-authenticate": 'Bearer error="invalid_token"'})
    return Who(token.name, token.role, token.id)


def _holds(token: Token) -> bool:
    return token.holds(time.time_ns() // 1_000_000)


def _name(host: str) -> str:
    """A Host header without its port."""
    return host.lower() if host.endswith("]") else host.lower().rpartition(":")[0] or host.lower()


def scope_state(scope: Any) -> dict[str, Any]:
    """What a request carries for those who answer it."""
    state: dict[str, Any] = scope.setdefault("state", {})
    return state
