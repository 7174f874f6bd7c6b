"""Any object is submitted exactly, or with reported changes, or not at all; the object itself never changes."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed, InvalidNames
from biocolab_accessor.io.names import sent_name, unescaped
from biocolab_accessor.submit.plan import Plan, plan_submission
from biocolab_accessor.submit.submit import to_h5ad
from biocolab_accessor.submit.write import write_plan
from tests.builders import set_matrix
from tests.corpus.compare import assert_unchanged, differences, is_said, snapshot
from tests.properties.strategies import COUNT_DTYPES, FORMS, adatas, counts, good_names, hostile_names, sweep

OLD_ENCODINGS = {
    "anndata", "array", "string-array", "categorical", "dataframe", "dict", "csr_matrix", "raw", "string", "",
}  # fmt: skip


junk = st.recursive(
    st.sampled_from([None, 1, "a", (1,), {1}, object(), len, b"x", "a\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_names, inner, max_size=3),
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def plan_of(adata: ad.AnnData, **arguments: Any) -> Plan | None:
    """The plan of a submission; None if it is refused."""
    try:
        return plan_submission(adata, **arguments)
    except CheckFailed:
        return None


def there_and_back(adata: ad.AnnData, **arguments: Any) -> ad.AnnData:
    with folder() as path:
        return ad.read_h5ad(to_h5ad(adata, path / "a.h5ad", **arguments))


def content(path: Path) -> dict[str, Any]:
    """All datasets and attributes of a file."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:

        def visit(name: str, item: Any) -> None:
            found[name] = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
            if isinstance(item, h5py.Dataset):
                found[f"{name}="] = (str(item.dtype), np.asarray(item[()]).tolist())

        file.visititems(visit)
    return found


def files_alike(one: ad.AnnData, other: ad.AnnData) -> bool:
    with folder() as path:
        # NaN does not equal itself, but prints the same.
        first, second = (content(to_h5ad(a, path / f"{i}.h5ad")) for i, a in enumerate((one, other)))
        return repr(first) == repr(second)


@sweep
@given(adatas())
def test_a_check_never_raises_and_changes_nothing(adata: ad.AnnData) -> None:
    before = snapshot(adata)
    bc.check(adata, species="mouse", batch_key="a")
    assert_unchanged(adata, before)


@sweep
@given(adatas(), st.integers(0, 400), st.integers(0, 4), st.floats(0, 100))
def test_the_check_counts_filtered_cells_like_the_preview(
    adata: ad.AnnData, counts: int, genes: int, percent: float
) -> None:
    filters = {"min_counts": counts, "max_genes": genes, "mt_percentage": percent}
    before = snapshot(adata)
    kept = [found for found in bc.check(adata, **filters) if found.code in ("BC701", "BC702", "BC703")]
    assert_unchanged(adata, before)
    if plan_of(adata) is not None:
        preview = adata.biocolab.preview_filters(**filters)
        assert [found.count for found in kept] == [adata.n_obs - preview.n_kept]
        assert (kept[0].code == "BC703") == (preview.n_kept == 0)


@sweep
@given(adatas())
def test_a_report_can_always_be_printed_and_tabulated(adata: ad.AnnData) -> None:
    report = bc.check(adata)
    repr(report).encode()
    report._repr_html_().encode()
    assert report.to_frame()["code"].tolist() == [found.code for found in report]
    assert pickle.loads(pickle.dumps(report)) == report


@sweep
@given(adatas())
def test_a_check_gives_the_same_report_twice(adata: ad.AnnData) -> None:
    assert bc.check(adata) == bc.check(adata)


@sweep
@given(adatas())
def test_an_object_can_be_planned_if_it_passes_the_check(adata: ad.AnnData) -> None:
    assert (plan_of(adata) is not None) == bc.check(adata).ok


@sweep
@given(adatas())
def test_strict_refuses_exactly_objects_with_a_warning_or_an_error(adata: ad.AnnData) -> None:
    report = bc.check(adata)
    assert (plan_of(adata, check="strict") is not None) == (not report.errors and not report.warnings)


@sweep
@given(adatas())
def test_a_plan_is_data_and_can_be_printed(adata: ad.AnnData) -> None:
    plan = plan_of(adata)
    if plan is not None:
        assert pickle.loads(pickle.dumps(plan)) == plan
        repr(plan).encode()
        plan._repr_html_().encode()


@sweep
@given(adatas())
def test_a_refused_object_leaves_no_file_and_an_accepted_one_a_readable_file(adata: ad.AnnData) -> None:
    with folder() as path:
        if plan_of(adata) is None:
            with pytest.raises(CheckFailed):
                to_h5ad(adata, path / "a.h5ad")
            assert list(path.iterdir()) == []
        else:
            assert ad.read_h5ad(to_h5ad(adata, path / "a.h5ad")).shape == adata.shape


