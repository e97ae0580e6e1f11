"""What is pushed to viewers: each page is drawn once however many look at it, and only what has changed is sent.

A page is plain data, a `View`: pieces of HTML and charts by the place they go to. Three times a second each page that
somebody looks at is drawn from what the feed knows, compared with what was sent before, and the same bytes go to all.
A viewer who is slow to take them misses some and is sent the whole page instead, so nobody waits for anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from flows.web.feed import Feed, now_ms
from flows.web.known import Known

log = logging.getLogger(__name__)
#: How often (seconds) pages are drawn, and how often they are though nothing is new: windows move on all the same.
TICK, IDLE = 0.3, 1.0
#: Messages that a viewer may be behind.
BEHIND: Final = 4

Chart = dict[str, Any]


class View(NamedTuple):
    """What a page shows: HTML and charts, by place."""

    html: Mapping[str, str]
    charts: Mapping[str, Chart] = {}


class Standing(NamedTuple):
    """How fresh it is: when (ms) the figures were told and by which clock of the log, why no new ones can come, and
    since when."""

    now: int
    told: int
    clock: int
    problem: str
    since: int


Draw = Callable[[Known, int], View]


def standing(feed: Feed, known: Known, now: int) -> Standing:
    """How fresh what the feed knows is."""
    clock = known.so_far.clock if known.so_far is not None else 0
    return Standing(now, known.told, clock, feed.problem, feed.problem_since if feed.problem else 0)


def moment(feed: Feed, known: Known, now: int) -> int:
    """The end of what is shown: now, but while nothing can be read the last that was told."""
    return known.told if feed.problem and known.told else now


class Viewer:
    """One who looks, and what is still to be sent."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue(BEHIND)

    def tell(self, message: bytes, whole: Callable[[], bytes]) -> None:
        """Queue a message; instead of too many the whole page."""
        if self.waiting.full():
            while not self.waiting.empty():
                self.waiting.get_nowait()
            message = whole()
        self.waiting.put_nowait(message)


class Board:
    """One page: how it is drawn, what was last drawn by place, and who looks."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.viewers: set[Viewer] = set()
        self._drawn: dict[str, dict[str, bytes]] = {"html": {}, "charts": {}}
        self._standing = b"null"

    def redraw(self, feed: Feed) -> bytes:
        """Draw it; a message with what has changed, and how fresh it is in any case: who hears nothing knows."""
        now = now_ms()
        with feed.known() as known:
            view = self.draw(known, moment(feed, known, now))
            fresh = standing(feed, known, now)
        changed: dict[str, dict[str, bytes]] = {}
        for kind, pieces in (("html", view.html), ("charts", view.charts)):
            drawn = {place: orjson.dumps(piece) for place, piece in pieces.items()}
            changed[kind] = {place: piece for place, piece in drawn.items() if self._drawn[kind].get(place) != piece}
            self._drawn[kind] = drawn
        self._standing = orjson.dumps(fresh._asdict())
        return _message(self._standing, changed)

    def whole(self) -> bytes:
        """All that was last drawn."""
        return _message(self._standing, self._drawn)

    async def attend(self, socket: WebSocket, feed: Feed) -> None:
        """Serve one viewer until he leaves."""
        await socket.accept()
        if not self.viewers:
            self.redraw(feed)
        viewer = Viewer()
        viewer.tell(self.whole(), self.whole)
        self.viewers.add(viewer)
        sending = asyncio.create_task(_send(socket, viewer))
        try:
            while True:
                await socket.receive_text()  # nothing is expected; it ends when he leaves
        except WebSocketDisconnect:
            pass
        finally:
            self.viewers.discard(viewer)
            sending.cancel()


class Hub:
    """All pages by name, drawn for those who look."""

    def __init__(self, feed: Feed, pages: Mapping[str, Draw]) -> None:
        self._feed = feed
        self.boards = {name: Board(draw) for name, draw in pages.items()}

    async def run(self) -> None:
        """Draw and tell for ever."""
        version, drawn = -1, 0.0
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(TICK)
            if self._feed.version != version or clock() - drawn >= IDLE:
                version, drawn = self._feed.version, clock()
                for board in self.boards.values():
                    if board.viewers:
                        self._tell(board)

    def _tell(self, board: Board) -> None:
        try:
            message = board.redraw(self._feed)
        except Exception as error:  # one page that cannot be drawn must not stop the others
            log.error("a page cannot be drawn", exc_info=error)
            return
        for viewer in board.viewers:
            viewer.tell(message, board.whole)


async def _send(socket: WebSocket, viewer: Viewer) -> None:
    while True:
        await socket.send_text((await viewer.waiting.get()).decode())


def _message(standing: bytes, pieces: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """As JSON, of pieces that are JSON already."""
    parts = [b'"standing":' + standing]
    for kind, drawn in pieces.items():
        if drawn:
            inner = b",".join([b'"%s":%s' % (place.encode(), piece) for place, piece in drawn.items()])
            parts.append(b'"%s":{%s}' % (kind.encode(), inner))
    return b"{" + b",".join(parts) + b"}"
