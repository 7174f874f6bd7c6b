"""Whatever an AnnData is made of, its values go out and come back, and the object stays as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

_PACKAGE = str(Path(bc.__file__).parent)
_COUNTS = np.random.default_rng(7).poisson(0.8, (30, 12)).astype(np.float32)
_NAMES = [f"CELL{i}-1" for i in range(30)]
_GENES = [f"GENE{i}" for i in range(12)]
_SAMPLES = [f"s{i % 3}" for i in range(30)]


def make(matrix: object = _COUNTS) -> ad.AnnData:
    """Counts with text, whole numbers and an embedding."""
    obs = pd.DataFrame({"sample": _SAMPLES, "size": np.arange(30)}, index=_NAMES)
    adata = ad.AnnData(matrix, obs, pd.DataFrame(index=_GENES))
    adata.obsm["X_own"] = np.arange(60, dtype=np.float32).reshape(30, 2)
    return adata


def in_a_layer(folder: Path) -> ad.AnnData:
    adata = make(np.log1p(_COUNTS))
    adata.layers["counts"] = sparse.csr_matrix(_COUNTS)
    return adata


def without_x(folder: Path) -> ad.AnnData:
    adata = make(None)
    adata.layers["counts"] = sparse.csr_matrix(_COUNTS)
    return adata


def as_the_nameless_layer(folder: Path) -> ad.AnnData:
    """X as anndata 0.13 keeps it."""
    obs = pd.DataFrame({"sample": _SAMPLES, "size": np.arange(30)}, index=_NAMES)
    return ad.AnnData(obs=obs, var=pd.DataFrame(index=_GENES), layers={None: sparse.csr_matrix(_COUNTS)})


def backed(folder: Path, matrix: object) -> ad.AnnData:
    make(matrix).write_h5ad(folder / "backed.h5ad")
    return ad.read_h5ad(folder / "backed.h5ad", backed="r")


def of_zarr(folder: Path, version: int) -> ad.AnnData:
    with ad.settings.override(zarr_write_format=version):
        make(sparse.csr_matrix(_COUNTS)).write_zarr(folder / "a.zarr")
    return ad.read_zarr(folder / "a.zarr")


def lazy(folder: Path, *, zarr: bool) -> ad.AnnData:
    from anndata.experimental import read_lazy

    whole = make(sparse.csr_matrix(_COUNTS))
    path = folder / ("a.zarr" if zarr else "a.h5ad")
    (whole.write_zarr if zarr else whole.write_h5ad)(path)
    return read_lazy(path)


def with_text(folder: Path, dtype: str) -> ad.AnnData:
    """Barcodes, genes and labels in one of the dtypes of text that pandas has."""
    adata = make()
    adata.obs["sample"] = pd.array(_SAMPLES, dtype=dtype)
    adata.obs.index, adata.var.index = pd.Index(_NAMES, dtype=dtype), pd.Index(_GENES, dtype=dtype)
    return adata


FORMS: dict[str, Callable[[Path], ad.AnnData]] = {
    "a dense array": lambda folder: make(),
    "a Fortran array": lambda folder: make(np.asfortranarray(_COUNTS)),
    "whole numbers": lambda folder: make(_COUNTS.astype(np.int64)),
    "csr_matrix": lambda folder: make(sparse.csr_matrix(_COUNTS)),
    "csc_matrix": lambda folder: make(sparse.csc_matrix(_COUNTS)),
    "csr_array": lambda folder: make(sparse.csr_array(_COUNTS)),
    "csc_array": lambda folder: make(sparse.csc_array(_COUNTS)),
    "a view": lambda folder: _wider()[:30, 1:],
    "counts in a layer": in_a_layer,
    "no X": without_x,
    "Dask of dense blocks": lambda folder: make(da.from_array(_COUNTS, chunks=(7, 12))),
    "Dask of sparse blocks": lambda folder: make(
        da.from_array(_COUNTS, chunks=(7, 12)).map_blocks(sparse.csr_matrix, dtype=np.float32)
    ),
    "backed, dense": lambda folder: backed(folder, _COUNTS),
    "backed, CSR": lambda folder: backed(folder, sparse.csr_matrix(_COUNTS)),
    "backed, CSC": lambda folder: backed(folder, sparse.csc_matrix(_COUNTS)),
    "zarr v2": lambda folder: of_zarr(folder, 2),
    "zarr v3": lambda folder: of_zarr(folder, 3),
    "read_lazy of h5ad": lambda folder: lazy(folder, zarr=False),
    "read_lazy of zarr": lambda folder: lazy(folder, zarr=True),
    "object text": lambda folder: with_text(folder, "object"),
    "nullable text": lambda folder: with_text(folder, "string[python]"),
    "pyarrow text": lambda folder: with_text(folder, "string[pyarrow]"),
    "arrow's own text": lambda folder: with_text(folder, "large_string[pyarrow]"),
    "inferred text": lambda folder: with_text(folder, "str"),
}
if None in make().layers:  # anndata 0.13
    FORMS["X as layers[None]"] = as_the_nameless_layer


def _wider() -> ad.AnnData:
    more = np.concatenate([np.ones((30, 1), np.float32), _COUNTS], axis=1)
    obs = pd.DataFrame({"sample": _SAMPLES, "size": np.arange(30)}, index=_NAMES)
    adata = ad.AnnData(sparse.csr_matrix(more), obs, pd.DataFrame(index=["FIRST", *_GENES]))
    adata.obsm["X_own"] = np.arange(60, dtype=np.float32).reshape(30, 2)
    return adata


@contextmanager
def no_warning_of_ours() -> Iterator[None]:
    """Fail where a line of this package causes a warning, whoever raised it."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    ours = [f"{each.filename}:{each.lineno}: {each.message}" for each in seen if each.filename.startswith(_PACKAGE)]
    assert ours == []


