import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidResponse
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.sources import Term, add_term_columns, read_terms
from biocolab_accessor.studies.study import Study
from tests.interop.venvs import CLIENTS, build, cache_folder

ROW = {
    "study_id": "u", "metadata_field": "kind", "metadata_label": "a", "ontology_accession_id": "CL:0000000",
    "ontology_label": "cell type", "node_accession_id": "CL:0000235", "node_label": "macrophage",
}  # fmt: skip


def term(field: str, label: str, node: str) -> Term:
    return Term("u", field, label, "CL:0000000", "cell type", node, "")


def assign(study: Study, field: str, label: str, root: str, leaf: str) -> None:
    """Assign a term as assign_standardized_meta does, which connectors from 1.5 to 1.12 have."""
    facts = study.provenance()
    body = {"species": facts["species"], "group_id": facts["group_id"], "study_id": facts["study_uuid"]}
    terms = {"group": field, "name": label, "root_id": root, "leaf_id": leaf}
    bc.connection.default.current().get_bbrowserx().post_request("api/v1/study/assign_standardized_term", body | terms)


@pytest.fixture(scope="module")
def submitted(server: Sandbox) -> list[Study]:
    """Two studies with a field of cell types, whose labels have terms."""
    made = []
    for number in range(2):
        adata = ad.AnnData(np.eye(6, dtype=np.float32) + 1)
        adata.obs["kind"] = pd.Categorical(["Mac", "Mac", "B", "B", "?", None])
        adata.obs["where"] = pd.Categorical(["here"] * 6)
        made.append(adata.biocolab.submit(study_id=f"TERMS{number}", skip_dimred=True).study())
        assign(made[-1], "kind", "Mac", "CL:0000000", "CL:0000235")
        assign(made[-1], "kind", "B", "CL:0000000", ["CL:0000236", "CL:0000786"][number])
    assign(made[0], "where", "here", "UBERON:0000465", "UBERON:0000178")
    return made


def test_terms_of_a_study_are_a_table_of_labels_and_nodes(submitted: list[Study]) -> None:
    table = submitted[0].terms()
    assert list(table.columns) == ["field", "label", "ontology_id", "ontology_label", "node", "node_label"]
    assert table.to_numpy().tolist() == [
        ["kind", "Mac", "CL:0000000", "cell type", "CL:0000235", "macrophage"],
        ["kind", "B", "CL:0000000", "cell type", "CL:0000236", "B cell"],
        ["where", "here", "UBERON:0000465", "tissue", "UBERON:0000178", "blood"],
    ]


def test_terms_come_as_a_categorical_column_with_one_request(server: Sandbox, submitted: list[Study]) -> None:
    before = len(server.requests.of("export_std_metadata"))
    adata = submitted[0].to_anndata(terms=True)
    assert len(server.requests.of("export_std_metadata")) == before + 1
    column = adata.obs["kind_ontology_term_id"]
    assert column.dtype.name == "category"
    assert list(column.cat.categories) == ["CL:0000235", "CL:0000236"]
    assert column.astype(object).where(column.notna(), None).tolist() == [
        "CL:0000235", "CL:0000235", "CL:0000236", "CL:0000236", None, None
    ]  # fmt: skip
    assert set(adata.obs["where_ontology_term_id"]) == {"UBERON:0000178"}
    assert not [name for name in submitted[0].to_anndata().obs if "ontology" in name]
    assert "where_ontology_term_id" not in submitted[0].to_anndata(fields=["kind"], terms=True).obs
    assert len(server.requests.of("export_std_metadata")) == before + 2


def test_terms_are_the_same_in_memory_and_on_disk(submitted: list[Study], tmp_path: Path) -> None:
    obs = submitted[0].to_anndata(terms=True).obs
    pd.testing.assert_frame_equal(ad.read_h5ad(submitted[0].to_h5ad(tmp_path / "a.h5ad", terms=True)).obs, obs)
    pd.testing.assert_frame_equal(submitted[0].lazy(tmp_path / "b.h5ad", terms=True).obs, obs)
    backed = submitted[0].to_anndata(backed=tmp_path / "c.h5ad", terms=True)
    pd.testing.assert_frame_equal(backed.obs, obs)
    backed.file.close()


def test_terms_of_a_collection_are_joined(submitted: list[Study], tmp_path: Path) -> None:
    both = bc.collection(["TERMS0", "TERMS1"], source="bbrowserx")
    inner, outer = (both.to_anndata(join, terms=True) for join in ("inner", "outer"))  # type: ignore[arg-type]
    column = inner.obs["kind_ontology_term_id"]
    assert sorted(column.cat.categories) == ["CL:0000235", "CL:0000236", "CL:0000786"]
    assert column.tolist()[2:4] + column.tolist()[8:10] == ["CL:0000236"] * 2 + ["CL:0000786"] * 2
    assert outer.obs["where_ontology_term_id"].isna().tolist() == [False] * 6 + [True] * 6
    outer.write_h5ad(tmp_path / "both.h5ad")
    again = ad.read_h5ad(tmp_path / "both.h5ad").obs["where_ontology_term_id"]
    pd.testing.assert_series_equal(again, outer.obs["where_ontology_term_id"])


