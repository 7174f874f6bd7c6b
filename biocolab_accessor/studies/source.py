"""Source: what every kind of server can tell about one study."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.studies.conversion import ObsColumn

__all__ = ["StudySource"]


class StudySource(Protocol):
    """One study on one server. :class:`~biocolab_accessor.studies.study.Study` is written against this alone.

    Attributes
    ----------
    name
        ``"bioflex"``, ``"bbrowserx"`` or ``"talk2data"``.
    study_id
        The id that people see (``"GSE96583_batch2"``).
    """

    name: str
    study_id: str
    title: str
    authors: list[str]
    reference: str

    @property
    def metalist(self) -> Sequence[Any]:
        """Metadata fields as objects with ``id``, ``name``, ``type``, ``values`` and ``fetch()``, as in bioflex."""

    def barcodes(self) -> list[str]:
        """Cells, in the order of the matrix' rows."""

    def features(self) -> list[str]:
        """Genes, in the order of the matrix' columns."""

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """(n_cells, len(genes)) float32."""

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """(n_cells, n_genes) float32."""

    def rows(self, unit: str) -> sparse.csr_matrix:
        """The whole matrix cells-major: (n_cells, n_genes) float32."""

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """The whole matrix a few genes at a time, about ``most`` non-zeros each; scratch files go to ``folder``.

        ``n_obs`` is the number of cells, so that the first request can be no larger than that either.
        """

    def matrix_bytes(self, unit: str) -> int | None:
        """Bytes of the whole matrix on the wire, without fetching it; None where that cannot be known."""

    def cache_key(self) -> Mapping[str, Any] | None:
        """What identifies the study's content for ever; None where it may change."""

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """Columns of the fields, in the order of ``barcodes``."""

    def embedding_names(self) -> list[str]:
        """Names that the server has for its embeddings."""

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Coordinates by the name that the server has for them, each (n_cells, n_dims); None means all."""

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add fields, or replace those of the same name: ``barcodes`` and, in their order, numbers or texts."""

    def refresh(self) -> None:
        """Forget which fields there are, where that may change."""

    def export(self, format: str) -> dict[str, Any]:
        """Ask the server for a file of the whole study; ``download_link`` says where it is."""

    def save(self, link: str, path: str | Path) -> Path:
        """Fetch such a file."""

    def provenance(self) -> Mapping[str, Any]:
        """Where the study is, in words and numbers that an h5ad can hold; never a token."""
