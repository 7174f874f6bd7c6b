from __future__ import annotations

import pickle
import warnings
from enum import Enum
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import (
    AmbiguousName,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    UnknownEmbedding,
    UnknownField,
    UnknownGene,
)
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.sources.bbrowserx import ConnectorSource
from biocolab_accessor.studies.sources.bioflex import BioFlexSource
from biocolab_accessor.studies.study import Study
from tests.builders import layer_names


@pytest.fixture(params=["bioflex", "bbrowserx"])
def study(request: pytest.FixtureRequest, server: Sandbox, counts: ad.AnnData) -> Study:
    """The same study through both protocols, sent once."""
    if "both_ways" not in set(bc.studies("all_members")["study_id"]):
        counts.biocolab.submit("All members", study_id="both_ways", skip_dimred=True)
    return bc.study("both_ways", source=request.param, group=None if request.param == "bioflex" else "all_members")


class TestPickle:
    def test_finds_the_study_again_and_holds_no_token(self, study: Study, server: Sandbox) -> None:
        content = pickle.dumps(study)
        assert server.token.encode() not in content
        again = pickle.loads(content)
        assert (again.id, again.source, again.barcodes()) == (study.id, study.source, study.barcodes())

    def test_is_of_its_own_server_and_no_other(self, study: Study, tmp_path: Path) -> None:
        content = pickle.dumps(study)
        with bc.sandbox(tmp_path / "other"), pytest.raises(ConfigurationError, match="the current connection is to"):
            pickle.loads(content)


