"""The connection to Redis or Valkey."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.retry import Retry

from schemas.config import Config
from state.tls import secure

#: Told of every round trip: the command (of a pipeline its first), how long it took (seconds), whether it failed.
Observer = Callable[[str, float, bool], None]


def connect(config: Config, observe: Observer | None = None, *, timeout: float | None = None) -> redis.Redis:
    """A client that reports every failure at once: retrying is the business of the take-over.

    ``timeout`` (seconds): instead of the configured one.
    """
    settings = config.redis
    timeout = timeout or settings.timeout_seconds
    client: Any = _Observed.from_url(
        settings.url,
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
