"""A file as a history to be replayed: touchpoints as ``touchstream ingest`` takes them, or records of ``stitched``.

A file is looked through once for the times of its lines, and then read in their order; it need not fit into memory.
Touchpoints go by ``at`` or, without one, by their own time, and are resolved to customers as live does it, by the keys
and the policy of the configuration. Records of ``stitched`` (``touchstream tail stitched --json``) go by the clocks of
their shards. Those about no customer (ticks, visits, signals, control) do not say which shard they were in, and are
left out.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from shutil import copyfileobj
from typing import IO, Final, NamedTuple

import msgspec

from flows.history import TIMELESS, Entry
from flows.ingest import stamped
from operators.stitching import Stitcher
from schemas import stitched
from schemas.config import Config
from schemas.errors import MALFORMED, RecordFault, TouchstreamError
from schemas.outputs import DeadLetter
from schemas.stitched import Control, shard_of
from schemas.topics import DEAD_LETTERS, STITCHED, topic_name
from schemas.touchpoint import epoch_ms
from state.identity_memory import MemoryIdentity

#: The source that a file stands for.
SOURCE: Final = "file"
#: Lines between two looks at the progress.
STRIDE: Final = 10_000
#: Lines named that cannot be read.
NAMED: Final = 10


class _Given(msgspec.Struct):
    """What tells the time of a touchpoint."""

    time: int | str
    at: int | None = None


class _Written(msgspec.Struct):
    """What tells the time of a record of ``stitched``, and its shard; the timeless have none."""

    at: int
    customer: str = ""


_given = msgspec.json.Decoder(_Given)
_written = msgspec.json.Decoder(_Written)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_letters = msgspec.json.Decoder(DeadLetter)


class Line(NamedTuple):
    """A line as stitch reads it: a record of the source `SOURCE`, its number (from 1) the offset."""

    number: int
    raw: bytes
    at: int

    def topic(self) -> str:
        return SOURCE

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.number

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self.raw

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at


class FileHistory:
    """``file`` is read twice; what cannot be, standard input say, is copied aside before. ``progress`` is told how many
    lines were looked through."""

    ticked = False

    def __init__(self, config: Config, file: IO[bytes], progress: Callable[[int], object] = lambda done: None) -> None:
        self._config = msgspec.structs.replace(config, clock="log")
        self._bytes = _mapped(file)
        self._starts, self._numbers, self._times = array("Q"), array("Q"), array("q")
        self._bare = bytearray()
        self._unreadable: dict[int, str] = {}
        self._learned = False
        self._of_stitched = _is_stitched(self._bytes)
        self._look_through(progress)
        self.total, self.done = len(self._starts), 0

    def entries(self) -> Iterator[Entry]:
        """The records that the lines are or become, in order of time."""
        self.done = 0
        return self._read() if self._of_stitched else self._resolve()

    def notes(self) -> list[str]:
        """What was left out, and why."""
        found = []
        if self._unreadable:
            first = sorted(self._unreadable.items())[:NAMED]
            named = ", ".join(f"line {number} ({fault})" for number, fault in first)
            more = " ..." if len(self._unreadable) > NAMED else ""
            what = "records of stitched" if self._of_stitched else "touchpoints"
            found.append(f"{len(self._unreadable)} lines are no {what} and were left out: {named}{more}")
        if self._learned:
            found.append("what was learned is not taken from a file: the built-in prior scores, bandits know nothing")
        return found

    # -- the lines -------------------------------------------------------------------------------------------

    def _look_through(self, progress: Callable[[int], object]) -> None:
        """Note where lines begin and when they happened. What has no time stands where it stands."""
        time = start = 0
        clocks: defaultdict[int, int] = defaultdict(int)
        for number, line in enumerate(iter(self._bytes.readline, b""), 1):
            if not line.isspace():
                try:
                    time, bare = self._clock(line, clocks) if self._of_stitched else _time(line)
                except (*MALFORMED, RecordFault):
                    bare = False
                self._starts.append(start)
                self._numbers.append(number)
                self._times.append(time)
                self._bare.append(bare)
            start += len(line)
            if number % STRIDE == 0:
                progress(number)

    def _clock(self, line: bytes, clocks: dict[int, int]) -> tuple[int, bool]:
        """Where a record stands: by the clock of its shard, then by the shard."""
        written, shards = _written.decode(line), self._config.topics.shards
        if not written.customer:
            return 0, False
        shard = shard_of(written.customer, shards)
        clocks[shard] = max(clocks[shard], epoch_ms(written.at))
        return clocks[shard] * shards + shard, False

    def _lines(self) -> Iterator[Line]:
        """The lines in order of time; of one moment in their own."""
        starts, times, numbers, bare = self._starts, self._times, self._numbers, self._bare
        for place in _ordered(times):
            start = starts[place]
            end = self._bytes.find(b"\n", start)
            raw = self._bytes[start : end if end >= 0 else None]
            self.done += 1
            yield Line(numbers[place], stamped(raw, times[place]) if bare[place] else raw, times[place])

    # -- what they become ------------------------------------------------------------------------------------

    def _read(self) -> Iterator[Entry]:
        """Records of ``stitched`` as they are."""
        shards = self._config.topics.shards
        for number, raw, _ in self._lines():
            try:
                record = stitched.decode_gist(raw)
            except MALFORMED:
                self._unreadable[number] = "not one of its kinds"
                continue
            if isinstance(record, TIMELESS):
                self._learned |= isinstance(record, Control) and record.what in ("model", "bandit")
            else:
                yield shard_of(record.customer, shards), record, raw

    def _resolve(self) -> Iterator[Entry]:
        """Touchpoints, resolved to customers in batches as stitch does it."""
        written, dead = topic_name(self._config, STITCHED), topic_name(self._config, DEAD_LETTERS)
        now = 0
        stitcher = Stitcher(self._config, MemoryIdentity(), lambda: now)
        lines = self._lines()
        while some := list(islice(lines, self._config.limits.batch)):
            now = some[-1].at
            batch = stitcher.stitch(some, {}, {})
            stitcher.published(batch)
            for out in batch.outgoing:
                if out.topic == written and out.value is not None:
                    yield out.partition, stitched.decode_gist(out.value), out.value
                elif out.topic == dead and out.value is not None:
                    letter = _letters.decode(out.value)
                    self._unreadable[letter.offset] = f"{letter.reason} at {letter.path}"


def _mapped(file: IO[bytes]) -> mmap.mmap:
    """The bytes of a file, read as they are asked for."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (ValueError, OSError):  # empty, or a pipe
        with tempfile.TemporaryFile() as copy:
            copyfileobj(file, copy)
            copy.flush()
            if not copy.tell():
                raise TouchstreamError("there is nothing to replay: the file is empty") from None
            return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ)


def _is_stitched(lines: mmap.mmap) -> bool:
    """Whether the first line that can be read is a record of ``stitched``."""
    found = False
    for line in iter(lines.readline, b""):
        try:
            found = "k" in _object.decode(line)
            break
        except MALFORMED:
            continue
    lines.seek(0)
    return found


def _time(line: bytes) -> tuple[int, bool]:
    """When a touchpoint happens in the replay, and whether it does not say so itself. Raises what decoding does."""
    given = _given.decode(line)
    return epoch_ms(given.time if given.at is None else given.at), given.at is None


def _ordered(times: Sequence[int]) -> Sequence[int]:
    """Places in order of time; most histories are in order."""
    if all([before <= after for before, after in zip(times, islice(times, 1, None), strict=False)]):
        return range(len(times))
    return sorted(range(len(times)), key=times.__getitem__)
