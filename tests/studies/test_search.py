from collections.abc import Iterator
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.connection.default import current
from biocolab_accessor.errors import InvalidArgument, MissingCredentials, ServerError, UnknownGroup
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import catalog
from biocolab_accessor.studies import search as search_module

COLUMNS = ["study", "source", "group", "species", "title", "n_cells", "matched", "reference", "uuid"]
HEART = "10.1016/j.cell.2019.05.031"


def cells() -> ad.AnnData:
    adata = ad.AnnData(np.eye(4, dtype=np.float32) + 1)
    adata.obs["kind"] = pd.Categorical(["Mac", "Mac", "B", "B"])
    return adata


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with three studies in three groups; two of them have terms."""
    with bc.sandbox(tmp_path_factory.mktemp("search")) as running:
        running.add_study("HEART1", cells(), title="A café of hearts", reference=f"https://doi.org/{HEART}")
        about = {"skip_dimred": True, "wait": True}
        cells().biocolab.submit(study_id="LUNG1", name="Lungs", abstract="Fibrosis in biopsies", authors=["Müller A"],
                                **about)  # fmt: skip
        cells().biocolab.submit(group="all_members", study_id="MOUSE1", name="Mice", species="mouse", **about)
        assign("LUNG1", "personal", "human", "Mac", "CL:0000000", "CL:0000235")
        assign("MOUSE1", "all_members", "mouse", "B", "CL:0000000", "CL:0000236")
        assign("MOUSE1", "all_members", "mouse", "Mac", "UBERON:0000465", "UBERON:0002048")
        yield running


@pytest.fixture(autouse=True)
def empty_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with an index that has asked nothing."""
    monkeypatch.setattr(search_module, "_indexes", type(search_module._indexes)())


def assign(study: str, group: str, species: str, label: str, root: str, leaf: str) -> None:
    facts = bc.study(study, source="bbrowserx", group=group, species=species).provenance()
    body = {"species": species, "group_id": group, "study_id": facts["study_uuid"], "group": "kind", "name": label}
    terms = {"root_id": root, "leaf_id": leaf}
    current().get_bbrowserx().post_request("api/v1/study/assign_standardized_term", body | terms)


def found(*args: Any, **kwargs: Any) -> dict[str, str]:
    """Ids of the studies of a search, and why they match."""
    table = bc.search(*args, **kwargs)
    return dict(zip(table["study"], table["matched"], strict=True))


GROUPS = ["personal", "all_members", "bioturing_public_studies"]
STUDIES, LIST, TERMS, TREE = "get_all_studies_info_in_group", "get_user_groups", "export_std_metadata", "get_ontologies"


def asked(server: Sandbox, *args: Any, **kwargs: Any) -> list[str]:
    """Routes that a search requests."""
    server.requests.clear()
    bc.search(*args, **kwargs)
    return sorted(record.path.rpartition("v1/")[2] for record in server.requests)


def test_a_search_of_three_groups_and_two_species_makes_seven_requests_and_the_next_one_none() -> None:
    with bc.sandbox() as server:
        assert asked(server, "profiling", species=["human", "mouse"], group=GROUPS) == [TERMS, *[STUDIES] * 6]
        assert asked(server, "single cells", species=["human", "mouse"], group=GROUPS) == []


def test_the_tree_of_terms_is_requested_once_for_a_connection(own: Sandbox) -> None:
    where = {"species": ["human", "mouse"], "group": GROUPS}
    assert asked(own, "lungs", **where) == [TERMS, *[STUDIES] * 6, TREE]
    assert asked(own, cell_type="monocyte", **where) == []
    with bc.settings.override(search_age=0):
        assert asked(own, cell_type="monocyte", **where) == [TERMS, *[STUDIES] * 6]


def test_the_list_of_groups_is_requested_for_all_groups_and_for_names(own: Sandbox) -> None:
    assert asked(own, species="human") == [*[STUDIES] * 3, LIST]
    assert asked(own, species="human", group=["Personal workspace"]) == []
    assert asked(own, species=["human", "primate"], group="personal") == [STUDIES]
    with bc.settings.override(search_age=0):
        assert asked(own, species="human", group="Personal workspace") == [STUDIES, LIST]
        assert asked(own, species="human", group="personal") == [STUDIES]


