"""Fixtures that tests share: real servers for the session, a deployment of its own for each test."""

from __future__ import annotations

import os
import secrets
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from flows import admin
from schemas.config import Config, Kafka, Keys, Redis, Topics
from tests import servers
from tests.effort import GATE, examples

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long an example takes says more of the machine than of the code.
settings.register_profile("patient", deadline=None, max_examples=examples(100))
settings.load_profile("patient")

KEYS = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of the session's Kafka."""
    with servers.kafka_server(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the session's Valkey or Redis."""
    with servers.redis_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


def new_config(bootstrap: str, url: str) -> Config:
    """A small deployment under a random prefix: 4 shards, 2 partitions per source."""
    return Config(
        keys=KEYS,
        prefix=f"t{secrets.token_hex(4)}",
        kafka=Kafka(bootstrap=bootstrap),
        redis=Redis(url=url),
        topics=Topics(source_partitions=2, shards=4),
    )


@pytest.fixture
def deployment(kafka: str, redis_server: str) -> Iterator[Config]:
    """A deployment of its own on the session's servers, topics created; its keys and topics go afterwards."""
    config = new_config(kafka, redis_server)
    created = admin.create(config)
    yield config
    client = admin.admin_client(config)  # named: the answers go with the client
    for future in client.delete_topics(created).values():
        future.result()
    servers.clear(config.redis.url, config.prefix)


#: Of the groups of tests that take long, so many run in the gate.
LONG_IN_GATE = int(os.environ.get("TOUCHSTREAM_CI_LONG", "2"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever uses a real server is a system test. In the gate, some of what takes long is left for another time, by
    its seed."""
    if GATE:
        groups = sorted({mark.args[0] for item in items for mark in item.iter_markers("long")})
        kept = Random(os.environ.get("TOUCHSTREAM_CI_SEED", "")).sample(groups, min(LONG_IN_GATE, len(groups)))
        left = [item for item in items if any(mark.args[0] not in kept for mark in item.iter_markers("long"))]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    for item in items:
        if {"kafka", "redis_server", "deployment"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.system)
