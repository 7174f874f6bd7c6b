"""Faults: errors that a sandbox simulates on chosen requests, corrupt answers included."""

from __future__ import annotations

import base64
import io
import itertools
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from numbers import Integral
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.requests import route_name

KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "status": (
        "an HTTP error status, with {'detail': …}",
        {"status": 503, "detail": "a fault of the sandbox", "retry_after": None},
    ),
    "detail_in_body": ("status 200 with {'detail': …} in the body", {"detail": "a fault of the sandbox"}),
    "status_in_body": (
        "status 200 with another status and a message in the body",
        {"status": 500, "message": "a fault of the sandbox"},
    ),
    "reset": ("the connection is reset, and the request is not processed", {}),
    "lost_answer": ("the request is processed, then the connection is reset before the answer", {}),
    "reset_midway": ("the connection is reset in the middle of the answer", {}),
    "redirect": ("a redirect to another host", {"status": 307, "location": "https://elsewhere.invalid/"}),
    "hang": ("no answer for some seconds, then the connection is closed", {"seconds": 3600.0}),
    "delay": ("the correct answer, some seconds late, like on a slow network", {"seconds": 0.1}),
    "trickle": ("the answer arrives in small pieces, over some seconds", {"seconds": 5.0, "pieces": 50}),
    "truncate": ("the answer ends in the middle, although its length was announced", {}),
    "truncate_unannounced": ("the answer ends in the middle, and no length was announced", {}),
    "html": ("an HTML page of a proxy instead of the answer, status 200", {"status": 200}),
    "broken_json": ("the JSON of the answer is cut off, and the announced length matches", {}),
    "empty_object": ("{} instead of the answer", {}),
    "empty_body": ("nothing instead of the answer", {}),
    "unknown_state": ("a task has an unknown state", {"state": "PAUSED"}),
    "no_study_info": ("a commit without study_info", {}),
    "permuted_genes": ("the columns of a matrix in another order", {}),
    "missing_gene": ("a matrix without its last column", {}),
    "wrong_lengths": ("lists and arrays without their last item", {}),
    "corrupt_arrays": ("indices and codes that are out of bounds", {}),
    "forget_uploads": ("uploads that were not submitted are lost, then the request is answered", {}),
    "forget_tasks": ("tasks are lost, then the request is answered", {"title": "*"}),
    "forget_studies": ("studies of groups are lost, then the request is answered", {"title": "*"}),
    "other_words": (
        "errors have another status and message; with status 200 the error is in the body only",
        {"status": 409, "message": "the request is ambiguous or incomplete"},
    ),
}
"""Description of each kind, and its options with their defaults."""

_FORGETTING = "forget_"


@dataclass
class Fault:
    """One fault.

    Attributes
    ----------
    id
        Number of the fault.
    route
        The route, or a pattern such as ``"study/*"``.
    kind, options
        See :data:`KINDS`.
    nth
        Which requests of the route are affected, counted from 1 since the fault was added; None means all of them.
    seen, hits
        Number of requests that arrived, and that were affected.
    """

    id: int
    route: str
    kind: str
    options: dict[str, Any]
    nth: frozenset[int] | None
    seen: int = field(default=0)
    hits: int = field(default=0)


