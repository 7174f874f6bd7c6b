"""Origin: only requests that name the sandbox by its own address, and that no page of another site sends, come in."""

from __future__ import annotations

import ipaddress
import re

from starlette.types import ASGIApp, Receive, Scope, Send

from biocolab_accessor.clients.address import is_loopback
from biocolab_accessor.naming import quoted
from biocolab_accessor.sandbox.refusal import Refusal

__all__ = ["OwnOrigin"]

_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)


class OwnOrigin:
    """The app behind a check of the Host and Origin headers, which every route needs.

    A browser lets a page talk to a server of the page's own name. Where somebody leads their name to this machine (DNS
    rebinding), the Host header still has that name, and a request from a page of another name has it as its Origin.

    Parameters
    ----------
    app
        Answers the other requests.
    host
        Where the sandbox was told to listen. This name is accepted, as are ``localhost`` and the loopback addresses.
        If other machines reach the sandbox, any IP address is accepted too: DNS rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._own = host.lower().strip("[]")
        self._local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal.answer()(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            named = quoted(", ".join(hosts)[:100])
            detail = (
                f"the request is for the host {named}, which is not a name of this sandbox: use its url, or start it "
                "with host= (or --host) and that name"
            )
            return Refusal(403, detail)
        if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
            return Refusal(403, f"the request comes from a page of another site: {quoted(', '.join(origins)[:100])}")
        return None

    def _is_own(self, authority: str) -> bool:
        # The port is left out of account: through a tunnel (ssh -L) it is another one.
        found = _AUTHORITY.fullmatch(authority)
        name = "" if found is None else found["v6"] or found["name"]
        if is_loopback(name):
            return True
        try:
            return not (self._local or ipaddress.ip_address(name).is_unspecified)
        except ValueError:
            return name != "" and name == self._own


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for name, value in scope["headers"] if name.lower() == wanted]
