r"""URLs: one strict parser for addresses from users and servers.

Libraries read a doubtful address in different ways: ``http://evil\@good/`` is on ``good`` for urllib and on ``evil``
for urllib3, which connects. One strict parser reads every address from a user or a server, rejects doubtful ones, and
makes sure that urllib3 finds the same host: the host that is compared is the host that is connected to.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, urljoin

import urllib3

from biocolab_accessor.errors import InsecureHost, InvalidHost, InvalidResponse, RedirectRefused
from biocolab_accessor.messages import quoted

_DEFAULT_PORTS = {"http": 80, "https": 443}

# All characters of an address (RFC 3986); everything else is percent-encoded.
_SIGNS = "-._~:/?#[]@!$&'()*+,;=%"
_OTHER = re.compile(rf"[^A-Za-z0-9{re.escape(_SIGNS)}]")

_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)

_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::(?P<port>.*))?", re.DOTALL)
_NAME = re.compile(r"(?!.{254})[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")

# A numeric last label makes the whole name a number: 127.1, 0x7f000001 and 017700000001 are all this machine.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029]")

# Every spelling of the @ that ends a user name and password: plain, full or small width, percent-encoded.
_AT = re.compile("@|\uff20|\ufe6b|%(?:25)*40")
_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*:[/\\]+)?"
_USER = re.compile(rf"\s*{_SCHEME}.*(?:{_AT.pattern})", re.DOTALL)
_USER_IN_TEXT = re.compile(rf"""{_SCHEME}[^\s"']*(?:{_AT.pattern})""")


class _Doubtful(ValueError):
    """Why an address is rejected, without quoting the address, which may contain a password."""


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str
    rest: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host.strip("[]"), self.port


def _parsed(url: str) -> _Address:
    """Parse a whole http(s) address; raises _Doubtful if two parsers may find different hosts in it."""
    _expect_signs(url)
    found = _ADDRESS.fullmatch(url)
    scheme = found["scheme"].lower() if found else ""
    if found is None or scheme not in _DEFAULT_PORTS or not found["authority"]:
        msg = "it is not an http(s) address such as 'https://company/t2d_index_tool/'"
        raise _Doubtful(msg)
    if _AT.search(found["authority"]):
        msg = "it contains a user name or password: remove it, the token is sent in a header"
        raise _Doubtful(msg)
    authority = _AUTHORITY.fullmatch(found["authority"])
    if authority is None:
        msg = "its host name has misplaced brackets or colons"
        raise _Doubtful(msg)
    host, port = _host(authority["host"].lower()), authority["port"]
    if port is not None and not (_PORT.fullmatch(port) and int(port) < 65536):
        msg = "its port is not a number from 1 to 65535"
        raise _Doubtful(msg)
    number = int(port) if port else _DEFAULT_PORTS[scheme]
    try:
        connected = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        connected = urllib3.util.Url()
    seen = (connected.scheme, connected.host, connected.port or number, connected.auth)
    if seen != (scheme, host, number, None):  # no such address is known, but a later urllib3 may differ
        msg = "it can be read in more than one way"
        raise _Doubtful(msg)
    return _Address(scheme, host, number, found["path"], found["rest"])


def _expect_signs(text: str) -> None:
    if _CONTROL.search(text):
        msg = "it contains control characters, such as a line break"
    elif "\\" in text:
        msg = "it contains a backslash"
    elif " " in text:
        msg = "it contains spaces"
    elif not text.isascii():
        msg = "it contains non-ASCII characters: write a host name as xn--…, and percent-encode a path"
    elif other := _OTHER.search(text):
        msg = f"it contains the character {other[0]}, which is not allowed in an address"
    else:
        return
    raise _Doubtful(msg)


def _host(name: str) -> str:
    if name.startswith("["):
        try:
            ipaddress.IPv6Address(name[1:-1])
        except ValueError:
            msg = "the text in brackets is not an IPv6 address"
            raise _Doubtful(msg) from None
        return name
    if "%" in name:
        msg = "its host name is percent-encoded"
        raise _Doubtful(msg)
    if not _NAME.fullmatch(name):
        msg = "its host name is empty or invalid: use labels of letters, digits and hyphens, separated by single dots"
        raise _Doubtful(msg)
    if _NUMBER.fullmatch(name):
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            msg = "its host is a number: write an IPv4 address as four decimal numbers, such as 127.0.0.1"
            raise _Doubtful(msg) from None
    return name


