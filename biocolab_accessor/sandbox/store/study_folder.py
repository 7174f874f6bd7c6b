"""Study folder: one processed study on disk, with metadata and matrices ready to send or export."""

from __future__ import annotations

import base64
import json
import math
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.experimental import write_dispatched
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.concurrency import Caller, uninterruptible
from biocolab_accessor.io.safe_files import SafeFile
from biocolab_accessor.io.values import numbers
from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import link
from biocolab_accessor.sandbox.processing.cells import SPATIAL_KEYS, Cells, cell_totals
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.store.files import private_file, publish, remove

_MOST_LABELS = 65_536


@dataclass(frozen=True)
class Column:
    """One metadata field: numbers, bools or labels, one for each cell."""

    values: NDArray[Any]  # numbers or bools; with labels, codes into them, -1 for missing
    labels: tuple[str, ...] | None = None
    missing: NDArray[np.bool_] | None = None  # mask for integers, which have no NaN; NaN marks missing floats

    @classmethod
    def of(cls, column: Any) -> Column:
        """A column of a data frame, or any array."""
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
        """JSON numbers, unchanged."""
        column = numbers(values)
        if column is None:  # no dtype represents them all exactly
            return cls.of(pd.Series([None if value is None else str(value) for value in values], dtype=object))
        if isinstance(column.dtype, np.dtype):
            return cls(column.to_numpy())
        array: Any = column.array
        return cls(array.to_numpy(array.dtype.numpy_dtype, na_value=0), missing=column.isna().to_numpy())

    def as_json(self) -> list[Any]:
        """Values as BBrowserX sends them: numbers, bools and strings; missing and non-finite values are null."""
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
        with np.errstate(over="ignore"):  # values beyond float32 become infinite
            values = self.values.astype(np.float32)
        if self.missing is not None:
            values[self.missing] = np.nan
        return values

    def as_category(self) -> tuple[list[str], NDArray[np.uint16]] | None:
        """Labels and codes as BioFlex sends them; None for numbers."""
        if self.labels is None and self.values.dtype.kind != "b":
            return None
        labels = ["False", "True"] if self.labels is None else list(self.labels)
        codes = self.values.astype(np.int64)
        if (codes < 0).any():  # the protocol has no code for a missing value, so an extra label stands for it
            missing = "Unassigned"
            while missing in labels:
                missing += "_"
            codes = np.where(codes < 0, len(labels), codes)
            labels.append(missing)
        if len(labels) > _MOST_LABELS:
            detail = f"the field has {len(labels):,} labels; the protocol can number {_MOST_LABELS:,}"
            raise HTTPError(422, detail)
        return labels, codes.astype(np.uint16)


