from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from bioturing_connector import bbrowserx_connector
from bioturing_connector.typing import ChunkSize, InputMatrixType, Species, StudyType

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidFile,
    InvalidResponse,
    ServerError,
    TaskFailed,
    Unauthorized,
)
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import Scripted, answer


@pytest.fixture
def connector(server: Sandbox) -> BBrowserXConnector:
    return BBrowserXConnector(server.private_host, server.token)


def test_it_is_the_official_connector(connector: BBrowserXConnector, server: Sandbox) -> None:
    assert isinstance(connector, bbrowserx_connector.BBrowserXConnector)
    assert server.token not in repr(vars(connector))


def test_a_host_without_its_last_slash_is_the_same(server: Sandbox) -> None:
    assert len(BBrowserXConnector(server.private_host.rstrip("/"), server.token).get_user_groups()) == 2


def test_the_official_submit_takes_enum_members_and_paths_and_leaves_its_arguments_alone(
    connector: BBrowserXConnector, counts: ad.AnnData, tmp_path: Path
) -> None:
    counts.raw = counts
    counts.write_h5ad(tmp_path / "x.h5ad")
    batches = [{"matrix": tmp_path / "x.h5ad"}]
    done = connector.submit_study_from_local(
        "personal",
        batches,
        species=Species.HUMAN,
        input_matrix_type=InputMatrixType.RAW,
        study_type=StudyType.H5AD,
        skip_dimred=True,
        chunk_size=ChunkSize.CHUNK_5_MB,
    )
    assert batches == [{"matrix": tmp_path / "x.h5ad"}]
    uuid = done["study_info"]["uuid"]
    np.testing.assert_array_equal(connector.query_genes("human", uuid, [], "raw").toarray(), counts.X.toarray())


def test_a_wrong_argument_is_an_error_and_no_text(connector: BBrowserXConnector) -> None:
    with pytest.raises(InvalidArgument, match="ChunkSize"):
        connector.submit_study_from_local("personal", [{"matrix": "x.h5ad"}], chunk_size=7)


def test_a_failed_task_is_an_error_and_not_false(connector: BBrowserXConnector, tmp_path: Path) -> None:
    (tmp_path / "x.h5ad").write_bytes(b"not hdf5")
    with pytest.raises(TaskFailed, match=r"x\.h5ad cannot be read"):
        connector.submit_study_from_local("personal", [{"matrix": str(tmp_path / "x.h5ad")}])


def test_equal_names_are_refused_before_they_overwrite_each_other(
    connector: BBrowserXConnector, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.h5ad").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="overwrite each other"):
        connector.submit_study_from_local("personal", [{"matrix": str(tmp_path / n / "x.h5ad")} for n in ("a", "b")])


@pytest.mark.parametrize("content", [None, b""])
def test_missing_and_empty_files_are_refused(
    connector: BBrowserXConnector, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "x.h5ad"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidFile, match="empty" if content is not None else "no file"):
        connector.submit_study_from_local("personal", [{"matrix": str(path)}])


def test_a_wrong_token_says_where_it_came_from(server: Sandbox) -> None:
    with pytest.raises(Unauthorized, match="argument token"):
        BBrowserXConnector(server.private_host, "wrong").get_user_groups()


def test_a_refused_submission_keeps_the_servers_words(scripted: Scripted) -> None:
    scripted.answers(answer(content={"status": 500, "message": "quota exceeded"}))
    with pytest.raises(ServerError, match="quota exceeded"):
        BBrowserXConnector(scripted.host, "t").submit_study_from_s3("personal", batch_info=[{"matrix": "x"}])
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("info", [{}, {"study_info": None}, {"study_info": {"uuid": "u"}}])
def test_a_commit_without_study_info_is_a_commit(scripted: Scripted, info: dict) -> None:
    scripted.answers(answer(content={"status": 200, **info}))
    assert BBrowserXConnector(scripted.host, "t").commit_task("personal", "7") == (info.get("study_info") or {})


@pytest.mark.parametrize("data", [None, {}, {"id": None}, []])
def test_a_submission_without_task_id_is_an_error(scripted: Scripted, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="no task id"):
        BBrowserXConnector(scripted.host, "t").submit_task("submit_study_from_local", {})


@pytest.mark.parametrize("data", [None, {}, [], [None], [{}], [{"id": None}], [{"id": ""}]])
def test_a_file_without_an_id_is_an_error(scripted: Scripted, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match=r"was told of 'x\.h5ad' and gave it no id"):
        BBrowserXConnector(scripted.host, "t").announce_file("f", 1, "x.h5ad")


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"coord_shape": [2, 2]},
        {"coord_arr": "AAAA", "coord_shape": [2, 2]},
        {"coord_arr": "", "coord_shape": [-1, 0]},
    ],
)
def test_embeddings_of_wrong_shape_are_refused(scripted: Scripted, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="embedding"):
        BBrowserXConnector(scripted.host, "t").retrieve_custom_embedding("human", "u", "e")


def test_columns_of_different_lengths_are_refused(scripted: Scripted) -> None:
    scripted.answers(answer(content={"status": 200, "data": {"Barcodes": ["a"], "x": [1, 2]}}))
    with pytest.raises(InvalidResponse, match="different lengths"):
        BBrowserXConnector(scripted.host, "t").get_metadata_columns("human", "u")


def test_its_text_shows_the_host_and_nothing_else(connector: BBrowserXConnector, server: Sandbox) -> None:
    assert repr(connector) == f"BBrowserXConnector(host={server.private_host!r})"


@pytest.mark.parametrize("data", [None, [], {"Barcodes": "a"}, {"Barcodes": ["a"], "x": 1}])
def test_metadata_that_are_no_columns_are_refused(scripted: Scripted, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="metadata of u: expected an object of columns"):
        BBrowserXConnector(scripted.host, "t").get_metadata_columns("human", "u")


@pytest.mark.parametrize("data", [None, {}, {"output_dir": None}, "x"])
def test_an_upload_that_went_nowhere_is_an_error(scripted: Scripted, data: object, tmp_path: Path) -> None:
    (tmp_path / "x.h5ad").write_bytes(b"abc")
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match=r"took 'x\.h5ad' but did not say where"):
        BBrowserXConnector(scripted.host, "t").send_chunk({}, "x.h5ad", tmp_path / "x.h5ad", 0, 3)


@pytest.mark.parametrize("method", ["get_barcodes", "get_features"])
@pytest.mark.parametrize("data", [None, "AB", ["A", 1], [None]])
def test_names_that_are_no_texts_are_refused(scripted: Scripted, method: str, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="of u: expected a list of strings"):
        getattr(BBrowserXConnector(scripted.host, "t"), method)(Species.HUMAN, "u")
    assert b'"species": "human"' in scripted.requests[0]["body"]
