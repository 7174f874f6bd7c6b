"""Stripes: parts of a matrix by genes, each transposed on its own, and their rows put side by side.

Both are SciPy's C code, which lets other threads run, but from and into memory of the caller's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import _sparsetools

__all__ = ["SHORT", "put_side_by_side", "shorten", "spans", "turn"]

SHORT = np.dtype(np.uint16)
"""Half of what the wire has: most counts fit, and the genes of a stripe."""
_LOOKED_AT = 1 << 18


def spans(indptr: NDArray[Any], most: int) -> list[tuple[int, int]]:
    """Consecutive ranges of compressed rows with at most so many values, or of one row.

    Examples
    --------
    >>> spans(np.array([0, 2, 3, 9, 10]), 3)
    [(0, 2), (2, 3), (3, 4)]
    """
    bounds, first, end = [], 0, len(indptr) - 1
    while first < end:
        last = int(np.searchsorted(indptr, int(indptr[first]) + most, side="right")) - 1
        last = min(max(first + 1, last), end)
        bounds.append((first, last))
        first = last
    return bounds


def turn(
    stripe: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], n_obs: int, indices: NDArray[Any], data: NDArray[Any]
) -> NDArray[Any]:
    """A CSC stripe as CSR, into ``indices`` and ``data``.

    Parameters
    ----------
    stripe
        Its indptr, indices and data.
    n_obs
        Number of cells.
    indices, data
        As long as the stripe's, and ``data`` of the same dtype.

    Returns
    -------
    numpy.ndarray
        (n_obs + 1,) row pointers, of the dtype of ``indices``.
    """
    pointers = np.empty(n_obs + 1, indices.dtype)
    own = tuple(array.astype(indices.dtype, copy=False) for array in stripe[:2])
    _sparsetools.csr_tocsc(len(own[0]) - 1, n_obs, *own, stripe[2], pointers, indices, data)
    return pointers


def put_side_by_side(
    pointers: NDArray[Any],
    parts: tuple[NDArray[Any], NDArray[Any]],
    widths: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
) -> NDArray[Any]:
    """Rows of all stripes as rows of the whole matrix, into ``indices`` and ``data``.

    Parameters
    ----------
    pointers
        (n_stripes, n_rows + 1), those of each stripe from 0.
    parts
        Indices and data of these rows of all stripes, end to end.
    widths
        (n_stripes,) genes of each stripe.
    indices, data
        As long as the parts, and ``data`` of the same dtype.

    Returns
    -------
    numpy.ndarray
        (n_rows + 1,) row pointers, of the dtype of ``indices``.
    """
    index = indices.dtype
    own = [array.astype(index, copy=False) for array in (widths, pointers.ravel(), parts[0])]
    joined = np.empty(pointers.shape[1], index)
    _sparsetools.csr_hstack(len(pointers), len(joined) - 1, *own, parts[1], joined, indices, data)
    return joined


def shorten(values: NDArray[Any], short: NDArray[np.uint16]) -> bool:
    """Put the same numbers into half the bytes; False where they are no counts, or zero, which may be negative."""
    for start in range(0, len(values), _LOOKED_AT):
        part = slice(start, start + _LOOKED_AT)
        with np.errstate(invalid="ignore"):
            np.copyto(short[part], values[part], casting="unsafe")
        if not (short[part].min() and (short[part] == values[part]).all()):
            return False
    return True
