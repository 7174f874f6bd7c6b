"""The route of BioStudio: the hosts and tokens that it keeps for its user."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from biocolab_accessor.sandbox.site import Site

__all__ = ["studio_routes"]


def studio_routes(site: Site) -> list[Route]:
    """The route, under the two addresses that clients make of a host with and without a last slash."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_settings, site, request))

    paths = ("/pyapi/private/get_setting", "//pyapi/private/get_setting")
    return [Route(path, endpoint, methods=["GET"]) for path in paths]


def _settings(site: Site, request: Request) -> dict[str, Any]:
    token, email = request.headers.get("x-user-token", ""), request.headers.get("x-email-id", "")
    if site.accounts.user_of(token) != email:
        # Clients look at this number only, never at the status of HTTP.
        return {"status": 1, "message": "the email and the token do not belong together"}
    settings = {
        "bio_bbx_private_domain": f"{site.url}/t2d_index_tool/",
        "bio_bbx_private_key": token,
        "bio_bbx_t2d_key": token,
        "bio_bioflex_public_key": token,
    }
    return {"status": 0, "message": settings}
