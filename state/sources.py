"""Who may have a transaction open on a source partition: hash ``{PREFIX.i}transactions``, field
``topic/partition``, value the transactional id of the stitch process that reads it (empty: let go cleanly)."""

from __future__ import annotations

from typing import Any

import redis


def swap_transactions(
    client: redis.Redis, prefix: str, partitions: list[tuple[str, int]], transactional_id: str
) -> set[str]:
    """Note ``transactional_id`` for ``partitions``; the ids noted before.

    For speed at take-over only, so reading and writing need not be one step.
    """
    if not partitions:
        return set()
    key = f"{{{prefix}.i}}transactions"
    fields = [f"{topic}/{partition}" for topic, partition in partitions]
    pipe = client.pipeline(transaction=False)
    pipe.hmget(key, fields)
    pipe.hset(key, mapping=dict.fromkeys(fields, transactional_id))
    before: Any = pipe.execute()[0]
    return {str(each, "ascii") for each in before if each}


def let_go_transactions(
    client: redis.Redis, prefix: str, partitions: list[tuple[str, int]], transactional_id: str
) -> None:
    """Say that no transaction of ``transactional_id`` is open on ``partitions``; of others that is not known."""
    key = f"{{{prefix}.i}}transactions"
    fields = [f"{topic}/{partition}" for topic, partition in partitions]
    held: Any = client.hmget(key, fields) if fields else []
    mine = [field for field, each in zip(fields, held, strict=True) if each == transactional_id.encode()]
    if mine:
        client.hset(key, mapping=dict.fromkeys(mine, ""))
