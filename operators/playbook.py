"""The plays in force as a set: compiled from what is written, checked, and indexed by what wakes them.

::

    book = PlayBook(file)                     # checks it all: ConfigError lists every fault
    for reaction in book.reactions["Product Viewed"]: ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import time
from typing import Final

import msgspec

from operators import quiet
from operators.playcompiler import PlayCompiler
from operators.plays import DAY, KEPT_SENT, Cap, Play, Reaction
from operators.segmentbook import SegmentBook
from schemas import plays as written
from schemas.errors import MALFORMED, ConfigError
from schemas.plays import PlayFile, milliseconds

_file = msgspec.json.Decoder(PlayFile)
#: What tells the days that come every year.
_DATING: Final = {"birthday": "Signed Up", "first_order": "Order Completed"}


class PlayBook:
    """A set of plays. ``version`` names its ``content``, which says what ``file`` says; ``reactions`` are indexed by
    the type of touchpoint: one costs only the plays that could react to it. Raises `ConfigError` that lists every
    fault."""

    def __init__(self, file: PlayFile) -> None:
        self.content = msgspec.json.encode(file, order="deterministic")
        # As whoever has only the content reads it: the order in a message follows from that, and draws from the order.
        self.file = file = _file.decode(self.content)
        self.version = hashlib.blake2b(self.content, digest_size=8).hexdigest()
        self.start_within = milliseconds(file.limits.start_within)
        self.caps = [
            Cap(cap.messages, milliseconds(cap.within), cap.channel, cap.category, cap.others)
            for cap in file.limits.caps
        ]
        #: So long (ms) what other tools have sent is remembered.
        self.others = max([cap.within for cap in self.caps if cap.others], default=0)
        self.timezone = file.limits.timezone
        self.quiet_hours = _quiet(file.limits.quiet_hours)
        self.holdout = file.limits.holdout
        #: So long (ms) the plays of a group wait for others.
        self.windows = {name: milliseconds(group.window) for name, group in file.limits.groups.items() if group.window}
        #: So long (ms) messages are remembered.
        self.remembered = max([cap.within for cap in self.caps], default=0)
        self.plays: dict[str, Play] = {}
        self.reactions: dict[str, list[Reaction]] = {}
        self.segments = SegmentBook(file.windows, file.segments)
        faults = [*_limits(self.caps), *self.segments.faults]
        interests: dict[str, list[PlayCompiler]] = {}
        if quiet.zone(self.timezone) is None:
            faults.append(f"limits.timezone: {self.timezone!r} is no time zone; allowed: such as Asia/Shanghai")
        for name, play in file.plays.items():
            compiling = PlayCompiler(name, play, self.segments)
            self.plays[name] = compiling.play
            for type, reaction in compiling.reactions:
                self.reactions.setdefault(type, []).append(reaction)
            faults += compiling.faults
            if compiling.play.watch is not None:
                interests.setdefault(compiling.play.watch.interest, []).append(compiling)
            if play.group is not None and play.group not in file.limits.groups:
                known = ", ".join(file.limits.groups) or "none yet"
                faults.append(f"plays.{name}.group: {play.group!r} is not among limits.groups: {known}")
        if faults:
            raise ConfigError(faults)
        #: Plays that speak on a day of the year, and the touchpoints that may tell which that is.
        self.yearly = [play for play in self.plays.values() if play.yearly is not None]
        self.dating = frozenset([_DATING[play.yearly] for play in self.yearly if play.yearly])
        #: Whether what customers already are may start something.
        self.standing = bool(self.yearly or self.segments.segments)
        self.testers = frozenset(file.limits.testers)
        #: Types of touchpoints that may reach a goal.
        self.goal_types = frozenset([type for play in self.plays.values() if play.goal for type in play.goal.types])
        #: Plays that wait for the score to cross into a band.
        self.scored = [play for play in self.plays.values() if play.band is not None]
        #: Plays that wait for a segment, by ``entered`` or ``left`` and its name.
        self.crossings: dict[tuple[str, str], list[Play]] = {}
        for waiting in self.plays.values():
            if waiting.crossing is not None:
                self.crossings.setdefault(waiting.crossing, []).append(waiting)
        #: Plays that wait for something to become of a product.
        self.watching = [play for play in self.plays.values() if play.watch is not None]
        #: So long (ms) interest in products counts; 0 if no play asks for it.
        self.interest = max([play.watch.within for play in self.watching if play.watch], default=0)
        #: By the name of an interest, a play that asks for it.
        self.asking: dict[str, Play] = {}
        for name, asking in interests.items():
            self._follow(name, asking)

    def _follow(self, name: str, asking: Sequence[PlayCompiler]) -> None:
        """Plays that ask for the same interest share what is kept of it."""
        within = max([each.play.watch.within for each in asking if each.play.watch])
        shared = Play(name, (), "", "", 0, within=within)
        self.asking[name] = asking[0].play
        for type, reaction in asking[0].interest:
            self.reactions.setdefault(type, []).append(reaction._replace(play=shared))

    @classmethod
    def from_bytes(cls, content: bytes) -> PlayBook:
        """What was put in force. Raises `ConfigError` if this version of the product cannot carry it out."""
        try:
            return cls(_file.decode(content))
        except MALFORMED as error:
            raise ConfigError([f"plays in force: {error}"]) from None

    def category(self, play: str) -> str | None:
        """The category of a play, None of one that is no longer there."""
        return self.plays[play].category if play in self.plays else None

    def group(self, play: str) -> str | None:
        """The group that a play competes in, if it is there and does."""
        return self.plays[play].group if play in self.plays else None


def _quiet(hours: written.QuietHours | None) -> quiet.Quiet | None:
    if hours is None:
        return None
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    return quiet.Quiet(start, end, hours.channels, hours.then == "hold")


def _limits(caps: list[Cap]) -> list[str]:
    """Caps count what is remembered: no more than `KEPT_SENT` messages may be sent within the longest window."""
    faults = [
        f"limits.caps[{i}].others: has no meaning beside category: what other tools send has none; leave one out"
        for i, cap in enumerate(caps)
        if cap.others and cap.category
    ]
    longest = max([cap.within for cap in caps], default=0)
    overall = [cap.messages * -(-longest // cap.within) for cap in caps if not cap.channel and not cap.category]
    if caps and min(overall, default=KEPT_SENT + 1) > KEPT_SENT:
        faults.append(
            f"limits.caps: more than {KEPT_SENT} messages could be sent within the longest window, {longest // DAY} "
            "days, and so many are not remembered; add a cap without channel and category that is low enough"
        )
    return faults


#: What is in force before any were put in force.
NO_PLAYS: Final = PlayBook(PlayFile(plays={}))
