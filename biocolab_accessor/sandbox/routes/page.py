"""Page: routes of the page that users open in a browser, their sessions and their answers."""

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

from biocolab_accessor.io.names import restored, unescaped
from biocolab_accessor.messages import natural_key, quoted
from biocolab_accessor.sandbox.requests import HTTPError, LargeFile, failure, form
from biocolab_accessor.sandbox.routes.account import get_user_groups
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import PUBLIC, StudyRecord, TaskRecord
from biocolab_accessor.sandbox.store.study_folder import Column, StudyFolder, write_export

_MOST = 1000
_STAMP = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d)\] ")
_MOST_MATCHES = 30
_MISSING = 65_535  # code of a cell without a label


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

_STATIC = Path(__file__).parents[1] / "page" / "static"
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
        data(f"{_DATA}/home", lambda state, user, request: _home(state, user)),
        data(f"{_DATA}/task/{{task_id}}", _task),
        data(f"{_DATA}/task/{{task_id}}/cancel", _cancel, "POST"),
        data(_STUDY, lambda state, user, request: _study(state, user, _open(state, user, request)[0])),
        data(f"{_STUDY}/size", _size),
        data(f"{_STUDY}/barcodes", lambda state, user, request: _open(state, user, request)[1].barcodes),
        data(f"{_STUDY}/features", _features),
        data(f"{_STUDY}/gene/{{number}}", _gene),
        data(f"{_STUDY}/field/{{number}}", _field),
        data(f"{_STUDY}/field/{{number}}/values", _field_values),
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
    return _task_state(state, user, task, _whole(request.query_params.get("from", "")) or 0)


