from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.connection.default import current
from biocolab_accessor.errors import (
    AmbiguousName,
    EmptyAnnData,
    InvalidArgument,
    InvalidValues,
    NoCounts,
    TaskFailed,
    UnknownField,
)
from biocolab_accessor.protocol import Filters
from biocolab_accessor.sandbox.processing.cells import Cells, keep_cells
from biocolab_accessor.sandbox.public_studies import celltypist_sample, has_celltypist
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.plan import plan_submission
from biocolab_accessor.submit.write import write_plan
from tests.conftest import assert_equal_objects


def kept_by_server(adata: ad.AnnData, *, batch_key: str | None = None, **filters: Any) -> set[str]:
    """Barcodes of the study that a real submission with these filters becomes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            submission = adata.biocolab.submit(skip_dimred=True, batch_key=batch_key, **filters)
        except EmptyAnnData:
            # The check says so before; that the server says the same is seen by a client that asks nobody.
            plan = plan_submission(adata)
            with tempfile.TemporaryDirectory() as folder, pytest.raises(TaskFailed) as caught:
                current().get_bbrowserx().submit_study_from_local(
                    "personal",
                    [{"matrix": str(write_plan(adata, plan, folder)[0])}],
                    input_matrix_type=plan.input_matrix_type,
                    skip_dimred=True,
                    **filters,
                )
            assert "no cells remain" in caught.value.log
            return set()
    return set(submission.study().barcodes())


def expect_the_same(adata: ad.AnnData, *, batch_key: str | None = None, **filters: Any) -> int:
    preview = adata.biocolab.preview_filters(batch_key=batch_key, **filters)
    here = set(preview.kept.index[preview.kept])
    assert here == kept_by_server(adata, batch_key=batch_key, **filters)
    assert len(here) == preview.n_kept == preview.table["kept"].iloc[-1]
    return preview.n_kept


@pytest.fixture(scope="module")
def real() -> ad.AnnData:
    """CellTypist's sample as it is: float64 with noise around whole numbers, in three batches."""
    if not has_celltypist():
        pytest.skip("CellTypist's sample is not installed (extra demo)")
    table = celltypist_sample()
    obs = pd.DataFrame({"donor": [f"donor {i % 3}" for i in range(len(table))]}, index=table.index.astype(str))
    return ad.AnnData(sparse.csr_matrix(table.to_numpy()), obs=obs, var=pd.DataFrame(index=table.columns.astype(str)))


