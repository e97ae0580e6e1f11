"""What stitch keeps per source partition in Redis: hash ``{PREFIX.i}sources``, field ``topic/partition``,
value msgpack ``[R, watermark]``: the next offset whose links are not yet stored, and the time (ms, the log's
clock) up to which the partition is stitched."""

from __future__ import annotations

from typing import Any

import msgspec
import redis

_position = msgspec.msgpack.Decoder(tuple[int, int])


def sources_key(prefix: str) -> str:
    """The hash of all source partitions."""
    return f"{{{prefix}.i}}sources"


def read_positions(client: redis.Redis, prefix: str) -> dict[tuple[str, int], tuple[int, int]]:
    """(R, watermark) per source partition."""
    stored: Any = client.hgetall(sources_key(prefix))
    positions = {}
    for field, value in stored.items():
        topic, _, partition = field.decode().rpartition("/")
        positions[topic, int(partition)] = _position.decode(value)
    return positions


def read_watermarks(client: redis.Redis, prefix: str) -> list[int]:
    """The watermark of each source partition."""
    return [watermark for _, watermark in read_positions(client, prefix).values()]
