"""Errors: the answers of routes to invalid requests, and the state of the connection and server after them."""

from __future__ import annotations

import errno
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import requests
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import (
    ConfigurationError,
    InvalidArgument,
    InvalidFile,
    NotFound,
    SandboxError,
    UnknownStudy,
)
from biocolab_accessor.sandbox import requests as body
from biocolab_accessor.sandbox.routes import page as routes
from biocolab_accessor.sandbox.server import Sandbox, ServerThread, listen
from biocolab_accessor.sandbox.store import uploads
from tests.patience import PATIENCE, until
from tests.sandbox.wire import Wire


@pytest.fixture
def wire(server: Sandbox) -> Wire:
    return Wire(server)


@pytest.fixture
def own() -> Iterator[Sandbox]:
    """A sandbox for one test, which breaks something in it."""
    with bc.sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def study(server: Sandbox) -> str:
    """Uuid of a study of three cells."""
    adata = ad.AnnData(sparse.csr_matrix(np.array([[1, 2], [0, 3], [4, 0]], np.float32)))
    adata.obs["label"], adata.obs["size"] = ["a", "b", "a"], [1, 2, 3]
    adata.obs["truth"] = [True, False, True]
    adata.obsm["X_line"] = np.zeros((3, 1), np.float32)
    return adata.biocolab.submit(study_id="refusals", skip_dimred=True).study_info["uuid"]


def public(study_id: str) -> dict[str, object]:
    return {"database": bc.database().id, "species": "human", "version": 3, "study_idx": study_id}


class TestStudyRequests:
    @pytest.mark.parametrize(
        ("route", "body", "status", "says"),
        [
            ("study/get_metadata", {"fields": ["labl"]}, 404, "has no field 'labl' (did you mean 'label'?)"),
            ("study/get_metadata", {"fields": "label"}, 422, "fields must be a list of strings"),
            ("study/get_metadata", {"fields": [1]}, 422, "fields must be a list of strings"),
            ("study/query_genes", {"gene_names": ["1"], "unit": "tpm"}, 422, "unit is 'tpm': use 'raw' or 'lognorm'"),
            ("retrieve_custom_embedding", {"embedding_id": "f" * 32}, 404, "has no embedding"),
            ("retrieve_custom_embedding", {"embedding_id": "../obs"}, 404, "has no embedding '../obs'"),
            ("submit_metadata_dataframe", {"metadata_dct": []}, 422, "must be an object with barcodes"),
            ("submit_metadata_dataframe", {"metadata_dct": {"barcodes": "0"}}, 422, "must be an object with barcodes"),
            (
                "submit_metadata_dataframe",
                {"metadata_dct": {"barcodes": ["0", "0"]}},
                422,
                "the barcodes are not unique",
            ),
            ("study/get_metadata", {"group_id": "persnal"}, 404, "no group 'persnal' (did you mean 'personal'?)"),
            ("study/get_metadata_fields", {"group_id": 7}, 422, "group_id must be a string"),
            ("submit_metadata_dataframe", {"group_id": "persnal"}, 404, "no group 'persnal'"),
            ("submit_metadata_s3", {"group_id": "persnal", "file_path": "x.csv"}, 404, "no group 'persnal'"),
            ("export_study", {"group_id": "persnal", "study_type": 2}, 404, "no group 'persnal'"),
            ("export_study", {"study_type": 2}, 422, "group_id must be a string"),
            ("export_study", {"group_id": "personal", "study_type": 5}, 422, "exports h5ad (study_type 2) only"),
            ("submit_metadata_s3", {"file_path": "x.csv"}, 404, "no bucket is configured"),
        ],
    )
    def test_what_it_does_not_have_is_named(
        self, wire: Wire, study: str, route: str, body: dict[str, object], status: int, says: str
    ) -> None:
        answer = wire.post(route, {"species": "human", "study_id": study, **body})
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert says in answer.json()["detail"]

    @pytest.mark.parametrize("number", [True, -1, 99, "0", None, 0.5])
    def test_an_invalid_field_number_of_bioflex_is_refused(self, wire: Wire, number: object) -> None:
        answer = wire.post("/v1/study/fetch_metadata", {**public("PBMC68k_reduced"), "field_idx": number})
        assert answer.status_code == 404
        assert "field_idx must be an integer from 0 to " in answer.json()["detail"]

    def test_half_of_a_surrogate_pair_is_refused(self, wire: Wire) -> None:
        answer = wire.post("study/get_barcodes", data=b'{"study_id": "\\ud800"}')
        assert (answer.status_code, answer.json()["detail"]) == (422, "the body contains half of a surrogate pair")

    def test_an_invalid_table_in_a_bucket_is_refused(self, wire: Wire, study: str, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "good.tsv").write_text("barcode\tmine\n0\tp\n2\tq\n")
        bucket = wire.server.add_bucket(tmp_path)
        body = {"species": "human", "study_id": study}
        try:
            answer = wire.post("submit_metadata_s3", {**body, "file_path": "x.csv", "s3_id": bucket})
            assert answer.status_code == 422
            assert "x.csv cannot be read as a table" in answer.json()["detail"]
            answer = wire.post("submit_metadata_s3", {**body, "file_path": "good.tsv", "s3_id": f"{bucket}x"})
            assert f"the sandbox has no bucket '{bucket}x' (did you mean '{bucket}'?)" in answer.json()["detail"]
            wire.data("submit_metadata_s3", {**body, "file_path": "good.tsv"})  # without an id the first bucket is used
        finally:
            wire.server.remove_bucket(bucket)
        assert wire.data("study/get_metadata", {**body, "fields": ["mine"]})["mine"] == ["p", None, "q"]


