"""Size: how much would be sent, and what a server needs to take it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from biocolab_accessor.check.summary import SlotSummary

__all__ = ["bytes_of", "server_bytes", "stored_dtype"]

_LARGEST_FLOAT32_INTEGER = 2**24
_INDEX_BYTES = 4
# Counts, log-normalised values, and one of them by the other axis; each with its indices.
_MATRICES_AT_ONCE = 3
# What a usual pipeline scales for its PCA: two thousand variable genes, once before and once after.
_DENSE_BYTES_EACH_CELL = 2 * 2_000 * 4


def stored_dtype(summary: SlotSummary, *, raw: bool) -> np.dtype[Any]:
    """Float32, which is what the servers carry, where that is exact; else what the matrix has."""
    dtype = np.dtype(summary.dtype)
    if summary.fits_float32 or (raw and summary.maximum <= _LARGEST_FLOAT32_INTEGER):
        return np.dtype(np.float32)
    return np.dtype(np.float64) if dtype.kind == "f" else dtype


def bytes_of(summary: SlotSummary, obs: pd.DataFrame, obsm: Iterable[Any]) -> int:
    """Estimate of the bytes of all files before compression.

    Parameters
    ----------
    summary
        Of the matrix that is sent.
    obs, obsm
        What goes along.
    """
    itemsize = stored_dtype(summary, raw=summary.kind in ("counts", "binary")).itemsize
    matrix = summary.nnz * (itemsize + _INDEX_BYTES) + summary.shape[0] * _INDEX_BYTES
    tables = _frame_bytes(obs) + 8 * summary.shape[1]
    for value in obsm:
        tables += _value_bytes(value)
    return int(matrix + tables)


def server_bytes(summary: SlotSummary) -> int:
    """Rough memory of a server that normalises the matrix and computes embeddings, as the sandbox does."""
    return _MATRICES_AT_ONCE * summary.nnz * (4 + _INDEX_BYTES) + summary.shape[0] * _DENSE_BYTES_EACH_CELL


def _value_bytes(value: Any) -> int:
    if isinstance(value, pd.DataFrame):
        return _frame_bytes(value)
    if sparse.issparse(value):
        return int(value.nnz * (value.dtype.itemsize + _INDEX_BYTES) + value.shape[0] * _INDEX_BYTES)
    return int(getattr(value, "nbytes", 0))


def _frame_bytes(frame: pd.DataFrame) -> int:
    # Together with the index they would be put under one list of names, which pandas 3 makes text of or fails.
    return int(frame.index.memory_usage() + frame.memory_usage(index=False).sum())
