"""BioFlex source: a study of a database version, which never changes and can be cached."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.bioflex import Metadata, Study
from biocolab_accessor.clients.http import save
from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidResponse, UnknownEmbedding
from biocolab_accessor.io.cache import Arrays, Cache, CachedArrays
from biocolab_accessor.io.transpose import csr_of_csc
from biocolab_accessor.io.values import text_index
from biocolab_accessor.messages import quoted
from biocolab_accessor.studies.conversion import ObsColumn, categorical
from biocolab_accessor.studies.source import StudySource
from biocolab_accessor.studies.terms import Term

__all__ = ["BioFlexSource", "CachedSource"]

_Read = TypeVar("_Read")


class CachedSource:
    """A source that caches another one's answers under its permanent ``key`` and checks cached ones for ``n_obs``."""

    def __init__(self, source: StudySource, key: Mapping[str, Any], cache: Cache, n_obs: Callable[[], int]) -> None:
        self._source, self._key, self._cache, self._n_obs = source, dict(key), cache, n_obs
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
        return self._cached(key, lambda: _packed(self._source.metadata(fields, barcodes)), _columns)

    def embedding_names(self) -> list[str]:
        """See StudySource."""
        return self._source.embedding_names()

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """See StudySource."""
        return self._source.embeddings(names)

    def cell_centers(self) -> dict[str, pd.DataFrame]:
        """See StudySource."""
        return self._source.cell_centers()

    def terms(self) -> list[Term]:
        """See StudySource."""
        return self._source.terms()

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """See StudySource."""
        self._source.add_metadata(columns)

    def add_metadata_file(self, key: str, bucket_id: str, *, shared: bool) -> None:
        """See StudySource."""
        self._source.add_metadata_file(key, bucket_id, shared=shared)

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
        return self._cached({**self._key, "part": part}, lambda: {"names": _text(fetch())}, _list)

    def _matrix(self, fetch: Callable[[], Any], format: str, **part: Any) -> Any:
        def make() -> Arrays:
            matrix = fetch()
            shape = np.array(matrix.shape, np.int64)
            return {"shape": shape, "data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}

        def read(arrays: Arrays) -> Any:
            found = _sparse(arrays, format)
            if isinstance(arrays, CachedArrays) and found.shape[0] != self._n_obs():
                msg = f"it has {found.shape[0]:,} cells, but the study has {self._n_obs():,}"
                raise ValueError(msg)
            return found

        return self._cached({**self._key, **part, "format": format}, make, read)

    def _cached(self, key: Mapping[str, Any], make: Callable[[], Arrays], read: Callable[[Arrays], _Read]) -> _Read:
        """The cached arrays of a key as read by ``read``, fetched again if they are invalid."""
        try:
            return read(self._cache.arrays(key, make))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            if isinstance(error, BiocolabError):  # raised by the fetch
                raise
            self._cache.forget(key, error)
        return read(self._cache.arrays(key, make))


def _sparse(arrays: Arrays, format: str) -> Any:
    """A matrix of cached arrays, after checks that SciPy's C code leaves out; ValueError if they are inconsistent."""
    shape, data, indices, indptr = (arrays[name] for name in ("shape", "data", "indices", "indptr"))
    kinds = [array.dtype.str for array in (shape, data, indices, indptr)]
    if len(shape) != 2 or kinds[:2] != ["<i8", "<f4"] or not {*kinds[2:]} <= {"<i4", "<i8"}:
        msg = f"its arrays are {kinds}"
        raise ValueError(msg)
    major, minor = (int(n) for n in (shape if format == "csr" else shape[::-1]))
    if major < 0 or minor < 0 or len(indptr) != major + 1 or len(data) != len(indices):
        lengths = f"{len(indptr):,} pointers, {len(indices):,} indices and {len(data):,} values"
        msg = f"its shape is {shape.tolist()}, with {lengths}"
        raise ValueError(msg)
    if indptr[0] != 0 or indptr[-1] != len(data) or bool(np.any(indptr[1:] < indptr[:-1])):
        msg = "its pointers do not increase from 0 to the number of values"
        raise ValueError(msg)
    # Checking the indices reads all of them, so arrays that are proven to be unchanged skip this check.
    unsigned = indices.view(indices.dtype.str.replace("i", "u"))
    if isinstance(arrays, CachedArrays) and not arrays.verified and len(indices) and int(unsigned.max()) >= minor:
        msg = "an index lies outside its shape"
        raise ValueError(msg)
    kind = sparse.csr_matrix if format == "csr" else sparse.csc_matrix
    matrix = kind((shape[0], shape[1]), dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    # They were canonical when they were cached; checking again would read all of them.
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def _list(arrays: Arrays) -> list[str]:
    names = json.loads(arrays["names"].tobytes())
    if not isinstance(names, list) or not set(map(type, names)) <= {str}:
        msg = "its names are not a list of strings"
        raise ValueError(msg)
    return names


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _packed(columns: Mapping[str, ObsColumn]) -> Arrays:
    """Columns as arrays: values or codes by number, and names and labels as JSON."""
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


class BioFlexSource:
    """A study of a BioFlex database."""

    name = "bioflex"

    def __init__(self, study: Study) -> None:
        self._study = study
        self.study_id = str(study.hash_id)
        self.title = str(study.title or "")
        self.authors = [str(author) for author in study.authors or []]
        self.reference = str(study.reference or "")

    @property
    def metalist(self) -> list[Metadata]:
        """The client's own Metadata objects."""
        return self._study.metalist

    def barcodes(self) -> list[str]:
        """See StudySource."""
        return self._study.barcodes()

    def features(self) -> list[str]:
        """See StudySource."""
        return self._study.features()

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._study.query_genes(genes, unit)

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._study.matrix(unit)

    def rows(self, unit: str) -> sparse.csr_matrix:
        """See StudySource."""
        return csr_of_csc(self._study.matrix(unit), consume=True)

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """See StudySource."""
        return self._study.matrix_stripes(unit, folder, most)

    def matrix_bytes(self, unit: str) -> int | None:
        """See StudySource."""
        return self._study.matrix_bytes(unit)

    def cache_key(self) -> Mapping[str, Any]:
        """See StudySource: a database version never changes."""
        return {**self.provenance(), "study": self.study_id, "revision": self._study.revision}

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """See StudySource; numbers are float32, because BioFlex sends no other type."""
        wanted = [next(field for field in self.metalist if field.name == name) for name in fields]

        def fetch(field: Metadata) -> ObsColumn:
            field.fetch()
            if field.codes is not None and field.categories is not None:
                return categorical(field.codes, field.categories)
            return pd.Series(np.asarray(field.values, np.float32))

        # The protocol has one request per field; they run in parallel, within a limit that does not burden the server.
        with request_threads("biocolab-metadata") as threads:
            # Requested once, not for each field, so that an unresponsive server is waited for only once.
            cells = threads.submit(barcodes)
            fetched = [threads.submit(fetch, field) for field in wanted]
            columns = dict(zip(fields, [result(each) for each in fetched], strict=True))
            n_obs = len(result(cells))
        for name, column in columns.items():
            if len(column) != n_obs:
                msg = f"metadata {quoted(name)} of {self.study_id}: {len(column):,} values for {n_obs:,} cells"
                raise InvalidResponse(msg)
        return columns

    def embedding_names(self) -> list[str]:
        """Empty: BioFlex has no route for embeddings."""
        return []

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Empty: BioFlex has no route for embeddings."""
        return {}

    def cell_centers(self) -> dict[str, pd.DataFrame]:
        """Raise UnknownEmbedding: BioFlex has no route for cell centers."""
        msg = f"study {quoted(self.study_id)} is on BioFlex, which stores no cell centers"
        raise UnknownEmbedding(msg)

    def terms(self) -> list[Term]:
        """Raise InvalidArgument: BioFlex has no ontology terms."""
        study = quoted(self.study_id)
        msg = f"study {study} is on BioFlex, which has no ontology terms: give a study on BBrowserX or Talk2Data"
        raise InvalidArgument(msg)

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Raise InvalidArgument: a database version never changes."""
        study = quoted(self.study_id)
        msg = f"study {study} is on BioFlex, which accepts no metadata: give a study on BBrowserX or Talk2Data"
        raise InvalidArgument(msg)

    def add_metadata_file(self, key: str, bucket_id: str, *, shared: bool) -> None:
        """Raise InvalidArgument: see :meth:`add_metadata`."""
        self.add_metadata({})

    def refresh(self) -> None:
        """See StudySource: the fields never change."""

    def export(self, format: str) -> dict[str, Any]:
        """See StudySource."""
        answer: dict[str, Any] = self._study.export_study(format)
        return answer

    def save(self, link: str, path: str | Path) -> Path:
        """See StudySource."""
        return save(self._study.database.connection.http, link, path)

    def provenance(self) -> Mapping[str, Any]:
        """See StudySource."""
        database = self._study.database
        return {
            "server": database.connection.http.host,
            "database": str(database.id),
            "database_name": str(database.name),
            "species": str(database.species),
            "version": int(database.version),
        }