class TestToAnnData:
    def test_a_whole_study_has_counts_and_all_metadata(self, study: Study, counts: ad.AnnData) -> None:
        adata = study.to_anndata()
        assert isinstance(adata.X, sparse.csr_matrix)
        assert adata.X.has_canonical_format
        assert (adata.X.dtype, adata.X.indices.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(adata.X.toarray(), counts.X.toarray())
        assert list(adata.obs_names) == list(counts.obs_names)
        assert list(adata.var_names) == list(adata.var["feature"]) == list(counts.var_names)
        assert list(adata.obs.columns[:2]) == ["Number of mRNA transcripts", "Number of genes"]
        assert set(counts.obs.columns) <= set(adata.obs.columns)
        assert set(adata.obsm) == (set() if study.source == "bioflex" else {"X_own"})

    @pytest.mark.parametrize("format", ["csr", "csc", "dense"])
    def test_raw_values_that_are_not_counts_give_a_warning(
        self, server: Sandbox, counts: ad.AnnData, format: str
    ) -> None:
        counts.X = counts.X.log1p()
        counts.raw, counts.layers = None, {}
        study = counts.biocolab.submit("All members", skip_dimred=True).study()
        with pytest.warns(UserWarning, match="raw values are not integers, so the study has no counts"):
            back = study.to_anndata(format=format)
        np.testing.assert_allclose(np.sum(back.X), counts.X.sum(), rtol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            study.to_anndata(unit="lognorm", format=format)

    def test_raw_values_on_disk_give_a_warning_at_the_users_line(
        self, server: Sandbox, counts: ad.AnnData, tmp_path: Path
    ) -> None:
        counts.X = counts.X.log1p()
        server.add_study("no_counts", counts)
        study = bc.study("no_counts")
        for call in (
            lambda: study.to_h5ad(tmp_path / "x.h5ad"),
            lambda: study.to_anndata(backed=tmp_path / "y.h5ad"),
            lambda: study.lazy(tmp_path / "z.h5ad"),
            lambda: study.lazy(),
            lambda: study.lazy(),
        ):
            with pytest.warns(UserWarning, match="study no_counts: raw values are not integers") as caught:
                call()
            assert [Path(warning.filename).name for warning in caught] == ["test_study.py"]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            study.to_h5ad(tmp_path / "x.h5ad", unit="lognorm")

    @pytest.mark.parametrize(
        ("format", "kind"), [("csr", sparse.csr_matrix), ("csc", sparse.csc_matrix), ("dense", np.ndarray)]
    )
    def test_the_layout_is_the_one_asked_for(self, study: Study, counts: ad.AnnData, format: str, kind: type) -> None:
        adata = study.to_anndata(format=format, layers=["lognorm"], fields=[])
        assert isinstance(adata.X, kind)
        assert isinstance(adata.layers["lognorm"], kind)
        dense = adata.X if kind is np.ndarray else adata.X.toarray()
        np.testing.assert_array_equal(dense, counts.X.toarray())

    def test_units_are_in_the_requested_layers(self, study: Study, counts: ad.AnnData) -> None:
        adata = study.to_anndata(unit="lognorm", layers=["counts", "lognorm"])
        np.testing.assert_array_equal(adata.layers["counts"].toarray(), counts.X.toarray())
        np.testing.assert_array_equal(adata.layers["lognorm"].toarray(), adata.X.toarray())
        adata.X.data *= 2
        assert adata.X.max() == 2 * adata.layers["lognorm"].max()

    def test_two_layers_of_one_unit_do_not_share_their_values(self, study: Study, counts: ad.AnnData) -> None:
        adata = study.to_anndata(unit="lognorm", layers=["raw", "counts"])
        adata.layers["raw"].data[:] = 0
        np.testing.assert_array_equal(adata.layers["counts"].toarray(), counts.X.toarray())

    def test_genes_and_fields_are_a_selection_in_their_order(self, study: Study, counts: ad.AnnData) -> None:
        adata = study.to_anndata(genes=["GENE7", "MT-ND1", "GENE2", "GENE7"], fields=["label", "sample"])
        assert list(adata.var_names) == ["GENE7", "MT-ND1", "GENE2"]
        assert list(adata.obs.columns) == ["label", "sample"]
        np.testing.assert_array_equal(adata.X.toarray(), counts[:, ["GENE7", "MT-ND1", "GENE2"]].X.toarray())
        assert list(adata.uns["biocolab"]["genes"]) == ["GENE7", "MT-ND1", "GENE2"]
        one = study.to_anndata(genes="GENE7", fields="label", obsm=False)
        assert one.shape == (60, 1)
        assert not one.obsm

    def test_labels_are_categorical(self, study: Study, counts: ad.AnnData) -> None:
        obs = study.to_anndata(genes=["GENE1"]).obs
        assert obs["label"].dtype.name == obs["sample"].dtype.name == "category"
        assert list(obs["label"]) == list(counts.obs["label"])

    def test_scanpy_works_on_it_and_writes_it(self, study: Study, tmp_path: object) -> None:
        import scanpy as sc

        adata = study.to_anndata()
        sc.pp.filter_cells(adata, min_counts=1)
        sc.pp.log1p(adata)
        sc.pp.pca(adata, n_comps=2)
        adata.write_h5ad(tmp_path / "x.h5ad")
        assert ad.read_h5ad(tmp_path / "x.h5ad").uns["biocolab"]["study_id"] == "both_ways"

    def test_unknown_names_are_refused_with_similar_ones(self, study: Study) -> None:
        with pytest.raises(UnknownGene, match=r"no gene 'gene7' \(did you mean 'GENE7'\?\)"):
            study.to_anndata(genes=["GENE1", "gene7"])
        with pytest.raises(UnknownField, match=r"no metadata field 'labell' \(did you mean 'label'\?\)"):
            study.to_anndata(fields=["labell"])

    @pytest.mark.parametrize("obsm", [1, None, 0.5, [b"X_own"]])
    def test_obsm_is_a_bool_or_names(self, study: Study, obsm: object, tmp_path: Path) -> None:
        for call in (
            lambda: study.to_anndata(obsm=obsm),
            lambda: study.to_anndata(obsm=obsm, dry_run=True),
            lambda: study.to_h5ad(tmp_path / "x.h5ad", obsm=obsm),
            lambda: study.lazy(tmp_path / "x.h5ad", obsm=obsm),
        ):
            with pytest.raises(InvalidArgument, match=r"obsm (is|contains) .*names?"):
                call()
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_embedding_is_refused_before_the_matrix_is_asked_for(
        self, study: Study, server: Sandbox, tmp_path: Path
    ) -> None:
        expected = "no embeddings" if study.source == "bioflex" else r"'X_onw' \(did you mean 'X_own'\?\)"
        for call in (
            lambda: study.to_anndata(obsm=["X_onw"], dry_run=True),
            lambda: study.to_h5ad(tmp_path / "x.h5ad", obsm="X_onw"),
            lambda: study.lazy(tmp_path / "x.h5ad", obsm=["X_onw"]),
        ):
            server.requests.clear()
            with pytest.raises(UnknownEmbedding, match=expected):
                call()
            assert not [request for request in server.requests if "query_genes" in request.path]
        assert list(tmp_path.iterdir()) == []

    def test_layers_are_names_or_members_of_an_enum_or_none(self, study: Study) -> None:
        unit = Enum("unit", {"LOGNORM": "lognorm"})
        for layers in ([unit.LOGNORM], unit.LOGNORM, "lognorm"):
            assert layer_names(study.to_anndata(layers=layers, fields=[])) == ["lognorm"]
        assert layer_names(study.to_anndata(layers=None, fields=[])) == []
        with pytest.raises(InvalidArgument, match="one of layers is 'log': give"):
            study.to_anndata(layers=["log"])

    def test_obsm_may_be_a_bool_of_numpy(self, study: Study, tmp_path: Path) -> None:
        assert list(study.lazy(tmp_path / "x.h5ad", obsm=np.False_, fields=[]).obsm) == []

    @pytest.mark.parametrize("arguments", [{"unit": "tpm"}, {"layers": ["x"]}, {"format": "coo"}, {"genes": []}])
    def test_bad_arguments_are_refused(self, study: Study, arguments: dict) -> None:
        with pytest.raises(InvalidArgument):
            study.to_anndata(**arguments)


class TestParts:
    def test_they_are_the_ones_of_the_sdk(self, study: Study, counts: ad.AnnData) -> None:
        assert (study.n_obs, study.n_vars) == (60, 40)
        assert study.barcodes() == list(counts.obs_names)
        assert study.features() == list(counts.var_names)
        assert repr(study) == 'Study(id="both_ways",title="both_ways",reference="")'
        matrix = study.query_genes(["GENE3"], "raw")
        assert isinstance(matrix, sparse.csc_matrix)
        np.testing.assert_array_equal(matrix.toarray(), counts[:, ["GENE3"]].X.toarray())
        np.testing.assert_array_equal(study.matrix("raw").toarray(), counts.X.toarray())
        field = next(field for field in study.metalist if field.name == "code")
        field.fetch()
        assert list(field.values) == list(counts.obs["code"])
        assert field.type == "Category"

    def test_metadata_is_indexed_by_barcode(self, study: Study, counts: ad.AnnData) -> None:
        table = study.metadata(["score", "good"])
        assert list(table.index) == list(counts.obs_names)
        expected = counts.obs["score"].to_numpy()
        np.testing.assert_array_equal(
            table["score"], expected.astype(np.float32) if study.source == "bioflex" else expected
        )

    def test_an_export_can_be_downloaded(self, study: Study, server: Sandbox) -> None:
        import requests

        link = study.export_study()["download_link"]
        assert link.startswith(server.url)
        assert requests.get(link, timeout=60).content[:4] == b"\x89HDF"

    def test_an_export_that_a_server_makes_is_shown(
        self, study: Study, server: Sandbox, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with bc.settings.override(progress="on"):
            study.export_study()
        # BioFlex answers with a file that exists already.
        assert ("Exporting both_ways: 00:0" in capsys.readouterr().err) == (study.source != "bioflex")

    def test_its_html_is_escaped(self, study: Study) -> None:
        study.title = "<script>"
        assert "<script>" not in study._repr_html_()
        assert "both_ways" in study._repr_html_()


class _Fake:
    """A source with given answers."""

    def __init__(self, **parts: object) -> None:
        self.name, self.study_id, self.title, self.authors, self.reference = "bioflex", "S", "T", [], ""
        self.metalist: list = []
        self.parts = {
            "barcodes": ["a", "b"],
            "features": ["X", "Y", "X"],
            "matrix": sparse.csc_matrix(np.arange(6, dtype="f4").reshape(2, 3)),
            "embeddings": {},
            **parts,
        }

    def barcodes(self) -> list[str]:
        return self.parts["barcodes"]

    def features(self) -> list[str]:
        return self.parts["features"]

    def matrix(self, unit: str) -> sparse.csc_matrix:
        return self.parts["matrix"]

    def rows(self, unit: str) -> sparse.csr_matrix:
        return self.parts["matrix"].tocsr()

    def cache_key(self) -> None:
        return None

    def refresh(self) -> None:
        pass

    def metadata(self, fields: object, barcodes: object) -> dict:
        return {}

    def embeddings(self, names: object = None) -> dict:
        return self.parts["embeddings"]

    def provenance(self) -> dict:
        return {}


def test_repeated_features_become_unique_and_keep_their_names() -> None:
    adata = Study(_Fake()).to_anndata()
    assert list(adata.var_names) == ["X", "Y", "X-1"]
    assert list(adata.var["feature"]) == ["X", "Y", "X"]


def test_repeated_features_cannot_be_requested_by_name() -> None:
    with pytest.raises(AmbiguousName, match=r"several features named 'X'.*var\['feature'\]"):
        Study(_Fake()).to_anndata(genes=["X"])


@pytest.mark.parametrize(
    "parts",
    [
        {"barcodes": ["a"]},
        {"features": ["X", "Y"]},
        {"embeddings": {"UMAP": np.zeros((3, 2), "f4")}},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts: dict) -> None:
    with pytest.raises(InvalidResponse, match="study S"):
        Study(_Fake(**parts)).to_anndata()


def test_both_kinds_of_server_are_sources() -> None:
    members = [name for name in dir(BioFlexSource) if not name.startswith("_")]
    assert set(members) <= {*dir(ConnectorSource), "name", "title", "study_id", "authors", "reference"}


def test_a_study_of_a_group_has_the_fields_that_were_added_since(server: Sandbox, counts: ad.AnnData) -> None:
    counts.biocolab.submit(study_id="grows", skip_dimred=True)
    study = bc.study("grows", source="bbrowserx")
    first = study.to_anndata()
    field = study.metalist[0]
    counts.obs["late"] = range(60)
    counts.biocolab.push_metadata("late", study="grows")
    assert "late" not in first.obs
    assert "late" in study.fields
    assert study.to_anndata(fields=["late"]).obs["late"].tolist() == list(range(60))
    assert "late" in study.to_anndata().obs
    assert study.metalist[0] is field
    assert [each.id for each in study.metalist] == list(range(len(study.fields)))
