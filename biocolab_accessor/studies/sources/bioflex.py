"""BioFlex source: a study of a database version, which never changes and can be cached."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.bioflex import Metadata, Study
from biocolab_accessor.clients.http import save
from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.errors import InvalidArgument, InvalidResponse, UnknownEmbedding
from biocolab_accessor.io.cache import Arrays, CachedArrays, Entry, cached
from biocolab_accessor.io.transpose import csr_of_csc
from biocolab_accessor.io.values import text_index
from biocolab_accessor.messages import quoted
from biocolab_accessor.studies.conversion import ObsColumn, categorical
from biocolab_accessor.studies.sources import StudySource, Term

_Part = TypeVar("_Part")


class BioFlexSource(StudySource):
    """A study of a BioFlex database, which has no route for embeddings."""

    name = "bioflex"

    def __init__(self, study: Study, n_obs: Callable[[], int] | None = None) -> None:
        # If `n_obs` is given, answers are cached; it returns the number of cells, to check cached matrices.
        self._study, self._n_obs = study, n_obs
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
        with self._cached(_names, _packed_names, part="barcodes") as entry:
            if entry.value is None:
                entry.value = self._study.barcodes()
            return entry.value

    def features(self) -> list[str]:
        """See StudySource."""
        with self._cached(_names, _packed_names, part="features") as entry:
            if entry.value is None:
                entry.value = self._study.features()
            return entry.value

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        with self._matrix("csc", part="genes", genes=genes, unit=unit) as entry:
            if entry.value is None:
                entry.value = self._study.query_genes(genes, unit)
            return entry.value

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        with self._matrix("csc", part="matrix", unit=unit) as entry:
            if entry.value is None:
                entry.value = self._study.matrix(unit)
            return entry.value

    def rows(self, unit: str) -> sparse.csr_matrix:
        """See StudySource."""
        with self._matrix("csr", part="matrix", unit=unit) as entry:
            if entry.value is None:
                entry.value = csr_of_csc(self._study.matrix(unit), consume=True)
            return entry.value

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """See StudySource."""
        return self._study.matrix_stripes(unit, folder, most)

    def matrix_bytes(self, unit: str) -> int | None:
        """See StudySource."""
        return self._study.matrix_bytes(unit)

    def cache_key(self) -> Mapping[str, Any]:
        """See StudySource: a database version never changes."""
        return {**self.provenance(), "study": self.study_id, "revision": self._study.revision}

    def cached(self, n_obs: Callable[[], int]) -> BioFlexSource:
        """See StudySource."""
        return BioFlexSource(self._study, n_obs)

    def _cached(
        self, read: Callable[[CachedArrays], _Part], arrays_of: Callable[[_Part], Arrays], **part: Any
    ) -> AbstractContextManager[Entry[_Part]]:
        """The cache's entry of a part; an empty one if answers are not cached."""
        if self._n_obs is None:
            return nullcontext(Entry())
        return cached({**self.cache_key(), **part}, read, arrays_of)

    def _matrix(self, format: str, **part: Any) -> AbstractContextManager[Entry[Any]]:
        def read(arrays: CachedArrays) -> Any:
            return _sparse(arrays, format, 0 if self._n_obs is None else self._n_obs())

        return self._cached(read, _arrays, format=format, **part)

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """See StudySource; numbers are float32, because BioFlex sends no other type."""
        if not fields:
            return {}
        with self._cached(_columns, _packed, part="metadata", fields=list(fields)) as entry:
            if entry.value is None:
                entry.value = self._metadata(fields, barcodes)
            return entry.value

    def _metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
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


def _sparse(arrays: CachedArrays, format: str, n_obs: int) -> Any:
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
    if not arrays.verified and len(indices) and int(unsigned.max()) >= minor:
        msg = "an index lies outside its shape"
        raise ValueError(msg)
    if shape[0] != n_obs:
        msg = f"it has {shape[0]:,} cells, but the study has {n_obs:,}"
        raise ValueError(msg)
    kind = sparse.csr_matrix if format == "csr" else sparse.csc_matrix
    matrix = kind((shape[0], shape[1]), dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    # They were canonical when they were cached; checking again would read all of them.
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def _arrays(matrix: sparse.csc_matrix | sparse.csr_matrix) -> Arrays:
    shape = np.array(matrix.shape, np.int64)
    return {"shape": shape, "data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}


def _packed_names(names: list[str]) -> Arrays:
    return {"names": _text(names)}


def _names(arrays: Arrays) -> list[str]:
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
