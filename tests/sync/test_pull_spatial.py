"""Cell centers of a spatial study in an object with some of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidResponse, UnknownEmbedding
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.sources.bbrowserx import ConnectorSource
from biocolab_accessor.studies.study import Study


@pytest.fixture(scope="module")
def slides(server: Sandbox) -> Study:
    """Twelve cells on two slides, and one cell without a position."""
    obs = pd.DataFrame({"Batch": ["left"] * 8 + ["right"] * 4}, index=[f"CELL{i}-1" for i in range(12)])
    adata = ad.AnnData(np.eye(12, dtype=np.float32) + 1, obs=obs)
    adata.obsm["spatial"] = np.arange(24, dtype=np.float64).reshape(12, 2)
    adata.obsm["spatial"][3] = np.nan
    return adata.biocolab.submit(study_id="slides", skip_dimred=True).study()


def test_each_cell_gets_its_position_and_sample_in_the_layout_of_squidpy(slides: Study, tmp_path: Path) -> None:
    adata = slides.to_anndata(obsm=False)[[10, 3, 0]].copy()
    report = adata.biocolab.pull_spatial(study=slides)
    assert (report.matched, report.written) == (3, ("obsm['spatial']", "obs['sample']"))
    assert report.notes == ("1 cells have no position: NaN",)
    assert adata.obsm["spatial"].dtype == np.float64
    np.testing.assert_array_equal(adata.obsm["spatial"], [[20, 21], [np.nan, np.nan], [0, 1]])
    assert list(adata.obs["sample"]) == ["right", "left", "left"]
    assert adata.obs["sample"].dtype == "category"
    assert "spatial" not in adata.uns
    adata.biocolab.pull_spatial(study=slides, sample="library_id", grid=True, overwrite=True)
    assert dict(adata.uns["spatial"]) == {"left": {}, "right": {}}
    adata.write_h5ad(tmp_path / "x.h5ad")
    again = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(again.obsm["spatial"], adata.obsm["spatial"])
    assert list(again.uns["spatial"]) == ["left", "right"]


def test_an_existing_key_or_column_is_kept_unless_it_may_be_replaced(slides: Study) -> None:
    adata = slides.to_anndata(obsm=False)
    adata.obs["sample"] = "mine"
    with pytest.raises(InvalidArgument, match=r"obs has columns 'sample' already: .* another sample="):
        adata.biocolab.pull_spatial(study=slides)
    assert list(adata.obsm) == []
    adata.biocolab.pull_spatial(study=slides, overwrite=True)
    with pytest.raises(InvalidArgument, match="obsm has keys 'spatial' already"):
        adata.biocolab.pull_spatial(study=slides, sample="other")


def test_a_study_without_cell_centers_says_so(server: Sandbox, counts: ad.AnnData) -> None:
    study = counts.biocolab.submit(skip_dimred=True).study()
    with pytest.raises(UnknownEmbedding, match="has no cell centers, or its server has no route for them"):
        study.cell_centers()
    with pytest.raises(UnknownEmbedding, match="BioFlex, which stores no cell centers"):
        bc.study("PBMC68k_reduced").cell_centers()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"a": ["CELL1-1"], "b": ["CELL1-1"]}, "'CELL1-1' are repeated"),
        ({"a": ["nobody"]}, "none of their 1 barcodes is one of the study's 12"),
    ],
)
def test_centers_of_other_cells_are_refused(
    slides: Study, monkeypatch: pytest.MonkeyPatch, sent: dict[str, list[str]], said: str
) -> None:
    tables = {name: pd.DataFrame({"x": 1.0, "y": 2.0}, index=cells) for name, cells in sent.items()}
    monkeypatch.setattr(ConnectorSource, "cell_centers", lambda self: tables)
    with pytest.raises(InvalidResponse, match=said):
        slides.cell_centers()


def test_an_answer_without_any_center_is_an_error(slides: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectorSource, "cell_centers", lambda self: {})
    with pytest.raises(UnknownEmbedding, match="its server sent none"):
        slides.cell_centers()


@pytest.fixture(scope="module")
def squidpy() -> Any:
    found = pytest.importorskip("squidpy", reason="squidpy is not installed")
    pytest.importorskip("pyproj").CRS(4326)  # opens a database, which stays open
    return found


def test_squidpy_finds_neighbors_within_each_sample(slides: Study, squidpy: Any) -> None:
    adata = slides.to_anndata(obsm=False)
    adata.biocolab.pull_spatial(study=slides)
    adata = adata[np.isfinite(adata.obsm["spatial"]).all(axis=1)].copy()
    squidpy.gr.spatial_neighbors(adata, library_key="sample", coord_type="generic", n_neighs=2)
    rows, columns = adata.obsp["spatial_connectivities"].nonzero()
    samples = adata.obs["sample"].to_numpy()
    assert len(rows) >= 2 * adata.n_obs
    assert (samples[rows] == samples[columns]).all()
    # The cells of a sample lie on a line, so that each has the two nearest on it.
    pairs = {(adata.obs_names[row], adata.obs_names[column]) for row, column in zip(rows, columns, strict=True)}
    assert {("CELL10-1", "CELL9-1"), ("CELL10-1", "CELL11-1"), ("CELL5-1", "CELL4-1")} <= pairs