class TestTheServerKeepsTheSameCells:
    def test_of_real_counts_with_float_noise_in_batches(self, real: ad.AnnData, server: Sandbox) -> None:
        filters = {"min_counts": 1_200, "min_genes": 500, "max_genes": 3_000, "max_counts": 20_000, "mt_percentage": 8}
        assert 100 < expect_the_same(real, batch_key="donor", **filters) < 500

    def test_of_real_counts_at_bounds_that_some_cells_have_exactly(self, real: ad.AnnData, server: Sandbox) -> None:
        qc = real.biocolab.preview_filters().qc
        exact = {
            "min_counts": float(qc["counts"].quantile(0.2, interpolation="nearest")),
            "max_genes": int(qc["genes"].quantile(0.9, interpolation="nearest")),
            "mt_percentage": float(qc["mt_percent"].quantile(0.9, interpolation="nearest")),
        }
        assert (qc["counts"] == exact["min_counts"]).any()
        expect_the_same(real, **exact)

    def test_of_ten_thousand_mouse_neurons(self, read_h5ad: Callable[[str], ad.AnnData], server: Sandbox) -> None:
        assert expect_the_same(read_h5ad("mouse_neurons_10k_x_1k.h5ad"), min_genes=60, max_counts=250) > 1_000

    def test_of_dense_counts(self, read_h5ad: Callable[[str], ad.AnnData], server: Sandbox) -> None:
        adata = read_h5ad("pbmc_10k_protein_v3.h5ad")
        middle = float(adata.biocolab.preview_filters().qc["counts"].median())
        assert 50 < expect_the_same(adata, min_counts=middle, mt_percentage=15) <= 101

    def test_of_scaled_values(self, read_h5ad: Callable[[str], ad.AnnData], server: Sandbox) -> None:
        adata = read_h5ad("anndata-v0.5.0.h5ad")
        preview = adata.biocolab.preview_filters()
        assert preview.qc["counts"].min() < 0
        assert preview.suggested == {}
        assert 0 < expect_the_same(adata, min_counts=10, max_genes=400) < 700

    def test_at_every_boundary(self, server: Sandbox) -> None:
        matrix = np.zeros((9, 5), np.float32)
        matrix[:, 0] = [0, 99, 100, 101, 80, 79, 93, 2, 1]
        matrix[4, 3], matrix[5, 4], matrix[6, 3], matrix[7, 4] = 20, 21, 7, 1  # 20 %, 21 %, 7 %, a third
        adata = ad.AnnData(matrix)
        adata.var_names = ["CD3D", "MTOR", "XMT-1", "MT-ND1", "mt-co1"]
        kept = lambda **filters: [int(i) for i in np.flatnonzero(adata.biocolab.preview_filters(**filters).kept)]  # noqa: E731
        assert kept(min_counts=100, max_counts=100) == [2, 4, 5, 6]
        assert kept(min_genes=1) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert kept(mt_percentage=20) == [0, 1, 2, 3, 4, 6, 8]
        assert kept(mt_percentage=7) == [0, 1, 2, 3, 6, 8]
        assert kept(mt_percentage=100 / 3) == list(range(9))
        assert kept(mt_percentage=0, min_counts=0) == [0, 1, 2, 3, 8]
        for filters in ({"min_counts": 100}, {"mt_percentage": 7}, {"mt_percentage": 100 / 3}, {"max_genes": 0}):
            expect_the_same(adata, **filters)

    def test_where_no_cell_is_left(self, counts: ad.AnnData, server: Sandbox) -> None:
        assert expect_the_same(counts, min_counts=1e6) == 0
        assert "the server rejects such a submission" in repr(counts.biocolab.preview_filters(min_counts=1e6))

    def test_of_random_matrices_at_random_bounds(self) -> None:
        """The filter function of the sandbox itself, where a submission for each would take too long."""
        rng = np.random.default_rng(0)
        names = ["MT-A", "mt-b", "Mt-C", "MTX", *(f"G{i}" for i in range(8))]
        for _ in range(150):
            dense = rng.poisson(rng.uniform(0.1, 3), (30, 12)).astype(np.float32)
            if rng.random() < 0.4:
                dense = np.log1p(dense * rng.uniform(0.1, 9)).astype(np.float32) - (rng.random() < 0.3)
            adata = ad.AnnData(sparse.csr_matrix(dense), var=pd.DataFrame(index=names))
            qc = adata.biocolab.preview_filters().qc
            counts, genes = (np.sort(np.maximum(rng.choice(qc[name], 2), 0)) for name in ("counts", "genes"))
            mt = float(np.clip(rng.choice(qc["mt_percent"]), 0, 100))
            bounds = {"min_counts": counts[0], "max_counts": counts[1], "min_genes": genes[0], "max_genes": genes[1]}
            chosen = {name: value for name, value in {**bounds, "mt_percentage": mt}.items() if rng.random() < 0.6}
            cells = Cells(adata.X, list(adata.obs_names), names, pd.DataFrame(index=range(30)))
            expected = keep_cells(cells, Filters(**chosen).on_the_wire())
            np.testing.assert_array_equal(np.flatnonzero(adata.biocolab.preview_filters(**chosen).kept), expected)


