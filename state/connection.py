"""The connection to Redis or Valkey."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.retry import Retry

from schemas.config import Config
from schemas.config import Redis as Settings
from state.cluster import Cluster
from state.tls import secure

#: Told of every round trip: the command (of a pipeline its first), how long it took (seconds), whether it failed.
Observer = Callable[[str, float, bool], None]


def connect(config: Config, observe: Observer | None = None, *, timeout: float | None = None) -> redis.Redis:
    """A client that reports every failure at once: retrying is the business of the take-over.

    ``timeout`` (seconds): instead of the configured one.
    """
    settings = config.redis
    client = _client(settings, settings.url, observe, timeout)
    if not settings.cluster:
        return client
    return Cluster(client, lambda host, port: _client(settings, _address(settings.url, host, port), observe, timeout))


def _client(settings: Settings, url: str, observe: Observer | None, timeout: float | None) -> redis.Redis:
    """A client of one server."""
    timeout = timeout or settings.timeout_seconds
    client: Any = _Observed.from_url(
        url,
        username=settings.user,
        password=settings.password,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    client.observe = observe or _unobserved
    secure(client, settings)
    return cast(redis.Redis, client)


def _address(url: str, host: str, port: int) -> str:
    """The URL of another node of the same cluster."""
    parts = urlsplit(url)
    signed, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{signed}{at}{f'[{host}]' if ':' in host else host}:{port}"))


def _unobserved(operation: str, seconds: float, failed: bool) -> None:
    """Nobody wants to know."""


class _Observed(redis.Redis):
    """A client whose round trips are told."""

    observe: Observer = staticmethod(_unobserved)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return _told(self, args[0], super().execute_command, *args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> _ObservedPipeline:
        pipe = _ObservedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.observe = self.observe
        return pipe


class _ObservedPipeline(Pipeline):
    observe: Observer = staticmethod(_unobserved)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        if not self.command_stack:
            return super().execute(raise_on_error)
        operation = self.command_stack[0][0][0]
        result: list[Any] = _told(self, operation, super().execute, raise_on_error)
        return result


def _told(
    client: _Observed | _ObservedPipeline, operation: Any, call: Callable[..., Any], *args: Any, **options: Any
) -> Any:
    started, failed = perf_counter(), True
    try:
        result = call(*args, **options)
        failed = False
        return result
    except NoScriptError:
        failed = False  # it is loaded and called again
        raise
    except ReadOnlyError:
        # A primary has become a replica. The address leads to the new one, but connections stay where they are.
        client.connection_pool.disconnect()
        raise
    finally:
        client.observe(str(operation), perf_counter() - started, failed)