def test_bioflex_has_no_terms_and_says_where_they_are(server: Sandbox) -> None:
    study = bc.study("PBMC68k_reduced")
    for call in (study.terms, lambda: study.to_anndata(genes=["LYZ"], terms=True)):
        with pytest.raises(InvalidArgument, match="no ontology terms: give a study on BBrowserX"):
            call()
    with pytest.raises(InvalidArgument, match="terms is 'kind'"):
        study.to_anndata(terms="kind")  # type: ignore[call-overload]


def test_a_label_with_several_terms_has_them_all() -> None:
    frame = pd.DataFrame({"kind": pd.Categorical(["a", "b"])})
    add_term_columns(frame, [term("kind", "a", "CL:2"), term("kind", "a", "MONDO:1"), term("kind", "a", "CL:2")], "S")
    assert frame["kind_ontology_term_id"].cat.categories.tolist() == ["CL:2 || MONDO:1"]
    assert frame["kind_ontology_term_id"].isna().tolist() == [False, True]


@pytest.mark.parametrize("values", [[1, 2, 1], [1.0, 2.0, np.nan]])
def test_terms_of_numbers_are_found_by_their_text(values: list[float]) -> None:
    frame = pd.DataFrame({"cluster": values})
    add_term_columns(frame, [term("cluster", "1", "CL:1")], "S")
    assert frame["cluster_ontology_term_id"].eq("CL:1").tolist() == [value == 1 for value in values]


def test_a_field_of_the_study_is_not_replaced_by_terms() -> None:
    frame = pd.DataFrame({"kind": ["a"], "kind_ontology_term_id": ["own"]})
    with pytest.warns(UserWarning, match=r"'kind_ontology_term_id' were left out.*has fields of these names"):
        add_term_columns(frame, [term("kind", "a", "CL:2")], "S")
    assert frame["kind_ontology_term_id"].tolist() == ["own"]


def test_fields_without_terms_are_said() -> None:
    frame = pd.DataFrame({"kind": ["a"]})
    with pytest.warns(UserWarning, match="study S has no ontology terms for these fields"):
        add_term_columns(frame, [term("other", "a", "CL:2")], "S")
    assert list(frame.columns) == ["kind"]


@pytest.mark.parametrize("data", [None, "x", [1], [{}], [ROW | {"study_id": None}], [ROW | {"metadata_field": ["a"]}]])
def test_an_answer_that_is_not_a_list_of_terms_is_refused(data: object) -> None:
    with pytest.raises(InvalidResponse, match="export_std_metadata"):
        read_terms({"data": data})


def test_a_label_whose_term_was_removed_has_none() -> None:
    assert read_terms({"data": [ROW, ROW | {"node_accession_id": None}, ROW | {"node_label": None}]}) == [
        Term(*ROW.values()), Term(*list(ROW.values())[:-1], "")
    ]  # fmt: skip


BY_CONNECTOR = """
import sys
from bioturing_connector.bbrowserx_connector import BBrowserXConnector
host, token, group, study = sys.argv[1:]
connector = BBrowserXConnector(host, token, ssl=True)
for label, leaf in (("Mac", "macrophage"), ("B", "B cell")):
    print(connector.assign_standardized_meta("human", group, study, "kind", label, "cell type", leaf))
"""


@pytest.mark.long
def test_terms_that_connector_1_12_0_assigns_come_back_in_obs(server: Sandbox) -> None:
    adata = ad.AnnData(np.eye(5, dtype=np.float32) + 1)
    adata.obs["kind"] = pd.Categorical(["Mac", "B", "B", "?", None])
    study = adata.biocolab.submit(study_id="TERMS_BY_CONNECTOR", skip_dimred=True).study()
    facts = study.provenance()
    python = build(next(client for client in CLIENTS if client.name == "bioturing-connector 1.12.0"), cache_folder())
    arguments = [server.private_host, server.token, facts["group_id"], facts["study_uuid"]]
    done = subprocess.run([python, "-c", BY_CONNECTOR, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Successul"] * 2  # the client's own spelling
    assert study.terms()[["label", "node_label"]].to_numpy().tolist() == [["Mac", "macrophage"], ["B", "B cell"]]
    column = study.to_anndata(terms=True).obs["kind_ontology_term_id"]
    assert column.astype(object).where(column.notna(), None).tolist() == [
        "CL:0000235", "CL:0000236", "CL:0000236", None, None
    ]  # fmt: skip
