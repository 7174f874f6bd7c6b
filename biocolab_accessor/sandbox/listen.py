"""Listening: the address of a sandbox, and who reaches it."""

from __future__ import annotations

import socket

from biocolab_accessor.errors import SandboxError

__all__ = ["LOOPBACK", "listen", "reached_at"]

LOOPBACK = "127.0.0.1"
"""This machine only."""


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
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        msg = f"port {port} of {host} cannot be used: {error}; port=0 takes a free one"
        raise SandboxError(msg) from error
    listener.listen(128)
    return listener
