"""The earliest timer of each customer of a shard, in memory as far as it has been loaded.

Redis holds all of them in one sorted set; here lies its head, up to and including ``horizon``. What is
scheduled beyond it goes to Redis only and comes back with a later load.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush, nsmallest

#: (due, customer): the order in which timers fire, here and in Redis (by score, then by bytes).
Entry = tuple[int, str]
#: No timer lies beyond: everything is loaded.
ALL: Entry = (1 << 62, "")
#: `TimerIndex.trim` leaves this many; more than that are worth their memory only when they are about to fire.
KEPT = 2_000


class TimerIndex:
    """A heap of (due, customer) with lazy deletion; ``changed`` collects what the next commit must write."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[Entry] = []
        self.horizon = ALL
        self.changed: dict[str, int | None] = {}

    def fill(self, head: Sequence[Entry], limit: int) -> None:
        """Replace the content by the head of the stored set: its ``limit`` earliest entries, ordered."""
        # The horizon is an entry, not a time: timers of one moment may outnumber any page.
        self.horizon = head[-1] if len(head) >= limit else ALL
        self._due = {customer: due for due, customer in head}
        self._heap = list(head)
        heapify(self._heap)

    def trim(self) -> None:
        """Forget what lies far ahead. Only after a commit: then Redis holds it."""
        if len(self._heap) > 2 * KEPT:
            head = nsmallest(KEPT, ((due, customer) for customer, due in self._due.items()))
            if len(head) < len(self._due):
                self.horizon = head[-1]
            self._due = {customer: due for due, customer in head}
            self._heap = head

    def compact(self) -> None:
        """Drop the entries of timers that have moved, where they crowd: nothing else does without a `trim`."""
        if len(self._heap) > KEPT + 2 * len(self._due):
            self._heap = [(due, customer) for customer, due in self._due.items()]
            heapify(self._heap)

    def covers(self, watermark: int) -> bool:
        """Whether every timer due at ``watermark`` is loaded."""
        return self.horizon[0] > watermark

    def set(self, customer: str, due: int | None) -> None:
        """The earliest timer of ``customer`` is now ``due`` (None: it has none)."""
        self.changed[customer] = due
        if due is not None and (due, customer) <= self.horizon:
            self._due[customer] = due
            heappush(self._heap, (due, customer))
        else:
            self._due.pop(customer, None)

    def next_due(self) -> int | None:
        """When the next timer may be due, None if there is none. The time of the horizon asks for a load."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        if self._heap:
            return self._heap[0][0]
        return None if self.horizon == ALL else self.horizon[0]

    def due(self, watermark: int, limit: int) -> list[str]:
        """At most ``limit`` customers with a timer due at ``watermark``, in order of (due, customer)."""
        popped: list[Entry] = []
        while self._heap and self._heap[0][0] <= watermark and len(popped) < limit:
            entry = heappop(self._heap)
            # A customer whose timer moved has several entries; only the one that still holds counts, once.
            if self._due.get(entry[1]) == entry[0] and (not popped or popped[-1] != entry):
                popped.append(entry)
        for entry in popped:
            heappush(self._heap, entry)
        return [customer for _, customer in popped]
