"""BioFlex: the objects of the official client over our own HTTP, with every answer checked.

The classes are subclasses of those in bioflex, so that ``isinstance`` and all code written for bioflex keep working.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bioflex import connection, database, metadata, study
from bioflex._base_object import _BaseObject
from bioflex.constants import CATEGORY, EXPORT_H5AD, METADATA_TYPES, NUMBER
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.arguments import name_list
from biocolab_accessor.clients.arrays import (
    checked_datasets,
    csc_from_arrays,
    csc_from_base64,
    csc_from_hdf5,
    decode_array,
    expect_pointers,
    reading_hdf5,
    sizes,
    strings,
)
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.clients.progress import DOWNLOADING, fetching, progress_bar
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidResponse,
    NotFound,
    ServerError,
    UnknownGene,
    UnknownStudy,
    public,
)
from biocolab_accessor.io.compression import can_inflate, read_deflated
from biocolab_accessor.io.memory import empty_pages, expect_room
from biocolab_accessor.io.transpose import PEAK, spans
from biocolab_accessor.messages import quoted
from biocolab_accessor.protocol import UNITS, listed_units
from biocolab_accessor.security.redaction import Secret, redacting, sealed
from biocolab_accessor.security.urls import normalize_host, route_url, without_user

_SMALL = 1024 * 1024


class Buffer:
    """Collects the pieces of an answer in one array of the announced length."""

    # The system allocates the pages of the array only as they fill, so that a server that announces more than it sends
    # costs nothing. Without an announced length the array doubles as it grows.

    def __init__(self) -> None:
        self._array = np.empty(0, np.uint8)
        self._filled = 0

    def open(self, length: int | None) -> Callable[[memoryview], object]:
        """Start again, for a new attempt, and return the function that takes the pieces."""
        self._array = empty_pages(length or 0)
        self._filled = 0
        return self._write

    @property
    def content(self) -> NDArray[np.uint8]:
        """The bytes that have arrived, without a copy."""
        return self._array[: self._filled]

    def _write(self, piece: memoryview) -> None:
        end = self._filled + len(piece)
        if end > len(self._array):
            if end > _SMALL:
                expect_room(4 * end, "an answer of unknown length", "ask for genes=, or write it to a file")
            self._array = np.concatenate([self.content, np.empty(max(end, 1024 * 1024), np.uint8)])
        self._array[self._filled : end] = piece
        self._filled = end


def stripes_of_file(path: Path, what: str, most: int) -> Generator[sparse.csc_matrix, None, None]:
    """Yield consecutive genes of a ``get_matrix`` answer, each stripe checked before SciPy sees it."""
    # `most` is the number of non-zeros in a stripe; a single gene may have more.
    size = path.stat().st_size
    with reading_hdf5(what), h5py.File(path, "r") as file:
        datasets = checked_datasets(file, size, what)
        data, indices = datasets["data"], datasets["indices"]
        n_obs, n_vars = sizes(datasets["shape"][()].tolist(), what)
        expect_room(2 * int(datasets["indptr"].nbytes), what, "the server's shape cannot be right", believed=False)
        pointers = datasets["indptr"][()]
        if pointers.dtype.kind not in "iu":
            msg = f"{what}: indptr is a 1-d array of {pointers.dtype}"
            raise InvalidResponse(msg)
        expect_pointers(pointers, n_vars, len(data), len(indices), what)
        pointers = pointers.astype(np.int64)
        for first, last in spans(pointers, most):
            low, high = int(pointers[first]), int(pointers[last])
            own = pointers[first : last + 1] - low
            yield csc_from_arrays(_part(data, low, high), _part(indices, low, high), own, [n_obs, last - first], what)


def _part(dataset: h5py.Dataset, start: int, stop: int) -> NDArray[Any]:
    part: NDArray[Any] = read_deflated(dataset, start, stop) if can_inflate(dataset) else dataset[start:stop]
    return part


BIOFLEX_HOST = "https://api.bioturing.com/"
"""Address of BioFlex, as built into the official client."""


_LARGEST = 2**63
_ALTERNATIVES = "use study.to_h5ad(path), study.to_anndata(backed=path) or study.lazy(path), or ask for genes="


@public
class BioFlexConnection(connection.Connection):
    """A connection to BioFlex.

    Parameters
    ----------
    token
        The BioFlex API token.
    host
        Address of the server.
    ssl
        True, ``"system"``, the path of a bundle of certificate authorities, or False.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     server.connect().get_bioflex().databases()[0]
    DataBase(id="5010c7d573ae4ff2b9691422b99aa2cd",name="BioTuring database",species="human",version=1)
    """

    def __init__(self, token: str | Secret, host: str = BIOFLEX_HOST, *, ssl: bool | str | Path = True) -> None:
        token, host = sealed(token), without_user(host)
        secret = token if isinstance(token, Secret) else Secret(token, "argument token")
        super().__init__(secret)
        self.http = HttpClient(normalize_host(host), secret, header="btr-api-token", ssl=ssl)

    def __repr__(self) -> str:
        return f"BioFlexConnection(host={self.http.host!r})"

    def databases(self) -> list[Database]:
        """All databases that the token has access to, in the order of the server, oldest version first."""
        answer = _listing(self._post_request("/v1/database/list"), "databases")
        return [
            Database(
                self,
                *(_field(row, key, "database", str | int) for key in ("id", "name")),
                _field(row, "species", "database", str),
                _field(row, "version", "database", int),
            )
            for row in answer
        ]

    def _http_headers(self) -> dict[str, str]:
        return {}

    def _post_request(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        with redacting(self.http.token):
            return _accepted(self.http.post(path, params), route_url(self.http.host, path))

    def _post_download(
        self, path: str, params: Mapping[str, Any] | None = None, dst_file: io.IOBase | None = None
    ) -> io.IOBase:
        target = io.BytesIO() if dst_file is None else dst_file
        start = target.tell()

        with progress_bar(DOWNLOADING) as bar:

            def open_target(length: int | None) -> Callable[[memoryview], object]:
                bar.total = length
                target.seek(start)
                target.truncate()
                if not isinstance(target, io.BytesIO):
                    return target.write
                expect_room(2 * (length or 0), path, "give a dst_file on disk")
                return _WithinBudget(target, path)

            self.http.download("POST", path, params, open_target=open_target, on_bytes=bar.update)
        target.flush()
        target.seek(0)
        return target

    def _post_buffer(self, path: str, params: Mapping[str, Any], description: str) -> NDArray[np.uint8]:
        buffer = Buffer()
        with progress_bar(description) as bar:

            def open_target(length: int | None) -> Callable[[memoryview], object]:
                bar.total = length
                expect_room(int(PEAK * (length or 0)), description, _ALTERNATIVES)
                return buffer.open(length)

            self.http.download("POST", path, params, open_target=open_target, on_bytes=bar.update)
        return buffer.content


class _Scoped(_BaseObject):
    """A base object whose requests are sent at once, and not through each of its parents."""

    def _scope(self, **params: Any) -> dict[str, Any]:
        """The parameters with those that each parent adds."""
        place: Any = self
        while isinstance(place, _BaseObject):
            params, place = place._post_params(params), place._parent
        return params


@public
class Database(database.Database, _Scoped):
    """A database: one version of one species. See the official class for its attributes."""

    def get_study(self, study_hash_id: str) -> Study:
        """The study with this id.

        Raises
        ------
        UnknownStudy
            The database has no such study.
        """
        try:
            answer = self._post_request("/v1/study/get", {"hash_id": study_hash_id})
        except NotFound as error:
            # A sandbox says the same first, and then suggests a study.
            _, said, rest = error.detail.partition(f"no study {quoted(study_hash_id)}")
            more = rest if said else f": {error.detail}"
            more = more or "; use species= if it belongs to another species"
            msg = f"{self.species} database version {self.version} has no study {quoted(study_hash_id)}{more}"
            raise UnknownStudy(msg) from error
        return Study(self, answer, study_hash_id)

    def get_celltypes_expression_summary(
        self, gene_names: Sequence[str]
    ) -> dict[str, list[database.ExpressionSummary]]:
        """Expression of genes by cell type over the whole database.

        Raises
        ------
        UnknownGene
            The database lacks some of the genes; the error names all of them.
        """
        genes = name_list(gene_names, "gene_names")
        try:
            answer = self._post_request("/v1/expression/celltypes", {"gene_names": genes})
        except NotFound as error:
            raise UnknownGene(error.detail) from error
        missing = [gene for gene in genes if not isinstance(answer, Mapping) or not answer.get(gene)]
        if missing:
            genes_ = ", ".join(map(quoted, missing))
            msg = f"{self.species} database version {self.version} has no expression for {genes_}"
            raise UnknownGene(msg)
        return {
            gene: [_summary(row, gene) for row in _listing(answer[gene], f"expression of {gene}")] for gene in genes
        }


@public
class Study(study.Study, _Scoped):
    """A study in BioFlex. See the official class for its attributes and methods."""

    metalist: list[Metadata]

    def __init__(self, db: Database, response: Any, hash_id: str = "") -> None:
        known = {
            "id": _field(response, "id", "study", int | str),
            "title": _field(response, "title", "study", str | None),
            "authors": _field(response, "authors", "study", list | None),
            "reference": _field(response, "reference", "study", str | None),
        }
        super().__init__(db, {**known, "metalist": []})
        self.hash_id = str(response.get("hash_id") or hash_id or known["id"])
        self.revision = str(response.get("revision") or "")
        self.metalist = [
            Metadata(
                self,
                _field(field, "id", "metalist", int | str),
                _field(field, "name", "metalist", str),
                _field(field, "type", "metalist"),
            )
            for field in _listing(_field(response, "metalist", "study"), "metalist")
        ]

    def query_genes(self, gene_names: Sequence[str], unit: str = "lognorm") -> sparse.csc_matrix:
        """Expression of some genes: (n_cells, n_genes) float32, columns in the order of ``gene_names``.

        Raises
        ------
        UnknownGene
            The study lacks some of the genes.
        InvalidResponse
            The answer has a different number of columns, so that it is unclear which is which.
        """
        genes, unit = name_list(gene_names, "gene_names"), _unit(unit)
        try:
            answer = self._post_request("/v1/study/query_genes", {"gene_names": genes, "unit": unit})
        except NotFound as error:
            raise UnknownGene(error.detail) from error
        return csc_from_base64(answer, f"query_genes of {self.hash_id}", shape=(None, len(genes)))

    def matrix(self, unit: str = "lognorm") -> sparse.csc_matrix:
        """The whole matrix: (n_cells, n_genes) float32."""
        params = self._scope(unit=_unit(unit))
        description = fetching(self.hash_id, unit)
        buffer = self.database.connection._post_buffer("/v1/study/get_matrix", params, description)
        return csc_from_hdf5(buffer, f"get_matrix of {self.hash_id}")

    def matrix_stripes(self, unit: str, folder: Path, most: int) -> Generator[sparse.csc_matrix, None, None]:
        """Download the whole matrix to a file, and yield consecutive genes, ``most`` non-zeros at a time."""
        path = folder / f"{_unit(unit)}.h5"
        with path.open("wb") as file:
            self._post_download("/v1/study/get_matrix", {"unit": _unit(unit)}, file)
        try:
            yield from stripes_of_file(path, f"get_matrix of {self.hash_id}", most)
        finally:
            path.unlink(missing_ok=True)

    def matrix_bytes(self, unit: str) -> int | None:
        """Bytes of the whole matrix, or None if the server does not announce them."""
        http: HttpClient = self.database.connection.http
        return http.announced_length("/v1/study/get_matrix", self._scope(unit=_unit(unit)))

    def features(self) -> list[str]:
        """Gene names, in the order of the columns of the matrix."""
        return strings(super().features(), f"features of {self.hash_id}")

    def barcodes(self) -> list[str]:
        """Cell barcodes, in the order of the rows of the matrix."""
        return strings(super().barcodes(), f"barcodes of {self.hash_id}")

    def export_study(self, export_format: str = EXPORT_H5AD) -> Any:
        """Request a file of the whole study: ``{"download_link": …, "study_hash_id": …}``."""
        return super().export_study(export_format)


class Metadata(metadata.Metadata, _Scoped):
    """A metadata field of a study.

    Attributes
    ----------
    codes, categories
        For a category field after :meth:`fetch`: (n_cells,) uint16, which are indices into the list of labels.
    """

    name: str
    codes: NDArray[np.uint16] | None = None
    categories: list[str] | None = None
    _values: NDArray[Any] | None = None

    @property
    def values(self) -> NDArray[Any] | None:
        """None until :meth:`fetch`; then (n_cells,) float32, or the label of each cell, made when it is accessed.

        Raises
        ------
        TooLarge
            The labels would not fit into memory: NumPy gives every string the size of the longest.
        """
        if self._values is None and self.codes is not None and self.categories is not None:
            what = f"metadata {quoted(self.name)} of {self.study.hash_id}"
            expect_room(
                4 * max(map(len, self.categories), default=0) * len(self.codes), what, "use codes and categories"
            )
            self._values = self._cluster_names[self.codes] if self.categories else np.array([], dtype=str)
        return self._values

    def __init__(self, study: Study, id: int, name: str, type: int) -> None:
        super().__init__(study, id, name, NUMBER)
        self._set_type(type)

    def _set_type(self, type: Any) -> None:
        # One field of an unknown type must not make the whole study unusable; fetch raises for it.
        self._type = type
        self.type = METADATA_TYPES[type] if _is_kind(type) else "Unknown"

    def fetch(self) -> None:
        """Fetch the values.

        Raises
        ------
        InvalidResponse
            The field is of an unknown type, or a code has no label.
        """
        what = f"metadata {quoted(self.name)} of {self.study.hash_id}"
        answer = self._post_request("/v1/study/fetch_metadata")
        name = _field(answer, "name", what, str)
        if name != self.name and any(other.name == name for other in self.study.metalist):
            msg = f"{what}: the server sent the values of {name!r:.80}"
            raise InvalidResponse(msg)
        self.name = name
        self._set_type(_field(answer, "type", what))
        values = _field(answer, "metadata_values", what)
        if not _is_kind(self._type):
            msg = f"{what}: its type is {self._type!r:.80}, which is neither numeric (0) nor category (1)"
            raise InvalidResponse(msg)
        if self._type == NUMBER:
            self.codes = self.categories = None
            self._values = decode_array(values, "<f4", what)
        else:
            names = strings(_field(answer, "cluster_names", what), f"{what}: cluster_names")
            codes = decode_array(values, "<u2", what)
            if len(codes) and int(codes.max()) >= len(names):
                msg = f"{what}: code {int(codes.max())} but only {len(names)} labels"
                raise InvalidResponse(msg)
            lengths = answer.get("cluster_lengths") or []
            numbers = isinstance(lengths, list) and set(map(type, lengths)) <= {int, float}
            if not numbers or any(abs(length) >= _LARGEST for length in lengths):
                msg = f"{what}: cluster_lengths is not a list of numbers"
                raise InvalidResponse(msg)
            expect_room(4 * max(map(len, names), default=0) * len(names), what, _ALTERNATIVES)
            self._cluster_names, self._clusters = np.array(names), codes
            self._cluster_lengths = np.array(lengths, dtype=float)
            self.codes, self.categories, self._values = codes, names, None


class _WithinBudget:
    """Writes to memory while the memory budget allows it."""

    def __init__(self, target: io.BytesIO, what: str) -> None:
        self._target, self._what, self._allowed = target, what, 1 << 20

    def __call__(self, piece: memoryview) -> int:
        if self._target.tell() + len(piece) > self._allowed:
            self._allowed = 2 * (self._target.tell() + len(piece))
            expect_room(self._allowed, self._what, "give a dst_file on disk")
        return self._target.write(piece)


def _accepted(answer: Any, url: str) -> Any:
    if isinstance(answer, Mapping) and answer.keys() == {"detail"}:
        msg = f"{url}: the server refused: {answer['detail']!s:.1000}"
        raise ServerError(msg, detail=str(answer["detail"]))
    return answer


def _is_kind(value: Any) -> bool:
    return type(value) is int and value in (NUMBER, CATEGORY)


def _field(row: Any, key: str, what: str, kind: Any = object) -> Any:
    if not isinstance(row, Mapping) or key not in row:
        msg = f"{what}: the server's answer lacks {quoted(key)}"
        raise InvalidResponse(msg)
    if not isinstance(row[key], kind) or (isinstance(row[key], bool) and kind is not object):
        msg = f"{what}: {key} is {row[key]!r:.80}"
        raise InvalidResponse(msg)
    return row[key]


def _listing(answer: Any, what: str) -> list[Any]:
    if not isinstance(answer, list):
        msg = f"{what}: expected a list, got {type(answer).__name__}"
        raise InvalidResponse(msg)
    return answer


def _summary(row: Any, gene: str) -> database.ExpressionSummary:
    what = f"expression summary of {gene}"
    _field(row, "name", what, str)
    for key in ("sum", "mean", "rate", "count", "total"):
        if abs(_field(row, key, what, int | float)) >= _LARGEST:
            msg = f"{what}: {key} is too large"
            raise InvalidResponse(msg)
    return database.ExpressionSummary(row)


def _unit(unit: Any) -> str:
    unit = getattr(unit, "value", unit)
    if unit not in UNITS:
        msg = f"unit is {quoted(unit)}: it must be {listed_units()}"
        raise InvalidArgument(msg)
    return str(unit)
