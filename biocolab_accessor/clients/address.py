"""Addresses: which host a token may be sent to, and where a route is."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

from biocolab_accessor.errors import InsecureHost, InvalidHost, InvalidResponse

__all__ = ["file_url", "is_loopback", "normalise_host", "origin", "route_url", "same_origin_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_host(host: str, source: str = "argument") -> str:
    """The base address of a server, with the slash at its end that URL joining needs.

    Parameters
    ----------
    host
        ``https://company/t2d_index_tool`` with or without its last slash. Plain ``http`` is for this machine only.
    source
        Where the host was found, for messages.

    Returns
    -------
    str
        ``https://company/t2d_index_tool/``

    Raises
    ------
    InvalidHost
        No scheme, no host name, a user name, a query or a fragment.
    InsecureHost
        Plain http to another machine: the token would travel readable.

    Examples
    --------
    >>> normalise_host("https://company.example/t2d_index_tool")
    'https://company.example/t2d_index_tool/'
    """
    if not isinstance(host, str):
        msg = f"the host from {source} is a {type(host).__name__}, not text"
        raise InvalidHost(msg)
    host = host.strip()
    if "://" not in host:
        msg = f"the host {host!r} from {source} has no scheme: write 'https://{host.lstrip('/')}'"
        raise InvalidHost(msg)
    try:
        parts = urlsplit(host)
        port = parts.port
    except ValueError as error:
        msg = f"the host {host!r} from {source} is not an address: {error}"
        raise InvalidHost(msg) from error
    if parts.username or parts.password:
        msg = f"the host from {source} holds a user name or password: give it without, the token is sent in a header"
        raise InvalidHost(msg)
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        msg = f"the host {host!r} from {source} is not an http(s) address such as 'https://company/t2d_index_tool/'"
        raise InvalidHost(msg)
    if parts.query or parts.fragment:
        msg = f"the host {host!r} from {source} has a query or fragment: give it up to the path only"
        raise InvalidHost(msg)
    if parts.scheme.lower() == "http" and not is_loopback(parts.hostname):
        msg = (
            f"the host {host!r} from {source} uses plain http, where anyone on the way can read the token: "
            "use https (plain http is taken for 127.0.0.1 only)"
        )
        raise InsecureHost(msg)
    del port
    return host if host.endswith("/") else host + "/"


def is_loopback(hostname: str) -> bool:
    """Whether a host name means this machine, whatever the network says."""
    if hostname.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname.strip("[]")).is_loopback
    except ValueError:
        return False


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host name and port: what must be equal for the token to be sent."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(scheme, 0)


def route_url(host: str, route: str) -> str:
    """The address of a route, below the path of the host: a slash at its beginning does not mean the server's root.

    Parameters
    ----------
    host
        As :func:`normalise_host` gives it.
    route
        With or without the host before it.

    Examples
    --------
    >>> route_url("https://company.example/gateway/", "/v1/database/list")
    'https://company.example/gateway/v1/database/list'
    """
    return host + route.removeprefix(host).lstrip("/")


def same_origin_url(host: str, path: str) -> str:
    """Join a path that the server named, refusing one that leads to another server.

    Raises
    ------
    InvalidResponse
        The path is an address on another origin.
    """
    url = urljoin(host, path)
    if origin(url) != origin(host):
        msg = f"{host} named a file on another server ({urlsplit(url).netloc}); it is not fetched"
        raise InvalidResponse(msg)
    return url


def file_url(host: str, link: str) -> str:
    """The address of a file that the server named for a download without the token; it may be on another server.

    Raises
    ------
    InvalidResponse
        The link leads to another server by plain http, or is no link.
    """
    url = urljoin(host, link)
    if origin(url) != origin(host) and not (url.startswith("https://") and urlsplit(url).hostname):
        msg = f"{host} named the file {link[:200]!r}, which is on another server and not reached by https"
        raise InvalidResponse(msg)
    return url
