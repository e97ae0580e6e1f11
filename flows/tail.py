"""Show what touchstream writes, as it comes: readable lines, or the records' own JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson
from confluent_kafka import Message

from flows.reading import read
from schemas.config import Config
from schemas.outputs import (
    Alert,
    Alias,
    Audit,
    DeadLetter,
    Decision,
    Example,
    IdentityChange,
    Kpis,
    Outcome,
    Score,
    SegmentChange,
    Trigger,
)
from schemas.topics import ALIASES, DEAD_LETTERS, KPIS, OUTPUTS, STITCHED, topic_name

#: What can be shown. Sources hold personal values in the clear and are not among them.
NAMES: Final = (*OUTPUTS, KPIS, ALIASES, DEAD_LETTERS, STITCHED)


def tail(
    config: Config,
    name: str,
    write: Callable[[str], object],
    *,
    from_start: bool = False,
    as_json: bool = False,
    count: int | None = None,
    follow: bool = True,
) -> int:
    """Write a line per record of topic ``name`` until ``count`` (or, without ``follow``, the end); how many."""
    written = 0
    for messages in read(config, topic_name(config, name), start=0 if from_start else None, follow=follow):
        for message in messages:
            if count is not None and written >= count:
                return written
            write(_text(message.value()) if as_json else readable(name, message))
            written += 1
        if count is not None and written >= count:
            break
    return written


def readable(name: str, message: Message) -> str:
    """One line for one record."""
    make = _LINES.get(name)
    value = message.value() or b""
    try:
        return printable(make(value)) if make else _stitched(value)
    except msgspec.DecodeError:
        return f"{message.partition()}/{message.offset()} not readable as {name}: {_text(value)}"


def clock(ms: int) -> str:
    """``2026-01-05 10:00:00.123`` UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(" ", "milliseconds")[:23]


def trigger_line(trigger: Trigger) -> str:
    """One line for one trigger."""
    data = trigger.data
    delay = f"  +{data.decided_at - data.touchpoint_ts} ms" if data.touchpoint_ts else ""
    values = " ".join(f"{key}={each}" for key, each in data.values.items())
    return f"{clock(data.decided_at)}  {data.play:16} {data.channel:8} {data.customer}  {values}{delay}"


def _trigger(value: bytes) -> str:
    return trigger_line(_decoded(value, Trigger))


def _decision(value: bytes) -> str:
    it = _decoded(value, Decision)
    return f"{clock(it.at)}  {it.play:16} {it.outcome:8} {it.code or it.channel or '':14} {it.customer}"


def _outcome(value: bytes) -> str:
    it = _decoded(value, Outcome)
    said = f"converted after {it.after / 3_600_000:.1f} h, {it.revenue:.2f}" if it.converted else "not converted"
    return f"{clock(it.at)}  {it.play:16} {it.outcome:8} {said:32} {it.customer}"


def _segment(value: bytes) -> str:
    it = _decoded(value, SegmentChange)
    why = it.reason if it.type is None else it.type
    return f"{clock(it.at)}  {it.segment:24} {it.change:8} {it.customer}  {why}"


def _score(value: bytes) -> str:
    it = _decoded(value, Score)
    return f"{clock(it.at)}  {it.probability:.3f} {it.band:7} {it.customer}  model {it.model[:12]}"


def _change(value: bytes) -> str:
    it = _decoded(value, IdentityChange)
    into = f"{it.old} -> " if it.old else ""
    return f"{clock(it.at)}  {it.kind:8} {into}{it.customer}  {' '.join(it.ids)}{it.why and f' ({it.why})'}"


def _alias(value: bytes) -> str:
    it = _decoded(value, Alias)
    return f"{clock(it.at)}  {it.customer} -> {it.target or 'erased'}"


def _audit(value: bytes) -> str:
    it = _decoded(value, Audit)
    counts = ", ".join(f"{count} {name}" for name, count in it.counts.items())
    said = " ".join(part for part in (it.why, counts, f"by {it.by}" if it.by else "", it.reason) if part)
    return f"{clock(it.at)}  {it.op:8} {it.outcome:8} {' '.join(it.customers or it.ids)}  {said}"


def _alert(value: bytes) -> str:
    it = _decoded(value, Alert)
    return f"{clock(it.at)}  {it.kind:12} {it.customer}  {' '.join(it.ids)}  {it.text}"


def _figures(value: bytes) -> str:
    it = _decoded(value, Kpis)
    window = f"{it.seconds:>2} s" if it.seconds else "in all"
    touchpoints = sum(sum(types.values()) for types in it.touchpoints.values())
    sent = sum(sum(play.sent.values()) for play in it.plays.values())
    said = f"{touchpoints} touchpoints, {it.orders} orders, {it.revenue:.2f}, {sent} messages"
    return f"{clock(it.start or it.clock)}  {window:6} revision {it.revision:<8} {said}"


def _example(value: bytes) -> str:
    if b'"k":"control"' in value[:64]:  # an operator's word to the learn flow
        return _stitched(value)
    it = _decoded(value, Example)
    label = "left" if it.label else "stayed"
    return f"{clock(it.time)}  {label:7} predicted {it.probability:.3f}  {it.customer}"


def _dead_letter(value: bytes) -> str:
    it = _decoded(value, DeadLetter)
    return f"{clock(it.at)}  {it.reason} at {it.path} ({it.stage})  {it.topic}/{it.partition}/{it.offset}"


def _stitched(value: bytes) -> str:
    record = orjson.loads(value)
    who = record.get("customer") or record.get("key") or ""
    return printable(f"{clock(record['at'])}  {record['k']:8} {who}  {record.get('type') or record.get('kind') or ''}")


_LINES: Final[dict[str, Callable[[bytes], str]]] = {
    "triggers": _trigger,
    "decisions": _decision,
    "outcomes": _outcome,
    "segments": _segment,
    "scores": _score,
    "identity.changes": _change,
    "audit": _audit,
    "alerts": _alert,
    KPIS: _figures,
    ALIASES: _alias,
    "churn.examples": _example,
    DEAD_LETTERS: _dead_letter,
}


def _decoded(value: bytes, kind: type[Any]) -> Any:
    return msgspec.json.decode(value, type=kind)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def printable(text: str) -> str:
    """Senders choose some of these texts: nothing in them may steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
