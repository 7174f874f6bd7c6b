"""Routes about the sandbox itself: faults, the ledger and reset, for programs in other processes or languages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.sandbox.faults.faults import Fault, Faults
from biocolab_accessor.sandbox.faults.ledger import Ledger
from biocolab_accessor.sandbox.faults.middleware import CONTROL
from biocolab_accessor.sandbox.requests import HTTPError, json_body

__all__ = ["control_routes"]


def control_routes(
    faults: Faults,
    ledger: Ledger,
    reset: Callable[[], None],
    cancel: Callable[[str], bool],
    is_owner: Callable[[str], bool],
) -> list[Route]:
    """The routes ``faults``, ``requests``, ``reset`` and ``tasks``; they need the token of the sandbox's first user."""

    async def change_faults(request: Request) -> Response:
        if request.method == "POST":
            body = await json_body(request)
            fault = faults.add(body.pop("route", ""), **body)
            return JSONResponse(_shown(fault), status_code=201)
        if request.method == "DELETE":
            faults.clear()
        return JSONResponse([_shown(fault) for fault in faults])

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            ledger.clear()
        return JSONResponse([asdict(record) for record in ledger])

    async def start_afresh(request: Request) -> Response:
        await run_in_threadpool(reset)
        return JSONResponse({})

    async def cancel_task(request: Request) -> Response:
        return JSONResponse({"cancelled": await run_in_threadpool(cancel, request.path_params["task_id"])})

    def guarded(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if not is_owner(request.headers.get("bioturing-api-token", "")):
                return JSONResponse({"detail": "the token is not that of the sandbox's owner"}, status_code=401)
            try:
                return await answer(request)
            except HTTPError as error:
                return error.answer()
            except (InvalidArgument, TypeError, ValueError, AttributeError) as error:
                return JSONResponse({"detail": str(error)}, status_code=422)

        return endpoint

    return [
        Route(CONTROL + "faults", guarded(change_faults), methods=["GET", "POST", "DELETE"]),
        Route(CONTROL + "requests", guarded(requests), methods=["GET", "DELETE"]),
        Route(CONTROL + "reset", guarded(start_afresh), methods=["POST"]),
        Route(CONTROL + "tasks/{task_id}", guarded(cancel_task), methods=["DELETE"]),
    ]


def _shown(fault: Fault) -> dict[str, Any]:
    return {**asdict(fault), "nth": None if fault.nth is None else sorted(fault.nth)}
