from __future__ import annotations

import anndata as ad
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.connection import default
from biocolab_accessor.errors import (
    AmbiguousName,
    InvalidArgument,
    InvalidResponse,
    Unauthorized,
    UnknownDatabase,
    UnknownGene,
    UnknownGroup,
    UnknownStudy,
)
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import catalog
from biocolab_accessor.studies.catalog import group_id_of
from tests.clients.conftest import Scripted, answer, scripted  # noqa: F401

pytestmark = pytest.mark.usefixtures("server")


def test_groups_are_a_table() -> None:
    expected = pd.DataFrame({"id": ["all_members", "personal"], "name": ["All members", "Personal workspace"]})
    pd.testing.assert_frame_equal(bc.groups(), expected)
    pd.testing.assert_frame_equal(bc.groups(source="talk2data"), expected)


def test_groups_may_be_called_group_id_and_group_name(scripted: Scripted) -> None:  # noqa: F811
    scripted.answers(answer(content={"status": 200, "data": [{"group_id": "g", "group_name": "G"}]}))
    bc.connect(private_host=scripted.host, private_token="t")
    try:
        assert bc.groups().to_dict("records") == [{"id": "g", "name": "G"}]
    finally:
        default.drop_default(default.current())


def test_sizes_and_dates_that_a_server_sends_are_the_first_details_of_a_study(scripted: Scripted) -> None:  # noqa: F811
    row = {"uuid": "1", "abstract": "", "created_at": "2026-11-30", "n_genes": 40, "study_hash_id": "A", "n_cells": 60}
    groups = answer(content={"status": 200, "data": [{"id": "personal", "name": "Own"}]})
    scripted.answers(groups, answer(content={"status": 200, "data": [row]}))
    bc.connect(private_host=scripted.host, private_token="t")
    try:
        table = bc.studies()
    finally:
        default.drop_default(default.current())
    first = ["study_id", "title", "created_by", "uuid", "n_cells", "n_genes", "created_at", "abstract"]
    assert list(table.columns) == first
    assert table.loc[0, ["n_cells", "n_genes"]].tolist() == [60, 40]


def test_a_group_without_id_is_an_error(scripted: Scripted) -> None:  # noqa: F811
    scripted.answers(answer(content={"status": 200, "data": [{"name": "G"}]}))
    with pytest.raises(InvalidResponse, match="without id or group_id"):
        group_id_of(BBrowserXConnector(scripted.host, "t"), "G")


@pytest.mark.parametrize("name", ["personal", "Personal workspace", "personal WORKSPACE"])
def test_a_group_is_found_by_id_or_name(name: str, server: Sandbox) -> None:
    assert group_id_of(server.connect().get_bbrowserx(), name) == "personal"


def test_an_unknown_group_is_refused_with_similar_names_and_all_groups(counts: ad.AnnData) -> None:
    with pytest.raises(
        UnknownGroup, match=r"'personnal' not found \(did you mean 'personal'\?\).*'all_members' \(All members\)"
    ):
        counts.biocolab.submit("personnal")


def test_two_groups_with_the_same_name_are_ambiguous(scripted: Scripted) -> None:  # noqa: F811
    rows = [{"id": "1", "name": "Lab"}, {"id": "2", "name": "lab"}]
    scripted.answers(answer(content={"status": 200, "data": rows}))
    with pytest.raises(AmbiguousName, match="'1', '2'"):
        group_id_of(BBrowserXConnector(scripted.host, "t"), "LAB")


def test_the_newest_database_is_the_default() -> None:
    assert (bc.database().species, bc.database().version) == ("human", 3)
    assert bc.database(version=1).version == 1
    assert bc.database("mouse").species == "mouse"
    assert len(bc.databases()) == 5


