"""Problems of tables and 10x files are reported before they are sent, with file, line and column."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed, InvalidArgument, InvalidFile
from biocolab_accessor.sandbox.server import Sandbox

GENES = ["CD3D", "LYZ", "MS4A1", "NKG7"]
CELLS = ["c1", "c2", "c3"]
VALUES = np.array([[1, 0, 2], [0, 3, 0], [4, 0, 0], [0, 0, 5]])


def good() -> pd.DataFrame:
    return pd.DataFrame(VALUES, index=GENES, columns=CELLS)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def checked(path: Path, **arguments: object) -> list[tuple[tuple[str, str, str], str]]:
    """Code, severity and place of each finding, and its message; and what the check says, the submission does."""
    report = bc.check(path)
    if report.errors:
        with pytest.raises(CheckFailed, match=report.errors[0].code):
            bc.submit(path, **arguments)  # type: ignore[arg-type]
    return [((found.code, found.severity, found.path), found.message) for found in report]


def said(path: Path) -> list[tuple[str, str, str]]:
    return [where for where, _ in checked(path)]


class TestTables:
    @pytest.mark.parametrize("packed", [False, True])
    def test_a_good_table_is_submitted_without_findings(self, server: Sandbox, tmp_path: Path, packed: bool) -> None:
        path = tmp_path / ("x.tsv.gz" if packed else "x.tsv")
        text = good().to_csv(sep="\t").encode()
        path.write_bytes(gzip.compress(text) if packed else text)
        assert said(path) == []
        back = bc.submit(path, study_type="tsv", skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(back.to_df()[GENES], VALUES.T)

    @pytest.mark.parametrize(
        ("text", "code", "place", "message"),
        [
            (good().to_csv(), "BC801", "x.tsv line 1", "no tabs, but ','"),
            (good().to_csv(sep=";"), "BC801", "x.tsv line 1", "no tabs, but ';'"),
            ("one column\n1\n2\n", "BC801", "x.tsv line 1", "no tabs, but ' '"),
            ("gene\tc1\tc2\n", "BC801", "x.tsv", "has a header, but no values"),
            ("gene\tc1\tc2\nCD3D\t1\t2\nLYZ\t3\n", "BC801", "x.tsv line 3", "has 2 fields, but the header has 3"),
            ("gene\tc1\tc2\nCD3D\t1\t2\t3\t4\n", "BC801", "x.tsv line 2", "has 5 fields, but the header has 3"),
            (
                "gene\tc1\tc2\nCD3D\t1\t2\nLYZ\t3\tabc\n",
                "BC802",
                "x.tsv line 3 column 'c2'",
                "the value 'abc' is not a finite number",
            ),
            ("gene\tc1\tc2\nCD3D\t\t2\n", "BC802", "x.tsv line 2 column 'c1'", "the value is missing"),
            ("gene\tc1\tc2\nCD3D\t1\tNA\n", "BC802", "x.tsv line 2 column 'c2'", "the value is missing"),
            (
                "gene\tc1\tc2\nCD3D\t1\tinf\n",
                "BC802",
                "x.tsv line 2 column 'c2'",
                "the value 'inf' is not a finite number",
            ),
            (
                "gene\tc1\tc2\nCD3D\t1,5\t2\n",
                "BC802",
                "x.tsv line 2 column 'c1'",
                "the value '1,5' is not a finite number",
            ),
            ("gene\tc1\tc1\nCD3D\t1\t2\n", "BC101", "x.tsv line 1", "duplicate cell names: 'c1'"),
            ("gene\tc1\tc2\n\t1\t2\n", "BC102", "x.tsv line 2 column 1", "1 gene without a name"),
            (
                "gene\tChr\tStart\tLength\tc1\nCD3D\tchr1\t10\t5\t2\n",
                "BC411",
                "x.tsv line 1",
                "columns that describe genes, not cells: 'Chr', 'Start', 'Length'",
            ),
            (
                "\tbarcode\tc1\nCD3D\t1\t2\n",
                "BC410",
                "x.tsv line 1",
                "barcode or index columns among the cells: 'barcode'",
            ),
            (
                "\tc1\tc2\nCD3D\t1\t2\nn_counts\t7\t8\n",
                "BC411",
                "x.tsv line 3",
                "lines of QC or annotations, not genes: 'n_counts'",
            ),
            (
                "\tc1\tc2\nCD3D\t1\t2\n__no_feature\t7\t8\n",
                "BC411",
                "x.tsv line 3",
                "lines of QC or annotations, not genes: '__no_feature'",
            ),
            (good().reset_index(drop=True).reindex(range(4)).to_csv(sep="\t"), None, "", ""),  # four lines do not tell
            (
                pd.DataFrame(np.ones((30, 2), int), columns=["a", "b"]).to_csv(sep="\t"),
                "BC410",
                "x.tsv column 1",
                "the first column holds row numbers (0 to 29), not gene names",
            ),
        ],
    )
    def test_a_problem_is_an_error_with_its_place(
        self, server: Sandbox, tmp_path: Path, text: str, code: str | None, place: str, message: str
    ) -> None:
        found = checked(written(tmp_path / "x.tsv", text), study_type="tsv")
        assert [where for where, _ in found] == ([(code, "error", place)] if code else [])
        assert all(message in text for _, text in found)

    @pytest.mark.parametrize(
        ("text", "code", "place", "fix"),
        [
            ("# Program:featureCounts v2\nGeneid\tc1\tc2\nCD3D\t1\t2\n", "BC801", "x.tsv line 1", "comment='#'"),
            ("## BD Rhapsody\nCell_Index\tc1\nCD3D\t1\n", "BC801", "x.tsv line 1", "comment='#'"),
            ("gene\tc1\tc2\nCD3D\t1,5\t2\n", "BC802", "x.tsv line 2 column 'c1'", "decimal=','"),
            ("gene\tc1\tc2\nCD3D\t1,234\t2\n", "BC802", "x.tsv line 2 column 'c1'", "thousands=','"),
            ("gene\tc1\tc2\nCD3D\t-1,234.5\t2\n", "BC802", "x.tsv line 2 column 'c1'", "thousands=','"),
            (good().to_csv(sep=";", decimal=","), "BC801", "x.tsv line 1", "sep=';'"),
            ("\ufeff" + good().to_csv(sep=";"), "BC801", "x.tsv line 1", "sep=';'"),
        ],
    )
    def test_exports_of_other_tools_are_refused_with_the_line_that_reads_them(
        self, tmp_path: Path, text: str, code: str, place: str, fix: str
    ) -> None:
        (found,) = bc.check(written(tmp_path / "x.tsv", text))
        assert (found.code, found.severity, found.path) == (code, "error", place)
        assert fix in found.fix

    def test_dates_and_duplicate_genes_are_warnings_with_their_line(self, tmp_path: Path) -> None:
        lines = good().rename(index={"LYZ": "1-Mar", "NKG7": "2-Sep"}).to_csv(sep="\t")
        (found,) = bc.check(written(tmp_path / "x.tsv", lines))
        assert (found.code, found.severity, found.path, found.count) == ("BC406", "warning", "x.tsv line 3", 2)
        assert "'1-Mar', '2-Sep'" in found.message
        lines = good().rename(index={"NKG7": "CD3D"}).to_csv(sep="\t")
        (found,) = bc.check(written(tmp_path / "x.tsv", lines))
        assert (found.code, found.severity, found.path, found.count) == ("BC103", "warning", "x.tsv line 5", 1)

    @pytest.mark.parametrize("how", ["quotes", "byte order mark", "CRLF", "a name that begins with #"])
    def test_bytes_that_a_spreadsheet_adds_do_not_change_a_table(
        self, server: Sandbox, tmp_path: Path, how: str
    ) -> None:
        text = good().to_csv(sep="\t", quoting=1 if how == "quotes" else 0)
        text = {"byte order mark": "\ufeff" + text, "CRLF": text.replace("\n", "\r\n")}.get(how, text)
        text = "#gene" + text if how.startswith("a name") else text
        (tmp_path / "x.tsv").write_bytes(text.encode())
        assert said(tmp_path / "x.tsv") == []
        back = bc.submit(tmp_path / "x.tsv", study_type="tsv", skip_dimred=True).study().to_anndata()
        assert sorted(back.obs_names) == CELLS
        np.testing.assert_array_equal(back.to_df().loc[CELLS, GENES], VALUES.T)

    def test_cells_in_rows_are_a_warning_with_the_line_that_transposes(self, tmp_path: Path) -> None:
        names = [f"RPL{i}" for i in range(20)] + GENES + ["ACTB", "GAPDH", "TP53"]
        table = pd.DataFrame(1, index=[f"sample {i}" for i in range(9)], columns=names)
        table.to_csv(tmp_path / "x.tsv", sep="\t")
        (found,) = bc.check(tmp_path / "x.tsv")
        assert (found.code, found.severity) == ("BC409", "warning")
        table.T.to_csv(tmp_path / "x.tsv", sep="\t")
        assert list(bc.check(tmp_path / "x.tsv")) == []

    def test_a_header_as_r_writes_it_is_read(self, server: Sandbox, tmp_path: Path) -> None:
        lines = good().to_csv(sep="\t").removeprefix("\t")
        assert said(written(tmp_path / "x.tsv", lines)) == []
        back = bc.submit(tmp_path / "x.tsv", study_type="tsv", skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(back.to_df()[GENES], VALUES.T)

    def test_binary_and_truncated_files_are_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.tsv").write_text("gene\tc1\nÄ\t1\n", encoding="utf-16")
        with pytest.raises(InvalidFile, match=r"x\.tsv is not a text file in UTF-8"):
            bc.submit(tmp_path / "x.tsv", study_type="tsv")
        noise = np.random.default_rng(0).integers(0, 10**9, (300, 3))
        text = pd.DataFrame(noise).to_csv(sep="\t").encode()
        (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(text)[:-900])
        with pytest.raises(InvalidFile, match=r"x\.tsv\.gz cannot be read: .*again"):
            bc.submit(tmp_path / "x.tsv.gz", study_type="tsv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as Cell Ranger writes it, of 3 cells by 4 genes."""
    made = tmp_path / "sample"
    made.mkdir()
    io.mmwrite(made / "matrix.mtx", sparse.coo_matrix(VALUES))
    written(made / "features.tsv", "".join(f"ENSG{i:011d}\t{name}\n" for i, name in enumerate(GENES)))
    written(made / "barcodes.tsv", "".join(f"{name}\n" for name in CELLS))
    return made


