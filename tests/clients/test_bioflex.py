from __future__ import annotations

import base64
import io
from pathlib import Path

import bioflex
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.arrays import csc_from_hdf5
from biocolab_accessor.clients.bioflex import BioFlexConnection
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidResponse,
    InvalidToken,
    ServerError,
    TooLarge,
    UnknownGene,
    UnknownStudy,
)
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import Scripted, answer


@pytest.fixture
def connection(server: Sandbox) -> BioFlexConnection:
    return BioFlexConnection(server.token, server.bioflex_host)


def test_the_objects_are_the_official_ones(connection: BioFlexConnection) -> None:
    database = connection.databases()[2]
    study = database.get_study("PBMC68k_reduced")
    assert isinstance(connection, bioflex.connection.Connection)
    assert isinstance(database, bioflex.database.Database)
    assert isinstance(study, bioflex.study.Study)
    assert isinstance(study.metalist[0], bioflex.metadata.Metadata)
    assert study.hash_id == "PBMC68k_reduced"


@pytest.mark.parametrize("path", ["gateway/bioflex", "gateway/bioflex/"])
def test_every_request_keeps_the_path_of_the_host(scripted: Scripted, path: str) -> None:
    row = {"id": "d", "name": "n", "species": "human", "version": 1}
    scripted.answers(
        answer(content=[row]), answer(content={"id": 1, "title": "", "authors": [], "reference": "", "metalist": []})
    )
    study = BioFlexConnection("t", scripted.host + path).databases()[0].get_study("s")
    scripted.answers(answer(content=b"\x89HDF"))
    assert study.matrix_bytes("raw") == 4
    study._post_download("/v1/study/get_matrix", {"unit": "raw"}, io.BytesIO())
    study.database.connection._post_buffer("/v1/study/get_matrix", study._scope(unit="raw"), "")
    routes = ["database/list", "study/get", *["study/get_matrix"] * 3]
    assert [request["path"] for request in scripted.requests] == [f"/gateway/bioflex/v1/{route}" for route in routes]


def test_no_attribute_of_any_object_shows_the_token(server: Sandbox, connection: BioFlexConnection) -> None:
    study = connection.databases()[2].get_study("PBMC68k_reduced")
    assert server.token not in repr(vars(connection)) + repr(vars(study)) + repr(connection)


def test_fetched_labels_have_their_codes(connection: BioFlexConnection) -> None:
    field = connection.databases()[2].get_study("PBMC68k_reduced").metalist[2]
    assert field.values is None
    field.fetch()
    assert field.categories[field.codes[0]] == field.values[0]
    assert len(field.values) == 700
    assert field.values is field.values


def test_the_official_download_into_a_file_works(connection: BioFlexConnection) -> None:
    study = connection.databases()[2].get_study("PBMC68k_reduced")
    target = io.BytesIO()
    assert study._post_download("/v1/study/get_matrix", {"unit": "raw"}, target).read(4) == b"\x89HDF"


def test_unknown_names_are_typed_errors(connection: BioFlexConnection) -> None:
    database = connection.databases()[2]
    with pytest.raises(UnknownStudy, match=r"human database version 3.*did you mean 'PBMC68k_reduced'"):
        database.get_study("PBMC68k")
    with pytest.raises(UnknownGene, match="did you mean 'CD3D'"):
        database.get_study("PBMC68k_reduced").query_genes(["cd3d"])
    with pytest.raises(UnknownGene, match="XXXX"):
        database.get_celltypes_expression_summary(["CD3D", "XXXX"])


def test_arguments_are_checked_before_anything_is_sent(connection: BioFlexConnection) -> None:
    study = connection.databases()[2].get_study("PBMC68k_reduced")
    with pytest.raises(InvalidArgument, match=r"it must be a list, \['CD3D'\]"):
        study.query_genes("CD3D")
    with pytest.raises(InvalidArgument, match="'raw' or 'lognorm'"):
        study.matrix("counts!")


@pytest.mark.parametrize("token", ["", "  ", "a\nb", "tökén", None, 5])
def test_tokens_that_an_http_header_cannot_carry_are_refused(token: object) -> None:
    with pytest.raises(InvalidToken) as caught:
        BioFlexConnection(token)
    assert "tökén" not in str(caught.value)


STUDY = {"id": 1557, "title": "T", "authors": [], "reference": "R"}
DATABASE = [{"id": "d", "name": "n", "species": "human", "version": 1}]


