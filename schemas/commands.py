"""What is decided of identity by an operator, or by time, as it goes through Kafka: in order, and again in a replay.

Identifiers travel as tokens, so that the topic holds no personal value; who writes a command has the index key.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from schemas.errors import MALFORMED, RecordFault
from schemas.touchpoint import MAX_TIME, MIN_TIME, Key, Text

Op = Literal["merge", "split", "release", "erase", "expire"]
#: How many identifiers each operation needs at least.
NEEDS: dict[Op, int] = {"merge": 2, "split": 2, "release": 1, "erase": 1, "expire": 1}


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``merge`` the first two of ``ids`` into one customer, ``split`` them for good, ``release`` the first, a hub, from
    quarantine (the others are of the people it has met, whose evidence is looked at again), ``erase`` the customers
    who hold any of them, or let them ``expire``: engage says that of who is anonymous and silent. ``time`` (ms) is when
    it was decided: what happened later is not concerned. ``by`` and ``reason`` are kept in the clear."""

    id: Key
    op: Op
    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1_000)]
    time: Annotated[int, msgspec.Meta(ge=MIN_TIME, lt=MAX_TIME)]
    by: Text = ""
    reason: Text = ""


_decoder = msgspec.json.Decoder(Command)
encode = msgspec.json.Encoder().encode


def decode(raw: bytes) -> Command:
    """A command. Raises `RecordFault`."""
    try:
        command = _decoder.decode(raw)
    except MALFORMED:
        raise RecordFault("not_a_command") from None
    if len(set(command.ids)) < max(NEEDS[command.op], len(command.ids)):
        raise RecordFault("not_a_command", "$.ids")
    return command
