from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import UnknownEmbedding, UnknownField
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study


@pytest.fixture
def study(counts: ad.AnnData, server: Sandbox) -> Study:
    counts.obsm["X_umap"] = np.arange(120, dtype=np.float32).reshape(60, 2)
    counts.obsm["X_line"] = np.ones((60, 1), np.float32)
    return counts.biocolab.submit(skip_dimred=True).study()


def test_cells_are_at_the_coordinates_of_the_servers_embedding(study: Study) -> None:
    axes = study.plot().axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), np.arange(120).reshape(60, 2))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("UMAP1", "UMAP2")


@pytest.mark.parametrize("basis", ["own", "X_own", "OWN"])
def test_the_embedding_is_chosen_by_any_of_its_names(study: Study, counts: ad.AnnData, basis: str) -> None:
    drawn = study.plot(basis=basis).axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(drawn, counts.obsm["X_own"])


def test_fields_and_genes_give_the_colors(study: Study) -> None:
    legend = study.plot("sample").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["s0", "s1", "s2"]
    figure = study.plot("GENE3")
    expected = np.sort(study.query_genes("GENE3").toarray()[:, 0])
    np.testing.assert_array_equal(figure.axes[0].collections[-1].get_array(), expected)
    assert "expression (lognorm)" in {ax.get_ylabel() for ax in figure.axes[0].child_axes}


def test_a_field_that_was_added_since_gives_the_colors(study: Study, counts: ad.AnnData) -> None:
    assert "added" not in study.fields
    counts.obs["added"] = counts.obs["sample"].to_numpy()
    counts.biocolab.push_metadata("added", study=bc.study(study.provenance()["study_uuid"], source="bbrowserx"))
    assert [text.get_text() for text in study.plot("added").axes[0].get_legend().get_texts()] == ["s0", "s1", "s2"]


def test_unknown_fields_and_embeddings_are_named(study: Study, server: Sandbox) -> None:
    with pytest.raises(UnknownField, match=r"no field or gene 'smaple' \(did you mean 'sample'"):
        study.plot("smaple")
    with pytest.raises(UnknownEmbedding, match=r"no embedding 'umapp' \(did you mean"):
        study.plot(basis="umapp")
    with pytest.raises(UnknownEmbedding, match="no embedding 'line'"):
        study.plot(basis="line")
    with pytest.raises(UnknownEmbedding, match="BioFlex stores none") as caught:
        bc.study("PBMC68k_reduced").plot()
    assert str(caught.value).endswith("\nsc.pl.umap(adata)")


@pytest.mark.notebooks
@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
def test_the_suggested_code_for_a_study_without_embeddings_runs(
    source: str, counts: ad.AnnData, server: Sandbox
) -> None:
    if source == "bioflex":
        study, color = bc.study("PBMC68k_reduced"), "LYZ"
    else:
        del counts.obsm["X_own"]
        study, color = counts.biocolab.submit(skip_dimred=True).study(), "sample"
    why = "BioFlex stores none" if source == "bioflex" else "skip_dimred=True computes none"
    with pytest.raises(UnknownEmbedding, match=f"{why}. Compute one:\n") as caught:
        study.plot(color)
    names: dict[str, Any] = {}
    # All but the drawing itself, which opens a window where there is one.
    code = str(caught.value).partition("Compute one:\n")[2].replace(f"color={color!r}", f"color={color!r}, show=False")
    exec(code, names)
    adata = names["adata"]
    assert adata.uns["biocolab"]["unit"] == "lognorm"
    assert adata.uns["biocolab"]["study_id"] == study.id
    assert adata.obsm["X_umap"].shape == (study.n_obs, 2)
