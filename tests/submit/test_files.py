"""Files on disk become one study, and missing files are named before anything is sent."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from bioturing_connector.typing import StudyType
from scipy import io, sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed, InvalidArgument, InvalidFile, ServerError, TaskFailed
from biocolab_accessor.protocol import STUDY_TYPES
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.files import collect, study_type_number


def write_mtx(folder: Path, values: np.ndarray, *, genes: str = "features", packed: bool = False) -> Path:
    """A folder as Cell Ranger writes it, of cells by genes."""
    folder.mkdir(parents=True)
    io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(values.T))
    names = [f"ENSG{i}\tGENE{i}" for i in range(values.shape[1])]
    (folder / f"{genes}.tsv").write_text("".join(f"{name}\n" for name in names))
    (folder / "barcodes.tsv").write_text("".join(f"{folder.name}-{i}\n" for i in range(values.shape[0])))
    for path in list(folder.iterdir()) if packed else ():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return folder


VALUES = np.arange(12).reshape(3, 4)


class TestStudyType:
    @pytest.mark.parametrize("given", ["h5ad", "H5AD", 2, StudyType.H5AD, StudyType.H5AD.value])
    def test_is_a_name_a_number_or_an_official_member(self, given: object) -> None:
        assert study_type_number(given) == 2

    @pytest.mark.parametrize(("given", "getter"), [(7, "get_lensbulk"), (9, "get_lenssc"), (19, "get_lenssc")])
    def test_of_lens_names_the_lens_connector(self, given: int, getter: str) -> None:
        with pytest.raises(InvalidArgument, match=rf"study type {given} goes to a Lens .* EConnector\.{getter}\(\)"):
            study_type_number(given)

    @pytest.mark.parametrize("given", ["h5da", 99, None, [2], 2.5, True])
    def test_that_is_unknown_raises_an_error_with_the_known_ones(self, given: object) -> None:
        with pytest.raises(InvalidArgument, match=r"give one of .*'h5ad'"):
            study_type_number(given)


class TestMtx:
    @pytest.mark.parametrize(("genes", "packed"), [("features", False), ("genes", True)])
    def test_a_folder_comes_back_bit_for_bit(self, server: Sandbox, tmp_path: Path, genes: str, packed: bool) -> None:
        folder = write_mtx(tmp_path / "one", VALUES, genes=genes, packed=packed)
        found = bc.submit(folder, study_type="mtx_10x", skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(found.X.toarray(), VALUES)
        assert list(found.obs_names) == ["one-0", "one-1", "one-2"]
        assert list(found.var_names) == ["GENE0", "GENE1", "GENE2", "GENE3"]

    def test_folders_and_dicts_are_batches_with_distinct_names(self, server: Sandbox, tmp_path: Path) -> None:
        first = write_mtx(tmp_path / "a" / "filtered", VALUES)
        second = write_mtx(tmp_path / "b" / "filtered", VALUES + 1)
        third = write_mtx(tmp_path / "c", VALUES + 2, genes="genes")
        parts = {"matrix": third / "matrix.mtx", "features": third / "genes.tsv", "barcodes": third / "barcodes.tsv"}
        files = [first, second, {**parts, "name": "the third"}]
        found = bc.submit(files, study_type="mtx_10x", skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(found.X.toarray(), np.concatenate([VALUES, VALUES + 1, VALUES + 2]))
        assert list(found.obs["Batch"]) == ["filtered"] * 3 + ["filtered_2"] * 3 + ["the_third"] * 3

    def test_a_missing_or_repeated_part_of_a_folder_is_named(self, tmp_path: Path) -> None:
        folder = write_mtx(tmp_path / "one", VALUES)
        (folder / "genes.tsv").write_text("A\n")
        with pytest.raises(InvalidFile, match=r"one has 2 different features\.tsv or genes\.tsv\[\.gz\]; pass a dict"):
            collect(folder, STUDY_TYPES["mtx_10x"])
        for path in ("genes.tsv", "features.tsv"):
            (folder / path).unlink()
        with pytest.raises(InvalidFile, match=r"one has no features\.tsv or genes\.tsv"):
            collect(folder, STUDY_TYPES["mtx_10x"])
        with pytest.raises(InvalidFile, match=r"matrix\.mtx is not a folder: give a folder with matrix"):
            collect(folder / "matrix.mtx", STUDY_TYPES["mtx_10x"])
        with pytest.raises(InvalidArgument, match="'barcodes': 'features', 'barcodes' missing"):
            collect({"matrix": folder / "matrix.mtx"}, STUDY_TYPES["mtx_10x"])


class TestProcessedFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "done" / "custom_embeddings").mkdir(parents=True)
        for name in ("coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db", "custom_embeddings/pca.npy"):
            (tmp_path / "done" / name).write_bytes(name.encode())
        return tmp_path / "done"

    def test_is_sent_whole_and_the_sandbox_says_that_it_cannot_read_it(self, server: Sandbox, folder: Path) -> None:
        submission = bc.submit(folder, study_type="processed_folder", wait=False)
        with pytest.raises(TaskFailed, match="cannot read studies of type PROCESSED_FOLDER"):
            submission.wait()

    def test_is_one_folder(self, folder: Path) -> None:
        for files in ([folder, folder], folder / "coords.npy", {"matrix": folder}):
            with pytest.raises(InvalidFile, match="a processed study is a single folder"):
                collect(files, STUDY_TYPES["processed_folder"])

    def test_without_a_required_file_is_rejected(self, folder: Path) -> None:
        (folder / "custom_embeddings" / "pca.npy").unlink()
        with pytest.raises(InvalidFile, match=r"custom_embeddings has no \.npy file"):
            collect(folder, STUDY_TYPES["processed_folder"])
        (folder / "metadata.db").write_bytes(b"")
        with pytest.raises(InvalidFile, match=r"metadata\.db is empty"):
            collect(folder, STUDY_TYPES["processed_folder"])
        (folder / "matrix.hdf5").unlink()
        with pytest.raises(InvalidFile, match=r"matrix\.hdf5 does not exist"):
            collect(folder, STUDY_TYPES["processed_folder"])


class TestAFolderInsteadOfAFile:
    """The message says that it is a folder, and the advice depends on its content."""

    @pytest.mark.parametrize(
        ("inside", "said"),
        [
            (["matrix.mtx.gz", "features.tsv.gz"], "of a 10x matrix: submit it with study_type='mtx_10x'"),
            (["GSM1_matrix.mtx"], "of a 10x matrix: submit it with study_type='mtx_10x'"),
            (["coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db"], "study_type='processed_folder'"),
            ([".zgroup", ".zattrs"], r"of Zarr, .*anndata\.read_zarr\(…\)\.biocolab\.submit\(…\)"),
            (["zarr.json"], r"of Zarr, .*anndata\.read_zarr"),
            (["a.h5ad", "b.h5ad"], "instead of a file: give the files in it"),
        ],
    )
    def test_is_recognized_by_its_content(self, tmp_path: Path, inside: list[str], said: str) -> None:
        folder = tmp_path / "sample"
        folder.mkdir()
        for name in inside:
            (folder / name).write_bytes(b"1")
        for given in (folder, {"matrix": folder}, [str(folder)]):
            with pytest.raises(InvalidFile, match=rf"sample is a folder {said}|sample is a folder .*{said}"):
                bc.submit(given, study_type="h5ad")

    def test_an_empty_zarr_is_recognized_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.zarr").mkdir()
        with pytest.raises(InvalidFile, match=r"x\.zarr is a folder of Zarr"):
            bc.submit(tmp_path / "x.zarr", study_type="tsv")

    def test_is_not_a_part_of_a_batch(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidFile, match="is a folder: give a file"):
            bc.submit({"matrix": tmp_path, "features": tmp_path, "barcodes": tmp_path}, study_type="mtx_10x")


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.h5ad").write_bytes(b"cells")
    folder = tmp_path / "sample"
    folder.mkdir()
    for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
        (folder / name).write_bytes(b"1")
    assert collect("~/x.h5ad", STUDY_TYPES["h5ad"]).files == (tmp_path / "x.h5ad",)
    assert collect("~/sample", STUDY_TYPES["mtx_10x"]).files[0] == folder / "matrix.mtx"
    named = {"matrix": "~/x.h5ad", "features": "~/x.h5ad", "barcodes": "~/x.h5ad"}
    assert set(collect(named, STUDY_TYPES["mtx_10x"]).files) == {tmp_path / "x.h5ad"}


class TestH5ad:
    def test_counts_outside_raw_are_sent_in_a_copy(self, server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
        counts.layers["counts"] = counts.X.copy()
        counts.X = np.log1p(counts.X.toarray()).astype(np.float32)
        path = tmp_path / "x.h5ad"
        counts.write_h5ad(path)
        before = path.read_bytes()
        found = bc.submit(path, skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(found.X.toarray(), counts.layers["counts"].toarray())
        assert path.read_bytes() == before

    def test_one_file_twice_is_two_batches(self, server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
        counts.write_h5ad(tmp_path / "x.h5ad")
        found = bc.submit([tmp_path / "x.h5ad"] * 2, skip_dimred=True).study()
        assert found.n_obs == 120

    def test_counts_and_normalized_values_cannot_form_one_study(self, counts: ad.AnnData, tmp_path: Path) -> None:
        counts.write_h5ad(tmp_path / "a.h5ad")
        counts.X = np.log1p(counts.X.toarray()).astype(np.float32)
        counts.write_h5ad(tmp_path / "b.h5ad")
        with pytest.raises(InvalidArgument, match=r"must all be counts or all be normalized: a\.h5ad: .*; b\.h5ad: "):
            bc.submit([tmp_path / "a.h5ad", {"matrix": tmp_path / "b.h5ad"}])

    @pytest.mark.parametrize(
        ("files", "arguments", "words"),
        [
            ([], {}, "files is empty"),
            ({"file": "x.h5ad"}, {}, "needs 'matrix': 'matrix' missing"),
            ("x", {"study_type": "tile_db"}, "TileDB studies can only be read from S3"),
            ("x", {"study_type": "h5da"}, "did you mean 'h5ad'"),
            ("x", {"species": "humen"}, "did you mean 'human'"),
            ("x", {"authors": "Ada Lovelace"}, "give a list of names"),
            ("x", {"authors": [1]}, "give a list of names"),
            ("x", {"authors": None}, "give a list of names"),
            ("x", {"name": 5}, "name is of type int: give a string"),
            ("x", {"group": None, "abstract": b""}, "abstract is of type bytes: give a string"),
            ("x", {"study_id": " "}, "1 to 200 printable characters"),
            ("x", {"study_id": "a" * 201}, "1 to 200 printable characters"),
            ("x", {"study_id": "a\nb"}, "1 to 200 printable characters"),
            ("x", {"min_genes": float("nan")}, "min_genes is nan: must be a non-negative number"),
            ("x", {"min_genes": "200"}, "min_genes is '200'"),
            ("x", {"max_counts": [1]}, r"max_counts is \[1\]"),
        ],
    )
    def test_invalid_arguments_are_rejected_before_a_file_is_read(
        self, files: object, arguments: dict[str, object], words: str
    ) -> None:
        with pytest.raises(InvalidArgument, match=words):
            bc.submit(files, **arguments)

    def test_an_unknown_matrix_type_is_rejected(self, counts: ad.AnnData, tmp_path: Path) -> None:
        counts.write_h5ad(tmp_path / "x.h5ad")
        with pytest.raises(InvalidArgument, match="input_matrix_type is 'counts': give 'auto', 'raw' or 'normalized'"):
            bc.submit(tmp_path / "x.h5ad", input_matrix_type="counts")


class TestStrict:
    @pytest.mark.parametrize("kind", ["h5ad", "tsv", "mtx_10x"])
    def test_refuses_warnings_of_every_kind_of_file(self, server: Sandbox, tmp_path: Path, kind: str) -> None:
        genes = [f"ENSMUSG{i:011d}" for i in range(30)]
        table, path = pd.DataFrame(1, ["c1", "c2"], genes), tmp_path / f"x.{kind}"
        if kind == "h5ad":
            ad.AnnData(table.astype(np.float32)).write_h5ad(path)
        elif kind == "tsv":
            table.T.to_csv(path, sep="\t")
        else:
            (write_mtx(path, table.to_numpy()) / "features.tsv").write_text("".join(f"{name}\n" for name in genes))
        with pytest.raises(CheckFailed, match=rf"x\.{kind}.* has warnings, which check='strict' treats") as caught:
            bc.submit(path, check="strict", skip_dimred=True)
        assert "BC404" in str(caught.value)
        plan = bc.submit(path, check="strict", dry_run=True)
        assert not plan.ok
        assert repr(plan).startswith(
            "Plan: this file cannot be sent\n" if kind != "mtx_10x" else "Plan: these files cannot be sent\n"
        )
        assert repr(plan).count("error: check='strict' treats warnings as errors: BC404 ") == 1
        assert "to send" not in repr(plan)
        assert bc.submit(path, dry_run=True).ok
        assert bc.submit(path, species="mouse", check="strict", dry_run=True).ok
        assert bc.submit(path, species="mouse", check="strict", skip_dimred=True).study().n_obs == 2

    @pytest.mark.parametrize("check", [None, True, "strict "])
    def test_is_an_argument_with_two_values(self, counts: ad.AnnData, tmp_path: Path, check: object) -> None:
        counts.write_h5ad(tmp_path / "x.h5ad")
        with pytest.raises(InvalidArgument, match=r"check is .*: give 'default' or 'strict'"):
            bc.submit(tmp_path / "x.h5ad", check=check)  # type: ignore[call-overload]


@pytest.mark.parametrize("function", [bc.submit, bc.submit_from_s3])
class TestAnObjectInMemory:
    """An object is not a path: the message says how to submit it, before any file is looked for."""

    def test_gets_an_error_that_names_the_accessor(self, function: Callable[..., object], counts: ad.AnnData) -> None:
        frame = counts.to_df()
        for given, kind in ((counts, "AnnData"), ([counts], "AnnData"), (frame, "DataFrame"), (5, "int")):
            with pytest.raises(
                InvalidArgument, match=rf"bc\.submit.*, not {kind}: submit an object in memory"
            ) as caught:
                function(given)
            assert "adata.biocolab.submit(…)" in str(caught.value)
            assert "df.biocolab.submit(…)" in str(caught.value)

    def test_is_told_apart_from_paths_in_a_series(self, function: Callable[..., object], server: Sandbox) -> None:
        with pytest.raises((InvalidFile, TaskFailed, ServerError), match=r"nowhere|bucket"):
            function(pd.Series(["nowhere.h5ad"]))


class TestKeys:
    """Files in a bucket are only named, not read."""

    @pytest.mark.parametrize(
        ("keys", "arguments", "words"),
        [
            ([], {}, "no files to submit"),
            ({"folder": "x"}, {}, "batch 0 has no 'matrix'"),
            (["a/x.h5ad", "b/x.h5ad"], {}, "two batches have the same name"),
            ("x.h5ad", {"input_matrix_type": "auto"}, "give 'raw' or 'normalized'"),
        ],
    )
    def test_that_are_invalid_are_rejected(self, keys: object, arguments: dict[str, object], words: str) -> None:
        with pytest.raises(InvalidArgument, match=words):
            bc.submit_from_s3(keys, **arguments)

    def test_of_mtx_are_named_by_their_folder(self, server: Sandbox, tmp_path: Path) -> None:
        parts = ("matrix.mtx", "features.tsv", "barcodes.tsv")
        for number, name in enumerate(("first", "second")):
            write_mtx(tmp_path / name, VALUES + number)
        bucket = server.add_bucket(tmp_path)
        keys = [
            {kind: f"{name}/{part}" for kind, part in zip(("matrix", "features", "barcodes"), parts, strict=True)}
            for name in ("first", "second")
        ]
        try:
            submission = bc.submit_from_s3(
                keys, s3_id=bucket, study_type="mtx_10x", input_matrix_type="raw", skip_dimred=True
            )
        finally:
            server.remove_bucket(bucket)
        found = submission.study().to_anndata()
        np.testing.assert_array_equal(found.X.toarray(), np.concatenate([VALUES, VALUES + 1]))
        assert list(found.obs["Batch"]) == ["first"] * 3 + ["second"] * 3
