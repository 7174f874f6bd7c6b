"""Metadata table: the columns of a table as they travel, and a table from a file whose labels stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidFile, InvalidNames
from biocolab_accessor.escape import is_barcodes
from biocolab_accessor.naming import listing, quoted
from biocolab_accessor.precision import numbers, numbers_in
from biocolab_accessor.values import encode

__all__ = ["columns_on_the_wire", "read_table"]

_MISSING = frozenset({"", "NA", "NaN", "nan"})


def columns_on_the_wire(table: Any) -> list[dict[str, list[Any]]]:
    """Columns of a table with barcodes in its index, as the objects that the server takes.

    Numbers travel as numbers and text as text, whatever it looks like. The protocol has no missing values: columns go
    together where they have values in the same cells, and with these cells only.

    Parameters
    ----------
    table
        A data frame.

    Returns
    -------
    list of dict
        Each has ``barcodes`` and columns of the same length.

    Raises
    ------
    InvalidArgument
        It is no table, or barcodes repeat.
    InvalidNames
        Two columns have one name, or one has that of the barcodes.
    InvalidColumn
        A column holds what the protocol cannot carry, or nothing.
    """
    if not isinstance(table, pd.DataFrame):
        msg = f"the metadata are a {type(table).__name__}: give a pandas.DataFrame with the barcodes in its index"
        raise InvalidArgument(msg)
    if table.index.nlevels > 1 or not table.index.is_unique or table.index.hasnans:
        msg = "the index must hold the barcodes, one level, none twice and none missing"
        raise InvalidArgument(msg)
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names) or not names:
        msg = f"columns must be there, and of different names: {listing(names)}"
        raise InvalidNames(msg)
    if taken := [name for name in names if is_barcodes(name)]:
        name = quoted(taken[0])
        msg = f"column {name} would take the place of the barcodes: rename it (barcodes belong into the index)"
        raise InvalidNames(msg)
    barcodes = table.index.map(str)
    groups: dict[bytes, dict[str, list[Any]]] = {}
    for number, name in enumerate(names):
        values, missing = encode(table.iloc[:, number].infer_objects())
        if not values:
            msg = f"column {quoted(name)} has no values: leave it out"
            raise InvalidColumn(msg)
        group = groups.setdefault(missing.tobytes(), {"barcodes": barcodes[~missing].tolist()})
        group[name] = values
    return list(groups.values())


def read_table(path: str | Path) -> pd.DataFrame:
    """A csv or tsv file, also gzipped, with barcodes in its first column.

    A column is numbers where every cell that is not empty is one as programs write it; ``001`` and ``NA`` among labels
    are labels.

    Raises
    ------
    InvalidFile
        It is not there, or no table.
    """
    path = Path(path)
    try:
        # With an index column pandas would make numbers of barcodes.
        texts = pd.read_csv(path, sep=_separator(path), dtype=str, keep_default_na=False, na_filter=False)
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as a table of metadata: {error}"
        raise InvalidFile(msg) from error
    if not isinstance(texts.index, pd.RangeIndex):
        msg = f"{path} has fewer names in its first line than columns below: name the column of the barcodes too"
        raise InvalidFile(msg)
    if len(texts.columns) < 2:
        msg = f"{path} has one column only: barcodes come first, the metadata after them"
        raise InvalidFile(msg)
    texts = texts.set_index(texts.columns[0])
    return pd.DataFrame({name: _typed(texts[name]) for name in texts.columns}, index=texts.index)


def _separator(path: Path) -> str:
    known: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
    for ending in path.suffixes[::-1]:
        if ending.lower() in known:
            return known[ending.lower()]
    with path.open(encoding="utf-8", errors="replace") as file:
        return "\t" if "\t" in file.readline() else ","


def _typed(texts: pd.Series) -> pd.Series:
    """Numbers where all are; the column as it is else, with nothing where a cell is empty."""
    absent = texts.isin(_MISSING).to_numpy()
    present = texts[~absent]
    written = numbers_in(present)
    column = None if written is None else numbers(written)
    if column is None or not len(present):
        return texts.mask(texts == "")
    if not absent.any():
        return column.set_axis(texts.index)
    # Kinds that know missing values: whole numbers stay whole.
    filled = pd.Series(pd.NA, index=texts.index, dtype="Int64" if column.dtype.kind == "i" else "Float64")
    filled.iloc[np.flatnonzero(~absent)] = column.to_numpy()
    return filled
