from __future__ import annotations

from pathlib import Path, PurePath, PureWindowsPath

from biocolab_accessor.sandbox.processing.readers import bucket_batches, key_of, uploaded_batches
from biocolab_accessor.sandbox.store.buckets import Bucket


def test_batches_are_named_after_their_files_without_extension_if_unique(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.h5ad", "b.h5ad", "a.h5")}
    assert [batch.name for batch in uploaded_batches(["a.h5ad", "b.h5ad"], files, 2)] == ["a", "b"]
    assert [batch.name for batch in uploaded_batches(["a.h5ad", "a.h5"], files, 2)] == ["a.h5ad", "a.h5"]
    assert [batch.name for batch in uploaded_batches(["a.h5ad"], files, 2)] == ["a.h5ad"]


def test_files_of_an_unsupported_study_type_are_not_looked_up(tmp_path: Path) -> None:
    bucket = Bucket("id", "lab", "", folder=tmp_path)
    (batch,) = bucket_batches(bucket, {"Batch_0": {"folder": "tiles"}}, 15, lambda: tmp_path / "x")
    assert (batch.name, batch.files) == ("Batch_0", {})


def test_a_file_name_may_include_the_folder() -> None:
    assert key_of(PureWindowsPath("C:/Data"), "c:/data/run/x.h5ad") == "run/x.h5ad"
    assert key_of(PurePath("/data"), "x.h5ad") == "x.h5ad"