def study_with(scripted: Scripted, metalist: list, *more: object) -> object:
    scripted.answers(answer(content=DATABASE), answer(content={**STUDY, "metalist": metalist}), *more)
    return BioFlexConnection("t", scripted.host).databases()[0].get_study("GSE1")


def test_an_id_is_sent_back_with_its_json_type(scripted: Scripted) -> None:
    study = study_with(scripted, [], answer(content=["a"]))
    assert study.features() == ["a"]
    assert b'"study_idx": 1557' in scripted.requests[-1]["body"]


def test_one_field_of_an_unknown_type_does_not_make_the_study_unusable(scripted: Scripted) -> None:
    reply = {"name": "odd", "type": 7, "metadata_values": ""}
    study = study_with(scripted, [{"id": 0, "name": "odd", "type": 7}], answer(content=reply))
    assert repr(study.metalist) == '[Metadata(id=0,name="odd",type="Unknown")]'
    with pytest.raises(InvalidResponse, match="neither numeric"):
        study.metalist[0].fetch()


def test_a_code_without_a_label_is_an_error(scripted: Scripted) -> None:
    codes = "AgA="  # one uint16: 2
    reply = {"name": "x", "type": 1, "metadata_values": codes, "cluster_names": ["a", "b"], "cluster_lengths": [1, 0]}
    study = study_with(scripted, [{"id": 0, "name": "x", "type": 1}], answer(content=reply))
    with pytest.raises(InvalidResponse, match="code 2 but only 2 labels"):
        study.metalist[0].fetch()


def test_a_missing_gene_column_is_an_error(scripted: Scripted) -> None:
    one = {"shape": [2, 1], "data": "", "indices": "", "indptr": np.zeros(2, "<u8").tobytes()}
    one["indptr"] = __import__("base64").b64encode(one["indptr"]).decode()
    study = study_with(scripted, [], answer(content=one))
    with pytest.raises(InvalidResponse, match="1 genes, expected 2"):
        study.query_genes(["A", "B"], "raw")


@pytest.mark.parametrize("content", [[], {}, {"id": 1}, None, "x"])
def test_a_study_answer_without_its_fields_is_an_error(scripted: Scripted, content: object) -> None:
    scripted.answers(answer(content=DATABASE), answer(content=content))
    with pytest.raises(InvalidResponse, match="lacks"):
        BioFlexConnection("t", scripted.host).databases()[0].get_study("GSE1")


def label_reply(**changes: object) -> dict:
    whole = {"name": "x", "type": 1, "metadata_values": "AQA=", "cluster_names": ["a", "b"], "cluster_lengths": [0, 1]}
    return {**whole, **changes}


FIELDS = [{"id": 0, "name": "x", "type": 1}, {"id": 1, "name": "y", "type": 1}]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": True}, "neither numeric"),
        ({"type": 1.0}, "neither numeric"),
        ({"type": [1]}, "neither numeric"),
        ({"name": 5}, "name is 5"),
        ({"name": "y"}, "the server sent the values of 'y'"),
        ({"cluster_names": ["a", None]}, "cluster_names: expected a list of strings"),
        ({"cluster_names": "ab"}, "expected a list of strings"),
        ({"cluster_lengths": [[1], [1, 2]]}, "is not a list of numbers"),
        ({"cluster_lengths": "x"}, "is not a list of numbers"),
        ({"cluster_lengths": [1, 10**400]}, "is not a list of numbers"),
        ({"metadata_values": None}, "base64 string"),
    ],
)
def test_a_field_with_values_outside_the_protocol_is_an_error(scripted: Scripted, changes: dict, said: str) -> None:
    study = study_with(scripted, FIELDS, answer(content=label_reply(**changes)))
    with pytest.raises(InvalidResponse, match=said):
        study.metalist[0].fetch()


def test_lengths_of_labels_may_be_missing(scripted: Scripted) -> None:
    study = study_with(scripted, FIELDS, answer(content=label_reply(cluster_lengths=None)))
    study.metalist[0].fetch()
    assert list(study.metalist[0].values) == ["b"]


