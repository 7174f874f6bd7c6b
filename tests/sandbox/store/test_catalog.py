from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor import EConnector
from biocolab_accessor.errors import InvalidArgument, Unauthorized, UnknownGroup, UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture
def own() -> Iterator[Sandbox]:
    with bc.sandbox() as server:
        yield server


def connector_of(server: Sandbox, token: str) -> EConnector:
    return EConnector(private_host=server.private_host, private_token=token)


def test_a_group_and_its_studies_are_seen_by_its_members_only(own: Sandbox, counts: ad.AnnData) -> None:
    token = own.add_user("ann@lab.org")
    stranger = own.add_user("bob@lab.org")
    own.add_group("lab", "Our lab", [own.email, "ann@lab.org"])
    assert list(bc.groups()["id"]) == ["all_members", "personal", "lab"]
    info = counts.biocolab.submit(group="Our lab", skip_dimred=True).study_info
    seen = connector_of(own, token).get_bbrowserx()
    assert [row["uuid"] for row in seen.get_all_studies_info_in_group("human", "lab")] == [info["uuid"]]
    assert seen.get_barcodes("human", info["uuid"]) == list(counts.obs_names)
    other = connector_of(own, stranger).get_bbrowserx()
    assert [group["id"] for group in other.get_user_groups()] == ["all_members", "personal"]
    for ask in (
        lambda: other.get_all_studies_info_in_group("human", "lab"),
        lambda: other.get_barcodes("human", info["uuid"]),
    ):
        with pytest.raises(LookupError, match="the sandbox has no"):
            ask()


def test_a_personal_workspace_is_private(own: Sandbox, counts: ad.AnnData) -> None:
    token = own.add_user("ann@lab.org")
    submission = counts.biocolab.submit(group="personal", skip_dimred=True)
    other = connector_of(own, token).get_bbrowserx()
    assert other.get_all_studies_info_in_group("human", "personal") == []
    with pytest.raises(LookupError):
        other.get_features("human", submission.study_info["uuid"])
    headers = {"bioturing-api-token": token}
    body = {"task_id": submission.task_id, "group_id": "personal"}
    for route in ("get_submission_log", "commit_submission_result"):
        answer = requests.post(f"{own.private_host}api/v1/{route}", json=body, headers=headers, timeout=10)
        assert answer.status_code == 404
    database = EConnector(bioflex_host=own.bioflex_host, bioflex_token=token).get_bioflex().databases()[2]
    with pytest.raises(UnknownStudy, match="has no study"):
        database.get_study(submission.study_id)


def test_an_upload_belongs_to_its_token(own: Sandbox) -> None:
    headers = {"bioturing-api-token": own.add_user("ann@lab.org")}
    api = f"{own.private_host}api/v1/"
    names = {"folder_id": "f", "n_chunks": 1, "original_file_name": "x.h5ad"}
    mine = {"bioturing-api-token": own.token}
    number = requests.post(api + "add_file_upload", json=names, headers=mine, timeout=10).json()["data"][0]["id"]
    params = f'{{"folder_id": "f", "id": "{number}", "chunk": 0, "n_chunks": 1}}'
    files = {"params": (None, params), "file": ("x.h5ad", b"x")}
    assert requests.post(api + "upload_chunk", files=files, headers=headers, timeout=10).status_code == 404
    assert requests.post(api + "upload_chunk", files=files, headers=mine, timeout=10).status_code == 200


def test_users_and_groups_are_stored_but_tokens_are_not(tmp_path: Path) -> None:
    with bc.sandbox(tmp_path / "kept") as first:
        token = first.add_user("ann@lab.org", token="a-very-secret-token")
        first.add_group("lab", "Our lab", ["ann@lab.org"])
    for path in (tmp_path / "kept").iterdir():
        if path.is_file():
            assert b"a-very-secret-token" not in path.read_bytes()
    with bc.sandbox(tmp_path / "kept", token="another") as second:
        groups = connector_of(second, token).get_bbrowserx().get_user_groups()
        assert [group["id"] for group in groups] == ["all_members", "personal", "lab"]
        with pytest.raises(Unauthorized):
            connector_of(second, first.token).get_bbrowserx().test_connection()


def test_a_new_token_replaces_the_one_before(own: Sandbox) -> None:
    old = own.add_user("ann@lab.org")
    new = own.add_user("ann@lab.org")
    assert connector_of(own, new).get_bbrowserx().test_connection()
    with pytest.raises(Unauthorized):
        connector_of(own, old).get_bbrowserx().test_connection()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: s.add_user("ann@lab.org", token=s.token), "another user has this token"),
        (lambda s: s.add_user("", token="x"), "needs an email and a token"),
        (lambda s: s.add_group("personal", "Mine"), "cannot be the id"),
        (lambda s: s.add_group("lab", "Lab", ["yuo@sandbox.local"]), "did you mean 'you@sandbox.local'"),
    ],
)
def test_an_invalid_user_or_group_is_refused(own: Sandbox, call: object, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        call(own)


def test_an_unknown_group_is_an_error_with_a_suggestion(own: Sandbox, counts: ad.AnnData) -> None:
    own.add_group("lab", "Our lab", [own.email])
    with pytest.raises(UnknownGroup, match="did you mean 'Our lab'"):
        counts.biocolab.submit(group="Our lob")


def test_a_failed_transaction_is_rolled_back(own: Sandbox) -> None:
    database = own._state._database
    rows = [("half", "Half"), ("half", "Again")]
    with pytest.raises(sqlite3.IntegrityError), database.writing() as connection:
        connection.executemany("insert into groups values (?, ?)", rows)
    assert database.rows("select * from groups where id = 'half'") == []
    own.add_group("whole", "Whole", [own.email])
    assert "whole" in set(bc.groups()["id"])
