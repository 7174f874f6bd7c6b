"""Sink: a disk that is full is an error, and neither the end of the process nor a file that is half there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from biocolab_accessor.storage.sink import Sink

resource = pytest.importorskip("resource")

COUNTS = sparse.random(1500, 1000, density=0.3, format="csr", dtype=np.float32, random_state=0)
COUNTS.data = np.ceil(COUNTS.data * 50)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file becomes larger than this: what a full disk is to who writes, and no other program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("size", [0, 1000, 60_000, 400_000, 900_000])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, size: int, compression: Literal["gzip"] | None) -> None:
    adata = ad.AnnData(COUNTS)
    with disk_of(size), pytest.raises(OSError, match=str(tmp_path)) as caught:
        adata.biocolab.to_h5ad(tmp_path / "x.h5ad", compression=compression)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
    adata.biocolab.to_h5ad(tmp_path / "x.h5ad", compression=compression)
    assert (ad.read_h5ad(tmp_path / "x.h5ad").X != COUNTS).nnz == 0


def test_rows_are_not_made_for_a_disk_that_is_full(tmp_path: Path) -> None:
    taken = []

    def write() -> None:
        with Sink(tmp_path / "x") as sink:
            for number in sink.watched(range(10)):
                taken.append(number)
                sink.write(bytes(100))

    with disk_of(250), pytest.raises(OSError, match="x"):
        write()
    assert taken == [0, 1, 2]


def test_an_error_of_the_one_who_writes_stays_that(tmp_path: Path) -> None:
    def write() -> None:
        with Sink(tmp_path / "x") as sink, h5py.File(sink, "w") as file:
            file["a"] = np.arange(5)
            raise KeyError

    with pytest.raises(KeyError):
        write()
