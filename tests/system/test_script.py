"""Scripts in a real Valkey: known by their hashes, and also where they were forgotten."""

from __future__ import annotations

from typing import Any

import redis

from state.connection import connect
from state.script import Script
from tests.conftest import new_config


def test_scripts_take_one_round_trip_and_one_more_where_they_were_forgotten(redis_server: str) -> None:
    config, script, seen = new_config("", redis_server), Script("own"), list[str]()
    calls = [([f"{config.prefix}{n}"], [owner, f"txn-{owner}-{n}"]) for n in range(2) for owner in ("a", "b")]
    with connect(config, lambda operation, seconds, failed: seen.append(operation)) as client:
        before = _asked(client)
        client.script_flush()
        assert script.run_all(client, calls) == [b"", b"txn-a-0", b"", b"txn-a-1"]
        assert script.run_all(client, calls[:1]) == [b"txn-b-0"]
        client.script_flush()
        assert [script.run(client, *each) for each in calls[1:2]] == [b"txn-a-0"]
        assert _asked(client) == before, "whether a script is known is not asked, it is seen"
        client.delete(*(key for keys, _ in calls for key in keys))
    assert [each for each in seen if each.startswith("EVAL")] == ["EVALSHA", "EVAL", "EVALSHA", "EVALSHA", "EVAL"]


def _asked(client: redis.Redis) -> int:
    """How often somebody has asked whether scripts are known."""
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_script|exists", {}).get("calls", 0))
