"""Lock: a text file with the hash of each part of a study that this session fetches."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidFile, public, unreadable
from biocolab_accessor.io.safe_files import replacing, target_path
from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import opened_regular
from biocolab_accessor.protocol import SOURCES
from biocolab_accessor.studies.sources import StudySource

_VERSION = 1
_PARTS = {"barcodes", "features", "obs", "obsm", "cell_centers", "terms", "matrix", "genes"}

_NEEDS = {"obs": ("name",), "obsm": ("name",), "matrix": ("unit",), "genes": ("unit", "genes")}
_ADDRESS = {True: ("database", "version"), False: ("study_uuid", "group_id")}  # on BioFlex, and elsewhere

Entry = dict[str, Any]
"""``study`` (its address), ``part``, ``sha256``, and what the part needs: ``name``, ``unit``, ``genes``."""


@public
class Recorder:
    """Collects the hashes of fetched parts; threads may share it."""

    def __init__(self) -> None:
        self._lines: set[str] = set()
        self._mutex = threading.Lock()

    @property
    def entries(self) -> list[Entry]:
        """Entries in a stable order: by study, part and name."""
        with self._mutex:
            found = [json.loads(line) for line in self._lines]
        return sorted(found, key=lambda entry: [json.dumps(entry.get(key), sort_keys=True) for key in _ORDER])

    def add(self, source: StudySource, entries: Sequence[Entry]) -> None:
        """Add entries of one study."""
        study = {**source.provenance(), "source": source.name, "study_id": source.study_id}
        lines = {_line({"study": study, **entry}) for entry in entries}
        with self._mutex:
            if lines <= self._lines:
                return
            self._lines |= lines
        self.save()

    def save(self) -> None:
        """Keep the entries, if they have a place."""


_ORDER = ("study", "part", "name", "unit", "genes", "sha256")
_current: Recorder | None = None


def recorder() -> Recorder | None:
    """The active recorder; without one, nothing is hashed."""
    return _current


@contextmanager
def recording(other: Recorder) -> Iterator[None]:
    """Record in another recorder for a while."""
    global _current
    before, _current = _current, other
    try:
        yield
    finally:
        _current = before


@public
class DataLock(Recorder):
    """Records what is fetched from studies in a file; created by :func:`biocolab_accessor.lock`.

    Attributes
    ----------
    path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
    ...     with bc.lock(f"{folder}/biocolab.lock") as lock:
    ...         adata = bc.study("PBMC68k_reduced").to_anndata(genes=["LYZ"], fields=["phase"])
    ...     lock
    DataLock('biocolab.lock': 4 parts, closed)
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._writing = threading.Lock()

    def __repr__(self) -> str:
        state = "recording" if _current is self else "closed"
        return f"DataLock({self.path.name!r}: {len(self._lines):,} parts, {state})"

    def __enter__(self) -> DataLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop recording; the file is complete.

        Examples
        --------
        >>> import tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     lock = bc.lock(f"{folder}/biocolab.lock")
        ...     cells = bc.study("PBMC68k_reduced").barcodes()
        ...     lock.close()
        >>> [entry["part"] for entry in lock.entries]
        ['barcodes']
        """
        global _current
        if _current is self:
            _current = None
            self.save()

    def save(self) -> None:
        """Write the file; called after each fetch."""
        with self._writing:
            lines = [_line({"biocolab_lock": _VERSION}), *(_line(entry) for entry in self.entries)]
            content = "".join(f"{line}\n" for line in lines)
            last = _line({"parts": len(lines) - 1, "sha256": hashlib.sha256(content.encode()).hexdigest()})
            with replacing(self.path) as part:
                part.write_bytes(f"{content}{last}\n".encode())


@public
def lock(path: str | Path = "biocolab.lock") -> DataLock:
    """Record every part of a study that this session fetches from now on, with its hash.

    The file has one JSON object per line in a stable order, so it fits into git: server, database and version or group,
    study, part (names of cells and genes, a field, an embedding, a matrix or some genes of it), and the SHA-256 of the
    values; never a token. It is complete after every fetch. :func:`biocolab_accessor.replay` fetches the parts again.
    Studies are recorded however they are fetched: into memory, a file, lazily, in a collection or by ``pull_metadata``.
    Without a lock nothing is hashed.

    Parameters
    ----------
    path
        File to write; an earlier lock is replaced at the first fetch. A second call ends the recording of the first.

    Returns
    -------
    DataLock
        Recording ends with its ``close()``, or with the block if it is used in a ``with`` statement.

    Raises
    ------
    InvalidArgument
        The path is a folder, or its parent folder does not exist.
    InvalidFile
        The path is a file that is not a lock.

    Notes
    -----
    While a lock records, collections are fetched by this process and not by the workers of a Dask cluster.

    Examples
    --------
    >>> import tempfile
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
    ...     with bc.lock(f"{folder}/biocolab.lock"):
    ...         adata = bc.study("PBMC68k_reduced").to_anndata(genes=["LYZ"], fields=["phase"])
    ...     table = bc.replay(f"{folder}/biocolab.lock")
    >>> table["part"].tolist(), table["state"].unique().tolist()
    (['barcodes', 'features', 'genes', 'obs'], ['same'])
    """
    global _current
    target = target_path(path)
    if target.exists() and target.stat().st_size:
        _expect_lock(target, _text(target))
    started = DataLock(target)
    if isinstance(_current, DataLock):
        _current.close()
    _current = started
    return started


def read_lock(path: str | Path) -> list[Entry]:
    """The entries of a lock, or InvalidFile if it is damaged, edited or of another version."""
    path = Path(path).expanduser()
    content = _text(path)
    lines = _expect_lock(path, content)
    try:
        last = json.loads(lines[-1])
        n_parts, digest = last["parts"], last["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} is cut off: its last line, which has the number of parts, is missing. Record it again"
        raise InvalidFile(msg) from error
    body = content.removesuffix("\n").removesuffix(lines[-1])
    if n_parts != len(lines) - 2 or hashlib.sha256(body.encode()).hexdigest() != digest:
        msg = (
            f"{path} was changed after it was written: its lines do not have the hash of its last line. Record it again"
        )
        raise InvalidFile(msg)
    return [_entry(path, number, line) for number, line in enumerate(lines[1:-1], 2)]


def _text(path: Path) -> str:
    try:
        with opened_regular(path) as (_, same):
            content = Path(same).read_bytes()
        return content.decode().replace("\r\n", "\n")  # as git checks it out on Windows
    except (OSError, ValueError) as error:
        raise unreadable(path, "a lock", error) from error


def _expect_lock(path: Path, content: str) -> list[str]:
    lines = content.removesuffix("\n").split("\n")
    try:
        version = json.loads(lines[0])["biocolab_lock"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} is not a lock of bc.lock: give the path of one, or another path to write to"
        raise InvalidFile(msg) from error
    if version != _VERSION:
        msg = (
            f"{path} is a lock of version {quoted(version)}, but this package reads version {_VERSION}: record it again"
        )
        raise InvalidFile(msg)
    return lines


def _entry(path: Path, number: int, line: str) -> Entry:
    try:
        entry = json.loads(line)
        study, genes = entry["study"], entry.get("genes", [])
        fits = (
            entry["part"] in _PARTS
            and study["source"] in SOURCES
            and all(isinstance(value, str | int) for value in study.values())
            and {"server", "species", "study_id", *_ADDRESS[study["source"] == "bioflex"]} <= study.keys()
            and isinstance(study.get("version", 1), int)
            and all(isinstance(entry.get(key, ""), str) for key in ("name", "unit"))
            and set(_NEEDS.get(entry["part"], ())) <= entry.keys()
            and isinstance(genes, list)
            and all(isinstance(gene, str) for gene in genes)
            and re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        msg = f"{path}, line {number}: not an entry of a lock ({quoted(line[:80])}). Record it again"
        raise InvalidFile(msg)
    return dict(entry)


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True)


def sha_of_names(names: Sequence[str]) -> str:
    """The hash of a list of names."""
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()


def sha_of_array(array: NDArray[Any], dtype: str) -> str:
    """The hash of an array as little-endian ``dtype``, with its shape; all kinds of NaN are equal."""
    fixed = np.ascontiguousarray(array, dtype)
    if fixed.dtype.kind == "f" and np.isnan(fixed).any():
        fixed = np.where(np.isnan(fixed), fixed.dtype.type(np.nan), fixed)
    return hashlib.sha256(f"{dtype}{fixed.shape}".encode() + fixed.tobytes()).hexdigest()


def sha_of_column(column: pd.Series) -> str:
    """The hash of a column: labels by category, numbers by dtype, and missing values."""
    missing = column.isna().to_numpy(bool)
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = sha_of_names(list(map(str, column.cat.categories))) + sha_of_array(column.cat.codes.to_numpy(), "<i4")
        return hashlib.sha256(values.encode()).hexdigest()
    kind = str(column.dtype).lower().removesuffix("ean")  # nullable columns have the hash of plain ones
    numbers = np.asarray(column) if isinstance(column.dtype, np.dtype) else column.to_numpy(kind, na_value=0)
    dtype = "|u1" if kind == "bool" else np.dtype(kind).newbyteorder("<").str
    return hashlib.sha256((sha_of_array(numbers, dtype) + sha_of_array(missing, "|u1")).encode()).hexdigest()


class MatrixHash:
    """The hash of a matrix that comes a few columns at a time, however many."""

    def __init__(self) -> None:
        self._lengths, self._indices, self._data = (hashlib.sha256() for _ in range(3))
        self._shape = (0, 0)

    def update(self, stripe: sparse.csc_matrix) -> None:
        """Take the next columns."""
        if not stripe.has_sorted_indices:
            stripe = stripe.sorted_indices()
        self._lengths.update(np.diff(stripe.indptr).astype("<i8").tobytes())
        self._indices.update(np.ascontiguousarray(stripe.indices, "<i4").data)
        self._data.update(np.ascontiguousarray(stripe.data, "<f4").data)
        self._shape = (stripe.shape[0], self._shape[1] + stripe.shape[1])

    def hexdigest(self) -> str:
        """The hash of all columns."""
        hashes = [part.hexdigest() for part in (self._lengths, self._indices, self._data)]
        return hashlib.sha256(json.dumps([self._shape, *hashes]).encode()).hexdigest()


def sha_of_matrix(matrix: Any) -> str:
    """The hash of a whole matrix, whatever its layout."""
    found = MatrixHash()
    found.update(matrix if matrix.format == "csc" else matrix.tocsc())
    return found.hexdigest()


def recorded_stripes(
    stripes: Generator[sparse.csc_matrix, None, None], to: Recorder, source: StudySource, entry: Entry
) -> Generator[sparse.csc_matrix, None, None]:
    """The same stripes; their matrix is recorded after the last one."""
    found = MatrixHash()
    with closing(stripes):
        for stripe in stripes:
            found.update(stripe)
            yield stripe
    to.add(source, [{**entry, "sha256": found.hexdigest()}])
