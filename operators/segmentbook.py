"""The windows and segments in force: compiled from what is written, checked, and indexed by what can change them.

A touchpoint costs only the windows that count its type and the segments that read what it may change.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from operators.compiling import Compiling, types_of
from operators.expressions import names_in
from operators.language import Name, Scope
from operators.scope import ARGUMENTS, CHANGED_BY, event_names, scope
from operators.windows import Window, sized
from schemas import plays as written
from schemas.plays import milliseconds
from state.profile import pack

#: What all windows together may take of a customer's profile (bytes, packed), and how many segments there may be.
LARGEST: Final = 16_384
MOST_SEGMENTS: Final = 100


class Segment(NamedTuple):
    """A segment, compiled: customers for whom ``who`` holds."""

    name: str
    who: Callable[..., bool]

    @property
    def bytes(self) -> int:
        """What being in it takes of a packed profile: its name, and since when."""
        return len(pack(self.name)) + 9


class SegmentBook:
    """Windows and segments as a set, of which ``version`` names the definitions ("": there are none). Those that are
    ``broken`` are in the file as well but cannot be read; naming them is no further fault."""

    def __init__(
        self,
        windows: Mapping[str, written.Window],
        segments: Mapping[str, written.Segment],
        broken_windows: Collection[str] = (),
        broken_segments: Collection[str] = (),
    ) -> None:
        self.faults: list[str] = []
        #: By name, by the key of their state, and by the type of touchpoint that they count.
        self.windows: dict[str, Window] = {}
        self.kept: dict[str, Window] = {}
        self.counting: dict[str, list[Window]] = {}
        for name, window in windows.items():
            self._window(name, window)
        #: What expressions may name.
        self.names = {f"window.{name}": Name("number", each.code) for name, each in self.windows.items()}
        self.names |= {f"window.{name}": Name("number", "0") for name in broken_windows}
        self.segments: dict[str, Segment] = {}
        #: All that a play may wait for.
        self.named = (*segments, *broken_segments)
        self._watching: dict[str, list[Segment]] = {}
        #: Those that anything may change.
        self._always: list[Segment] = []
        reads = {name: self._segment(name, segment) for name, segment in segments.items()}
        self._watch(reads, windows)
        self._limit(len(segments))
        said = {
            "windows": {name: window.key for name, window in self.windows.items()},
            "segments": {name: segment.who for name, segment in segments.items()},
        }
        self.version = _digest(msgspec.json.encode(said, order="deterministic")) if windows or segments else ""

    @property
    def bytes(self) -> int:
        """What all of it may take of a packed profile."""
        windows = sum([window.bytes for window in self.kept.values()])
        return windows + sum([segment.bytes for segment in self.segments.values()]) + len(self.version)

    def watching(self, type: str) -> list[Segment]:
        """The segments that a touchpoint of this type may change."""
        return self._watching.get(type, self._always)

    def _window(self, name: str, given: written.Window) -> None:
        compiling = Compiling(f"windows.{name}")
        types = compiling.types("of", given.of)
        if given.of.by:
            compiling.fault("of.by", "has no meaning: a window counts for the customer; leave it out")
        # Neither the profile nor the time it arrives at: what counts must not depend on the order of arrival.
        said = Scope(event_names(types), ARGUMENTS)
        where = compiling.compiled("of.where", given.of.where, said, "bool")
        amount = compiling.compiled("sum", given.sum, said, "number")
        key = _digest(msgspec.json.encode(given, order="deterministic"))
        window = Window(name, key, *sized(milliseconds(given.within), given.exact), where, amount)
        self.windows[name] = window
        if key not in self.kept:
            self.kept[key] = window
            for type in types:
                self.counting.setdefault(type, []).append(window)
        self.faults += compiling.faults

    def _segment(self, name: str, given: written.Segment) -> list[str]:
        """Compile a segment; what it reads."""
        compiling, names = Compiling(f"segments.{name}"), scope(self.names)._replace(followed=True)
        who = compiling.compiled("who", given.who, names, "bool")
        self.faults += compiling.faults
        if who is None:
            return []
        self.segments[name] = Segment(name, who)
        return names_in(given.who, names)

    def _watch(self, reads: Mapping[str, list[str]], windows: Mapping[str, written.Window]) -> None:
        """Index the segments by the types that change what they read."""
        counted = {f"window.{name}": frozenset(types_of(window.of)) for name, window in windows.items()}
        changed_by = counted | dict(CHANGED_BY)
        wanted = {name: [changed_by.get(each) for each in reads[name]] for name in self.segments}
        known = {type for each in wanted.values() for types in each if types for type in types}
        self._always = [self.segments[name] for name, each in wanted.items() if None in each]
        for type in sorted(known):
            self._watching[type] = [
                self.segments[name]
                for name, each in wanted.items()
                if any([types is None or type in types for types in each])
            ]

    def _limit(self, segments: int) -> None:
        held = sum([window.bytes for window in self.kept.values()])
        if held > LARGEST:
            largest = sorted(self.windows.values(), key=lambda window: -window.bytes)[:3]
            shown = ", ".join([f"{window.name} {window.bytes}" for window in largest])
            text = f"may take {held} bytes of every customer's profile, more than {LARGEST}; the largest: {shown}"
            self.faults.append(f"windows: {text}; keep fewer, or fewer times with `exact`")
        if segments > MOST_SEGMENTS:
            self.faults.append(f"segments: are {segments}; allowed: up to {MOST_SEGMENTS}")


def _digest(content: bytes) -> str:
    """48 bits."""
    return b64encode(blake2b(content, digest_size=6).digest()).decode()


#: What holds before there are any.
NO_SEGMENTS: Final = SegmentBook({}, {})
