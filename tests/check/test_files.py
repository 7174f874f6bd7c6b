"""A file is opened without reading its matrices, or the error says what it is."""

import gzip
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from anndata.abc import CSRDataset
from anndata.io import read_h5ad, write_elem
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check.files import open_h5ad
from biocolab_accessor.errors import InvalidFile
from biocolab_accessor.io.hdf5_gate import expect_harmless
from tests.builders import layer_names

pytestmark = pytest.mark.smoke

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
        (b" ~\t\r\n", "is a text file"),
        (gzip.compress(b"x", mtime=0), "is gzip-compressed; unpack it first"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"  <!doctype html>", "is a web page or XML"),
        (b" %%MatrixMarket matrix", "is a Matrix Market file; use study_type='mtx_10x' with its folder"),
        (b"RDX3\n\0", "is an R file; use study_type='rds'"),
        (b"X\n\0", "is an R file; use study_type='rds'"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", r"begins with b'\x00\x01\x02\x03\x04\x05\x06\x07'"),
        (b"text\x1f", r"begins with b'text\x1f'"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, what):
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    with pytest.raises(InvalidFile) as caught:
        bc.check(path)
    assert str(caught.value) == f"{path} is not an h5ad file: it {what}"


def test_a_file_of_a_10x_folder_leads_to_the_folder(tmp_path):
    (tmp_path / "matrix.mtx.gz").write_bytes(gzip.compress(b"x", mtime=0))
    with pytest.raises(InvalidFile) as caught:
        bc.submit(tmp_path / "matrix.mtx.gz")
    assert str(caught.value).endswith(f"it is a part of a 10x folder; give the folder, {str(tmp_path)!r}")


def test_a_file_that_only_begins_like_hdf5_is_broken(tmp_path):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(InvalidFile) as caught:
        bc.check(path)
    assert str(caught.value).startswith(f"{path} is a broken HDF5 file, maybe cut short: ")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, what in ((tmp_path / "no.h5ad", "does not exist"), (tmp_path, "is a folder without a 10x matrix")):
        with pytest.raises(InvalidFile) as caught:
            bc.check(path)
        kinds = "an h5ad file, a 10x h5 file, a table, or a folder with a 10x matrix"
        assert str(caught.value) == f"{path} {what}: give {kinds}"
    with pytest.raises(InvalidFile, match=r"^https://x\.org/a\.h5ad is an address: download it, and give the file$"):
        bc.check("https://x.org/a.h5ad")


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    AnnData(np.eye(3, dtype="float32")).write_h5ad(tmp_path / "x.h5ad")
    assert bc.check("~/x.h5ad").ok
    with pytest.raises(InvalidFile, match=f"{tmp_path}/y.h5ad does not exist"):
        bc.check("~/y.h5ad")


@pytest.mark.parametrize(
    ("groups", "what"),
    [
        (["matrix/barcodes"], "no obs and no var (it looks like a 10x file: use study_type='h5_10x')"),
        (
            ["row_attrs", "col_attrs"],
            "no obs and no var (it looks like a loom file: read it with anndata.io.read_loom)",
        ),
        (["mod/rna"], "no obs and no var (it looks like an h5mu file: use one of its modalities)"),
        (
            ["assays/RNA", "cell.names"],
            "no obs and no var (it looks like an h5Seurat file: in R, SeuratDisk::Convert('x.h5seurat', dest = "
            "'h5ad'))",
        ),
        (["x"], "no obs and no var"),
        (["matrix"], "no obs and no var"),
        (["barcodes"], "no obs and no var"),
        (["row_attrs"], "no obs and no var"),
        (["var"], "no obs"),
        (["obs"], "no var"),
    ],
)
def test_other_hdf5_files_are_named_for_what_they_are(tmp_path, groups, what):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for group in groups:
            file.create_group(group)
    with pytest.raises(InvalidFile) as caught:
        bc.check(tmp_path / "a.h5")
    assert str(caught.value) == f"{tmp_path / 'a.h5'} is HDF5 but not h5ad: it has {what}"


def test_a_loom_file_with_a_matrix_is_named_for_what_it_is(tmp_path):
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = np.eye(3)
        file["row_attrs/Gene"] = np.array(["A", "B", "C"], "S")
        file["col_attrs/CellID"] = np.array(["a", "b", "c"], "S")
    with pytest.raises(InvalidFile, match=r"no obs and no var \(it looks like a loom file: read it with anndata"):
        bc.check(tmp_path / "a.loom")


@pytest.mark.parametrize(
    ("ending", "what"),
    [(".rds", "is an R file; use study_type='rds'"), (".RDS", "is an R file"), (".cloupe", "is a Loupe file"),
     (".h5ad", "is gzip-compressed; unpack it first")],
)  # fmt: skip
def test_compressed_files_of_other_tools_are_recognized_by_their_ending(tmp_path, ending, what):
    (tmp_path / f"a{ending}").write_bytes(b"\x1f\x8b\x08" + bytes(50))
    with pytest.raises(InvalidFile) as caught:
        bc.check(tmp_path / f"a{ending}")
    assert f"a{ending} is not an h5ad file: it {what}" in str(caught.value)


def test_an_h5mu_file_is_named_with_its_modalities_though_it_has_obs_and_var(tmp_path):
    path = tmp_path / "a.h5mu"
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "MuData"
        for group in ("obs", "var", "mod/rna", "mod/atac"):
            file.create_group(group)
    of = f"{path} is an h5mu file with several modalities"
    with pytest.raises(InvalidFile) as caught:
        bc.check(path)
    use = f"use one of them, mudata.read_h5ad({str(path)!r}, mod='atac').biocolab"
    assert str(caught.value) == f"{of} ('atac', 'rna'): {use}"
    with h5py.File(path, "a") as file:
        del file["mod"]
    with pytest.raises(InvalidFile) as caught:
        bc.check(path)
    assert str(caught.value) == f"{of} (): use one of them, mdata['rna'].biocolab"


@pytest.mark.parametrize(("bare", "what"), [(["obs", "var"], "obs and var"), (["var"], "var")])
def test_tables_that_h5py_wrote_are_named_for_what_they_lack(path, bare, what):
    with h5py.File(path, "r+") as file:
        for name in bare:
            del file[name].attrs["encoding-type"]
    with pytest.raises(InvalidFile) as caught:
        bc.check(path)
    assert str(caught.value).startswith(f"{path} is HDF5 but not h5ad: {what} without the encoding-type ")


def test_a_file_with_a_user_block_is_opened(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w", userblock_size=1024) as file:
        file.create_group("x")
    with pytest.raises(InvalidFile, match="is HDF5 but not h5ad"):
        bc.check(tmp_path / "a.h5ad")


def test_slots_that_are_never_sent_are_not_read(path):
    with h5py.File(path, "r+") as file:
        file["uns"].create_group("broken").attrs["encoding-type"] = "of the future"
        file["obsp"].create_group("broken").attrs["encoding-type"] = "of the future"
    assert bc.check(path).ok


def test_the_content_that_h5py_shows_is_checked(path):
    adata = open_h5ad(path)
    try:
        assert np.array_equal(adata.layers["counts"][...].toarray(), COUNTS.toarray())
        assert np.array_equal(adata.layers["dense"][...], COUNTS.toarray())
        assert layer_names(adata) == ["counts", "dense"]
        assert np.array_equal(adata.obsm["X_pca"], np.ones((20, 2)))
        assert adata.raw.var_names.tolist() == adata.var_names.tolist() == [str(i) for i in range(10)]
        assert adata.obs_names.tolist() == [str(i) for i in range(20)]
        assert (adata.uns, adata.file._filemode) == ({}, "r")
    finally:
        adata.file.close()


def test_a_layer_that_cannot_be_read_leaves_no_file_open(path):
    with h5py.File(path, "r+") as file:
        file["layers/counts"].attrs["encoding-type"] = "of the future"
    with pytest.raises(InvalidFile, match="cannot be read as h5ad"):
        bc.check(path)
    assert handles(path) == 0


def test_a_truncated_file_is_refused(path):
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


def test_a_file_from_before_tables_were_groups_is_opened_without_its_matrix(tmp_path):
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = COUNTS.toarray()
        file["obs"] = np.array([(f"c{i}".encode(), i) for i in range(20)], [("index", "S3"), ("n", "i4")])
        file["var"] = np.array([(f"g{i}".encode(),) for i in range(10)], [("index", "S3")])
    adata = open_h5ad(tmp_path / "old.h5ad")
    try:
        assert adata.isbacked
        assert adata.obs["n"].tolist() == list(range(20))
        assert adata.var_names.tolist() == [f"g{i}" for i in range(10)]
    finally:
        adata.file.close()
    assert bc.check(tmp_path / "old.h5ad").errors == ()


def test_a_file_may_have_no_layers_raw_or_embeddings(path):
    with h5py.File(path, "r+") as file:
        for name in ("layers", "raw", "obsm"):
            del file[name]
    adata = open_h5ad(path)
    try:
        assert (layer_names(adata), adata.raw, list(adata.obsm)) == ([], None, [])
    finally:
        adata.file.close()


def _replaced(file, name, values):
    del file[name]
    file[name] = values


def _set(name, position, value):
    def change(file):
        file[name][position] = value

    return change


@pytest.mark.parametrize("slot", ["X", "layers/counts"])
@pytest.mark.parametrize("axis", ["csr", "csc"])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_set("indices", 5, 30), "an index of 30, outside of 0 to {}"),
        (_set("indices", 5, -3), "an index of -3, outside of 0 to {}"),
        (_set("indptr", 5, 10**6), "its indptr does not rise from 0 to at most 60, the number of values"),
        (_set("indptr", 5, 0), "its indptr does not rise from 0 to at most 60, the number of values"),
        (_set("indptr", 0, 1), "its indptr does not fit "),
        (lambda group: _replaced(group, "data", group["data"][:-1]), "at most 59, the number of values"),
        (lambda group: _replaced(group, "indices", group["indices"][:-1]), "at most 59, the number of values"),
        (lambda group: _replaced(group, "indptr", group["indptr"][:].astype(float)), "numbers (float64)"),
        (lambda group: _replaced(group, "data", group["data"][:].astype("f2")), "holds float16 values"),
        (lambda group: _replaced(group, "data", group["data"][:].astype(">f4")), "holds >f4 values"),
    ],
)
def test_a_damaged_matrix_is_an_error_that_says_where_and_takes_nothing_down(tmp_path, slot, axis, change, what):
    path = tmp_path / "a.h5ad"
    matrix = COUNTS.asformat(axis)
    AnnData(matrix if slot == "X" else None, layers={} if slot == "X" else {"counts": matrix}).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        change(file[slot])
    for filters in ({}, {"min_genes": 1, "mt_percentage": 5}):
        errors = bc.check(path, **filters).errors
        assert [(found.code, found.path) for found in errors] == [("BC503", "X" if slot == "X" else "layers['counts']")]
        assert what.format(9 if axis == "csr" else 19) in errors[0].message