def normalize_host(host: str, source: str = "argument") -> str:
    """Return a server's base address, with the trailing slash that joining needs; plain http only for this machine."""
    if not isinstance(host, str):
        msg = f"the host from {source} is a {type(host).__name__}, not a string"
        raise InvalidHost(msg)
    host = host.strip(" \t\r\n")
    if "://" not in host:
        bare = host.lstrip("/")
        msg = f"the host{_named(bare, repr(host))} from {source} has no scheme: write {_advised(bare)}"
        raise InvalidHost(msg, line=_line_with_https(source, bare))
    try:
        found = _parsed(host)
    except _Doubtful as error:
        msg = f"the host{_named(host)} from {source} cannot be used: {error}"
        raise InvalidHost(msg) from None
    if found.rest:
        msg = f"the host from {source} has a query or fragment: remove everything after the path"
        raise InvalidHost(msg)
    if found.scheme == "http" and not is_loopback(found.host):
        msg = (
            f"the host {quoted(host)} from {source} uses plain http, so anyone on the network path can read the "
            "token: use https (plain http is accepted for 127.0.0.1 only)"
        )
        raise InsecureHost(msg, line=_line_with_https(source, host.partition("://")[2]))
    return host if host.endswith("/") else host + "/"


def _named(host: str, text: str = "") -> str:
    """The host for a message, if it surely contains no password, and is not a token in the wrong argument."""
    authority = re.sub(r"^[A-Za-z]{1,8}://", "", host).partition("/")[0]
    name, _, port = authority.partition(":")
    if not authority:
        return ""
    plain = not _AT.search(host) and "\\" not in host and host.isprintable() and not {"?", "#"} & set(host)
    longest = 31 if "." in name else 15
    known = name.isascii() and all(len(label) <= longest for label in name.split("."))
    known = known and (not port or (port.isdecimal() and len(port) < 6))
    return f" {text or repr(host)}" if plain and known else ""


def _line_with_https(source: str, bare: str) -> str:
    """The line that sets the same host with https, if it is an argument and can be one."""
    _, _, name = source.partition("argument ")
    usable = name and _named(bare) and _NAME.fullmatch(bare.partition("/")[0].partition(":")[0])
    return f"bc.connect({name}={_advised(bare)})" if usable else ""


def _advised(host: str) -> str:
    return f"'https://{host}'" if _named(host) and host else "'https://company/t2d_index_tool/'"


def without_user(address: str, *, in_text: bool = False) -> str:
    """Remove user names and passwords, in any spelling, from an address or a text with addresses."""
    if not isinstance(address, str) or not address.strip():
        return address
    if not _AT.search(address):
        # Without a scheme and unlike a host, it may be a token in the wrong argument.
        return address if in_text or "://" in address or _named(address.strip().lstrip("/")) else "****"
    return (_USER_IN_TEXT if in_text else _USER).sub(r"\1****@", address)


def is_loopback(hostname: str) -> bool:
    """Whether a host name means this machine, whatever the network says."""
    if hostname.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname.strip("[]")).is_loopback
    except ValueError:
        return False


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host name and port, which must be equal for the token to be sent."""
    try:
        return _parsed(url).origin
    except _Doubtful as error:
        msg = f"an address cannot be used: {error}"
        raise InvalidHost(msg) from None


def route_url(host: str, route: str) -> str:
    """Return the address of a route below the path of the host; a leading slash does not mean the server's root."""
    return host + route.removeprefix(host).lstrip("/")


def redirect_url(host: str, url: str, location: str, status: int) -> str:
    """Return the target of a redirect; raises RedirectRefused if it leads to another server."""
    try:
        target, found = _joined(url, location)
    except _Doubtful as error:
        msg = f"{url} redirects (HTTP {status}) to an address that is not followed: {error}"
        raise RedirectRefused(msg) from None
    if found.origin != origin(host):
        msg = (
            f"{url} redirects (HTTP {status}) to {target.partition('?')[0]}. "
            "The token is not sent there: if this is the server's new address, use it as the host"
        )
        raise RedirectRefused(msg)
    return target


def same_origin_url(host: str, path: str) -> str:
    """Join a path that the server named; raises InvalidResponse if it leads to another server."""
    url, found = _named_by_server(host, path)
    if found.origin != origin(host):
        msg = f"{host} named a file on another server ({found.host}:{found.port}); it is not fetched"
        raise InvalidResponse(msg)
    return url


def file_url(host: str, link: str) -> str:
    """Return the address of a file for a download without the token; another server must use https."""
    url, found = _named_by_server(host, link)
    if found.origin != origin(host) and found.scheme != "https":
        msg = f"{host} named the file {quoted(link[:200])}, which is on another server and does not use https"
        raise InvalidResponse(msg)
    return url


def _named_by_server(host: str, link: str) -> tuple[str, _Address]:
    # A file name may have spaces and any letters: encoded, they cannot be taken for a part of the host.
    encoded = quote(link, safe=_SIGNS + "\\" + "".join(map(chr, range(32))) + "\x7f") if link.isprintable() else link
    try:
        return _joined(host, encoded)
    except _Doubtful as error:
        msg = f"{host} named a file by an address that is not fetched: {error}"
        raise InvalidResponse(msg) from None


def _joined(base: str, link: str) -> tuple[str, _Address]:
    """Join a link in an answer to a whole address without a fragment, and return it with its parts."""
    _expect_signs(link)  # joining would remove some of them
    link = link.partition("#")[0]
    if link.startswith("//"):
        url = f"{base.partition(':')[0]}:{link}"
    else:
        url = link if _HAS_SCHEME.match(link) else urljoin(base, link)
    return url, _parsed(url)
