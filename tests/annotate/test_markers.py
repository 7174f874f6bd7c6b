from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from biocolab_accessor.annotate.markers import Markers, markers_of, rank_genes, translate
from biocolab_accessor.errors import InvalidArgument, UnknownField
from biocolab_accessor.io.matrix_blocks import Slot
from tests.conftest import assert_equal_objects


@pytest.fixture
def groups(counts: ad.AnnData) -> pd.Categorical:
    return pd.Categorical(counts.obs["sample"])


def scanpy_scores(adata: ad.AnnData) -> np.ndarray:
    """Scores of scanpy's t-test on log-normalized values: (n_clusters, n_genes)."""
    own = adata.copy()
    own.obs["sample"] = own.obs["sample"].astype("category")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = own.X.toarray()  # of a dense array scanpy compiles the least
        own.X = np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4)
        sc.tl.rank_genes_groups(own, "sample", method="t-test")
    frames = [sc.get.rank_genes_groups_df(own, name).set_index("names") for name in own.obs["sample"].cat.categories]
    return np.array([frame["scores"].reindex(own.var_names) for frame in frames])


class TestRanking:
    @pytest.mark.parametrize("kind", ["csr", "dense", "backed", "view"])
    def test_is_that_of_scanpy(
        self, counts: ad.AnnData, groups: pd.Categorical, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = scanpy_scores(counts)
        monkeypatch.setattr("biocolab_accessor.io.matrix_blocks._BLOCK_BYTES", 2_000)  # so that there are many blocks
        adata = counts
        if kind == "dense":
            adata.X = counts.X.toarray()
        elif kind == "view":
            adata = ad.concat([counts, counts], index_unique="-")[:60]
        elif kind == "backed":
            counts.write_h5ad(tmp_path / "x.h5ad")
            adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        found = rank_genes(adata, Slot("X"), groups, counts=True)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        if kind == "backed":
            adata.file.close()

    def test_leaves_out_cells_without_a_cluster(self, counts: ad.AnnData, groups: pd.Categorical) -> None:
        extra = ad.concat([counts, counts[:10]], index_unique="-")
        labels = pd.Categorical([*groups, *[None] * 10], categories=groups.categories)
        np.testing.assert_allclose(
            rank_genes(extra, Slot("X"), labels, counts=True), rank_genes(counts, Slot("X"), groups, counts=True)
        )

    def test_of_single_cells_and_genes_without_spread_is_defined(self) -> None:
        adata = ad.AnnData(np.array([[3, 0.1, 0], [0, 0.1, 5], [0, 0.1, 4]], np.float32))
        scores = rank_genes(adata, Slot("X"), pd.Categorical(["a", "b", "b"]), counts=False)
        np.testing.assert_array_equal(scores[:, :2], [[np.inf, 0], [-np.inf, 0]])
        np.testing.assert_allclose(scores[:, 2], [-9, 9])


class TestWhereTheyComeFrom:
    def test_found_ones_stay_out_of_the_object(self, counts: ad.AnnData, groups: pd.Categorical) -> None:
        before = counts.copy()
        found = markers_of(counts, groups, "sample", None, 5)
        assert_equal_objects(counts, before)
        scores = scanpy_scores(counts)
        assert found.genes["s1"] == list(counts.var_names[np.argsort(-scores[1])[:5]])
        assert "Welch" in found.origin

    def test_of_scaled_values_the_lognormalised_raw_is_taken(self) -> None:
        adata = sc.datasets.pbmc68k_reduced()
        del adata.uns["rank_genes_groups"]
        found = markers_of(adata, adata.obs["louvain"].array, "louvain", None, 5)
        assert found.origin.endswith("raw.X")
        assert found.of_raw
        assert "CD79A" in found.genes["4"]

    def test_a_result_in_uns_is_taken_where_it_is_about_these_clusters(self) -> None:
        adata = sc.datasets.pbmc68k_reduced()
        sc.tl.rank_genes_groups(adata, "louvain", method="t-test")
        found = markers_of(adata, adata.obs["louvain"].array, "louvain", None, 4)
        assert found.origin == "uns['rank_genes_groups']"
        assert found.genes["4"] == list(adata.uns["rank_genes_groups"]["names"]["4"][:4])
        merged = pd.Categorical(adata.obs["louvain"].astype(str).replace({"10": "9"}))
        assert "Welch" in markers_of(adata, merged, "louvain", None, 4).origin

    @pytest.mark.parametrize("use_raw", [True, False])
    def test_a_result_in_uns_about_other_clusters_of_the_same_names_is_not_taken(self, use_raw: bool) -> None:
        adata = sc.datasets.pbmc68k_reduced()
        b_cells, dendritic = (
            pd.Categorical(np.where(adata.obs["bulk_labels"] == name, "0", "1")) for name in ("CD19+ B", "Dendritic")
        )
        adata.obs["cluster"] = b_cells
        sc.tl.rank_genes_groups(adata, "cluster", method="wilcoxon", use_raw=use_raw)
        assert "CD79A" in markers_of(adata, b_cells, "cluster", None, 25).genes["0"]
        assert markers_of(adata, b_cells, "cluster", None, 25).origin == "uns['rank_genes_groups']"
        adata.obs["cluster"] = dendritic
        found = markers_of(adata, dendritic, "cluster", None, 25)
        assert "Welch" in found.origin
        assert "CD79A" not in found.genes["0"]

    def test_a_result_in_uns_whose_genes_are_no_longer_there_is_taken(self) -> None:
        adata = sc.datasets.pbmc68k_reduced()
        sc.tl.rank_genes_groups(adata, "louvain", method="t-test")
        del adata.raw
        few = adata[:, :0].copy()
        assert markers_of(few, few.obs["louvain"].array, "louvain", None, 4).origin == "uns['rank_genes_groups']"

    def test_genes_that_are_lower_in_the_cluster_are_not_markers(self) -> None:
        adata = ad.AnnData(
            np.array([[3, 0], [4, 0], [3, 0], [0, 3], [0, 4], [0, 5]], np.float32),
            obs=pd.DataFrame({"g": pd.Categorical(list("aaabbb"))}, index=list("123456")),
        )
        adata.var_names = ["up", "down"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.tl.rank_genes_groups(adata, "g", method="t-test", key_added="mine")
        assert markers_of(adata, adata.obs["g"].array, "g", "mine", 9).genes == {"a": ["up"], "b": ["down"]}
        assert markers_of(adata, adata.obs["g"].array, "g", None, 9).genes == {"a": ["up"], "b": ["down"]}

    def test_given_ones_keep_their_order_once_each(self, counts: ad.AnnData) -> None:
        found = markers_of(counts, None, "leiden", {"0": ["B", "A", "B", "C", "D"], 1: "E"}, 3)
        assert found.genes == {"0": ["B", "A", "C"], "1": ["E"]}

    @pytest.mark.parametrize("missing", [None, np.nan, ""])
    def test_genes_without_a_symbol_keep_their_names(self, missing: object) -> None:
        adata = ad.AnnData(np.eye(3, dtype=np.float32), var=pd.DataFrame(index=["ENSG1", "ENSG2", "ENSG3"]))
        adata.var["symbol"] = np.array(["LYZ", missing, missing], object)
        found = translate(adata, Markers({"0": ["ENSG1", "ENSG2", "ENSG3"]}, "given"), "symbol")
        assert found.genes == {"0": ["LYZ", "ENSG2", "ENSG3"]}

    def test_names_are_translated(self, counts: ad.AnnData) -> None:
        found = markers_of(counts, None, "", {"0": ["GENE1", "GENE3", "nowhere"]}, 5)
        assert translate(counts, found, "id").genes == {"0": ["ENSG00000000001", "ENSG00000000003", "nowhere"]}
        with pytest.raises(UnknownField, match="var has no column 'ids' \\(did you mean 'id'"):
            translate(counts, found, "ids")


class TestRefusals:
    def test_say_what_to_give(self, counts: ad.AnnData, groups: pd.Categorical) -> None:
        with pytest.raises(UnknownField, match=r"obs has no column 'sampl' \(did you mean 'sample'\?\) for groupby"):
            markers_of(counts, None, "sampl", None, 5)
        counts.obs["Leiden clustering"] = "0"
        with pytest.raises(UnknownField, match=r"no column 'leiden' \(did you mean 'Leiden clustering'\?\)"):
            markers_of(counts, None, "leiden", None, 5)
        with pytest.raises(UnknownField, match="a cluster 's9' that obs\\['sample'\\] lacks"):
            markers_of(counts, groups, "sample", {"s9": ["A"]}, 5)
        with pytest.raises(UnknownField, match="uns has no 'ranked'"):
            markers_of(counts, groups, "sample", "ranked", 5)
        counts.uns["ranked"] = {"names": 3}
        with pytest.raises(InvalidArgument, match="is not a result of scanpy"):
            markers_of(counts, groups, "sample", "ranked", 5)
        with pytest.raises(InvalidArgument, match="markers is empty"):
            markers_of(counts, groups, "sample", {}, 5)
        with pytest.raises(InvalidArgument, match=r"markers\['s1'\] contains 1, which is not a string"):
            markers_of(counts, groups, "sample", {"s1": [1]}, 5)
        with pytest.raises(InvalidArgument, match="give a dict"):
            markers_of(counts, groups, "sample", ["A"], 5)
        with pytest.raises(InvalidArgument, match="there are 1 clusters"):
            markers_of(counts, pd.Categorical(["x"] * 60), "sample", None, 5)


def test_sparse_and_dense_agree_on_clusters_of_real_cells() -> None:
    adata = sc.datasets.pbmc68k_reduced()
    sparse_one = ad.AnnData(sparse.csr_matrix(adata.raw.X))
    dense_one = ad.AnnData(sparse_one.X.toarray())
    labels = adata.obs["louvain"].array
    np.testing.assert_allclose(
        rank_genes(sparse_one, Slot("X"), labels, counts=False), rank_genes(dense_one, Slot("X"), labels, counts=False)
    )