@pytest.mark.parametrize("name", ["X", "layers/counts/data", "layers/counts/indices", "layers/counts/indptr"])
def test_a_file_with_a_damaged_chunk_is_refused_by_its_name(path, name):
    adata = read_h5ad(path)
    adata.write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\xff" * (chunk.size // 4))
    with pytest.raises(InvalidFile) as caught:
        bc.check(path, min_genes=1)
    assert str(caught.value).startswith(f"{path} could not be read completely and may be corrupted: ")
    assert isinstance(caught.value.__cause__, OSError)
    assert handles(path) == 0


@pytest.mark.parametrize("axis", ["csr", "csc"])
def test_values_stored_after_the_last_one_are_not_part_of_the_matrix(tmp_path, axis):
    plain, longer = tmp_path / "plain.h5ad", tmp_path / "longer.h5ad"
    for path in (plain, longer):
        AnnData(COUNTS.asformat(axis)).write_h5ad(path)
    with h5py.File(longer, "r+") as file:
        _replaced(file["X"], "data", np.append(file["X/data"][:], np.float32(0.5)))
        _replaced(file["X"], "indices", np.append(file["X/indices"][:], np.int32(99)))
    assert list(bc.check(longer, min_genes=1)) == list(bc.check(plain, min_genes=1))


