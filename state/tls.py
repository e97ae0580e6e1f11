"""TLS with certificates and keys that are texts, not files: to Redis or Valkey, and of our own servers."""

from __future__ import annotations

import socket
import ssl
from tempfile import NamedTemporaryFile
from typing import Any

import redis

from schemas.config import Redis


def secure(client: redis.Redis, settings: Redis) -> None:
    """Let ``client`` trust and show what is configured; a ``rediss://`` URL alone trusts what the system trusts."""
    if settings.ca or settings.certificate:
        pool: Any = client.connection_pool
        pool.connection_class = _Tls
        pool.connection_kwargs["context"] = _context(settings)


class _Tls(redis.SSLConnection):
    """Trusts what its context trusts alone; redis-py's own adds to what the system trusts, and wants keys as files."""

    def __init__(self, *, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self._context = context

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self.host)


def _context(settings: Redis) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=settings.ca)
    if settings.certificate and settings.private_key:
        load_own(context, settings.certificate, settings.private_key)
    return context


def load_own(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    """Let ``context`` show this certificate."""
    # OpenSSL takes keys from files alone; this one is ours alone, and gone at once.
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{certificate}\n{private_key}\n")
        file.flush()
        context.load_cert_chain(file.name)
