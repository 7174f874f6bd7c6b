"""Faults as they appear on the wire, without a client that interprets them."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import anndata as ad
import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.clients.arrays import decode_array
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidResponse, ServerError
from biocolab_accessor.sandbox.faults.faults import KINDS
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE, until


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with bc.sandbox() as server:
        yield server


@pytest.fixture
def own(shared: Sandbox) -> Iterator[Sandbox]:
    yield shared
    shared.faults.clear()
    shared.requests.clear()


def post(server: Sandbox, route: str, body: object = None, **options: object) -> requests.Response:
    base = server.url if route.startswith("/v1") else server.private_host + "api/v1/"
    headers = {"bioturing-api-token": server.token, "btr-api-token": server.token}
    return requests.post(base + route, json=body or {}, headers=headers, **{"timeout": PATIENCE, **options})


class TestAdding:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"route": "uplaod_chunk"}, "did you mean 'upload_chunk'"),
            ({"route": "upload_chunk", "kind": "rest"}, "did you mean 'reset'"),
            ({"route": "upload_chunk", "kind": "reset", "status": 1}, "has no option 'status'"),
            ({"route": "upload_chunk", "nth": 0}, "but the first request is 1"),
            ({"route": "upload_chunk", "nth": []}, "but the first request is 1"),
        ],
    )
    def test_an_invalid_fault_is_refused(self, own: Sandbox, arguments: dict[str, object], says: str) -> None:
        with pytest.raises(InvalidArgument, match=re.escape(says)):
            own.faults.add(**arguments)

    @pytest.mark.parametrize(
        "route",
        ["get_user_groups", "/t2d_index_tool/api/v1/get_user_groups", "*", "get_user_*", "api/v1/get_user_groups"],
    )
    def test_a_route_may_be_a_full_path_or_a_pattern(self, own: Sandbox, route: str) -> None:
        own.faults.add(route, status=418)
        assert post(own, "get_user_groups").status_code == 418

    def test_only_the_nth_request_gets_the_fault(self, own: Sandbox) -> None:
        fault = own.faults.add("get_user_groups", nth=(2, 4))
        assert [post(own, "get_user_groups").status_code for _ in range(5)] == [200, 503, 200, 503, 200]
        assert (fault.seen, fault.hits) == (5, 2)

    def test_a_removed_fault_no_longer_applies(self, own: Sandbox) -> None:
        fault = own.faults.add("get_user_groups")
        assert repr(own.faults) == "Faults(status of get_user_groups)"
        own.faults.remove(fault)
        assert post(own, "get_user_groups").status_code == 200
        assert len(own.faults) == 0


class TestAnswers:
    def test_a_status_fault_sends_the_status_and_retry_after(self, own: Sandbox) -> None:
        own.faults.add("get_user_groups", kind="status", status=429, retry_after=7)
        answer = post(own, "get_user_groups")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert answer.json() == {"detail": "a fault of the sandbox"}

    def test_a_status_that_python_does_not_know_is_sent(self, own: Sandbox) -> None:
        own.faults.add("get_user_groups", status=520)
        assert post(own, "get_user_groups").status_code == 520

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("detail_in_body", b'{"detail": "a fault of the sandbox"}'),
            ("status_in_body", b'{"status": 500, "message": "a fault of the sandbox"}'),
            ("empty_object", b"{}"),
            ("empty_body", b""),
        ],
    )
    def test_an_error_with_status_200_has_the_error_in_the_body(self, own: Sandbox, kind: str, body: bytes) -> None:
        own.faults.add("get_user_groups", kind=kind)
        answer = post(own, "get_user_groups")
        assert (answer.status_code, answer.content) == (200, body)

    def test_a_proxy_page_replaces_the_answer(self, own: Sandbox) -> None:
        own.faults.add("get_user_groups", kind="html")
        assert post(own, "get_user_groups").text.startswith("<!DOCTYPE html>")

    def test_broken_json_cannot_be_parsed(self, own: Sandbox) -> None:
        own.faults.add("get_user_groups", kind="broken_json")
        answer = post(own, "get_user_groups")
        assert int(answer.headers["content-length"]) == len(answer.content) > 0
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.content)

    def test_a_redirect_leads_to_another_host(self, own: Sandbox) -> None:
        own.faults.add("get_user_groups", kind="redirect", location="https://example.org/")
        answer = post(own, "get_user_groups", allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, "https://example.org/")


class TestConnections:
    @pytest.mark.parametrize("kind", ["reset", "lost_answer"])
    def test_the_connection_is_reset(self, own: Sandbox, kind: str) -> None:
        own.faults.add("get_user_groups", kind=kind)
        with pytest.raises(requests.ConnectionError) as caught:
            post(own, "get_user_groups")
        assert "reset" in str(caught.value).lower()

    @pytest.mark.parametrize("kind", ["reset", "lost_answer", "reset_midway", "truncate", "truncate_unannounced"])
    def test_a_reset_request_is_in_the_ledger_when_the_client_notices(self, own: Sandbox, kind: str) -> None:
        for _ in range(10):
            fault = own.faults.add("get_user_groups", kind=kind)
            with suppress(requests.RequestException):
                post(own, "get_user_groups")
            assert [record.fault for record in own.requests.of("get_user_groups")] == [kind]
            own.faults.remove(fault)
            own.requests.clear()

    def test_a_lost_answer_means_the_work_was_done_and_a_reset_means_it_was_not(self, own: Sandbox) -> None:
        body = {"folder_id": "lost", "n_chunks": 1, "original_file_name": "x"}
        for kind, n_uploads in (("reset", 0), ("lost_answer", 1)):
            fault = own.faults.add("add_file_upload", kind=kind)
            with pytest.raises(requests.ConnectionError):
                post(own, "add_file_upload", body)
            own.faults.remove(fault)
            assert len(own._state.catalog.uploads("lost", own.email)) == n_uploads

    @pytest.mark.parametrize("kind", ["reset_midway", "truncate"])
    def test_an_answer_with_a_length_is_truncated(self, own: Sandbox, kind: str) -> None:
        own.faults.add("study/get_features", kind=kind)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            post(own, "study/get_features", {"study_id": uuid_of(own)})

    def test_an_answer_without_a_length_ends_early(self, own: Sandbox) -> None:
        body = {"study_id": uuid_of(own)}
        whole = post(own, "study/get_features", body).content
        own.faults.add("study/get_features", kind="truncate_unannounced")
        answer = post(own, "study/get_features", body)
        assert "content-length" not in answer.headers
        assert answer.content == whole[: len(whole) // 2]

    def test_a_trickled_answer_takes_its_time_and_is_complete(self, own: Sandbox) -> None:
        body = {"study_id": uuid_of(own)}
        whole = post(own, "study/get_features", body).content
        own.faults.add("study/get_features", kind="trickle", seconds=0.5, pieces=5)
        start = time.monotonic()
        assert post(own, "study/get_features", body).content == whole
        assert time.monotonic() - start >= 0.4

    def test_a_hanging_request_ends_with_the_client(self, own: Sandbox) -> None:
        own.faults.add("get_user_groups", kind="hang")
        with pytest.raises(requests.ReadTimeout):
            post(own, "get_user_groups", timeout=0.3)
        until(lambda: own.requests.of("get_user_groups"))
        record = own.requests.of("get_user_groups")[-1]
        assert (record.status, record.fault) == (None, "hang")

    def test_a_sandbox_closes_while_a_request_hangs(self) -> None:
        with bc.sandbox() as server:
            fault = server.faults.add("get_user_groups", kind="hang", seconds=2 * PATIENCE)
            host, port = server.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(
                    b"POST /t2d_index_tool/api/v1/get_user_groups HTTP/1.1\r\nhost: [::1]\r\ncontent-length: 0\r\n\r\n"
                )
                until(lambda: fault.hits)
                start = time.monotonic()
                server.close()  # raises if its thread does not stop
        assert time.monotonic() - start < PATIENCE


class TestCorruptAnswers:
    def test_a_task_has_an_unknown_state(self, own: Sandbox, counts: ad.AnnData) -> None:
        submission = counts.biocolab.submit(skip_dimred=True)
        own.faults.add("get_submission_log", kind="unknown_state", state="PAUSED")
        answer = post(own, "get_submission_log", {"task_id": submission.task_id}).json()
        assert answer["data"]["status"] == "PAUSED"
        assert answer["data"]["log"] == submission.log

    def test_a_commit_lacks_study_info(self, own: Sandbox, counts: ad.AnnData) -> None:
        fault = own.faults.add("commit_submission_result", kind="no_study_info")
        submission = counts.biocolab.submit(skip_dimred=True)
        assert fault.hits == 1
        assert submission.study_info == {"study_hash_id": submission.study_id}
        np.testing.assert_array_equal(submission.study().to_anndata().X.toarray(), counts.X.toarray())

    @pytest.mark.parametrize("route", ["study/query_genes", "/v1/study/query_genes", "/v1/study/get_matrix"])
    def test_matrix_columns_are_permuted_or_missing(self, own: Sandbox, route: str) -> None:
        right = matrix_of(own, route)
        own.faults.add(route, kind="permuted_genes", nth=1)
        own.faults.add(route, kind="missing_gene", nth=2)
        np.testing.assert_array_equal(matrix_of(own, route), right[:, ::-1])
        np.testing.assert_array_equal(matrix_of(own, route), right[:, :-1])

    @pytest.mark.parametrize("kind", ["wrong_lengths", "corrupt_arrays"])
    @pytest.mark.parametrize("route", ["query_genes", "get_matrix", "fetch_metadata"])
    def test_our_client_refuses_inconsistent_answers(self, own: Sandbox, kind: str, route: str) -> None:
        own.faults.add(f"v1/study/{route}", kind=kind)
        ask = {
            "query_genes": lambda study: study.query_genes(["CD3D", "LYZ"], "raw"),
            "get_matrix": lambda study: study.matrix("raw"),
            "fetch_metadata": lambda study: study.metadata(["bulk_labels"]),
        }[route]
        study = bc.study("PBMC68k_reduced")
        with pytest.raises(InvalidResponse):
            ask(study)

    def test_a_fault_leaves_answers_that_it_does_not_apply_to_unchanged(self, own: Sandbox) -> None:
        right = post(own, "get_user_groups").json()
        for kind in ("unknown_state", "no_study_info", "permuted_genes", "missing_gene", "corrupt_arrays"):
            fault = own.faults.add("get_user_groups", kind=kind)
            assert post(own, "get_user_groups").json() == right
            own.faults.remove(fault)

    def test_error_answers_are_not_corrupted(self, own: Sandbox) -> None:
        own.faults.add("study/get_features", kind="wrong_lengths")
        assert post(own, "study/get_features", {"study_id": "none"}).status_code == 404


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_our_client_raises_or_gets_the_right_answer_for_every_fault(own: Sandbox, kind: str) -> None:
    options = {"hang": {"seconds": 0.5}, "trickle": {"seconds": 0.2}}.get(kind, {})
    right = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D", "LYZ"], unit="lognorm")
    own.faults.add("*", kind=kind, **options)
    with bc.settings.override(max_retries=1, read_timeout=2.0):
        try:
            got = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D", "LYZ"], unit="lognorm")
        except BiocolabError:
            return
    # A permuted answer looks like a correct one, because it does not contain the list of genes.
    if kind != "permuted_genes":
        np.testing.assert_array_equal(got.X.toarray(), right.X.toarray())


def uuid_of(server: Sandbox) -> str:
    return next(record.uuid for record in server._state.catalog.studies() if record.hash_id == "PBMC68k_reduced")


def matrix_of(server: Sandbox, route: str) -> np.ndarray:
    import io

    import h5py
    from scipy import sparse

    bioflex = route.startswith("/v1")
    body: dict[str, object] = {"unit": "lognorm"}
    if bioflex:
        database = bc.database()
        body |= {"database": database.id, "species": "human", "version": 3, "study_idx": "PBMC68k_reduced"}
    else:
        body |= {"study_id": uuid_of(server)}
    if not route.endswith("matrix"):
        body["gene_names"] = ["CD3D", "LYZ", "CD79A"]
    answer = post(server, route, body)
    if route.endswith("matrix"):
        with h5py.File(io.BytesIO(answer.content)) as file:
            parts = {key: file[key][()] for key in ("data", "indices", "indptr", "shape")}
    else:
        reply = answer.json() if bioflex else answer.json()["data"]
        kinds = {"data": "float32", "indices": "uint32", "indptr": "uint64"}
        parts = {key: decode_array(reply[key], dtype, key) for key, dtype in kinds.items()} | {"shape": reply["shape"]}
    arrays = parts["data"], parts["indices"].astype(np.int32), parts["indptr"].astype(np.int64)
    return sparse.csc_matrix(arrays, shape=tuple(int(n) for n in parts["shape"])).toarray()


class TestLedger:
    def test_the_ledger_records_each_request(self, own: Sandbox) -> None:
        bc.groups()
        post(own, "get_user_groupz")
        record, wrong = own.requests[-2:]
        assert (record.method, record.route, record.status) == ("POST", "get_user_groups", 200)
        assert record.received == 2
        assert record.sent > 50
        assert 0 < record.seconds < 5
        assert (wrong.route, wrong.status) == ("get_user_groupz", 404)
        assert own.requests.of("get_user_groups") == [record]
        frame = own.requests.to_frame()
        assert list(frame["route"]) == ["get_user_groups", "get_user_groupz"]

    def test_the_ledger_keeps_the_start_of_a_long_path(self, own: Sandbox) -> None:
        own.requests.clear()
        requests.get(f"{own.url}/{'x' * 50_000}", timeout=PATIENCE)
        [record] = own.requests
        assert (record.path, record.route, record.status) == ("/" + "x" * 999, "x" * 1000, 404)

    def test_the_ledger_does_not_contain_tokens(self, own: Sandbox) -> None:
        bc.groups()
        assert own.token not in repr(list(own.requests)) + own.requests.to_frame().to_csv()
        assert own.requests[-1].token == f"…{own.token[-3:]}"

    def test_a_reset_clears_the_ledger_and_the_faults(self) -> None:
        with bc.sandbox() as server:
            server.faults.add("get_user_groups")
            post(server, "get_user_groups")
            server.reset()
            assert len(server.requests) == len(server.faults) == 0


class TestControl:
    def test_the_control_routes_are_off_by_default(self, own: Sandbox) -> None:
        headers = {"bioturing-api-token": own.token}
        assert requests.get(f"{own.url}/_sandbox/requests", headers=headers, timeout=10).status_code == 404

    def test_faults_ledger_and_reset_work_over_http(self) -> None:
        with bc.sandbox(control=True) as server:
            base, headers = f"{server.url}/_sandbox/", {"bioturing-api-token": server.token}
            body = {"route": "get_user_groups", "kind": "status", "nth": [1], "status": 500}
            assert requests.post(base + "faults", json=body, timeout=10).status_code == 401
            made = requests.post(base + "faults", json=body, headers=headers, timeout=10)
            assert made.status_code == 201
            assert made.json()["options"]["status"] == 500
            with pytest.raises(ServerError), bc.settings.override(max_retries=0):
                bc.groups()
            assert requests.get(base + "faults", headers=headers, timeout=10).json()[0]["hits"] == 1
            rows = requests.get(base + "requests", headers=headers, timeout=10).json()
            assert {"get_user_groups"} <= {row["route"] for row in rows if row["fault"] == "status"}
            for wrong in ({"route": "x"}, {}, {"route": "*", "kind": 3}, {"route": "*", "nth": "x"}, {"rout": "*"}):
                assert requests.post(base + "faults", json=wrong, headers=headers, timeout=10).status_code == 422
            assert requests.post(base + "faults", data=b"{", headers=headers, timeout=10).status_code == 422
            assert requests.post(base + "reset", headers=headers, timeout=10).status_code == 200
            assert requests.get(base + "faults", headers=headers, timeout=10).json() == []
            for other in (server.add_user("ann@lab.org"), server.token[:-1], f"{server.token}0", "", b"\xe9"):
                refused = requests.get(base + "requests", headers={"bioturing-api-token": other}, timeout=10)
                assert refused.status_code == 401


class TestForgetting:
    def upload(self, server: Sandbox, folder: str) -> dict[str, object]:
        announced = {"folder_id": folder, "n_chunks": 1, "original_file_name": "x.h5ad"}
        params = {"folder_id": folder, "id": post(server, "add_file_upload", announced).json()["data"][0]["id"]}
        return {"params": json.dumps({**params, "chunk": 0, "n_chunks": 1})}

    def send(self, server: Sandbox, form: dict[str, object]) -> requests.Response:
        headers = {"bioturing-api-token": server.token}
        url = server.private_host + "api/v1/upload_chunk"
        return requests.post(url, data=form, files={"file": b"x"}, headers=headers, timeout=10)

    def test_a_forgotten_upload_is_unknown(self, own: Sandbox) -> None:
        form = self.upload(own, "forgotten")
        assert self.send(own, form).status_code == 200
        fault = own.faults.add("upload_chunk", nth=1, kind="forget_uploads")
        assert self.send(own, form).status_code == 404
        assert (fault.hits, own.requests[-1].fault) == (1, "forget_uploads")
        assert list((own.path / "uploads").iterdir()) == []

    def test_a_forgotten_upload_is_refused_in_other_words(self, own: Sandbox) -> None:
        form = self.upload(own, "other words")
        own.faults.add("upload_chunk", nth=1, kind="forget_uploads")
        own.faults.add("*", kind="other_words", status=200, message="gone with the wind")
        answer = self.send(own, form)
        assert (answer.status_code, answer.json()) == (200, {"status": 500, "message": "gone with the wind"})
        own.faults.clear()
        own.faults.add("*", kind="other_words", status=410)
        assert self.send(own, form).status_code == 410
        assert post(own, "get_user_groups").json()["status"] == 200  # successful answers stay unchanged
        wrong = {"bioturing-api-token": "wrong"}
        assert requests.post(own.private_host + "api/v1/get_user_groups", headers=wrong, timeout=10).status_code == 401

    def test_tasks_and_studies_are_forgotten_by_title(self, own: Sandbox, counts: ad.AnnData) -> None:
        kept, gone = (counts.biocolab.submit(name=name, skip_dimred=True) for name in ("kept", "to forget"))
        own.faults.add("test_connection", nth=1, kind="forget_tasks", title="to *")
        own.faults.add("test_connection", nth=2, kind="forget_studies", title="to *")
        post(own, "test_connection")
        statuses = [post(own, "get_submission_log", {"task_id": each.task_id}).status_code for each in (kept, gone)]
        assert statuses == [200, 404]
        assert {"kept", "to forget"} <= set(bc.studies()["title"])
        post(own, "test_connection")
        assert "kept" in set(bc.studies()["title"])
        assert "to forget" not in set(bc.studies()["title"])
        assert "PBMC68k_reduced" in set(bc.studies("bioturing_public_studies")["study_id"])


class TestStrictServer:
    @pytest.fixture
    def strict(self, own: Sandbox) -> Iterator[Sandbox]:
        own._state.strict = True
        yield own
        own._state.strict = False

    def test_a_strict_server_turns_two_commits_into_two_studies(self, strict: Sandbox, counts: ad.AnnData) -> None:
        done = counts.biocolab.submit(name="twice", skip_dimred=True)
        body = {"group_id": "personal", "task_id": done.task_id}
        again = post(strict, "commit_submission_result", body).json()["study_info"]["uuid"]
        assert again != done.study_info["uuid"]
        assert bc.study(again, source="bbrowserx").n_obs == counts.n_obs
        assert list(bc.studies()["title"]).count("twice") == 2

    def test_a_strict_server_refuses_an_upload_announced_or_submitted_twice(
        self, strict: Sandbox, counts: ad.AnnData
    ) -> None:
        strict.faults.add("add_file_upload", nth=1, kind="delay", seconds=0.01)
        uploads = TestForgetting()
        for _ in range(2):
            uploads.send(strict, uploads.upload(strict, "two of it"))
        body = {"study_path": "/sandbox/uploads/two of it", "batch_info": ["x.h5ad"], "study_type": 2}
        answer = post(strict, "submit_study_from_local", body)
        assert (answer.status_code, "announced twice" in answer.text) == (409, True)