class TestSubmissionRequests:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"study_info": "x"}, "study_info must be an object"),
            ({"filter_params": {"min_counts": "1"}}, "min_counts must be a number"),
            ({"filter_params": {"min_counts": True}}, "min_counts must be a number"),
            ({"filter_params": {"max_genes": 10**400}}, "max_genes is too large"),
            ({"batch_info": []}, "batch_info must list the batches"),
            ({"batch_info": ["y.h5ad"]}, "batch 'y.h5ad' was not uploaded; uploaded files: ['x.h5ad']"),
            (
                {"study_type": 3, "batch_info": ["x"]},
                "batch 'x' has no xmatrix.mtx[.gz]; uploaded files: ['x.h5ad']",
            ),
        ],
    )
    def test_an_invalid_submission_does_not_start_a_task(
        self, wire: Wire, changes: dict[str, object], says: str
    ) -> None:
        where = wire.upload("x.h5ad", [b"x"], folder=uuid.uuid4().hex)
        before = len(wire.server._state.catalog.tasks(wire.server.email))
        answer = wire.submit(where, **{"names": ["x.h5ad"], **changes})
        assert answer.status_code == 422
        assert says in answer.json()["detail"]
        assert len(wire.server._state.catalog.tasks(wire.server.email)) == before

    def test_a_nan_bound_is_refused(self, wire: Wire) -> None:
        where = wire.upload("x.h5ad", [b"x"], folder=uuid.uuid4().hex)
        body = (
            f'{{"species": "human", "group_id": "personal", "study_type": 2, "study_info": {{"study_hash_id": "x"}}, '
            f'"study_path": "{where}", "batch_info": ["x.h5ad"], "filter_params": {{"min_counts": NaN}}}}'
        )
        answer = wire.post("submit_study_from_local", data=body.encode())
        assert (answer.status_code, answer.json()["detail"]) == (422, "min_counts is NaN")

    @pytest.mark.parametrize("info", [None, [], {}, ["x.h5ad"], {"a": "x.h5ad"}, [{}, {}]])
    def test_batches_in_a_bucket_must_be_objects(self, wire: Wire, tmp_path: Path, info: object) -> None:
        bucket = wire.server.add_bucket(tmp_path)
        try:
            answer = wire.post("submit_study_from_s3", {"s3_id": bucket, "study_type": 2, "batch_info": info})
        finally:
            wire.server.remove_bucket(bucket)
        assert (answer.status_code, answer.json()["detail"]) == (422, "batch_info must be an object of batches")

    @pytest.mark.parametrize("chunk", [-1, 1, True, "0", None])
    def test_a_chunk_number_must_be_below_the_number_of_chunks(self, wire: Wire, chunk: object) -> None:
        import json

        folder = uuid.uuid4().hex
        announced = {"folder_id": folder, "n_chunks": 1, "original_file_name": "x.h5ad"}
        params = {"folder_id": folder, "id": wire.data("add_file_upload", announced)[0]["id"], "chunk": chunk}
        answer = wire.post("upload_chunk", files={"params": (None, json.dumps(params)), "file": ("x", b"x")})
        assert (answer.status_code, answer.json()["detail"]) == (422, "chunk must be an integer from 0 to 0")

    def test_a_processed_folder_submitted_again_is_the_same_task(self, wire: Wire) -> None:
        where = wire.upload("coords.npy", [b"x"], folder=uuid.uuid4().hex)
        body = {"species": "human", "group_id": "personal", "study_type": 23, "study_path": where}
        body["study_info"] = {"study_hash_id": "x"}
        first, second = (wire.data("submit_processed_study_from_local", body)["id"] for _ in range(2))
        assert first == second
        assert "cannot read studies of type PROCESSED_FOLDER" in wire.finish(first)[1]

    def test_only_a_successful_task_is_committed_and_only_to_its_group(self, wire: Wire, study: str) -> None:
        tasks = wire.server._state.catalog.tasks(wire.server.email)
        own = next(task.id for task in tasks if (task.result or {}).get("uuid") == study)
        where = wire.upload("x.h5ad", [b"no h5ad"], folder=uuid.uuid4().hex)
        failed = wire.submit(where, ["x.h5ad"]).json()["data"]["id"]
        assert wire.finish(failed)[0] == "ERROR"
        answer = wire.post("commit_submission_result", {"group_id": "personal", "task_id": failed})
        assert answer.status_code == 409
        assert "is ERROR: only a successful submission can be committed" in answer.json()["detail"]
        answer = wire.post("commit_submission_result", {"group_id": "all_members", "task_id": own})
        assert answer.status_code == 409
        assert "was submitted to group 'personal'" in answer.json()["detail"]
        answer = wire.post("get_export_result", {"task_id": failed})
        assert (answer.status_code, "has no file" in answer.json()["detail"]) == (409, True)


