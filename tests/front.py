"""What stands between clients and a local port: ends their TLS, follows who serves, and breaks connections on demand.

::

    with Front(to=valkey.port) as front:
        connect(front.port)
        front.cut_after(10_000)   # whoever's bytes these are finds the connection reset in the middle of them
        front.turn_to(other.port) # new connections go there, old ones stay
        front.cut()               # all connections are reset
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from asyncio import StreamReader, StreamWriter
from typing import Self

from flows.embedded import HOST, free_port

#: Closing sends a reset.
_RESET = struct.pack("ii", 1, 0)


class Front:
    """Listens on ``port`` and passes all on to the local port ``to``; with a ``context`` clients speak TLS."""

    def __init__(self, to: int, port: int | None = None, context: ssl.SSLContext | None = None) -> None:
        self.port = port or free_port()
        self._to, self._context = to, context
        #: Bytes until a connection is cut (0: none is), and how many have been.
        self.cutting = self.cuts = 0
        self._writers: set[StreamWriter] = set()
        self._serving: set[asyncio.Task[None] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    def start(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._listening.wait(10)
        return self

    def stop(self) -> None:
        """End it and all connections."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def turn_to(self, to: int) -> None:
        """Lead new connections there."""
        self._to = to

    def cut_after(self, count: int) -> None:
        """Reset the connection that passes the last of the next ``count`` bytes, right after it."""
        self.cutting = count

    def cut(self) -> None:
        """Reset all connections."""
        self._loop.call_soon_threadsafe(self._reset, *self._writers)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._context)
        self._listening.set()
        await self._ended.wait()
        server.close()
        self._reset(*self._writers)
        await asyncio.gather(*filter(None, self._serving))

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        both, task = {writer}, asyncio.current_task()
        self._serving.add(task)
        try:
            to_reader, to_writer = await asyncio.open_connection(HOST, self._to)
            both.add(to_writer)
            self._writers |= both
            await asyncio.gather(self._pass_on(reader, to_writer, both), self._pass_on(to_reader, writer, both))
        except OSError:
            self._reset(*both)  # nobody serves there
        finally:
            self._writers -= both
            self._serving.discard(task)

    async def _pass_on(self, source: StreamReader, to: StreamWriter, both: set[StreamWriter]) -> None:
        try:
            while some := await source.read(65_536):
                if 0 < self.cutting <= len(some):
                    to.write(some[: self.cutting])
                    self.cutting, self.cuts = 0, self.cuts + 1
                    self._reset(*both)
                    return
                self.cutting = max(0, self.cutting - len(some))
                to.write(some)
                await to.drain()
        except OSError:
            pass  # either side may leave as it likes
        finally:
            to.close()

    def _reset(self, *writers: StreamWriter) -> None:
        for writer in writers:
            if (sock := writer.get_extra_info("socket")) is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
