"""Sources: an incomplete or unexpected answer is an error, and never results in a wrong study."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, InvalidResponse
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store.catalog import PUBLIC
from biocolab_accessor.studies.selection import FetchPlan
from biocolab_accessor.studies.sources.bbrowserx import ConnectorSource
from tests.builders import layer_names
from tests.clients.conftest import Scripted, answer, scripted  # noqa: F401


@pytest.fixture
def faulty(server: Sandbox) -> Iterator[Sandbox]:
    yield server
    server.faults.clear()


def data(content: object) -> object:
    return answer(content={"status": 200, "data": content})


def source_at(host: str) -> ConnectorSource:
    row = {"uuid": "u", "study_id": "S", "title": None, "authors": "me", "reference": 7}
    return ConnectorSource(BBrowserXConnector(host, "t"), row, group_id="personal", species="human", name="bbrowserx")


class TestOfAGroup:
    def test_listed_values_that_are_not_strings_become_strings(self) -> None:
        source = source_at("http://127.0.0.1/")
        assert (source.title, source.authors, source.reference) == ("", [], "7")

    @pytest.mark.parametrize("fields", [["Barcodes", "sample"], {"barcode": 0, "sample": 1}])
    def test_names_of_fields_come_as_a_list_or_an_object(self, scripted: Scripted, fields: object) -> None:  # noqa: F811
        scripted.answers(data(fields), data({"Barcodes": ["b", "a"], "sample": ["x", "y"]}), data(["a", "b"]))
        (field,) = source_at(scripted.host).metalist
        assert repr(field) == 'Metadata(id=0,name="sample",type="Unknown")'
        field.fetch()
        assert list(field.values) == ["y", "x"]  # in the order of the cells, whatever that of the answer
        assert repr(field) == 'Metadata(id=0,name="sample",type="Category")'

    @pytest.mark.parametrize("fields", [None, "sample", [1], 7])
    def test_an_invalid_list_of_field_names_is_refused(self, scripted: Scripted, fields: object) -> None:  # noqa: F811
        scripted.answers(data(fields))
        with pytest.raises(InvalidResponse, match="study S: expected a list of field names"):
            _ = source_at(scripted.host).metalist

    def test_a_field_that_the_server_leaves_out_is_named(self, scripted: Scripted) -> None:  # noqa: F811
        scripted.answers(data(["sample", "label"]), data({"Barcodes": ["a"], "sample": ["x"]}), data(["a"]))
        source = source_at(scripted.host)
        with pytest.raises(InvalidResponse, match=r"metadata of S: the server's answer lacks \['label'\]"):
            source.metadata(["sample", "label"], source.barcodes)

    def test_an_empty_list_of_genes_does_not_mean_all_genes(self) -> None:
        with pytest.raises(InvalidArgument, match="genes is empty, which the server would take for all genes"):
            source_at("http://127.0.0.1/").query_genes([], "raw")

    def test_genes_with_repeated_names_are_fetched_together(self, server: Sandbox, tmp_path: Path) -> None:
        counts = sparse.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3))
        adata = ad.AnnData(counts)
        adata.var_names = ["A", "B", "A"]
        server.add_study("twins", adata)
        server.requests.clear()
        study = bc.study("twins", source="bbrowserx", group=PUBLIC)
        found = ad.read_h5ad(study.to_h5ad(tmp_path / "x.h5ad"))
        np.testing.assert_array_equal(found.X.toarray(), counts.toarray())
        assert list(found.var_names) == ["A", "B", "A-1"]
        assert list(found.var["feature"]) == ["A", "B", "A"]
        assert len(server.requests.of("study/query_genes")) == 1

    @pytest.mark.parametrize("rows", [None, {}, ["UMAP"], [{"embedding_name": "UMAP"}]])
    def test_an_invalid_list_of_embeddings_is_refused(self, scripted: Scripted, rows: object) -> None:  # noqa: F811
        scripted.answers(data(rows))
        with pytest.raises(InvalidResponse, match="study S: expected a list of embeddings"):
            source_at(scripted.host).embedding_names()

    @pytest.mark.parametrize(
        ("names", "expected"),
        [(["UMAP", "PCA"], ["UMAP", "PCA"]), (["UMAP", "UMAP"], ["1", "2"]), ([None, ""], ["1", "2"])],
    )
    def test_embeddings_with_the_same_name_are_named_by_their_ids(
        self,
        scripted: Scripted,  # noqa: F811
        names: list[str],
        expected: list[str],
    ) -> None:
        scripted.answers(data([{"embedding_id": i + 1, "embedding_name": name} for i, name in enumerate(names)]))
        assert source_at(scripted.host).embedding_names() == expected

    def test_an_unknown_export_format_is_refused_before_the_request(self) -> None:
        with pytest.raises(InvalidArgument, match="format is 'loom': give 'h5ad' or 'seurat'"):
            source_at("http://127.0.0.1/").export("loom")

    @pytest.mark.parametrize("found", [None, {}, {"file_path": None}, []])
    def test_an_export_without_a_file_path_is_an_error(self, scripted: Scripted, found: object) -> None:  # noqa: F811
        scripted.answers(data({"id": "7"}), data({"status": "SUCCESS", "log": ""}), data(found))
        with pytest.raises(InvalidResponse, match="study S: the server sent no link to the exported file"):
            source_at(scripted.host).export("h5ad")


class TestOfBioFlex:
    def test_a_field_with_the_wrong_number_of_values_is_refused(self, faulty: Sandbox) -> None:
        study = bc.study("PBMC68k_reduced")
        faulty.faults.add("v1/study/fetch_metadata", kind="wrong_lengths")
        with pytest.raises(InvalidResponse, match="metadata 'bulk_labels' of PBMC68k_reduced: 699 values for 700"):
            study.metadata(["bulk_labels"])

    def test_a_database_accepts_no_metadata(self) -> None:
        study = bc.study("PBMC68k_reduced")
        with pytest.raises(InvalidArgument, match="'PBMC68k_reduced' is on BioFlex, which accepts no metadata"):
            study._parts.source.add_metadata({"barcodes": ["a"], "x": [1]})

    def test_an_export_without_a_link_is_not_fetched(self, faulty: Sandbox, tmp_path: Path) -> None:
        study = bc.study("PBMC68k_reduced")
        faulty.faults.add("v1/study/export_study", kind="empty_object")
        with pytest.raises(InvalidResponse, match="PBMC68k_reduced: the server sent no link to the exported file"):
            study.export_study(path=tmp_path / "x.h5ad")
        assert list(tmp_path.iterdir()) == []


def test_lazy_without_dask_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study, collection = bc.study("PBMC68k_reduced"), bc.collection(["PBMC68k_reduced"])
    for name in ("dask.array", "dask.base", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    with pytest.raises(ConfigurationError, match=r"lazy\(\) needs Dask: pip install 'biocolab_accessor\[dask\]'"):
        study.lazy(tmp_path / "x.h5ad")
    with pytest.raises(ConfigurationError, match=r"lazy\(\) needs Dask"):
        collection.lazy()
    assert collection.to_anndata().shape == (700, 765)
    with pytest.raises(ConfigurationError, match="a cluster needs Dask's distributed scheduler"):
        bc.share_credentials(None)


def test_a_single_layer_may_be_a_string(server: Sandbox) -> None:
    adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D"], layers="lognorm")
    assert layer_names(adata) == ["lognorm"]


def test_a_plan_omits_unknown_sizes() -> None:
    plan = FetchPlan("S", 2000, 30, (), None, None, 10**9)
    assert repr(plan) == "FetchPlan of S: no values were fetched\n  cells x genes: 2,000 x 30\n  fields: none"
    assert plan.fits
    whole = replace(plan, n_bytes=5_000_000, memory=2 * 10**9, fields=("<b>",))
    page = whole._repr_html_()
    assert "5.0 MB" in page
    assert "about 2,000.0 MB of 1,000.0 MB" in page
    assert "does not fit" in page
    assert "<b>" not in page
