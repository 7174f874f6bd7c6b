"""Cached: a source whose answers are kept, for studies that never change."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.inbound.metadata import ObsColumn
from biocolab_accessor.inbound.source import StudySource
from biocolab_accessor.storage.cache import Arrays, Cache
from biocolab_accessor.values import text_index

__all__ = ["CachedSource"]


class CachedSource:
    """A source over another one.

    Parameters
    ----------
    source
        Where answers come from.
    key
        What identifies its content for ever.
    cache
        Where they are kept.
    """

    def __init__(self, source: StudySource, key: Mapping[str, Any], cache: Cache) -> None:
        self._source, self._key, self._cache = source, dict(key), cache
        self.name, self.study_id, self.title = source.name, source.study_id, source.title
        self.authors, self.reference = source.authors, source.reference

    @property
    def metalist(self) -> Sequence[Any]:
        """See StudySource."""
        return self._source.metalist

    def barcodes(self) -> list[str]:
        """See StudySource."""
        return self._names("barcodes", self._source.barcodes)

    def features(self) -> list[str]:
        """See StudySource."""
        return self._names("features", self._source.features)

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._matrix(lambda: self._source.query_genes(genes, unit), "csc", part="genes", genes=genes, unit=unit)

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._matrix(lambda: self._source.matrix(unit), "csc", part="matrix", unit=unit)

    def rows(self, unit: str) -> sparse.csr_matrix:
        """See StudySource."""
        return self._matrix(lambda: self._source.rows(unit), "csr", part="matrix", unit=unit)

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """See StudySource."""
        if not fields:
            return {}
        key = {**self._key, "part": "metadata", "fields": list(fields)}
        return _columns(self._cache.arrays(key, lambda: _packed(self._source.metadata(fields, barcodes))))

    def embedding_names(self) -> list[str]:
        """See StudySource."""
        return self._source.embedding_names()

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """See StudySource."""
        return self._source.embeddings(names)

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """See StudySource."""
        self._source.add_metadata(columns)

    def refresh(self) -> None:
        """See StudySource."""
        self._source.refresh()

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """See StudySource."""
        return self._source.stripes(unit, folder, most, n_obs)

    def matrix_bytes(self, unit: str) -> int | None:
        """See StudySource."""
        return self._source.matrix_bytes(unit)

    def export(self, format: str) -> dict[str, Any]:
        """See StudySource."""
        return self._source.export(format)

    def save(self, link: str, path: str | Path) -> Path:
        """See StudySource."""
        return self._source.save(link, path)

    def provenance(self) -> Mapping[str, Any]:
        """See StudySource."""
        return self._source.provenance()

    def cache_key(self) -> Mapping[str, Any]:
        """See StudySource."""
        return self._key

    def _names(self, part: str, fetch: Callable[[], list[str]]) -> list[str]:
        arrays = self._cache.arrays({**self._key, "part": part}, lambda: {"names": _text(fetch())})
        names: list[str] = json.loads(arrays["names"].tobytes())
        return names

    def _matrix(self, fetch: Callable[[], Any], format: str, **part: Any) -> Any:
        def make() -> Arrays:
            matrix = fetch()
            shape = np.array(matrix.shape, np.int64)
            return {"shape": shape, "data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}

        arrays = self._cache.arrays({**self._key, **part, "format": format}, make)
        kind = sparse.csr_matrix if format == "csr" else sparse.csc_matrix
        matrix = kind(tuple(arrays["shape"].tolist()), dtype=np.float32)
        matrix.data, matrix.indices, matrix.indptr = arrays["data"], arrays["indices"], arrays["indptr"]
        # They were made canonical before they were kept; looking again would read all of them.
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        return matrix


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _packed(columns: Mapping[str, ObsColumn]) -> Arrays:
    """Columns as arrays: values or codes by number, and what else is needed as JSON."""
    arrays: dict[str, NDArray[Any]] = {}
    described: list[tuple[str, list[str] | None]] = []
    for number, (name, column) in enumerate(columns.items()):
        labelled = isinstance(column, pd.Categorical)
        arrays[str(number)] = np.asarray(column.codes if labelled else column.to_numpy())
        described.append((name, list(column.categories) if labelled else None))
    return {**arrays, "fields": _text(described)}


def _columns(arrays: Arrays) -> dict[str, ObsColumn]:
    columns: dict[str, ObsColumn] = {}
    for number, (name, labels) in enumerate(json.loads(arrays["fields"].tobytes())):
        values = np.array(arrays[str(number)])
        if labels is None:
            columns[name] = pd.Series(values)
        else:
            columns[name] = pd.Categorical.from_codes(values, categories=text_index(labels))
    return columns