@pytest.mark.parametrize(("species", "version"), [("human", 9), ("martian", None)])
def test_an_unknown_database_is_refused_with_the_known_ones(species: str, version: int | None) -> None:
    with pytest.raises(UnknownDatabase, match="human 1"):
        bc.database(species, version)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"source": "bioflx"}, r"did you mean 'bioflex'.*give one of 'bioflex', 'bbrowserx', 'talk2data'"),
        ({"group": "personal"}, "BioFlex has databases, not groups: give source='bbrowserx'"),
        ({"source": "bbrowserx", "species": "humn"}, r"species is 'humn' \(did you mean 'human'"),
    ],
)
def test_arguments_that_say_where_to_look_are_checked(arguments: dict, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        bc.study("PBMC68k_reduced", **arguments)


def test_a_database_for_a_server_with_groups_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="which has groups, not databases: give source='bioflex'"):
        bc.study("PBMC68k_reduced", source="bbrowserx", database=bc.database())


def test_an_unknown_species_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"species is 'Human' \(did you mean 'human'"):
        bc.studies(species="Human")


def test_an_unknown_study_is_refused_with_similar_ids(counts: ad.AnnData) -> None:
    counts.biocolab.submit(study_id="near_miss_study", skip_dimred=True)
    with pytest.raises(UnknownStudy, match="did you mean 'near_miss_study'"):
        bc.study("near_mis_study", source="bbrowserx")
    with pytest.raises(UnknownStudy, match="did you mean 'PBMC68k_reduced'"):
        bc.study("pbmc68k_reduced")


@pytest.mark.parametrize("study_id", ["", " ", None, 5])
def test_a_study_id_must_be_a_string(study_id: object) -> None:
    with pytest.raises(InvalidArgument, match="give the study's id"):
        bc.study(study_id)


def test_a_study_is_found_by_uuid_and_by_group(counts: ad.AnnData) -> None:
    submission = counts.biocolab.submit("All members", study_id="findable", skip_dimred=True)
    assert bc.study(submission.study_info["uuid"], source="bbrowserx").id == "findable"
    assert bc.study("findable", source="bbrowserx", group="All members").id == "findable"
    with pytest.raises(UnknownStudy):
        bc.study("findable", source="bbrowserx", group="personal")
    with pytest.raises(UnknownStudy, match="mouse"):
        bc.study("findable", source="bbrowserx", species="mouse")


def test_two_studies_with_the_same_id_are_ambiguous_but_their_uuids_are_not(counts: ad.AnnData) -> None:
    first, second = (counts[: 20 + i].biocolab.submit(study_id="twice", skip_dimred=True) for i in range(2))
    with pytest.raises(AmbiguousName) as caught:
        bc.study("twice", source="bbrowserx")
    assert first.study_info["uuid"] in str(caught.value)
    assert second.study_info["uuid"] in str(caught.value)
    assert first.study().n_obs == 20
    assert second.study().n_obs == 21


