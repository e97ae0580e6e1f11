"""The wall clock of a process, as long as it can be trusted.

Clocks that are set while a process runs step; clocks that are mended gently do not. What was stamped before a step and
what would be stamped after it do not belong together, and which of the two is right only the broker can tell: see
`operators.transactions`, which compares the clocks when a process begins and now and then::

    now_ms = WallClock(config)
    now_ms()    # epoch milliseconds; raises ClockSkew after a step
"""

from __future__ import annotations

import time

from schemas.config import Config
from schemas.errors import ClockSkew


class WallClock:
    """Epoch milliseconds. Raises `ClockSkew` once the clock was stepped by more than ``limits.clock_skew_seconds``,
    unless it stamps nothing, since the log brings its time."""

    def __init__(self, config: Config) -> None:
        self._trusted = config.clock == "log"
        self._tolerated = config.limits.clock_skew_seconds * 1000
        self._began = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000

    def __call__(self) -> int:
        now = time.time_ns() // 1_000_000
        step = now - time.monotonic_ns() // 1_000_000 - self._began
        if abs(step) > self._tolerated and not self._trusted:
            raise ClockSkew(
                f"this machine's clock was stepped by {step / 1000:+.1f} s (limit {self._tolerated / 1000:.0f} s) "
                "while the process ran: set it right (NTP); a new process compares it with the broker's"
            )
        return now
