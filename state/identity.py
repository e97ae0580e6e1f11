"""Identity in Redis: identifier -> cluster and customer, cluster -> evidence, and how far each source is stitched.

All under one hash tag, so that one script can compare and set it::

    {PREFIX.i}NS:HASH    string  8 bytes cluster id, 16 bytes customer id (the identifier's token is its key)
    {PREFIX.i}@CLUSTER   string  12 bytes stamp, packed `Cluster`
    {PREFIX.i}sources    hash    "topic/partition" -> packed [R, watermark (ms)], R the next offset to stitch

The stamp is the version (8 bytes, big endian) and the nonce of its writer (4). A version is the previous
one plus 1, or the writer's microseconds if that is more; with the nonce, a version made again after Redis
was rolled back is never mistaken for the one it replaces.

Size: 206 bytes an identifier, measured on the simulated retailer (Valkey 9, a million touchpoints, 3.9
identifiers and 9.6 facts a customer; data keys and emptied pending lists included).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from math import isqrt
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import redis

from schemas.errors import Conflict
from schemas.stitched import Change
from state.script import Script

_SCRIPT = Script("identity")

STAMP = 12
#: Numbers of kinds of facts are below this.
KIND_LIMIT = 16
#: Decoded clusters kept: up to 3 KB each. Whoever comes back soon finds his as it was.
CACHED = 20_000
_DONE = ord("1")
Partition = tuple[str, int]
Span = tuple[int, int]


class Key(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A customer's data key: its id, its wrapped form, and who that customer has become since (empty: nobody else)."""

    kid: str
    wrapped: bytes
    heir: str = ""


