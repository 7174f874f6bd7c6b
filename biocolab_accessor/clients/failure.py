"""Failure: what it means that a request got no whole answer."""

from __future__ import annotations

import ssl as tls

import requests
import urllib3

from biocolab_accessor.clients.cause import innermost
from biocolab_accessor.clients.mask import without_frames
from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.config import settings
from biocolab_accessor.errors import TimedOut, TransportError

__all__ = ["transport_failure"]


def transport_failure(what: str, error: Exception, silence: float, header: str) -> Retriable:
    """The error of an attempt that got no whole answer, with the token taken out of everything the cause holds on to.

    Parameters
    ----------
    what
        The request, for the message.
    error
        Of requests, urllib3 or the socket.
    silence
        Seconds after which nothing more was waited for.
    header
        Name of the token's header.
    """
    without_frames(error, header)
    text = innermost(error)
    if isinstance(error, requests.exceptions.SSLError | tls.SSLError):
        failure = TransportError(
            f"{what}: the certificate was not accepted: {text}. "
            "For a server with its own authority give ssl='/path/to/ca.pem'"
        )
    elif isinstance(error, requests.exceptions.ConnectTimeout):
        failure = TimedOut(f"{what}: no connection within {settings.connect_timeout:g} s (bc.settings.connect_timeout)")
    elif isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.ReadTimeoutError | TimeoutError):
        failure = TimedOut(f"{what}: no answer within {silence:g} s (bc.settings.read_timeout)")
    elif isinstance(error, requests.exceptions.ProxyError):
        failure = TransportError(f"{what}: the proxy of the environment did not pass it on: {text}")
    elif isinstance(error, requests.exceptions.ConnectionError):
        failure = TransportError(f"{what}: no connection: {text}. Is the server up, and the host right?")
    else:
        failure = TransportError(f"{what}: the answer broke off: {text}")
    failure.__cause__ = error
    never_arrived = "NewConnectionError" in repr(error) or isinstance(error, requests.exceptions.ConnectTimeout)
    return Retriable(failure, never_arrived=never_arrived)
