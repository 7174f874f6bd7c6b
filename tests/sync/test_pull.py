from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidNames, UnknownField, UnknownName
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.submission import Submission

pytestmark = pytest.mark.smoke


def labels(column: pd.Series) -> list[object]:
    return list(column.astype(object))


class TestMetadata:
    def test_reordered_cells_get_their_own_values(self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study) -> None:
        order = np.random.default_rng(0).permutation(700)
        mixed = pbmc[order].copy()
        report = mixed.biocolab.pull_metadata(["bulk_labels", "n_genes", "percent_mito"], study=study)
        assert (report.matched, report.only_here, report.only_there) == (700, 0, 0)
        assert report.written == ("obs['bulk_labels']", "obs['n_genes']", "obs['percent_mito']")
        assert labels(mixed.obs["bulk_labels"]) == labels(truth.obs["bulk_labels"].iloc[order])
        np.testing.assert_array_equal(mixed.obs["n_genes"], truth.obs["n_genes"].iloc[order])
        np.testing.assert_array_equal(mixed.obs["percent_mito"], truth.obs["percent_mito"].iloc[order])

    def test_cells_that_the_study_lacks_have_no_value(self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study) -> None:
        part = pbmc[50:150].copy()
        part.obs_names = [*part.obs_names[:90], *(f"STRANGER{i}" for i in range(10))]
        report = part.biocolab.pull_metadata(["bulk_labels", "n_genes"], study=study)
        assert (report.matched, report.only_here, report.only_there) == (90, 10, 610)
        assert report.examples_here == ("STRANGER0", "STRANGER1", "STRANGER2")
        assert report.examples_there == tuple(truth.obs_names[:3])
        assert report.notes == ("'n_genes' is float64, because 10 cells have no value",)
        assert labels(part.obs["bulk_labels"])[:90] == labels(truth.obs["bulk_labels"].iloc[50:140])
        np.testing.assert_array_equal(part.obs["n_genes"].iloc[:90], truth.obs["n_genes"].iloc[50:140])
        assert part.obs.iloc[90:].isna().all(axis=None)
        assert isinstance(part.obs["bulk_labels"].dtype, pd.CategoricalDtype)

    def test_nothing_else_of_the_object_changes(self, truth: ad.AnnData, study: Study) -> None:
        truth.obs = truth.obs.drop(columns="louvain")
        truth.obs.index.name = "cell"
        before = truth.copy()
        truth.biocolab.pull_metadata("louvain", study=study)
        assert list(truth.obs.columns) == [*before.obs.columns, "louvain"]
        pd.testing.assert_frame_equal(truth.obs.drop(columns="louvain"), before.obs)
        assert truth.obs.index.name == "cell"
        assert list(truth.obsm) == list(before.obsm)
        assert truth.uns.keys() == before.uns.keys()

    def test_without_names_what_is_there_stays(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs["phase"] = "mine"
        report = pbmc.biocolab.pull_metadata(study=study)
        assert set(pbmc.obs["phase"]) == {"mine"}
        assert "obs['phase']" not in report.written
        assert report.notes[0] == "already in obs and not replaced: 'phase'"
        assert set(study.fields) <= set(pbmc.obs.columns)
        assert pbmc.biocolab.pull_metadata(study=study).written == ()

    def test_a_column_that_is_there_is_refused_then_prefixed_or_replaced(
        self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study
    ) -> None:
        pbmc.obs["phase"], pbmc.obs["last"] = "mine", 1
        with pytest.raises(InvalidArgument, match=r"obs has columns 'phase' already: give overwrite=True or prefix="):
            pbmc.biocolab.pull_metadata(["phase", "louvain"], study=study)
        assert list(pbmc.obs.columns) == ["phase", "last"]
        pbmc.biocolab.pull_metadata("phase", study=study, prefix="bbx_")
        assert labels(pbmc.obs["bbx_phase"]) == labels(truth.obs["phase"])
        assert set(pbmc.obs["phase"]) == {"mine"}
        pbmc.biocolab.pull_metadata("phase", study=study, overwrite=True)
        assert list(pbmc.obs.columns) == ["phase", "last", "bbx_phase"]
        assert list(pbmc.obs["phase"]) == labels(truth.obs["phase"])

    def test_a_replaced_column_keeps_its_dtype_where_that_is_exact(self, truth: ad.AnnData, study: Study) -> None:
        truth.obs["phase"] = truth.obs["phase"].astype(str)
        truth.obs["n_genes"] = truth.obs["n_genes"].astype("int16")
        before = truth.obs.copy()
        truth.obs["percent_mito"] = 0
        fields = ["phase", "n_genes", "louvain", "S_score", "percent_mito"]
        report = truth.biocolab.pull_metadata(fields, study=study, overwrite=True)
        pd.testing.assert_frame_equal(
            truth.obs[["phase", "n_genes", "louvain", "S_score"]], before[["phase", "n_genes", "louvain", "S_score"]]
        )
        assert len(report.notes) == 1
        assert report.notes[0].startswith("'percent_mito' is float64, not int64 as before: ")

    def test_dtypes_that_are_asked_for_are_exact_or_refused(
        self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study
    ) -> None:
        dtypes = {"n_genes": "float32", "phase": "string", "louvain": truth.obs["louvain"].dtype, "other": "int8"}
        pbmc.biocolab.pull_metadata(["n_genes", "phase", "louvain"], study=study, dtypes=dtypes)
        assert [str(dtype) for dtype in pbmc.obs.dtypes] == ["float32", "string", "category"]
        pd.testing.assert_series_equal(pbmc.obs["louvain"], truth.obs["louvain"])
        before = pbmc.obs.copy()
        with pytest.raises(InvalidColumn, match=r"field 'S_score' cannot be int8: .*would change"):
            pbmc.biocolab.pull_metadata(["bulk_labels", "S_score"], study=study, dtypes=pd.Series({"S_score": "int8"}))
        pd.testing.assert_frame_equal(pbmc.obs, before)

    def test_a_dtype_for_a_misspelled_field_is_refused(self, pbmc: ad.AnnData, study: Study) -> None:
        with pytest.raises(UnknownField, match=r"dtypes has 'phas', .* \(did you mean 'phase'\?\)"):
            pbmc.biocolab.pull_metadata(["phase"], study=study, dtypes={"phas": "string"})
        assert list(pbmc.obs.columns) == []

    def test_unknown_fields_have_near_names(self, pbmc: ad.AnnData, study: Study) -> None:
        with pytest.raises(UnknownField, match=r"'bulk_label' \(did you mean 'bulk_labels'"):
            pbmc.biocolab.pull_metadata("bulk_label", study=study)

    def test_fields_that_came_since_are_found(self, pbmc: ad.AnnData, study: Study, submission: Submission) -> None:
        assert "since" not in study.fields
        pd.DataFrame({"since": "x"}, index=pbmc.obs_names).biocolab.submit_metadata(submission)
        pbmc.biocolab.pull_metadata("since", study=study)
        assert set(pbmc.obs["since"]) == {"x"}


class TestBarcodes:
    def test_no_match_is_an_error_and_changes_nothing(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs_names = [f"donor1_{name}" for name in pbmc.obs_names]
        with pytest.raises(UnknownName, match=r"Names seem to differ by the text before the barcode: is 'donor1_A"):
            pbmc.biocolab.pull_metadata("phase", study=study)
        assert list(pbmc.obs.columns) == []

    def test_a_column_may_hold_the_studys_names(self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study) -> None:
        pbmc.obs["barcode"] = pd.Categorical(pbmc.obs_names)
        pbmc.obs_names = [f"donor1_{name}" for name in pbmc.obs_names]
        pbmc.biocolab.pull_metadata("phase", study=study, on="barcode")
        assert labels(pbmc.obs["phase"]) == labels(truth.obs["phase"])
        assert pbmc.obs_names[0].startswith("donor1_")
        with pytest.raises(InvalidColumn, match=r"no column 'barcodes' \(did you mean 'barcode'"):
            pbmc.biocolab.pull_metadata("louvain", study=study, on="barcodes")

    def test_cells_without_a_name_get_one_as_the_message_says(
        self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study
    ) -> None:
        pbmc.obs["barcode"] = pbmc.obs_names.to_series().where(np.arange(700) < 600)
        pbmc.obs_names = [f"own{i}" for i in range(700)]
        with pytest.raises(InvalidColumn, match="has no barcode for 100 cells") as caught:
            pbmc.biocolab.pull_metadata("phase", study=study, on="barcode")
        exec(str(caught.value).partition("other names: ")[2], {"adata": pbmc})
        assert pbmc.biocolab.pull_metadata("phase", study=study, on="barcode").only_here == 100
        assert pbmc.obs["phase"].tolist()[:600] == truth.obs["phase"].tolist()[:600]

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_only_the_names_that_are_joined_by_must_differ(
        self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study
    ) -> None:
        pbmc.obs["barcode"] = pbmc.obs_names[::-1]
        pbmc.obs_names = ["cell"] * 700
        pbmc.biocolab.pull_metadata(["phase", "n_genes"], study=study, on="barcode")
        assert labels(pbmc.obs["phase"]) == labels(truth.obs["phase"].iloc[::-1])
        pbmc.biocolab.pull_embeddings("X_umap", study=study, on="barcode")
        np.testing.assert_array_equal(pbmc.obsm["X_umap"], truth.obsm["X_umap"][::-1].astype(np.float32))
        pbmc.obs["by_column"] = np.arange(700)
        pbmc.biocolab.push_metadata("by_column", study=study, on="barcode")
        sent = bc.study("exchange", source="bbrowserx").metadata("by_column")["by_column"]
        np.testing.assert_array_equal(sent[truth.obs_names], np.arange(700)[::-1])

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_repeated_barcodes_are_refused(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs_names = [*pbmc.obs_names[:-1], pbmc.obs_names[0]]
        with pytest.raises(InvalidNames, match="occur more than once here"):
            pbmc.biocolab.pull_metadata("phase", study=study)


class TestWhichStudy:
    def test_an_object_knows_its_own(self, study: Study, truth: ad.AnnData) -> None:
        adata = study.to_anndata(fields=[], obsm=False)
        adata.biocolab.pull_metadata("phase")
        assert labels(adata.obs["phase"]) == labels(truth.obs["phase"])
        adata.biocolab.pull_embeddings("X_umap")
        np.testing.assert_array_equal(adata.obsm["X_umap"], truth.obsm["X_umap"].astype(np.float32))

    def test_bioflex_has_metadata_but_no_embeddings(self, pbmc: ad.AnnData, truth: ad.AnnData, server: Sandbox) -> None:
        pbmc.biocolab.pull_metadata(["bulk_labels", "n_genes"], study="PBMC68k_reduced", source="bioflex")
        assert labels(pbmc.obs["bulk_labels"]) == labels(truth.obs["bulk_labels"])
        assert pbmc.obs["n_genes"].dtype == np.float32
        np.testing.assert_array_equal(pbmc.obs["n_genes"], truth.obs["n_genes"])
        with pytest.raises(UnknownName, match="no embeddings: BioFlex stores none"):
            pbmc.biocolab.pull_embeddings(study=bc.study("PBMC68k_reduced"))


class TestEmbeddings:
    def test_cells_that_the_study_lacks_are_nan(self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study) -> None:
        mixed = pbmc[::-7].copy()
        mixed.obs_names = ["STRANGER", *mixed.obs_names[1:]]
        report = mixed.biocolab.pull_embeddings(study=study)
        assert report.written == ("obsm['X_pca']", "obsm['X_umap']")
        assert report.notes == ("1 cells that the study lacks are NaN",)
        for key in ("X_pca", "X_umap"):
            expected = truth[::-7].obsm[key].astype(np.float32)
            assert mixed.obsm[key].dtype == np.float32
            np.testing.assert_array_equal(mixed.obsm[key][1:], expected[1:])
            assert np.isnan(mixed.obsm[key][0]).all()

    def test_only_what_is_asked_for_is_fetched(self, pbmc: ad.AnnData, study: Study, server: Sandbox) -> None:
        seen = len(server.requests)
        assert pbmc.biocolab.pull_embeddings(["X_umap", "X_umap"], study=study).written == ("obsm['X_umap']",)
        paths = [request.path.rpartition("/")[2] for request in list(server.requests)[seen:]]
        assert paths.count("retrieve_custom_embedding") == 1
        assert list(pbmc.obsm) == ["X_umap"]

    def test_what_is_there_is_kept_unless_replaced(self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study) -> None:
        mine = np.zeros((700, 2), np.float32)
        pbmc.obsm["X_umap"] = mine
        report = pbmc.biocolab.pull_embeddings(study=study)
        assert (report.written, report.notes) == (
            ("obsm['X_pca']",),
            ("already in obsm and not replaced: 'X_umap'",),
        )
        np.testing.assert_array_equal(pbmc.obsm["X_umap"], mine)
        with pytest.raises(InvalidArgument, match="obsm has keys 'X_umap' already"):
            pbmc.biocolab.pull_embeddings("X_umap", study=study)
        pbmc.biocolab.pull_embeddings("X_umap", study=study, overwrite=True)
        np.testing.assert_array_equal(pbmc.obsm["X_umap"], truth.obsm["X_umap"].astype(np.float32))

    def test_unknown_ones_have_near_names(self, pbmc: ad.AnnData, study: Study) -> None:
        with pytest.raises(UnknownName, match=r"no embedding 'X_umpa' \(did you mean 'X_umap'"):
            pbmc.biocolab.pull_embeddings("X_umpa", study=study)

    def test_a_study_without_any_says_so(self, counts: ad.AnnData, server: Sandbox) -> None:
        del counts.obsm["X_own"]
        study = counts.biocolab.submit(skip_dimred=True).study()
        with pytest.raises(UnknownName, match="no embeddings: none were submitted"):
            counts.biocolab.pull_embeddings(study=study)


class TestKindsOfObjects:
    def test_a_view_becomes_an_object_of_its_own(self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study) -> None:
        view = pbmc[10:20]
        view.biocolab.pull_metadata("phase", study=study)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
            other = pbmc[10:20]
            other.biocolab.pull_embeddings("X_umap", study=study)
        assert labels(view.obs["phase"]) == labels(truth.obs["phase"].iloc[10:20])
        np.testing.assert_array_equal(other.obsm["X_umap"], truth.obsm["X_umap"][10:20].astype(np.float32))
        assert (view.is_view, other.is_view) == (False, False)
        assert (list(pbmc.obs.columns), list(pbmc.obsm)) == ([], [])

    def test_a_backed_object_stays_backed(
        self, pbmc: ad.AnnData, truth: ad.AnnData, study: Study, tmp_path: Path
    ) -> None:
        pbmc.write_h5ad(tmp_path / "x.h5ad")
        backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        backed.biocolab.pull_metadata("phase", study=study)
        backed.biocolab.pull_embeddings("X_umap", study=study)
        assert backed.isbacked
        assert labels(backed.obs["phase"]) == labels(truth.obs["phase"])
        np.testing.assert_array_equal(backed.obsm["X_umap"], truth.obsm["X_umap"].astype(np.float32))
        for pull in (backed[:5].biocolab.pull_metadata, backed[:5].biocolab.pull_embeddings):
            with pytest.raises(InvalidArgument, match="to_memory"):
                pull(study=study)
        backed.file.close()

    def test_columns_of_one_name_are_kept(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs = pd.DataFrame([["a", "b"]] * 700, columns=["x", "x"], index=pbmc.obs_names)
        pbmc.biocolab.pull_metadata("n_genes", study=study)
        assert list(pbmc.obs.columns) == ["x", "x", "n_genes"]
        assert list(pbmc.obs.iloc[0, :2]) == ["a", "b"]

    def test_what_was_pulled_survives_a_file(self, pbmc: ad.AnnData, study: Study, tmp_path: Path) -> None:
        pbmc.obs_names = ["STRANGER", *pbmc.obs_names[1:]]
        pbmc.biocolab.pull_metadata(["phase", "n_genes"], study=study)
        pbmc.biocolab.pull_embeddings("X_umap", study=study)
        pbmc.write_h5ad(tmp_path / "x.h5ad")
        again = ad.read_h5ad(tmp_path / "x.h5ad")
        pd.testing.assert_frame_equal(again.obs, pbmc.obs, check_index_type=False)
        np.testing.assert_array_equal(again.obsm["X_umap"], pbmc.obsm["X_umap"])

    def test_no_token_is_kept(self, pbmc: ad.AnnData, study: Study, server: Sandbox) -> None:
        report = pbmc.biocolab.pull_metadata("phase", study=study)
        assert server.token.encode() not in pickle.dumps((pbmc, report))
