"""Sources: the interface to one study, which a module here implements for every kind of server, and its terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.io.values import table_of, text_index
from biocolab_accessor.messages import listing, warn
from biocolab_accessor.studies.conversion import ObsColumn


class StudySource(Protocol):
    """One study on one server; :class:`~biocolab_accessor.studies.study.Study` depends on this interface only."""

    name: str  # "bioflex", "bbrowserx" or "talk2data"
    study_id: str  # the displayed id, "GSE96583_batch2"
    title: str
    authors: list[str]
    reference: str

    @property
    @abstractmethod
    def metalist(self) -> Sequence[Any]:
        """Metadata fields as objects with ``id``, ``name``, ``type``, ``values`` and ``fetch()``, as in bioflex."""

    @abstractmethod
    def barcodes(self) -> list[str]:
        """Cells, in the order of the rows of the matrix."""

    @abstractmethod
    def features(self) -> list[str]:
        """Genes, in the order of the columns of the matrix."""

    @abstractmethod
    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """(n_cells, len(genes)) float32."""

    @abstractmethod
    def matrix(self, unit: str) -> sparse.csc_matrix:
        """(n_cells, n_genes) float32."""

    @abstractmethod
    def rows(self, unit: str) -> sparse.csr_matrix:
        """The whole matrix by cells: (n_cells, n_genes) float32."""

    @abstractmethod
    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """The whole matrix a few genes at a time, about ``most`` non-zeros each; temporary files go to ``folder``."""
        # n_obs is the number of cells, which bounds the size of the first request.

    def matrix_bytes(self, unit: str) -> int | None:
        """Size of the whole matrix as sent, in bytes, without fetching it; None if unknown."""
        return None

    def cache_key(self) -> Mapping[str, Any] | None:
        """A permanent identifier of the study's content; None if the content can change."""
        return None

    def cached(self, n_obs: Callable[[], int]) -> StudySource:
        """The same study, with answers that are cached; itself if its content can change."""
        # Cached matrices must have as many cells as n_obs returns.
        return self

    @abstractmethod
    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """Columns of the fields, in the order of ``barcodes``."""

    def embedding_names(self) -> list[str]:
        """The server's names of its embeddings."""
        return []

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Coordinates by the server's names, each (n_cells, n_dims); None means all."""
        return {}

    @abstractmethod
    def cell_centers(self) -> dict[str, pd.DataFrame]:
        """Positions of cells by sample: ``x`` and ``y``, indexed by barcode."""

    @abstractmethod
    def terms(self) -> list[Term]:
        """Ontology terms of the labels; fields have the server's names."""

    @abstractmethod
    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add or replace fields: ``barcodes`` and, in the same order, numbers or strings."""

    @abstractmethod
    def add_metadata_file(self, key: str, bucket_id: str, *, shared: bool) -> None:
        """Add or replace the fields of a file in a bucket that the server reads."""

    def refresh(self) -> None:
        """Forget the list of fields, if it can change."""
        return

    @abstractmethod
    def export(self, format: str) -> dict[str, Any]:
        """Ask the server for a file of the whole study, with its ``download_link``."""

    @abstractmethod
    def save(self, link: str, path: str | Path) -> Path:
        """Download such a file."""

    @abstractmethod
    def provenance(self) -> Mapping[str, Any]:
        """Where the study is stored, in strings and numbers that an h5ad can hold; never a token."""


SUFFIX = "_ontology_term_id"
"""Ends the name of a column of ids, as in the schema of CELLxGENE."""

_SEVERAL = " || "  # between the ids of one label, as there
_KEYS = ("study_id", "metadata_field", "metadata_label")
_NODES = ("ontology_accession_id", "ontology_label", "node_accession_id", "node_label")


class Term(NamedTuple):
    """A term of a label, in the order of the server's keys."""

    study_id: str  # the study's uuid
    field: str
    label: str
    ontology_id: str
    ontology_label: str
    node: str
    node_label: str


def read_terms(answer: Mapping[str, Any]) -> list[Term]:
    """The rows of an answer of ``export_std_metadata``; labels without a term are left out."""
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        msg = "export_std_metadata: expected a list of terms with their labels"
        raise InvalidResponse(msg)
    terms = []
    for row in rows:
        if missing := [key for key in _KEYS if not isinstance(row.get(key), str | int)]:
            msg = f"export_std_metadata: a term has no {listing(missing)}"
            raise InvalidResponse(msg)
        if row.get("node_accession_id") not in (None, ""):
            terms.append(Term(*(str("" if row.get(key) is None else row[key]) for key in (*_KEYS, *_NODES))))
    return terms


def table_of_terms(terms: Sequence[Term]) -> pd.DataFrame:
    """See :meth:`Study.terms`."""
    return table_of([term[1:] for term in terms], list(Term._fields[1:]))


def add_term_columns(frame: pd.DataFrame, terms: Sequence[Term], study_id: str) -> None:
    """Add a column of ids for each field that has terms; see :meth:`Study.to_anndata`."""
    ids: dict[str, dict[str, list[str]]] = {}
    for term in terms:
        ids.setdefault(term.field, {}).setdefault(term.label, []).append(term.node)
    fields, taken = [field for field in ids if field in frame.columns], []
    for field in fields:
        if f"{field}{SUFFIX}" in frame.columns:
            taken.append(f"{field}{SUFFIX}")
            continue
        column = frame.iloc[:, list(frame.columns).index(field)].astype("category")
        # A server names the label of a number by its text.
        labels = [str(label).removesuffix(".0") for label in column.cat.categories]
        found = [_SEVERAL.join(dict.fromkeys(ids[field].get(label, ()))) for label in labels]
        categories = sorted({text for text in found if text})
        place = {text: code for code, text in enumerate(categories)}
        codes = np.array([*(place.get(text, -1) for text in found), -1], np.intp)[column.cat.codes.to_numpy()]
        frame[f"{field}{SUFFIX}"] = pd.Categorical.from_codes(codes, categories=text_index(categories))
    if taken:
        warn(f"study {study_id}: terms of {listing(taken)} were left out because the study has fields of these names")
    if not fields:
        warn(f"study {study_id} has no ontology terms for these fields: obs has none")