def test_a_term_that_is_not_in_the_tree_has_the_tree_requested_again(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TREE in asked(own, "lungs", group="personal")
    own_terms = current().get_bbrowserx().export_std_meta()["data"]
    new = [{**own_terms[0], "node_accession_id": "CL:9999999", "node_label": "new cell"}]
    monkeypatch.setattr(BBrowserXConnector, "export_std_meta", lambda self: {"data": own_terms + new})
    with bc.settings.override(search_age=0):
        assert asked(own, "lungs", species="human", group="personal") == [STUDIES, TREE]


def test_another_connection_has_an_index_of_its_own(own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    bc.search("lungs")
    own.requests.clear()
    other = bc.EConnector(private_host=own.private_host, private_token=own.token)
    monkeypatch.setattr(catalog, "current", lambda: other)
    bc.search("lungs", species="human", group="personal")
    assert len(own.requests.of("get_all_studies_info_in_group")) == 1


def test_a_term_finds_studies_that_name_only_a_term_below_it(own: Sandbox) -> None:
    assert found(cell_type="monocyte") == {"LUNG1": "cell type: macrophage (monocyte)"}
    assert found(cell_type="CL:0000576") == {"LUNG1": "cell type: macrophage (monocyte)"}
    assert found("Monocytes") == {"LUNG1": "cell type: macrophage (monocyte)"}
    assert found(cell_type="macrophage") == found(cell_type="mac") == {"LUNG1": "cell type: macrophage"}
    assert found(tissue="lung") == {"MOUSE1": "tissue: lung"}
    assert found(tissue="lung", cell_type="b cell") == {"MOUSE1": "cell type: B cell; tissue: lung"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fibrosis lung", "abstract; title"),
        ("LUNG, BIOPSY!", "title; abstract"),
        ("muller", "authors"),
        ("MÜLLER fibro", "authors; abstract"),
        ("lung1", "id"),
        ("lung macrophage", "title; cell type: macrophage"),
    ],
)
def test_words_are_found_in_any_order_case_accent_and_place(own: Sandbox, text: str, why: str) -> None:
    assert found(text)["LUNG1"] == why


def test_a_near_spelling_is_found_with_a_warning(own: Sandbox) -> None:
    with pytest.warns(UserWarning, match="near spellings were found instead: 'fibrosis' for 'fibrossis'"):
        assert list(found("fibrossis")) == ["LUNG1"]


def test_the_best_match_comes_first(own: Sandbox) -> None:
    assert list(found("lung")) == ["MOUSE1", "LUNG1"]  # a term, then a title
    assert found("lung") == {"MOUSE1": "tissue: lung", "LUNG1": "title"}


def test_species_group_and_source_narrow_a_search(own: Sandbox) -> None:
    assert list(found("lung", species="mouse")) == ["MOUSE1"]
    assert list(found("lung", group="Personal workspace")) == ["LUNG1"]
    assert list(found("lung", group=["personal", "all_members"], source="talk2data")) == ["MOUSE1", "LUNG1"]
    assert bc.search(species="mouse")["study"].tolist() == ["MOUSE1"]
    assert bc.search("lung", source="talk2data")["source"].tolist() == ["talk2data"] * 2


def test_rows_of_a_search_are_studies(own: Sandbox) -> None:
    table = bc.search("lung")
    assert list(table.columns) == COLUMNS
    assert table["n_cells"].dtype == "Int64"
    assert table["n_cells"].isna().all()  # no server is known to send it
    study = bc.study(table.iloc[0])
    assert (study.id, study.source, study.n_obs) == ("MOUSE1", "bbrowserx", 4)
    collection = bc.collection(table)
    assert [each.id for each in collection] == ["MOUSE1", "LUNG1"]
    assert collection.to_anndata().n_obs == 8
    heart = bc.search("cafe", source="talk2data").iloc[0]
    assert (heart["title"], heart["group"]) == ("A café of hearts", "bioturing_public_studies")
    assert HEART in bc.study(heart).cite()
    assert bc.study(heart).source == "talk2data"


def test_a_row_that_is_not_of_a_search_is_refused(own: Sandbox) -> None:
    with pytest.raises(InvalidArgument, match=r"row has no 'uuid', 'source'.*bc.search"):
        bc.study(pd.Series({"species": "human", "group": "personal"}))
    with pytest.raises(InvalidArgument, match="study_id is a DataFrame"):
        bc.study(bc.search("lung"))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="at least one study"):
        bc.collection(bc.search("lung").iloc[:0])


