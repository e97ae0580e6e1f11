"""How often: a bucket of tokens for each who asks, that fills evenly. Kept by this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from flows.web.access import Refusal

#: Names remembered; whoever comes after them begins with a full bucket.
MOST: Final = 10_000


class Limit:
    """At most ``per_minute`` a minute for each name, as many at once. To be shared by threads.

    >>> clock = iter([0.0, 0.0, 0.0, 30.0])
    >>> limit = Limit(2, lambda: next(clock))
    >>> [limit.wait("a") for _ in range(4)]
    [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rate, self._now = float(per_minute), per_minute / 60, now
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    def wait(self, name: str) -> float:
        """Take one; 0, or how many seconds are to be waited before there is one to take."""
        now = self._now()
        with self._lock:
            left, at = self._left.pop(name, (self._most, now))
            left = min(self._most, left + (now - at) * self._rate)
            taken = left >= 1
            self._left[name] = (left - taken, now)
            if len(self._left) > MOST:
                del self._left[next(iter(self._left))]
        return 0.0 if taken else (1 - left) / self._rate

    def take(self, name: str) -> None:
        """Take one. Raises `Refusal` (429)."""
        if seconds := self.wait(name):
            raise Refusal(429, "too_many", **{"retry-after": str(int(seconds) + 1)})
