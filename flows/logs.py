"""Logs on standard error: one JSON object a line, or readable text; never with personal values.

Fields go in as ``extra``::

    log.info("partitions assigned", extra={"partitions": 4, "seconds": 0.31})
    {"time":"2026-01-05T10:00:00.123Z","level":"info","logger":"operators.subscription","message":...,"partitions":4,...}

The text of an exception may repeat a record (``ValueError: invalid literal 'anna@example.org'``), so it is
shown only for errors known not to; of all others the type and the places in the code remain.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from schemas.config import Log
from schemas.errors import TouchstreamError

#: Modules whose errors speak of connections, offsets and settings only. `cimpl` is confluent_kafka's own.
_PLAIN_MODULES: Final = ("cimpl", "confluent_kafka", "redis", "bytewax")
_WITHHELD: Final = "(text withheld: it may hold personal values)"
_STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
log = logging.getLogger(__name__)


def setup(config: Log) -> None:
    """Send all logs, warnings and uncaught errors of this process to standard error as configured."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(config.level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the fields, and ``exception`` (outermost first)."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in fields(record).items() if name not in entry}
        if error := _error(record):
            entry["exception"] = list(describe(error))
        return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """``10:00:00.123 info  operators.subscription: partitions taken over (partitions=4)``; exceptions below."""

    def format(self, record: logging.LogRecord) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in fields(record).items())
        head = f"{_time(record.created)[11:-1]} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        lines = [head + (f" ({facts})" if facts else "")]
        if error := _error(record):
            lines += [line for entry in describe(error) for line in _text(entry)]
        return "\n    ".join(line.replace("\n", "\\n") for line in lines)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def describe(error: BaseException) -> Iterator[dict[str, Any]]:
    """Type, text (if known to be harmless) and places of ``error`` and of what caused it, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = traceback.extract_tb(cause.__traceback__)
        yield {
            "type": type(cause).__qualname__,
            "text": str(cause) if _harmless(cause) else _WITHHELD,
            "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _harmless(error: BaseException) -> bool:
    known = isinstance(error, TouchstreamError | OSError | ImportError | MemoryError)
    return known or type(error).__module__.partition(".")[0] in _PLAIN_MODULES


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _text(entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"{entry['type']}: {entry['text']}"
    yield from (f"  {place}" for place in entry["at"])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uncaught(kind: type[BaseException], error: BaseException | None, at: object) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical("uncaught error", exc_info=(kind, error, error.__traceback__) if error else None)
