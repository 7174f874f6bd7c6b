"""h5ad encoding: write-safe stand-ins of obs, var and obsm that leave the originals alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.check.rules_names import is_kept
from biocolab_accessor.check.slots import is_table, unsendable
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.columns import Verdict, Verdicts, as_frame, judge_each
from biocolab_accessor.io.names import sent_name
from biocolab_accessor.messages import quoted

__all__ = ["ShadowObsm", "rows_of", "shadow_frame", "shadow_obsm"]


def shadow_frame(
    frame: pd.DataFrame, where: str, verdicts: Sequence[tuple[Any, Verdict]] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A copy of obs or var in h5ad's oldest encodings.

    Text becomes categorical (existing categories keep their order), nullable dtypes become NumPy's, names become text
    that h5ad and the servers can hold (see :mod:`biocolab_accessor.io.names`).
    Columns that need no change are shared, not copied; those that nothing can hold are left out.

    Parameters
    ----------
    frame
        obs or var; it is not changed.
    where
        ``"obs"`` or ``"var"``, for the list of changes.
    verdicts
        On its columns, as the check has them; None means that they are made here.

    Returns
    -------
    frame
        Ready to be written.
    changes
        What is different from the original, such as ``"obs['x']: only missing values: sent as NaN"``.

    Raises
    ------
    InvalidColumn
        A column's name cannot be written.

    Examples
    --------
    >>> import pandas as pd
    >>> frame, changes = shadow_frame(pd.DataFrame({"x": [True, None]}, index=[7, 8]), "obs")
    >>> frame["x"].tolist(), changes[0]
    (['True', nan], "obs['x']: booleans with 1 missing: sent as labels 'True' and 'False'")
    """
    changes: list[str] = []
    arrays: list[Any] = []
    names: list[Any] = []
    for name, verdict in judge_each(frame, where) if verdicts is None else verdicts:
        if verdict.column is None:
            continue
        if verdict.change:
            changes.append(f"{where}[{quoted(name)}]: {verdict.change}")
        arrays.append(verdict.column.array)
        names.append(name)
    labels = frame.index.to_numpy(object)
    plain = frame.index.inferred_type == "string"  # known at once, where asking each label takes a while
    others = Counter() if plain else Counter(type(label).__name__ for label in labels if not isinstance(label, str))
    if others:
        changes.append(f"{where}_names: {', '.join(others)} made text")
        labels = np.array([str(label) for label in labels], object)
    kept = frame.index.name if is_kept(frame) else None
    if frame.index.name is not None and kept is None:
        changes.append(f"{where}.index.name: {quoted(frame.index.name, escape=True)} is not sent")
    shadow = pd.DataFrame(dict(enumerate(arrays)), index=pd.Index(labels, dtype=object, name=kept), copy=False)
    shadow.columns = pd.Index([_sent(name, where) for name in names], dtype=object)
    changes += [
        f"{where}[{quoted(name)}]: sent as {quoted(sent)}"
        for name, sent in zip(names, shadow.columns, strict=True)
        if sent != name
    ]
    return shadow, changes


def _sent(name: Any, where: str) -> str:
    sent = sent_name(name)
    if sent is None:
        msg = f"{where}: the column name {quoted(name)} is a {type(name).__name__}, not text. Rename it in a copy"
        raise InvalidColumn(msg)
    return sent


class ShadowObsm(NamedTuple):
    """What of obsm is sent.

    Attributes
    ----------
    sent
        Arrays, CSR matrices and write-safe tables by the key that they are sent under.
    left_out
        Key and reason of everything else.
    changes
        What is sent in another form.
    """

    sent: dict[str, Any]
    left_out: dict[str, str]
    changes: list[str]


def shadow_obsm(adata: AnnData, verdicts: Verdicts | None = None) -> ShadowObsm:
    """Stand-ins of what h5ad can hold of obsm: numeric arrays of two dimensions, sparse matrices and tables.

    Truth values become 0 and 1: servers take embeddings from arrays of numbers only.

    Parameters
    ----------
    adata
        The object; it is not changed.
    verdicts
        On the columns of its tables, as the check has them.
    """
    sent: dict[str, Any] = {}
    left: dict[str, str] = {}
    changes: list[str] = []
    for key in adata.obsm:
        value = adata.obsm[key]
        name = sent_name(key, embedding=True)
        reason = unsendable(key, value) or ("has the name of another key" if name in sent else "")
        if reason or name is None:
            left[key] = reason
        elif is_table(value):
            where = f"obsm[{quoted(key)}]"
            sent[name], changed = shadow_frame(as_frame(value), where, (verdicts or {}).get(where))
            # Its rows are named by the object, and what became of those names is known from obs.
            changes += [change for change in changed if not change.startswith((f"{where}_names", f"{where}.index"))]
        else:
            sent[name] = _plain_array(key, value, changes)
    return ShadowObsm(sent, left, changes)


def rows_of(value: Any, rows: NDArray[np.intp] | None) -> Any:
    """Some rows of an array, a sparse matrix or a table; None means all."""
    if rows is None:
        return value
    return value.iloc[rows] if isinstance(value, pd.DataFrame) else value[rows]


def _plain_array(key: str, value: Any, changes: list[str]) -> Any:
    for load in ("compute", "to_memory"):
        value = getattr(value, load)() if hasattr(value, load) else value
    array = value if sparse.issparse(value) else np.asarray(value)
    if array.dtype.kind == "b" and not sparse.issparse(array):
        return array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        wider = np.float32 if array.dtype.itemsize == 2 else np.float64
        if wider is np.float64:
            changes.append(f"obsm[{quoted(key)}]: {array.dtype} sent as float64")
        array = array.astype(wider)
    return sparse.csr_matrix(array) if sparse.issparse(array) else array
