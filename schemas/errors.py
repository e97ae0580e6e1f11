"""The error tree.

::

    TouchstreamError
    ├── ConfigError         bad configuration: every fault, each with its key
    ├── AccessDenied        Kafka or Redis does not let this user in, or do that
    ├── NoCustomer          who is asked for is nobody here, or not any more
    ├── RecordFault         one input record is bad: becomes a dead letter, never stops a flow
    ├── PositionError       an offset Kafka no longer has, a lost or mismatching position
    ├── MissingContent      a control record names content that is not stored
    ├── ClockSkew           this process' clock and the broker's differ too much
    ├── SourceGoneMad       the share of dead letters passed its limit
    └── Conflict            another owner committed first: drop what is cached, take over again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

#: What decoders raise for bytes that are not what they should be.
MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class TouchstreamError(Exception):
    """Root of everything raised on purpose."""


class ConfigError(TouchstreamError):
    """Configuration is refused. ``faults`` lists every reason, each naming its key."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class AccessDenied(TouchstreamError):
    """Waiting does not help: somebody has to grant a right, or to set a password right."""


class NoCustomer(TouchstreamError):
    """Who is asked for is nobody: junk, never seen or unknown; or ``erased``."""

    def __init__(self, text: str, *, erased: bool = False) -> None:
        self.erased = erased
        super().__init__(text)


class RecordFault(TouchstreamError):
    """One record cannot be used. ``reason`` is a stable code; ``path`` is where, as ``$.path``.

    The text never repeats a value of the record: it is shown in the clear.
    """

    def __init__(self, reason: str, path: str = "$") -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{reason} at {path}")


class PositionError(TouchstreamError):
    """Where to go on reading is unknown or gone."""


class MissingContent(TouchstreamError):
    """Content named by its hash in the log is not in the store."""


class ClockSkew(TouchstreamError):
    """The clock of this process cannot be trusted to stamp records."""


class SourceGoneMad(TouchstreamError):
    """Too large a share of a source's records is broken."""


class Conflict(TouchstreamError):
    """A commit was refused: offset or owner in Redis are not what this process believes."""
