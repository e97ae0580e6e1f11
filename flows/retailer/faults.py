"""What goes wrong on the way: late records, junk identifiers, duplicates, broken records.

Each record gets at most one of late and junk. Duplicates and broken records are written in addition, so that
what the customers truly did is always there whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log
from random import Random
from typing import NamedTuple

from flows.retailer.encode import identifier, with_at, with_time
from flows.retailer.rates import Rates

#: Identifiers everybody has: what test accounts, unset variables and tracking limits leave behind.
JUNK = (
    ("device", "null"),
    ("phone", "0000"),
    ("email", "test@test.com"),
    ("advertising_id", "00000000-0000-0000-0000-000000000000"),
    ("cookie", "undefined"),
    ("member", "0"),
)
#: Kinds of written records, one byte each.
PLAIN, LATE, WITH_JUNK, DUPLICATE, BROKEN = range(5)

_LIST = b'"identifiers":['
#: A duplicate comes at most this many records after the first.
_APART = 300


class Written(NamedTuple):
    """Records with the keys they are sent under and their kinds, same length."""

    events: list[bytes]
    keys: list[bytes]
    kinds: bytearray


def _no_id(raw: bytes) -> bytes:
    return b"{" + raw.partition(b",")[2]


def _seconds(raw: bytes) -> bytes:
    at = int(raw[-14:-1])
    return with_time(raw, at // 1000, at)


def _text_time(raw: bytes) -> bytes:
    return raw[: -len(b'1234567890123,"at":1234567890123}')] + b'"yesterday",' + raw[-len(b'"at":1234567890123}') :]


#: name -> what makes a good record bad; each is refused by ``schemas.touchpoint``.
BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda raw: raw[: len(raw) // 2],
    "not_text": lambda raw: b"\xff\xfe" + raw[:60],
    "no_id": _no_id,
    "source_is_number": lambda raw: raw.replace(b'"source":"', b'"source":7,"was":"', 1),
    "data_is_number": lambda raw: raw.replace(b'"data":{', b'"data":7,"was":{', 1),
    "seconds_for_milliseconds": _seconds,
    "time_is_words": _text_time,
}


class Faults:
    """Applies the rates to one stretch of records after another."""

    def __init__(self, rng: Random, rates: Rates) -> None:
        self._rng, self._rates = rng, rates
        self._junk = [_LIST + identifier(ns, value) for ns, value in JUNK]
        self._breaks = list(BREAKS.values())

    def apply(self, events: list[bytes], keys: list[bytes], times: list[int]) -> Written:
        """``events`` in order of ``times`` (their ``at``, ms) become what is written; ``at`` never falls."""
        kinds = bytearray(len(events))
        for index in self._hits(len(events), self._rates.late):
            events[index], kinds[index] = self._late(events[index], times[index]), LATE
        for index in self._hits(len(events), self._rates.junk):
            if kinds[index] == PLAIN and _LIST in events[index]:
                events[index], kinds[index] = self._spoil(events[index]), WITH_JUNK
        return self._insert(Written(events, keys, kinds), times)

    def _hits(self, size: int, share: float) -> Iterator[int]:
        """Indexes, each with probability ``share``: the gaps between them are geometric."""
        if share <= 0:
            return
        scale = 0.0 if share >= 1 else 1 / log(1 - share)
        index = int(log(1 - self._rng.random()) * scale)
        while index < size:
            yield index
            index += 1 + int(log(1 - self._rng.random()) * scale)

    def _late(self, raw: bytes, at: int) -> bytes:
        """A minute to three days, most of them short."""
        return with_time(raw, at - 60_000 - int(3 * 86_400_000 * self._rng.random() ** 4), at)

    def _spoil(self, raw: bytes) -> bytes:
        junk = self._junk[int(self._rng.random() * len(self._junk))]
        empty = raw[raw.index(_LIST) + len(_LIST)] == ord("]")
        return raw.replace(_LIST, junk if empty else junk + b",", 1)

    def _insert(self, good: Written, times: list[int]) -> Written:
        """Put duplicates and broken records between the others."""
        extra = [*self._duplicates(good, times), *self._broken(good)]
        extra.sort(key=lambda each: each[0])
        written, done = Written([], [], bytearray()), 0
        for index, raw, key, kind in extra:
            _copy(good, done, index, written)
            written.events.append(raw)
            written.keys.append(key)
            written.kinds.append(kind)
            done = index
        _copy(good, done, len(good.events), written)
        return written

    def _duplicates(self, good: Written, times: list[int]) -> Iterator[tuple[int, bytes, bytes, int]]:
        """Half come at once and are the same bytes; half come later, written again at their own ``at``."""
        for index in self._hits(len(good.events), self._rates.duplicates):
            raw, position = good.events[index], index + 1
            if self._rng.random() < 0.5:
                position = min(len(good.events), position + int(self._rng.random() * _APART))
                raw = with_at(raw, times[position - 1])
            yield position, raw, good.keys[index], DUPLICATE

    def _broken(self, good: Written) -> Iterator[tuple[int, bytes, bytes, int]]:
        for index in self._hits(len(good.events), self._rates.broken):
            broken = self._breaks[int(self._rng.random() * len(self._breaks))]
            yield index, broken(good.events[index]), good.keys[index], BROKEN


def _copy(source: Written, start: int, end: int, target: Written) -> None:
    target.events.extend(source.events[start:end])
    target.keys.extend(source.keys[start:end])
    target.kinds.extend(source.kinds[start:end])
