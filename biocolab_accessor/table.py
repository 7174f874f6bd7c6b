"""Tables: a DataFrame as an expression table, or as a list of genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.errors import InvalidColumn, InvalidNames, InvalidValues
from biocolab_accessor.naming import listing

__all__ = ["genes_of", "to_anndata"]

_GENE_COLUMNS = ("gene", "genes", "gene_name", "symbol", "names", "feature")


def to_anndata(table: pd.DataFrame) -> AnnData:
    """An expression table as AnnData.

    Parameters
    ----------
    table
        Cells by genes: barcodes in the index, gene names as columns, numbers in the cells.

    Returns
    -------
    anndata.AnnData
        ``X`` is CSR float32. The table is not changed and shares nothing with it.

    Raises
    ------
    InvalidColumn
        A column holds something else than numbers.
    InvalidValues
        Values are missing.
    InvalidNames
        Columns have several levels.
    """
    for axis, index in (("index", table.index), ("columns", table.columns)):
        if isinstance(index, pd.MultiIndex):
            msg = (
                f"the {axis} has {index.nlevels} levels: an expression table has barcodes as index and genes as columns"
            )
            raise InvalidNames(msg)
    kinds = table.dtypes
    numeric = [pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind) for kind in kinds]
    if not all(numeric):
        bad = [f"{name!r} ({kind})" for name, kind, good in zip(table.columns, kinds, numeric, strict=True) if not good]
        msg = (
            f"{len(bad)} columns hold no numbers: {', '.join(bad[:5])}. An expression table is cells by genes; "
            "take other columns out first (for metadata use df.biocolab.submit_metadata)"
        )
        raise InvalidColumn(msg)
    values = table.to_numpy(dtype=np.float32, na_value=np.nan)
    if missing := int(np.isnan(values).sum()):
        columns = listing(table.columns[np.isnan(values).any(axis=0)], limit=5)
        msg = f"{missing:,} values are missing (in columns {columns}): fill them (df.fillna(0)) or drop those cells"
        raise InvalidValues(msg)
    obs = pd.DataFrame(index=table.index.astype(str))
    var = pd.DataFrame(index=table.columns.astype(str))
    obs.index.name = var.index.name = None
    return AnnData(sparse.csr_matrix(values), obs=obs, var=var)


def genes_of(table: pd.DataFrame, column: str | None = None) -> list[str]:
    """The genes that a table lists: a column named like one of genes (scanpy's ``names`` too), else the index.

    Raises
    ------
    InvalidColumn
        The named column does not exist, or what was found is not text.
    """
    if column is not None and column not in table.columns:
        msg = f"there is no column {column!r}; the table has {listing(table.columns)}"
        raise InvalidColumn(msg)
    found = column or next((name for name in _GENE_COLUMNS if name in table.columns), None)
    names = list(table.index if found is None else table[found].dropna())
    if not names or not all(isinstance(name, str) for name in names):
        where = "the index" if found is None else f"column {found!r}"
        msg = f"{where} holds no gene names: give column="
        raise InvalidColumn(msg)
    return list(dict.fromkeys(names))
