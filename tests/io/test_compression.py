"""Compression: any reader restores the content of a chunk."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biocolab_accessor.io.compression import can_inflate, deflate_shuffled, read_deflated

DTYPES = ["<f4", "<f8", "<i4", "<u2", "<i8", "u1"]


def shuffled(values: np.ndarray) -> bytes:
    return values.view(np.uint8).reshape(len(values), values.itemsize).T.tobytes()


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 300))))
def test_zlib_restores_a_compressed_chunk(values: np.ndarray) -> None:
    assert zlib.decompress(deflate_shuffled(values)) == shuffled(values)


@pytest.mark.parametrize("length", [1, 8191, 65_535, 65_536, 262_144])
@pytest.mark.parametrize("kind", ["zeros", "noise", "counts", "indices", "mixed"])
def test_every_kind_of_plane_gives_a_valid_stream(length: int, kind: str) -> None:
    rng = np.random.default_rng(length)
    values = {
        "zeros": np.zeros(length, np.float32),
        "noise": rng.random(length).astype(np.float32),
        "counts": rng.poisson(1.2, length).astype(np.float32),
        "indices": np.sort(rng.integers(0, 60_000, length)).astype(np.int32),
        "mixed": np.where(np.arange(length) < length // 2, 0, rng.integers(0, 2**31, length)).astype(np.int32),
    }[kind]
    assert zlib.decompress(deflate_shuffled(values)) == shuffled(values)


def test_noise_is_stored_uncompressed_and_zeros_take_no_space() -> None:
    noise = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    assert 400_000 < len(deflate_shuffled(noise)) < 400_100
    assert len(deflate_shuffled(np.zeros(100_000, np.float32))) < 2_000


@given(
    st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(1, 400))),
    st.integers(1, 120),
    st.booleans(),
    st.data(),
)
def test_reading_on_threads_gives_the_same_values(
    values: np.ndarray, chunk: int, shuffle: bool, data: st.DataObject
) -> None:
    with h5py.File.in_memory() as file:
        dataset = file.create_dataset(
            "x", data=values, chunks=(min(chunk, len(values)),), compression="gzip", shuffle=shuffle
        )
        file.flush()
        assert can_inflate(dataset)
        start = data.draw(st.integers(0, len(values)))
        stop = data.draw(st.integers(start, len(values)))
        assert read_deflated(dataset, start, stop).tobytes() == values[start:stop].tobytes()


def test_a_chunk_that_was_not_filtered_is_read(tmp_path: Path) -> None:
    values = np.arange(10, dtype=np.int32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", (10,), "<i4", chunks=(10,), compression="gzip", shuffle=True)
        dataset.id.write_direct_chunk((0,), values.tobytes(), filter_mask=3)
    with h5py.File(tmp_path / "x.h5") as file:
        assert read_deflated(file["x"]).tolist() == values.tolist() == file["x"][()].tolist()


@pytest.mark.parametrize(
    "stored",
    [
        b"nonsense",
        zlib.compress(bytes(39)),
        zlib.compress(bytes(41)),
        zlib.compress(bytes(4000)),
        zlib.compress(bytes(40))[:-1],
        zlib.compress(bytes(40))[:-4] + b"bad!",
        b"",
    ],
)
def test_a_damaged_chunk_is_refused(tmp_path: Path, stored: bytes) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", (10,), "<i4", chunks=(10,), compression="gzip", shuffle=True)
        if stored:
            dataset.id.write_direct_chunk((0,), stored)
    with h5py.File(tmp_path / "x.h5") as file, pytest.raises(ValueError, match="chunk"):
        read_deflated(file["x"])
