"""HDF5 gate: no untrusted file can read another file, block its reader or fill its memory."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scanpy

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidFile
from biocolab_accessor.io.hdf5_gate import expect_harmless, is_hdf5, opened_foreign
from biocolab_accessor.sandbox.server import Sandbox
from tests.hostile_files import good_h5ad
from tests.patience import PATIENCE
from tests.stress.hostile_ways import WAYS, build_all, tried

on_linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs FIFOs, and its memory from /proc")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one subfolder for each kind of file."""
    return build_all(tmp_path_factory.mktemp("hostile"))


@on_linux
@pytest.mark.parametrize(
    "way", [name if name == "reader" else pytest.param(name, marks=pytest.mark.sweeps) for name in WAYS]
)
def test_no_hostile_file_passes(way: str, hostile: Path) -> None:
    """All kinds in one child process with bounded memory."""
    assert tried(way, hostile, PATIENCE) == []


def _real_files(data_file: Callable[[str], Path]) -> list[Path]:
    names = ("10x-v3.h5", "anndata-v0.5.0.h5ad", "anndata-v0.7.0.h5ad", "cellxgene-nan.h5ad",
             "mouse_neurons_10k_x_1k.h5ad", "pbmc_10k_protein_v3.h5ad")  # fmt: skip
    return [data_file(name) for name in names]


def test_real_files_of_all_versions_pass(data_file: Callable[[str], Path]) -> None:
    for path in [*_real_files(data_file), *Path(scanpy.__file__).parent.rglob("*.h5*")]:
        with opened_foreign(path) as foreign:
            assert foreign.to_install == ""
            assert foreign.n_bytes > path.stat().st_size / 10


@pytest.mark.parametrize("compression", [None, "gzip", "lzf", "szip"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_files_from_anndata_and_h5py_pass(compression: str | None, libver: str, tmp_path: Path) -> None:
    """Numbers and strings, with and without chunks, in each compression of HDF5."""
    if compression == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 has no szip")
    path = tmp_path / "x.h5ad"
    adata = good_h5ad(path)
    adata.obs["text"] = [f"text {'x' * (i * 50)}" for i in range(adata.n_obs)]
    if compression != "szip":  # which does not support strings
        adata.write_h5ad(path, compression=compression)
    with h5py.File(path, "r+", libver=libver) as file:
        numbers = {"shuffle": True} if compression not in (None, "szip") else {}
        file.create_dataset("uns/n", data=np.zeros((300, 400)), compression=compression, **numbers)
        file.create_dataset("uns/grown", shape=(0, 3), maxshape=(None, 3), dtype="f4")
        file.create_dataset("uns/empty", data=h5py.Empty("f4"))
        file.create_dataset("uns/scalar", data="a text")
        kind = np.dtype([("name", h5py.string_dtype()), ("n", "i4"), ("of", h5py.string_dtype())])
        file.create_dataset("uns/rows", data=np.array([(b"a", 1, b"bb"), (b"c", 2, b"")], kind))
        file["uns/hard"], file["uns/soft"] = file["uns/n"], h5py.SoftLink("own/x")
        file.create_dataset("uns/ragged", data=[np.arange(3), np.arange(5)], dtype=h5py.vlen_dtype("i4"))
        file["uns/kind"] = np.dtype("f8")
    with opened_foreign(path) as foreign:
        assert foreign.n_bytes > 300 * 400 * 8 * 2  # an object with two links is read twice


def test_a_file_that_was_written_for_many_readers_passes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        grown = file.create_dataset("x", shape=(0,), maxshape=(None,), chunks=(10,), dtype="i4")
        file.swmr_mode = True
        for length in range(0, 100, 7):
            grown.resize((length,))
            grown[-7:] = 1
            grown.flush()
    with opened_foreign(path) as foreign:
        assert foreign.file["x"].shape == (98,)
        assert foreign.n_bytes == 98 * 4


def test_an_object_that_is_backed_for_writing_passes(tmp_path: Path) -> None:
    adata = good_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r+")
    assert [found.code for found in backed.biocolab.check()] == [found.code for found in adata.biocolab.check()]
    backed.file.close()


def test_files_in_memory_and_unflushed_changes_pass(tmp_path: Path) -> None:
    with h5py.File(io.BytesIO(), "w") as memory, h5py.File(tmp_path / "x.h5", "w") as file:
        for each in (memory, file):
            each["t"] = ["some", "texts"] * 50
            each.create_group("g").attrs["names"] = [f"column {i}" for i in range(200)]
            assert expect_harmless(each, "file") == (100 * 16, "")


@on_linux
def test_the_file_that_was_checked_is_the_one_that_is_read(tmp_path: Path) -> None:
    """Another file takes its name meanwhile."""
    path, other = tmp_path / "x.h5", tmp_path / "y.h5"
    for place, value in ((path, 1), (other, 2)):
        with h5py.File(place, "w") as file:
            file["x"] = value
    with opened_foreign(path) as foreign:
        os.replace(other, path)
        with suppress(OSError), h5py.File(foreign.path) as again:  # some versions look up its name, which is gone
            assert again["x"][()] == 1
        assert foreign.file["x"][()] == 1


@on_linux
def test_a_fifo_is_not_hdf5_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    assert not is_hdf5(tmp_path / "x")
    with pytest.raises(InvalidFile, match="is a FIFO, not a file: give an h5ad file"):
        bc.check(tmp_path / "x")


@on_linux
def test_a_fifo_in_a_10x_folder_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "matrix.mtx.gz")
    for name in ("features.tsv.gz", "barcodes.tsv.gz"):
        (tmp_path / name).write_bytes(b"x")
    for call in (bc.check, lambda path: bc.submit(path, study_type="mtx_10x")):
        with pytest.raises(InvalidFile, match=r"has no matrix\.mtx\[\.gz\]"):
            call(tmp_path)


def test_a_processed_folder_with_a_virtual_matrix_is_not_sent(server: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "custom_embeddings").mkdir()
    for name in ("coords.npy", "embeddings.db", "metadata.db", "custom_embeddings/x.npy"):
        (tmp_path / name).write_bytes(b"x")
    with h5py.File(tmp_path / "matrix.hdf5", "w") as file:
        layout = h5py.VirtualLayout((4,), "u4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        file.create_virtual_dataset("matrix", layout)
    sent = len(server.requests)
    with pytest.raises(InvalidFile, match="dataset '/matrix' is virtual"):
        bc.submit(tmp_path, study_type="processed_folder")
    assert len(server.requests) == sent


def test_a_layer_in_another_file_is_checked(tmp_path: Path) -> None:
    adata = good_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["fine"] = np.ones(adata.shape, np.float32)
        adata.layers["other"] = file["fine"]
        assert adata.biocolab.check().ok
        file["out"] = h5py.ExternalLink("/etc/hostname", "/x")
        with pytest.raises(InvalidFile, match=r"y\.h5: '/out' is a link to another file"):
            expect_harmless(file, str(tmp_path / "y.h5"))
