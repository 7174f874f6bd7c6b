"""Files that the server reads where they are: buckets and shared folders."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidResponse, NotFound, UnknownGroup
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.h5ad", "b.h5ad"):
        obs_names = [f"{name[0].upper()}{i}-1" for i in range(9)]
        adata = ad.AnnData(np.eye(9, dtype=np.float32) + 1)
        adata.obs_names = obs_names
        adata.write_h5ad(tmp_path / name)
    return tmp_path


def test_a_listed_bucket_is_submitted_from_by_its_row(server: Sandbox, folder: Path) -> None:
    bucket = server.add_bucket(folder)
    try:
        table = bc.buckets("Personal workspace")
        assert list(table.columns) == ["id", "bucket", "prefix", "shared", "group"]
        rows = table[table["id"] == bucket]
        assert rows["shared"].tolist() == [False, True]
        assert rows["group"].fillna("").tolist() == ["", "personal"]
        every = bc.buckets()
        assert set(every["group"].dropna()) == {"all_members", "personal"}
        own, of_group = rows.itertuples()
        study = bc.submit_from_s3("a.h5ad", s3_id=own.id, shared=own.shared, skip_dimred=True).study()
        assert study.barcodes()[0] == "A0-1"
        study = bc.submit_from_s3("b.h5ad", of_group.group, s3_id=of_group.id, shared=of_group.shared).study()
        assert study.barcodes()[0] == "B0-1"
    finally:
        server.remove_bucket(bucket)


def test_buckets_of_an_unknown_group_have_near_names(server: Sandbox) -> None:
    with pytest.raises(UnknownGroup, match=r"'personl' not found \(did you mean 'personal'"):
        bc.buckets("personl")


def test_a_list_of_buckets_without_ids_is_refused(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector

    sent: list[object] = [{"data": [{"bucket": "b"}]}, {"data": {"a": 1}}]
    for answer in sent:
        monkeypatch.setattr(BBrowserXConnector, "post_request", lambda self, route, body, answer=answer: answer)
        with pytest.raises(InvalidResponse, match=r"without id|instead of a list"):
            bc.buckets("bioturing_public_studies")


def test_files_in_a_shared_folder_become_batches(server: Sandbox, folder: Path) -> None:
    shared = server.add_folder(folder)
    study = bc.submit_from_server(shared, ["a.h5ad", "b.h5ad"], study_id="shared", skip_dimred=True).study()
    assert study.n_obs == 18
    assert set(study.metadata("Batch")["Batch"]) == {"a", "b"}
    with pytest.raises(NotFound, match="not a folder that the server shares"):
        bc.submit_from_server("/nowhere", "a.h5ad")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("", "x.h5ad"), "folder is ''"),
        (("/data", []), "no files to submit"),
        (("/data", ["a/x.h5ad", "b/x.h5ad"]), "two batches have the same name"),
    ],
)
def test_arguments_are_checked_before_anything_is_sent(
    server: Sandbox, arguments: tuple[str, object], said: str
) -> None:
    server.requests.clear()
    with pytest.raises(InvalidArgument, match=said):
        bc.submit_from_server(*arguments)
    with pytest.raises(InvalidArgument, match="buckets only"):
        bc.submit_from_server("/data", "x", study_type="tile_db")
    with pytest.raises(InvalidArgument, match="input_matrix_type is 'auto'"):
        bc.submit_from_server("/data", "x.h5ad", input_matrix_type="auto")
    assert not [request for request in server.requests if "submit" in request.path]
