"""The connection to Redis or Valkey."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.config import Config


def connect(config: Config) -> redis.Redis:
    """A client that reports every failure at once: retrying is the business of the take-over."""
    return redis.Redis.from_url(
        config.redis.url,
        socket_timeout=config.redis.timeout_seconds,
        socket_connect_timeout=config.redis.timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