def test_the_start_of_a_uuid_is_enough_unless_two_studies_share_it(
    counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = counts[:20].biocolab.submit(study_id="short uuid", skip_dimred=True)
    uuid = str(submission.study_info["uuid"])
    for start in (uuid[:8], f"{uuid[:8]}…", uuid[:20]):
        assert bc.study(start, source="bbrowserx").id == "short uuid"
    with pytest.raises(UnknownStudy):
        bc.study(uuid[:7], source="bbrowserx")

    def same_start(*_: object) -> list[dict[str, str]]:
        return [{"uuid": f"0123abcd{end}", "study_id": end, "title": f"T{end}"} for end in "xy"]

    monkeypatch.setattr(catalog, "list_studies", same_start)
    with pytest.raises(AmbiguousName, match=r"a uuid that begins with '0123abcd': .*0123abcdx \('Tx'.*0123abcdy"):
        bc.study("0123abcd", source="bbrowserx")
    assert bc.study("x", source="bbrowserx").id == "x"


def test_studies_are_a_table(counts: ad.AnnData) -> None:
    counts.biocolab.submit(study_id="listed", name="Listed", authors=["A", "B"], skip_dimred=True)
    table = bc.studies("Personal workspace")
    row = table.set_index("study_id").loc["listed"]
    assert (row["title"], row["authors"]) == ("Listed", ["A", "B"])
    assert list(table.columns[:4]) == ["study_id", "title", "created_by", "uuid"]
    assert "PBMC68k_reduced" in set(bc.studies("bioturing_public_studies")["study_id"])
    assert list(bc.studies(species="primate").columns) == ["study_id", "title", "created_by", "uuid"]


def test_a_public_study_is_readable_as_a_study_of_a_group() -> None:
    study = bc.study("PBMC68k_reduced", source="bbrowserx", group="bioturing_public_studies")
    assert study.n_obs == 700


def test_summaries_equal_those_computed_from_the_cells() -> None:
    table = bc.expression_summary(["CD79A", "CD3D", "CD79A"]).set_index(["gene", "cell_type"])
    adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD79A"], unit="lognorm")
    mine = (adata.obs["bulk_labels"] == "CD19+ B").to_numpy()
    values = adata.X.toarray()[mine, 0].astype("f8")
    row = table.loc[("CD79A", "CD19+ B")]
    assert row["total"] == mine.sum()
    assert row["count"] == (values > 0).sum()
    assert row["sum"] == pytest.approx(values.sum())
    assert row["mean"] == pytest.approx(values.sum() / (values > 0).sum())
    assert row["rate"] == pytest.approx((values > 0).mean())
    assert str(table["count"].dtype) == str(table["total"].dtype) == "int64"


def test_an_unknown_gene_of_a_summary_is_refused_with_similar_names() -> None:
    with pytest.raises(UnknownGene, match=r"'CD79AA'.*did you mean 'CD79A'"):
        bc.expression_summary(["CD3D", "CD79AA"])
    with pytest.raises(InvalidArgument, match="empty"):
        bc.expression_summary([])
    with pytest.raises(InvalidArgument, match="genes is of type DataFrame"):
        bc.expression_summary(pd.DataFrame({"CD3D": [1]}))  # type: ignore[arg-type]


def test_an_unknown_id_is_named_once_with_similar_ones(server: Sandbox) -> None:
    with pytest.raises(UnknownStudy) as caught:
        bc.study("PBMC68k_reducd")
    said = "human database version 3 has no study 'PBMC68k_reducd' (did you mean 'PBMC68k_reduced'?)"
    assert str(caught.value) == said


def test_the_error_for_another_species_suggests_the_species_argument(server: Sandbox, counts: ad.AnnData) -> None:
    server.add_study("OF_A_MOUSE", counts, species="mouse")
    counts.biocolab.submit(study_id="OF_MY_MOUSE", species="mouse", skip_dimred=True)
    for study_id, source, said in (
        ("OF_A_MOUSE", "bioflex", "use species= if it belongs to another species\n"),
        ("OF_MY_MOUSE", "bbrowserx", "use species= if it belongs to another species\n"),
    ):
        with pytest.raises(UnknownStudy, match=said):
            bc.study(study_id, source=source)
        assert bc.study(study_id, source=source, species="mouse").id == study_id


def test_the_study_of_an_object_is_of_the_species_that_it_came_from(server: Sandbox, counts: ad.AnnData) -> None:
    """Databases of all species share an id, and the first version of each is 1."""
    fetched = server.add_study("of_mice_again", counts, species="mouse").to_anndata()
    again = fetched.biocolab.study
    assert (again.id, again.provenance()["species"]) == ("of_mice_again", "mouse")


def test_a_rejected_token_is_named(server: Sandbox) -> None:
    bc.connect("wrong", private_host=server.private_host, private_token="wrong", bioflex_host=server.bioflex_host)
    try:
        with pytest.raises(
            Unauthorized,
            match=r"401: the token is not accepted \(token from bc\.connect's private_token\)\. "
            r"Create another token in the server's user settings",
        ):
            bc.groups()
        with pytest.raises(Unauthorized, match=r"\(token from bc\.connect's bioflex_token\)\. Create another"):
            bc.databases()
    finally:
        default.drop_default(default.current())


def test_a_server_without_groups_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'bbrowserx' or 'talk2data'"):
        bc.groups(source="bioflex")


@pytest.mark.parametrize(
    "data",
    [
        5,
        "x",
        {"a": 1},
        None,
        [7],
        pytest.param(
            [{"uuid": 10**400, "study_hash_id": "S", "size": 10**400}],
            marks=pytest.mark.skipif(pd.__version__ >= "3", reason="pandas 3 holds any whole number as an object"),
        ),
    ],
)
def test_an_answer_that_is_not_a_list_is_an_error(scripted: Scripted, data: object) -> None:  # noqa: F811
    groups = {"status": 200, "data": [{"id": "g", "name": "G"}]}
    scripted.answers(answer(content=groups), answer(content={"status": 200, "data": data}))
    bc.connect(private_host=scripted.host, private_token="t")
    try:
        with pytest.raises(InvalidResponse):
            bc.studies("g")
    finally:
        default.drop_default(default.current())


def test_studies_of_all_groups_and_species_come_in_one_table(server: Sandbox, counts: ad.AnnData) -> None:
    counts.biocolab.submit("all_members", study_id="of_mice", species="mouse", skip_dimred=True)
    server.requests.clear()
    every = bc.studies(None, species=None)
    assert len(server.requests.of("get_all_studies_info_in_group")) == 2 * 4
    assert list(every.columns[:6]) == ["study_id", "title", "created_by", "uuid", "group", "species"]
    row = every[every["study_id"] == "of_mice"].iloc[0]
    assert (row["group"], row["species"]) == ("all_members", "mouse")
    assert bc.study(row["uuid"], source="bbrowserx", group=row["group"], species=row["species"]).n_obs == 60
    one = bc.studies(row["group"], species="mouse")
    mine = every[(every["group"] == "all_members") & (every["species"] == "mouse")]
    assert list(one["uuid"]) == list(mine["uuid"])
    assert "group" not in one.columns
    assert set(bc.studies(None)["species"]) <= {"human"}


def test_the_error_names_the_call_that_finds_the_study_elsewhere(counts: ad.AnnData) -> None:
    """A study of mice in a group is neither in the database of humans nor among the human studies of the group."""
    counts.biocolab.submit(study_id="ELSEWHERE", species="mouse", skip_dimred=True)
    call = "bc.study('ELSEWHERE', source='bbrowserx', species='mouse')"
    for source in ("bioflex", "bbrowserx"):
        with pytest.raises(UnknownStudy) as caught:
            bc.study("ELSEWHERE", source=source)
        notes = ["It is in group 'personal': source 'bbrowserx', species 'mouse'", f"  {call}"]
        assert caught.value.__notes__ == notes
    assert eval(call).id == "ELSEWHERE"


def test_the_error_for_an_id_of_two_studies_ends_in_a_call_that_finds_one(counts: ad.AnnData) -> None:
    with pytest.warns(UserWarning, match="has a study 'DOUBLE' already"):
        uuids = {
            counts[: 20 + i].biocolab.submit(study_id="DOUBLE", species="mouse", skip_dimred=True).study_info["uuid"]
            for i in range(2)
        }
    with pytest.raises(AmbiguousName, match=r"\('DOUBLE', 2\d\d\d-") as caught:
        bc.study("DOUBLE", source="bbrowserx", species="mouse")
    assert eval(caught.value.__notes__[-1]).provenance()["study_uuid"] in uuids


def test_an_empty_list_of_studies_says_how_to_list_all_species(server: Sandbox) -> None:
    with pytest.warns(
        UserWarning, match="group 'personal' has no primate study; .* bc.studies\\('personal', species=None\\)"
    ):
        assert bc.studies(species="primate").empty
    assert "species" in bc.studies("personal", species=None)
