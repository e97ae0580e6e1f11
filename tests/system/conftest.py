"""What the system tests share beside the servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.system.month import Month, a_month


@pytest.fixture
def client(redis_server: str) -> Iterator[redis.Redis]:
    """A client of the session's Valkey or Redis."""
    with redis.Redis.from_url(redis_server) as client:
        yield client


@pytest.fixture(scope="session")
def month(kafka: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    """A month of the demo's shop, which all tests of it share."""
    with a_month(kafka, redis_server, tmp_path_factory.mktemp("month")) as passed:
        yield passed
