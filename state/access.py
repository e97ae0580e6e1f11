"""Who may use the web service: tokens and sessions in Redis, all under one hash tag.

Layout::

    {PREFIX.access}tokens        hash    SHA-256 of a token -> packed Token; what was revoked stays
    {PREFIX.access}session:HASH  string  SHA-256 of the token that signed in; HASH: SHA-256 of the cookie

Neither a token nor a cookie can be had from what is stored. Both are 256 random bits: no guess can be tried against
their hashes, so these need not be slow.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec
import redis

from schemas.errors import TouchstreamError

Role = Literal["viewer", "agent", "operator", "admin"]
#: Each may do what the one before may, and more.
ROLES: Final[tuple[Role, ...]] = ("viewer", "agent", "operator", "admin")
#: Begins every token, so that people and scanners of leaked secrets know one.
MARK: Final = "touchstream_"
_ID: Final = 12


class Token(msgspec.Struct, array_like=True, frozen=True):
    """A token, without what it says. ``name``: whose it is, as the audit calls them. Times in ms; 0: never."""

    id: str
    name: str
    role: Role
    created: int
    expires: int = 0
    revoked: int = 0

    def holds(self, now: int) -> bool:
        """Whether it lets anybody in at ``now``."""
        return not self.revoked and not 0 < self.expires <= now


_token = msgspec.msgpack.Decoder(Token)


class AccessStore:
    """Tokens and sessions of one deployment. Raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._redis: Any = client
        self._tag = f"{{{prefix}.access}}"
        self._tokens = self._tag + "tokens"

    def create(self, name: str, role: Role, *, now: int, expires: int = 0) -> tuple[str, Token]:
        """A new token, which is told here and never again. Raises `TouchstreamError` if a token that holds has the
        name: the audit must tell them apart."""
        if any([each.name == name and each.holds(now) for each in self.all()]):
            raise TouchstreamError(f"there is a token {name!r} already; revoke it, or choose another name")
        text = MARK + secrets.token_urlsafe(32)
        token = Token(digest(text)[:_ID], name, role, now, expires)
        self._redis.hset(self._tokens, digest(text), msgspec.msgpack.encode(token))
        return text, token

    def revoke(self, id: str, *, now: int) -> Token:
        """Let nobody in by this token any more. Raises `TouchstreamError` if there is none."""
        for key, token in self._all().items():
            if token.id == id:
                revoked = msgspec.structs.replace(token, revoked=token.revoked or now)
                self._redis.hset(self._tokens, key, msgspec.msgpack.encode(revoked))
                return revoked
        raise TouchstreamError(f"there is no token {id!r}; see `touchstream tokens list`")

    def all(self) -> list[Token]:
        """Every token there ever was, the oldest first."""
        return sorted(self._all().values(), key=lambda each: (each.created, each.id))

    def any(self) -> bool:
        """Whether there ever was one."""
        return bool(self._redis.exists(self._tokens))

    def find(self, text: str) -> Token | None:
        """The token that says this, held or not."""
        return self._get(digest(text))

    def begin(self, text: str, seconds: int) -> str:
        """A session of whoever has this token: the cookie's value."""
        cookie = secrets.token_urlsafe(32)
        self._redis.set(self._session(cookie), digest(text), ex=seconds)
        return cookie

    def signed_in(self, cookie: str) -> Token | None:
        """The token that a session was begun with, held or not."""
        key = self._redis.get(self._session(cookie))
        return self._get(str(key, "ascii")) if key else None

    def end(self, cookie: str) -> None:
        """Sign out."""
        self._redis.delete(self._session(cookie))

    def _all(self) -> dict[str, Token]:
        return {str(key, "ascii"): _token.decode(packed) for key, packed in self._redis.hgetall(self._tokens).items()}

    def _get(self, key: str) -> Token | None:
        packed = self._redis.hget(self._tokens, key)
        return _token.decode(packed) if packed else None

    def _session(self, cookie: str) -> str:
        return f"{self._tag}session:{digest(cookie)}"


def digest(text: str) -> str:
    """What is stored instead of ``text``."""
    return sha256(text.encode()).hexdigest()