@pytest.mark.parametrize(("letters", "is_text"), [(512, True), (511, False)])
def test_a_file_is_judged_by_its_first_sector(tmp_path, letters, is_text):
    (tmp_path / "a").write_bytes(b"a" * letters + b"\0")
    with pytest.raises(InvalidFile, match="it is a text file" if is_text else "it begins with b'aaaaaaaa'"):
        bc.check(tmp_path / "a")


def unreadable(file, name, code, label=None):
    """Have a dataset say that it went through a filter that is not here."""
    shape, dtype = file[name].shape, file[name].dtype
    attributes = dict(file[name].attrs)
    del file[name]
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(shape)
    made.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
    stored = h5py.h5d.create(file[name.rpartition("/")[0] or "/"].id, name.rpartition("/")[2].encode(),
                             h5py.h5t.py_create(dtype), h5py.h5s.create_simple(shape), made)  # fmt: skip
    stored.write_direct_chunk((0,) * len(shape), b"compressed")
    file[name].attrs.update(attributes)


@pytest.mark.parametrize(
    ("name", "code", "known"),
    [
        ("layers/counts/data", 32001, "blosc"),
        ("layers/counts/indices", 32026, "blosc2"),
        ("layers/counts/indptr", 32004, "lz4"),
        ("obs/n", 32013, "zfp"),
        ("X", 32015, "zstd"),
    ],
)
def test_a_filter_that_is_not_installed_is_named_with_the_package(tmp_path, name, code, known):
    counts = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "a.h5ad"
    obs = pd.DataFrame({"n": [1.5, 2.5]}, index=["a", "b"])
    AnnData(counts, obs, layers={"counts": sparse.csr_matrix(counts)}).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        unreadable(file, name, code)
    what = f"{known} (HDF5 filter {code})".strip()
    for call in (lambda: bc.check(path), lambda: bc.submit(path, study_type="h5ad")):
        with pytest.raises(InvalidFile) as caught:
            call()
        assert str(caught.value) == (
            f"{path} cannot be read: it is compressed with {what}, for example in {name}, which is not installed: "
            "pip install hdf5plugin, and import hdf5plugin before the file is opened"
        )
        assert handles(path) == 0
    if name == "X":
        backed = read_h5ad(path, backed="r")
        del backed.layers["counts"]
        for call in (backed.biocolab.check, lambda: backed.biocolab.submit(dry_run=True)):
            with pytest.raises(InvalidFile, match="pip install hdf5plugin"):
                call()
        backed.file.close()


