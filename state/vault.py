"""Sealing: AES-256-GCM under a data key per customer, and under the dead-letter key.

Erasing a customer destroys the data key, and with it every value sealed under it, wherever copies lie.
Layouts, before base64 where they travel in JSON::

    sealed    01 | nonce (12) | ciphertext and tag (16)                                bound to: kid
    wrapped   01 | length of master id (1) | master id | nonce (12) | ciphertext, tag  bound to: customer id
    kid       CUSTOMER_ID "." eight hex digits of BLAKE2b over the wrapped key

A data key is random, so a customer whose creation Redis forgot and saw again has two; the digits tell
them apart. Nonces are random: 2^32 values under one data key are safe, a customer has thousands.

>>> vault = Vault({"2024": "00" * 32})
>>> wrapped = vault.new_key("c1")
>>> key = vault.data_key(wrapped, "c1", kid("c1", wrapped))
>>> key.open(key.seal(b"a@b.cn"))
b'a@b.cn'
"""

from __future__ import annotations

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import TouchstreamError

VERSION = b"\x01"
NONCE = 12
#: Unwrapped keys kept: about 1 KB each.
CACHED_KEYS = 20_000


class SealError(TouchstreamError):
    """A sealed value or a wrapped key cannot be opened: wrong key, another owner's, damaged, or no such master key."""


class DataKey:
    """A customer's unwrapped data key. ``kid`` names it."""

    __slots__ = ("_bound", "_cipher", "kid")

    def __init__(self, kid: str, cipher: AESGCM) -> None:
        self.kid = kid
        self._bound = kid.encode()
        self._cipher = cipher

    def seal(self, plain: bytes) -> str:
        """Base64 of the sealed value."""
        return _seal(self._cipher, plain, self._bound)

    def open(self, sealed: str) -> bytes:
        """The value again. Raises `SealError`."""
        return _open(self._cipher, sealed, self._bound)


class Vault:
    """Makes and opens data keys. ``master`` maps ids to 256-bit keys in hex; the last one wraps new keys."""

    def __init__(self, master: Mapping[str, str]) -> None:
        self._masters = {name: AESGCM(bytes.fromhex(key)) for name, key in master.items()}
        self._current = list(master)[-1]
        self.data_key = lru_cache(CACHED_KEYS)(self._data_key)

    def new_key(self, customer: str) -> bytes:
        """A new random data key for ``customer``, wrapped."""
        name, nonce = self._current.encode(), os.urandom(NONCE)
        wrapped = self._masters[self._current].encrypt(nonce, os.urandom(32), customer.encode())
        return VERSION + bytes([len(name)]) + name + nonce + wrapped

    def _data_key(self, wrapped: bytes, customer: str, kid: str) -> DataKey:
        """Unwrap a data key. Raises `SealError`. (Called through the cached ``data_key``.)"""
        start = 2 + wrapped[1] if len(wrapped) > 2 and wrapped[:1] == VERSION else 0
        master = self._masters.get(wrapped[2:start].decode(errors="replace"))
        if master is None:
            raise SealError(f"data key {kid}: wrapped by a master key that keys.master does not list")
        nonce, rest = wrapped[start : start + NONCE], wrapped[start + NONCE :]
        try:
            return DataKey(kid, AESGCM(master.decrypt(nonce, rest, customer.encode())))
        except (InvalidTag, ValueError):
            raise SealError(f"data key {kid}: damaged, or keys.master has another key under this id") from None


def kid(customer: str, wrapped: bytes) -> str:
    """The id of a data key at its creation."""
    return f"{customer}.{blake2b(wrapped, digest_size=4).hexdigest()}"


class Original(NamedTuple):
    """A dead letter as it came, and everything known about why it is one."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    error: str


_original = msgspec.msgpack.Decoder(Original)


class DeadLetterBox:
    """Seals records that could not be used under the dead-letter key (32 bytes)."""

    BOUND = b"dead letter"

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, original: Original) -> str:
        """Base64 of the sealed record."""
        return _seal(self._cipher, msgspec.msgpack.encode(original), self.BOUND)

    def open(self, sealed: str) -> Original:
        """The record again. Raises `SealError`."""
        return _original.decode(_open(self._cipher, sealed, self.BOUND))


def _seal(cipher: AESGCM, plain: bytes, bound: bytes) -> str:
    nonce = os.urandom(NONCE)
    return b2a_base64(VERSION + nonce + cipher.encrypt(nonce, plain, bound), newline=False).decode()


def _open(cipher: AESGCM, sealed: str, bound: bytes) -> bytes:
    try:
        blob = a2b_base64(sealed)
        if blob[:1] != VERSION:
            raise SealError("sealed value: unknown version or empty")
        return cipher.decrypt(blob[1 : 1 + NONCE], blob[1 + NONCE :], bound)
    except (InvalidTag, ValueError):
        raise SealError("sealed value: damaged, or sealed under another key") from None