def _whole(text: str) -> int | None:
    """A position in a list; None for any other text, also for a number of so many digits that int() refuses it."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _cancel(state: State, user: str, request: Request) -> Any:
    task = state.catalog.task(request.path_params["task_id"], user)
    if task is None:
        raise HTTPError(404, "the task does not exist")
    return {"cancelled": state.tasks.cancel(task.id)}


def _size(state: State, user: str, request: Request) -> Any:
    folder = _open(state, user, request)[1]
    return {"size": [len(folder.barcodes), len(folder.features)]}


def _features(state: State, user: str, request: Request) -> Any:
    return _matches(_open(state, user, request)[1].features, request.query_params.get("q", "")[:200])


def _gene(state: State, user: str, request: Request) -> Response:
    folder, number = _open(state, user, request)[1], _whole(request.path_params["number"])
    if number is None or number >= len(folder.features):
        detail = f"the study has {len(folder.features):,} features"
        raise HTTPError(404, detail)
    return _array(folder.column(number, "lognorm"), "<f4")


def _field(state: State, user: str, request: Request) -> Any:
    name, column = _column_of(_open(state, user, request)[1], _whole(request.path_params["number"]))
    coded = _codes(column)
    found = _summary(name, column)
    return found if coded is None else {**found, "labels": coded[0], "counts": coded[1]}


def _field_values(state: State, user: str, request: Request) -> Response:
    _, column = _column_of(_open(state, user, request)[1], _whole(request.path_params["number"]))
    coded = _codes(column)
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


def _home(state: State, user: str) -> dict[str, Any]:
    """Groups with their studies, and the submissions that are not studies yet."""
    records = state.catalog.studies(user)
    groups = [*get_user_groups(state, user, {})["data"], {"id": PUBLIC, "name": "Public studies"}]
    committed = {record.uuid for record in records}
    waiting = [
        task
        for task in state.catalog.tasks(user)
        if task.kind == "submit" and not (task.status == "SUCCESS" and task.result.get("uuid") in committed)
    ]
    return {
        "groups": [
            {
                "id": group["id"],
                "name": group["name"],
                "studies": [_listed(state, record) for record in records if record.group_id == group["id"]],
            }
            for group in groups
        ],
        "tasks": [_task_row(task) for task in waiting],
    }


def _study(state: State, user: str, record: StudyRecord) -> dict[str, Any]:
    """A study without its values."""
    folder = state.open(record)
    columns = folder.obs.columns
    names = {group["id"]: group["name"] for group in get_user_groups(state, user, {})["data"]}
    return {
        **_listed(state, record),
        "authors": list(record.authors),
        "abstract": record.abstract,
        "reference": record.reference,
        "species": record.species,
        "public": record.group_id == PUBLIC,
        "group": "Public studies" if record.group_id == PUBLIC else names.get(record.group_id, record.group_id),
        "size": [len(folder.barcodes), len(folder.features)],
        "fields": [_summary(name, column) for name, column in _named(columns)],
        "field": _first_field(record, columns),
        "embeddings": [
            {"id": row["embedding_id"], "name": unescaped(row["embedding_name"], embedding=True)}
            for row in folder.embeddings
            if _flat(folder, row)
        ],
    }


def _task_state(state: State, user: str, task: TaskRecord, start: int) -> dict[str, Any]:
    """The status of a task, its log from position ``start`` on, and its study once it is committed."""
    record = state.catalog.study(str(task.result.get("uuid", "")), user)
    log = task.log
    return {
        **_task_row(task),
        "log": log[start:] if 0 <= start <= len(log) else log,
        "next": len(log),
        "study": None if record is None else record.uuid,
    }


def _summary(name: str, column: Column) -> dict[str, Any]:
    """A short description of a field: the number of labels and the most common one, or the range of its numbers."""
    if column.labels is not None or column.values.dtype.kind == "b":
        labels, counts, missing = _counted(column)
        top = int(np.argmax(counts)) if len(labels) else None
        return {
            "name": name,
            "kind": "label",
            "n_labels": len(labels),
            "top": None if top is None else [labels[top], int(counts[top])],
            "missing": missing,
        }
    values = column.as_float32()
    finite = values[np.isfinite(values)].astype(np.float64)
    spread = [float(finite.min()), float(np.median(finite)), float(finite.max())] if len(finite) else None
    return {"name": name, "kind": "number", "spread": spread, "missing": len(values) - len(finite)}


def _codes(column: Column) -> tuple[list[str], list[int], NDArray[np.uint16]] | None:
    """Labels in natural order, the number of cells of each, and a code for each cell; None for numbers."""
    if column.labels is None and column.values.dtype.kind != "b":
        return None
    labels, counts, _ = _counted(column)
    if len(labels) > _MISSING:
        detail = f"the field has {len(labels):,} labels; the page can show {_MISSING:,}"
        raise HTTPError(422, detail)
    # Cluster 2 before 10, like the categories of an AnnData.
    order = sorted(range(len(labels)), key=lambda code: natural_key(labels[code]))
    places = np.full(len(labels) + 1, _MISSING, np.uint16)
    places[order] = np.arange(len(labels))
    # A cell without a label has the code -1, which selects the last entry.
    return [labels[code] for code in order], counts[order].tolist(), places[column.values.astype(np.int64)]


def _column_of(folder: StudyFolder, number: int | None) -> tuple[str, Column]:
    """A field by its position."""
    columns = _named(folder.obs.columns)
    if number is None or number >= len(columns):
        detail = f"the study has {len(columns)} fields"
        raise HTTPError(404, detail)
    return columns[number]


def _named(columns: dict[str, Column]) -> list[tuple[str, Column]]:
    """Columns with their original names: some characters are sent escaped."""
    originals = restored(columns)
    return [(originals[name], column) for name, column in columns.items()]


def _matches(features: list[str], typed: str) -> dict[str, Any]:
    """Features that begin with the typed text, then features that contain it, ignoring case."""
    wanted = typed.strip().casefold()
    begin, within = [], []
    for number, name in enumerate(features):
        place = name.casefold().find(wanted)
        if place == 0:
            begin.append((len(name) if wanted else 0, number, name))
        elif place > 0:
            within.append((len(name), number, name))
    found = sorted(begin) + sorted(within)
    return {
        "total": len(found),
        "matches": [{"number": number, "name": name} for _, number, name in found[:_MOST_MATCHES]],
    }


def _counted(column: Column) -> tuple[list[str], NDArray[np.int64], int]:
    labels = ["False", "True"] if column.labels is None else list(column.labels)
    numbers = column.values.astype(np.int64)
    known = numbers[numbers >= 0]
    return labels, np.bincount(known, minlength=len(labels)), len(numbers) - len(known)


def _listed(state: State, record: StudyRecord) -> dict[str, Any]:
    # A list does not create a study that is created on first use: the page requests its size separately.
    made = (state.folder / "studies" / record.uuid).exists()
    folder = state.open(record) if made else None
    return {
        "uuid": record.uuid,
        "id": record.hash_id,
        "title": record.title,
        "owner": record.owner,
        "created": record.created_at,
        "size": None if folder is None else [len(folder.barcodes), len(folder.features)],
    }


def _task_row(task: TaskRecord) -> dict[str, Any]:
    stamp = _STAMP.match(task.log)
    last = task.log.rstrip("\n").rpartition("\n")[2]
    return {
        "task": task.id,
        "id": str(task.body.get("hash_id", "")),
        "title": str(task.body.get("title", "")),
        "status": task.status,
        "since": stamp[1] if stamp else "",
        "last": _STAMP.sub("", last, count=1),
    }


def _first_field(record: StudyRecord, columns: dict[str, Column]) -> int | None:
    """The field that is shown first: cell types, else clusters, else a field with few labels."""
    names = list(columns)
    for name in (record.cell_type, "cell_type", "Leiden clustering"):
        if name in columns:
            return names.index(name)
    few = (i for i, column in enumerate(columns.values()) if column.labels and 1 < len(column.labels) <= 60)
    return next(few, 0 if names else None)


def _flat(folder: StudyFolder, row: dict[str, str]) -> bool:
    coordinates = folder.embedding(row["embedding_id"])
    return coordinates is not None and coordinates.ndim == 2 and coordinates.shape[1] >= 2
