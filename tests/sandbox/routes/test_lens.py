from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from biocolab_accessor.sandbox.server import Sandbox
from tests.sandbox.wire import BODY, Wire


class LensWire(Wire):
    """Requests to a Lens server without any client."""

    def __init__(self, server: Sandbox, prefix: str) -> None:
        super().__init__(server)
        self.api = f"{server.url}/{prefix}/api/v1/"

    def post(self, route: str, body: object = None, **options: object) -> requests.Response:
        if "files" not in options:
            options["json"] = body or {}
        return requests.post(self.api + route, headers=self.headers, timeout=30, **options)


SC = BODY | {"study_type": "LENS_SC", "platform": 11}


@pytest.fixture(params=["lens_sc", "lens_bulk"])
def lens(request: pytest.FixtureRequest, server: Sandbox) -> LensWire:
    return LensWire(server, request.param)


def test_lens_connects_and_lists_studies_with_its_field_names(lens: LensWire) -> None:
    assert lens.post("test_connection").json()["message"] == "ok"
    rows = lens.data("get_all_studies_info_in_group", {"species": "human", "group_id": "bioturing_public_studies"})
    row = next(row for row in rows if row["accession_id"] == "PBMC68k_reduced")
    assert (row["id"], row["title"]) == (row["uuid"], row["study_title"])


@pytest.mark.parametrize("route", ["submit_processed_study_from_local", "submit_study_from_server"])
def test_a_submission_that_lens_does_not_support_is_refused(route: str, lens: LensWire) -> None:
    answer = lens.post(route, {**BODY, "study_path": "x", "shared_folder_path": "x"})
    assert answer.status_code == 422
    assert "Lens does not accept this kind of submission" in answer.json()["detail"]


@pytest.mark.parametrize("change", [{"study_type": 2}, {"study_type": 11}, {"study_type": True}, {"study_type": [8]}])
def test_lens_bulk_accepts_only_its_own_types(change: dict[str, Any], server: Sandbox) -> None:
    wire = LensWire(server, "lens_bulk")
    answer = wire.post("submit_study_from_local", {**BODY, **change, "study_path": "x", "batch_info": ["a"]})
    assert answer.status_code == 422
    assert "cannot be submitted to Lens Bulk" in answer.json()["detail"]


@pytest.mark.parametrize(
    "change", [{"platform": 8}, {"platform": None}, {"platform": [9]}, {"study_type": 11}, {"study_type": "SC"}]
)
def test_lens_sc_accepts_only_its_own_platforms(change: dict[str, Any], server: Sandbox) -> None:
    wire = LensWire(server, "lens_sc")
    answer = wire.post("submit_study_from_local", {**SC, **change, "study_path": "x", "batch_info": ["a"]})
    assert answer.status_code == 422
    assert "cannot be submitted to Lens SC" in answer.json()["detail"]


def test_a_missing_archive_is_an_error_that_lists_the_uploads(server: Sandbox) -> None:
    wire = LensWire(server, "lens_sc")
    where = wire.upload("nA.zip", [b"zip"], folder=uuid.uuid4().hex)
    answer = wire.post("submit_study_from_local", {**SC, "study_path": where, "batch_info": ["nA", "nB"]})
    assert answer.status_code == 422
    assert "batch 'nB' has no archive" in answer.json()["detail"]
    assert "['nA.zip']" in answer.json()["detail"]
    assert wire.post("submit_study_from_local", {**SC, "study_path": where, "batch_info": []}).status_code == 422


@pytest.mark.parametrize("key", ["../up", "nothing", "file", "a\0b"])
def test_no_folder_leads_out_of_the_bucket(key: str, server: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "up").mkdir()
    (tmp_path / "bucket" / "file").write_text("x")
    bucket = server.add_bucket(tmp_path / "bucket")
    body = {**SC, "s3_id": bucket, "batch_info": {"a": {"name": "a", "folder": key}}}
    answer = LensWire(server, "lens_sc").post("submit_study_from_s3", body)
    server.remove_bucket(bucket)
    assert answer.status_code == 404
    assert "has no folder" in answer.json()["detail"]


def test_cell_coordinates_of_one_dimension_are_refused(server: Sandbox, counts: Any) -> None:
    counts.obsm["spatial"] = counts.obsm["X_own"][:, :1]
    study = counts.biocolab.submit(skip_dimred=True).study_info["uuid"]
    answer = LensWire(server, "lens_sc").post("study/get_cell_centers", {"study_id": study})
    assert answer.status_code == 422
    assert "lacks x and y columns" in answer.json()["detail"]