def _half_a_request(server: Sandbox, head: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 10)
    connection.sendall(f"{head}\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf".encode())
    return connection


def _answered(server: Sandbox, route: str) -> int | None:
    """The status of the latest request of a route, once it is over."""
    until(lambda: server.requests.of(route))
    return server.requests.of(route)[-1].status


API = "/t2d_index_tool/api/v1/"


class TestConnections:
    @pytest.mark.parametrize(
        ("route", "headers"),
        [
            ("test_connection", "bioturing-api-token: {token}"),
            ("upload_chunk", "bioturing-api-token: {token}\r\nContent-Type: multipart/form-data; boundary=x"),
            ("signin", "Content-Type: application/x-www-form-urlencoded"),
        ],
    )
    def test_a_client_that_disconnects_midway_leaves_nothing(self, own: Sandbox, route: str, headers: str) -> None:
        path = f"/{route}" if route == "signin" else API + route
        connection = _half_a_request(own, f"POST {path} HTTP/1.1\r\n{headers.format(token=own.token)}")
        time.sleep(0.1)
        connection.close()
        assert _answered(own, route) == 499
        assert list((own.path / "uploads").iterdir()) == []

    def test_a_client_that_stops_sending_gets_an_error(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(body, "_SILENCE", 0.2)
        with _half_a_request(own, f"POST {API}test_connection HTTP/1.1\r\nbioturing-api-token: {own.token}") as half:
            said = half.recv(4096)
            while b"}" not in said and (piece := half.recv(4096)):
                said += piece
        assert said.startswith(b"HTTP/1.1 408")
        assert b"only 4 bytes of the body arrived in 0.2 s" in said

    def test_a_client_that_sends_too_much_gets_an_error(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(body, "_LONGEST_JSON", 1000)
        answer = Wire(own).post("test_connection", {"x": "y" * 1000})
        assert (answer.status_code, answer.json()["detail"]) == (413, "the body is longer than 1,000 bytes")
        assert Wire(own).post("test_connection", {"x": "y"}).status_code == 200

    def test_a_link_to_a_missing_file_is_refused(self, server: Sandbox) -> None:
        answer = requests.get(f"{server.url}/api/export/{'0' * 32}", timeout=PATIENCE)
        assert (answer.status_code, answer.json()["detail"]) == (404, "the file does not exist")


class TestInternalErrors:
    """A bug in the sandbox is reported as one, and the next request is answered."""

    @pytest.fixture
    def broken(self, own: Sandbox, counts: ad.AnnData) -> str:
        """Uuid of a study whose matrix was removed."""
        uuid_ = counts.biocolab.submit(skip_dimred=True).study_info["uuid"]
        for name in ("raw.h5", "lognorm.h5"):
            (own.path / "studies" / uuid_ / name).unlink()
        return uuid_

    def test_a_failing_route_answers_500_and_the_next_request_works(
        self, own: Sandbox, broken: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        wire = Wire(own)
        body = {"species": "human", "study_id": broken, "gene_names": ["GENE1"]}
        answer = wire.post("study/query_genes", body)
        assert answer.status_code == 500
        assert "this is a bug in the sandbox, see its log" in answer.json()["detail"]
        assert "raw.h5" in caplog.text
        assert len(wire.data("study/get_features", body)) == 40

    def test_a_failing_page_view_answers_500_and_the_next_request_works(
        self, own: Sandbox, broken: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with requests.Session() as session:
            session.post(f"{own.url}/signin", data={"token": own.token}, timeout=PATIENCE)
            answer = session.get(f"{own.url}/page/data/study/{broken}/gene/0", timeout=PATIENCE)
            assert answer.status_code == 500
            assert "this is a bug in the sandbox, see its log" in answer.json()["detail"]
            assert "lognorm.h5" in caplog.text
            assert len(session.get(f"{own.url}/page/data/study/{broken}/barcodes", timeout=PATIENCE).json()) == 60

    def test_a_failing_task_ends_in_an_error(self, own: Sandbox, broken: str) -> None:
        wire = Wire(own)
        body = {"species": "human", "group_id": "personal", "study_id": broken, "study_type": 2}
        task = wire.data("export_study", body)["id"]
        status, log = wire.finish(task)
        assert status == "ERROR"
        assert "lognorm.h5" in log
        assert wire.post("get_export_result", {"task_id": task}).status_code == 409

    def test_a_server_that_does_not_start_is_an_error(self) -> None:
        listener = listen("127.0.0.1", 0)
        listener.close()
        with pytest.raises(SandboxError, match="did not start"):
            _started(listener)

    def test_a_study_whose_cells_are_missing_is_an_error(self, tmp_path: Path, counts: ad.AnnData) -> None:
        with bc.sandbox(tmp_path) as server:
            server.add_study("gone", counts)
            (uuid_,) = [row.uuid for row in server._state.catalog.studies() if row.hash_id == "gone"]
        shutil.rmtree(tmp_path / "studies" / uuid_)
        with (
            bc.sandbox(tmp_path),
            pytest.raises(bc.errors.ServerError, match="cells of study 'gone'"),
        ):
            bc.study("gone")


def _started(listener: socket.socket) -> None:
    """Start a server like a sandbox does, without pytest's message about a failed thread."""
    import threading

    hook, threading.excepthook = threading.excepthook, lambda arguments: None
    try:
        ServerThread(lambda *_: None, routes.__class__, listener)
    finally:
        threading.excepthook = hook


class TestPageRequests:
    @pytest.fixture
    def get(self, server: Sandbox, study: str) -> Iterator[Callable[[str], requests.Response]]:
        with requests.Session() as session:
            session.post(f"{server.url}/signin", data={"token": server.token}, timeout=PATIENCE)
            yield lambda path: session.get(f"{server.url}/page/data/study/{study}{path}", timeout=PATIENCE)

    @pytest.mark.parametrize(
        ("path", "says"),
        [
            ("/gene/2", "the study has 2 features"),
            ("/field/99", "the study has "),
            ("/embedding/ffff", "no such two-dimensional embedding"),
            (f"/embedding/{0:032x}", "no such two-dimensional embedding"),
            ("/export/none", "the file does not exist"),
        ],
    )
    def test_what_a_study_does_not_have_is_named(
        self, get: Callable[[str], requests.Response], path: str, says: str
    ) -> None:
        answer = get(path)
        assert answer.status_code == 404
        assert says in answer.json()["detail"]

    def test_every_kind_of_field_is_shown(self, get: Callable[[str], requests.Response]) -> None:
        about = get("").json()
        number = {field["name"]: i for i, field in enumerate(about["fields"])}
        assert about["field"] == number["label"]  # the first field with few labels
        assert get(f"/field/{number['size']}").json()["spread"] == [1.0, 2.0, 3.0]
        assert np.frombuffer(get(f"/field/{number['size']}/values").content, "<f4").tolist() == [1, 2, 3]
        truth = get(f"/field/{number['truth']}").json()
        assert (truth["labels"], truth["counts"]) == (["False", "True"], [1, 2])
        assert np.frombuffer(get(f"/field/{number['truth']}/values").content, "<u2").tolist() == [1, 0, 1]

    def test_a_form_that_is_too_long_is_refused(self, server: Sandbox) -> None:
        answer = requests.post(f"{server.url}/signin", data={"token": "x" * 20_000}, timeout=PATIENCE)
        assert (answer.status_code, answer.json()["detail"]) == (413, "the form is too long")

    @pytest.mark.parametrize("headers", [{"Host": "["}, {"Origin": "http://["}])
    def test_an_invalid_origin_counts_as_another_site(self, server: Sandbox, headers: dict[str, str]) -> None:
        assert requests.post(f"{server.url}/signin", headers=headers, timeout=PATIENCE).status_code in (400, 403)

    def test_the_first_session_ends_if_there_are_too_many(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(routes, "_MOST", 2)
        visitors = [requests.Session() for _ in range(3)]
        for visitor in visitors:
            visitor.post(f"{own.url}/signin", data={"token": own.token}, timeout=PATIENCE)
        seen = [visitor.get(f"{own.url}/page/data/session", timeout=PATIENCE).status_code for visitor in visitors]
        assert seen == [401, 200, 200]
        for visitor in visitors:
            visitor.close()


class TestSandboxMethods:
    def test_a_missing_folder_cannot_be_shared(self, own: Sandbox, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match=f"the folder {tmp_path / 'nothing'} does not exist"):
            own.add_folder(tmp_path / "nothing")
        with pytest.raises(InvalidArgument, match=f"the folder {tmp_path / 'nothing'} does not exist"):
            own.add_bucket(tmp_path / "nothing")

    def test_a_store_that_needs_another_package_is_an_error_that_names_it(self, own: Sandbox) -> None:
        pytest.importorskip("fsspec")
        with pytest.raises(ConfigurationError, match=r"gs://lab needs a package .*: .*gcsfs"):
            own.add_bucket("gs://lab")

    def test_public_studies_need_a_known_species_and_unique_barcodes(self, own: Sandbox, counts: ad.AnnData) -> None:
        with pytest.raises(InvalidArgument, match="no database of species 'humen' \\(did you mean 'human'"):
            own.add_study("x", counts, species="humen")
        counts.obs_names = ["same"] * 60
        with pytest.raises(InvalidFile, match="the barcodes are not unique"):
            own.add_study("x", counts)
        with pytest.raises(UnknownStudy):
            bc.study("x")

    def test_a_member_that_is_listed_twice_counts_once(self, own: Sandbox) -> None:
        own.add_group("trial", "Trial", [own.email, own.email])
        assert bc.groups()["id"].tolist() == ["all_members", "personal", "trial"]

    def test_a_reset_stops_running_tasks(self, own: Sandbox, counts: ad.AnnData) -> None:
        submission = counts.biocolab.submit(wait=False)
        until(lambda: "Reading batch" in bc.submission(submission.task_id).log)
        own.reset()
        with pytest.raises(NotFound, match="the sandbox has no task"):
            bc.submission(submission.task_id)
        again = counts.biocolab.submit(study_id="after", skip_dimred=True)
        assert again.status == "SUCCESS"
        assert bc.studies()["study_id"].tolist() == ["after"]

    def test_faults_and_the_ledger_can_be_emptied_over_http(self) -> None:
        with bc.sandbox(control=True) as own:
            headers = {"bioturing-api-token": own.token}
            own.faults.add("get_user_groups", nth=9)
            bc.groups()
            for what in ("faults", "requests"):
                base = f"{own.url}/_sandbox/{what}"
                assert len(requests.get(base, headers=headers, timeout=PATIENCE).json()) >= 1
                assert requests.delete(base, headers=headers, timeout=PATIENCE).json() == []
            assert len(own.faults) == 0

    def test_a_numeric_field_is_not_used_as_cell_type(self, own: Sandbox) -> None:
        frame = pd.DataFrame({"kind": [1.0, 2.0]}, index=["a", "b"])
        own.add_study("numbers", ad.AnnData(np.eye(2, dtype="f4"), obs=frame), cell_type="kind")
        assert "kind" not in set(bc.expression_summary("CD3D")["cell_type"])

    def test_the_package_exports_the_class_and_nothing_else(self) -> None:
        from biocolab_accessor.sandbox import Sandbox as Given

        assert Given is Sandbox
        with pytest.raises(ImportError, match="cannot import name 'Sendbox'"):
            from biocolab_accessor.sandbox import Sendbox  # noqa: F401


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OSError(errno.EFBIG, "File too large"), 507),
        (PermissionError(errno.EACCES, "Permission denied"), 500),
    ],
)
def test_a_disk_that_is_full_is_said_to_be(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch, error: OSError, status: int
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(uploads, "private_file", failing)
    wire = Wire(own)
    answer = wire.post("upload_chunk", files={"params": (None, "{}"), "file": ("x", b"x")})
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(
        "the disk of the sandbox is full" if status == 507 else "the sandbox failed"
    )
    assert len(own.requests.of("upload_chunk")) == 1


def test_a_catalogue_that_has_no_room_is_said_to_be(own: Sandbox) -> None:
    wire = Wire(own)
    with own._state._database.writing() as connection:
        [pages] = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {pages}")
    announced = {"folder_id": "f", "n_chunks": 1, "original_file_name": "x" * 400}
    answers = [wire.post("add_file_upload", announced) for _ in range(100)]
    assert {answer.status_code for answer in answers} == {200, 507}
    assert answers[-1].json()["detail"].startswith("the disk of the sandbox is full")
