"""Metadata from files on disk and in buckets."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidFile, MissingFile, RedirectRefused, ServerError, TooLarge
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from tests.clients.conftest import a_scripted_server, answer


def table(study: Study, field: str) -> pd.DataFrame:
    values = [f"{i:03}" for i in range(study.n_obs)]
    return pd.DataFrame({field: values}, index=pd.Index(study.barcodes(), name="barcode"))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz"])
def test_labels_of_a_text_file_stay_text(small: Study, tmp_path: Path, ending: str) -> None:
    field, path = f"file{ending}", tmp_path / f"x{ending}"
    sent = table(small, field)
    sent.to_csv(path, sep="\t" if ending == ".tsv" else ",")
    report = bc.submit_metadata(path, small)
    assert (report.matched, report.written) == (12, (field,))
    assert list(small.metadata(field)[field]) == list(sent[field])


def test_a_parquet_file_keeps_its_types(small: Study, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    sent = table(small, "parquet text").assign(**{"parquet number": range(12)})
    sent.to_parquet(tmp_path / "indexed.parquet")
    assert bc.submit_metadata(tmp_path / "indexed.parquet", small).matched == 12
    back = small.metadata(["parquet text", "parquet number"])
    assert list(back["parquet text"]) == list(sent["parquet text"])
    assert back["parquet number"].dtype == "int64"
    sent.add_prefix("first ").reset_index().to_parquet(tmp_path / "x.parquet")
    assert bc.submit_metadata(tmp_path / "x.parquet", small).matched == 12


def test_a_file_that_is_no_table_is_refused(small: Study, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"nothing\.csv does not exist"):
        bc.submit_metadata(tmp_path / "nothing.csv", small)
    pytest.importorskip("pyarrow")
    with pytest.raises(MissingFile, match=r"nothing\.parquet does not exist"):
        bc.submit_metadata(tmp_path / "nothing.parquet", small)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InvalidFile, match=r"x\.parquet cannot be read as a metadata table"):
        bc.submit_metadata(tmp_path / "x.parquet", small)


def test_a_parquet_file_of_more_values_than_fit_is_refused_before_it_is_read(small: Study, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"barcode": ["AAAC-1"] * 2_000_000}).to_parquet(tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    with bc.settings.override(memory_budget=20_000_000), pytest.raises(TooLarge, match=r"x\.parquet needs about 32"):
        bc.submit_metadata(tmp_path / "x.parquet", small)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_fifo_in_place_of_a_table_does_not_hang(small: Study, tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"x{ending}")
    with pytest.raises(InvalidFile, match="it is a FIFO, not a file"):
        bc.submit_metadata(tmp_path / f"x{ending}", small)


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_in_a_bucket_is_read_by_the_server(small: Study, server: Sandbox, tmp_path: Path, shared: bool) -> None:
    field = f"bucket {shared}"
    table(small, field).iloc[:5].to_csv(tmp_path / "x.csv")
    bucket = server.add_bucket(tmp_path)
    try:
        report = bc.submit_metadata("x.csv", small, s3_id=bucket, shared=shared, overwrite=True)
        assert (report.matched, report.only_there, report.written) == (5, 7, (field,))
        assert list(small.metadata(field)[field].dropna()) == ["000", "001", "002", "003", "004"]
        again = bc.submit_metadata("x.csv", small, s3_id=bucket, shared=shared, overwrite=True)
        assert "no new fields" in again.notes[-1]
        with pytest.raises(ServerError):
            bc.submit_metadata("y.csv", small, s3_id=bucket, shared=shared, overwrite=True)
    finally:
        server.remove_bucket(bucket)


def test_a_file_in_a_bucket_is_sent_only_if_it_may_replace_fields(small: Study, server: Sandbox) -> None:
    server.requests.clear()
    with pytest.raises(InvalidArgument, match="give overwrite=True"):
        bc.submit_metadata("x.csv", small, s3_id="b")
    with pytest.raises(InvalidArgument, match=r"servers read \.csv and \.tsv files"):
        bc.submit_metadata("x.parquet", small, s3_id="b", overwrite=True)
    with pytest.raises(InvalidArgument, match="needs the id of the bucket"):
        bc.submit_metadata("x.csv", small, shared=True)
    with pytest.raises(InvalidArgument, match="on BioFlex, which accepts no metadata"):
        bc.submit_metadata("x.csv", bc.study("PBMC68k_reduced"), s3_id="b", overwrite=True)
    assert not [request for request in server.requests if "submit_metadata" in request.path]


def test_labels_that_a_redirect_would_carry_to_another_server_are_not_reported_as_written(
    small: Study, server: Sandbox
) -> None:
    with a_scripted_server() as evil:
        evil.answers(answer(content={"status": 200}))
        location = f"http://127.0.0.1:{evil.server_port}\\@{server.url.removeprefix('http://')}/"
        fault = server.faults.add("submit_metadata_dataframe", kind="redirect", location=location)
        try:
            with pytest.raises(RedirectRefused):
                table(small, "patients").biocolab.submit_metadata(small)
        finally:
            server.faults.remove(fault)
        assert evil.requests == []
    assert "patients" not in small.metadata().columns