def test_one_long_label_does_not_allocate_its_length_for_all_cells(scripted: Scripted) -> None:
    codes = base64.b64encode(np.zeros(10_000, "<u2").tobytes()).decode()
    reply = label_reply(metadata_values=codes, cluster_names=["y" * 100_000], cluster_lengths=[])
    study = study_with(scripted, FIELDS, answer(content=reply))
    with bc.settings.override(memory_budget=100_000_000):
        study.metalist[0].fetch()
        assert (study.metalist[0].categories, study.metalist[0].codes.sum()) == (["y" * 100_000], 0)
        with pytest.raises(TooLarge, match=r"4\.0 GB.*use codes and categories"):
            _ = study.metalist[0].values


@pytest.mark.parametrize(
    ("key", "value"),
    [("title", 5), ("authors", "me"), ("authors", {}), ("reference", []), ("id", None), ("id", True), ("metalist", 7)],
)
def test_a_study_with_fields_of_wrong_types_is_an_error(scripted: Scripted, key: str, value: object) -> None:
    scripted.answers(answer(content=DATABASE), answer(content={**STUDY, "metalist": [], key: value}))
    with pytest.raises(InvalidResponse):
        BioFlexConnection("t", scripted.host).databases()[0].get_study("GSE1")


@pytest.mark.parametrize(("key", "value"), [("version", "1"), ("version", None), ("species", 1), ("id", [])])
def test_a_database_with_fields_of_wrong_types_is_an_error(scripted: Scripted, key: str, value: object) -> None:
    scripted.answers(answer(content=[{**DATABASE[0], key: value}]))
    with pytest.raises(InvalidResponse, match=f"database: {key} is"):
        BioFlexConnection("t", scripted.host).databases()


@pytest.mark.parametrize(("key", "value"), [("sum", "1"), ("count", None), ("mean", 10**400), ("name", 5)])
def test_an_expression_summary_with_fields_of_wrong_types_is_an_error(
    scripted: Scripted, key: str, value: object
) -> None:
    row = {"name": "T cell", "sum": 1.0, "mean": 1.0, "rate": 0.5, "count": 1.0, "total": 2, key: value}
    scripted.answers(answer(content=DATABASE), answer(content={"CD3D": [row]}))
    with pytest.raises(InvalidResponse, match=f"CD3D: {key} is"):
        BioFlexConnection("t", scripted.host).databases()[0].get_celltypes_expression_summary(["CD3D"])


def test_an_error_with_status_200_keeps_the_words_of_the_server(scripted: Scripted) -> None:
    scripted.answers(answer(content={"detail": "quota exceeded"}))
    with pytest.raises(ServerError, match="quota exceeded"):
        BioFlexConnection("t", scripted.host).databases()


def test_a_download_into_memory_is_stopped_by_the_budget(connection: BioFlexConnection) -> None:
    study = connection.databases()[2].get_study("PBMC68k_reduced")
    with bc.settings.override(memory_budget=100_000), pytest.raises(TooLarge):
        study._post_download("/v1/study/get_matrix", {"unit": "raw"})


def test_the_official_headers_hold_no_token(connection: BioFlexConnection) -> None:
    assert connection._http_headers() == {}


@pytest.mark.parametrize("reply", [{}, {"CD3D": []}, {"CD3D": None}, []])
def test_genes_that_are_missing_in_the_answer_are_named(scripted: Scripted, reply: object) -> None:
    scripted.answers(answer(content=DATABASE), answer(content=reply))
    with pytest.raises(UnknownGene, match="human database version 1 has no expression for 'CD3D', 'CD3E'"):
        BioFlexConnection("t", scripted.host).databases()[0].get_celltypes_expression_summary(["CD3D", "CD3E"])


def test_gene_names_must_be_strings(connection: BioFlexConnection) -> None:
    with pytest.raises(InvalidArgument, match="gene_names contains 3, which is not a string"):
        connection.databases()[2].get_celltypes_expression_summary(["CD3D", 3])


def test_a_matrix_is_written_to_dst_file_if_it_is_set(connection: BioFlexConnection, tmp_path: Path) -> None:
    study = connection.databases()[2].get_study("PBMC68k_reduced")
    with (tmp_path / "m.h5").open("w+b") as file:
        file.write(b"mine")
        assert study._post_download("/v1/study/get_matrix", {"unit": "raw"}, file) is file
    content = (tmp_path / "m.h5").read_bytes()
    assert content[:4] == b"mine"  # the earlier content stays
    found = csc_from_hdf5(np.frombuffer(bytearray(content[4:]), np.uint8), "m.h5")
    np.testing.assert_array_equal(found.toarray(), study.matrix("raw").toarray())