@pytest.mark.parametrize(
    ("name", "code", "known"),
    [
        ("raw/X", 32008, "bitshuffle"),
        ("raw/X", 32001, "blosc"),
        ("obs/n", 32015, "zstd"),
        ("obs/label/codes", 32004, "lz4"),
        ("obsm/X_pca", 32003, "snappy"),
        ("var/mean", 307, "bzip2"),
        ("layers/counts/data", 32024, "sz3"),
        ("X", 33333, ""),
    ],
)
def test_a_filter_is_named_wherever_in_a_file_it_is_needed(tmp_path, name, code, known):
    counts = np.arange(6, dtype=np.float32).reshape(2, 3)
    obs = pd.DataFrame({"n": [1.5, 2.5], "label": pd.Categorical(["u", "v"])}, index=["a", "b"])
    adata = AnnData(counts, obs, pd.DataFrame({"mean": [1.0, 2.0, 3.0]}, index=["x", "y", "z"]))
    adata.layers["counts"], adata.obsm["X_pca"] = sparse.csr_matrix(counts), counts
    adata.raw = adata
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        unreadable(file, name, code)
    what = f"{known} (HDF5 filter {code}), for example in {name},".strip()
    for call in (lambda: bc.check(path), lambda: bc.submit(path, study_type="h5ad")):
        with pytest.raises(InvalidFile, match=re.escape(what)) as caught:
            call()
        # hdf5plugin brings only some of them; it would not help with the others.
        assert ("hdf5plugin" in str(caught.value)) == (code not in (32003, 33333))
        assert ("install the plugin" in str(caught.value)) == (code in (32003, 33333))


@pytest.mark.parametrize("name", ["matrix/data", "matrix/indices", "matrix/barcodes", "matrix/features/id"])
@pytest.mark.parametrize(("code", "known"), [(32015, "zstd"), (32001, "blosc"), (32004, "lz4")])
def test_a_filter_of_a_10x_file_is_named_too(tmp_path, data_file, name, code, known):
    path = tmp_path / "a.h5"
    shutil.copyfile(data_file("10x-v3.h5"), path)
    with h5py.File(path, "r+") as file:
        unreadable(file, name, code)
    for call in (lambda: bc.check(path), lambda: bc.submit(path, study_type="h5_10x")):
        with pytest.raises(
            InvalidFile, match=rf"{known} \(HDF5 filter {code}\), for example in {name}.*pip install hdf5plugin"
        ):
            call()


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_filters_that_h5py_has_need_nothing(tmp_path, compression):
    path = tmp_path / "a.h5ad"
    AnnData(np.arange(1, 13, dtype=np.float32).reshape(3, 4)).write_h5ad(path, compression=compression)
    assert bc.check(path).ok


def test_an_unreadable_file_whose_filters_are_installed_is_damaged(path):
    with h5py.File(path) as file:
        assert expect_harmless(file, "file")[1] == ""