class TestTheTables:
    @pytest.fixture
    def three(self) -> ad.AnnData:
        matrix = np.array([[9, 1, 0], [4, 0, 4], [0, 0, 0], [50, 50, 0]], np.float32)
        adata = ad.AnnData(matrix, obs=pd.DataFrame({"run": ["b", "a", "b", "b"]}, index=list("wxyz")))
        adata.var_names = ["A", "B", "MT-C"]
        return adata

    def test_count_what_each_filter_removes_alone_and_all_together(self, three: ad.AnnData) -> None:
        preview = three.biocolab.preview_filters(min_counts=5, min_genes=2, mt_percentage=10, batch_key="run")
        assert preview.table.to_dict("index") == {
            "b": {"cells": 3, "kept": 2, "kept_percent": pytest.approx(200 / 3), "removed": 1}
            | {"min_counts": 1, "min_genes": 1, "mt_percentage": 0},
            "a": {"cells": 1, "kept": 0, "kept_percent": 0.0, "removed": 1}
            | {"min_counts": 0, "min_genes": 0, "mt_percentage": 1},
            "all cells": {"cells": 4, "kept": 2, "kept_percent": 50.0, "removed": 2}
            | {"min_counts": 1, "min_genes": 1, "mt_percentage": 1},
        }
        assert preview.kept.to_dict() == {"w": True, "x": False, "y": False, "z": True}
        assert preview.fails.loc["y"].to_dict() == {"min_counts": True, "min_genes": True, "mt_percentage": False}
        assert preview.qc["counts"].to_dict() == {"w": 10, "x": 8, "y": 0, "z": 100}
        assert preview.qc["genes"].to_dict() == {"w": 2, "x": 2, "y": 0, "z": 2}
        assert preview.qc["mt_percent"].to_dict() == {"w": 0, "x": 50, "y": 0, "z": 0}
        assert preview.mt_genes == ("MT-C",)

    def test_have_batches_in_the_order_of_their_categories(self, three: ad.AnnData) -> None:
        three.obs["run"] = pd.Categorical(three.obs["run"], categories=["unused", "a", "b"])
        three.uns["run_colors"] = ["#000000", "#ff0000", "#00ff00"]
        preview = three.biocolab.preview_filters(batch_key="run")
        assert list(preview.table.index) == ["a", "b", "all cells"]
        assert preview.colors == ("#ff0000", "#00ff00")

    @pytest.mark.parametrize("dtype", ["object", "string", "category", "string[pyarrow]"])
    def test_cells_without_a_batch_have_one_name_in_every_dtype(self, dtype: str) -> None:
        adata = ad.AnnData(np.ones((3, 1), np.float32))
        adata.obs["batch"] = pd.Series(["x", None, "x"], adata.obs_names, dtype=dtype)
        assert adata.biocolab.preview_filters(batch_key="batch").table.index.tolist() == ["x", "nan", "all cells"]

    def test_have_batches_in_the_order_in_which_they_are_sent(self) -> None:
        adata = ad.AnnData(np.ones((3, 1), np.float32))
        adata.obs["dose"] = pd.Categorical(np.array([0.2, 0.1, 0.2], np.float32))
        batches = adata.biocolab.submit(batch_key="dose", dry_run=True).batches
        assert adata.biocolab.preview_filters(batch_key="dose").table.index[:-1].tolist() == [b.name for b in batches]

    def test_suggest_no_bound_that_no_cell_could_pass_or_fail(self, counts: ad.AnnData) -> None:
        suggested = counts.biocolab.preview_filters(n_mads=1e6).suggested
        assert suggested.keys() & {"min_counts", "max_counts", "min_genes", "max_genes"} == {"min_counts", "min_genes"}
        counts.biocolab.preview_filters(**suggested)

    def test_keep_a_batch_apart_that_is_named_like_the_sum(self, three: ad.AnnData) -> None:
        three.obs["run"] = "all cells"
        assert list(three.biocolab.preview_filters(batch_key="run").table.index) == ["all cells", "all cells (total)"]

    def test_suggest_by_mad_of_cells_that_have_counts(self, real: ad.AnnData) -> None:
        preview = real.biocolab.preview_filters(n_mads=3, n_mads_mt=2, batch_key="donor")
        cells = preview.qc[preview.qc["batch"] == "donor 1"]
        logs = np.log1p(cells["counts"])
        mad = np.median(np.abs(logs - np.median(logs)))
        row = preview.suggestions.loc["donor 1"]
        assert row["min_counts"] == np.floor(np.expm1(np.median(logs) - 3 * mad))
        assert row["max_counts"] == np.ceil(np.expm1(np.median(logs) + 3 * mad))
        share = cells["mt_percent"]
        most = np.median(share) + 2 * np.median(np.abs(share - np.median(share)))
        assert most <= row["mt_percentage"] < most + 0.01
        assert list(preview.suggested) == ["min_counts", "max_counts", "min_genes", "max_genes", "mt_percentage"]
        again = real.biocolab.preview_filters(**preview.suggested)
        assert 0.8 < again.kept.mean() < 1

    def test_suggest_the_same_if_there_are_empty_droplets_too(self, counts: ad.AnnData) -> None:
        empty = ad.AnnData(sparse.csr_matrix((200, counts.n_vars), dtype=np.float32), var=counts.var[[]])
        both = ad.concat([counts, empty], index_unique="-")
        expected = counts.biocolab.preview_filters().suggested
        assert both.biocolab.preview_filters().suggested == expected != {}

    def test_suggest_nothing_where_nothing_varies(self) -> None:
        preview = ad.AnnData(np.full((5, 3), 2, np.float32)).biocolab.preview_filters()
        assert preview.suggested == {}
        assert preview.suggestions.isna().all(axis=None)
        assert "no gene is named MT-… or mt-…: mt_percentage removes nothing" in repr(preview)


