"""A shard in Redis: what a flow remembers of one input partition, written in one commit with its offset.

Layout, all under the hash tag of the shard (``{PREFIX.N}`` for engage, ``{PREFIX.learn.N}`` for learn)::

    {tag}shard   hash    r (next input offset), owner, txn, state (packed), committed (wall clock, ms)
    {tag}timers  zset    customer -> earliest due time (ms)
    {tag}out     string  packed outbox: outputs of the last commit, possibly not yet in Kafka
    {tag}count   hash    account
    {tag}c:ID    string  packed profile          {tag}x:ID  string  packed open examples
    {tag}u:ID    string  packed parts, of which merges can be undone
    {tag}p:SKU   string  packed product that plays have been woken by, while that holds
    {tag}i:SKU   zset    customer -> when interest in the product was last noted (ms of event time)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis

from schemas.errors import Conflict
from state.script import Script

_COMMIT, _OWN = Script("commit"), Script("own")


class Output(NamedTuple):
    """One record to publish: the input offset it was born of, topic, partition (-1: by key), key, value (empty: that
    there is none any more)."""

    offset: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes


class Stored(NamedTuple):
    """What Redis holds of a shard: next offset (None before the first commit), state, outbox."""

    r: int | None
    state: bytes
    outbox: list[Output]


class Size(NamedTuple):
    """Customers of a shard, those of them with a timer, and its next offset (None before the first commit)."""

    customers: int
    timers: int
    r: int | None


#: Customers remembered of those interested in one product in one shard: the latest.
INTERESTED = 10_000
#: So long (ms of the wall clock) nobody's interest in a product outlives the last one's, beyond the time that is asked
#: for: the log that may have to be read again is shorter.
_OUTLIVES = 30 * 86_400_000


class Interest(NamedTuple):
    """Who was interested in which product when (ms); what is as old as ``forgotten`` goes, ``within`` (ms) is asked
    for."""

    products: Mapping[str, Mapping[str, int]]
    forgotten: int
    within: int


class Commit(NamedTuple):
    """Everything one batch changed in one shard. ``timers`` maps customer to due (None removes), ``entities``
    maps a key suffix (``c:ID``, ``x:ID``, ``u:ID``, ``p:SKU``) to its new value (None deletes)."""

    shard: int
    expected: int | None
    r: int
    state: bytes
    entities: Mapping[str, bytes | None]
    timers: Mapping[str, int | None]
    counters: Mapping[str, int]
    outbox: Sequence[Output]
    interest: Interest | None = None


_outbox = msgspec.msgpack.Decoder(list[Output])


class ShardStore:
    """The shards of one flow. ``name`` tells flows apart (engage: empty). Raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, prefix: str, name: str = "") -> None:
        self._redis = client
        self._tag = f"{prefix}.{name}." if name else f"{prefix}."

    def key(self, shard: int, suffix: str) -> str:
        """The Redis key of ``suffix`` in ``shard``."""
        return f"{{{self._tag}{shard}}}{suffix}"

    def take(self, shards: Sequence[int], owner: str, transaction: str) -> list[str]:
        """Mark ``shards`` as owned; the transactional ids of the previous owners (empty: let go cleanly)."""
        return [str(each, "ascii") for each in self._mark(shards, owner, transaction)]

    def let_go(self, shards: Iterable[int], owner: str) -> None:
        """Say that no transaction of ``owner`` is open on ``shards`` any more."""
        self._mark(shards, owner, "")

    def _mark(self, shards: Iterable[int], owner: str, transaction: str) -> list[bytes]:
        return _OWN.run_all(self._redis, [([self.key(shard, "shard")], [owner, transaction]) for shard in shards])

    def read(self, shards: Sequence[int]) -> list[Stored]:
        """Offset, state and outbox of each shard, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in shards:
            pipe.hmget(self.key(shard, "shard"), "r", "state")
            pipe.get(self.key(shard, "out"))
        replies: list[Any] = pipe.execute()
        return [
            Stored(
                int(held[0]) if held[0] is not None else None, held[1] or b"", _outbox.decode(packed) if packed else []
            )
            for held, packed in zip(replies[::2], replies[1::2], strict=True)
        ]

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Write the first offset of shards that have none, long before there is anything to commit: a shard whose
        first commit Redis loses would else look like one that has lost everything."""
        pipe = self._redis.pipeline(transaction=False)
        for shard, offset in offsets.items():
            pipe.hsetnx(self.key(shard, "shard"), "r", str(offset))
        pipe.execute()

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        """The values of key suffixes per shard, in one round trip; None where there is none."""
        asked = [(shard, suffixes) for shard, suffixes in wanted.items() if suffixes]
        if not asked:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for shard, suffixes in asked:
            tag = f"{{{self._tag}{shard}}}"
            pipe.mget([tag + suffix for suffix in suffixes])
        replies: list[Any] = pipe.execute()
        return {shard: values for (shard, _), values in zip(asked, replies, strict=True)}

    def scan(self, cursor: int, count: int) -> tuple[int, dict[int, list[str]]]:
        """About ``count`` of all keys there are, from ``cursor`` (0: from the first): the cursor of the next (0: there
        are no more), and the customers found, by shard. Who is there from the first call to the last is found."""
        start, end = f"{{{self._tag}", "}c:"
        found: Any = self._redis.scan(cursor, match=f"{start}*{end}*", count=count)
        customers: dict[int, list[str]] = {}
        for key in found[1]:
            number, _, customer = str(key, "utf-8").removeprefix(start).partition(end)
            if number.isdigit():
                customers.setdefault(int(number), []).append(customer)
        return int(found[0]), customers

    def timers(self, limits: Mapping[int, int]) -> dict[int, list[tuple[int, str]]]:
        """The earliest timers of shards, of each at most so many, as (due, customer), ordered; in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for shard, limit in limits.items():
            pipe.zrange(self.key(shard, "timers"), 0, limit - 1, withscores=True)
        return {shard: list(map(_timer, found)) for shard, found in zip(limits, pipe.execute(), strict=True)}

    def interested(self, products: Mapping[int, Sequence[str]]) -> dict[int, list[dict[str, int]]]:
        """Who is interested in products, per shard, and since when (ms); in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for shard, skus in products.items():
            for sku in skus:
                pipe.zrange(self.key(shard, "i:" + sku), 0, -1, withscores=True)
        replies = iter(pipe.execute())
        return {shard: [dict(map(_interest, next(replies))) for _ in skus] for shard, skus in products.items()}

    def counts(self, shards: Iterable[int]) -> dict[str, int]:
        """The account, summed over ``shards``."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in shards:
            pipe.hgetall(self.key(shard, "count"))
        total: dict[str, int] = {}
        for counts in pipe.execute():
            for name, count in counts.items():
                total[name.decode()] = total.get(name.decode(), 0) + int(count)
        return total

    def sizes(self, shards: Sequence[int]) -> dict[int, Size]:
        """How large each shard is, and where it stands."""
        pipe = self._redis.pipeline(transaction=False)
        for shard in shards:
            pipe.hget(self.key(shard, "count"), "customers")
            pipe.zcard(self.key(shard, "timers"))
            pipe.hget(self.key(shard, "shard"), "r")
        replies: list[Any] = pipe.execute()
        return {
            shard: Size(int(customers or 0), int(timers), None if r is None else int(r))
            for shard, customers, timers, r in zip(shards, replies[::3], replies[1::3], replies[2::3], strict=True)
        }

    def commit(self, commits: Sequence[Commit], owner: str, wall_ms: int) -> None:
        """Write all commits in one round trip, each atomic in its shard. Raises `Conflict` if one was refused.

        The others stay: a shard is the unit of atomicity, and who meets a conflict takes all shards over again.
        """
        done = _COMMIT.run_all(self._redis, [self._arguments(commit, owner, wall_ms) for commit in commits])
        refused = [commit.shard for commit, each in zip(commits, done, strict=True) if each != 1]
        if refused:
            raise Conflict(f"shards {refused}: offset or owner changed under this process")

    def _arguments(self, commit: Commit, owner: str, wall_ms: int) -> tuple[list[str], list[Any]]:
        tag = f"{{{self._tag}{commit.shard}}}"
        timers = [part for customer, due in commit.timers.items() for part in ("" if due is None else due, customer)]
        counters = [part for pair in commit.counters.items() for part in pair]
        products, index = _indexed(commit.interest) if commit.interest else ([], [])
        keys = [tag + "shard", tag + "timers", tag + "out", tag + "count"]
        keys += [tag + key for key in (*products, *commit.entities)]
        args: list[Any] = [
            "" if commit.expected is None else commit.expected,
            owner,
            commit.r,
            commit.state,
            wall_ms,
            msgspec.msgpack.encode(commit.outbox) if commit.outbox else b"",
            len(timers),
            len(counters),
            len(products),
            *timers,
            *counters,
            *index,
            *(b"" if value is None else value for value in commit.entities.values()),
        ]
        return keys, args


def _indexed(interest: Interest) -> tuple[list[str], list[Any]]:
    """Key suffixes of products, and the arguments that bring the index up to date."""
    arguments: list[Any] = [interest.forgotten, INTERESTED, interest.within + _OUTLIVES]
    for customers in interest.products.values():
        arguments += (2 * len(customers), *[part for customer, time in customers.items() for part in (time, customer)])
    return ["i:" + product for product in interest.products], arguments


def _timer(entry: tuple[bytes, float]) -> tuple[int, str]:
    return int(entry[1]), str(entry[0], "ascii")


def _interest(entry: tuple[bytes, float]) -> tuple[str, int]:
    return str(entry[0], "utf-8"), int(entry[1])
