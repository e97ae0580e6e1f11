"""Model content, stored by its hash as long as the log may name it: ``{PREFIX.models}HASH``."""

from __future__ import annotations

from typing import Any

import redis

from schemas.errors import MissingContent


class ModelStore:
    """Content-addressed: writing twice is harmless, reading something else than was written is impossible."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._redis = client
        self._tag = f"{{{prefix}.models}}"

    def put(self, digest: str, content: bytes) -> None:
        """Keep ``content`` under its hash."""
        self._redis.set(self._tag + digest, content)

    def get(self, digest: str) -> bytes:
        """The content of a hash. Raises `MissingContent`."""
        content: Any = self._redis.get(self._tag + digest)
        if content is None:
            raise MissingContent(
                f"model {digest} is named by a control record but not in Redis at {self._tag}{digest}: set that key to "
                "the value of the record with this key in the models topic, or restore Redis from a backup"
            )
        return bytes(content)
