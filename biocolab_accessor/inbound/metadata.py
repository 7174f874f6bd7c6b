"""Metadata: columns of the wire as columns of obs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidResponse, UnknownField
from biocolab_accessor.escape import is_barcodes
from biocolab_accessor.given import given_names
from biocolab_accessor.naming import did_you_mean, listing, natural_key, quoted
from biocolab_accessor.precision import numbers
from biocolab_accessor.values import labelled, text_index

ObsColumn = pd.Series | pd.Categorical
"""Numbers, or labels."""

__all__ = ["ObsColumn", "align", "categorical", "column", "select_fields", "unique_names"]


def categorical(codes: NDArray[np.uint16], categories: Sequence[str]) -> pd.Categorical[Any]:
    """A Categorical from codes, without making a string per cell.

    Parameters
    ----------
    codes
        (n_cells,) index into ``categories``.
    categories
        Labels in the server's order; a label that occurs twice becomes one category.
    """
    place = {label: i for i, label in enumerate(dict.fromkeys(categories))}
    wide = np.asarray(codes, np.int32)
    if len(place) < len(categories):
        wide = np.array([place[label] for label in categories], np.int32)[wide]
    return pd.Categorical.from_codes(wide, categories=text_index(list(place)))


def column(values: Sequence[Any]) -> ObsColumn:
    """A JSON column as an obs column: bool, int64, uint64, float64, or a Categorical of strings.

    The JSON type decides, never what a text looks like: ``"001"`` stays a string. ``null`` is missing: NaN in numbers
    (which makes whole numbers floats, or Int64 where floats would not be exact), no category in strings and booleans.
    Numbers that no dtype holds exactly, such as -1 and 2⁶⁴-1 in one column, are labels. The order of categories does
    not travel; they are in the natural one, as anndata has it, with cluster 2 before cluster 10.

    Parameters
    ----------
    values
        One value per cell.

    Raises
    ------
    InvalidResponse
        A value is a list or an object, or a number beyond what a float holds.
    """
    present = [value for value in values if value is not None]
    kinds = {bool if isinstance(value, bool) else type(value) for value in present}
    if kinds & {list, dict}:
        msg = "a metadata column holds lists or objects in place of values"
        raise InvalidResponse(msg)
    if present and kinds <= {int, float}:
        try:
            found = numbers(values)
        except OverflowError as error:
            msg = "a metadata column holds a number beyond what a float holds"
            raise InvalidResponse(msg) from error
        if found is not None:
            return found
    if kinds == {bool} and len(present) == len(values):
        return pd.Series(values, dtype=bool)
    if not present:
        return pd.Series(np.full(len(values), np.nan))
    labels = [None if value is None else str(value) for value in values]
    return labelled(labels, sorted({label for label in labels if label is not None}, key=natural_key))


def align(columns: Mapping[str, Sequence[Any]], barcodes: Sequence[str], what: str) -> dict[str, list[Any]]:
    """JSON columns in the order of ``barcodes``; the barcode column itself is left out.

    Raises
    ------
    InvalidResponse
        The columns are about other cells.
    """
    # Of several that could be meant it is the one that is named most like ``barcodes``, as the protocol has it.
    named = sorted(filter(is_barcodes, columns), key=lambda name: (name != "barcodes", name.casefold() != "barcodes"))
    key = named[0] if named else None
    lengths = {len(values) for values in columns.values()}
    if lengths - {len(barcodes)}:
        msg = f"{what}: {max(lengths):,} rows for {len(barcodes):,} cells"
        raise InvalidResponse(msg)
    rest = {name: list(values) for name, values in columns.items() if name != key}
    own = list(columns[key]) if key is not None else list(barcodes)
    if own == list(barcodes):
        return rest
    place = {str(barcode): i for i, barcode in enumerate(own)}
    if len(place) < len(own) or place.keys() != set(barcodes):
        msg = f"{what}: its barcodes are not those of the matrix"
        raise InvalidResponse(msg)
    order = [place[barcode] for barcode in barcodes]
    return {name: [values[i] for i in order] for name, values in rest.items()}


def select_fields(fields: Sequence[str] | str | None, known: Sequence[str], study_id: str) -> list[str]:
    """The fields asked for, or all.

    Raises
    ------
    UnknownField
        Some are not there; near names are given.
    """
    if fields is None:
        return list(known)
    wanted = list(dict.fromkeys(given_names(fields, "fields")))
    missing = [name for name in wanted if name not in known]
    if missing:
        near = "; ".join(f"{quoted(name)}{did_you_mean(str(name), known)}" for name in missing)
        msg = f"study {quoted(study_id)} has no metadata field {near}. It has {listing(known)}"
        raise UnknownField(msg)
    return wanted


def unique_names(names: Sequence[str]) -> list[str]:
    """Names with ``-1``, ``-2``, … after repeated ones, never meeting a name that is there already.

    Examples
    --------
    >>> unique_names(["A", "B", "A", "A-1"])
    ['A', 'B', 'A-2', 'A-1']
    """
    if len(set(names)) == len(names):
        return list(names)
    taken, seen, result = set(names), set[str](), list[str]()
    counts: dict[str, int] = {}
    for name in names:
        unique = name
        while unique in seen or (unique != name and unique in taken):
            counts[name] = counts.get(name, 0) + 1
            unique = f"{name}-{counts[name]}"
        seen.add(unique)
        result.append(unique)
    return result
