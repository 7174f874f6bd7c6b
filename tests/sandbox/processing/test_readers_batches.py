from __future__ import annotations

from pathlib import Path

from biocolab_accessor.sandbox.processing.readers import bucket_batches, uploaded_batches
from biocolab_accessor.sandbox.store.buckets import Bucket


def test_batches_are_named_by_their_files_without_the_ending_where_that_tells_them_apart(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.h5ad", "b.h5ad", "a.h5")}
    assert [batch.name for batch in uploaded_batches(["a.h5ad", "b.h5ad"], files, 2)] == ["a", "b"]
    assert [batch.name for batch in uploaded_batches(["a.h5ad", "a.h5"], files, 2)] == ["a.h5ad", "a.h5"]
    assert [batch.name for batch in uploaded_batches(["a.h5ad"], files, 2)] == ["a.h5ad"]


def test_of_a_type_that_is_not_read_here_no_file_is_looked_for(tmp_path: Path) -> None:
    bucket = Bucket("id", "lab", "", folder=tmp_path)
    (batch,) = bucket_batches(bucket, {"Batch_0": {"folder": "tiles"}}, 15, lambda: tmp_path / "x")
    assert (batch.name, batch.files) == ("Batch_0", {})
