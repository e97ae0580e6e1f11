"""Draws that depend on nothing but names: whoever draws again, anywhere, draws the same.

>>> share("holdout", "b9a1") == share("holdout", "b9a1")
True
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from zlib import crc32

_RANGE: Final = 1 << 64


def share(*names: str) -> float:
    """A number from 0 to below 1, evenly spread over names."""
    digest = blake2b("\x1f".join(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _RANGE


def weighted(weights: Mapping[str, int], *names: str) -> str | None:
    """One of the keys, each as often as its weight says; None if none has any."""
    left = share(*names) * sum(weights.values())
    for key, weight in weights.items():
        if left < weight:
            return key
        left -= weight
    return None


def portion(total: int, shard: int, shards: int, name: str) -> int:
    """A shard's part of ``total``, shared out evenly; which shards get one more differs from name to name."""
    return total // shards + ((shard + crc32(name.encode())) % shards < total % shards)
