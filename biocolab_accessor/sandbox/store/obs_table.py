"""Obs table: the metadata of a study, exact in value and kind, as both protocols send it."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.naming import quoted
from biocolab_accessor.precision import numbers
from biocolab_accessor.sandbox.refusal import Refusal
from biocolab_accessor.sandbox.store.durable import publish
from biocolab_accessor.sandbox.store.private import private_file

__all__ = ["Column", "ObsTable"]

_MOST_LABELS = 65_536


@dataclass(frozen=True)
class Column:
    """One field.

    Attributes
    ----------
    values
        (n_cells,) numbers or bools; codes into ``labels`` (-1 where missing) where there are labels.
    labels
        Texts of a category field, else None.
    missing
        (n_cells,) where whole numbers that floats do not hold are missing, else None; NaN is missing among floats.
    """

    values: NDArray[Any]
    labels: tuple[str, ...] | None = None
    missing: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, column: Any) -> Column:
        """A column of any data frame."""
        series = column if isinstance(column, pd.Series) else pd.Series(column)
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
            return cls(series.to_numpy())
        if series.dtype.kind in "iuf":  # pandas' nullable numbers
            return cls.of_numbers([None if pd.isna(value) else value for value in series.tolist()])
        if series.dtype.kind == "b" and not series.hasnans:
            return cls(series.to_numpy(bool))
        labels = series.cat if isinstance(series.dtype, pd.CategoricalDtype) else series.astype("category").cat
        return cls(labels.codes.to_numpy().astype(np.int32), tuple(str(label) for label in labels.categories))

    @classmethod
    def of_numbers(cls, values: list[float | None]) -> Column:
        """Numbers of JSON, each as it is."""
        column = numbers(values)
        if column is None:  # which no dtype holds
            return cls.of(pd.Series([None if value is None else str(value) for value in values], dtype=object))
        if isinstance(column.dtype, np.dtype):
            return cls(column.to_numpy())
        array: Any = column.array
        return cls(array.to_numpy(array.dtype.numpy_dtype, na_value=0), missing=column.isna().to_numpy())

    def as_json(self) -> list[Any]:
        """Values as BBrowserX sends them: numbers, bools and texts; what is missing or not finite is null."""
        if self.labels is not None:
            return [self.labels[code] if code >= 0 else None for code in self.values.tolist()]
        if self.values.dtype.kind == "f":
            return [value if math.isfinite(value) else None for value in self.values.astype(np.float64).tolist()]
        listed: list[Any] = self.values.tolist()
        if self.missing is None:
            return listed
        return [None if gone else value for value, gone in zip(listed, self.missing.tolist(), strict=True)]

    def as_float32(self) -> NDArray[np.float32]:
        """Numbers as BioFlex sends them."""
        with np.errstate(over="ignore"):  # to infinity, as far as float32 goes
            values = self.values.astype(np.float32)
        if self.missing is not None:
            values[self.missing] = np.nan
        return values

    def as_category(self) -> tuple[list[str], NDArray[np.uint16]] | None:
        """Labels and codes as BioFlex sends them; None for numbers.

        The protocol has no code for a missing value, so that one more label stands for it.

        Raises
        ------
        Refusal
            There are more labels than 16 bits can number.
        """
        if self.labels is None and self.values.dtype.kind != "b":
            return None
        labels = ["False", "True"] if self.labels is None else list(self.labels)
        codes = self.values.astype(np.int64)
        if (codes < 0).any():
            missing = "Unassigned"
            while missing in labels:
                missing += "_"
            codes = np.where(codes < 0, len(labels), codes)
            labels.append(missing)
        if len(labels) > _MOST_LABELS:
            detail = f"the field has {len(labels):,} labels; the protocol can number {_MOST_LABELS:,}"
            raise Refusal(422, detail)
        return labels, codes.astype(np.uint16)


class ObsTable:
    """Fields by name, in order.

    Parameters
    ----------
    columns
        All of one length.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = dict(columns)

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> ObsTable:
        """A table of any columns."""
        return cls({name: Column.of(column) for name, column in columns.items()})

    @classmethod
    def read(cls, path: Path) -> ObsTable:
        """Read what :meth:`write` wrote."""
        with np.load(path) as file:
            fields = json.loads(file["fields"].tobytes())
            return cls(
                {
                    name: Column(
                        file[f"column_{i}"],
                        None if labels is None else tuple(labels),
                        file.get(f"missing_{i}"),
                    )
                    for i, (name, labels) in enumerate(fields)
                }
            )

    def write(self, path: Path) -> None:
        """Write to one file, which is replaced whole or not at all."""
        fields = [[name, column.labels] for name, column in self.columns.items()]
        arrays: dict[str, Any] = {f"column_{i}": column.values for i, column in enumerate(self.columns.values())}
        for i, column in enumerate(self.columns.values()):
            if column.missing is not None:
                arrays[f"missing_{i}"] = column.missing
        part = path.with_name(f"{uuid.uuid4().hex}.npz")
        private_file(part)
        np.savez(part, fields=np.frombuffer(json.dumps(fields).encode(), np.uint8), **arrays)
        publish(part, path)

    def with_values(
        self, barcodes: Sequence[str], given: Sequence[str], columns: Mapping[str, Sequence[Any]]
    ) -> ObsTable:
        """The table with columns added or replaced, joined by barcode; cells that are not given are missing in them.

        Parameters
        ----------
        barcodes
            The study's cells.
        given
            The cells that the columns are about.
        columns
            Numbers or texts, in the order of ``given``.

        Raises
        ------
        Refusal
            Barcodes that the study does not have, or columns of another length.
        """
        place = {barcode: i for i, barcode in enumerate(barcodes)}
        strange = [barcode for barcode in given if barcode not in place]
        if strange:
            detail = f"{len(strange):,} barcodes are not in the study, such as {quoted(strange[0])}"
            raise Refusal(422, detail)
        rows = np.array([place[barcode] for barcode in given], np.intp)
        added = {}
        for name, values in columns.items():
            if not isinstance(values, list) or len(values) != len(given):
                detail = f"column {quoted(name)} does not have a value for each of the {len(given):,} barcodes"
                raise Refusal(422, detail)
            full: list[Any] = [None] * len(barcodes)
            for row, value in zip(rows.tolist(), values, strict=True):
                full[row] = value
            kinds = {type(value) for value in values if value is not None}
            if kinds <= {int, float}:
                added[name] = _numbers(name, full)
            else:
                labels = [None if value is None else str(value) for value in full]
                added[name] = Column.of(pd.Series(labels, dtype=object))
        return ObsTable({**self.columns, **added})


def _numbers(name: str, values: list[float | None]) -> Column:
    try:
        return Column.of_numbers(values)
    except OverflowError as error:
        detail = f"column {quoted(name)} holds a number beyond what a float holds"
        raise Refusal(422, detail) from error