class ObsTable:
    """Fields by name, in order."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = dict(columns)

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> ObsTable:
        """A table of columns of any kind."""
        return cls({name: Column.of(column) for name, column in columns.items()})

    @classmethod
    def read(cls, path: Path) -> ObsTable:
        """Read a file that :meth:`write` wrote."""
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
        """Write to one file, which is replaced atomically."""
        fields = [[name, column.labels] for name, column in self.columns.items()]
        arrays: dict[str, Any] = {f"column_{i}": column.values for i, column in enumerate(self.columns.values())}
        for i, column in enumerate(self.columns.values()):
            if column.missing is not None:
                arrays[f"missing_{i}"] = column.missing
        part = path.with_name(f"{uuid.uuid4().hex}.npz")
        private_file(part)
        np.savez(part, fields=np.frombuffer(json.dumps(fields).encode(), np.uint8), **arrays)
        publish(part, path)

    def with_values(self, barcodes: Sequence[str], given: Sequence[str], columns: dict[str, list[Any]]) -> ObsTable:
        """A table with columns added or replaced, joined by barcode; cells without a given value get missing values."""
        # `columns` is emptied, so that only one of them is in memory twice.
        place = {barcode: i for i, barcode in enumerate(barcodes)}
        strange = [barcode for barcode in given if barcode not in place]
        if strange:
            detail = f"{len(strange):,} barcodes are not in the study, such as {quoted(strange[0])}"
            raise HTTPError(422, detail)
        rows = np.array([place[barcode] for barcode in given], np.intp)
        added = {}
        for name in list(columns):
            values = columns.pop(name)
            if not isinstance(values, list) or len(values) != len(given):
                detail = f"column {quoted(name)} does not have a value for each of the {len(given):,} barcodes"
                raise HTTPError(422, detail)
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
        detail = f"column {quoted(name)} contains a number that is too large for a float"
        raise HTTPError(422, detail) from error


_BARCODES, _FEATURES = "barcodes.json", "features.json"


class StudyFolder:
    """A processed study in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changing = threading.Lock()
        self._obs: tuple[tuple[int, int, int], ObsTable] | None = None

    @classmethod
    def write(
        cls,
        path: Path,
        cells: Cells,
        lognorm: sparse.csr_matrix | None,
        embeddings: dict[str, NDArray[Any]],
        clusters: dict[str, NDArray[Any]],
    ) -> StudyFolder:
        """Write a study to a new folder."""
        # Without lognorm the submitted matrix is already normalized, and serves both units.
        path.mkdir(mode=0o700)
        (path / _BARCODES).write_text(json.dumps(cells.barcodes), encoding="utf-8")
        (path / _FEATURES).write_text(json.dumps(cells.features), encoding="utf-8")
        _write_matrix(path / "raw.h5", cells.matrix)
        if lognorm is None:
            link(path / "raw.h5", path / "lognorm.h5")
        else:
            _write_matrix(path / "lognorm.h5", lognorm)
        matrix = cells.matrix
        own: dict[str, Any] = {
            "Number of mRNA transcripts": cell_totals(matrix),
            "Number of genes": np.diff(matrix.indptr).astype(np.int64),
        }
        submitted = {str(name): cells.obs[name] for name in cells.obs.columns}
        columns = {name: values for name, values in own.items() if name not in submitted} | submitted
        columns |= {name: pd.Series(values) for name, values in clusters.items() if name not in submitted}
        ObsTable.of(columns).write(path / "obs.npz")
        listed = []
        for number, (name, array) in enumerate([*cells.obsm.items(), *embeddings.items()]):
            np.save(path / f"embedding_{number}.npy", np.asarray(array, None if name in SPATIAL_KEYS else np.float32))
            listed.append({"embedding_id": f"{number:032x}", "embedding_name": name})
        (path / "embeddings.json").write_text(json.dumps(listed), encoding="utf-8")
        return cls(path)

    @cached_property
    def barcodes(self) -> list[str]:
        """Cells in order."""
        found: list[str] = json.loads(self.barcodes_file.read_text(encoding="utf-8"))
        return found

    @cached_property
    def features(self) -> list[str]:
        """Genes in order."""
        found: list[str] = json.loads(self.features_file.read_text(encoding="utf-8"))
        return found

    @property
    def obs(self) -> ObsTable:
        """The metadata, read again after a change, which another process may have made."""
        stamp = self.stamp
        if self._obs is None or self._obs[0] != stamp:
            self._obs = (stamp, ObsTable.read(self.path / "obs.npz"))
        return self._obs[1]

    @property
    def stamp(self) -> tuple[int, int, int]:
        """A value that differs after each change of the metadata, the only part of a study that changes."""
        found = (self.path / "obs.npz").stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def change_obs(self, change: Callable[[ObsTable], ObsTable]) -> None:
        """Replace the metadata with the result of ``change``; changes run one after another."""
        with self._changing:
            change(self.obs).write(self.path / "obs.npz")

    @property
    def embeddings(self) -> list[dict[str, str]]:
        """``embedding_id`` and ``embedding_name`` of each embedding."""
        found: list[dict[str, str]] = json.loads((self.path / "embeddings.json").read_text(encoding="utf-8"))
        return found

    def embedding(self, embedding_id: str) -> NDArray[Any] | None:
        """Coordinates, float32 except for SPATIAL_KEYS; None if the embedding does not exist."""
        if not re.fullmatch(r"[0-9a-f]{32}", embedding_id):
            return None
        path = self.path / f"embedding_{int(embedding_id, 16)}.npy"
        return np.load(path) if path.exists() else None

    @property
    def barcodes_file(self) -> Path:
        """Cells in order, as ``get_barcodes`` sends them."""
        return self.path / _BARCODES

    @property
    def features_file(self) -> Path:
        """Genes in order, as ``get_features`` sends them."""
        return self.path / _FEATURES

    def matrix_file(self, unit: str) -> Path:
        """The HDF5 file of a unit, as ``get_matrix`` sends it."""
        return self.path / f"{unit}.h5"

    def columns(self, genes: Sequence[int] | None, unit: str) -> dict[str, Any]:
        """Some columns of a matrix, or all, as ``query_genes`` sends them; only these are read."""
        with h5py.File(self.matrix_file(unit)) as file:
            n_obs, n_vars = (int(n) for n in file["shape"][()])
            indptr = file["indptr"][()].astype(np.int64)
            if genes is None:
                data, indices = file["data"][()], file["indices"][()]
            else:
                spans = [slice(indptr[gene], indptr[gene + 1]) for gene in genes]
                data = np.concatenate([np.empty(0, np.float32), *(file["data"][span] for span in spans)])
                indices = np.concatenate([np.empty(0, np.uint32), *(file["indices"][span] for span in spans)])
                indptr = np.cumsum([0, *(span.stop - span.start for span in spans)])
                n_vars = len(genes)
        return {
            "shape": [n_obs, n_vars],
            "data": encode(data, "<f4"),
            "indices": encode(indices, "<u4"),
            "indptr": encode(indptr, "<u8"),
        }

    def column(self, gene: int, unit: str) -> NDArray[np.float32]:
        """One gene over all cells, dense."""
        with h5py.File(self.matrix_file(unit)) as file:
            start, stop = file["indptr"][gene : gene + 2].astype(np.int64)
            dense = np.zeros(int(file["shape"][0]), np.float32)
            dense[file["indices"][start:stop]] = file["data"][start:stop]
        return dense

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """The whole matrix."""
        with h5py.File(self.matrix_file(unit)) as file:
            arrays = file["data"][()], file["indices"][()].astype(np.int32), file["indptr"][()].astype(np.int64)
            return sparse.csc_matrix(arrays, shape=tuple(file["shape"][()]))


