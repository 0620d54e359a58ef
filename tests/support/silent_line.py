"""A TCP line to a port of this machine that can go silent: connections stay open, and nothing passes any more.

async with silent_line(port) as line:
    connect to line.port; line.swallow()
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 1 << 16


class SilentLine:
    """Passes bytes on until told to swallow them."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = True
        self.port = 0

    def swallow(self) -> None:
        """Pass nothing on any more, in both directions."""
        self._open = False

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("localhost", self._target)
        with suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            if self._open:
                target.write(data)
                await target.drain()
        target.close()


@asynccontextmanager
async def silent_line(target: int) -> AsyncIterator[SilentLine]:
    line = SilentLine(target)
    server = await asyncio.start_server(line.connect, "localhost", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
