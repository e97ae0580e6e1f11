"""Redis in memory: the commands that the flows and the oracle use, and the three scripts.

What the scripts do is written here once more; a test lets both do the same and compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any
from zlib import crc32

import redis

from state.script import Script

_SCRIPTS = {Script(name).sha: name for name in ("commit", "own", "identity")}
#: In how many pages a scan comes.
_PAGES = 3


class Store:
    """All keys: a string is bytes, a hash or a sorted set a dictionary."""

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}

    def snapshot(self) -> dict[bytes, Any]:
        """What it holds now."""
        return deepcopy(self.values)

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """One command."""
        return getattr(self, f"_{name}")(*args, **options)

    def _get(self, key: Any) -> bytes | None:
        held = self.values.get(_bytes(key))
        return held if isinstance(held, bytes) else None

    def _mget(self, keys: Sequence[Any]) -> list[bytes | None]:
        return [self._get(key) for key in keys]

    def _set(self, key: Any, value: Any) -> bool:
        self.values[_bytes(key)] = _bytes(value)
        return True

    def _hash(self, key: Any) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = self.values.setdefault(_bytes(key), {})
        return found

    def _hget(self, key: Any, field: Any) -> bytes | None:
        return self._hgetall(key).get(_bytes(field))

    def _hmget(self, key: Any, *fields: Any) -> list[bytes | None]:
        fields = tuple(fields[0]) if isinstance(fields[0], list) else fields
        return [self._hget(key, field) for field in fields]

    def _hgetall(self, key: Any) -> dict[bytes, bytes]:
        return dict(self.values.get(_bytes(key), {}))

    def _hset(self, key: Any, mapping: Mapping[Any, Any]) -> int:
        self._hash(key).update((_bytes(field), _bytes(value)) for field, value in mapping.items())
        return len(mapping)

    def _hsetnx(self, key: Any, field: Any, value: Any) -> int:
        held = self._hash(key)
        return int(held.setdefault(_bytes(field), new := _bytes(value)) is new)

    def _zcard(self, key: Any) -> int:
        return len(self.values.get(_bytes(key), {}))

    def _zrem(self, key: Any, *members: Any) -> int:
        held = self.values.get(_bytes(key), {})
        return sum([held.pop(_bytes(member), None) is not None for member in members])

    def _zrange(self, key: Any, first: int, last: int, withscores: bool) -> list[tuple[bytes, float]]:
        held = sorted(self.values.get(_bytes(key), {}).items(), key=lambda each: (each[1], each[0]))
        return held[first : last + 1 if last >= 0 else None]

    def _scan(self, cursor: int, match: str, count: int) -> tuple[int, list[bytes]]:
        pattern = _pattern(match)
        found = [key for key in self.values if crc32(key) % _PAGES == cursor and pattern.fullmatch(key)]
        return (cursor + 1) % _PAGES, found

    # -- scripts -------------------------------------------------------------------------------------------

    def _evalsha(self, script: str, count: int, *rest: Any) -> Any:
        run: Callable[..., Any] = getattr(self, f"_{_SCRIPTS[script]}")
        return run([_bytes(key) for key in rest[:count]], [_bytes(arg) for arg in rest[count:]])

    def _own(self, keys: list[bytes], args: list[bytes]) -> bytes:
        held = self._hash(keys[0])
        if args[1] == b"":
            if held.get(b"owner") == args[0]:
                held[b"txn"] = b""
            return b""
        before = held.get(b"txn", b"")
        held.update({b"owner": args[0], b"txn": args[1]})
        return before

    def _commit(self, keys: list[bytes], args: list[bytes]) -> int:
        shard, timers, out, account, *others = keys
        held = self._hash(shard)
        if held.get(b"r", b"") != args[0] or held.get(b"owner") != args[1]:
            return 0
        sizes, rest = [int(each) for each in args[6:9]], iter(args[9:])
        for due, customer in _pairs(rest, sizes[0]):
            if due == b"":
                self.values.get(timers, {}).pop(customer, None)
            else:
                scores: dict[bytes, Any] = self._hash(timers)
                scores[customer] = float(due)
        for name, by in _pairs(rest, sizes[1]):
            counts = self._hash(account)
            counts[name] = b"%d" % (int(counts.get(name, b"0")) + int(by))
        if sizes[2]:
            self._note(others[: sizes[2]], int(args[2]), rest)
        for key, value in zip(others[sizes[2] :], rest, strict=True):
            self._put(key, value)
        self._put(out, args[5])
        held.update({b"r": args[2], b"state": args[3], b"committed": args[4]})
        return 1

    def _note(self, keys: list[bytes], r: int, rest: Iterator[bytes]) -> None:
        """Interest in products; what is too old or too much goes now and then."""
        forgotten, most, _ = float(next(rest)), int(next(rest)), next(rest)
        for place, key in enumerate(keys, 5):
            index: dict[bytes, Any] = self._hash(key)
            for time, customer in _pairs(rest, int(next(rest))):
                index[customer] = max(float(time), index.get(customer, float(time)))
            if (place + r) % 8 == 0:
                kept = sorted((time, customer) for customer, time in index.items() if time > forgotten)[-most:]
                self.values[key] = {customer: time for time, customer in kept}

    def _put(self, key: bytes, value: bytes) -> None:
        if value == b"":
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def _identity(self, keys: list[bytes], args: list[bytes]) -> bytes | None:
        sources, rest, names = self._hash(keys[0]), iter(args), iter(keys[1:])
        marks = [(next(rest), next(rest), next(rest)) for _ in range(int(next(rest)))]
        if any(sources.get(field, b"") != expected for field, expected, _ in marks):
            return None
        done = b"".join(self._try(list(_triples(names, rest, int(size)))) for size in rest)
        if b"0" not in done:
            sources.update((field, moved) for field, _, moved in marks)
        return done

    def _try(self, write: list[tuple[bytes, bytes, bytes]]) -> bytes:
        for name, expected, _ in write:
            held = self.values.get(name)
            if held is not None if expected == b"" else expected != b"*" and not (held or b"").startswith(expected):
                return b"0"
        for name, _, value in write:
            if value != b"=":
                self._put(name, value)
        return b"1"


class Client:
    """A connection: before each round trip, in a pipeline before each write, it is somebody's turn."""

    def __init__(self, store: Store, effect: Callable[[str, str], str]) -> None:
        self._store = store
        self._effect = effect

    def pipeline(self, transaction: bool) -> Pipeline:
        return Pipeline(self)

    def scan_iter(self, match: str, count: int) -> list[bytes]:
        return [key for page in range(_PAGES) for key in self._store.call("scan", page, match, count)[1]]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: self.call(name, *args, **options)

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """One command, which may be lost, or its reply."""
        verdict = self._effect("redis", f"evalsha {_SCRIPTS[args[0]]}" if name == "evalsha" else name)
        if verdict == "lost":
            raise redis.ConnectionError("lost")
        result = self._store.call(name, *args, **options)
        if verdict == "unheard":
            raise redis.ConnectionError("no reply")
        return result


#: Commands that change nothing: of those in a row nobody sees the first alone.
_READS = frozenset(("hmget", "get", "mget", "hget", "hgetall", "zcard"))


class Pipeline:
    """Commands that are sent together and carried out one after the other; others may come in between."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: self._commands.append((name, args, options))

    def execute(self) -> list[Any]:
        """All replies."""
        replies, reading = [], False
        for name, args, options in self._commands:
            if reading and name in _READS:
                replies.append(self._client._store.call(name, *args, **options))
            else:
                replies.append(self._client.call(name, *args, **options))
            reading = name in _READS
        return replies


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _pairs(rest: Iterator[bytes], count: int) -> Iterator[tuple[bytes, bytes]]:
    return ((next(rest), next(rest)) for _ in range(count // 2))


def _triples(names: Iterator[bytes], rest: Iterator[bytes], count: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    return ((next(names), next(rest), next(rest)) for _ in range(count))


def _pattern(match: str) -> re.Pattern[bytes]:
    parts = re.findall(r"\\(.)|(\*)|(.)", match)
    text = "".join(".*" if star else re.escape(escaped or plain) for escaped, star, plain in parts)
    return re.compile(text.encode(), re.DOTALL)
