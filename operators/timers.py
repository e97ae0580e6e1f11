"""The earliest timer of each customer of a shard, in memory as far as it has been loaded.

Redis holds all of them in one sorted set; here lies its head, up to and including ``horizon``. What is
scheduled beyond it goes to Redis only and comes back with a later load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

#: No timer lies beyond: everything is loaded.
ALL = 1 << 62


class TimerIndex:
    """A heap of (due, customer) with lazy deletion; ``changed`` collects what the next commit must write."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self.horizon = ALL
        self.changed: dict[str, int | None] = {}

    def fill(self, head: Sequence[tuple[int, str]], limit: int) -> None:
        """Replace the content by the head of the stored set: its ``limit`` earliest entries, ordered."""
        # With a full page, entries at the last due time may have been cut off: that time is not covered.
        self.horizon = head[-1][0] - 1 if len(head) >= limit else ALL
        self._due = {customer: due for due, customer in head if due <= self.horizon}
        self._heap = [(due, customer) for customer, due in self._due.items()]
        heapify(self._heap)

    def set(self, customer: str, due: int | None) -> None:
        """The earliest timer of ``customer`` is now ``due`` (None: it has none)."""
        self.changed[customer] = due
        if due is not None and due <= self.horizon:
            self._due[customer] = due
            heappush(self._heap, (due, customer))
        else:
            self._due.pop(customer, None)

    def next_due(self) -> int | None:
        """When the next timer may be due, None if there is none. A time past the horizon asks for a load."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        if self._heap:
            return self._heap[0][0]
        return None if self.horizon == ALL else self.horizon + 1

    def due(self, watermark: int, limit: int) -> list[str]:
        """At most ``limit`` customers with a timer due at ``watermark``, in order of (due, customer)."""
        return [customer for _, customer in self._pop(watermark, limit)]

    def _pop(self, watermark: int, limit: int) -> Iterator[tuple[int, str]]:
        popped: list[tuple[int, str]] = []
        while self._heap and self._heap[0][0] <= watermark and len(popped) < limit:
            entry = heappop(self._heap)
            # A customer whose timer moved has several entries; only the one that still holds counts, once.
            if self._due.get(entry[1]) == entry[0] and (not popped or popped[-1] != entry):
                popped.append(entry)
        for entry in popped:
            heappush(self._heap, entry)
        yield from popped
