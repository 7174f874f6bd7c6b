"""Readers: submitted files of the study types that the sandbox supports."""

from __future__ import annotations

import gzip
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import io, sparse

from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.io.hdf5_gate import opened_foreign
from biocolab_accessor.io.matrix_blocks import expect_whole, expect_within
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import expect_regular
from biocolab_accessor.sandbox.processing.cells import SPATIAL_KEYS, Cells, ProcessingError, reading
from biocolab_accessor.sandbox.requests import HTTPError, text
from biocolab_accessor.sandbox.store.buckets import Bucket, inside

H5_10X, H5AD, MTX_10X, TSV = 1, 2, 3, 6
READABLE = {H5_10X, H5AD, MTX_10X, TSV}
"""Study types that the sandbox reads."""

_OTHERS = {0: "BBROWSER", 4: "BCS", 5: "RDS", 15: "TILE_DB", 23: "PROCESSED_FOLDER"}
STUDY_TYPES = READABLE | set(_OTHERS)
"""Study types of BBrowserX and Talk2Data; Lens has other numbers."""

_GENES = "Gene Expression"
_SMALLER = "submit fewer cells at once, as several batches"

# SciPy will change the kind of sparse object that it returns by default; old versions have no argument for it.
_MMREAD = {"spmatrix": False} if "spmatrix" in inspect.signature(io.mmread).parameters else {}


def read_batch(
    name: str,
    study_type: int,
    files: Mapping[str, Path],
    *,
    normalize: bool,
    say: Callable[[str], object] = lambda line: None,
) -> Cells:
    """Read one batch, called ``name`` in messages, since the files on disk have other names."""
    if study_type not in READABLE:
        kind = _OTHERS.get(study_type, str(study_type))
        msg = f"the sandbox cannot read studies of type {kind}; it reads h5ad, 10x h5, 10x mtx and tsv"
        raise ProcessingError(msg)
    path = files["matrix"]
    with reading(name):
        if study_type == H5AD:
            return _cells_of_h5ad(read_h5ad(path, name), normalize=normalize)  # counts are in raw.X, values in X
        if study_type == H5_10X:
            return _cells_of_10x_h5(read_10x_h5(path, name), name, say)
        if study_type == MTX_10X:
            return _read_mtx(files, name, say)
        return _read_tsv(path)


def read_h5ad(path: Path, name: str) -> ad.AnnData:
    """Read a whole uploaded h5ad file, unless it is harmful or does not fit into memory."""
    with opened_foreign(path, what=name) as foreign:
        expect_room(foreign.n_bytes, name, _SMALLER)
        return ad.read_h5ad(foreign.path)


def read_10x_h5(path: Path, name: str, *, gex_only: bool = False) -> ad.AnnData:
    """Read an uploaded Cell Ranger file, with the same checks as :func:`read_h5ad`."""
    import scanpy

    with opened_foreign(path, what=name) as foreign:
        expect_room(foreign.n_bytes, name, _SMALLER)
        with h5py.File(foreign.path) as file:
            genomes = [key for key in file if isinstance(file[key], h5py.Group) and "barcodes" in file[key]]
        if len(genomes) < 2:
            return scanpy.read_10x_h5(foreign.path, gex_only=gex_only)
        # Before version 3, Cell Ranger wrote a matrix for each genome.
        parts = [scanpy.read_10x_h5(foreign.path, genome=genome) for genome in genomes]
        return ad.concat(parts, axis=1, join="outer")


def cells_of_anndata(adata: ad.AnnData, matrix: Any, features: pd.Index) -> Cells:
    """The cells of an AnnData with one of its matrices."""
    obsm = {
        key: np.asarray(adata.obsm[key], None if key in SPATIAL_KEYS else np.float32)
        for key in adata.obsm
        if isinstance(adata.obsm[key], np.ndarray) and adata.obsm[key].ndim == 2 and adata.obsm[key].dtype.kind in "fiu"
    }
    obs = adata.obs.reset_index(drop=True)
    return Cells(_csr(matrix), _names(adata.obs_names), _names(features), obs, obsm)


def _cells_of_h5ad(adata: ad.AnnData, *, normalize: bool) -> Cells:
    if normalize:
        if adata.raw is None:
            msg = "adata.raw is missing, but counts are read from raw.X. Submit with type 'normalized' to use X"
            raise ProcessingError(msg)
        return cells_of_anndata(adata, adata.raw.X, adata.raw.var_names)
    if adata.X is None:
        msg = "X is missing"
        raise ProcessingError(msg)
    return cells_of_anndata(adata, adata.X, adata.var_names)


