"""Ends a process whose call to librdkafka does not come back although the broker answers: a new one gets further.

librdkafka 2.16 may wait for ever, whatever the timeout, for a coordinator of the group that was away and is back (its
issues 3847 and 5511). Nothing is lost by leaving: whoever takes over stands where the last commit stands.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from weakref import ref

log = logging.getLogger(__name__)

#: Exit code of a process that has ended itself.
HUNG = 1
#: How often it is looked (seconds).
_EVERY = 1.0


class Watchdog:
    """A context that may take ``seconds``, or longer as long as the broker is away. ``what`` is called in it;
    ``answers`` says, in another thread, whether the broker is there; ``leave`` takes an exit code."""

    def __init__(
        self, what: str, seconds: float, answers: Callable[[], bool], leave: Callable[[int], object] = os._exit
    ) -> None:
        self._what = what
        self._seconds = seconds
        self._answers = answers
        self._leave = leave
        self._since: float | None = None
        threading.Thread(target=_watch, args=(ref(self),), name=f"watch {what}", daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def look(self) -> None:
        """Leave, if it is time to."""
        since = self._since
        # Asking takes time: the call that was too long must be the one that still is.
        if since is not None and time.monotonic() - since > self._seconds and self._answers() and self._since == since:
            log.critical("the broker answers, but not this: leaving", extra={"call": self._what})
            self._leave(HUNG)


def _watch(watchdog: ref[Watchdog]) -> None:
    """Look now and then, until nobody has use for the watchdog."""
    while (known := watchdog()) is not None:
        known.look()
        del known
        time.sleep(_EVERY)
