"""Spoiling: answers that look right and are not."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["SPOILERS", "spoil"]

_ARRAYS = {"data": "<f4", "indices": "<u4", "indptr": "<u8", "coord_arr": "<f4"}
_HDF5 = b"\x89HDF\r\n\x1a\n"

Answer = dict[str, Any]
Matrix = dict[str, NDArray[Any]]


def spoil(kind: str, body: bytes, options: Mapping[str, Any]) -> bytes:
    """A body with something wrong in it; one that the kind has nothing to do with stays as it is."""
    if kind == "broken_json":
        return body[: max(1, len(body) * 2 // 3)]
    on_json, on_matrix = SPOILERS[kind]
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
    """Lists without their last item, arrays without their last number; of a table the first column only."""
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


SPOILERS: Mapping[str, tuple[Callable[[Any, Mapping[str, Any]], Any], Callable[[Matrix], Matrix] | None]] = {
    "unknown_state": (_unknown_state, None),
    "no_study_info": (_no_study_info, None),
    "permuted_genes": (_unchanged, _permuted),
    "missing_gene": (_unchanged, _without_last),
    "wrong_lengths": (_short_lists, _shortened),
    "corrupt_arrays": (_codes_outside, _outside),
}
"""For each kind what is done to JSON, and to a matrix however it is sent."""


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