def _cells_of_10x_h5(adata: ad.AnnData, name: str, say: Callable[[str], object]) -> Cells:
    genes = _genes_among(adata.var.get("feature_types"), name, say)
    if genes is not None:
        adata = adata[:, genes].copy()
    return cells_of_anndata(adata, adata.X, adata.var_names)


def _genes_among(types: pd.Series | None, name: str, say: Callable[[str], object]) -> NDArray[np.bool_] | None:
    """Mask of the genes among the features of a Cell Ranger output; None if all or none of them are genes."""
    if types is None:
        return None
    genes = (types == _GENES).to_numpy(bool)
    if genes.all() or not genes.any():
        return None
    left = ", ".join(f"{kind} {number:,}" for kind, number in types[~genes].astype(str).value_counts().items())
    say(f"Leaving out {int((~genes).sum()):,} features of {name} that are not {_GENES}: {left}")
    return genes


def _read_mtx(files: Mapping[str, Path], name: str, say: Callable[[str], object]) -> Cells:
    with _open(files["matrix"]) as file:
        # SciPy's reader crashes on files of other formats.
        if file.read(14).lower() != b"%%matrixmarket":
            msg = "the matrix file does not start with %%MatrixMarket"
            raise ProcessingError(msg)
        file.seek(0)
        matrix = _csr(io.mmread(file, **_MMREAD).T)
    features, barcodes = _names_table(files["features"]), _names_table(files["barcodes"])
    names = features[1] if features.shape[1] > 1 else features[0]
    if matrix.shape != (len(barcodes), len(names)):
        n, m = matrix.shape
        msg = f"the matrix is {n:,} x {m:,}, but there are {len(barcodes):,} barcodes and {len(names):,} features"
        raise ProcessingError(msg)
    genes = _genes_among(features[2] if features.shape[1] > 2 else None, name, say)
    if genes is not None:
        matrix, names = matrix[:, genes], names[genes]
    return Cells(matrix, list(barcodes[0]), list(names), pd.DataFrame(index=range(len(barcodes))))


def _read_tsv(path: Path) -> Cells:
    """Read genes in rows and cells in columns, the usual orientation of published expression tables."""
    with _open(path) as file:
        table = pd.read_csv(file, sep="\t", index_col=0)
    if table.empty:
        msg = "the table has no values"
        raise ProcessingError(msg)
    matrix = _csr(table.to_numpy(dtype=np.float32).T)
    return Cells(matrix, _names(table.columns), _names(table.index), pd.DataFrame(index=range(table.shape[1])))


def _names_table(path: Path) -> pd.DataFrame:
    with _open(path) as file:
        return pd.read_csv(file, sep="\t", header=None, dtype=str, keep_default_na=False)


def _open(path: Path) -> Any:
    expect_regular(path.stat())  # opening a FIFO would block
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _csr(matrix: Any) -> sparse.csr_matrix:
    if sparse.issparse(matrix) and matrix.format in ("csr", "csc"):
        try:
            expect_whole(matrix)
            expect_within(matrix.indices, matrix.shape[matrix.format == "csr"])
        except InvalidValues as error:
            msg = f"the matrix is damaged: {error}"
            raise ProcessingError(msg) from error
    result = sparse.csr_matrix(matrix if sparse.issparse(matrix) else np.asarray(matrix), dtype=np.float32)
    result.sum_duplicates()
    if not _finite(result.data):
        msg = f"the matrix contains {int((~np.isfinite(result.data)).sum()):,} NaN or infinite values"
        raise ProcessingError(msg)
    return result


def _finite(data: NDArray[Any]) -> bool:
    return bool(np.isfinite(data).all())


def _names(index: Any) -> list[str]:
    return [str(name) for name in index]


_ENDINGS = {"matrix": "matrix.mtx", "features": "features.tsv", "barcodes": "barcodes.csv"}


@dataclass(frozen=True)
class Batch:
    """One batch of a submission, labeled with its name in the study."""

    name: str
    files: Mapping[str, Path]  # by part: "matrix", for MTX "features" and "barcodes" too; empty for unsupported types
    remote: Mapping[str, tuple[Bucket, str]] = field(default_factory=dict)  # bucket and key of parts to fetch first


