from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from bioturing_connector import bbrowserx_connector
from bioturing_connector.typing import ChunkSize, InputMatrixType, Species, StudyType
from scipy import io

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidFile,
    InvalidResponse,
    ServerError,
    TaskFailed,
    TransportError,
    Unauthorized,
)
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import Script, Scripted, answer

pytestmark = pytest.mark.smoke


@pytest.fixture
def connector(server: Sandbox) -> BBrowserXConnector:
    return BBrowserXConnector(server.private_host, server.token)


def test_the_connector_is_an_instance_of_the_official_class(connector: BBrowserXConnector, server: Sandbox) -> None:
    assert isinstance(connector, bbrowserx_connector.BBrowserXConnector)
    assert server.token not in repr(vars(connector))


def test_the_trailing_slash_of_a_host_is_optional(server: Sandbox) -> None:
    assert len(BBrowserXConnector(server.private_host.rstrip("/"), server.token).get_user_groups()) == 2


@pytest.mark.parametrize("path", ["gateway/t2d_index_tool", "gateway/t2d_index_tool/"])
def test_every_request_keeps_the_path_of_the_host(scripted: Scripted, path: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    scripted.answers(answer(content={"status": 200, "data": {"id": 7, "output_dir": "/d"}}))
    connector = BBrowserXConnector(scripted.host + path, "t")
    for route in ("api/v1/x", "/api/v1/x", f"{connector.host}api/v1/x"):
        connector.post_request(route)
    connector.submit_task("x", {})
    connector.send_chunk({}, "x", tmp_path / "x", 0, 3)
    connector.http.get("/api/v1/x")
    expected = [f"/gateway/t2d_index_tool/api/v1/{route}" for route in ("x", "x", "x", "x", "upload_chunk", "x")]
    assert [request["path"] for request in scripted.requests] == expected


def test_the_official_submit_accepts_enum_members_and_paths_and_does_not_change_its_arguments(
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


def test_a_wrong_argument_raises_instead_of_returning_a_string(connector: BBrowserXConnector) -> None:
    with pytest.raises(InvalidArgument, match="ChunkSize"):
        connector.submit_study_from_local("personal", [{"matrix": "x.h5ad"}], chunk_size=7)


def test_a_failed_task_raises_instead_of_returning_false(connector: BBrowserXConnector, tmp_path: Path) -> None:
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
    with pytest.raises(InvalidFile, match="empty" if content is not None else "does not exist"):
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
    with pytest.raises(InvalidResponse, match=r"returned no id for the file 'x\.h5ad'"):
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


def test_the_repr_shows_only_the_host(connector: BBrowserXConnector, server: Sandbox) -> None:
    assert repr(connector) == f"BBrowserXConnector(host={server.private_host!r})"


@pytest.mark.parametrize("data", [None, [], {"Barcodes": "a"}, {"Barcodes": ["a"], "x": 1}])
def test_metadata_without_columns_is_refused(scripted: Scripted, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="metadata of u: expected an object of columns"):
        BBrowserXConnector(scripted.host, "t").get_metadata_columns("human", "u")


@pytest.mark.parametrize("data", [None, {}, {"output_dir": None}, "x"])
def test_an_upload_without_a_location_is_an_error(scripted: Scripted, data: object, tmp_path: Path) -> None:
    (tmp_path / "x.h5ad").write_bytes(b"abc")
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match=r"accepted 'x\.h5ad' but did not say where"):
        BBrowserXConnector(scripted.host, "t").send_chunk({}, "x.h5ad", tmp_path / "x.h5ad", 0, 3)


@pytest.mark.parametrize("method", ["get_barcodes", "get_features"])
@pytest.mark.parametrize("data", [None, "AB", ["A", 1], [None]])
def test_names_that_are_not_strings_are_refused(scripted: Scripted, method: str, data: object) -> None:
    scripted.answers(answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="of u: expected a list of strings"):
        getattr(BBrowserXConnector(scripted.host, "t"), method)(Species.HUMAN, "u")
    assert b'"species": "human"' in scripted.requests[0]["body"]


@pytest.fixture
def own_study(connector: BBrowserXConnector, counts: ad.AnnData, tmp_path: Path) -> str:
    """The uuid of a study of 60 cells in the personal group."""
    counts.raw = counts
    counts.write_h5ad(tmp_path / "own.h5ad")
    done = connector.submit_study_from_local(
        "personal", [{"matrix": tmp_path / "own.h5ad"}], "own", input_matrix_type="raw", skip_dimred=True
    )
    return str(done["study_info"]["uuid"])


def test_metadata_keeps_its_types_whatever_it_looks_like(
    connector: BBrowserXConnector, own_study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({"lane": ["001", "002"], "share": [0.25, None]}, index=["CELL3-1", "CELL1-1"])
    assert connector.submit_metadata_from_dataframe(Species.HUMAN, own_study, "personal", table) is True
    table.rename(columns=lambda name: f"{name} of a file").to_csv(tmp_path / "x.csv")
    assert connector.submit_metadata_from_local("human", own_study, "personal", tmp_path / "x.csv") is True
    assert capsys.readouterr().out.splitlines() == ["Successful"] * 2
    found = connector.get_metadata("human", own_study).set_index("Barcodes")
    for suffix in ("", " of a file"):
        assert found.loc[["CELL3-1", "CELL1-1"], f"lane{suffix}"].tolist() == ["001", "002"]
        assert found[f"share{suffix}"].dropna().to_dict() == {"CELL3-1": 0.25}


def test_a_download_is_complete_and_at_the_requested_path(
    connector: BBrowserXConnector,
    own_study: str,
    counts: ad.AnnData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ("personal", own_study, StudyType.H5AD, Species.HUMAN)
    assert connector.download_study(*call) is True
    assert connector.download_study(*call, tmp_path / "mine.h5ad", ChunkSize.CHUNK_5_MB) is True
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [printed[0], "Downloading", "DONE!"]
    for name in ("own.h5ad", "mine.h5ad"):
        np.testing.assert_array_equal(ad.read_h5ad(name).layers["counts"].toarray(), counts.X.toarray())
    with pytest.raises(InvalidArgument, match="there is no folder"):
        connector.download_study(*call, tmp_path / "nowhere" / "x.h5ad")


@pytest.mark.parametrize("file_name", ["../../up.h5ad", "/etc/up.h5ad", "C:\\up.h5ad", "../.up.h5ad", "up.h5ad"])
def test_a_file_name_from_the_server_is_never_used_as_a_path(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    scripted.answers(*_export(file_name), answer(content=b"the file"))
    BBrowserXConnector(scripted.host, "t").download_study("personal", "u")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.h5ad")] == [Path("here/up.h5ad")]
    assert (tmp_path / "here" / "up.h5ad").read_bytes() == b"the file"


@pytest.mark.parametrize(
    "last",
    [answer(content=b"the fi", length=8), answer(content={"status": 500, "message": "gone"}), answer(status=502)],
)
def test_a_failed_download_leaves_the_existing_file_unchanged(scripted: Scripted, tmp_path: Path, last: Script) -> None:
    (tmp_path / "x.h5ad").write_bytes(b"before")
    scripted.answers(*_export("x.h5ad"), last)
    with pytest.raises((TransportError, ServerError)):
        BBrowserXConnector(scripted.host, "t").download_study("personal", "u", dest_path=tmp_path / "x.h5ad")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_failed_export_says_why_and_stops_polling(scripted: Scripted) -> None:
    log = {"status": "FAILURE", "log": "[2026-01-01 00:00] no room\n"}
    scripted.answers(answer(content={"status": 200, "data": {"id": "7"}}), answer(content={"status": 200, "data": log}))
    with pytest.raises(TaskFailed, match="no room"):
        BBrowserXConnector(scripted.host, "t").download_study("personal", "u")
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("data", [None, {}, {"file_path": "a"}, {"file_path": 1, "file_name": "x"}])
def test_an_export_without_a_location_is_an_error(scripted: Scripted, data: object) -> None:
    done = answer(content={"status": 200, "data": {"status": "SUCCESS", "log": ""}})
    scripted.answers(done, answer(content={"status": 200, "data": data}))
    with pytest.raises(InvalidResponse, match="did not say where the file of task 7 is"):
        BBrowserXConnector(scripted.host, "t").get_export_log("personal", "7")


def _export(file_name: str) -> list[Script]:
    """The answers of a server before it sends the file."""
    return [
        answer(content={"status": 200, "data": {"id": "7"}}),
        answer(content={"status": 200, "data": {"status": "SUCCESS", "log": "done\n"}}),
        answer(content={"status": 200, "data": {"file_path": "/api/export/7", "file_name": file_name}}),
    ]


def test_submitting_from_a_server_folder_accepts_members_and_paths_under_both_method_names(
    connector: BBrowserXConnector, server: Sandbox, counts: ad.AnnData, tmp_path: Path
) -> None:
    counts.raw = counts
    for lane, rows in (("a", slice(0, 20)), ("b", slice(20, 60))):
        counts[rows].copy().write_h5ad(tmp_path / f"{lane}.h5ad")
    folder = server.add_folder(tmp_path)
    batches = [{"matrix": folder / "a.h5ad"}, {"matrix": folder / "b.h5ad"}]
    for submit in (connector.submit_study_from_server, connector.submit_study_from_sever):
        done = submit(
            "personal", batches, folder, species=Species.HUMAN, input_matrix_type=InputMatrixType.RAW, skip_dimred=True
        )
        uuid = done["study_info"]["uuid"]
        np.testing.assert_array_equal(connector.query_genes("human", uuid, []).toarray(), counts.X.toarray())
        assert connector.get_metadata("human", uuid)["Batch"].tolist() == ["a"] * 20 + ["b"] * 40
    assert batches[0] == {"matrix": folder / "a.h5ad"}


def test_an_mtx_batch_is_named_by_its_folder_where_it_has_no_name(
    connector: BBrowserXConnector, counts: ad.AnnData, tmp_path: Path
) -> None:
    batches = []
    for lane, rows in (("lane_1", slice(0, 20)), ("lane_2", slice(20, 60))):
        (tmp_path / lane).mkdir()
        io.mmwrite(tmp_path / lane / "matrix.mtx", counts.X[rows].T)
        (tmp_path / lane / "features.tsv").write_text("\n".join(counts.var_names))
        (tmp_path / lane / "barcodes.tsv").write_text("\n".join(counts.obs_names[rows]))
        parts = {"matrix": "matrix.mtx", "features": "features.tsv", "barcodes": "barcodes.tsv"}
        batches.append({part: tmp_path / lane / name for part, name in parts.items()})
    done = connector.submit_study_from_local("personal", batches, study_type=StudyType.MTX_10X, skip_dimred=True)
    uuid = done["study_info"]["uuid"]
    np.testing.assert_array_equal(connector.query_genes("human", uuid, []).toarray(), counts.X.toarray())
    assert connector.get_metadata("human", uuid)["Batch"].tolist() == ["lane_1"] * 20 + ["lane_2"] * 40


@pytest.mark.parametrize("call", ["query_genes", "get_metadata"])
def test_a_single_string_is_not_taken_for_a_list_of_letters(scripted: Scripted, call: str) -> None:
    arguments = {"query_genes": {"gene_names": "CD3D"}, "get_metadata": {"fields": "CD3D"}}[call]
    with pytest.raises(InvalidArgument, match=r"is the string 'CD3D': it must be a list, \['CD3D'\]"):
        getattr(BBrowserXConnector(scripted.host, "t"), call)("human", "u", **arguments)
    assert scripted.requests == []
