"""The bytes of a touchpoint, put together from parts rendered once: no JSON encoder runs per event.

An event is ``{"id":"PREFIX-N",`` + head + body + ``,"time":T,"at":A}``. The head (source, channel, session,
identifiers, device) is rendered per visit, most bodies per product. The end has a fixed width, so that time
and ``at`` can be set anew.
"""

from __future__ import annotations

import msgspec

to_json = msgspec.json.Encoder().encode
_END = len(b',"time":1234567890123,"at":1234567890123}')
_AT = len(b"1234567890123}")


def identifier(ns: str, value: str, login: bool = False) -> bytes:
    """One element of ``identifiers``."""
    return to_json({"ns": ns, "value": value} | ({"kind": "login"} if login else {}))


def head(source: str, channel: str, identifiers: list[bytes], device: dict[str, str] | None = None) -> bytes:
    """What all events of a channel have in common, up to the session."""
    fields = b'"source":"%b","channel":"%b","identifiers":[%b],' % (
        source.encode(),
        channel.encode(),
        b",".join(identifiers),
    )
    return fields + b'"device":%b,' % to_json(device) if device else fields


def body(type: str, data: object) -> bytes:
    """Type and data of an event; ``data`` is anything JSON has."""
    return b'"type":"%b","data":%b' % (type.encode(), to_json(data))


def number(prefix: bytes, first: int, events: list[tuple[int, bytes, bytes]]) -> list[bytes]:
    """Finished events from (time, key, head and body), numbered from ``first``; the hot loop."""
    return [
        b'%b%d",%b,"time":%d,"at":%d}' % (prefix, n, middle, time, time)
        for n, (time, _, middle) in enumerate(events, first)
    ]


def with_time(raw: bytes, time: int, at: int) -> bytes:
    """The same event, said to have happened at ``time``."""
    return raw[:-_END] + b',"time":%d,"at":%d}' % (time, at)


def with_at(raw: bytes, at: int) -> bytes:
    """The same event, written at ``at``."""
    return raw[:-_AT] + b"%d}" % at
