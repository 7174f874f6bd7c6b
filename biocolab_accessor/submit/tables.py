"""Tables: a DataFrame as an expression table or as a list of genes, and tables on disk with tabs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.check.report import Report
from biocolab_accessor.check.tables import judge_table, opened_text, remedy_for_text, tabbed_lines
from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidNames, InvalidValues
from biocolab_accessor.io.names import distinct
from biocolab_accessor.messages import counted, listing, quoted

_VALUES_AT_ONCE = 1 << 22
_LARGEST_WHOLE = 2**53
_OTHER_THAN_DIGITS = re.compile(r'[^0-9\t\r\n"]')
_GENE_COLUMNS = ("gene", "genes", "gene_name", "symbol", "names", "feature")


def to_anndata(table: pd.DataFrame) -> AnnData:
    """Convert an expression table to AnnData, after checking its column names."""
    adata = converted(table)
    Report(judge_table(table)).raise_for_errors(of="this table")
    return adata


def converted(table: pd.DataFrame) -> AnnData:
    """Like :func:`to_anndata`, but without checking column names, which the check reports."""
    for axis, index in (("index", table.index), ("columns", table.columns)):
        if isinstance(index, pd.MultiIndex):
            msg = f"the {axis} has {index.nlevels} levels: give barcodes in the index and genes as columns"
            raise InvalidNames(msg)
    kinds = table.dtypes
    numeric = [_is_real(kind) for kind in kinds]
    if not all(numeric):
        remedy = remedy_for_text(table, [name for name, good in zip(table.columns, numeric, strict=True) if not good])
        bad = [(name, kind) for name, kind, good in zip(table.columns, kinds, numeric, strict=True) if not good]
        shown = ", ".join(f"{quoted(name)} ({kind})" for name, kind in bad[:5])
        msg = (
            f"{counted(len(bad), 'column')} without real numbers: {shown}. {remedy}An expression table is cells by "
            "genes; drop other columns first (for metadata, use df.biocolab.submit_metadata)"
        )
        raise InvalidColumn(msg)
    matrix = _matrix(table)
    gone = np.isnan(matrix.data)
    if missing := int(gone.sum()):
        columns = listing(table.columns[np.unique(matrix.indices[gone])], limit=5)
        msg = f"{missing:,} values are missing (in columns {columns}): fill them (df.fillna(0)) or drop those cells"
        raise InvalidValues(msg)
    return AnnData(matrix, pd.DataFrame(index=_names(table.index)), pd.DataFrame(index=_names(table.columns)))


def _is_real(kind: Any) -> bool:
    """Whether a column of this dtype holds real numbers or booleans."""
    numeric = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
    return bool(numeric or pd.api.types.is_bool_dtype(kind))


def _matrix(table: pd.DataFrame) -> sparse.csr_matrix:
    """The values as CSR, converted in blocks of columns to avoid a dense copy."""
    step = max(1, _VALUES_AT_ONCE // max(1, len(table)))
    parts = [
        sparse.csc_matrix(table.iloc[:, start : start + step].to_numpy(np.float64, na_value=np.nan))
        for start in range(0, table.shape[1], step)
    ]
    matrix = sparse.hstack(parts, format="csr") if parts else sparse.csr_matrix(table.shape)
    with np.errstate(over="ignore", under="ignore"):
        single = matrix.data.astype(np.float32)
    whole = np.rint(matrix.data) == matrix.data
    # Fractions lose digits in float32, as on a server; counts must not. Values that would overflow are whole numbers.
    if np.array_equal(single[whole], matrix.data[whole]):
        matrix.data = single
    elif whole.all() and np.abs(matrix.data).max() < _LARGEST_WHOLE:
        matrix.data = matrix.data.astype(np.int64)  # counts, which the check warns of
    return matrix


def _names(index: pd.Index) -> pd.Index:
    """Labels as text; missing labels stay missing, for the check to report."""
    pairs = zip(index.astype(str), index.isna(), strict=True)
    return pd.Index([None if missing else text for text, missing in pairs], dtype=object)


def genes_of(table: pd.DataFrame, column: str | None = None) -> list[str]:
    """The genes in a table: from a column with a name for genes (scanpy's ``names`` too), or else from the index."""
    if column is not None and column not in table.columns:
        msg = f"the table has no column {quoted(column)}; it has {listing(table.columns)}"
        raise InvalidColumn(msg)
    found = next((name for name in _GENE_COLUMNS if name in table.columns), None) if column is None else column
    listed = table.index if found is None else table[found]
    if isinstance(listed, pd.DataFrame):
        msg = f"the table has {listed.shape[1]} columns {quoted(found)}: give the genes in one column, or as a list"
        raise InvalidColumn(msg)
    names = list(listed.dropna() if found is not None else listed)
    if not names or not all(isinstance(name, str) for name in names):
        where = "the index" if found is None else f"column {quoted(found)}"
        msg = f"{where} does not hold gene names: give their column with column="
        raise InvalidColumn(msg)
    return list(dict.fromkeys(names))


def with_tabs(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Tables with tabs, which servers read: copies of .csv files, and other files themselves."""
    ready = []
    for number, path in enumerate(paths):
        with opened_text(path) as file:
            lines = tabbed_lines(path, file)
            if lines is not None:
                path = folder / f"{number}.tsv"
                with path.open("x", encoding="utf-8") as copy:
                    copy.writelines(lines)
        ready.append(path)
    return ready


def matrix_type_of_tables(paths: Sequence[Path]) -> tuple[Literal["raw", "normalized"], str]:
    """How table files of one study are sent, and why: as counts, if all their values are whole numbers."""
    others = [path.name for path in dict.fromkeys(paths) if not _holds_counts(path)]
    if not others:
        return "raw", "all values are non-negative whole numbers"
    if len(others) < len(set(paths)):
        msg = (
            "the batches of one study must all be counts or all be normalized: "
            f"values of {listing(others, limit=3)} are not counts, but those of the other tables are. "
            "Give input_matrix_type='raw' or 'normalized'"
        )
        raise InvalidArgument(msg)
    return "normalized", "not all values are non-negative whole numbers"


def _holds_counts(path: Path) -> bool:
    """Whether all values of a table file are non-negative whole numbers."""
    with opened_text(path) as file:
        lines = tabbed_lines(path, file) or file
        next(lines, "")
        values = (line.partition("\t")[2] for line in lines)
        return all(_are_whole(text) for text in values if _OTHER_THAN_DIGITS.search(text))


def _are_whole(values: str) -> bool:
    try:
        numbers = [float(text.strip().strip('"')) for text in values.split("\t")]
    except ValueError:
        return False
    return all(number >= 0 and number % 1 == 0 for number in numbers)


def names_of_tables(names: Sequence[str], paths: Sequence[Path]) -> tuple[str, ...]:
    """Names on the server; copies that :func:`with_tabs` made end in .tsv."""
    made = [
        f"{name.removesuffix('.gz')[:-4]}.tsv" if path.name.endswith(".tsv") and ".csv" in name.casefold() else name
        for name, path in zip(names, paths, strict=True)
    ]
    return tuple(distinct(made))