def look(adata: ad.AnnData) -> tuple[object, ...]:
    """What a user sees of an object: kinds, dtypes and names."""
    matrices = [type(matrix).__name__ for matrix in (adata.X, *(adata.layers[key] for key in adata.layers))]
    return (
        matrices,
        adata.is_view,
        adata.isbacked,
        list(map(str, adata.obs.dtypes)),
        adata.obs_names.dtype,
        adata.var_names.dtype,
        list(adata.obs_names),
        list(adata.var_names),
    )


@pytest.fixture
def adata(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ad.AnnData]:
    """One of the forms; a file behind it is closed again."""
    yield FORMS[request.param](tmp_path)
    for file in h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE):  # read_lazy has no way to close its own
        if Path(h5py.h5f.get_name(file).decode()).is_relative_to(tmp_path):
            h5py.File(file).close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("adata", FORMS, indirect=True)
def test_every_form_of_an_anndata_comes_back_exactly_and_stays_as_it_was(adata: ad.AnnData, server: Sandbox) -> None:
    before = look(adata)
    with no_warning_of_ours():
        submission = adata.biocolab.submit(group="personal", skip_dimred=True)
        by_bbrowserx = submission.study().to_anndata()
        by_bioflex = bc.study(submission.study_id).to_anndata()
    assert look(adata) == before
    for back in (by_bbrowserx, by_bioflex):
        np.testing.assert_array_equal(back.X.toarray(), _COUNTS)
        assert list(back.obs_names) == _NAMES
        assert list(back.var_names) == _GENES
        assert list(back.obs["sample"].astype(object)) == _SAMPLES
        assert list(back.obs["size"]) == list(range(30))


@pytest.mark.sweeps  # in plain pytest each form is written, submitted and fetched
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("adata", FORMS, indirect=True)
def test_every_form_of_an_anndata_is_written_exactly(adata: ad.AnnData, tmp_path: Path) -> None:
    before = look(adata)
    with no_warning_of_ours():
        path = adata.biocolab.to_h5ad(tmp_path / "written.h5ad")
    assert look(adata) == before
    again = ad.read_h5ad(path)
    np.testing.assert_array_equal(again.raw.X.toarray(), _COUNTS)
    assert (list(again.obs_names), list(again.var_names)) == (_NAMES, _GENES)
    assert list(again.obs["sample"].astype(object)) == _SAMPLES
