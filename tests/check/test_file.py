"""A path is opened without reading its matrices, or it is said what the file is."""

import gzip
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from anndata import AnnData
from anndata.abc import CSRDataset
from anndata.io import read_h5ad, write_elem
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check.file import open_h5ad
from biocolab_accessor.errors import InvalidFile

COUNTS = sparse.random(20, 10, density=0.3, format="csr", random_state=0, dtype=np.float32)
COUNTS.data = np.ceil(COUNTS.data * 9)


@pytest.fixture
def path(tmp_path):
    adata = AnnData(np.log1p(COUNTS.toarray()), layers={"counts": COUNTS, "dense": COUNTS.toarray()})
    adata.obsm["X_pca"] = np.ones((20, 2))
    adata.raw = adata
    adata.write_h5ad(tmp_path / "a.h5ad")
    return tmp_path / "a.h5ad"


def handles(path):
    return sum(os.path.realpath(f"/proc/self/fd/{fd}") == str(path) for fd in os.listdir("/proc/self/fd"))


def test_matrices_stay_on_disk(path):
    adata = open_h5ad(path)
    try:
        assert isinstance(adata.layers["counts"], CSRDataset)
        assert isinstance(adata.layers["dense"], h5py.Dataset)
        assert isinstance(adata.X, h5py.Dataset)
        assert adata.isbacked
        assert adata.raw.shape == (20, 10)
        assert list(adata.obsm) == ["X_pca"]
    finally:
        adata.file.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count open files")
def test_the_file_is_closed_again(path):
    assert bc.check(path).ok
    assert bc.check(str(path), batch_key="nothing").errors[0].code == "BC204"
    assert handles(path) == 0


def test_an_h5ad_may_have_no_x(tmp_path):
    AnnData(layers={"counts": COUNTS}).write_h5ad(tmp_path / "a.h5ad")
    assert bc.check(tmp_path / "a.h5ad").ok
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        if "X" in file:
            del file["X"]
        write_elem(file, "X", None)  # as anndata 0.12.0 does
    assert bc.check(tmp_path / "a.h5ad").ok
    adata = read_h5ad(tmp_path / "a.h5ad", backed="r")
    assert str(adata.biocolab.submit(dry_run=True).slot) == "layers['counts']"
    adata.file.close()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"gene,cell1\nCD3D,3\n", "is a text file"),
        (gzip.compress(b"x"), "is gzip-compressed"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"  <!doctype html>", "is a web page"),
        (b"%%MatrixMarket matrix", "is a Matrix Market file"),
        (b"RDX3\n", "is an R file"),
        (b"\x00\x01\x02", "begins with b'\\x00\\x01\\x02'"),
        (b"\x89HDF\r\n\x1a\n and no more", "broken HDF5"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, what):
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    with pytest.raises(InvalidFile) as caught:
        bc.check(path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InvalidFile, match="does not exist"):
        bc.check(tmp_path / "no.h5ad")
    with pytest.raises(InvalidFile, match="is a folder"):
        bc.check(tmp_path)


@pytest.mark.parametrize(
    ("groups", "hint"),
    [(["matrix/barcodes"], "10x file"), (["row_attrs", "col_attrs"], "loom"), (["mod/rna"], "h5mu"), (["x"], "no obs")],
)
def test_other_hdf5_files_are_named_for_what_they_are(tmp_path, groups, hint):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for group in groups:
            file.create_group(group)
    with pytest.raises(InvalidFile, match=hint):
        bc.check(tmp_path / "a.h5")


def test_a_file_that_is_cut_short_is_refused(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidFile, match="broken HDF5"):
        bc.check(path)


def test_an_h5ad_with_unreadable_parts_is_refused(path):
    with h5py.File(path, "r+") as file:
        del file["obs"].attrs["column-order"]
        del file["obs"].attrs["_index"]
    with pytest.raises(InvalidFile, match="cannot be read as h5ad"):
        bc.check(path)
