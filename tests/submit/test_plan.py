"""A plan shows the content of a submission; writing it produces exactly that and does not change the object."""

import copy
import gc
import os
import pickle
import re
import warnings
import weakref
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from biocolab_accessor import errors
from biocolab_accessor.check.files import open_h5ad
from biocolab_accessor.submit.plan import StudyRequest, plan_submission
from biocolab_accessor.submit.submit import to_h5ad
from biocolab_accessor.submit.write import write_plan

DATA = Path(os.environ.get("BIOCOLAB_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
COUNTS = np.random.default_rng(1).poisson(0.7, (12, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_warning_is_ours():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def make(x=COUNTS, **arguments):
    obs = pd.DataFrame(
        {
            "sample": ["s2", "s1", "s10"] * 4,
            "n": pd.array([1, None, 3] * 4, "Int64"),
            "type": pd.Categorical(["B", "T", None] * 4, ["T", "B"]),
        },
        index=[f"c{i}" for i in range(12)],
    )
    var = pd.DataFrame({"symbol": list("vwxyz")}, index=[f"g{i}" for i in range(5)])
    return ad.AnnData(x, obs, var, obsm={"X_umap": np.arange(24.0).reshape(12, 2)}, **arguments)


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def snapshot(adata):
    """Everything that a user can see of an object."""
    return {
        "view": adata.is_view,
        "x": None if adata.is_view else (id(adata.X), copy.deepcopy(adata.X)),
        "obs": adata.obs.copy(deep=True),
        "var": adata.var.copy(deep=True),
        "obsm": {key: copy.deepcopy(value) for key, value in adata.obsm.items()},
        "uns": copy.deepcopy(dict(adata.uns)),
    }


def assert_unchanged(adata, before):
    assert adata.is_view == before["view"]
    if before["x"] is not None:
        assert id(adata.X) == before["x"][0]
        assert adata.X.dtype == before["x"][1].dtype
        np.testing.assert_array_equal(dense(adata.X), dense(before["x"][1]))
    for name in ("obs", "var"):
        pd.testing.assert_frame_equal(pd.DataFrame(getattr(adata, name)), pd.DataFrame(before[name]))
    assert list(adata.obsm) == list(before["obsm"])
    for key, value in before["obsm"].items():
        np.testing.assert_array_equal(np.asarray(adata.obsm[key], object), np.asarray(value, object))


FORMS = {
    "CSR": sparse.csr_matrix,
    "CSC": sparse.csc_matrix,
    "CSR array": sparse.csr_array,
    "C": np.asarray,
    "F": np.asfortranarray,
    "int64": lambda m: sparse.csr_matrix(m.astype(np.int64)),
    "uint16": lambda m: m.astype(np.uint16),
    "float64": lambda m: m.astype(np.float64),
    "float16": lambda m: m.astype(np.float16),
    "unsorted": lambda m: sparse.csc_matrix(m).tocoo().tocsc()[:, ::-1][:, ::-1].tocsr(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_counts_is_sent_exactly_and_not_changed(tmp_path, form):
    adata = make(FORMS[form](COUNTS))
    before = snapshot(adata)
    again = ad.read_h5ad(to_h5ad(adata, tmp_path / "a.h5ad"))
    assert_unchanged(adata, before)
    np.testing.assert_array_equal(again.X.toarray(), COUNTS)
    np.testing.assert_array_equal(again.raw.X.toarray(), COUNTS)
    assert again.X.dtype == np.float32
    assert again.obs["sample"].tolist() == adata.obs["sample"].tolist()
    assert again.obs["type"].cat.categories.tolist() == ["T", "B"]
    assert again.obs_names.tolist() == adata.obs_names.tolist()
    assert again.var["symbol"].tolist() == list("vwxyz")
    np.testing.assert_array_equal(again.obsm["X_umap"], adata.obsm["X_umap"])


@pytest.mark.parametrize(
    ("matrix", "dtype"),
    [
        (np.log1p(COUNTS), np.float32),
        (np.log1p(COUNTS.astype(np.float64)), np.float64),  # not exact in float32, so it is kept
        (COUNTS.astype(np.float64) / 4, np.float32),
        (COUNTS > 0, np.float32),
        (COUNTS.astype(np.int64) * -(2**30), np.int64),
        (COUNTS.astype(np.longdouble) / 3, np.float64),
    ],
)
def test_normalized_values_are_narrowed_only_if_that_is_exact(tmp_path, matrix, dtype):
    if dtype == np.float64 and matrix.dtype == np.longdouble:
        matrix = matrix.astype(np.float64).astype(np.longdouble)
    again = ad.read_h5ad(to_h5ad(make(matrix), tmp_path / "a.h5ad", input_matrix_type="normalized"))
    assert again.X.dtype == dtype
    assert again.raw is None
    np.testing.assert_array_equal(again.X.toarray(), matrix)


def test_counts_beyond_float32_keep_their_dtype(tmp_path):
    matrix = COUNTS.astype(np.int64) * (2**24 + 1)
    again = ad.read_h5ad(to_h5ad(make(matrix), tmp_path / "a.h5ad"))
    assert again.X.dtype == np.int64
    np.testing.assert_array_equal(again.X.toarray(), matrix)


@pytest.mark.parametrize(
    "index",
    [
        np.arange(12) % 2 == 0,
        slice(2, 9),
        [7, 3],
        (slice(None), ["g3", "g0"]),
        ([5, 1], [4, 2]),
        (slice(None), slice(1, 3)),
    ],
)
@pytest.mark.parametrize("form", ["CSR", "CSC", "F"])
def test_a_view_is_sent_with_its_cells_and_stays_a_view(tmp_path, index, form):
    whole = make(FORMS[form](COUNTS))
    view = whole[index]
    before = snapshot(view)
    again = ad.read_h5ad(to_h5ad(view, tmp_path / "a.h5ad"))
    assert view.is_view
    assert_unchanged(view, before)
    np.testing.assert_array_equal(again.X.toarray(), dense(whole[index].X))
    assert again.obs_names.tolist() == view.obs_names.tolist()
    assert again.var_names.tolist() == view.var_names.tolist()
    np.testing.assert_array_equal(again.obsm["X_umap"], view.obsm["X_umap"])


@pytest.mark.parametrize("form", ["CSR", "CSC", "C"])
@pytest.mark.parametrize("view", [False, True])
def test_a_backed_object_is_streamed_and_stays_backed(tmp_path, form, view):
    make(FORMS[form](COUNTS)).write_h5ad(tmp_path / "b.h5ad")
    adata = ad.read_h5ad(tmp_path / "b.h5ad", backed="r")
    try:
        part = adata[[3, 1, 8], 1:4] if view else adata
        again = ad.read_h5ad(to_h5ad(part, tmp_path / "a.h5ad"))
        np.testing.assert_array_equal(again.X.toarray(), COUNTS[[3, 1, 8]][:, 1:4] if view else COUNTS)
        assert adata.isbacked
        assert part.is_view == view
    finally:
        adata.file.close()


def test_layers_of_a_file_are_streamed(tmp_path):
    make(np.log1p(COUNTS), layers={"counts": sparse.csc_matrix(COUNTS)}).write_h5ad(tmp_path / "b.h5ad")
    adata = open_h5ad(tmp_path / "b.h5ad")
    try:
        (path,) = write_plan(adata, plan_submission(adata), tmp_path / "new")
    finally:
        adata.file.close()
    np.testing.assert_array_equal(ad.read_h5ad(path).raw.X.toarray(), COUNTS)


def test_a_dask_matrix_is_sent(tmp_path):
    array = pytest.importorskip("dask.array")
    adata = make(array.from_array(COUNTS, chunks=(5, 5)))
    paths = write_plan(adata, plan_submission(adata, batch_key="sample"), tmp_path)
    assert hasattr(adata.X, "compute")
    np.testing.assert_array_equal(ad.read_h5ad(paths[1]).X.toarray(), COUNTS[1::3])


def test_counts_of_raw_are_sent_with_all_genes_of_raw(tmp_path):
    adata = make()
    adata.raw = adata
    adata = adata[:, :2].copy()
    adata.X = np.log1p(adata.X)
    plan = plan_submission(adata)
    assert (str(plan.slot), plan.n_vars, plan.left_out) == (
        "raw.X", 5, ("X", "columns of raw.var ('symbol')"),
    )  # fmt: skip
    (path,) = write_plan(adata, plan, tmp_path)
    again = ad.read_h5ad(path)
    np.testing.assert_array_equal(again.X.toarray(), COUNTS)
    assert again.var["symbol"].tolist() == list("vwxyz")


def test_either_slot_holds_the_counts_that_are_sent(tmp_path):
    path = to_h5ad(make(np.log1p(COUNTS), layers={"counts": COUNTS}), tmp_path / "a.h5ad")
    with h5py.File(path) as file:
        assert file["X"] == file["raw/X"]
        assert file["var"] == file["raw/var"]


def test_batches_are_sorted_and_keep_the_order_of_their_cells(tmp_path):
    adata = make()
    plan = plan_submission(adata, batch_key="sample")
    assert [(b.name, b.file_name, b.n_obs) for b in plan.batches] == [
        ("s2", "s2.h5ad", 4), ("s1", "s1.h5ad", 4), ("s10", "s10.h5ad", 4),
    ]  # fmt: skip
    paths = write_plan(adata, plan, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["s2.h5ad", "s1.h5ad", "s10.h5ad"]
    for i, path in enumerate(paths):
        again = ad.read_h5ad(path)
        np.testing.assert_array_equal(again.X.toarray(), COUNTS[i::3])
        assert again.obs_names.tolist() == adata.obs_names[i::3].tolist()
        assert again.obs["sample"].unique().tolist() == [plan.batches[i].name]
        assert again.obs["n"].dtype == np.float64  # also where no value of the batch is missing
        np.testing.assert_array_equal(again.obsm["X_umap"], adata.obsm["X_umap"][i::3])


def test_batches_follow_the_order_of_categories_without_empty_ones():
    plan = plan_submission(make(), batch_key="sample")
    adata = make()
    adata.obs["sample"] = pd.Categorical(adata.obs["sample"], ["s10", "none", "s2", "s1"])
    assert [batch.name for batch in plan_submission(adata, batch_key="sample").batches] == ["s10", "s2", "s1"]
    assert plan.batches[0].name == "s2"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_batches_of_numeric_categories_have_all_cells(tmp_path, dtype):
    adata = make()
    adata.obs["sample"] = pd.Categorical(np.array([0.1, 2, 3] * 4, dtype))
    plan = plan_submission(adata, batch_key="sample")
    paths = write_plan(adata, plan, tmp_path)
    assert [ad.read_h5ad(path).n_obs for path in paths] == [batch.n_obs for batch in plan.batches] == [4, 4, 4]


@pytest.mark.parametrize("values", [[1, 2, 3], [True, False, True], [1.0, 2.5, 3.0]])
def test_batches_may_be_numbers(tmp_path, values):
    adata = make()
    adata.obs["sample"] = values * 4
    paths = write_plan(adata, plan_submission(adata, batch_key="sample"), tmp_path)
    assert sum(ad.read_h5ad(path).n_obs for path in paths) == 12


@pytest.mark.parametrize(
    "names",
    [("a b", "a/b", "a_b"), ("A", "a", "á"), ("../../x", "..", "."), ("", " ", "b"), ("x" * 300, "x" * 301, "x.h5ad")],
)
def test_the_names_of_batch_files_are_safe_and_distinct(tmp_path, names):
    adata = make()
    adata.obs["sample"] = list(names) * 4
    plan = plan_submission(adata, batch_key="sample")
    files = [batch.file_name for batch in plan.batches]
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.h5ad", file) for file in files)
    assert len({file.casefold() for file in files}) == 3
    assert {path.parent for path in write_plan(adata, plan, tmp_path)} == {tmp_path}


def test_an_unknown_batch_column_suggests_similar_names():
    with pytest.raises(errors.UnknownField, match=r"'Sample' \(did you mean 'sample'\?\)"):
        plan_submission(make(), batch_key="Sample")


@pytest.mark.parametrize("key", [["sample"], 0, {}])
def test_a_batch_column_that_is_not_a_name_is_rejected(key):
    with pytest.raises(errors.UnknownField, match="for batch_key; it has 'sample', 'n', 'type'"):
        plan_submission(make(), batch_key=key)


@pytest.mark.parametrize("arguments", [{"to": "bioflex"}, {"chunk_size": 5}])
def test_a_dry_run_raises_the_errors_of_its_arguments(arguments):
    with pytest.raises(errors.InvalidArgument, match=f"{next(iter(arguments))} is "):
        make().biocolab.submit(dry_run=True, **arguments)


def test_cells_without_a_batch_are_rejected():
    with pytest.raises(errors.InvalidColumn, match="4 cells without a batch"):
        plan_submission(make(), batch_key="type")


def test_to_h5ad_and_submit_write_the_same_single_file(tmp_path):
    adata = make()
    (one,) = write_plan(adata, plan_submission(adata, request=StudyRequest(study_id="my study")), tmp_path)
    assert one.name == "my_study.h5ad"
    with h5py.File(one) as a, h5py.File(to_h5ad(adata, tmp_path / "other.h5ad")) as b:
        names = [[], []]
        a.visit(names[0].append)
        b.visit(names[1].append)
        assert names[0] == names[1]
        for name in names[0]:
            if isinstance(a[name], h5py.Dataset):
                np.testing.assert_array_equal(a[name][()], b[name][()])


def test_a_plan_is_pure_data():
    adata = make(uns={"x": 1}, layers={"log": np.log1p(COUNTS)})
    plan = plan_submission(adata)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert (plan.n_obs, plan.n_vars, plan.nnz) == (12, 5, int((COUNTS > 0).sum()))
    assert (plan.obs, plan.obsm) == (("sample", "n", "type"), ("X_umap",))
    assert plan.left_out == ("layers['log']", "uns['x']", "columns of var ('symbol')")
    assert plan.changes == ("obs['n']: whole numbers with 4 missing: sent as floats with NaN",)
    assert plan.n_bytes > plan.nnz * 8
    gone = weakref.ref(adata)
    del adata
    gc.collect()
    assert gone() is None


def test_a_plan_reads_well():
    plan = plan_submission(make(layers={"<b>": np.log1p(COUNTS)}), batch_key="sample")
    text = repr(plan)
    assert text.startswith("Plan: nothing has been sent\n")
    for part in ("12 x 5", "X as raw", "counts (whole numbers", "s2.h5ad (4 cells)", "layers['<b>']", "obs['n']"):
        assert part in text
    assert "&lt;b&gt;" in plan._repr_html_()
    assert "<b>" not in plan._repr_html_()


def test_a_plan_shows_the_destination_and_each_fact_once():
    adata = make()
    adata.obs["a/b"] = 1
    request = StudyRequest("my group", study_id="PBMC", species="mouse")
    text = repr(plan_submission(adata, request=request, to="talk2data"))
    assert "\n  to: talk2data, group 'my group', study 'PBMC', species mouse\n" in text
    assert (text.count("obs['a/b']"), text.count("BC109")) == (1, 0)
    made = plan_submission(adata)
    assert (made.to, made.group, made.study_id, made.species) == ("bbrowserx", "personal", None, "human")
    assert "group 'personal', a new study (id generated on submission)" in repr(made)


def test_a_small_plan_does_not_have_a_size_of_zero():
    plan = plan_submission(make())
    assert 0 < plan.n_bytes < 50_000
    assert "\n  size: less than 0.1 MB before compression, " in repr(plan)


def test_an_object_changed_after_planning_is_rejected(tmp_path):
    adata = make()
    plan, by_sample = plan_submission(adata), plan_submission(adata, batch_key="sample")
    with pytest.raises(errors.InvalidArgument, match="plan again"):
        write_plan(adata[:3], plan, tmp_path)
    adata.obs["sample"] = "s1"
    with pytest.raises(errors.InvalidArgument, match="plan again"):
        write_plan(adata, by_sample, tmp_path)
    adata.X = adata.X.astype(np.float64) + 0.1
    with pytest.raises(errors.InvalidValues, match="was it modified after the plan was made"):
        write_plan(adata, plan, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_rejected_object_does_not_replace_an_existing_file(tmp_path):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"mine")
    with pytest.raises(errors.NoCounts):
        to_h5ad(make(np.log1p(COUNTS)), path, input_matrix_type="raw")
    assert path.read_bytes() == b"mine"
    for wrong in (tmp_path, tmp_path / "no" / "a.h5ad"):
        with pytest.raises(errors.InvalidArgument, match="folder"):
            to_h5ad(make(), wrong)


def test_a_backed_object_may_replace_its_own_file(tmp_path):
    path = tmp_path / "a.h5ad"
    make().write_h5ad(path)
    adata = ad.read_h5ad(path, backed="r")
    try:
        to_h5ad(adata, path)
    finally:
        adata.file.close()
    np.testing.assert_array_equal(ad.read_h5ad(path).raw.X.toarray(), COUNTS)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("mouse_neurons_10k_x_1k.h5ad", "raw"),
        ("pbmc_10k_protein_v3.h5ad", "raw"),
        ("anndata-v0.5.0.h5ad", "normalized"),
        ("anndata-v0.7.0.h5ad", "raw"),
        ("cellxgene-nan.h5ad", None),
    ],
)
def test_real_files_are_sent_exactly_or_rejected(tmp_path, name, sent):
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not in {DATA}: set BIOCOLAB_TEST_DATA")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = ad.read_h5ad(DATA / name)
    if sent is None:
        with pytest.raises(errors.InvalidValues, match=r"X .*2,556 NaN"):
            plan_submission(adata)
        return
    plan = plan_submission(adata)
    assert plan.input_matrix_type == sent
    path = to_h5ad(adata, tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's own, about duplicate genes
        again = ad.read_h5ad(path)
    want = plan.slot.of(adata)
    np.testing.assert_array_equal(again.X.toarray(), dense(want))
    assert again.obs.astype(str).equals(adata.obs.astype(str))
    assert set(again.obsm) == set(adata.obsm)


def test_celltypists_sample_is_counts():
    try:
        folder = Path(str(metadata.distribution("celltypist").locate_file("celltypist")))
    except metadata.PackageNotFoundError:
        pytest.skip("celltypist is not installed")
    table = pd.read_csv(folder / "data" / "samples" / "sample_cell_by_gene.csv", index_col=0, nrows=80)
    plan = plan_submission(ad.AnnData(table.to_numpy()))
    assert plan.input_matrix_type == "raw"
    assert re.fullmatch(r"X: counts differ from whole numbers by up to \de-1\d: sent as whole numbers", plan.changes[0])


@pytest.mark.parametrize(("first", "second"), [(5, -2), (0.5, 0.5), (2**24, 1)])
def test_columns_with_the_same_location_are_written_as_judged(tmp_path, first, second):
    matrix = sparse.csr_matrix((2, 2))
    matrix.data = np.array([first, second, 3.0])
    matrix.indices, matrix.indptr = np.array([0, 0, 1], np.int32), np.array([0, 2, 3], np.int32)
    adata = ad.AnnData(matrix)
    plan = plan_submission(adata)
    assert (plan.input_matrix_type, plan.slots[0].kind, plan.nnz) == ("raw", "counts", 2)
    again = ad.read_h5ad(to_h5ad(adata, tmp_path / "a.h5ad"))
    np.testing.assert_array_equal(dense(again.X), [[first + second, 0], [0, 3]])
    assert adata.X.nnz == 3


def test_a_plan_without_encoded_tables_writes_the_same_file(tmp_path):
    adata = make()
    plan = plan_submission(adata)
    (first,) = write_plan(adata, plan, tmp_path / "encoded")
    (second,) = write_plan(adata, replace(plan, encoded=None), tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()


def test_a_plan_says_how_to_send_only_if_the_object_can_be_sent(counts: ad.AnnData) -> None:
    assert "to send: the same call without dry_run" in repr(counts.biocolab.submit(dry_run=True))
    counts.X = np.full(counts.shape, np.nan, np.float32)
    plan = counts.biocolab.submit(dry_run=True)
    assert not plan.ok
    assert "this object cannot be sent" in repr(plan)
    assert "to send" not in repr(plan)


def test_a_plan_says_that_strictness_stops_it_and_for_which_warnings(counts: ad.AnnData) -> None:
    counts.obs["mixed"] = pd.Series([1, "a"] * (counts.n_obs // 2) + [1] * (counts.n_obs % 2), counts.obs_names, object)
    line = "  error: check='strict' treats warnings as errors: BC208 obs['mixed']\n"
    plan = counts.biocolab.submit(check="strict", dry_run=True)
    assert not plan.ok
    assert repr(plan).startswith(f"Plan: this object cannot be sent\n{line}  to: ")
    assert "check=&#x27;strict&#x27; treats warnings as errors" in plan._repr_html_()
    assert "strict" not in repr(counts.biocolab.submit(dry_run=True))
    with pytest.raises(errors.CheckFailed, match="check='strict' treats as errors") as caught:
        counts.biocolab.submit(check="strict")
    assert "ready to be sent" not in str(caught.value)
    del counts.obs["mixed"]
    assert counts.biocolab.submit(check="strict", dry_run=True).ok


def test_a_plan_names_the_columns_of_var_that_no_study_keeps() -> None:
    adata = make(uns={"x": 1})
    adata.var["gene_ids"] = [f"ENSG{i}" for i in range(5)]
    assert plan_submission(adata).left_out == ("uns['x']", "columns of var ('symbol', 'gene_ids')")
    plan = plan_submission(adata, gene_symbols="symbol")
    assert plan.left_out == ("uns['x']", "columns of var ('gene_ids')")
    assert "left out: uns['x'], columns of var ('gene_ids')" in repr(plan)
    adata.raw = adata.copy()
    del adata.var["symbol"]
    adata.X = np.log1p(adata.X)
    assert plan_submission(adata).left_out == ("X", "uns['x']", "columns of raw.var ('symbol', 'gene_ids')")
