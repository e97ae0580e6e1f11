"""All clusters of a deployment, one after the other, read no further than counting needs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec
import redis

from state.identity import STAMP, Cluster, IdentityStore, Span

#: Clusters read at once: up to a megabyte.
BATCH: Final = 500
#: Keys that one step of the scan looks at, of whatever else lies in that database, too.
_STEP: Final = 1_000


class Outline(msgspec.Struct, array_like=True):
    """A `Cluster` whose customers' names, data keys and pending changes stay as they lie there."""

    ids: list[bytes]
    spans: dict[int, Span]
    customers: msgspec.Raw
    owners: list[int]
    keys: msgspec.Raw
    pending: list[msgspec.Raw] = []
    nobody: list[int] = []
    hub: bytes = b""
    erased: dict[int, int] = {}

    def cluster(self) -> Cluster:
        """The cluster, short of what is not decoded."""
        return Cluster(self.ids, self.spans, [], self.owners, {}, [], self.nobody, self.hub, self.erased)


_outline = msgspec.msgpack.Decoder(Outline)


def outlines(client: redis.Redis, prefix: str) -> Iterator[list[Outline]]:
    """Every cluster, in batches. Raises `redis.RedisError`.

    No snapshot: what is written meanwhile may be seen before or after, and clusters that merge or come apart, or that
    Redis moves while its table shrinks, twice or not at all.
    """
    store, connection = IdentityStore(client, prefix), _any(client)
    keys = connection.scan_iter(match=store.cluster_key(b"") + b"*", count=_STEP)
    while some := list(islice(keys, BATCH)):
        values = connection.mget(some)
        yield [_outline.decode(memoryview(value)[STAMP:]) for value in values if value is not None]


def _any(client: redis.Redis) -> Any:
    return client  # typed replies of redis-py are unions of sync and async
