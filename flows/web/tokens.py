"""Tokens as operators give and take them on the command line: the beginning, when nobody has one yet."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from flows.web.access import Refusal, Who
from flows.web.audit import Auditor
from schemas.config import Config
from schemas.errors import TouchstreamError
from state.access import AccessStore, Role, Token
from state.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

#: In ms.
DAY: Final = 86_400_000
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")


def create(config: Config, name: str, role: Role, *, days: int | None = None, by: str = "") -> str:
    """A new token: what it says. Raises `TouchstreamError`, `redis.RedisError`."""
    if not _NAME.fullmatch(name):
        raise TouchstreamError(f"{name!r} is no name; allowed: up to 64 letters, digits and any of . _ - @")
    now = _now()
    with _store(config) as store:
        _record(config, by, "create_token", "asked", f"{role} {name}")
        return store.create(name, role, now=now, expires=now + days * DAY if days else 0)[0]


def known(config: Config) -> list[Token]:
    """All tokens, the oldest first. Raises `redis.RedisError`."""
    with _store(config) as store:
        return store.all()


def revoke(config: Config, id: str, *, by: str = "") -> Token:
    """Take a token back: first of all, since it may be in the wrong hands. Raises as `create` does."""
    with _store(config) as store:
        token = store.revoke(id, now=_now())
    _record(config, by, "revoke_token", "applied", f"{token.role} {token.name}")
    return token


def state_of(token: Token) -> str:
    """What has become of it, in a word."""
    return "revoked" if token.revoked else "holds" if token.holds(_now()) else "expired"


def _record(config: Config, by: str, op: str, outcome: str, what: str) -> None:
    try:
        Auditor(config).record(Who(by, "admin"), op, outcome, why=what)
    except Refusal:
        text = f"Kafka did not take the record for the audit ({op} {what}); check kafka.bootstrap"
        raise TouchstreamError(text) from None


@contextmanager
def _store(config: Config) -> Iterator[AccessStore]:
    with connect(config) as client:
        yield AccessStore(client, config.prefix)


def _now() -> int:
    return time.time_ns() // 1_000_000
