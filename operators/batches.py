"""Batches through Bytewax: a source and a sink whose item is a whole batch.

With one worker a linear dataflow runs depth first: a batch passes all steps before the next is asked for, so the
batch is the unit of work and of commit. An empty batch passes too: it lets the sink do what is due by time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from schemas.errors import ConfigError

log = logging.getLogger(__name__)


class BatchSource(DynamicSource[Any]):
    """Emits what ``poll`` returns as one item, until ``draining`` says to stop."""

    def __init__(self, poll: Callable[[], Any], draining: Callable[[], bool]) -> None:
        self._poll = poll
        self._draining = draining

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSourcePartition[Any]:
        """The one partition. Raises `ConfigError` with more than one worker."""
        if worker_count != 1:
            raise ConfigError(
                [
                    f"workers: {worker_count} is not allowed; a flow process has exactly one worker, because a "
                    "batch is one commit and the consumer group spreads the partitions: start more processes instead"
                ]
            )
        return _Source(self._poll, self._draining)


class _Source(StatelessSourcePartition[Any]):
    def __init__(self, poll: Callable[[], Any], draining: Callable[[], bool]) -> None:
        self._poll = poll
        self._draining = draining

    def next_batch(self) -> list[Any]:
        if self._draining():
            raise StopIteration
        return [self._poll()]


class BatchSink(DynamicSink[Any]):
    """Hands every batch to ``commit``; ``close`` is called once at the end of a clean drain."""

    def __init__(self, commit: Callable[[Any], None], close: Callable[[], None]) -> None:
        self._commit = commit
        self._close = close

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[Any]:
        """The one partition."""
        return _Sink(self._commit, self._close)


class _Sink(StatelessSinkPartition[Any]):
    def __init__(self, commit: Callable[[Any], None], close: Callable[[], None]) -> None:
        self._commit = commit
        self._close = close
        self._failed = False

    def write_batch(self, items: list[Any]) -> None:
        try:
            for item in items:
                self._commit(item)
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        # Bytewax aborts the process when this raises, and calls it after errors too, when nothing may be committed.
        if self._failed:
            return
        try:
            self._close()
        except Exception:
            log.exception("could not close cleanly; the next owner takes over as after a crash")
