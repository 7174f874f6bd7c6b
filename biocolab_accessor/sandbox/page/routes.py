"""Routes of the page that users open in a browser, and their sessions."""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from biocolab_accessor.messages import quoted
from biocolab_accessor.sandbox.page import views
from biocolab_accessor.sandbox.requests import HTTPError, LargeFile, failure, form
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import StudyRecord
from biocolab_accessor.sandbox.store.study_folder import StudyFolder, write_export

__all__ = ["PageSessions", "page_routes"]

_MOST = 1000


class PageSessions:
    """Signed-in browsers: a session is a random id in a cookie and an email in memory, without the token."""

    def __init__(self, state: State) -> None:
        self._state = state
        own = urlsplit(state.url)
        # Browsers share cookies between the ports of a host, so two sandboxes need two names.
        self._cookie = f"biocolab_session_{own.port or 80}"
        self._emails: dict[str, str] = {}
        self._lock = threading.Lock()

    def user(self, request: Request) -> str:
        """Email of the signed-in user."""
        email = self._emails.get(request.cookies.get(self._cookie, ""))
        if email is None or email not in self._state.accounts.users():
            raise HTTPError(401, "sign in first")
        return email

    def sign_in(self, request: Request, token: str, invitation: str = "") -> tuple[str, str]:
        """Start a session with a token or a one-time invitation; the result is the email and the session's id."""
        email = self._state.invitations.pop(invitation, None) or self._state.accounts.user_of(token)
        if email is None and invitation:
            raise HTTPError(401, "this link is invalid or was already used: sign in with the token")
        if email is None:
            raise HTTPError(401, "the token is not accepted" if token else "a token is needed")
        id_ = secrets.token_urlsafe(32)
        with self._lock:
            self._emails.pop(request.cookies.get(self._cookie, ""), None)
            while len(self._emails) >= _MOST:
                del self._emails[next(iter(self._emails))]
            self._emails[id_] = email
        return email, id_

    def remember(self, response: Response, id_: str) -> None:
        """Store the session's id in a cookie that scripts and other sites cannot read."""
        response.set_cookie(self._cookie, id_, httponly=True, samesite="strict", path="/")

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session."""
        with self._lock:
            self._emails.pop(request.cookies.get(self._cookie, ""), None)
        response.delete_cookie(self._cookie, httponly=True, samesite="strict", path="/")


logger = logging.getLogger("biocolab_accessor.sandbox")

_STATIC = Path(views.__file__).parent / "static"
_FILES = {path.name: path for path in _STATIC.iterdir() if path.suffix in (".css", ".js", ".svg")}
_SHELL = _STATIC / "index.html"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_DATA = "/page/data"
_STUDY = _DATA + "/study/{uuid}"

View = Callable[[State, str, Request], Any]


def page_routes(state: State) -> list[Route]:
    """The routes of the page: its files, sign-in and sign-out, and data for signed-in users."""
    sessions = PageSessions(state)

    async def shell(request: Request) -> Response:
        return FileResponse(_SHELL, media_type="text/html", headers={"Cache-Control": "no-cache"})

    async def file(request: Request) -> Response:
        path = _FILES.get(request.path_params["name"])
        if path is None:
            raise HTTPError(404, "the file does not exist")
        return FileResponse(path, media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})

    async def sign_in(request: Request) -> Response:
        fields = parse_qs((await form(request)).decode("utf-8", "replace"))
        token, invitation = (fields.get(name, [""])[0].strip() for name in ("token", "invitation"))
        user, id_ = sessions.sign_in(request, token, invitation)
        response = _json({"user": user})
        sessions.remember(response, id_)
        return response

    async def sign_out(request: Request) -> Response:
        response = _json({})
        sessions.sign_out(request, response)
        return response

    def data(path: str, view: View, method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            user = sessions.user(request)
            answer = await run_in_threadpool(view, state, user, request)
            return answer if isinstance(answer, Response) else _json(answer)

        return Route(path, _guarded(endpoint), methods=[method])

    shells = [Route(path, _guarded(shell)) for path in ("/", "/study/{uuid}", "/task/{task_id}")]
    return [
        *shells,
        Route("/page/{name}", _guarded(file)),
        Route("/signin", _guarded(sign_in), methods=["POST"]),
        Route("/signout", _guarded(sign_out), methods=["POST"]),
        data(f"{_DATA}/session", lambda state, user, request: {"user": user}),
        data(f"{_DATA}/home", lambda state, user, request: views.home(state, user)),
        data(f"{_DATA}/task/{{task_id}}", _task),
        data(f"{_DATA}/task/{{task_id}}/cancel", _cancel, "POST"),
        data(_STUDY, lambda state, user, request: views.study(state, user, _open(state, user, request)[0])),
        data(f"{_STUDY}/size", _size),
        data(f"{_STUDY}/barcodes", lambda state, user, request: _open(state, user, request)[1].barcodes),
        data(f"{_STUDY}/features", _features),
        data(f"{_STUDY}/gene/{{number:int}}", _gene),
        data(f"{_STUDY}/field/{{number:int}}", _field),
        data(f"{_STUDY}/field/{{number:int}}/values", _field_values),
        data(f"{_STUDY}/embedding/{{id}}", _embedding),
        data(f"{_STUDY}/export", _export, "POST"),
        data(f"{_STUDY}/export/{{name}}", _exported),
    ]


def _guarded(work: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        response: Response
        try:
            response = await work(request)
        except HTTPError as error:
            response = _json({"detail": error.detail}, error.status)
        except ClientDisconnect:
            response = Response(status_code=499)
        except Exception as error:
            logger.exception("%s", request.url.path)
            failed = failure(error)
            response = _json({"detail": failed.detail}, failed.status)
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return endpoint


def _task(state: State, user: str, request: Request) -> Any:
    task = state.catalog.task(request.path_params["task_id"], user)
    if task is None or task.kind != "submit":
        raise HTTPError(404, "the task does not exist")
    start = request.query_params.get("from", "0")
    return views.task(state, user, task, int(start) if start.isascii() and start.isdigit() else 0)


def _cancel(state: State, user: str, request: Request) -> Any:
    task = state.catalog.task(request.path_params["task_id"], user)
    if task is None:
        raise HTTPError(404, "the task does not exist")
    return {"cancelled": state.tasks.cancel(task.id)}


def _size(state: State, user: str, request: Request) -> Any:
    folder = _open(state, user, request)[1]
    return {"size": [len(folder.barcodes), len(folder.features)]}


def _features(state: State, user: str, request: Request) -> Any:
    return views.matches(_open(state, user, request)[1].features, request.query_params.get("q", "")[:200])


def _gene(state: State, user: str, request: Request) -> Response:
    folder, number = _open(state, user, request)[1], request.path_params["number"]
    if number >= len(folder.features):
        detail = f"the study has {len(folder.features):,} features"
        raise HTTPError(404, detail)
    return _array(folder.column(number, "lognorm"), "<f4")


def _field(state: State, user: str, request: Request) -> Any:
    name, column = views.column_of(_open(state, user, request)[1], request.path_params["number"])
    coded = views.codes(column)
    found = views.summary(name, column)
    return found if coded is None else {**found, "labels": coded[0], "counts": coded[1]}


def _field_values(state: State, user: str, request: Request) -> Response:
    _, column = views.column_of(_open(state, user, request)[1], request.path_params["number"])
    coded = views.codes(column)
    return _array(column.as_float32(), "<f4") if coded is None else _array(coded[2], "<u2")


def _embedding(state: State, user: str, request: Request) -> Response:
    record, folder = _open(state, user, request)
    coordinates = folder.embedding(request.path_params["id"])
    if coordinates is None or coordinates.ndim != 2 or coordinates.shape[1] < 2:
        detail = f"study {quoted(record.hash_id)} has no such two-dimensional embedding"
        raise HTTPError(404, detail)
    return _array(coordinates[:, :2], "<f4")


def _export(state: State, user: str, request: Request) -> Any:
    record, folder = _open(state, user, request)
    path = state.export_path()
    write_export(folder, path)
    return {"url": f"{_STUDY.format(uuid=record.uuid)}/export/{path.stem}", "bytes": path.stat().st_size}


def _exported(state: State, user: str, request: Request) -> Response:
    record, _ = _open(state, user, request)
    path = state.exported(request.path_params["name"])
    if path is None:
        raise HTTPError(404, "the file does not exist")
    name = re.sub(r"[^\w.-]+", "_", record.hash_id)[:100]
    return LargeFile(path, filename=f"{name}.h5ad", media_type="application/octet-stream")


def _open(state: State, user: str, request: Request) -> tuple[StudyRecord, StudyFolder]:
    record = state.by_uuid(user, request.path_params["uuid"])
    return record, state.open(record)


def _json(answer: Any, status: int = 200) -> Response:
    # ASCII, because names in the data may contain characters that UTF-8 cannot encode.
    content = json.dumps(answer, allow_nan=False).encode()
    return Response(content, status_code=status, media_type="application/json")


def _array(values: NDArray[Any], dtype: str) -> Response:
    return Response(np.ascontiguousarray(values, dtype).tobytes(), media_type="application/octet-stream")
