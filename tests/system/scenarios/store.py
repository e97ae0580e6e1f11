"""What befalls Redis."""

from __future__ import annotations

import shutil
import time
from random import Random
from typing import Any

import redis

from tests.servers import ValkeyServer
from tests.system.pipeline import await_
from tests.system.scenarios.stage import Stage, takeovers

#: Longer than clients of Redis wait for an answer (seconds).
LEAST_FREEZE = 8.0


def rollback(stage: Stage) -> dict[str, Any]:
    """Kill Redis, take at least a second off its file, start it again."""
    lost = 0

    def harm() -> None:
        nonlocal lost
        stage.valkey.kill()
        lost += stage.valkey.cut_log(1.0)
        stage.valkey.start()

    for _ in range(stage.count):
        stage.load(4)
        stage.survives(harm)
    return {
        "rollbacks": stage.count,
        "bytes_lost": lost,
        "takeovers_after_rollback": takeovers(stage.pipeline, "rollback"),
    }


def flushed(stage: Stage) -> dict[str, Any]:
    """Somebody empties Redis: all flows stop and say what to do; a copy made before is put in place, and they go on."""
    stage.load(4)
    copy = stage.valkey.folder / "copy"
    stage.valkey.copy_log(copy)
    stage.load(2)
    with redis.Redis.from_url(stage.valkey.url) as client:
        client.flushall()
    said = {flow.log.stem: stage.stops(flow) for flow in stage.committing}
    # Nobody may begin anew because of it, however often it is started.
    for flow in stage.committing:
        flow.start()
    said |= {f"{flow.log.stem} again": stage.stops(flow) for flow in stage.committing}
    stage.valkey.kill()
    shutil.rmtree(stage.valkey.folder / "appendonlydir")
    copy.rename(stage.valkey.folder / "appendonlydir")
    stage.valkey.start()
    for flow in stage.committing:
        flow.start()
    stage.commits()
    wanted = ("the position is missing in Redis", "backup", "touchstream rebuild")
    faults = [f"{name} ended on: {text}" for name, text in said.items() if not all(each in text for each in wanted)]
    return {"stopped": sorted(said), "restored": takeovers(stage.pipeline, "rollback"), "faults": faults}


def full(stage: Stage) -> dict[str, Any]:
    """Redis has no memory left and refuses to write; then it has."""
    refused = 0
    with redis.Redis.from_url(stage.valkey.url) as client:

        def harm() -> None:
            nonlocal refused
            before = _errors(client, "OOM")
            client.config_set("maxmemory", 1)
            await_(lambda: _errors(client, "OOM") > before + 20, "Redis to refuse")
            refused += _errors(client, "OOM") - before
            client.config_set("maxmemory", 0)

        client.config_set("maxmemory-policy", "noeviction")
        seconds = [_turn(stage, 2, harm) for _ in range(stage.count)]
    return {"refused": refused, "back_after": seconds}


def scripts(stage: Stage) -> dict[str, Any]:
    """Redis forgets all scripts, again and again."""
    with redis.Redis.from_url(stage.valkey.url) as client:
        before = _errors(client, "NOSCRIPT")
        for _ in range(20 * stage.count):
            client.script_flush()
            stage.load(0.1)
        stage.commits()
        return {"flushes": 20 * stage.count, "unknown_scripts": _errors(client, "NOSCRIPT") - before}


def frozen(stage: Stage) -> dict[str, Any]:
    """Redis stands still for ``seconds``, longer than anybody waits, and then does what it was told meanwhile."""

    def harm() -> None:
        stage.valkey.pause()
        time.sleep(max(LEAST_FREEZE, stage.seconds))
        stage.valkey.resume()

    return {"back_after": [_turn(stage, 3, harm) for _ in range(stage.count)]}


def reset(stage: Stage) -> dict[str, Any]:
    """Connections to Redis break in the middle of requests and answers."""
    rng, front = Random(stage.seed), stage.front
    for _ in range(20 * stage.count):
        front.cut_after(rng.randint(1, 200_000))
        await_(lambda: front.cutting == 0, "so many bytes to pass")
    stage.commits()
    return {"cuts": front.cuts}


def failover(stage: Stage) -> dict[str, Any]:
    """A replica that lags takes over: the primary dies, or goes on as a replica while clients still talk to it."""
    primary, front = stage.valkey, stage.front
    seconds = []
    with ValkeyServer(stage.pipeline.folder / "replica") as replica:
        for turn in range(2 * stage.count):
            _follow(replica, primary)
            stage.load(2)
            with redis.Redis.from_url(replica.url) as client:
                client.replicaof("NO", "ONE")
            # What is written from now on is lost.
            stage.load(2)

            def harm(dies: bool = turn % 2 == 0, old: ValkeyServer = primary, new: ValkeyServer = replica) -> None:
                if dies:
                    old.kill()
                    front.turn_to(new.port)
                    front.cut()
                    old.start()
                else:
                    with redis.Redis.from_url(old.url) as client:
                        client.replicaof(*_place(new))
                        before = _errors(client, "READONLY")
                        await_(lambda: _errors(client, "READONLY") > before + 5, "writes to the old primary")
                    # New connections lead to the new primary; nobody ends the old ones.
                    front.turn_to(new.port)

            seconds.append(stage.survives(harm))
            primary, replica = replica, primary
    return {"failovers": 2 * stage.count, "back_after": seconds, "behind": takeovers(stage.pipeline, "rollback")}


def _turn(stage: Stage, seconds: float, harm: Any) -> float:
    stage.load(seconds)
    return stage.survives(harm)


def _follow(replica: ValkeyServer, primary: ValkeyServer) -> None:
    """Make ``replica`` one, and wait until it holds what the primary does."""
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof(*_place(primary))
        await_(lambda: _in_sync(client), "the replica to hold all")


def _in_sync(client: redis.Redis) -> bool:
    info: Any = client.info("replication")
    return bool(info.get("master_link_status") == "up")


def _place(server: ValkeyServer) -> tuple[str, int]:
    return "127.0.0.1", server.port


def _errors(client: redis.Redis, kind: str) -> int:
    """How often the server has refused something in this way."""
    stats: Any = client.info("errorstats")
    return int(stats.get(f"errorstat_{kind}", {}).get("count", 0))