def encode(array: NDArray[Any], dtype: str) -> str:
    """An array as base64 of its little-endian bytes."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).data).decode()


def _write_matrix(path: Path, matrix: sparse.csr_matrix) -> None:
    csc = matrix.tocsc()
    csc.sort_indices()
    arrays = {"data": (csc.data, "<f4"), "indices": (csc.indices, "<u4"), "indptr": (csc.indptr, "<u8")}

    def write(caller: Caller) -> None:
        with SafeFile(path) as target, h5py.File(target, "w") as file:
            for name, (values, dtype) in target.checked({**arrays, "shape": (np.array(csc.shape), "<u8")}.items()):
                file[name] = values.astype(dtype, copy=False)

    uninterruptible(write)


def write_export(folder: StudyFolder, path: Path) -> None:
    """Write log-normalized values as X, the submitted matrix as ``layers["counts"]``, obs and embeddings."""
    columns: dict[str, Any] = {}
    for name, column in folder.obs.columns.items():
        if column.labels is None:
            values, missing = column.values, column.missing
            whole = None if missing is None else pd.arrays.IntegerArray(values, missing)
            columns[name.replace("/", "_")] = values if whole is None else whole
        else:
            columns[name.replace("/", "_")] = pd.Categorical.from_codes(
                column.values, pd.Index(list(column.labels), dtype=object)
            )
    index = pd.Index(folder.barcodes, dtype=object)
    adata = ad.AnnData(
        folder.matrix("lognorm").tocsr(),
        obs=pd.DataFrame(columns, index=index),
        var=pd.DataFrame(index=pd.Index(folder.features, dtype=object)),
        obsm={
            row["embedding_name"].replace("/", "_"): folder.embedding(row["embedding_id"]) for row in folder.embeddings
        },
        layers={"counts": folder.matrix("raw").tocsr()},
    )
    part = path.with_suffix(".part")
    try:
        private_file(part)
        with SafeFile(part) as target, h5py.File(target, "w") as file:

            def step(write: Any, group: Any, key: str, element: Any, *, dataset_kwargs: Any, iospec: Any) -> None:
                target.check()
                write(group, key, element, dataset_kwargs=dataset_kwargs)

            write_dispatched(file, "/", adata, step)
        publish(part, path)
    finally:
        remove(part)
