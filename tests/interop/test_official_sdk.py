"""The README of the SDK with the unmodified biocolabsdk 1.0.8 and its bioturing-connector, against the sandbox."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import biocolabsdk.connector
import bioflex
import numpy as np
import pandas as pd
import pytest
from bioturing_connector.bbrowserx_connector import BBrowserXConnector
from bioturing_connector.typing import ChunkSize, InputMatrixType, Species, StudyType

from biocolab_accessor.sandbox.server import Sandbox

# The official connector leaves each uploaded file open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    # The official client asks every 5 s, whatever the server.
    quick = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(0.05)})
    monkeypatch.setattr("bioturing_connector.connector.time", quick)


@pytest.fixture
def connector(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> biocolabsdk.connector.EConnector:
    monkeypatch.setattr("bioflex._connection.BIOTURING_ADDRESS", server.url)
    return biocolabsdk.connector.EConnector(
        bioflex_token=server.token, private_host=server.private_host, private_token=server.token
    )


@pytest.fixture
def two_files(counts: ad.AnnData, tmp_path: Path) -> list[Path]:
    """The same cells twice, as raw counts where the server reads them."""
    paths = [tmp_path / "GSE128223_1.h5ad", tmp_path / "GSE128223_2.h5ad"]
    for path, rows in zip(paths, (slice(0, 40), slice(40, 60)), strict=True):
        part = counts[rows].copy()
        part.raw = part
        part.write_h5ad(path)
    return paths


ARGUMENTS = {
    "group_id": "personal",
    "name": "This is my first study",
    "authors": ["Huy Nguyen"],
    "species": Species.HUMAN.value,
    "input_matrix_type": InputMatrixType.RAW.value,
    "study_type": StudyType.H5AD.value,
}


def test_connection_and_groups_print_what_the_readme_shows(
    connector: biocolabsdk.connector.EConnector, server: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connector.get_bbrowserx().test_connection() is True
    assert capsys.readouterr().out.splitlines() == [
        f"Connecting to host at {server.private_host}api/v1/test_connection",
        "Connection successful",
    ]
    assert connector.get_bbrowserx().get_user_groups() == [
        {"id": "all_members", "name": "All members"},
        {"id": "personal", "name": "Personal workspace"},
    ]


def test_submission_from_s3_and_from_local_disk(
    connector: biocolabsdk.connector.EConnector,
    server: Sandbox,
    counts: ad.AnnData,
    two_files: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bbrowserx = connector.get_bbrowserx()
    (two_files[0].parent / "s3_path").mkdir()
    for path in two_files:
        (path.parent / "s3_path" / path.name).write_bytes(path.read_bytes())
    bucket = server.add_bucket(two_files[0].parent)
    keys = [{"matrix": f"s3_path/{path.name}"} for path in two_files]
    first = bbrowserx.submit_study_from_s3(batch_info=keys, s3_id=bucket, study_id="GSE128223", **ARGUMENTS)
    files = [{"matrix": str(path)} for path in two_files]
    second = bbrowserx.submit_study_from_local(
        batch_info=files, study_id="GSE128223", chunk_size=ChunkSize.CHUNK_5_MB.value, **ARGUMENTS
    )
    server.remove_bucket(bucket)
    printed = capsys.readouterr().out
    assert printed.count("Study submitted successfully!") == 2
    assert "Reading batch: GSE128223_1" in printed
    assert first["study_info"]["uuid"] != second["study_info"]["uuid"]

    listed = bbrowserx.get_all_studies_info_in_group("human", "personal")
    mine = [row for row in listed if row["uuid"] in (first["study_info"]["uuid"], second["study_info"]["uuid"])]
    assert [row["study_hash_id"] for row in mine] == ["GSE128223", "GSE128223"]
    for row in mine:
        study = ("human", row["uuid"])
        matrix = bbrowserx.query_genes(*study, [], "raw")
        np.testing.assert_array_equal(matrix.toarray(), counts.X.toarray())
        assert bbrowserx.get_barcodes(*study) == list(counts.obs_names)
        assert bbrowserx.get_features(*study) == list(counts.var_names)
        metadata = bbrowserx.get_metadata(*study)
        assert list(metadata["Barcodes"]) == list(counts.obs_names)
        assert list(metadata["code"]) == list(counts.obs["code"])
        assert list(metadata["Batch"]) == ["GSE128223_1"] * 40 + ["GSE128223_2"] * 20
        embedding = next(e for e in bbrowserx.list_all_custom_embeddings(*study) if e["embedding_name"] == "X_own")
        coordinates = bbrowserx.retrieve_custom_embedding(*study, embedding["embedding_id"])
        np.testing.assert_array_equal(coordinates, counts.obsm["X_own"])


def test_talk2data_has_every_feature_of_a_private_server(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # The SDK has the address of Talk2Data built into a function: the class is told ours instead.
    there = functools.partial(BBrowserXConnector, host=server.public_host)
    monkeypatch.setattr(biocolabsdk.connector, "BBrowserXConnector", lambda host, token, ssl: there(token=token))
    talk2data = biocolabsdk.connector.EConnector(public_token=server.token).get_talk2data()
    assert talk2data.test_connection() is True
    assert len(talk2data.get_user_groups()) == 2


def test_bioflex_through_the_sdk(connector: biocolabsdk.connector.EConnector) -> None:
    database = connector.get_bioflex().databases()[2]
    study = database.get_study("PBMC68k_reduced")
    assert study.matrix(bioflex.UNIT_RAW).shape == (700, 765)


def test_metadata_is_joined_by_barcode(
    connector: biocolabsdk.connector.EConnector, counts: ad.AnnData, two_files: list[Path]
) -> None:
    bbrowserx = connector.get_bbrowserx()
    done = bbrowserx.submit_study_from_local(batch_info=[{"matrix": str(two_files[0])}], skip_dimred=True, **ARGUMENTS)
    uuid = done["study_info"]["uuid"]
    table = pd.DataFrame({"new": ["x", "y"]}, index=["CELL7-1", "CELL2-1"])
    bbrowserx.submit_metadata_from_dataframe("human", uuid, "personal", table)
    column = bbrowserx.get_metadata("human", uuid, fields=["new"]).set_index("Barcodes")["new"]
    assert column["CELL7-1"] == "x"
    assert column["CELL2-1"] == "y"
    assert column.isna().sum() == 38


def test_download_of_a_whole_study(
    connector: biocolabsdk.connector.EConnector, counts: ad.AnnData, two_files: list[Path], tmp_path: Path
) -> None:
    bbrowserx = connector.get_bbrowserx()
    done = bbrowserx.submit_study_from_local(batch_info=[{"matrix": str(two_files[0])}], skip_dimred=True, **ARGUMENTS)
    target = tmp_path / "down.h5ad"
    assert bbrowserx.download_study("personal", done["study_info"]["uuid"], dest_path=str(target)) is True
    np.testing.assert_array_equal(ad.read_h5ad(target).layers["counts"].toarray(), counts.X[:40].toarray())


def test_a_task_that_fails_says_why(
    connector: biocolabsdk.connector.EConnector, counts: ad.AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts.write_h5ad(tmp_path / "noraw.h5ad")
    done = connector.get_bbrowserx().submit_study_from_local(
        batch_info=[{"matrix": str(tmp_path / "noraw.h5ad")}], **ARGUMENTS
    )
    assert done is False
    assert "adata.raw is missing" in capsys.readouterr().out
