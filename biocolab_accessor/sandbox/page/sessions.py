"""Page sessions: who is looking at the page."""

from __future__ import annotations

import secrets
import threading
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from biocolab_accessor.sandbox.refusal import Refusal
from biocolab_accessor.sandbox.site import Site

__all__ = ["PageSessions"]

_MOST = 1000


class PageSessions:
    """Signed-in browsers. A session is a random id in a cookie and an email in memory; the token is not kept.

    Parameters
    ----------
    site
        Whose users may look.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        own = urlsplit(site.url)
        # A browser does not keep the cookies of two ports apart, so that two sandboxes need two names.
        self._cookie = f"biocolab_session_{own.port or 80}"
        self._emails: dict[str, str] = {}
        self._lock = threading.Lock()

    def user(self, request: Request) -> str:
        """Email of who is signed in.

        Raises
        ------
        Refusal
            Nobody is.
        """
        email = self._emails.get(request.cookies.get(self._cookie, ""))
        if email is None or email not in self._site.accounts.users():
            raise Refusal(401, "sign in first")
        return email

    def sign_in(self, request: Request, token: str, invitation: str = "") -> tuple[str, str]:
        """Begin a session, with a token or with an invitation, which is good for one session.

        Returns
        -------
        tuple
            The email and the session's id, for :meth:`remember`.

        Raises
        ------
        Refusal
            Neither is accepted.
        """
        email = self._site.invitations.pop(invitation, None) or self._site.accounts.user_of(token)
        if email is None and invitation:
            raise Refusal(401, "the link was used before: sign in with the token")
        if email is None:
            raise Refusal(401, "the token is not accepted" if token else "a token is needed")
        id_ = secrets.token_urlsafe(32)
        with self._lock:
            self._emails.pop(request.cookies.get(self._cookie, ""), None)
            while len(self._emails) >= _MOST:
                del self._emails[next(iter(self._emails))]
            self._emails[id_] = email
        return email, id_

    def remember(self, response: Response, id_: str) -> None:
        """Give the session's id to the browser, out of reach of scripts and of other sites."""
        response.set_cookie(self._cookie, id_, httponly=True, samesite="strict", path="/")

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session."""
        with self._lock:
            self._emails.pop(request.cookies.get(self._cookie, ""), None)
        response.delete_cookie(self._cookie, httponly=True, samesite="strict", path="/")
