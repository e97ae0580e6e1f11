"""The kpis flow's shell: what the shards have counted, added up to the figures of the shop, with the commit that engage
uses. One process does it, others stand by."""

from __future__ import annotations

import time

import msgspec
import redis

from operators import thresholds
from operators.board import OPEN, Board, State, Window
from operators.figures import MINUTE
from operators.ownership import Ownership
from operators.starting import Start
from operators.subscription import Received, Subscription
from schemas.config import Config
from schemas.outputs import Alert, Kpis, Partial
from schemas.topics import ALERTS, KPIS, PARTIALS, topic_name
from state.profile import pack
from state.shards import Commit, Output, ShardStore, Stored

FLOW = "kpis"
#: Partials are collected for so long (seconds) before figures are published: few revisions, and still live.
PACE = 0.4

_partial = msgspec.json.Decoder(Partial)
state_of = msgspec.msgpack.Decoder(State).decode
_windows = msgspec.msgpack.Decoder(Window)


class Scoreboard:
    """The figures, if this process owns them; an empty shell otherwise."""

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        self._thresholds = config.kpis.alerts
        self._kpis, self._alerts = topic_name(config, KPIS), topic_name(config, ALERTS)
        self._store = ShardStore(client, config.prefix, FLOW)
        self._boards: dict[int, Board] = {}
        self._starts: dict[int, Start] = {}
        self._stored: dict[int, int | None] = {}
        self._polled = 0.0
        self._limit = config.limits.batch
        topic = topic_name(config, PARTIALS)
        self._ownership = Ownership(config, FLOW, topic, self._store, self._open, self._drop, initialise=initialise)
        self._ownership.check_partitions(1)

    def poll(self, wait: float) -> list[Received]:
        """The next partials, at the pace of `PACE`."""
        time.sleep(max(0.0, min(wait, self._polled + PACE - time.monotonic())))
        messages = self._ownership.poll(self._limit, wait)
        if messages:
            self._polled = time.monotonic()
        return messages

    def sum_up(self, messages: list[Received]) -> list[Commit]:
        """Add a batch; what is to be committed for it."""
        return [self._sum_up(messages)] if messages else []

    def _sum_up(self, messages: list[Received]) -> Commit:
        number, offset = messages[0].partition(), messages[-1].offset()
        board, floor = self._boards[number], self._starts[number].floor
        alerts: list[Output] = []
        for message in messages:
            for minute in board.add(_partial.decode(message.value())):
                alerts += [self._alert(message, each) for each in thresholds.judge(self._thresholds, board, minute)]
        told = board.figures(offset)
        minutes = {each.start // (MINUTE * 1000) for each in told if each.seconds == MINUTE}
        kept: dict[str, bytes | None] = {f"m:{each}": pack(board.minutes[each]) for each in sorted(minutes)}
        kept.update((f"m:{each}", None) for each in board.closed())
        outbox = [*alerts, *[self._figures(offset, each) for each in (*told, board.so_far(offset))]]
        return Commit(
            shard=number,
            expected=self._stored[number],
            r=offset + 1,
            state=pack(board.state),
            entities=kept,
            timers={},
            counters={"summed": len(messages)},
            outbox=[output for output in outbox if output.offset >= floor],
        )

    def commit(self, commits: list[Commit]) -> None:
        """Commit what was added up and publish it."""
        if self._ownership.commit(commits):
            self._stored.update((commit.shard, commit.r) for commit in commits)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it reads."""
        return [self._ownership.subscription]

    def close(self) -> None:
        """Leave cleanly."""
        self._ownership.close()

    def _figures(self, offset: int, kpis: Kpis) -> Output:
        return Output(offset, self._kpis, 0, f"{kpis.seconds}/{kpis.start}".encode(), msgspec.json.encode(kpis))

    def _alert(self, message: Received, alert: Alert) -> Output:
        return Output(message.offset(), self._alerts, 0, alert.kind.encode(), msgspec.json.encode(alert))

    def _open(self, number: int, start: Start, stored: Stored) -> None:
        state = state_of(stored.state) if stored.state else State()
        self._boards[number] = Board(state, self._minutes(number, state.clock // MINUTE))
        self._starts[number], self._stored[number] = start, stored.r

    def _minutes(self, number: int, last: int) -> dict[int, Window]:
        """The minutes that are open, of which there are many: each has a key of its own."""
        some = range(max(0, last - OPEN[MINUTE] // MINUTE), last + 1)
        values = self._store.load({number: [f"m:{each}" for each in some]})[number]
        return {each: _windows.decode(value) for each, value in zip(some, values, strict=True) if value is not None}

    def _drop(self) -> None:
        self._boards.clear()
