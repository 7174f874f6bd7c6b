"""Probe: whether a server is there at all, before any token is sent to it."""

from __future__ import annotations

import email.utils
import ssl as tls
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests
from requests.utils import get_environ_proxies, select_proxy

from biocolab_accessor.clients.address import is_loopback, origin, without_user
from biocolab_accessor.clients.cause import innermost
from biocolab_accessor.clients.line import Session

__all__ = ["Probe", "probe", "proxy_for"]

Failure = Literal["", "name", "refused", "silence", "certificate", "proxy", "other"]


@dataclass(frozen=True)
class Probe:
    """What one request without a token showed.

    Attributes
    ----------
    failure
        Empty where an answer came, whatever it said. ``"name"``: no such host name; ``"refused"``: no connection;
        ``"silence"``: none in time; ``"certificate"``, ``"proxy"``, ``"other"``.
    detail
        The innermost reason.
    seconds
        Until the answer's headers, or the failure.
    skew
        Seconds that the server's clock is ahead of this one (its header ``Date`` has whole seconds); None where it
        does not say.
    certificate_days
        Days that the server's certificate is still good for; None over plain http, and where the server closed the
        connection at once.
    """

    failure: Failure
    detail: str
    seconds: float
    skew: float | None = None
    certificate_days: float | None = None


def probe(host: str, *, ssl: bool | str | Path = True, timeout: float = 10.0) -> Probe:
    """Ask a server for its first page, without a token.

    Parameters
    ----------
    host
        Base address.
    ssl
        As for :class:`~biocolab_accessor.clients.http.HttpClient`.
    timeout
        Seconds for the connection, and as many for the answer.
    """
    start = time.monotonic()
    with Session() as session:
        session.trust_env = not is_loopback(origin(host)[1])
        session.auth = _no_auth
        verify = str(ssl) if isinstance(ssl, Path) else ssl
        try:
            response = session.get(host, timeout=timeout, stream=True, allow_redirects=False, verify=verify)
        except (requests.RequestException, OSError) as error:
            return Probe(_kind(error), innermost(error), time.monotonic() - start)
        with response:
            seconds = time.monotonic() - start
            return Probe("", "", seconds, _skew(response, seconds), _certificate_days(response))


def proxy_for(host: str) -> str:
    """The proxy that requests to a host go through, without its password; empty where there is none."""
    if is_loopback(origin(host)[1]):
        return ""
    return without_user(select_proxy(host, get_environ_proxies(host)) or "").replace("****@", "")


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps ~/.netrc out, as the session that sends tokens does."""
    return request


def _kind(error: Exception) -> Failure:
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError | tls.SSLError):
        return "certificate"
    if isinstance(error, requests.exceptions.ProxyError):
        return "proxy"
    if isinstance(error, requests.exceptions.Timeout):
        return "silence"
    if "NameResolutionError" in text or "gaierror" in text:
        return "name"
    return "refused" if "NewConnectionError" in text else "other"


def _skew(response: requests.Response, seconds: float) -> float | None:
    try:
        said = email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
    return said + 0.5 - (time.time() - seconds / 2)


def _certificate_days(response: requests.Response) -> float | None:
    connection: Any = getattr(response.raw, "connection", None)
    certificate: Any = None
    with suppress(AttributeError, ValueError, OSError):
        certificate = connection.sock.getpeercert()
    if not certificate or "notAfter" not in certificate:
        return None
    return (tls.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86_400
