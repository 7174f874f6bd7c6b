"""Routes of a sandbox: the table of all of them, from a request to its handler and back; a module for each topic."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from biocolab_accessor.sandbox.requests import (
    LONGEST_FILE,
    LONGEST_METADATA,
    HTTPError,
    LargeFile,
    failure,
    is_long,
    json_body,
    json_file,
    pieces,
    route_name,
    save_body,
)
from biocolab_accessor.sandbox.routes import account, bioflex, lens, study, submit
from biocolab_accessor.sandbox.routes.page import page_routes
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.files import remove
from biocolab_accessor.sandbox.store.uploads import receive

logger = logging.getLogger("biocolab_accessor.sandbox")

_HEADER = "bioturing-api-token"

Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[State, str, dict[str, Any]], Any]
UploadHandler = Callable[[State, str, dict[str, Any], Path], Any]


def _not_for_lens(*_: Any) -> Any:
    raise HTTPError(422, "Lens does not accept this kind of submission: submit it to BBrowserX or Talk2Data")


_SHARED: dict[str, Handler] = {**account.ROUTES, **study.ROUTES, **submit.ROUTES, **study.TERM_ROUTES}
_LENS = {**_SHARED, "submit_processed_study_from_local": _not_for_lens, "submit_study_from_server": _not_for_lens}

# Routes of BBrowserX and Talk2Data, and of the Lens clients, which submit spatial studies: by prefix and name.
_API_ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/t2d_index_tool/api/v1/": _SHARED,
    "/lens_sc/api/v1/": {**_LENS, **lens.SC_ROUTES},
    "/lens_bulk/api/v1/": {**_LENS, **lens.BULK_ROUTES},
}

# Most bytes of a body, by name of the route, where it is more than usual.
_LONG_BODIES = {"submit_metadata_dataframe": LONGEST_METADATA}

# Prefixes of the links to exported files.
_EXPORT_ROUTES = ("/api", "/t2d_index_tool/api", "/lens_sc/api", "/lens_bulk/api")


def make_app(state: State) -> Starlette:
    """The application of a sandbox: the routes of all its servers, on one state."""
    routes = [
        Route(path, _json_endpoint(state, handler, "btr-api-token"), methods=["POST"])
        for path, handler in bioflex.ROUTES.items()
    ]
    for prefix, handlers in _API_ROUTES.items():
        for name, handler in handlers.items():
            endpoint = _json_endpoint(state, handler, _HEADER, _LONG_BODIES.get(name))
            routes.append(Route(prefix + name, endpoint, methods=["POST"]))
        for name, take in submit.UPLOADS.items():
            routes.append(Route(prefix + name, _upload_endpoint(state, take), methods=["POST"]))
    # As on the real servers the link is the secret, because a browser sends no token header.
    for prefix in _EXPORT_ROUTES:
        routes.append(Route(f"{prefix}/export/{{name}}", _download_endpoint(state), methods=["GET"]))
    routes += account.studio_routes(state)
    routes += page_routes(state)
    return Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})


def route_names(app: Starlette) -> set[str]:
    """Names of the routes as the ledger writes them; ``*`` stands for a path parameter."""
    return {re.sub(r"\{.*?\}", "*", route_name(route.path)) for route in app.routes if isinstance(route, Route)}


def _json_endpoint(state: State, handler: Handler, header: str, longest: int | None = None) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        user = _user(state, request, header)
        if longest is not None and is_long(request):
            answer = await _long_answer(state, handler, user, request, longest)
        else:
            body = await json_body(request)
            answer = await run_in_threadpool(handler, state, user, body)
            del body
        if isinstance(answer, Response):
            return answer
        content = await run_in_threadpool(lambda: json.dumps(answer).encode())
        return Response(content, media_type="application/json")

    return _answering_errors(endpoint)


def _answering_errors(endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose errors become HTTP answers."""

    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPError as error:
            return error.answer()
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            logger.exception("%s", request.url.path)
            return failure(error).answer()

    return answering


async def _long_answer(state: State, handler: Handler, user: str, request: Request, longest: int) -> Any:
    """The answer to a long body, which arrives on disk: a slow client does not keep the others waiting."""
    part = state.uploads.incoming()
    try:
        await save_body(request, longest, part)
        async with state.long_body:  # its values take many times its length in memory
            return await run_in_threadpool(lambda: handler(state, user, json_file(part)))
    finally:
        remove(part)


def _upload_endpoint(state: State, take: UploadHandler) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        part = state.uploads.incoming()
        try:
            user = _user(state, request, _HEADER)
            params = await receive(request.headers.get("content-type", ""), pieces(request, LONGEST_FILE), part)
            answer = await run_in_threadpool(take, state, user, params, part)
            return Response(json.dumps(answer).encode(), media_type="application/json")
        finally:
            remove(part)

    return _answering_errors(endpoint)


def _download_endpoint(state: State) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        path = state.exported(request.path_params["name"])
        if path is None:
            return HTTPError(404, "the file does not exist").answer()
        return LargeFile(path, filename=path.name, media_type="application/octet-stream")

    return endpoint


def _user(state: State, request: Request, header: str) -> str:
    token = request.headers.get(header, "")
    user = state.accounts.user_of(token)
    if user is None:
        what = "not accepted" if token else f"missing (header {header})"
        detail = f"the token is {what}"
        raise HTTPError(401, detail)
    return user


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    what = "there is no such route" if status == 404 else f"{request.method} is not allowed on this route"
    return HTTPError(status, f"{what}: {request.url.path}").answer()
