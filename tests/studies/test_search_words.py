from typing import Any

import pytest

from biocolab_accessor.errors import InvalidResponse, ServerError, Unauthorized
from biocolab_accessor.studies.search import look_up, words_of

TERM = {"study_id": "u1", "metadata_field": "f", "metadata_label": "a", "node_accession_id": "X:1", "node_label": "n"}
GRANDCHILD = {"id": "C", "name": "grandchild"}
TREE = {"R": {"name": "root", "children": [
    {"id": "A", "name": "first", "children": [{"id": "B", "name": "child", "children": [GRANDCHILD]}]},
    {"id": "D", "name": "second", "children": [GRANDCHILD]},
]}}  # fmt: skip


class Server:
    """A connector with fixed answers, some of them errors."""

    host = "https://server.example/"

    def __init__(self, **answers: Any) -> None:
        self.answers = {"export_std_metadata": [], "get_ontologies": {"tree": {}}, **answers}

    def get_user_groups(self) -> Any:
        return [{"id": "g", "name": "G"}, {"id": "h", "name": "H"}]

    def get_all_studies_info_in_group(self, species: str, group_id: str) -> Any:
        answer = self.answers.get(group_id, [{"uuid": "u1", "study_hash_id": "S1", "authors": "Someone"}])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def export_std_meta(self) -> Any:
        return self.post_request("api/v1/export_std_metadata", {})

    def post_request(self, route: str, body: dict[str, Any]) -> Any:
        answer = self.answers[route.rpartition("/")[2]]
        if isinstance(answer, Exception):
            raise answer
        return {"data": answer}


def above(server: Server) -> list[list[str]]:
    found = look_up(server, None, ["human"])  # type: ignore[arg-type]
    return [[name for name, _ in concept.above] for concept in found.concepts["u1"]]


def test_a_study_of_several_groups_is_listed_once_with_the_first() -> None:
    found = look_up(Server(), ["H", "g"], ["human", "mouse"])  # type: ignore[arg-type]
    assert [(listed.row["uuid"], listed.group_id, listed.species) for listed in found.studies] == [("u1", "h", "human")]
    assert found.studies[0].words["authors"] == {"someone"}


@pytest.mark.parametrize("node", [{"node_accession_id": "C"}, {"node_accession_id": "own", "node_label": "grandchild"}])
def test_a_term_has_all_terms_above_it_but_the_root(node: dict[str, str]) -> None:
    (names,) = above(Server(export_std_metadata=[TERM | node], get_ontologies={"tree": TREE}))
    assert sorted(names) == ["child", "first", "second"]
    assert names.index("child") < names.index("first")
    assert above(Server(export_std_metadata=[TERM], get_ontologies={"tree": TREE})) == [[]]


@pytest.mark.parametrize("data", [None, [], {}, {"tree": []}, {"tree": {"R": {"children": "x"}}},
                                  {"tree": {"R": {"children": ["x"]}}}])  # fmt: skip
def test_an_answer_that_is_not_a_tree_is_refused(data: object) -> None:
    with pytest.raises(InvalidResponse, match="get_ontologies"):
        look_up(Server(export_std_metadata=[TERM], get_ontologies=data), None, ["human"])  # type: ignore[arg-type]


def test_a_server_that_has_no_terms_or_no_tree_is_listed_without() -> None:
    found = look_up(Server(export_std_metadata=ServerError("404")), None, ["human"])  # type: ignore[arg-type]
    assert (len(found.studies), found.concepts, found.has_terms) == (1, {}, False)
    found = look_up(Server(export_std_metadata=[TERM], get_ontologies=ServerError("404")), None, ["human"])  # type: ignore[arg-type]
    assert (len(found.concepts["u1"]), found.has_terms, found.has_tree) == (1, True, False)


@pytest.mark.parametrize("route", ["export_std_metadata", "get_ontologies", "g"])
def test_a_token_that_is_refused_is_an_error(route: str) -> None:
    server = Server(**{"export_std_metadata": [TERM], route: Unauthorized("401")})
    with pytest.raises(Unauthorized):
        look_up(server, None, ["human"])  # type: ignore[arg-type]


def test_only_the_public_group_may_be_missing() -> None:
    found = look_up(Server(bioturing_public_studies=ServerError("404")), None, ["human"])  # type: ignore[arg-type]
    assert len(found.studies) == 1
    with pytest.raises(ServerError, match="404"):
        look_up(Server(h=ServerError("404")), None, ["human"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("term", "kind"),
    [
        ({"node_accession_id": "CL:0000235"}, "cell type"),
        ({"ontology_accession_id": "uberon_0000465"}, "tissue"),
        ({"ontology_label": "Diseases"}, "disease"),
        ({"metadata_field": "Author's cell type"}, "cell type"),
        ({"ontology_label": "platform"}, "platform"),
        ({"metadata_field": "age"}, "age"),
    ],
)
def test_the_kind_of_a_term_is_known_from_its_id_ontology_or_field(term: dict[str, str], kind: str) -> None:
    found = look_up(Server(export_std_metadata=[TERM | term]), None, ["human"])  # type: ignore[arg-type]
    assert found.concepts["u1"][0].kind == kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CD14+ Monocytes, δ/β", ["cd14", "monocyte", "δ", "β"]),
        ("Biopsies of the VIRUS", ["biopsy", "of", "the", "virus"]),
        ("Crohn's   naïve_T", ["crohn", "s", "naive", "t"]),
        ("ﬁbrosis Straße", ["fibrosis", "strasse"]),
        ("", []),
    ],
)
def test_words_are_compared_without_case_accents_and_plurals(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_tree_of_thousands_of_levels_or_places_is_refused() -> None:
    deep: dict[str, Any] = {"id": "X:1", "name": "n"}
    for level in range(300):
        deep = {"id": f"L{level}", "name": "", "children": [deep]}
    with pytest.raises(InvalidResponse, match="more than 200 levels"):
        above(Server(export_std_metadata=[TERM], get_ontologies={"tree": {"R": {"children": [deep]}}}))


def test_a_term_in_thousands_of_places_is_read_once_for_each() -> None:
    places = [{"id": f"P{i}", "name": f"p{i}", "children": [{"id": "X:1", "name": "n"}]} for i in range(20_000)]
    (names,) = above(Server(export_std_metadata=[TERM], get_ontologies={"tree": {"R": {"children": places}}}))
    assert len(names) == 20_000
