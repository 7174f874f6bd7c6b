"""Protocol: HTTP over one connection, which the app can reset, and over which the system itself sends files."""

from __future__ import annotations

import asyncio
import socket
from typing import BinaryIO

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Protocol"]

_MOST_AT_ONCE = 1 << 30  # Windows does not send 2 GB in one go


class Protocol(HttpToolsProtocol):
    """What uvicorn speaks, with a way to the connection in each request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let each request's scope lead to its connection."""
        super().connection_made(transport)
        # asyncio does this only for sockets that were made with the protocol's number. Without it an answer's last
        # piece waits 40 ms for the client to acknowledge the one before.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}

    async def send_file(self, file: BinaryIO, count: int) -> int:
        """Send the first bytes of a file as the next ones of the answer under way, of which the length was announced.

        Read and written by Python, each byte would be copied four times on its way.

        Parameters
        ----------
        file
            Open for reading.
        count
            How many bytes; not all, for the end of an answer goes the usual way.

        Returns
        -------
        int
            How many were sent: less than ``count`` where the client went away.
        """
        if count and not self.transport.is_closing():
            try:
                for start in range(0, count, _MOST_AT_ONCE):
                    await self.loop.sendfile(self.transport, file, start, min(_MOST_AT_ONCE, count - start))
            except ConnectionError:
                self.transport.abort()
        sent = file.tell()
        self.cycle.expected_content_length -= sent
        return sent
