"""Tables: what a DataFrame can be to the servers (an expression table, a metadata table, a list of genes)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.catalog import Server, connector_of, study
from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidNames, InvalidValues, UnknownName
from biocolab_accessor.naming import listing

if TYPE_CHECKING:
    from biocolab_accessor.inbound.study import Study

__all__ = ["genes_of", "submit_metadata", "to_anndata"]

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


def submit_metadata(table: pd.DataFrame, to: Study | str, *, group: str | None, species: str, source: Server) -> None:
    """Add the columns of a table to a study; see :meth:`DataFrameAccessor.submit_metadata`."""
    target = study(to, source=source, species=species, group=group) if isinstance(to, str) else to
    if target.source == "bioflex":
        msg = f"{target!r} is of BioFlex, which takes no metadata: give a study of BBrowserX or Talk2Data"
        raise InvalidArgument(msg)
    where = target.provenance()
    columns = _columns(table)
    barcodes = _barcodes(table)
    strange = sorted(set(barcodes) - set(target.barcodes()))
    if strange:
        which = f"{len(strange):,} of {len(barcodes):,} barcodes"
        msg = f"{which} are not in study {target.id!r}: {listing(strange, limit=3)}"
        raise UnknownName(msg)
    connector_of(target.source).post_request(
        "api/v1/submit_metadata_dataframe",
        {
            "species": where["species"],
            "study_id": where["study_uuid"],
            "group_id": where["group_id"],
            "metadata_dct": {"barcodes": barcodes, **columns},
        },
    )


def _barcodes(table: pd.DataFrame) -> list[str]:
    if isinstance(table.index, pd.MultiIndex) or not all(isinstance(name, str) for name in table.index):
        msg = "the index must hold barcodes (text): use df.set_index('barcode column')"
        raise InvalidNames(msg)
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()].unique()
        msg = f"{len(twice):,} barcodes occur more than once: {listing(twice, limit=3)}"
        raise InvalidNames(msg)
    return list(table.index)


def _columns(table: pd.DataFrame) -> dict[str, Sequence[Any]]:
    names = list(table.columns)
    if not names:
        msg = "the table has no columns to submit"
        raise InvalidColumn(msg)
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name.strip() for name in names):
        msg = f"column names must be text and all different: {listing(names)}"
        raise InvalidNames(msg)
    reserved = [name for name in names if name.casefold() in ("barcodes", "barcode")]
    if reserved:
        msg = f"column {reserved[0]!r} would take the place of the barcodes: rename it (barcodes belong into the index)"
        raise InvalidNames(msg)
    return {name: _json_column(table[name]) for name in names}


def _json_column(column: pd.Series) -> list[Any]:
    """Values as JSON has them, decided by the dtype and never by what a text looks like."""
    if missing := int(column.isna().sum()):
        msg = (
            f"column {column.name!r} has {missing:,} missing values, which the protocol cannot carry: fill or drop them"
        )
        raise InvalidColumn(msg)
    if pd.api.types.is_bool_dtype(column.dtype):
        return [str(bool(value)) for value in column]
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy()
        if values.dtype.kind == "c" or (values.dtype.kind == "f" and not np.isfinite(values).all()):
            msg = f"column {column.name!r} holds complex or infinite numbers, which the protocol cannot carry"
            raise InvalidColumn(msg)
        return [value.item() if hasattr(value, "item") else value for value in values]
    texts = list(column.astype(object))
    strange = {type(value).__name__ for value in texts} - {"str"}
    if strange:
        msg = f"column {column.name!r} holds {', '.join(sorted(strange))}: convert it, df[{column.name!r}].astype(str)"
        raise InvalidColumn(msg)
    return texts
