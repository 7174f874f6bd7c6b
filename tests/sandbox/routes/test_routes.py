"""Routes with requests that our client does not send."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from threading import Event

import anndata as ad
import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from tests.sandbox.wire import BODY, Wire


@pytest.fixture
def wire(server: Sandbox) -> Wire:
    return Wire(server)


@pytest.fixture
def content(counts: ad.AnnData, tmp_path: Path) -> bytes:
    return counts.biocolab.to_h5ad(tmp_path / "x.h5ad").read_bytes()


EVERY_ROUTE = [
    "test_connection",
    "get_user_groups",
    "get_user_s3",
    "get_shared_s3_of_group",
    "get_all_studies_info_in_group",
    "study/query_genes",
    "study/get_metadata_fields",
    "study/get_metadata",
    "study/get_barcodes",
    "study/get_features",
    "list_all_custom_embeddings",
    "retrieve_custom_embedding",
    "submit_metadata_dataframe",
    "submit_metadata_s3",
    "submit_metadata_from_shared_s3",
    "add_file_upload",
    "submit_study_from_local",
    "submit_processed_study_from_local",
    "submit_study_from_s3",
    "submit_study_from_shared_s3",
    "get_submission_log",
    "commit_submission_result",
    "export_study",
    "get_export_result",
    "/v1/database/list",
    "/v1/expression/celltypes",
    "/v1/study/get",
    "/v1/study/fetch_metadata",
    "/v1/study/query_genes",
    "/v1/study/get_matrix",
    "/v1/study/get_features",
    "/v1/study/get_barcodes",
    "/v1/study/export_study",
]


@pytest.mark.parametrize("route", EVERY_ROUTE)
class TestEveryRoute:
    @pytest.mark.parametrize("token", ["", "wrong", "bïad".encode("latin-1")])
    def test_every_route_needs_the_token(self, wire: Wire, route: str, token: object) -> None:
        wire.headers = {"bioturing-api-token": token, "btr-api-token": token}
        answer = wire.post(route)
        assert answer.status_code == 401
        assert "token" in answer.json()["detail"]

    @pytest.mark.parametrize("data", [b"{broken", b"[]", b"5", b"null", b"\xff", b"[" * 100_000, b'{"study_id": 5}'])
    def test_every_route_handles_an_unexpected_body(self, wire: Wire, route: str, data: bytes) -> None:
        answer = wire.post(route, data=data)
        assert answer.status_code < 500
        assert answer.status_code == 200 or answer.json()["detail"]

    @pytest.mark.parametrize(
        "value", ["../../etc/passwd", "/etc/passwd", "a\x00b", "x" * 10_000, "C:\\x", "", None, -1, {}]
    )
    def test_every_route_handles_unexpected_values(self, wire: Wire, route: str, value: object) -> None:
        names = (
            "study_id",
            "group_id",
            "species",
            "task_id",
            "folder_id",
            "original_file_name",
            "study_path",
            "file_path",
        )
        more = (
            "hash_id",
            "study_idx",
            "embedding_id",
            "unit",
            "database",
            "gene_names",
            "fields",
            "batch_info",
            "study_info",
        )
        answer = wire.post(route, dict.fromkeys((*names, *more), value))
        assert answer.status_code < 500


def test_an_unknown_route_is_a_404_with_a_reason(wire: Wire) -> None:
    answer = wire.post("no_such_route")
    assert (answer.status_code, "no such route" in answer.json()["detail"]) == (404, True)
    assert requests.get(wire.server.private_host + "api/v1/test_connection", timeout=5).status_code == 405


class TestUpload:
    def test_chunks_may_arrive_in_any_order_and_twice(self, wire: Wire, content: bytes, counts: ad.AnnData) -> None:
        third = len(content) // 3
        chunks = [content[:third], content[third : 2 * third], content[2 * third :]]
        where = wire.upload("x.h5ad", chunks, [2, 0, 0, 1, 2], folder=uuid.uuid4().hex)
        task = wire.submit(where, ["x.h5ad"]).json()["data"]["id"]
        assert wire.finish(task)[0] == "SUCCESS"
        info = wire.post("commit_submission_result", {"group_id": "personal", "task_id": task}).json()["study_info"]
        back = bc.study(info["uuid"], source="bbrowserx").to_anndata()
        np.testing.assert_array_equal(back.X.toarray(), counts.X.toarray())

    def test_a_missing_chunk_is_named(self, wire: Wire) -> None:
        where = wire.upload("x.h5ad", [b"a", b"b", b"c"], [0, 2], folder=uuid.uuid4().hex)
        answer = wire.submit(where, ["x.h5ad"])
        assert answer.status_code == 409
        assert "1 of 3 chunks of 'x.h5ad' are missing, the first is 1" in answer.json()["detail"]

    @pytest.mark.parametrize(
        "name", ["../x.h5ad", "/etc/cron.d/x", "a\x00b.h5ad", "C:\\x.h5ad", "x" * 400, '"; rm -rf /']
    )
    def test_hostile_file_names_stay_inside_the_folder(self, wire: Wire, name: str) -> None:
        before = self.outside(wire)
        wire.upload(name, [b"x"], folder=f"../{uuid.uuid4().hex}")
        assert self.outside(wire) <= before

    def outside(self, wire: Wire) -> set[Path]:
        """Files next to the sandbox's folder, except the tests' own temporary files and homes.

        They come and go; the worker, which starts with the first upload, has matplotlib write into its home.
        """
        parent = wire.server.path.parent
        return {
            path
            for path in parent.rglob("*")
            if wire.server.path not in path.parents
            and not path.relative_to(parent).parts[0].startswith(("temporary", "home"))
        }

    @pytest.mark.parametrize("n_chunks", [0, -1, 10**9, "3", None, True, 1.5])
    def test_an_invalid_number_of_chunks_is_refused(self, wire: Wire, n_chunks: object) -> None:
        body = {"folder_id": "f", "n_chunks": n_chunks, "original_file_name": "x"}
        assert wire.post("add_file_upload", body).status_code == 422

    @pytest.mark.parametrize(
        "options",
        [
            {"data": b"not multipart"},
            {"data": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            {"files": {"params": (None, "{}")}},
            {"files": {"params": (None, "{broken"), "file": ("x", b"x")}},
            {"files": {"params": (None, "[]"), "file": ("x", b"x")}},
            {"files": {"params": (None, '{"id": "nobody"}'), "file": ("x", b"x")}},
            {"files": {"params": (None, " " * 100_000), "file": ("x", b"x")}},
        ],
    )
    def test_a_malformed_multipart_body_is_refused_and_leaves_nothing(self, wire: Wire, options: dict) -> None:
        assert 400 <= wire.post("upload_chunk", **options).status_code < 500
        assert list((wire.server.path / "uploads").glob("*.part")) == []

    def test_the_old_upload_still_works(self, wire: Wire, content: bytes) -> None:
        params = {"name": "x.h5ad", "file_id": uuid.uuid4().hex, "group_id": "personal", "study_type": 2}
        where = wire.data("upload", files={"params": (None, json.dumps(params)), "file": ("x.h5ad", content)})
        assert wire.finish(wire.submit(where, ["x.h5ad"]).json()["data"]["id"])[0] == "SUCCESS"


class TestTasks:
    def test_the_same_upload_submitted_again_is_the_same_task(self, wire: Wire, content: bytes) -> None:
        where = wire.upload("x.h5ad", [content], folder=uuid.uuid4().hex)
        first, second = (wire.submit(where, ["x.h5ad"]).json()["data"]["id"] for _ in range(2))
        assert first == second
        wire.finish(first)

    def test_a_study_is_visible_after_the_commit_which_may_be_repeated(self, wire: Wire, content: bytes) -> None:
        where = wire.upload("x.h5ad", [content], folder=uuid.uuid4().hex)
        info = {"study_hash_id": uuid.uuid4().hex}
        task = wire.submit(where, ["x.h5ad"], study_info=info).json()["data"]["id"]
        commit = {"group_id": "personal", "task_id": task}
        wire.finish(task)
        listing = {"species": "human", "group_id": "personal"}

        def listed() -> list[str]:
            return [row["study_hash_id"] for row in wire.data("get_all_studies_info_in_group", listing)]

        assert info["study_hash_id"] not in listed()
        first, second = (wire.post("commit_submission_result", commit).json()["study_info"] for _ in range(2))
        assert first == second
        assert listed().count(info["study_hash_id"]) == 1

    @pytest.mark.parametrize("study_type", [0, 4, 5, 15, 23])
    def test_a_study_type_that_is_not_supported_fails_the_task(
        self, wire: Wire, content: bytes, study_type: int
    ) -> None:
        where = wire.upload("x.h5ad", [content], folder=uuid.uuid4().hex)
        status, log = wire.finish(wire.submit(where, ["x.h5ad"], study_type=study_type).json()["data"]["id"])
        assert status == "ERROR"
        assert "sandbox cannot read studies of type" in log

    def test_a_filter_that_removes_all_cells_fails_the_task(self, wire: Wire, content: bytes) -> None:
        where = wire.upload("x.h5ad", [content], folder=uuid.uuid4().hex)
        task = wire.submit(where, ["x.h5ad"], filter_params={"min_counts": 1e6}).json()["data"]["id"]
        status, log = wire.finish(task)
        assert status == "ERROR"
        assert "no cells remain of 60 cells" in log

    def test_a_worker_that_dies_fails_one_task_only(self, wire: Wire, content: bytes) -> None:
        where = wire.upload("x.h5ad", [content], folder=uuid.uuid4().hex)
        runner = wire.server._state.tasks
        runner.warm_up()
        runner._worker.kill()
        runner._worker.wait()
        # The runner starts another worker before the next job.
        status, _ = wire.finish(wire.submit(where, ["x.h5ad"]).json()["data"]["id"])
        assert status == "SUCCESS"


@pytest.mark.parametrize("study_type", [7, 9, 99, "LENS_SC", None, [2], {}])
def test_a_type_that_the_protocol_does_not_know_is_refused(wire: Wire, content: bytes, study_type: object) -> None:
    where = wire.upload("x.h5ad", [content], folder=uuid.uuid4().hex)
    answer = wire.submit(where, ["x.h5ad"], study_type=study_type)
    assert answer.status_code == 422
    assert "spatial studies are submitted to Lens, not BBrowserX" in answer.json()["detail"]


class TestBuckets:
    @pytest.mark.parametrize("key", ["../secret.h5ad", "/../secret.h5ad", "link/secret.h5ad", "nothing.h5ad", "a\x00b"])
    def test_no_key_leads_out_of_the_bucket(self, wire: Wire, tmp_path: Path, key: str) -> None:
        (tmp_path / "bucket").mkdir()
        (tmp_path / "secret.h5ad").write_bytes(b"x")
        (tmp_path / "bucket" / "link").symlink_to(tmp_path)
        bucket = wire.server.add_bucket(tmp_path / "bucket")
        body = {
            "species": "human",
            "group_id": "personal",
            "study_type": 2,
            "study_info": {"study_hash_id": "x"},
            "s3_id": bucket,
            "batch_info": {"Batch_0": {"matrix": key}},
        }
        answer = wire.post("submit_study_from_s3", body)
        wire.server.remove_bucket(bucket)
        assert answer.status_code == 404
        assert "no file" in answer.json()["detail"]


def test_public_studies_cannot_be_changed(wire: Wire) -> None:
    listing = {"species": "human", "group_id": "bioturing_public_studies"}
    uuid_ = next(
        r["uuid"]
        for r in wire.data("get_all_studies_info_in_group", listing)
        if r["study_hash_id"] == "PBMC68k_reduced"
    )
    body = {"species": "human", "study_id": uuid_, "metadata_dct": {"barcodes": [], "x": []}}
    assert wire.post("submit_metadata_dataframe", body).status_code == 403


class TestFolder:
    def test_files_in_a_shared_folder_are_processed(self, wire: Wire, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared" / "x.h5ad").write_bytes(content)
        folder = wire.server.add_folder(tmp_path / "shared")
        for name in ("x.h5ad", f"{folder}/x.h5ad"):
            body = {"shared_folder_path": str(folder), "batch_info": {"x": {"name": "x", "matrix": name}}}
            answer = wire.post("submit_study_from_server", {**BODY, **body})
            status, log = wire.finish(answer.json()["data"]["id"])
            assert status == "SUCCESS", log

    def test_a_file_that_becomes_a_link_while_it_waits_is_not_read(
        self, wire: Wire, content: bytes, tmp_path: Path
    ) -> None:
        shared, outside, gate = tmp_path / "shared", tmp_path / "outside.h5ad", Event()
        shared.mkdir()
        for path in (shared / "x.h5ad", outside):
            path.write_bytes(content)
        body = {"shared_folder_path": str(wire.server.add_folder(shared))}
        wire.server._state.tasks._queue("before it", gate.wait)
        try:
            batch = {"batch_info": {"x": {"name": "x", "matrix": "x.h5ad"}}}
            answer = wire.post("submit_study_from_server", {**BODY, **body, **batch})
            (shared / "x.h5ad").unlink()
            (shared / "x.h5ad").symlink_to(outside)
        finally:
            gate.set()
        status, log = wire.finish(answer.json()["data"]["id"])
        assert status == "ERROR"
        assert "x.h5ad is now a link to another file" in log

    @pytest.mark.parametrize("folder", ["/", "..", "/etc", "nothing", "a\x00b", "x" * 5000])
    def test_no_other_folder_is_read(self, wire: Wire, tmp_path: Path, folder: str) -> None:
        wire.server.add_folder(tmp_path)
        body = {"shared_folder_path": folder, "batch_info": {"x": {"name": "x", "matrix": "x.h5ad"}}}
        answer = wire.post("submit_study_from_server", {**BODY, **body})
        assert answer.status_code == 404
        assert "not a folder that the server shares" in answer.json()["detail"]


class TestCellCenters:
    def test_cell_coordinates_are_sent_by_sample(self, wire: Wire, counts: ad.AnnData) -> None:
        counts.obsm["spatial"] = np.arange(120, dtype=np.float32).reshape(60, 2)
        counts.obs["Batch"] = ["left"] * 40 + ["right"] * 20
        info = counts.biocolab.submit(skip_dimred=True).study_info
        centers = wire.post("study/get_cell_centers", {"species": "human", "study_id": info["uuid"]}).json()
        assert list(centers) == ["left", "right"]
        assert centers["left"]["cell"] == list(counts.obs_names[:40])
        assert centers["right"]["x"] == list(counts.obsm["spatial"][40:, 0])
        assert centers["right"]["y"] == list(counts.obsm["spatial"][40:, 1])

    def test_a_study_without_cell_coordinates_is_an_error(self, wire: Wire, counts: ad.AnnData) -> None:
        info = counts.biocolab.submit(skip_dimred=True).study_info
        answer = wire.post("study/get_cell_centers", {"species": "human", "study_id": info["uuid"]})
        assert answer.status_code == 404
        assert "no cell coordinates" in answer.json()["detail"]


class TestTerms:
    def test_an_assigned_term_is_exported(self, wire: Wire, counts: ad.AnnData) -> None:
        study = counts.biocolab.submit(skip_dimred=True).study_info["uuid"]
        body = {"species": "human", "group_id": "personal", "study_id": study, "group": "label", "name": "a"}
        tree = wire.data("get_ontologies", {"species": "human", "group_id": "personal"})["tree"]
        root = next(id_ for id_, node in tree.items() if node["name"] == "cell type")
        leaf = next(node for node in tree[root]["children"] if node["name"] == "B cell")
        wire.data("study/assign_standardized_term", {**body, "root_id": root, "leaf_id": "CL:0000084"})
        wire.data("study/assign_standardized_term", {**body, "root_id": root, "leaf_id": leaf["id"]})
        row = {
            "study_id": study,
            "metadata_field": "label",
            "metadata_label": "a",
            "ontology_accession_id": "CL:0000000",
            "ontology_label": "cell type",
            "node_accession_id": "CL:0000236",
            "node_label": "B cell",
        }
        assert wire.data("export_std_metadata", {"study_ids": [study]}) == [row]
        assert row in wire.data("export_std_metadata", {"study_ids": None})

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"group": "labl"}, "did you mean 'label'"),
            ({"name": "nothing"}, "has no label"),
            ({"root_id": "CL:1"}, "the sandbox has no ontology"),
            ({"leaf_id": "CL:1"}, "has no term"),
        ],
    )
    def test_an_unknown_field_label_or_term_is_named(
        self, wire: Wire, counts: ad.AnnData, change: dict[str, str], says: str
    ) -> None:
        study = counts.biocolab.submit(skip_dimred=True).study_info["uuid"]
        body = {"group_id": "personal", "study_id": study, "group": "label", "name": "a"}
        body |= {"root_id": "CL:0000000", "leaf_id": "CL:0000236"}
        answer = wire.post("study/assign_standardized_term", {**body, **change})
        assert answer.status_code == 404
        assert says in answer.json()["detail"]


class TestStudio:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_studio_settings_point_to_this_sandbox(self, wire: Wire, slash: str) -> None:
        headers = {"X-Email-Id": wire.server.email, "X-User-Token": wire.server.token}
        url = f"{wire.server.url}{slash}/pyapi/private/get_setting"
        answer = requests.get(url, headers=headers, timeout=10).json()
        assert answer["status"] == 0
        assert answer["message"]["bio_bbx_private_domain"] == wire.server.private_host

    def test_a_wrong_email_or_token_is_an_error(self, wire: Wire) -> None:
        url = f"{wire.server.url}/pyapi/private/get_setting"
        headers = {"X-Email-Id": "someone@else", "X-User-Token": wire.server.token}
        assert requests.get(url, headers=headers, timeout=10).json()["status"] == 1
        assert requests.get(url, timeout=10).json()["status"] == 1

    def test_a_connector_uses_the_studio_settings(self, wire: Wire) -> None:
        connector = bc.EConnector(
            use_token_from_api=True,
            studio_host=wire.server.url,
            studio_email=wire.server.email,
            studio_token=wire.server.token,
        )
        assert connector.get_bbrowserx().test_connection()


def test_an_error_has_its_reason_for_clients_that_ignore_the_http_status(wire: Wire) -> None:
    answer = wire.post("get_submission_log", {"task_id": "nothing"})
    assert answer.status_code == 404
    assert answer.json() == {
        "status": 404,
        "message": "the sandbox has no task 'nothing'",
        "detail": "the sandbox has no task 'nothing'",
    }
