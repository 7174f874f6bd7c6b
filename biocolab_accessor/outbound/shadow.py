"""Shadow: write-safe stand-ins of obs, var and obsm that leave the originals alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.check.columns import judge
from biocolab_accessor.errors import InvalidColumn

__all__ = ["sendable_obsm", "shadow_frame"]


def shadow_frame(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """A copy of obs or var in h5ad's oldest encodings.

    Columns that need no change are shared, not copied.

    Parameters
    ----------
    frame
        obs or var; it is not changed.
    where
        ``"obs"`` or ``"var"``, for the list of changes.

    Returns
    -------
    frame
        Ready to be written.
    changes
        What is different from the original, such as ``"obs['x']: only missing values: sent as NaN"``.

    Raises
    ------
    InvalidColumn
        A column cannot be written.
    """
    changes: list[str] = []
    columns: dict[str, Any] = {}
    for position, name in enumerate(frame.columns):
        verdict = judge(frame.iloc[:, position])
        if verdict.column is None:
            msg = f"{where}[{name!r}]: {verdict.problem}. {verdict.fix}"
            raise InvalidColumn(msg)
        if verdict.change:
            changes.append(f"{where}[{name!r}]: {verdict.change}")
        columns[name] = verdict.column.array
    labels = list(frame.index)
    if not all(isinstance(label, str) for label in labels):
        changes.append(f"{where}_names: {frame.index.dtype} made text")
        labels = [str(label) for label in labels]
    return pd.DataFrame(columns, index=pd.Index(labels, dtype=object)), changes


def sendable_obsm(adata: AnnData) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Embeddings that the servers read (numeric arrays with two dimensions), and the keys of all else in obsm."""
    sent, left = {}, []
    for key in adata.obsm:
        value = adata.obsm[key]
        array = value if isinstance(value, np.ndarray) else None
        if array is not None and array.ndim == 2 and array.shape[1] and array.dtype.kind in "fiu":
            sent[key] = array
        else:
            left.append(key)
    return sent, left
