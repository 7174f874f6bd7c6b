from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import pytest

from biocolab_accessor.errors import InvalidFile
from biocolab_accessor.io.hdf5_gate import opened_foreign


def test_strings_are_counted_up_to_the_size_of_the_file(tmp_path: Path) -> None:
    """Each string has its own place in the file, so valid files never exceed its size."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("t", data=["é" * 50_000] * 10, dtype=h5py.string_dtype(), compression="lzf")
    with opened_foreign(path) as foreign:
        assert foreign.n_bytes == 10 * 16 + 10 * 100_000


def test_a_file_with_a_chunk_of_strings_that_is_too_short_is_broken(tmp_path: Path) -> None:
    """HDF5 itself would read beyond the chunk."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        texts = file.create_dataset("t", shape=(1000,), chunks=(1000,), dtype=h5py.string_dtype(), compression="gzip")
        texts.id.write_direct_chunk((0,), zlib.compress(b"short"))
    with (
        pytest.raises(InvalidFile, match="is a broken HDF5 file: a chunk has 5 bytes instead of 16,000"),
        opened_foreign(path),
    ):
        pass
