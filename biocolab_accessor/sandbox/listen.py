"""Listening: the address of a sandbox, and the thread that answers there."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from biocolab_accessor.errors import SandboxError
from biocolab_accessor.platforms import own_address
from biocolab_accessor.sandbox.traffic.protocol import most_connections
from biocolab_accessor.waits import ended

__all__ = ["LOOPBACK", "Serving", "listen", "reached_at"]

LOOPBACK = "127.0.0.1"
"""This machine only."""

_PATIENCE = 10.0


def reached_at(host: str) -> str:
    """How this machine reaches a server that listens on ``host``."""
    if host in ("0.0.0.0", "::", "localhost"):
        return LOOPBACK if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises
    ------
    SandboxError
        The port or the address cannot be used.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        own_address(listener)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        msg = f"port {port} of {host} cannot be used: {error}; port=0 takes a free one"
        raise SandboxError(msg) from error
    listener.listen(128)
    return listener


class Serving:
    """An app that answers on a socket, from a thread of its own, once this is made.

    Parameters
    ----------
    app
        Answers.
    protocol
        Speaks HTTP.
    listener
        Where it answers; closed by :meth:`stop`.

    Raises
    ------
    SandboxError
        The server does not start.
    """

    def __init__(self, app: ASGIApp, protocol: type[asyncio.Protocol], listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            loop="asyncio",  # others cannot let the system send a file
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            # As many are accepted in one go, before any of them is counted and perhaps turned away.
            backlog=max(4, min(64, most_connections() // 4)),
        )
        self._listener = listener
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="biocolab-sandbox", daemon=True
        )
        self._thread.start()
        end = time.monotonic() + _PATIENCE
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                msg = "the sandbox's server did not start; see the log of biocolab_accessor.sandbox"
                raise SandboxError(msg)
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer what is being asked, for two seconds at most, and end.

        Raises
        ------
        SandboxError
            The thread does not end.
        """
        log = logging.getLogger("uvicorn.error")
        log.addFilter(_is_news)
        self._server.should_exit = True
        over = ended(self._thread, _PATIENCE)
        log.removeFilter(_is_news)
        self._listener.close()
        if not over:
            msg = f"the sandbox's server did not end within {_PATIENCE:g} s"
            raise SandboxError(msg)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line is to be read; not that closing cuts off who still waits, which is what closing is for."""
    return "timeout graceful shutdown" not in str(record.msg)
