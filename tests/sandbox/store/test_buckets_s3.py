"""S3: a server with the real protocol, in its own process, with a bucket that is registered in the sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import requests
import s3fs

import biocolab_accessor as bc
from biocolab_accessor.errors import BiocolabError, InvalidArgument
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE, until

_KEY, _SECRET = "the-key-of-the-store", "the-secret-of-the-store"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of a running S3 server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:

        def answers() -> bool:
            assert process.poll() is None
            with suppress(requests.ConnectionError):
                return requests.get(url, timeout=PATIENCE).ok
            return False

        until(answers)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture
def files(store: str) -> s3fs.S3FileSystem:
    """The store with a new bucket ``lab``, as seen by its owner."""
    owner = s3fs.S3FileSystem(key=_KEY, secret=_SECRET, endpoint_url=store, use_listings_cache=False)
    if owner.exists("lab"):
        owner.rm("lab", recursive=True)
    owner.mkdir("lab")
    return owner


@pytest.fixture
def bucket(server: Sandbox, store: str, files: s3fs.S3FileSystem) -> Iterator[str]:
    """Id of the bucket in the sandbox."""
    id_ = server.add_bucket("s3://lab", bucket_id="lab", key=_KEY, secret=_SECRET, endpoint_url=store)
    yield id_
    server.remove_bucket(id_)


@pytest.mark.smoke
def test_a_submission_from_s3_is_read_back_bit_for_bit(
    server: Sandbox, bucket: str, files: s3fs.S3FileSystem, counts: ad.AnnData, tmp_path: Path
) -> None:
    files.put(str(counts.biocolab.to_h5ad(tmp_path / "x.h5ad")), "lab/deep/er/x.h5ad")
    submission = bc.submit_from_s3("deep/er/x.h5ad", s3_id=bucket, input_matrix_type="raw", skip_dimred=True)
    again = submission.study().to_anndata(unit="raw")
    assert list(again.obs_names) == list(counts.obs_names)
    assert list(again.var_names) == list(counts.var_names)
    np.testing.assert_array_equal(again.X.toarray(), counts.X.toarray())
    assert "Downloading deep/er/x.h5ad from bucket lab" in submission.log
    assert list((server.path / "uploads").glob("*.h5ad")) == []


def test_several_keys_become_batches(bucket: str, files: s3fs.S3FileSystem, counts: ad.AnnData, tmp_path: Path) -> None:
    path = str(counts.biocolab.to_h5ad(tmp_path / "x.h5ad"))
    files.put(path, "lab/a.h5ad")
    files.put(path, "lab/b.h5ad")
    submission = bc.submit_from_s3(["a.h5ad", "b.h5ad"], s3_id=bucket, input_matrix_type="raw", skip_dimred=True)
    again = submission.study().to_anndata(unit="raw")
    assert again.n_obs == 2 * counts.n_obs
    assert again.obs["Batch"].value_counts().tolist() == [counts.n_obs, counts.n_obs]


def test_metadata_are_read_from_s3(
    server: Sandbox, bucket: str, files: s3fs.S3FileSystem, counts: ad.AnnData, tmp_path: Path
) -> None:
    submission = counts.biocolab.submit(study_id="s3_metadata", skip_dimred=True)
    table = pd.DataFrame({"from s3": [f"v{i % 3}" for i in range(counts.n_obs)]}, index=counts.obs_names)
    with files.open("lab/meta.csv", "w") as file:
        table.to_csv(file, index_label="barcodes")
    connector = server.connect().get_bbrowserx()
    connector.submit_metadata_from_s3("human", submission.study_info["uuid"], "personal", "meta.csv", s3_id=bucket)
    assert submission.study().metadata(["from s3"])["from s3"].tolist() == table["from s3"].tolist()


def test_a_bucket_of_a_group_is_listed_for_its_members_only(store: str, files: s3fs.S3FileSystem) -> None:
    options = {"key": _KEY, "secret": _SECRET, "endpoint_url": store}
    with bc.sandbox() as own:
        own.add_group("team", "Team", [own.email])
        stranger = own.add_user("stranger@lab")
        own.add_bucket("s3://lab", bucket_id="of-team", prefix="deep", groups=["team"], **options)
        route = f"{own.private_host}api/v1/get_user_s3"
        listed = [
            requests.post(route, json={}, headers={"bioturing-api-token": token}, timeout=10).json()["data"]
            for token in (own.token, stranger)
        ]
    assert listed == [[{"id": "of-team", "bucket": "lab", "prefix": "deep"}], []]


@pytest.mark.parametrize("key", ["nothing.h5ad", "../other/x.h5ad", "deep/../../other/x.h5ad", "", "a\x00b"])
def test_a_key_that_is_not_in_the_bucket_is_refused(bucket: str, files: s3fs.S3FileSystem, key: str) -> None:
    if not files.exists("other"):
        files.mkdir("other")
    files.pipe("other/x.h5ad", b"not yours")
    with pytest.raises(BiocolabError):
        bc.submit_from_s3(key, s3_id=bucket)


def test_an_s3_file_that_is_not_an_h5ad_fails_the_task_with_the_reason(bucket: str, files: s3fs.S3FileSystem) -> None:
    files.pipe("lab/text.h5ad", b"hello, I am a text")
    with pytest.raises(BiocolabError, match=r"text\.h5ad"):
        bc.submit_from_s3("text.h5ad", s3_id=bucket)


def test_a_store_that_cannot_be_reached_is_an_error_when_added(server: Sandbox, store: str) -> None:
    options = {"key": _KEY, "secret": _SECRET}
    with pytest.raises(InvalidArgument, match="s3://nowhere cannot be listed"):
        server.add_bucket("s3://nowhere", endpoint_url=store, **options)
    closed = {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}}
    with pytest.raises(InvalidArgument, match="s3://lab cannot be listed") as caught:
        server.add_bucket("s3://lab", **closed, **options)
    assert _SECRET not in str(caught.value)


def test_a_bucket_that_was_deleted_is_an_error(server: Sandbox, files: s3fs.S3FileSystem, store: str) -> None:
    files.mkdir("brief")
    id_ = server.add_bucket("s3://brief", key=_KEY, secret=_SECRET, endpoint_url=store)
    files.rmdir("brief")
    try:
        with pytest.raises(BiocolabError, match=r"x\.h5ad|brief"):
            bc.submit_from_s3("x.h5ad", s3_id=id_)
    finally:
        server.remove_bucket(id_)


def test_the_secret_keys_of_a_store_are_not_stored_or_shown(
    server: Sandbox, bucket: str, files: s3fs.S3FileSystem
) -> None:
    shown = [repr(server), repr(server._state.buckets.visible([])), repr(list(server.requests)), str(vars(server))]
    assert not any(_SECRET in text or _KEY in text for text in shown)
    for folder, _, names in os.walk(server.path):
        for name in names:
            assert _SECRET.encode() not in Path(folder, name).read_bytes()
