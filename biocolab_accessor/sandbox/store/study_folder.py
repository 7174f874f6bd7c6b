"""Study folder: one processed study on disk, its matrices ready to be sent."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.aside import Waiting, aside
from biocolab_accessor.platforms import link
from biocolab_accessor.sandbox.cells import PLACES, Cells, cell_totals
from biocolab_accessor.sandbox.store.obs_table import ObsTable
from biocolab_accessor.storage.sink import Sink

__all__ = ["StudyFolder", "encode"]

_BARCODES, _FEATURES = "barcodes.json", "features.json"


class StudyFolder:
    """A processed study.

    Parameters
    ----------
    path
        Its folder.
    """

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
        """Write a study.

        Parameters
        ----------
        path
            A folder that does not exist yet.
        cells
            With the matrix that was submitted.
        lognorm
            The log-normalised matrix; None where the submitted one is normalized already and serves for both units.
        embeddings
            Computed coordinates by name, added to the submitted ones.
        clusters
            Computed labels by name.
        """
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
            np.save(path / f"embedding_{number}.npy", np.asarray(array, None if name in PLACES else np.float32))
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
        """Metadata, read anew after a change, which may be another process' one."""
        stamp = self.stamp
        if self._obs is None or self._obs[0] != stamp:
            self._obs = (stamp, ObsTable.read(self.path / "obs.npz"))
        return self._obs[1]

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Another one after each change of the metadata; nothing else of a study changes."""
        found = (self.path / "obs.npz").stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def change_obs(self, change: Callable[[ObsTable], ObsTable]) -> None:
        """Replace the metadata by what ``change`` makes of them; one change after another."""
        with self._changing:
            change(self.obs).write(self.path / "obs.npz")

    @property
    def embeddings(self) -> list[dict[str, str]]:
        """``embedding_id`` and ``embedding_name`` of each."""
        found: list[dict[str, str]] = json.loads((self.path / "embeddings.json").read_text(encoding="utf-8"))
        return found

    def embedding(self, embedding_id: str) -> NDArray[Any] | None:
        """Coordinates, float32 unless they are places; None where there is no such embedding."""
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
        """Some columns of a matrix, or all, as ``query_genes`` sends them; only what is asked for is read."""
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

    def write(waiting: Waiting) -> None:
        with Sink(path) as sink, h5py.File(sink, "w") as file:
            for name, (values, dtype) in sink.watched({**arrays, "shape": (np.array(csc.shape), "<u8")}.items()):
                file[name] = values.astype(dtype, copy=False)

    aside(write)
