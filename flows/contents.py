"""What is kept by its hash, models and plays, as control records and decisions name it: read when first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import redis

from schemas.config import Config
from schemas.errors import TouchstreamError
from state.connection import connect
from state.contents import ContentStore

T = TypeVar("T")


class Contents(dict[str, T]):
    """Content of one kind by its hash. Raises
    `TouchstreamError`."""

    def __init__(self, config: Config, kind: str, read: Callable[[bytes], T]) -> None:
        super().__init__()
        self._contents, self._kind, self._read = ContentStore(connect(config), config.prefix, kind), kind, read

    def __missing__(self, digest: str) -> T:
        try:
            content = self[digest] = self._read(self._contents.get(digest))
        except redis.RedisError as error:
            raise TouchstreamError(f"Redis does not answer: {error}; {self._kind} are read from there") from None
        return content