@sweep
@given(adatas())
def test_writing_leaves_the_object_as_it_was(adata: ad.AnnData) -> None:
    before = snapshot(adata)
    if plan_of(adata) is not None:
        there_and_back(adata)
    assert_unchanged(adata, before)


@sweep
@given(adatas())
def test_everything_comes_back_unless_its_change_was_reported(adata: ad.AnnData) -> None:
    plan = plan_of(adata)
    if plan is None:
        return
    said = [*plan.changes, *plan.left_out]
    by_number = any(line.startswith(("obs.columns", "var.columns")) for line in said)
    for place in differences(adata, there_and_back(adata), plan):
        assert is_said(place, said) or (by_number and place[4:-1].isdigit()), (place, said)


@sweep
@given(adatas(sane=True))
def test_an_object_that_needs_no_changes_comes_back_exactly(adata: ad.AnnData) -> None:
    plan = plan_of(adata)
    if plan is None or plan.changes:
        return  # missing values among whole numbers; not finite; or negative counts
    again = there_and_back(adata)
    assert set(differences(adata, again, plan)) <= set(plan.left_out)
    pd.testing.assert_index_equal(again.obs_names, adata.obs_names, check_names=False, exact=False)


@sweep
@given(adatas())
def test_names_of_columns_and_keys_are_restored_from_the_file_alone(adata: ad.AnnData) -> None:
    if plan_of(adata) is None:
        return
    again = there_and_back(adata)
    left = {found.path for found in bc.check(adata) if found.code == "BC201"}
    for where in ("obs", "var"):
        sent = [str(name) for name in getattr(adata, where).columns if f"{where}[{name!r}]" not in left]
        assert [unescaped(name) for name in getattr(again, where).columns] == sent
    assert {unescaped(key, embedding=True) for key in again.obsm} <= set(adata.obsm)


@sweep
@given(adatas())
def test_a_file_has_only_the_oldest_encodings(adata: ad.AnnData) -> None:
    if plan_of(adata) is None:
        return
    with folder() as path, h5py.File(to_h5ad(adata, path / "a.h5ad")) as file:
        found: set[str] = set()
        file.visititems(lambda _, item: found.add(item.attrs.get("encoding-type", "")))
        assert found <= OLD_ENCODINGS


@sweep
@given(adatas())
def test_a_written_file_passes_the_check_and_is_written_again_unchanged(adata: ad.AnnData) -> None:
    plan = plan_of(adata)
    if plan is None:
        return
    with folder() as path:
        first = to_h5ad(adata, path / "a.h5ad")
        again = ad.read_h5ad(first)
        assert bc.check(again).ok
        assert bc.check(first).ok
        if not any(name.endswith("~biocolab") for name in [*again.obs.columns, *again.var.columns, *again.obsm]):
            # Booleans are not counts, but zeros and ones could be: so the type is given.
            second = to_h5ad(again, path / "b.h5ad", input_matrix_type=plan.input_matrix_type)
            assert repr(content(second)) == repr(content(first))


@sweep
@given(adatas(view=False), st.data())
def test_a_view_is_sent_like_its_copy(adata: ad.AnnData, data: st.DataObject) -> None:
    if plan_of(adata) is None or not adata.obs_names.is_unique:
        return
    rows = data.draw(st.lists(st.integers(0, adata.n_obs - 1), min_size=1, unique=True))
    columns = data.draw(st.lists(st.integers(0, adata.n_vars - 1), min_size=1, unique=True))
    view = adata[rows, columns]
    try:
        copy = adata[rows, columns].copy()
    except (ValueError, TypeError, IndexError, NotImplementedError):
        return  # anndata cannot slice data that was set directly
    assert (plan_of(view) is None) == (plan_of(copy) is None)
    if plan_of(view) is not None:
        assert files_alike(view, copy)
    assert view.is_view


@sweep
@given(counts(4, 3), st.sampled_from(sorted(FORMS)), st.sampled_from(COUNT_DTYPES))
def test_the_form_and_dtype_of_counts_do_not_matter(matrix: np.ndarray, form: str, dtype: type) -> None:
    adata = ad.AnnData(matrix)
    set_matrix(adata, FORMS[form](matrix.astype(dtype)))
    assert files_alike(adata, ad.AnnData(matrix))


