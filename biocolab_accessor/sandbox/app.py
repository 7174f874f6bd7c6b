"""App: from an HTTP request to a handler, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from biocolab_accessor.sandbox import routes_account, routes_bioflex, routes_study, routes_submit
from biocolab_accessor.sandbox.refusal import Refusal
from biocolab_accessor.sandbox.routes_page import page_routes
from biocolab_accessor.sandbox.site import Site
from biocolab_accessor.sandbox.uploads import receive

__all__ = ["API", "make_app"]

logger = logging.getLogger("biocolab_accessor.sandbox")

API = "/t2d_index_tool/api/v1/"
"""Where the routes of BBrowserX and Talk2Data are."""

_LONGEST_JSON = 512 * 1024 * 1024

Handler = Callable[[Site, str, dict[str, Any]], Any]
Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(site: Site) -> Starlette:
    """The application of a sandbox: every route of its servers, over one site."""
    routes = [
        Route(path, _json_endpoint(site, handler, "btr-api-token"), methods=["POST"])
        for path, handler in routes_bioflex.ROUTES.items()
    ]
    enveloped = {**routes_account.ROUTES, **routes_study.ROUTES, **routes_submit.ROUTES}
    routes += [
        Route(API + name, _json_endpoint(site, handler, "bioturing-api-token"), methods=["POST"])
        for name, handler in enveloped.items()
    ]
    routes += [
        Route(API + name, _upload_endpoint(site, handler), methods=["POST"])
        for name, handler in routes_submit.UPLOADS.items()
    ]
    # The link is the secret, as with the real servers: a browser sends no token header.
    for path in ("/api/export/{name}", "/t2d_index_tool/api/export/{name}"):
        routes.append(Route(path, _download_endpoint(site), methods=["GET"]))
    routes += page_routes(site)
    return Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})


def _json_endpoint(site: Site, handler: Handler, header: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            user = _user(site, request, header)
            body = await _body(request)
            answer = await run_in_threadpool(handler, site, user, body)
            if isinstance(answer, Response):
                return answer
            content = await run_in_threadpool(lambda: json.dumps(answer).encode())
            return Response(content, media_type="application/json")
        except Refusal as refusal:
            return _refused(refusal)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            logger.exception("%s", request.url.path)
            return _refused(Refusal(500, "the sandbox failed; this is a mistake of the sandbox, see its log"))

    return endpoint


def _upload_endpoint(site: Site, handler: Callable[..., Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        part = site.uploads.incoming()
        try:
            user = _user(site, request, "bioturing-api-token")
            params = await receive(request.headers.get("content-type", ""), request.stream(), part)
            answer = await run_in_threadpool(handler, site, user, params, part)
            return Response(json.dumps(answer).encode(), media_type="application/json")
        except Refusal as refusal:
            return _refused(refusal)
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            part.unlink(missing_ok=True)

    return endpoint


def _download_endpoint(site: Site) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        path = site.exported(request.path_params["name"])
        if path is None:
            return _refused(Refusal(404, "there is no such file"))
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    return endpoint


def _user(site: Site, request: Request, header: str) -> str:
    token = request.headers.get(header, "")
    if token not in site.users:
        what = "not accepted" if token else f"missing (header {header})"
        detail = f"the token is {what}"
        raise Refusal(401, detail)
    return site.users[token]


async def _body(request: Request) -> dict[str, Any]:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > _LONGEST_JSON:
            detail = f"the body is longer than {_LONGEST_JSON:,} bytes"
            raise Refusal(413, detail)
        pieces.append(piece)
    try:
        body = json.loads(b"".join(pieces) or b"{}")
    except (ValueError, RecursionError) as error:
        detail = f"the body is not JSON: {error}"
        raise Refusal(422, detail) from error
    if not isinstance(body, dict):
        detail = "the body must be a JSON object"
        raise Refusal(422, detail)
    return body


def _refused(refusal: Refusal) -> Response:
    content = json.dumps({"detail": refusal.detail}).encode()
    return Response(content, status_code=refusal.status, media_type="application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    what = "there is no such route" if status == 404 else f"{request.method} is not the way to ask this route"
    return _refused(Refusal(status, f"{what}: {request.url.path}"))
