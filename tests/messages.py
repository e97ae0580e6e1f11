"""Input records for tests of the stitch core."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

TOPIC = "t.touchpoints"
#: Kafka's time of every record, and the event time of the first (ms).
START = 1_770_000_000_000


class Message(NamedTuple):
    """A record as the consumer hands it out."""

    place: int
    raw: bytes | None
    part: int = 0
    ts: int = START
    name: bytes | None = None
    extra: tuple[tuple[str, bytes | None], ...] = ()
    source: str = TOPIC

    def topic(self) -> str:
        return self.source

    def partition(self) -> int:
        return self.part

    def offset(self) -> int:
        return self.place

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.raw

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self.extra) or None

    def timestamp(self) -> tuple[int, int]:
        return 1, self.ts


def touchpoint(number: int, *who: str, time: int | str = START, type: str = "Page Viewed", **fields: Any) -> bytes:
    """A touchpoint of ``namespace:value`` identifiers; a leading ``!`` says that a login proved it."""
    identifiers = []
    for each in who:
        ns, _, value = each.lstrip("!").partition(":")
        identifiers.append({"ns": ns, "value": value, "kind": "login" if each[0] == "!" else "observed"})
    event = {"id": f"e{number}", "source": "web", "type": type, "time": time, "identifiers": identifiers}
    return msgspec.json.encode(event | fields)


def message(offset: int, *who: str, part: int = 0, time: int | str = START, **fields: Any) -> Message:
    """A record that holds a touchpoint; ids are unique per partition and offset."""
    return Message(offset, touchpoint(part * 1_000_000 + offset, *who, time=time, **fields), part)
