"""Columns that h5ad cannot hold are reported with their types, rows and a fix."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import biocolab_accessor as bc
from biocolab_accessor import errors


def make(n=2, **obs):
    names = [f"c{i}" for i in range(n)]
    return AnnData(np.ones((n, 1), np.float32), pd.DataFrame(obs, index=names), pd.DataFrame(index=["g"]))


def test_mixed_types_are_sent_as_text_and_reported_with_counts_and_first_rows():
    (found,) = bc.check(make(3, x=pd.Series([1, 2, "late"], index=["c0", "c1", "c2"], dtype=object)))
    assert (found.code, found.severity, found.path, found.error) == (
        "BC208", "warning", "obs['x']", errors.InvalidColumn,
    )  # fmt: skip
    assert found.message == "mixed types (int 2, str 1): sent as text"
    assert found.examples == ("c0: 1", "c2: 'late'")


def test_a_column_of_lists_is_left_out_and_does_not_stop_anything():
    report = bc.check(make(x=[[1], [2]]))
    (found,) = report
    assert (report.ok, found.code, found.severity, found.path) == (True, "BC201", "warning", "obs['x']")
    assert found.message == "not sent: values that h5ad cannot hold (list 2)"
    assert found.fix == "Convert it: adata.obs['x'] = adata.obs['x'].astype(str)"


@pytest.mark.parametrize("values", [[[1], [2]], pd.to_datetime(["2020", "2021"])])
def test_a_strict_check_refuses_columns_that_are_left_out_or_made_text(values):
    adata = make(x=values)
    with pytest.raises(errors.InvalidColumn, match=r"(?s)check='strict' treats as errors.*obs\['x'\]"):
        adata.biocolab.submit(check="strict")
    assert adata.biocolab.submit(dry_run=True).n_obs == 2


def test_columns_of_var_are_checked_too():
    adata = make()
    adata.var["when"] = pd.to_datetime(["2020-01-01"])
    adata.var["list"] = [[1]]
    assert [(found.code, found.path) for found in bc.check(adata)] == [
        ("BC201", "var['list']"),
        ("BC208", "var['when']"),
    ]
    assert bc.check(adata)[1].fix == ""


def test_columns_of_tables_in_obsm_are_checked_too():
    adata = make()
    when = pd.to_datetime(["2020-01-01", "2020-01-02"])
    adata.obsm["t"] = pd.DataFrame({"when": when, "list": [[1], [2]], "n": [1, 2]}, index=adata.obs_names)
    found = [(found.code, found.path) for found in bc.check(adata).warnings]
    assert found == [("BC201", "obsm['t']['list']"), ("BC208", "obsm['t']['when']")]
    plan = adata.biocolab.submit(dry_run=True)
    assert plan.obsm == ("t",)
    assert plan.left_out == ("obsm['t']['list'] (values that h5ad cannot hold (list 2))",)


def test_dates_can_be_batches_and_lists_cannot():
    days = make(4, day=pd.to_datetime(["2020-01-01", "2020-01-01", "2021-01-01", "2021-01-01"]))
    assert [batch.name for batch in days.biocolab.submit(dry_run=True, batch_key="day").batches] == [
        "2020-01-01", "2021-01-01",
    ]  # fmt: skip
    with pytest.raises(errors.InvalidColumn, match="cannot be used for batches: values that h5ad cannot hold"):
        make(x=[[1], [2]]).biocolab.submit(batch_key="x")


def test_a_column_that_is_sent_in_another_form_is_noted():
    (found,) = bc.check(make(x=[None, None]))
    assert (found.code, found.severity, found.message) == ("BC202", "note", "only missing values: sent as NaN")


def test_more_labels_than_the_servers_can_number_are_a_warning():
    n = 65_536
    numbers = np.arange(n)
    adata = make(
        n, first=numbers, many=pd.Categorical(numbers), most=pd.Categorical(np.minimum(numbers, n - 2)), id=numbers
    )
    adata.var["of_a_gene"] = pd.Categorical([1], numbers)
    (found,) = bc.check(adata).warnings
    assert (found.code, found.severity, found.path, found.count) == ("BC203", "warning", "obs['many']", n)
    assert found.message == "65,536 labels: the servers support at most 65,535"
    assert found.fix == "If it is an id of each cell, drop the column from a copy"


def test_an_unknown_batch_column_is_an_error_with_near_names():
    (found,) = bc.check(make(sample=["a", "b"]), batch_key="Sample")
    assert found.code == "BC204"
    assert "did you mean 'sample'?" in found.message


@pytest.mark.parametrize("key", [["sample"], 3])
def test_a_batch_column_that_is_not_a_name_is_an_error(key):
    (found,) = bc.check(make(sample=["a", "b"]), batch_key=key)
    assert found.code == "BC204"
    assert found.message.startswith(f"has no column {key!r}")


def test_cells_without_a_batch_are_an_error():
    (found,) = bc.check(make(sample=["a", None]), batch_key="sample").errors
    assert (found.path, found.count, found.examples) == ("obs['sample']", 1, ("'c1'",))
    with pytest.raises(errors.InvalidColumn, match="1 cell without a batch"):
        bc.check(make(sample=["a", None]), batch_key="sample").raise_for_errors()


def test_a_batch_column_that_is_there_twice_is_an_error():
    adata = make(a=["u", "v"], b=["u", "v"])
    adata._obs.columns = ["s", "s"]
    assert {found.code for found in bc.check(adata, batch_key="s").errors} == {"BC104", "BC204"}


def test_ordered_columns_of_obs_are_noted():
    ordered = pd.Categorical(["b", "a"], ["b", "a"], ordered=True)
    adata = make(
        first=[1, 2], plain=pd.Categorical(["x", "y"]), one=pd.Categorical(["x", "x"], ordered=True), stage=ordered
    )
    adata.var["of_genes"] = pd.Categorical(["b"], ordered=True)
    found = [found for found in bc.check(adata) if found.code == "BC205"]
    assert [(each.path, each.message) for each in found] == [
        ("obs['stage']", "ordered labels (b < a): the servers do not keep the order")
    ]


def test_an_order_that_somebody_chose_is_noted_if_it_is_lost(server):
    doses = ["low", "mid", "high"]
    adata = make(
        3,
        dose=pd.Categorical(doses, doses),
        by_characters=pd.Categorical(["1", "10", "2"], ["1", "10", "2"]),
        natural=pd.Categorical(["1", "2", "10"], ["1", "2", "10"]),
    )
    adata.var_names = ["CD3D"]
    found = [found for found in bc.check(adata) if found.code == "BC205"]
    assert [(each.path, each.message) for each in found] == [
        (
            "obs['dose']",
            "labels in a custom order ('low', 'mid', 'high'): BBrowserX and Talk2Data return them in natural order",
        )
    ]
    back = adata.biocolab.submit(study_id="doses", skip_dimred=True).study().to_anndata()
    assert list(back.obs["dose"].cat.categories) == ["high", "low", "mid"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "Float64", object])
def test_infinite_numbers_of_cells_are_a_warning_with_how_many_and_where(dtype):
    adata = make(4, ratio=pd.array([np.inf, 1.0, -np.inf, np.nan], dtype), fine=[1.0, np.nan, 2.0, 3.0])
    adata.var["of_a_gene"] = [np.inf]
    (found,) = [found for found in bc.check(adata) if found.code == "BC206"]
    assert (found.severity, found.path, found.count, found.examples) == ("warning", "obs['ratio']", 2, ("'c0'", "'c2'"))
    assert found.message == "infinite numbers in 2 cells: the servers show NaN there"


def test_infinite_numbers_are_nan_when_they_come_back(server):
    adata = make(9, ratio=np.where(np.arange(9) < 2, np.inf, 1.5))
    adata.var_names = ["CD3D"]
    with pytest.warns(UserWarning, match="infinite numbers in 2 cells: the servers show NaN there"):
        submission = adata.biocolab.submit(skip_dimred=True)
    back = submission.study().to_anndata()
    np.testing.assert_array_equal(back.obs["ratio"], [np.nan, np.nan] + [1.5] * 7)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (np.linspace(0, 1, 9), "9 batches, each with a single cell"),
        ([f"c{n}" for n in range(9)], "9 batches, each with a single cell"),
        (["a"] * 5 + list("bcde"), "5 batches, 4 of them with a single cell"),
        (np.repeat([0.1, 0.5, 0.7], 3), "3 batches from numbers that are not whole"),
    ],
)
def test_batches_of_single_cells_are_a_warning(batches, message):
    (found,) = [found for found in bc.check(make(9, key=batches), batch_key="key") if found.code == "BC207"]
    assert (found.severity, found.path, found.message) == ("warning", "obs['key']", message)
    assert found.fix == "Use a column whose values name samples, donors or runs"


@pytest.mark.parametrize("batches", [["a"] * 9, list("aabbccdde"), np.repeat([1.0, 2.0, 3.0], 3), [0.5] * 9])
def test_samples_are_batches_though_one_has_a_single_cell_or_they_are_numbered(batches):
    assert "BC207" not in {found.code for found in bc.check(make(9, key=batches), batch_key="key")}


def test_labels_that_no_file_can_be_named_by_are_noted():
    adata = make(12, key=["a/b", "a_b", "c.d", "e"] * 3)
    (found,) = [found for found in bc.check(adata, batch_key="key") if found.code == "BC211"]
    assert (found.severity, found.path, found.count) == ("note", "obs['key']", 3)
    assert found.message == "3 labels changed as the name of a batch; the column keeps its values"
    assert found.examples == ("'a/b' as 'a_b'", "'a_b' as 'a_b_2'", "'c.d' as 'c_d'")
    files = [batch.file_name for batch in adata.biocolab.submit(batch_key="key", dry_run=True).batches]
    assert files == ["a_b.h5ad", "a_b_2.h5ad", "c_d.h5ad", "e.h5ad"]


def test_a_column_with_the_batches_of_an_earlier_study_is_a_warning_if_the_new_study_has_batches(tmp_path):
    """A study that was fetched has the column, and its batches would be taken for the new ones."""
    adata = make(9, key=list("abc") * 3, one=["x"] * 9, Batch=["old"] * 9)

    def found(**arguments):
        return [(each.severity, each.path) for each in bc.check(adata, **arguments) if each.code == "BC212"]

    assert found(batch_key="key") == [("warning", "obs['Batch']")]
    assert found(batch_key="Batch") == found(batch_key="one") == found() == []
    renamed = adata.copy()
    renamed.obs = renamed.obs.rename(columns={"Batch": "old_batch"})
    assert "BC212" not in {each.code for each in bc.check(renamed, batch_key="key")}
    adata.write_h5ad(tmp_path / "x.h5ad")
    renamed.write_h5ad(tmp_path / "y.h5ad")
    plan = bc.submit([tmp_path / "x.h5ad", tmp_path / "y.h5ad"], dry_run=True)
    assert [["BC212" in {each.code for each in part.report} for part in plan.plans]] == [[True, False]]
    assert "BC212" not in {each.code for each in bc.submit(tmp_path / "x.h5ad", dry_run=True).report}


@pytest.mark.parametrize(
    "batches", [["a", "b", "c"], np.uint64(2**63) + np.arange(3, dtype=np.uint64), [2**53 + 1] * 3]
)
def test_labels_that_stay_as_they_are_are_not_noted(batches):
    assert "BC211" not in {found.code for found in bc.check(make(9, key=list(batches) * 3), batch_key="key")}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([0.25, 1 / 3], "BioFlex returns these as float32, with about seven digits"),
        ([1e17 + 16, 0.5], "BioFlex returns these as float32, with about seven digits"),
        ([True, False], "BioFlex returns booleans as labels 'True' and 'False'"),
        (["a", None], "BioFlex does not support missing labels, and returns a label for cells without one"),
    ],
)
def test_columns_that_bioflex_converts_are_noted(column, message):
    (found,) = bc.check(make(x=column))
    assert (found.code, found.severity, found.path, found.changed) == ("BC209", "note", "obs['x']", False)
    assert found.message == message


@pytest.mark.parametrize(
    ("column", "count", "example"),
    [
        ([3, 2**24 + 1], 1, "16777217 as 16777216"),
        ([2**24 + 1.0, 0.1], 1, "16777217.0 as 16777216.0"),
        ([0.1, 1e300], 1, "1e+300 as inf"),
        ([0.1, -1e-300], 1, "-1e-300 as -0.0"),
        ([0.1, 1e-40], 1, "1e-40 as 9.99994610111476e-41"),
        (np.array([2**64 - 1, 2**63 + 1], np.uint64), 2, "18446744073709551615 as 18446744073709551616"),
        (pd.array([2**53 - 1, 0], "Int64"), 1, "9007199254740991 as 9007199254740992"),
        ([np.nan, 2**31 - 1], 1, "2147483647.0 as 2147483648.0"),
    ],
)
def test_numbers_that_bioflex_changes_are_a_warning_with_the_line_that_keeps_them(column, count, example):
    adata = make(x=column)
    notes, (found,) = ([found for found in bc.check(adata) if found.code == code] for code in ("BC209", "BC210"))
    assert (found.severity, found.path, found.count) == ("warning", "obs['x']", count)
    assert found.message.startswith(f"BioFlex returns these as float32, which changes {count} number")
    assert found.examples == (f"{example} in obs['x']",)
    assert [note.severity for note in notes] == ["note"] * (0.1 in list(column))
    line = found.fix.partition("in a copy: ")[2]
    exec(line, {"copy": adata})
    assert "BC210" not in {found.code for found in bc.check(adata)}


def test_rounded_digits_of_many_columns_are_one_short_note_and_no_reason_for_strict_to_refuse():
    columns = {f"pct_counts_{name}": np.random.default_rng(0).random(30) for name in "abcdefghijkl"}
    adata = make(30, **columns)
    (found,) = bc.check(adata)
    assert (found.code, found.severity, found.count, found.examples) == ("BC209", "note", 360, ())
    assert repr(bc.check(adata)).splitlines()[1] == (
        "  BC209  note  obs['pct_counts_a'], obs['pct_counts_b'], … and 10 more  BioFlex returns these as float32, "
        "with about seven digits"
    )
    assert bc.check(adata).to_frame()["path"].item().count("obs[") == 12
    bc.check(adata).raise_for_errors(strict=True)


def test_columns_that_bioflex_keeps_are_not_noted():
    exact = {
        "a": [1, 2**24],
        "b": [0.5, None],
        "c": [np.float32(0.1), np.float32(0.7)],
        "d": ["x", "y"],
        "e": [-0.0, np.inf],
    }
    assert [found.code for found in bc.check(make(**exact))] == ["BC206"]


@pytest.mark.parametrize("values", [[3, 1], [0.5, 1.5], [True, False], np.array([2**64 - 1, 1], np.uint64)])
def test_labels_that_are_not_text_are_noted(values):
    (found,) = bc.check(make(x=pd.Categorical(values)))
    dtype = pd.Categorical(values).categories.dtype
    assert (found.code, found.message) == ("BC205", f"labels of dtype {dtype}: the servers hold them as text")
