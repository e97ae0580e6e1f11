"""Visits: when plays are put in force that customers may already be due for, all of them are looked at, page by page.

Whom a page holds is up to Redis; the record in the shard's log says it, so a replay visits the same at the same place.
Visiting twice is harmless: who has been looked at under the plays in force is not looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import redis

from operators.access import raise_if_denied
from operators.playbook import PlayBook
from operators.shard import Shard
from schemas import stitched
from schemas.config import Config
from schemas.stitched import Visit
from schemas.topics import STITCHED, topic_name
from state.shards import Output, ShardStore

#: Keys looked through at a time: about as long as a batch of touchpoints takes.
PAGE: Final = 500


class Visits:
    """The visits of one process: one way through all keys of Redis for all shards that wait for it."""

    def __init__(self, config: Config, store: ShardStore, books: Mapping[str, PlayBook]) -> None:
        self._store = store
        self._books = books
        self._topic = topic_name(config, STITCHED)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget how far it is."""
        self._cursor = 0
        #: The shards this way is for, and those that have been told of the end of one, each with the number of plays.
        self._under_way: dict[int, int] = {}
        self._told: dict[int, int] = {}

    def due(self, shards: Mapping[int, Shard]) -> list[Output]:
        """The records of the next page."""
        if not self._under_way:
            self._under_way = {number: each.state.applied for number, each in shards.items() if self._waits(each)}
            if not self._under_way:
                return []
        try:
            self._cursor, found = self._store.scan(self._cursor, PAGE)
        except redis.RedisError as error:
            raise_if_denied(error)
            return []  # it goes on from the same place
        over = self._cursor == 0
        visits = []
        for number, applied in self._under_way.items():
            customers = sorted(found.get(number, ()))
            if number in shards and (customers or over):
                visits.append(self._record(shards[number], Visit(0, customers, applied if over else 0)))
        if over:
            self._told |= self._under_way
            self._under_way = {}
        return visits

    def _waits(self, shard: Shard) -> bool:
        state = shard.state
        if state.visited >= state.applied or self._told.get(shard.number) == state.applied:
            return False
        return self._books[state.plays].standing

    def _record(self, shard: Shard, visit: Visit) -> Output:
        # It happens when the shard comes to it: at its own time.
        return Output(shard.r, self._topic, shard.number, None, stitched.encode(visit))
