"""What control records name by its hash, kept as long as the log may name it::

{PREFIX.models}HASH   {PREFIX.plays}HASH
"""

from __future__ import annotations

from typing import Any

import redis

from schemas.errors import MissingContent


class ContentStore:
    """Content of one kind, the name of its compacted topic. Writing twice is harmless, reading something else than was
    written is impossible. Raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, prefix: str, kind: str) -> None:
        self._redis = client
        self._kind = kind
        self._tag = f"{{{prefix}.{kind}}}"

    def put(self, digest: str, content: bytes) -> None:
        """Keep ``content`` under its hash."""
        self._redis.set(self._tag + digest, content)

    def get(self, digest: str) -> bytes:
        """The content of a hash. Raises `MissingContent`."""
        content: Any = self._redis.get(self._tag + digest)
        if content is None:
            raise MissingContent(
                f"{digest} of {self._kind} is named by a control record but not in Redis at {self._tag}{digest}: set "
                f"that key to the value of the record with this key in the {self._kind} topic, or restore Redis from a "
                "backup"
            )
        return bytes(content)