def uploaded_batches(names: Sequence[str], files: Mapping[str, Path], study_type: Any) -> list[Batch]:
    """Batches of uploaded files."""
    if not names:
        raise HTTPError(422, "batch_info must list the batches")
    if not _is_read_here(study_type):
        return [Batch(name, {}) for name in names]
    return _labeled([Batch(name, _uploaded(name, files, study_type)) for name in names])


def bucket_batches(bucket: Bucket, info: Any, study_type: Any, place: Callable[[], Path]) -> list[Batch]:
    """Batches of files in a bucket; ``place`` creates the path of a file that must be fetched."""
    batches = []
    for name, keys in _named(info, study_type):
        files, remote = {}, {}
        for part, key in keys.items():
            path = bucket.local(key)
            files[part] = path or place()
            if path is None:
                remote[part] = (bucket, key)
        batches.append(Batch(name, files, remote))
    return _labeled(batches)


def folder_batches(folder: Path, info: Any, study_type: Any) -> list[Batch]:
    """Batches of files in a folder of the server; paths may be relative to it or include it."""

    def find(name: str) -> Path:
        return inside(folder, key_of(folder, name), f"folder {quoted(str(folder))}")

    return _labeled(
        [
            Batch(name, {part: find(key) for part, key in keys.items()})  # missing files raise here
            for name, keys in _named(info, study_type)
        ]
    )


def key_of(folder: PurePath, name: str) -> str:
    """A client's name for a file, relative to the folder if the name includes it."""
    path = type(folder)(name)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else name


def fetch(batches: Sequence[Batch], say: Callable[[str], object]) -> None:
    """Download the remote parts."""
    for batch in batches:
        for part, (bucket, key) in batch.remote.items():
            say(f"Downloading {key} from bucket {bucket.name}")
            bucket.fetch(key, batch.files[part])


def fetched(batches: Sequence[Batch]) -> list[Path]:
    """Files that :func:`fetch` creates."""
    return [batch.files[part] for batch in batches for part in batch.remote]


def named_parts(info: Any, parts: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Name and parts of each batch, from ``batch_info`` as an object."""
    # Version 1.1.0 of the connector wraps the object in a list, and versions up to 1.6.0 send images for Lens in one.
    if isinstance(info, list) and len(info) == 1 and isinstance(info[0], Mapping):
        info = {str(info[0]["name"]).rpartition("/")[2]: info[0]} if "name" in info[0] else info[0]
    if not isinstance(info, Mapping) or not info or not all(isinstance(batch, Mapping) for batch in info.values()):
        raise HTTPError(422, "batch_info must be an object of batches")
    return [
        (str(batch.get("name") or label), {part: text(batch, part) for part in parts}) for label, batch in info.items()
    ]


def _named(info: Any, study_type: Any) -> list[tuple[str, dict[str, str]]]:
    if not _is_read_here(study_type):
        return named_parts(info, ())
    return named_parts(info, tuple(_ENDINGS) if study_type == MTX_10X else ("matrix",))


def _is_read_here(study_type: Any) -> bool:
    return isinstance(study_type, int) and study_type in READABLE


def _uploaded(name: str, files: Mapping[str, Path], study_type: Any) -> dict[str, Path]:
    if study_type != MTX_10X:
        if name not in files:
            detail = f"batch {quoted(name)} was not uploaded; uploaded files: {sorted(files)}"
            raise HTTPError(422, detail)
        return {"matrix": files[name]}
    found = {}
    for part, ending in _ENDINGS.items():
        path = files.get(f"{name}{ending}") or files.get(f"{name}{ending}.gz")
        if path is None:
            detail = f"batch {quoted(name)} has no {name}{ending}[.gz]; uploaded files: {sorted(files)}"
            raise HTTPError(422, detail)
        found[part] = path
    return found


def _labeled(batches: list[Batch]) -> list[Batch]:
    """Drop the file extension from the names of several batches, with which their cells are labeled."""
    if len(batches) < 2:
        return batches
    names = [batch.name.removesuffix(".h5ad").removesuffix(".h5") for batch in batches]
    if len(set(names)) < len(names):
        names = [batch.name for batch in batches]
    return [Batch(name, batch.files, batch.remote) for name, batch in zip(names, batches, strict=True)]
