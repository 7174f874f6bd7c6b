"""Real files, old and new, human and mouse, with proteins and without, go out and come back exactly."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.io.names import sent_name
from tests.corpus.compare import assert_unchanged, differences, snapshot

DATA = Path(os.environ.get("BIOCOLAB_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SPECIES = {"mouse_neurons_10k_x_1k.h5ad": "mouse"}
REFUSED = {"cellxgene-nan.h5ad": (InvalidValues, "2,556 NaN")}


def _packaged() -> ad.AnnData:
    return sc.datasets.pbmc68k_reduced()


def _tenx(path: Path) -> Callable[[], ad.AnnData]:
    return lambda: sc.read_10x_h5(path) if path.suffix == ".h5" else sc.read_10x_mtx(path)


ZOO: dict[str, Callable[[], ad.AnnData]] = {
    **{path.name: (lambda path=path: ad.read_h5ad(path)) for path in sorted(DATA.glob("*.h5ad"))},
    **{path.name: _tenx(path) for path in (DATA / "10x-v3.h5", DATA / "10x-v3-mtx") if path.exists()},
    "pbmc68k_reduced of scanpy": _packaged,
}


def read(name: str) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's and scanpy's own, about old files and repeated features
        return ZOO[name]()


def test_the_zoo_is_here() -> None:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not here: set BIOCOLAB_TEST_DATA")
    assert len(ZOO) >= 7


@pytest.mark.parametrize("name", ZOO)
def test_a_real_file_is_written_and_read_back_exactly(name: str, tmp_path: Path) -> None:
    adata = read(name)
    before = snapshot(adata)
    report = bc.check(adata, species=SPECIES.get(name, "human"))
    if name in REFUSED:
        error, text = REFUSED[name]
        with pytest.raises(error, match=text):
            adata.biocolab.to_h5ad(tmp_path / "a.h5ad")
        assert list(tmp_path.iterdir()) == []
        assert_unchanged(adata, before)
        return
    assert report.ok
    assert "BC404" not in {found.code for found in report}
    plan = adata.biocolab.submit(dry_run=True)
    adata.biocolab.to_h5ad(tmp_path / "a.h5ad")
    assert_unchanged(adata, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = ad.read_h5ad(tmp_path / "a.h5ad")
    said = [*plan.changes, *plan.left_out]
    unsaid = [place for place in differences(adata, again, plan) if not any(place in line for line in said)]
    assert unsaid == []
    assert set(map(sent_name, adata.obsm)) == set(again.obsm)


@pytest.mark.parametrize("name", [name for name in ZOO if name not in REFUSED])
def test_a_real_file_comes_back_from_the_server_exactly(name: str, server: bc.Sandbox) -> None:
    adata = read(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the check warns of is tested on its own
        submission = adata.biocolab.submit(species=SPECIES.get(name, "human"), skip_dimred=True)
        plan = adata.biocolab.submit(dry_run=True)
    back = submission.study().to_anndata()
    matrix = plan.slot.of(adata)
    sent = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
    np.testing.assert_array_equal(back.X.toarray(), sent.astype(np.float32))
    var = adata.raw.var if plan.slot.kind == "raw.X" else adata.var
    assert list(back.var["feature"]) == list(var.index)
    assert list(back.obs_names) == list(adata.obs_names)
    for column in adata.obs:
        ours, theirs = adata.obs[column], back.obs[str(column)]
        if isinstance(ours.dtype, pd.CategoricalDtype) or ours.dtype == object:
            assert list(theirs.astype(object)) == [str(value) for value in ours], column
        else:
            np.testing.assert_array_equal(theirs.to_numpy(), ours.to_numpy(), err_msg=str(column))
    arrays = {key: value for key, value in adata.obsm.items() if isinstance(value, np.ndarray)}
    assert arrays.keys() <= set(back.obsm) | {key for key in arrays if f"X_{key.lower()}" in back.obsm}
    for key, value in arrays.items():
        theirs = back.obsm[key if key in back.obsm else f"X_{key.lower()}"]
        np.testing.assert_array_equal(theirs, value.astype(np.float32), err_msg=key)
