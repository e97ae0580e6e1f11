"""What the system tests share beside the servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis


@pytest.fixture
def client(redis_server: str) -> Iterator[redis.Redis]:
    """A client of the session's Valkey or Redis."""
    with redis.Redis.from_url(redis_server) as client:
        yield client