class Cluster(msgspec.Struct, array_like=True, gc=False):
    """Everything known of identifiers that evidence connects. Not to be changed once written.

    ``ids`` ascending; ``spans`` maps `code` of a fact to its (first, last) in ms; ``owners`` gives each
    identifier's customer as an index into ``customers``, -1 where it has none: erased, or decided of before it was
    seen; ``keys`` every customer ever made here with its data key; ``pending`` the changes not known to be published;
    ``nobody`` the identifiers, by index, that stand for no person; ``hub`` the one that this cluster is about, if it
    is a hub: elsewhere hubs are mentioned, but their place is in a cluster of their own; ``erased`` when identifiers,
    by index, were erased (ms), known again or not.
    """

    ids: list[bytes]
    spans: dict[int, Span]
    customers: list[str]
    owners: list[int]
    keys: dict[str, Key]
    pending: list[Change] = []
    nobody: list[int] = []
    hub: bytes = b""
    erased: dict[int, int] = {}

    def index(self, token: bytes) -> int:
        """Where ``token`` stands in ``ids``; -1 if it does not."""
        place = bisect_left(self.ids, token)
        return place if place < len(self.ids) and self.ids[place] == token else -1

    def owner(self, *tokens: bytes) -> str:
        """The customer who holds the first of ``tokens`` that stands for a person, if any does, else the first."""
        if not self.nobody:
            return self.customers[self.owners[self.index(tokens[0])]]
        places = [place for token in tokens if (place := self.index(token)) >= 0]
        people = [place for place in places if place not in self.nobody]
        return self.customers[self.owners[(people or places)[0]]]

    def partition(self) -> dict[bytes, str]:
        """The customer of every identifier that has one."""
        customers = self.customers
        return {token: customers[owner] for token, owner in zip(self.ids, self.owners, strict=True) if owner >= 0}

    def erased_at(self, token: bytes) -> int:
        """When an identifier was erased (ms), -1 if it was not."""
        return self.erased.get(self.index(token), -1) if self.erased else -1

    def facts(self, kinds: Sequence[str]) -> dict[tuple[str, bytes, bytes], Span]:
        """The evidence, spelled out. ``kinds`` names the kinds of facts by number."""
        ids, facts = self.ids, {}
        for number, span in self.spans.items():
            pair, kind = divmod(number, KIND_LIMIT)
            j = (isqrt(8 * pair + 1) - 1) // 2
            facts[kinds[kind], ids[pair - j * (j + 1) // 2], ids[j]] = span
        return facts


class Held(NamedTuple):
    """A cluster as it was read: id, stamp, content."""

    id: bytes
    stamp: bytes
    cluster: Cluster

    @property
    def version(self) -> int:
        return int.from_bytes(self.stamp[:8], "big")


class Set(NamedTuple):
    """One key of a write: what its value must begin with, and its new value."""

    key: bytes
    expected: bytes
    value: bytes


#: A write that is done whole or, if a key is not as expected, not at all.
Write = Sequence[Set]
#: The customer of an identifier that has none.
NO_CUSTOMER = str(UUID(int=0))
#: ``expected``: the key must be absent; it may be anything. ``value``: delete the key; leave it.
ABSENT, ANY, DELETED, SAME = b"", b"*", b"", b"="


class Mark(NamedTuple):
    """The position of a source: what it must be (empty: absent), and what it becomes if every write succeeds."""

    source: Partition
    expected: bytes
    moved: bytes


class Source(NamedTuple):
    """How far a source partition is stitched: next offset, and the time (ms of ``at``) up to which."""

    position: int
    watermark: int


_cluster = msgspec.msgpack.Decoder(Cluster)
_source = msgspec.msgpack.Decoder(Source)


def _held(cluster: bytes, value: bytes) -> Held:
    """A cluster as it stands in its key."""
    return Held(cluster, value[:STAMP], _cluster.decode(memoryview(value)[STAMP:]))


def code(kind: int, i: int, j: int) -> int:
    """The number of a fact about the i-th and j-th identifier, i <= j: small for small clusters."""
    return (j * (j + 1) // 2 + i) * KIND_LIMIT + kind


def source_field(source: Partition) -> str:
    """The field of a source partition in the hash of positions."""
    return f"{source[0]}/{source[1]}"


def read_source(packed: bytes) -> Source:
    """A position as it stands in the hash."""
    return _source.decode(packed)


def pack_source(source: Source) -> bytes:
    """The value of a source's field in the hash."""
    return msgspec.msgpack.encode(source)


def displaced(marks: Iterable[Mark]) -> Conflict:
    """Says that a source is not where it was left."""
    return Conflict(f"{', '.join(source_field(mark.source) for mark in marks)}: not the position left there")


class IdentityStore:
    """The identity slot of one deployment. Raises `redis.RedisError`; ``client`` must not decode responses (None: see
    `state.identity_memory`)."""

    def __init__(self, client: redis.Redis | None, prefix: str) -> None:
        self._redis: Any = client  # typed replies of redis-py are unions of sync and async
        self._tag = f"{{{prefix}.i}}".encode()
        self._sources = self._tag + b"sources"
        self._nonce = os.urandom(STAMP - 8)
        self._held = lru_cache(CACHED)(_held)

    @property
    def cached(self) -> tuple[int, int]:
        """How often a cluster that was read was still known as it was, and was not."""
        return self._held.cache_info()[:2]

    def identifier_key(self, token: bytes) -> bytes:
        """Where an identifier's cluster and customer stand."""
        return self._tag + token

    def cluster_key(self, cluster: bytes) -> bytes:
        """Where a cluster stands. ``@`` begins no namespace."""
        return self._tag + b"@" + cluster

    def place(self, cluster: bytes, customer: str) -> bytes:
        """The value of an identifier's key."""
        return cluster + bytes.fromhex(customer.replace("-", ""))

    def stamp(self, version: int) -> bytes:
        """The stamp of a cluster this process writes."""
        return version.to_bytes(8, "big") + self._nonce

    def pack(self, stamp: bytes, cluster: Cluster) -> bytes:
        """The value of a cluster's key."""
        return stamp + msgspec.msgpack.encode(cluster)

    def places(self, tokens: Collection[bytes]) -> dict[bytes, bytes]:
        """Cluster id of each identifier that has one."""
        if not tokens:
            return {}
        tag = self._tag
        values = self._redis.mget([tag + token for token in tokens])
        return {token: value[:8] for token, value in zip(tokens, values, strict=True) if value is not None}

    def clusters(self, ids: Collection[bytes]) -> dict[bytes, Held]:
        """The clusters that exist."""
        if not ids:
            return {}
        tag, held = self._tag + b"@", self._held
        values = self._redis.mget([tag + cluster for cluster in ids])
        return {cluster: held(cluster, value) for cluster, value in zip(ids, values, strict=True) if value is not None}

    def write(self, writes: Sequence[Write], marks: Sequence[Mark] = ()) -> list[bool]:
        """Which of the writes were done. Marks are compared before, and moved when all were.

        Raises `Conflict` if a mark is not as expected: then nothing was written. Another process has taken
        the source over, or Redis has lost what this one wrote: it has to be taken over again.
        """
        keys = [self._sources]
        args: list[bytes | str | int] = [len(marks)]
        for mark in marks:
            args += (source_field(mark.source), mark.expected, mark.moved)
        for write in writes:
            args.append(len(write))
            for key, expected, value in write:
                keys.append(key)
                args.append(expected)
                args.append(value)
        done: bytes | None = _SCRIPT.run(self._redis, keys, args)
        if done is None:
            raise displaced(marks)
        return [flag == _DONE for flag in done]

    def watermark(self, ignored: str) -> int | None:
        """The time (ms) up to which every source partition is stitched, those of topic ``ignored`` aside; None before
        there is any."""
        found = self.sources().items()
        return min([read_source(packed).watermark for (topic, _), packed in found if topic != ignored], default=None)

    def sources(self, partitions: Iterable[Partition] | None = None) -> dict[Partition, bytes]:
        """Packed positions of these source partitions (all, if None) where there are any; see `read_source`."""
        held: Mapping[bytes, bytes] = self._redis.hgetall(self._sources)
        found = {}
        for field, packed in held.items():
            topic, _, partition = field.decode().rpartition("/")
            found[topic, int(partition)] = packed
        return found if partitions is None else {each: found[each] for each in partitions if each in found}
