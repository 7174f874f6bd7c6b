"""Soundness: refusing a sparse matrix that would take SciPy, and the process with it, outside of its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidValues

__all__ = ["expect_whole", "expect_within"]


def expect_whole(matrix: Any) -> None:
    """Refuse a sparse matrix whose pointers do not fit its values: SciPy believes them, and takes the process down.

    Its indices are not read, see :func:`expect_within`.

    Parameters
    ----------
    matrix
        Any matrix of an AnnData; only of those that are stored by rows or columns something is looked at.

    Raises
    ------
    InvalidValues
        It is damaged, or holds numbers that SciPy has no sparse matrices of.
    """
    on_disk = isinstance(matrix, CSRDataset | CSCDataset)
    if not on_disk and not (sparse.issparse(matrix) and matrix.format in ("csr", "csc")):
        return
    names = ("indptr", "indices", "data")
    pointers, indices, data = (matrix.group[name] if on_disk else getattr(matrix, name) for name in names)
    pointers, n_values = pointers[...], min(indices.shape[0], data.shape[0])  # arrays of Zarr have no len
    n_lines = matrix.shape[0 if matrix.format == "csr" else 1]
    if not data.dtype.isnative or data.dtype == np.float16:
        msg = f"it is sparse and holds {data.dtype} values, which SciPy cannot read: write it as float32"
    elif pointers.dtype.kind not in "iu" or len(pointers) != n_lines + 1 or pointers[0] != 0:
        lines = "rows" if matrix.format == "csr" else "columns"
        msg = f"its indptr is not that of {n_lines:,} {lines}: {len(pointers):,} numbers ({pointers.dtype})"
    elif (pointers[1:] < pointers[:-1]).any() or pointers[-1] > n_values:
        msg = f"its indptr does not rise from 0 to at most {n_values:,}, the number of values"
    else:
        return
    raise InvalidValues(msg)


def expect_within(indices: NDArray[Any], length: int) -> None:
    """Refuse indices of a sparse matrix that lie outside of it: SciPy would read and write in memory of others.

    Parameters
    ----------
    indices
        Of columns, or of rows.
    length
        How many of those there are.

    Raises
    ------
    InvalidValues
        One is below 0, or too large.

    Examples
    --------
    >>> expect_within(np.array([0, 4]), 5)
    """
    if not len(indices):
        return
    # Read as unsigned, what is below 0 is too large: one look in place of two.
    if int(indices.view(indices.dtype.str.replace("i", "u")).max()) >= length:
        least = int(indices.min())
        index = least if least < 0 else int(indices.max())
        msg = f"it is sparse and has an index of {index:,}, where 0 to {length - 1:,} can be"
        raise InvalidValues(msg)
