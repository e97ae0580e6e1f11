"""Tokens as operators give and take them."""

from __future__ import annotations

import re
import time
from typing import Final

from schemas.config import Config
from schemas.errors import TouchstreamError
from state.access import AccessStore, Role, Token
from state.connection import connect

_NAME: Final = re.compile(r"[\w.@-]{1,64}")
_DAY: Final = 86_400_000


def create(config: Config, name: str, role: Role, *, days: int | None = None) -> str:
    """A new token: what it says. Raises `TouchstreamError`, `redis.RedisError`."""
    if not _NAME.fullmatch(name):
        raise TouchstreamError(f"{name!r} is no name; allowed: up to 64 letters, digits and any of . _ - @")
    now = _now()
    with connect(config) as client:
        text, _ = AccessStore(client, config.prefix).create(
            name, role, now=now, expires=now + days * _DAY if days else 0
        )
    return text


def known(config: Config) -> list[Token]:
    """All tokens, the oldest first. Raises `redis.RedisError`."""
    with connect(config) as client:
        return AccessStore(client, config.prefix).all()


def revoke(config: Config, id: str) -> Token:
    """Take a token back. Raises `TouchstreamError`, `redis.RedisError`."""
    with connect(config) as client:
        return AccessStore(client, config.prefix).revoke(id, now=_now())


def state_of(token: Token) -> str:
    """What has become of it, in a word."""
    return "revoked" if token.revoked else "holds" if token.holds(_now()) else "expired"


def _now() -> int:
    return time.time_ns() // 1_000_000