class Faults:
    """The active faults of a sandbox; :meth:`add` adds one.

    Parameters
    ----------
    routes
        Function that returns the names of the existing routes.
    """

    def __init__(self, routes: Callable[[], Collection[str]]) -> None:
        self._routes = routes
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(
        self, route: str, *, nth: int | Collection[int] | None = None, kind: str = "status", **options: Any
    ) -> Fault:
        """Simulate an error on some requests of a route.

        Parameters
        ----------
        route
            Route such as ``"upload_chunk"`` or ``"/v1/study/get_matrix"``; ``*`` matches anything.
        nth
            Which requests of the route are affected, counted from 1 starting now; None means all of them.
        kind
            Kind of error, see ``KINDS``.
        **options
            Options of the kind: ``status``, ``retry_after`` (seconds), ``location``, ``seconds``, ``state``, ``title``
            (``*`` matches anything), …

        Returns
        -------
        Fault
            The fault, which counts its ``hits``.

        Raises
        ------
        InvalidArgument
            The route, kind or option does not exist, or ``nth`` is below 1.
        """
        name, known = route_name(route), self._routes()
        if not route or not any(fnmatchcase(each, name) for each in known):
            near = did_you_mean(name, known) or ": give a part of one with *, such as '*submit*', or '*' for all"
            msg = f"{quoted(route)} is not a route{near}"
            raise InvalidArgument(msg)
        if kind not in KINDS:
            msg = f"{quoted(kind)} is not a kind of fault{did_you_mean(kind, KINDS)}; use one of {', '.join(KINDS)}"
            raise InvalidArgument(msg)
        defaults = KINDS[kind][1]
        for option in options:
            if option not in defaults:
                msg = f"fault {quoted(kind)} has no option {quoted(option)}; it has {', '.join(defaults) or 'none'}"
                raise InvalidArgument(msg)
        every: Any = [nth] if isinstance(nth, Integral) else nth
        wanted = None if every is None else frozenset(map(int, every))
        if wanted is not None and (not wanted or min(wanted) < 1):
            msg = f"nth is {quoted(nth)}, but the first request is 1"
            raise InvalidArgument(msg)
        fault = Fault(next(self._ids), name, kind, {**defaults, **options}, wanted)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, route: str) -> tuple[list[Fault], Fault | None]:
        """The ``forget_…`` faults and the other fault, if any, that a request of this route gets; both are counted."""
        forgetting, chosen = [], None
        with self._lock:
            for fault in self._faults:
                if fnmatchcase(route, fault.route):
                    fault.seen += 1
                    due = fault.nth is None or fault.seen in fault.nth
                    if due and fault.kind.startswith(_FORGETTING):
                        fault.hits += 1
                        forgetting.append(fault)
                    elif due and chosen is None:
                        fault.hits += 1
                        chosen = fault
        return forgetting, chosen

    def remove(self, fault: Fault) -> None:
        """Remove a fault; removing it again does nothing."""
        with self._lock:
            self._faults = [other for other in self._faults if other.id != fault.id]

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter(list(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def __repr__(self) -> str:
        return f"Faults({', '.join(f'{fault.kind} of {fault.route}' for fault in self)})"


_ARRAYS = {"data": "<f4", "indices": "<u4", "indptr": "<u8", "coord_arr": "<f4"}
_HDF5 = b"\x89HDF\r\n\x1a\n"

Answer = dict[str, Any]

Matrix = dict[str, NDArray[Any]]


def corrupt(kind: str, body: bytes, options: Mapping[str, Any]) -> bytes:
    """A corrupt form of a body; a body that the kind does not apply to stays unchanged."""
    if kind == "broken_json":
        return body[: max(1, len(body) * 2 // 3)]
    on_json, on_matrix = CORRUPTIONS[kind]
    if body.startswith(_HDF5):
        return _matrix_file(on_matrix(_read(body))) if on_matrix else body
    answer = json.loads(body)
    if not isinstance(answer, dict):
        return json.dumps(_shorter(answer) if kind == "wrong_lengths" else answer).encode()
    payload = answer["data"] if isinstance(answer.get("data"), dict | list) else answer
    if isinstance(payload, dict) and "indptr" in payload and on_matrix:
        changed: Any = payload | _encoded(on_matrix(_decoded(payload)))
    else:
        changed = on_json(payload, options)
    if payload is not answer:
        changed = answer | {"data": changed}
    return json.dumps(changed).encode()


def _permuted(matrix: Matrix) -> Matrix:
    return _parts(_csc(matrix)[:, ::-1])


def _without_last(matrix: Matrix) -> Matrix:
    return _parts(_csc(matrix)[:, :-1])


def _shortened(matrix: Matrix) -> Matrix:
    return matrix | {key: matrix[key][:-1] for key in ("data", "indices", "indptr")}


def _outside(matrix: Matrix) -> Matrix:
    return matrix | {"indices": matrix["indices"] + matrix["shape"][0].astype("<u4")}


def _unchanged(payload: Any, options: Mapping[str, Any]) -> Any:
    return payload


def _unknown_state(payload: Any, options: Mapping[str, Any]) -> Any:
    return payload | {"status": options["state"]} if isinstance(payload, dict) and "log" in payload else payload


def _no_study_info(payload: Any, options: Mapping[str, Any]) -> Any:
    return {k: v for k, v in payload.items() if k != "study_info"} if isinstance(payload, dict) else payload


def _short_lists(payload: Any, options: Mapping[str, Any]) -> Any:
    return _shorter(payload)


def _shorter(value: Any) -> Any:
    """Lists without their last item and arrays without their last number; in a table only the first column changes."""
    if isinstance(value, list):
        return value[:-1]
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for key, item in value.items():
        if key in (*_ARRAYS, "metadata_values") and isinstance(item, str):
            raw = base64.b64decode(item)
            changed[key] = base64.b64encode(raw[: -(2 if "cluster_names" in value else 4)]).decode()
            return changed
        if isinstance(item, list) and key not in ("coord_shape", "cluster_names", "authors"):
            changed[key] = item[:-1]
            return changed
    return changed


def _codes_outside(payload: Any, options: Mapping[str, Any]) -> Any:
    if not isinstance(payload, dict) or "cluster_names" not in payload:
        return payload
    codes = np.frombuffer(base64.b64decode(payload["metadata_values"]), "<u2")
    shifted = codes + np.uint16(len(payload["cluster_names"]))
    return payload | {"metadata_values": base64.b64encode(shifted.tobytes()).decode()}


CORRUPTIONS: Mapping[str, tuple[Callable[[Any, Mapping[str, Any]], Any], Callable[[Matrix], Matrix] | None]] = {
    "unknown_state": (_unknown_state, None),
    "no_study_info": (_no_study_info, None),
    "permuted_genes": (_unchanged, _permuted),
    "missing_gene": (_unchanged, _without_last),
    "wrong_lengths": (_short_lists, _shortened),
    "corrupt_arrays": (_codes_outside, _outside),
}
"""For each kind, the functions that corrupt JSON, and a matrix in either of its formats."""


def _csc(matrix: Matrix) -> sparse.csc_matrix:
    parts = matrix["data"], matrix["indices"].astype(np.int32), matrix["indptr"].astype(np.int64)
    return sparse.csc_matrix(parts, shape=tuple(int(n) for n in matrix["shape"]))


def _parts(matrix: sparse.csc_matrix) -> Matrix:
    return {
        "data": matrix.data.astype("<f4"),
        "indices": matrix.indices.astype("<u4"),
        "indptr": matrix.indptr.astype("<u8"),
        "shape": np.array(matrix.shape, "<u8"),
    }


def _decoded(payload: Answer) -> Matrix:
    arrays: Matrix = {
        key: np.frombuffer(base64.b64decode(payload[key]), dtype) for key, dtype in _ARRAYS.items() if key in payload
    }
    return arrays | {"shape": np.array(payload["shape"], "<u8")}


def _encoded(matrix: Matrix) -> Answer:
    arrays = {
        key: base64.b64encode(matrix[key].astype(_ARRAYS[key]).tobytes()).decode() for key in matrix if key != "shape"
    }
    return arrays | {"shape": [int(n) for n in matrix["shape"]]}


def _read(body: bytes) -> Matrix:
    with h5py.File(io.BytesIO(body)) as file:
        return {key: file[key][()] for key in ("data", "indices", "indptr", "shape")}


def _matrix_file(matrix: Matrix) -> bytes:
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for key, array in matrix.items():
            file[key] = array
    return target.getvalue()
