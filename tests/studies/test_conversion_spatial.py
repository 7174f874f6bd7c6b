"""A study with cell centers as a SpatialData object. spatialdata is in no group of CI: see tests/skips.py."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, UnknownEmbedding
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.conversion import radius_of
from biocolab_accessor.studies.study import Study


def slides_object() -> ad.AnnData:
    """Eight cells on a slide, four on another one, and of the first slide one without a position."""
    obs = pd.DataFrame(
        {"Batch": ["left/1"] * 8 + ["Table"] * 4, "cell type": list("AB") * 6},
        index=[f"CELL{i}-1" for i in range(12)],
    )
    adata = ad.AnnData(np.eye(12, dtype=np.float32) + 1, obs=obs)
    adata.obsm["spatial"] = np.column_stack([np.arange(12) * 4.0, np.arange(12) % 2])
    adata.obsm["spatial"][3] = np.nan
    return adata


@pytest.fixture(scope="module")
def slides(server: Sandbox) -> Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cell without a position
        return slides_object().biocolab.submit(study_id="sdata", skip_dimred=True).study()


@pytest.fixture(scope="module")
def spatialdata() -> Any:
    found = pytest.importorskip("spatialdata", reason="spatialdata is not installed (extra spatial)")
    pytest.importorskip("pyproj").CRS(4326)  # opens a database, which stays open
    return found


def test_each_sample_becomes_circles_that_the_table_annotates(slides: Study, spatialdata: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="study sdata: 1 cell without a position left out"):
        found = slides.to_spatialdata(layers=["lognorm"])
    assert set(found.shapes) == {"left_1", "Table_1"}  # the table is called table
    assert set(found.coordinate_systems) == {"left_1", "Table_1"}
    centers = slides.cell_centers()
    table = found["table"]
    for name, sample in (("left_1", "left/1"), ("Table_1", "Table")):
        circles = found[name]
        own = centers[centers["sample"] == sample].dropna()
        assert list(circles.index) == list(own.index)
        np.testing.assert_array_equal(np.column_stack([circles.geometry.x, circles.geometry.y]), own[["x", "y"]])
        np.testing.assert_allclose(circles["radius"], np.hypot(4, 1) / 2)
        assert list(table.obs_names[table.obs["region"] == name]) == list(own.index)
    assert table.uns["spatialdata_attrs"] == {
        "region": ["left_1", "Table_1"], "region_key": "region", "instance_key": "cell_id"
    }  # fmt: skip
    assert list(table.obs["cell_id"]) == list(table.obs_names)
    whole = slides.to_anndata(layers=["lognorm"])[table.obs_names]
    np.testing.assert_array_equal(table.X.toarray(), whole.X.toarray())
    np.testing.assert_array_equal(table.layers["lognorm"].toarray(), whole.layers["lognorm"].toarray())
    assert list(table.obs["cell_type"]) == list(whole.obs["cell type"])
    np.testing.assert_array_equal(table.obsm["spatial"], centers.loc[table.obs_names, ["x", "y"]])
    found.write(tmp_path / "x.zarr")
    again = spatialdata.read_zarr(tmp_path / "x.zarr")
    pd.testing.assert_frame_equal(again["left_1"], found["left_1"], check_index_type=False)
    np.testing.assert_array_equal(again["table"].X.toarray(), table.X.toarray())
    assert again["table"].biocolab.cite("text") == slides.to_anndata().biocolab.cite("text")
    joined = spatialdata.join_spatialelement_table(
        sdata=again, spatial_element_names="Table_1", table_name="table", how="left"
    )
    assert list(joined[1].obs_names) == [f"CELL{i}-1" for i in range(8, 12)]


def test_a_filter_and_a_radius_can_be_given(slides: Study, spatialdata: Any) -> None:
    found = slides.to_spatialdata(obs_filter="Batch == 'Table' and `cell type` == 'A'", fields=["Batch"], radius=2)
    assert list(found.shapes) == ["Table_1"]
    assert list(found["Table_1"].index) == ["CELL8-1", "CELL10-1"]
    assert list(found["Table_1"]["radius"]) == [2, 2]
    assert list(found["table"].obs.columns) == ["Batch", "region", "cell_id"]
    with pytest.raises(UnknownEmbedding, match="none of the 1 selected cell has a position"):
        slides.to_spatialdata(cells=["CELL3-1"])


def test_a_field_keeps_its_name_where_spatialdata_needs_one(server: Sandbox, spatialdata: Any) -> None:
    adata = slides_object()[8:].copy()
    adata.obs["Region"], adata.obs["cell_type"] = "mine", "also mine"
    study = adata.biocolab.submit(study_id="sdata_names", skip_dimred=True).study()
    with pytest.warns(UserWarning, match="cannot tell some fields apart, so they got numbers: 'cell_type_1'"):
        found = study.to_spatialdata()
    assert set(found["table"].obs["Region"]) == {"mine"}
    assert found["table"].uns["spatialdata_attrs"]["region_key"] == "region_1"
    assert set(found["table"].obs["region_1"]) == {"Table_1"}
    assert {"cell_type", "cell_type_1"} <= set(found["table"].obs.columns)


def test_a_study_without_centers_is_refused_before_its_matrix_is_requested(server: Sandbox, spatialdata: Any) -> None:
    server.requests.clear()
    with pytest.raises(UnknownEmbedding, match="BioFlex, which stores no cell centers"):
        bc.study("PBMC68k_reduced").to_spatialdata()
    assert not [record for record in server.requests if "matrix" in record.route]


def test_without_spatialdata_the_error_names_the_extra(slides: Study, server: Sandbox, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    server.requests.clear()
    with pytest.raises(ConfigurationError, match=r"pip install 'biocolab_accessor\[spatial\]'"):
        slides.to_spatialdata()
    assert len(server.requests) == 0


@pytest.mark.parametrize("radius", [0, -1, float("nan"), float("inf"), True, "2", [1]])
def test_a_radius_that_is_not_a_positive_number_is_refused(slides: Study, radius: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"radius is .*give a positive number"):
        slides.to_spatialdata(radius=radius)


def test_a_circle_reaches_half_way_to_the_nearest_cell() -> None:
    grid = np.array([[x, y] for x in range(4) for y in range(4)], float) * 6
    assert radius_of(grid) == 3
    assert radius_of(np.vstack([grid, grid])) == 3  # cells in the same place
    assert radius_of(grid[:1]) == radius_of(np.vstack([grid[:1]] * 3)) == 1
