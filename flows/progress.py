"""Progress on standard error: a moving line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

#: Seconds between plain lines.
PLAIN_SECONDS: Final = 5.0


class Progress:
    """Shows how many ``what`` are done, of how many if that is known, and how fast; nothing if not ``shown``. A context
    manager; call `update` as often as you like."""

    def __init__(self, what: str, total: int | None = None, *, shown: bool = True) -> None:
        self._what, self._total = what, total
        self._started = self._shown = time.monotonic()
        self._plain = shown
        self._bar: _Bar | None = _Bar(what, total) if shown and sys.stderr.isatty() else None

    def update(self, done: int, *, failed: int = 0) -> None:
        """``done`` so far, of which or besides which ``failed``."""
        now = time.monotonic()
        if self._bar:
            self._bar.update(done, self._facts(done, failed, now))
        elif self._plain and now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            print(f"{done} {self._what}, {self._facts(done, failed, now)}", file=sys.stderr, flush=True)

    def _facts(self, done: int, failed: int, now: float) -> str:
        rate = done / max(now - self._started, 0.001)
        share = f"{done / self._total:.0%}, " if self._total else ""
        return f"{share}{rate:.0f}/s" + (f", {failed} failed" if failed else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()


class _Bar:
    """rich's line: a bar or, where it is not known beforehand how many there are, a spinner."""

    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Rich

        shape = BarColumn() if total else SpinnerColumn()
        columns = (shape, TextColumn("{task.completed:.0f} " + what), TextColumn("{task.description}"))
        self._rich = Rich(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self._task = self._rich.add_task("", total=total)
        self._rich.start()

    def update(self, done: int, facts: str) -> None:
        self._rich.update(self._task, completed=done, description=facts)

    def stop(self) -> None:
        self._rich.stop()
