"""The demo where there is no terminal: a line a second, and a line per trigger as far as one can read them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from flows.demo.account import shown_ms
from flows.demo.figures import Emitted, Figures

#: Triggers of one play shown in a second; the rest is counted. By play, so that a rare one is seen.
TRIGGERS_A_SECOND = 2


class Lines:
    """Writes lines with ``write``."""

    def __init__(self, figures: Figures, write: Callable[[str], object]) -> None:
        self._figures = figures
        self._write = write
        self._second = 0
        self._shown: Counter[str] = Counter()
        self._held_back = 0
        self._phase = self._url = ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def show(self, emitted: Iterable[Emitted] = ()) -> None:
        """What is new."""
        if self._figures.phase != self._phase:
            self._phase = self._figures.phase
            self._write(f"{stamp(self._figures)}  {self._phase}")
        if self._figures.url != self._url:
            self._url = self._figures.url
            self._write(f"{stamp(self._figures)}  live screens: {self._url}")
        for each in emitted:
            self._trigger(each)
        second = int(time.monotonic() - self._figures.began)
        if second > self._second and self._figures.running_since is not None:
            self._summary(second)

    def _trigger(self, emitted: Emitted) -> None:
        if self._shown[emitted.play] >= TRIGGERS_A_SECOND:
            self._held_back += 1
            return
        self._shown[emitted.play] += 1
        latency = "timer" if emitted.latency is None else shown_ms(emitted.latency)
        self._write(
            f"{stamp(self._figures)}  trigger  {emitted.play:15} {short(emitted.customer)}  {emitted.channel:7}"
            f"{latency:>9}  {emitted.detail}".rstrip()
        )

    def _summary(self, second: int) -> None:
        self._second = second
        figures, latency = self._figures, self._figures.recent_latency
        held_back = f"  (and {self._held_back} more triggers)" if self._held_back else ""
        lag = "-" if figures.total_lag is None else f"{figures.total_lag:,}"
        self._write(
            f"{stamp(figures)}  {figures.per_second:,.0f}/s  lag {lag}  customers {figures.customers:,}  merges "
            f"{figures.merges:,}  triggers {figures.triggers.total():,}  p50 {shown_ms(latency.p50)}  p99 "
            f"{shown_ms(latency.p99)}  dead letters {figures.dead.total():,}  models {figures.models}{held_back}"
        )
        self._shown.clear()
        self._held_back = 0


def stamp(figures: Figures) -> str:
    """Minutes and seconds since the command began."""
    seconds = int(time.monotonic() - figures.began)
    return f"{seconds // 60:02}:{seconds % 60:02}"


def short(customer: str) -> str:
    """Enough of a customer id to tell customers apart on a page."""
    return customer[:8]


def log_time(ms: int) -> str:
    """A moment of the simulated time."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
