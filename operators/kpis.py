"""The kpis flow's shell: what the shards have counted, added up to the figures of the shop, with the commit that engage
uses. One process does it, others stand by."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import redis

from operators import thresholds
from operators.board import OPEN, Board, State, Window
from operators.figures import MINUTE
from operators.subscription import Received
from operators.summing import Summed, Summing
from schemas.config import Config
from schemas.outputs import Alert, Kpis, Partial
from schemas.topics import ALERTS, KPIS, PARTIALS, topic_name
from state.profile import pack
from state.shards import Output, Stored

FLOW = "kpis"
#: Partials are collected for so long (seconds) before figures are published: few revisions, and still live.
PACE = 0.4

_partial = msgspec.json.Decoder(Partial)
state_of = msgspec.msgpack.Decoder(State).decode
_windows = msgspec.msgpack.Decoder(Window)


class Scoreboard(Summing[Board]):
    """The figures, if this process owns them."""

    counter = "summed"

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        super().__init__(config, FLOW, PARTIALS, 1, client, initialise=initialise, interval=PACE)
        self._thresholds = config.kpis.alerts
        self._kpis, self._alerts = topic_name(config, KPIS), topic_name(config, ALERTS)

    def _opened(self, number: int, stored: Stored) -> Board:
        state = state_of(stored.state) if stored.state else State()
        return Board(state, self._minutes(number, state.clock // MINUTE))

    def _add(self, number: int, messages: Sequence[Received]) -> Summed:
        board, offset = self._sums[number], messages[-1].offset()
        alerts: list[Output] = []
        for message in messages:
            for minute in board.add(_partial.decode(message.value())):
                alerts += [self._alert(message, each) for each in thresholds.judge(self._thresholds, board, minute)]
        told = board.figures(offset)
        minutes = {each.start // (MINUTE * 1000) for each in told if each.seconds == MINUTE}
        kept: dict[str, bytes | None] = {f"m:{each}": pack(board.minutes[each]) for each in sorted(minutes)}
        kept.update((f"m:{each}", None) for each in board.closed())
        figures = [self._figures(offset, each) for each in (*told, board.so_far(offset))]
        return Summed(pack(board.state), [*alerts, *figures], kept)

    def _figures(self, offset: int, kpis: Kpis) -> Output:
        return Output(offset, self._kpis, 0, f"{kpis.seconds}/{kpis.start}".encode(), msgspec.json.encode(kpis))

    def _alert(self, message: Received, alert: Alert) -> Output:
        return Output(message.offset(), self._alerts, 0, alert.kind.encode(), msgspec.json.encode(alert))

    def _minutes(self, number: int, last: int) -> dict[int, Window]:
        """The minutes that are open, of which there are many: each has a key of its own."""
        some = range(max(0, last - OPEN[MINUTE] // MINUTE), last + 1)
        values = self._store.load({number: [f"m:{each}" for each in some]})[number]
        return {each: _windows.decode(value) for each, value in zip(some, values, strict=True) if value is not None}
