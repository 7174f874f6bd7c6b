"""Link: a narrow way to a server, for what a loopback hides: ``python -m benchmarks.link PORT RATE``.

What goes to the server passes at ``RATE`` bytes a second, all connections together.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PIECE = 256 << 10
_BURST = 0.05  # seconds that a late piece may catch up


@contextmanager
def slow_link(url: str, rate: float) -> Iterator[str]:
    """The address under which ``url`` is reached slowly, through a process of its own."""
    command = [sys.executable, "-m", "benchmarks.link", url.rpartition(":")[2], str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found = re.search(r"\d+", (process.stdout or sys.stdin).readline())
        assert found is not None
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        process.terminate()
        process.wait(10)


class _Link:
    def __init__(self, port: int, rate: float) -> None:
        self._port, self._rate = port, rate
        self._free_at = 0.0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=4 * _PIECE)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    async def _connection(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port, limit=4 * _PIECE)
        await asyncio.gather(self._up(client, to_server), self._down(server, to_client), return_exceptions=True)

    async def _up(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _BURST) + len(piece) / self._rate
            await asyncio.sleep(self._free_at - now)
            target.write(piece)
            await target.drain()
        target.close()

    async def _down(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
        target.close()


if __name__ == "__main__":
    asyncio.run(_Link(int(sys.argv[1]), float(sys.argv[2])).serve())
