"""Where a partition starts when it is taken over."""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import TopicPartition

from operators.kafka import Partition
from operators.topicids import RENEWED
from schemas.errors import PositionError


class Start(NamedTuple):
    """Where a partition starts: at ``offset``; outputs born of inputs below ``floor`` are in Kafka already;
    ``kind`` is fresh, crash or rollback (Redis lost its last moments: R < K)."""

    offset: int
    floor: int
    kind: str


#: Metadata of a group's very first offset, before anything was processed.
FRESH = "fresh"


def start(
    partition: Partition,
    committed: TopicPartition,
    r: int | None,
    first: int,
    end: int,
    *,
    renewed: bool,
    initialise: bool,
) -> Start:
    """Where to start a partition, from K (``committed``), R, and the first and the next offset of the log.

    Raises `PositionError` where R or K is missing although the other is not, the log does not reach from one to the
    other, or the topic was ``renewed``: deleted and created again since K. With ``initialise`` it starts as near as it
    can instead, where a position is lost at the first record. What is not lost stays as it is: a process meets this
    again whenever partitions change hands.
    """
    k = committed.offset if committed.offset >= 0 else None
    where = f"{partition[0]}/{partition[1]}"
    if r is None and (k is None or committed.metadata == FRESH):
        offset = first if k is None else max(k, first)
        return Start(offset, offset, FRESH)
    if r is None or k is None:
        gone, held = ("Redis", "Kafka's consumer group") if r is None else ("Kafka's consumer group", "Redis")
        again = ", make it again with 'touchstream rebuild'" if r is None else ""
        lost = (
            f"the position is missing in {gone} but not in {held}: state was lost. Restore it from a backup{again}, or "
            "start anew from the beginning of the log"
        )
    elif renewed:
        lost = f"{RENEWED}. Start anew from the beginning of this one"
    elif max(r, k) > end:
        lost = (
            f"offset {max(r, k)} is needed but the log ends at {end}: it has lost records, or is another log than it "
            "was. Bring the old one back, or start anew from the beginning of this one"
        )
    elif min(r, k) < first and not initialise:
        raise PositionError(
            f"{where}: offset {min(r, k)} is needed but the log starts at {first}: records were deleted before they "
            "were read. Restore them, or go on without them with --initialise."
        )
    else:
        r, k = max(r, first), max(k, first)
        return Start(r, k, "rollback" if r < k else "crash")
    if not initialise:
        raise PositionError(f"{where}: {lost} with --initialise.")
    return Start(first, first, FRESH)
