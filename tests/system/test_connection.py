"""The connection to Redis, where what it is connected to changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ReadOnlyError

from schemas.config import Config, Redis
from state.connection import connect
from tests.conftest import KEYS
from tests.front import Front
from tests.servers import ValkeyServer

pytestmark = pytest.mark.system


def test_a_primary_that_becomes_a_replica_is_left_for_the_one_that_the_address_leads_to(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "old") as old, ValkeyServer(tmp_path / "new") as new, Front(old.port) as front:
        config = Config(keys=KEYS, redis=Redis(url=f"redis://127.0.0.1:{front.port}/0"))
        with connect(config) as client, redis.Redis.from_url(old.url) as admin:
            pipe: Any = client.pipeline(transaction=False)
            writes: list[Callable[[], Any]] = [lambda: client.set("a", "1"), lambda: pipe.set("a", "1").execute()]
            for write in writes:
                write()
                admin.replicaof("127.0.0.1", new.port)
                front.turn_to(new.port)
                with pytest.raises(ReadOnlyError):
                    write()
                write()
                admin.replicaof("NO", "ONE")
                front.turn_to(old.port)
                client.connection_pool.disconnect()
