"""Cells: the cells of a study while the sandbox processes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import BiocolabError
from biocolab_accessor.io.values import numbers, shared_dtype

SPATIAL_KEYS = ("spatial", "X_spatial")
"""Keys of obsm with cell coordinates. They are also served as JSON and therefore kept exactly, not as float32."""

_TARGET = 1e4

# Prefixes of the control features of Xenium, CosMx and Vizgen, which are not genes.
_CONTROLS = (
    "negcontrol",
    "negprb",
    "negative",
    "antisense",
    "blank",
    "systemcontrol",
    "falsecode",
    "unassignedcodeword",
)


class ProcessingError(Exception):
    """A submission cannot be processed; the message becomes the last line of the task's log."""


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn every error of reading a batch into a ProcessingError whose message begins with the name of the batch."""
    try:
        yield
    except ProcessingError as error:
        msg = f"{name}: {error}"
        raise ProcessingError(msg) from error
    except BiocolabError as error:  # its message begins with the name
        raise ProcessingError(str(error)) from error
    except Exception as error:
        msg = f"{name} cannot be read: {error}"
        raise ProcessingError(msg) from error


@dataclass
class Cells:
    """Cells by genes, with metadata and coordinates of the cells."""

    matrix: sparse.csr_matrix  # float32
    barcodes: list[str]
    features: list[str]
    obs: pd.DataFrame  # a row for each cell, in order; the index is ignored
    obsm: dict[str, NDArray[Any]] = field(default_factory=dict)  # float32; SPATIAL_KEYS keep their dtype

    def take(self, rows: NDArray[np.intp]) -> Cells:
        """Select cells, in the given order."""
        return Cells(
            self.matrix[rows],
            [self.barcodes[i] for i in rows],
            self.features,
            self.obs.iloc[rows].reset_index(drop=True),
            {key: array[rows] for key, array in self.obsm.items()},
        )


def cell_totals(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
    """The sum of each cell in float64; SciPy's ``sum`` adds float32 in float32, whatever its dtype argument."""
    totals: NDArray[np.float64] = matrix @ np.ones(matrix.shape[1])
    return totals


def lognorm(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Counts scaled to 10,000 a cell and log1p-transformed, as scanpy's normalize_total and log1p do; float32."""
    totals = cell_totals(counts)
    factors = (_TARGET / np.where(totals > 0, totals, 1)).astype(np.float32)
    result = counts.astype(np.float32, copy=True)
    result.data *= np.repeat(factors, np.diff(result.indptr))
    np.log1p(result.data, out=result.data)
    return result


def join_batches(batches: Sequence[tuple[str, Cells]]) -> Cells:
    """Concatenate batches, with their names in a ``Batch`` column; genes that a batch lacks are zero in it."""
    if len(batches) == 1:
        return batches[0][1]
    features = _all_features([cells.features for _, cells in batches])
    every = [barcode for _, cells in batches for barcode in cells.barcodes]
    clash = len(set(every)) < len(every)  # repeated barcodes get the name of their batch as a prefix
    frames = [cells.obs.reset_index(drop=True) for _, cells in batches]
    labels = [name for name, cells in batches for _ in cells.barcodes]
    obs = pd.concat(frames, ignore_index=True)
    for name in obs.columns:
        dtypes = [frame[name].dtype for frame in frames if name in frame]
        categorical = [dtype for dtype in dtypes if isinstance(dtype, pd.CategoricalDtype)]
        if len(categorical) == len(dtypes):
            order = dict.fromkeys(label for dtype in categorical for label in dtype.categories)
            obs[name] = pd.Categorical(obs[name].astype(object), categories=list(order))
        elif all(dtype.kind in "iuf" for dtype in dtypes):
            exact = _exact_numbers(
                [frame[name] if name in frame else pd.Series(np.nan, frame.index) for frame in frames]
            )
            obs[name] = obs[name] if exact is None else exact
    if "Batch" not in obs:
        obs.insert(0, "Batch", pd.Series(pd.Categorical(labels, categories=list(dict.fromkeys(labels)))))
    shared = set.intersection(*(set(cells.obsm) for _, cells in batches))
    same = {key for key in shared if len({cells.obsm[key].shape[1] for _, cells in batches}) == 1}
    return Cells(
        sparse.vstack([_with_features(cells, features) for _, cells in batches], format="csr"),
        [f"{name}_{barcode}" if clash else barcode for name, cells in batches for barcode in cells.barcodes],
        features,
        obs,
        {key: np.vstack([cells.obsm[key] for _, cells in batches]) for key in sorted(same)},
    )


def _exact_numbers(parts: Sequence[pd.Series]) -> pd.Series | None:
    """Concatenate columns whose numbers pandas would round to floats, as strings if necessary; None for others."""
    gaps = any(part.isna().any() for part in parts)
    if shared_dtype([part for part in parts if part.notna().any()], gaps=gaps) == "":
        return None
    values = [None if pd.isna(value) else value for part in parts for value in part.tolist()]
    found = numbers(values)
    return pd.Series([None if value is None else str(value) for value in values]) if found is None else found


def keep_cells(cells: Cells, filters: dict[str, float]) -> NDArray[np.intp]:
    """Positions of the cells that pass the filters; bounds are inclusive."""
    # mt_percentage is a fraction, and neg_controls_percentage, which is optional, is in percent. A minimum of 0, a
    # fraction of 1 and a percentage of 100 mean no bound.
    matrix = cells.matrix
    totals = cell_totals(matrix)
    expressed = np.bincount(
        np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[matrix.data > 0], minlength=matrix.shape[0]
    )
    keep = np.ones(matrix.shape[0], bool)
    for name, value in (("counts", totals), ("genes", expressed)):
        if filters[f"min_{name}"] > 0:
            keep &= value >= filters[f"min_{name}"]
        keep &= value <= filters[f"max_{name}"]
    if filters["mt_percentage"] < 1:
        mito = np.array([name.upper().startswith("MT-") for name in cells.features], bool)
        share = cell_totals(matrix[:, mito]) / np.where(totals > 0, totals, 1)
        keep &= share <= filters["mt_percentage"]
    if filters.get("neg_controls_percentage", 100) < 100:
        controls = np.array([name.lower().startswith(_CONTROLS) for name in cells.features], bool)
        share = cell_totals(matrix[:, controls]) / np.where(totals > 0, totals, 1)
        keep &= 100 * share <= filters["neg_controls_percentage"]
    return np.flatnonzero(keep)


def _all_features(every: Sequence[list[str]]) -> list[str]:
    if all(features == every[0] for features in every):
        return every[0]
    if any(len(set(features)) < len(features) for features in every):
        msg = "the batches have different genes, and a batch repeats gene names: their genes cannot be matched"
        raise ProcessingError(msg)
    return list(dict.fromkeys(name for features in every for name in features))


def _with_features(cells: Cells, features: list[str]) -> sparse.csr_matrix:
    if cells.features == features:
        return cells.matrix
    place = {name: i for i, name in enumerate(features)}
    column = np.array([place[name] for name in cells.features], np.int32)
    matrix = cells.matrix
    moved = sparse.csr_matrix((matrix.data, column[matrix.indices], matrix.indptr), (matrix.shape[0], len(features)))
    moved.sort_indices()
    return moved