class TestAnyKindOfObject:
    @pytest.mark.parametrize("kind", ["csc", "dense", "view", "backed", "dask", "int64", "bool"])
    def test_is_measured_alike_and_stays_what_it_is(self, counts: ad.AnnData, kind: str, tmp_path: Path) -> None:
        if kind == "bool":
            counts.X = (counts.X > 0).astype(np.float32)
        expected = counts.biocolab.preview_filters(min_counts=25, mt_percentage=4, batch_key="sample")
        adata = counts.copy()
        if kind == "view":
            adata = ad.concat([counts[::-1], counts], index_unique="-")[59::-1]
        elif kind == "backed":
            counts.write_h5ad(tmp_path / "x.h5ad")
            adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        elif kind == "dask":
            array = pytest.importorskip("dask.array")
            adata.X = array.from_array(counts.X.toarray(), chunks=(17, 40)).map_blocks(sparse.csr_matrix)
        elif kind == "csc":
            adata.X = sparse.csc_matrix(counts.X)
        elif kind == "dense":
            adata.X = counts.X.toarray()
        else:
            adata.X = counts.X.astype(kind)
        before = None if kind in ("backed", "dask") else adata.copy()
        preview = adata.biocolab.preview_filters(
            min_counts=25, mt_percentage=4, batch_key="sample", input_matrix_type="raw" if kind == "bool" else "auto"
        )
        np.testing.assert_array_equal(preview.kept, expected.kept)
        np.testing.assert_allclose(preview.qc["mt_percent"], expected.qc["mt_percent"])
        if before is not None:
            assert adata.is_view == (kind == "view")
            assert_equal_objects(adata.copy(), before)
        if kind == "backed":
            assert adata.isbacked
            adata.file.close()

    def test_layers_and_raw_are_read_where_the_counts_are(self, counts: ad.AnnData) -> None:
        expected = counts.biocolab.preview_filters(min_genes=20).kept
        counts.layers["counts"] = counts.X.copy()
        counts.X = sparse.csr_matrix(np.log1p(counts.X.toarray()) - 0.5)
        preview = counts.biocolab.preview_filters(min_genes=20)
        assert str(preview.slot) == "layers['counts']"
        pd.testing.assert_series_equal(preview.kept, expected)

    def test_mitochondrial_genes_are_those_of_raw_where_its_counts_are_sent(self) -> None:
        adata = ad.AnnData(
            np.array([[9, 1, 0], [4, 4, 2]], np.float32), var=pd.DataFrame(index=["CD3D", "LYZ", "MT-ND1"])
        )
        adata.raw = adata.copy()
        adata = adata[:, ["CD3D", "LYZ"]].copy()
        adata.X = np.log1p(adata.X) - 0.5
        preview = adata.biocolab.preview_filters(mt_percentage=10)
        assert (str(preview.slot), preview.mt_genes, preview.kept.tolist()) == ("raw.X", ("MT-ND1",), [True, False])
        np.testing.assert_allclose(preview.qc["mt_percent"], [0, 20])


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"batch_key": "sampel"}, UnknownField, "did you mean 'sample'"),
            ({"min_counts": -1}, InvalidArgument, "min_counts is -1"),
            ({"mt_percentage": 101}, InvalidArgument, "in percent"),
            ({"min_genes": 9, "max_genes": 3}, InvalidArgument, "no cell would be left"),
            ({"n_mads": 0}, InvalidArgument, "n_mads is 0"),
            ({"n_mads": float("inf")}, InvalidArgument, "n_mads is inf: it must be a finite number above 0"),
            ({"n_mads_mt": None}, InvalidArgument, "n_mads_mt is None: it must be a finite number above 0"),
            ({"min_counts": np.True_}, InvalidArgument, "min_counts is True"),
            ({"input_matrix_type": "counts"}, InvalidArgument, "use 'auto', 'raw' or 'normalized'"),
        ],
    )
    def test_say_what_to_give(
        self, counts: ad.AnnData, arguments: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            counts.biocolab.preview_filters(**arguments)

    def test_a_column_that_is_there_twice_is_no_column_of_batches(self) -> None:
        adata = ad.AnnData(np.ones((2, 1), np.float32))
        adata.obs = pd.DataFrame([["a", "b"]] * 2, adata.obs_names, ["sample", "sample"])
        with pytest.raises(AmbiguousName, match="obs has 2 columns 'sample' for batch_key: rename all but one"):
            adata.biocolab.preview_filters(batch_key="sample")

    def test_a_column_that_is_called_by_a_number_is_not_proposed_for_its_text(self) -> None:
        adata = ad.AnnData(np.ones((2, 1), np.float32))
        adata.obs = pd.DataFrame({0: ["a", "b"]}, index=adata.obs_names)
        with pytest.raises(UnknownField, match=r"obs has no column '0' for batch_key; it has 0(\n|$)"):
            adata.biocolab.preview_filters(batch_key="0")
        (found,) = bc.check(adata, batch_key="0").errors
        assert found.message == "has no column '0' for batch_key; it has 0"

    def test_are_those_of_a_submission(self) -> None:
        with pytest.raises(InvalidValues, match="1 NaN"):
            ad.AnnData(np.array([[1, np.nan]], np.float32)).biocolab.preview_filters()
        with pytest.raises(NoCounts):
            ad.AnnData(np.array([[0.5, 1.5]], np.float32)).biocolab.preview_filters(input_matrix_type="raw")


class TestWhatIsShown:
    def test_the_reprs_are_short_and_have_the_numbers(self, counts: ad.AnnData) -> None:
        counts.obs["many"] = [f"<{i % 20}>" for i in range(60)]
        preview = counts.biocolab.preview_filters(min_counts=25, batch_key="many")
        text, html = repr(preview), preview._repr_html_()
        n_kept = int((np.asarray(counts.X.sum(axis=1)) >= 25).sum())
        assert text.startswith(f"FilterPreview: {n_kept} of 60 cells kept")
        assert len(text.splitlines()) < 22
        assert "9 more batches" in text
        assert any(line.startswith("all cells ") for line in text.splitlines())
        assert "&lt;0&gt;" in html or "&lt;1&gt;" in html
        assert "<script" not in html
        assert html.count("color:inherit") >= 2

    def test_the_figure_has_the_bounds_where_they_are(self, real: ad.AnnData) -> None:
        preview = real.biocolab.preview_filters(min_counts=1_500, max_genes=4_000, mt_percentage=8, batch_key="donor")
        axes = preview.plot(suggestions=True).axes
        drawn = [{line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"} for ax in axes]
        assert drawn[:3] == [{1_500}, {4_000}, {8}]
        assert [label.get_text() for label in axes[0].get_yticklabels()] == ["donor 0", "donor 1", "donor 2"]
        kept = [text.get_text() for text in axes[3].get_legend().get_texts()]
        assert kept == [f"kept ({preview.n_kept})", f"removed ({559 - preview.n_kept})"]

    def test_a_column_of_ids_is_not_drawn_for_minutes(self) -> None:
        adata = ad.AnnData(np.ones((501, 1), np.float32))
        adata.obs["id"] = [f"cell {i}" for i in range(501)]
        preview = adata.biocolab.preview_filters(batch_key="id")
        with pytest.raises(InvalidArgument, match="there are 501 batches, but a figure has room for 500: choose"):
            preview.plot()

    def test_every_kind_of_numbers_can_be_drawn(self) -> None:
        for matrix in (np.zeros((1, 1)), -np.ones((3, 2)), np.diag([1, 2, 1e7])):
            ad.AnnData(matrix.astype(np.float32)).biocolab.preview_filters(max_counts=5).plot()._repr_png_()
