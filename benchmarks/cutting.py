"""A link that is cut: a proxy of TCP between two nodes that counts what it passes on.

`Cutting` listens on loopback and passes everything on to one node, both ways, until that node has
said so many bytes; then both connections end, in the middle of whatever was on its way, and nobody
gets through any more. Each cut needs a proxy of its own: an address is not tried again and again
within a minute. Nothing waits and nothing is timed.
"""

import asyncio
from contextlib import suppress

PIECE_BYTES = 16_384


class Cutting:
    """The proxy of one node. Use it with `async with`."""

    def __init__(self, port: int, bytes_max: int | None = None) -> None:
        """`bytes_max`: after how many bytes of the node the link is cut; None for never."""
        self._target = port
        self._bytes_max = bytes_max
        self.passed_bytes = 0
        """What the other node was handed of this node's words."""
        self.is_cut = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Cutting":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        out = asyncio.ensure_future(_pass(reader, far_writer))
        try:
            with suppress(asyncio.CancelledError):  # Else the server says that it met it.
                await self._back(far_reader, writer)
        finally:
            out.cancel()
            for each in (writer, far_writer):
                each.close()
            await asyncio.gather(out, return_exceptions=True)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What the node says, as far as the next cut."""
        with suppress(ConnectionError):
            while not self.is_cut and (piece := await reader.read(PIECE_BYTES)):
                if self._bytes_max is not None:
                    piece = piece[: self._bytes_max - self.passed_bytes]
                writer.write(piece)
                await writer.drain()
                self.passed_bytes += len(piece)
                self.is_cut = self.passed_bytes == self._bytes_max


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