@sweep
@given(counts(4, 3), st.sampled_from(["layer", "raw", "X"]))
def test_counts_are_found_wherever_they_are(matrix: np.ndarray, where: str) -> None:
    adata = ad.AnnData(np.log1p(matrix) + 0.1)
    if where == "layer":
        adata.layers["counts"] = matrix
    elif where == "raw":
        adata.raw = ad.AnnData(matrix)
    else:
        adata.X = matrix
    again = there_and_back(adata, input_matrix_type="raw")
    np.testing.assert_array_equal(again.X.toarray(), matrix)
    np.testing.assert_array_equal(again.raw.X.toarray(), matrix)


@sweep
@given(adatas(sane=True, view=False))
def test_a_backed_object_is_sent_like_one_in_memory(adata: ad.AnnData) -> None:
    if plan_of(adata) is None:
        return
    with folder() as path:
        try:
            adata.copy().write_h5ad(path / "source.h5ad")
            read = ad.read_h5ad(path / "source.h5ad")
        except Exception:  # noqa: BLE001 - anndata refuses it for any reason
            return
        backed = ad.read_h5ad(path / "source.h5ad", backed="r")
        try:
            assert files_alike(backed, read)
        finally:
            backed.file.close()


@sweep
@given(counts(6, 3), st.integers(1, 6))
def test_a_dask_array_is_sent_like_its_result(matrix: np.ndarray, chunk: int) -> None:
    array = pytest.importorskip("dask.array")
    assert files_alike(ad.AnnData(array.from_array(matrix, chunks=(chunk, 3))), ad.AnnData(matrix))


@sweep
@given(counts(6, 3), st.lists(hostile_names.filter(lambda name: "\0" not in name), min_size=6, max_size=6))
def test_batches_hold_every_cell_once_and_in_order(matrix: np.ndarray, labels: list[str]) -> None:
    cells = [f"c{i}" for i in range(6)]
    adata = ad.AnnData(matrix, pd.DataFrame({"sample": pd.Series(labels, cells, dtype=object)}, index=cells))
    plan = plan_of(adata, batch_key="sample")
    if plan is None:
        assert not all(map(_is_text, labels))
        return
    with folder() as path:
        parts = [ad.read_h5ad(file) for file in write_plan(adata, plan, path / "files")]
    assert sorted(name for part in parts for name in part.obs_names) == sorted(adata.obs_names)
    for part in parts:
        assert list(part.obs_names) == sorted(part.obs_names)
        np.testing.assert_array_equal(part.X.toarray(), adata[part.obs_names].X)
        assert part.obs["sample"].tolist() == adata.obs["sample"][part.obs_names].tolist()


@sweep
@given(adatas(sane=True))
def test_an_uncompressed_file_has_the_same_content_as_a_compressed_one(adata: ad.AnnData) -> None:
    if plan_of(adata) is None:
        return
    with folder() as path:
        plain = content(to_h5ad(adata, path / "a.h5ad", compression=None))
        assert repr(plain) == repr(content(to_h5ad(adata, path / "b.h5ad")))


@sweep
@given(junk)
def test_nothing_in_uns_stops_a_submission(value: Any) -> None:
    adata = ad.AnnData(np.eye(2, dtype=np.float32))
    adata._uns["k"] = value
    plan = plan_submission(adata)
    assert plan.left_out == ("uns['k']",)
    assert dict(there_and_back(adata).uns) == {}


@sweep
@given(st.lists(hostile_names | good_names, min_size=1, max_size=5, unique=True))
def test_any_distinct_column_names_are_sent_as_distinct_names(names: list[str]) -> None:
    adata = ad.AnnData(np.eye(2, dtype=np.float32))
    adata._obs = pd.DataFrame({i: [i, i] for i in range(len(names))}, index=["a", "b"])
    adata._obs.columns = pd.Index(names, dtype=object)
    again = there_and_back(adata)
    assert list(again.obs.columns) == [sent_name(name) for name in names]
    assert again.obs.iloc[0].tolist() == list(range(len(names)))


@sweep
@given(st.lists(hostile_names, min_size=2, max_size=4))
def test_barcodes_come_back_or_are_refused_for_a_reason(names: list[str]) -> None:
    adata = ad.AnnData(np.ones((len(names), 2), np.float32))
    adata._obs.index = pd.Index(names, dtype=object)
    bad = any(not name.strip() or "\0" in name or not _is_text(name) for name in names)
    if bad or len(set(names)) < len(names):
        with pytest.raises(InvalidNames, match=r"BC10[12]"):
            there_and_back(adata)
    else:
        assert list(there_and_back(adata).obs_names) == names


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def test_there_are_twenty_properties() -> None:
    found: list[Callable[..., Any]] = [f for f in globals().values() if hasattr(f, "hypothesis")]
    assert len(found) >= 20
