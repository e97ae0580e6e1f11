"""Bugs that the simulation must find: each breaks one of the promises that a crash must not break."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from operators.engagement import Engagement
from operators.shard import Shard
from schemas.stitched import Tick
from state.shards import Commit, ShardStore

_commit = ShardStore.commit
_tick = Engagement._tick


def _offset_first(self: ShardStore, commits: Sequence[Commit], owner: str, wall_ms: int) -> None:
    """The next offset is written by itself, before the state that belongs to it."""
    stored = {each.shard: each for each in commits}
    for number, held in zip(stored, self.read(list(stored)), strict=True):
        early = Commit(number, stored[number].expected, stored[number].r, held.state, {}, {}, {}, held.outbox)
        _commit(self, [early], owner, wall_ms)
    _commit(self, [each._replace(expected=each.r) for each in commits], owner, wall_ms)


def _outbox_dropped(self: ShardStore, commits: Sequence[Commit], owner: str, wall_ms: int) -> None:
    """The outbox is let go of before the transaction that publishes it has committed."""
    _commit(self, [each._replace(outbox=[]) for each in commits], owner, wall_ms)


def _timer_removed(self: Engagement, shard: Shard, record: Tick) -> None:
    """A timer leaves the index when it fires, not when what came of it is committed."""
    due = [customer for at, customer in self._store.timers({shard.number: 100})[shard.number] if at <= record.watermark]
    client: Any = self._store._redis
    if due:
        client.zrem(self._store.key(shard.number, "timers"), *due)
    _tick(self, shard, record)


BUGS: Final[dict[str, tuple[type, str, Callable[..., None]]]] = {
    "offset-before-state": (ShardStore, "commit", _offset_first),
    "outbox-before-transaction": (ShardStore, "commit", _outbox_dropped),
    "timer-before-commit": (Engagement, "_tick", _timer_removed),
}


@contextmanager
def planted(bug: str | None) -> Iterator[None]:
    """With a bug in the flows, or none."""
    if bug is None:
        yield
    else:
        with patch.object(*BUGS[bug]):
            yield
