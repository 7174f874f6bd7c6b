"""Sources: the interface to one study, which a module here implements for every kind of server."""

# studies.catalog has the table from the name of a source to the functions that find its studies.

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.studies.conversion import ObsColumn
from biocolab_accessor.studies.terms import Term

__all__ = ["StudySource"]


class StudySource(Protocol):
    """One study on one server; :class:`~biocolab_accessor.studies.study.Study` depends on this interface only."""

    name: str  # "bioflex", "bbrowserx" or "talk2data"
    study_id: str  # the displayed id, "GSE96583_batch2"
    title: str
    authors: list[str]
    reference: str

    @property
    def metalist(self) -> Sequence[Any]:
        """Metadata fields as objects with ``id``, ``name``, ``type``, ``values`` and ``fetch()``, as in bioflex."""

    def barcodes(self) -> list[str]:
        """Cells, in the order of the rows of the matrix."""

    def features(self) -> list[str]:
        """Genes, in the order of the columns of the matrix."""

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """(n_cells, len(genes)) float32."""

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """(n_cells, n_genes) float32."""

    def rows(self, unit: str) -> sparse.csr_matrix:
        """The whole matrix by cells: (n_cells, n_genes) float32."""

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """The whole matrix a few genes at a time, about ``most`` non-zeros each; temporary files go to ``folder``."""
        # n_obs is the number of cells, which bounds the size of the first request.

    def matrix_bytes(self, unit: str) -> int | None:
        """Size of the whole matrix as sent, in bytes, without fetching it; None if unknown."""

    def cache_key(self) -> Mapping[str, Any] | None:
        """A permanent identifier of the study's content; None if the content can change."""

    def cached(self, n_obs: Callable[[], int]) -> StudySource:
        """The same study, with answers that are cached; itself if its content can change."""
        # Cached matrices must have as many cells as n_obs returns.

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """Columns of the fields, in the order of ``barcodes``."""

    def embedding_names(self) -> list[str]:
        """The server's names of its embeddings."""

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Coordinates by the server's names, each (n_cells, n_dims); None means all."""

    def cell_centers(self) -> dict[str, pd.DataFrame]:
        """Positions of cells by sample: ``x`` and ``y``, indexed by barcode."""

    def terms(self) -> list[Term]:
        """Ontology terms of the labels; fields have the server's names."""

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add or replace fields: ``barcodes`` and, in the same order, numbers or strings."""

    def add_metadata_file(self, key: str, bucket_id: str, *, shared: bool) -> None:
        """Add or replace the fields of a file in a bucket that the server reads."""

    def refresh(self) -> None:
        """Forget the list of fields, if it can change."""

    def export(self, format: str) -> dict[str, Any]:
        """Ask the server for a file of the whole study, with its ``download_link``."""

    def save(self, link: str, path: str | Path) -> Path:
        """Download such a file."""

    def provenance(self) -> Mapping[str, Any]:
        """Where the study is stored, in strings and numbers that an h5ad can hold; never a token."""