def replaced(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


class TestMtx:
    def test_a_good_folder_is_submitted_without_findings(self, server: Sandbox, folder: Path) -> None:
        assert said(folder) == []
        back = bc.submit(folder, study_type="mtx_10x", skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(back.to_df()[GENES], VALUES.T)

    @pytest.mark.parametrize(
        ("change", "code", "place", "message"),
        [
            (
                lambda f: written(f / "barcodes.tsv", "x\nc1\nc2\nc3\n"),
                "BC801",
                "barcodes.tsv line 1",
                "'x' is a header, which servers do not expect here",
            ),
            (
                lambda f: written(f / "barcodes.tsv", "c1\nc2\n"),
                "BC801",
                "barcodes.tsv",
                "has 2 lines, but the matrix has 3 barcodes",
            ),
            (
                lambda f: written(f / "barcodes.tsv", "c1\nc2\nc1\n"),
                "BC101",
                "barcodes.tsv",
                "duplicate barcodes: 'c1'",
            ),
            (
                lambda f: written(f / "features.tsv", "gene\nA\nB\nC\nD\n"),
                "BC801",
                "features.tsv line 1",
                "'gene' is a header, which servers do not expect here",
            ),
            (
                lambda f: io.mmwrite(f / "matrix.mtx", sparse.coo_matrix(VALUES.T)),
                "BC409",
                "matrix.mtx line 3",
                "the matrix is 3 cells x 4 features",
            ),
            (lambda f: io.mmwrite(f / "matrix.mtx", VALUES), "BC801", "matrix.mtx line 1", "is not a sparse matrix"),
            (
                lambda f: written(f / "matrix.mtx", "4 3 1\n1 1 5\n"),
                "BC801",
                "matrix.mtx line 1",
                "does not begin with %%MatrixMarket",
            ),
            (
                lambda f: replaced(f / "matrix.mtx", "\n1 1 1\n", "\n9 1 1\n"),
                "BC801",
                "matrix.mtx line 4",
                "entry 9, 1 is outside 4 x 3",
            ),
            (
                lambda f: replaced(f / "matrix.mtx", "\n1 1 1\n", "\n1 1\n"),
                "BC801",
                "matrix.mtx line 4",
                "'1 1' is not an entry of row, column and value",
            ),
            (
                lambda f: replaced(f / "matrix.mtx", "\n1 1 1\n", "\n1 1 -1\n"),
                "BC802",
                "matrix.mtx from line 4",
                "among the first 5 values, 1 negative, NaN or infinite",
            ),
            (
                lambda f: replaced(f / "matrix.mtx", "\n1 1 1\n", "\n"),
                "BC801",
                "matrix.mtx",
                "has 4 entries, but the header announces 5",
            ),
        ],
    )
    def test_a_problem_is_an_error_with_its_place(
        self, folder: Path, server: Sandbox, change: Callable[[Path], object], code: str, place: str, message: str
    ) -> None:
        change(folder)
        ((where, text),) = checked(folder, study_type="mtx_10x")
        assert where == (code, "error", place)
        assert message in text

    def test_fractions_are_a_warning(self, folder: Path) -> None:
        io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(VALUES / 3))
        assert said(folder) == [("BC803", "warning", "matrix.mtx from line 4")]


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    """A 10x h5 file, of 3 cells by 4 genes."""
    matrix = sparse.csr_matrix(VALUES.T)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices, matrix.indptr
        group["shape"] = VALUES.shape
        group["barcodes"] = np.array(CELLS, "S")
        for name, values in {
            "id": GENES,
            "name": GENES,
            "feature_type": ["Gene Expression"] * 4,
            "genome": ["G"] * 4,
        }.items():
            group[f"features/{name}"] = np.array(values, "S")
    return tmp_path / "x.h5"


def set_to(name: str, values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[f"matrix/{name}"]
        if values is not None:
            file[f"matrix/{name}"] = values

    return change


class TestH5:
    def test_a_good_file_is_submitted_without_findings(self, server: Sandbox, h5: Path) -> None:
        assert said(h5) == []
        back = bc.submit(h5, study_type="h5_10x", skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(back.to_df()[GENES], VALUES.T)

    @pytest.mark.parametrize(
        ("change", "code", "place", "message"),
        [
            (
                set_to("shape", [4, 5]),
                "BC801",
                "x.h5 /matrix/barcodes",
                "has 3 entries, but 5 cells x 4 features need 5",
            ),
            (
                set_to("barcodes", np.array(["c1", "c2", "c1"], "S")),
                "BC101",
                "x.h5 /matrix/barcodes",
                "duplicate barcodes: 'c1'",
            ),
            (set_to("indices", [0, 9, 1, 0, 3]), "BC801", "x.h5 /matrix/indices", "refers to feature 9 of 4"),
            (
                set_to("data", np.array([1, 2, -3, 4, 5])),
                "BC802",
                "x.h5 /matrix/data",
                "among the first 5 values, 1 negative, NaN or infinite",
            ),
            (
                set_to("data", [1, 2, 3]),
                "BC801",
                "x.h5 /matrix/indices",
                "has 5 entries, but 3 cells x 4 features need 3",
            ),
            (set_to("indptr", [0, 2, 3, 4]), "BC801", "x.h5 /matrix/indptr", "ends at 4, but data has 5 values"),
            (set_to("data", None), "BC801", "x.h5 /matrix", "has no 'data'"),
            (set_to("features", None), "BC801", "x.h5 /matrix", "has no 'features/id'"),
        ],
    )
    def test_a_problem_is_an_error_with_its_place(
        self, h5: Path, server: Sandbox, change: Callable[[h5py.File], None], code: str, place: str, message: str
    ) -> None:
        with h5py.File(h5, "r+") as file:
            change(file)
        texts = [text for where, text in checked(h5, study_type="h5_10x") if where == (code, "error", place)]
        assert any(message in text for text in texts)

    def test_other_files_are_refused_with_their_kind(self, tmp_path: Path) -> None:
        ad.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(tmp_path / "x.h5ad")
        with pytest.raises(InvalidFile, match=r"is an h5ad file: submit it with study_type='h5ad'"):
            bc.submit(tmp_path / "x.h5ad", study_type="h5_10x")
        with h5py.File(tmp_path / "y.h5", "w") as file:
            file["z"] = 1
        with pytest.raises(InvalidFile, match=r"has no group 'matrix' with barcodes \('z'\)"):
            bc.submit(tmp_path / "y.h5", study_type="h5_10x")

    def test_real_files_pass(self, data_file: Callable[[str], Path]) -> None:
        assert list(bc.check(data_file("10x-v3.h5"))) == []
        assert list(bc.check(data_file("10x-v3-mtx"))) == []


MOUSE = [
    "Malat1", "B2m", "Tmsb4x", "Eef1a1", "mt-Co1", "Cd74", "Cd3d", "Cd79a", "Ms4a1", "Lyz1", "S100a9",
    *(f"Rpl{i}" for i in range(20, 40)),
]  # fmt: skip
MOUSE_IDS = [f"ENSMUSG{i:011d}" for i in range(len(MOUSE))]


def table_of(folder: Path, genes: list[str], ending: str) -> Path:
    path = folder / f"counts{ending}"
    pd.DataFrame(1, genes, CELLS).to_csv(path, sep=";" if ending == ".csv" else "\t")
    return path


def mtx_of(folder: Path, genes: list[str], _: str) -> Path:
    made = folder / "mtx"
    made.mkdir()
    io.mmwrite(made / "matrix.mtx", sparse.coo_matrix(np.ones((len(genes), 3), int)))
    written(made / "features.tsv", "".join(f"{gene}\tx\n" for gene in genes))
    written(made / "barcodes.tsv", "".join(f"{name}\n" for name in CELLS))
    return made


def h5_of(folder: Path, genes: list[str], _: str) -> Path:
    with h5py.File(folder / "x.h5", "w") as file:
        group, n = file.create_group("matrix"), len(genes)
        group["data"], group["indices"] = np.ones(3 * n, int), np.tile(np.arange(n), 3)
        group["indptr"], group["shape"], group["barcodes"] = np.arange(4) * n, [n, 3], np.array(CELLS, "S")
        group["features/id"] = group["features/name"] = np.array(genes, "S")
    return folder / "x.h5"


class TestSpecies:
    @pytest.mark.parametrize(
        ("make", "ending", "place"),
        [
            (table_of, ".tsv", "counts.tsv column 1"),
            (table_of, ".csv", "counts.csv column 1"),
            (mtx_of, "", "features.tsv"),
            (h5_of, "", "x.h5 /matrix/features/id"),
        ],
    )
    @pytest.mark.parametrize("genes", [MOUSE, MOUSE_IDS])
    def test_genes_of_another_species_are_a_warning_for_every_kind_of_file(
        self, tmp_path: Path, make: Callable[..., Path], ending: str, place: str, genes: list[str]
    ) -> None:
        path = make(tmp_path, genes, ending)
        (found,) = bc.check(path)
        assert (found.code, found.severity, found.path) == ("BC404", "warning", place)
        assert "species is 'human', but the genes look like mouse" in found.message
        assert found.fix == "If they are mouse genes, submit with species='mouse'"
        assert list(bc.submit(path, dry_run=True).report) == [found]
        assert list(bc.submit(path, species="mouse", dry_run=True).report) == []
        for species in ("mouse", "others", None):
            assert list(bc.check(path, species=species)) == []
        with pytest.raises(InvalidArgument, match="species"):
            bc.check(path, species="mous")

    def test_a_submission_of_a_table_warns_of_the_species(self, server: Sandbox, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match=r"counts\.tsv: BC404 counts\.tsv column 1: species is 'human'"):
            bc.submit(table_of(tmp_path, MOUSE, ".tsv"), skip_dimred=True)

    def test_barcodes_instead_of_genes_are_not_judged_by_species(self, tmp_path: Path) -> None:
        barcodes = [f"AAACCTGAGA{a}{b}{c}GGTT-1" for a in "ACGT" for b in "ACGT" for c in "ACGT"]
        pd.DataFrame(1, barcodes, MOUSE).to_csv(tmp_path / "x.tsv", sep="\t")
        assert [found.code for found in bc.check(tmp_path / "x.tsv", species="mouse")] == ["BC409"]
        folder = mtx_of(tmp_path, barcodes, "")
        written(folder / "barcodes.tsv", "CD3D\nLYZ\n")
        assert {found.code for found in bc.check(folder, species="mouse")} == {"BC801"}


@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".csv", ";"), (".csv.gz", ","), (".tsv", "\t")])
def test_the_line_that_transposes_a_table_works_for_the_file(tmp_path: Path, ending: str, separator: str) -> None:
    path, table = tmp_path / f"counts{ending}", pd.DataFrame(np.arange(62).reshape(2, 31), CELLS[:2], MOUSE)
    table.to_csv(path, sep=separator)
    (found,) = bc.check(path, species="mouse")
    assert found.code == "BC409"
    line = found.fix.partition(": ")[2].replace("'x.tsv'", "out")
    exec(line, {"pd": pd, "path": path, "out": tmp_path / "x.tsv"})
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.tsv", sep="\t", index_col=0), table.T)
    assert list(bc.check(tmp_path / "x.tsv", species="mouse")) == []


def test_the_line_for_decimal_commas_works_for_a_file_with_semicolons(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "gene;c1;c2\nCD3D;1,5;2\n")
    (found,) = bc.check(path)
    line = found.fix.removeprefix("For a decimal comma: ").partition("; else")[0]
    assert eval(line, {"pd": pd, "path": path}).loc["CD3D", "c1"] == 1.5