def test_nothing_found_is_an_empty_table_with_the_reason(own: Sandbox) -> None:
    with pytest.warns(UserWarning, match=r"found: no tissue has 'fibrosis'; bc.search\('fibrosis'\) finds 1 by words"):
        table = bc.search(tissue="fibrosis")
    assert (len(table), list(table.columns), table["n_cells"].dtype) == (0, COLUMNS, "Int64")
    with pytest.warns(UserWarning, match=r"no study has 'mcroph' \(did you mean 'macrophage'\?\)"):
        assert bc.search("mcroph").empty
    with pytest.warns(UserWarning, match="no study was found"):
        assert bc.search("heart macrophage").empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "the search is empty"),
        ({"source": "bbrowserx"}, "the search is empty"),
        ({"text": "  "}, "no letters or digits"),
        ({"cell_type": "+-"}, r"cell_type is '\+-', which has no letters"),
        ({"text": ["lung"]}, "text is .'lung'.: give words"),
        ({"text": "a", "species": "humen"}, "did you mean 'human'"),
        ({"text": "a", "species": []}, "species is empty"),
        ({"text": "a", "group": 3}, "group is of type int"),
        ({"text": "a", "source": "bioflex"}, "not a server with groups"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(own: Sandbox, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        bc.search(**arguments)


def test_a_group_that_does_not_exist_is_refused(own: Sandbox) -> None:
    with pytest.raises(UnknownGroup, match="did you mean 'personal'"):
        bc.search("lung", group="persnal")


def test_a_search_without_any_token_says_where_it_was_looked_for(own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = bc.EConnector()
    monkeypatch.setattr(catalog, "current", lambda: nobody)
    with pytest.raises(MissingCredentials, match="BIOCOLAB_PRIVATE_"):
        bc.search("lung")
    monkeypatch.setattr(bc.settings, "public_host", own.private_host)
    monkeypatch.setattr(bc.settings, "public_token", own.token)
    assert bc.search("lung")["source"].tolist() == ["talk2data"] * 2


def test_a_server_without_terms_or_public_studies_is_searched_by_words(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = current().get_bbrowserx()
    send = connector.post_request

    def post(api_route: str, data: Any = None) -> Any:
        if api_route.endswith("export_std_metadata") or (data or {}).get("group_id") == "bioturing_public_studies":
            msg = "no such route"
            raise ServerError(msg)
        return send(api_route, data)

    monkeypatch.setattr(connector, "post_request", post)
    assert found("lung") == {"LUNG1": "title"}
    with pytest.warns(UserWarning, match=r"the server exports no ontology terms; bc.search\('lung'\) finds 1"):
        assert bc.search(tissue="lung").empty


def test_a_server_without_a_tree_finds_the_terms_themselves(own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_above", lambda *_: None)
    assert list(found(cell_type="macrophage")) == ["LUNG1"]
    with pytest.warns(UserWarning, match="no tree of ontologies, so a term does not find those below it"):
        assert bc.search(cell_type="monocyte").empty


def test_a_study_is_found_as_soon_as_it_was_submitted(own: Sandbox) -> None:
    assert found("Earthworms") == {}
    cells().biocolab.submit(study_id="WORM1", name="Earthworms", species="others", skip_dimred=True)
    assert list(found("Earthworms")) == ["WORM1"]
