"""Columns that h5ad cannot store are sent as text; they are restored, or reported to stay text."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from pandas.api.types import pandas_dtype

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed, InvalidArgument, InvalidColumn, UnknownField
from biocolab_accessor.io.column_text import as_text, category_texts, needs_text
from tests.corpus.compare import assert_unchanged, snapshot

N = 12
CELLS = [f"cell{i}" for i in range(N)]
NEVER = -(2**63)  # NumPy's NaT


def days(unit: str, *texts: str) -> np.ndarray:
    return np.array((texts * N)[:N], f"M8[{unit}]")


def zoned(zone: str, *texts: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex((texts * N)[:N]).tz_localize("UTC").tz_convert(zone)


def spans(unit: str, *numbers: int) -> np.ndarray:
    return np.array((numbers * N)[:N], np.int64).view(f"m8[{unit}]")


def some(values: Any) -> Any:
    """The same values with one missing in the middle."""
    return values.insert(3, None)[:N]


RESTORED: dict[str, Any] = {
    "date_ns": days("ns", "2020-01-01T00:00:00.000000001", "1700-05-06", "NaT"),
    "date_us": days("us", "2020-01-01T10:11:12.000013", "0001-01-01", "NaT"),
    "date_ms": days("ms", "1969-12-31T23:59:59.999", "2020-06-01"),
    "date_s": days("s", "2020-01-01T00:00:01", "20000-01-01", "-0005-02-03T04:05:06", "NaT"),
    "date_only": days("ns", "2020-02-29", "NaT", "2021-01-01"),
    "zone_utc": zoned("UTC", "2020-01-01 00:00:00.123456"),
    "zone_summer": zoned("Europe/Berlin", "2020-10-25 00:30", "2020-10-25 01:30"),  # both are half past two there
    "zone_east": zoned("Asia/Kolkata", "2020-01-01 00:00", "2020-06-01 23:00"),
    "zone_old": zoned("America/New_York", "1850-01-01 00:00:17", "2020-01-01 00:00:00"),
    "zone_fixed": zoned("-02:30", "2020-01-01"),
    "span_ns": spans("ns", 1, -1, NEVER, 86_400 * 10**9, 0),
    "span_us": spans("us", 10**6, -(10**6) - 1, NEVER),
    "span_ms": spans("ms", 90_061_001, -5),
    "span_s": spans("s", 2**61, -(2**61), NEVER, 59),
    "span_days": pd.to_timedelta(np.arange(N), "D"),
    "month": some(pd.period_range("2020-11", periods=N, freq="M")),
    "quarter": some(pd.period_range("2020-11", periods=N, freq="Q-NOV")),
    "year": pd.period_range("1999", periods=N, freq="Y"),
    "week": some(pd.period_range("2020-01-01", periods=N, freq="W-WED")),
    "two_days": pd.period_range("2020-01-01", periods=N, freq="2D"),
    "instant": some(pd.period_range("2020-01-01", periods=N, freq="ns")),
    "within": pd.interval_range(0, N),
    "within_real": some(pd.IntervalIndex.from_breaks(np.linspace(0, 1, N + 1), closed="left")),
    "within_days": pd.interval_range(pd.Timestamp("2020-01-01"), periods=N),
    "within_zone": pd.interval_range(pd.Timestamp("2020-01-01 10:00", tz="Europe/Berlin"), periods=N),
    "within_spans": pd.interval_range(pd.Timedelta(0), periods=N, closed="both"),
    "cut": pd.cut(np.r_[np.nan, np.arange(1, N)], [0.5, 3, 7.25, 100]),
    "cut_unused": pd.Categorical.from_codes([0, 2, -1] * 4, pd.interval_range(0, 3, closed="neither"), ordered=True),
    "qcut": pd.qcut(np.arange(N) ** 2, 4),
    "cat_days": pd.Categorical(pd.to_datetime(["2021-01-01", "2020-01-01", None] * 4), ordered=True),
    "cat_months": pd.Categorical(pd.PeriodIndex(["2020-02", "2020-01"] * 6, freq="M")),
    "cat_spans": pd.Categorical(pd.to_timedelta([5, 1, None] * 4, "s")),
    "cat_mixed": pd.Categorical([1, "a", None] * 4, categories=["a", 1, 2.5], ordered=True),
    "complex": np.array([1j, 0.1 - 2j, complex("nan")] * 4),
    "complex64": np.array([1j, 0.1, -0.5] * 4, "complex64"),
}

STAYS_TEXT: dict[str, tuple[list[Any], list[str | None]]] = {
    "mixed": ([1, "late", None, 2.5], ["1", "late", None, "2.5"]),
    "mixed_same": ([1, "1", True, "True"], ["1", "1", "True", "True"]),
    "mixed_days": ([pd.Timestamp("2020-01-01"), "unknown"], ["2020-01-01T00:00:00", "unknown"]),
    "mixed_numbers": ([True, 2, 0.1, np.float32(0.1)], ["True", "2", "0.1", "0.10000000149011612"]),
    "bytes": ([b"a", "b", None], ["a", "b", None]),
    "decimals": ([decimal.Decimal("0.10"), decimal.Decimal("1E+3"), None], ["0.10", "1E+3", None]),
    "clock": ([dt.time(1, 2), dt.time(3, 4, 5, 6)], ["01:02:00", "03:04:05.000006"]),
    "uuid": ([uuid.UUID(int=1), None], ["00000000-0000-0000-0000-000000000001", None]),
    "path": ([PurePosixPath("a/b"), "c"], ["a/b", "c"]),
    "two_zones": (
        [pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-01", tz="Asia/Tokyo")],
        ["2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00+09:00"],
    ),
}

LEFT_OUT: dict[str, list[Any]] = {
    "lists": [[1], [2, 3]],
    "dicts": [{"a": 1}, None],
    "sets": [{1}, "x"],
    "tuples": [(1, 2), (3, 4)],
    "arrays": [np.ones(2), np.zeros(3)],
    "things": [object(), 1],
    "nul": ["a\0b", "c"],
    "nul_mixed": ["a\0b", 1],
    "half": ["\ud800", "c"],
    "half_mixed": ["\ud800", 1],
    "no_text": [b"\xff", b"a"],
}


def objects(values: list[Any]) -> pd.Series:
    column = np.empty(N, object)
    for i in range(N):
        column[i] = values[i % len(values)]
    return pd.Series(column, index=CELLS, dtype=object)


def make(*, left: bool = True) -> ad.AnnData:
    obs = {name: pd.Series(values, index=None).set_axis(CELLS) for name, values in RESTORED.items()}
    obs |= {name: objects(values) for name, (values, _) in STAYS_TEXT.items()}
    obs |= {name: objects(values) for name, values in LEFT_OUT.items()} if left else {}
    counts = (np.random.default_rng(0).poisson(1.0, (N, 3)) + 1).astype(np.float32)
    adata = ad.AnnData(counts, pd.DataFrame(index=CELLS), pd.DataFrame(index=["CD3D", "LYZ", "NKG7"]))
    adata._obs = pd.DataFrame(obs, index=CELLS)
    return adata


def fields_of(study: Any) -> list[str]:
    """The fields of a study, except those that a server computes."""
    return [name for name in study.fields if not name.startswith("Number of ")]


def without_missing(values: Any) -> list[Any]:
    return [None if pd.isna(value) else value for value in values]


@pytest.fixture(scope="module")
def sent(server: bc.Sandbox) -> tuple[ad.AnnData, Any]:
    adata = make()
    before = snapshot(adata)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        submission = adata.biocolab.submit(study_id="odd-columns", skip_dimred=True)
    assert_unchanged(adata, before)
    said = [str(warning.message) for warning in caught]
    assert len([line for line in said if line.startswith("BC208")]) == len(RESTORED) + len(STAYS_TEXT)
    assert len([line for line in said if line.startswith("BC201")]) == len(LEFT_OUT)
    return adata, submission.study()


class TestRoundTrip:
    def test_the_line_in_the_warning_restores_every_dtype_and_value(self, sent: tuple[ad.AnnData, Any]) -> None:
        adata, study = sent
        again = study.to_anndata()
        for found in bc.check(adata):
            if found.code == "BC208" and "To restore it" in found.fix:
                exec(found.fix.partition(": ")[2], {"again": again, "adata": adata})
        for name in RESTORED:
            pd.testing.assert_series_equal(again.obs[name], adata.obs[name], check_names=False)

    def test_the_dtypes_of_the_object_restore_all_columns_at_once(self, sent: tuple[ad.AnnData, Any]) -> None:
        adata, study = sent
        again = study.to_anndata(fields=[])
        again.biocolab.pull_metadata(list(RESTORED), dtypes=adata.obs.dtypes)
        pd.testing.assert_frame_equal(again.obs[list(RESTORED)], adata.obs[list(RESTORED)])

    def test_mixed_values_come_back_as_their_text(self, sent: tuple[ad.AnnData, Any]) -> None:
        again = sent[1].to_anndata()
        for name, (_, texts) in STAYS_TEXT.items():
            assert without_missing(again.obs[name]) == (texts * N)[:N], name

    def test_columns_that_text_cannot_represent_are_not_sent(self, sent: tuple[ad.AnnData, Any]) -> None:
        assert fields_of(sent[1]) == [*RESTORED, *STAYS_TEXT]

    def test_integers_that_no_float_represents_come_back(self, server: bc.Sandbox) -> None:
        adata = make(left=False)
        adata._obs = pd.DataFrame(
            {"n": pd.array([2**53 + 1, None, -(2**60) - 1] * 4, "Int64"), "beyond": objects([2**70 + 1, -1])}, CELLS
        )
        with pytest.warns(UserWarning, match=r"BC208 obs\['n'\].*dtypes=\{'n': 'Int64'\}"):
            again = adata.biocolab.submit(study_id="odd-numbers", skip_dimred=True).study().to_anndata()
        again.biocolab.pull_metadata(["n"], overwrite=True, dtypes={"n": "Int64"})
        pd.testing.assert_series_equal(again.obs["n"], adata.obs["n"])
        assert again.obs["beyond"].tolist() == ["1180591620717411303425", "-1"] * 6

    def test_the_dtypes_in_the_report_restore_pushed_columns(self, server: bc.Sandbox) -> None:
        adata = make()
        before = snapshot(adata)
        bare = ad.AnnData(adata.X, adata.obs[[]], adata.var)
        study = bare.biocolab.submit(study_id="odd-pushed", skip_dimred=True).study()
        with pytest.warns(
            UserWarning, match="'lists' is not sent: it has values that strings cannot represent"
        ) as caught:
            pushed = adata.biocolab.push_metadata(study=study, missing="omit")
        assert_unchanged(adata, before)
        said = [str(warning.message) for warning in caught]
        assert not [line for line in said if "comes back changed" in line]
        assert {line.partition(" is not sent")[0] for line in said if "is not sent" in line} == {*map(repr, LEFT_OUT)}
        assert {name for name in adata.obs if any(line.startswith(f"{name!r}: ") for line in said)} == {*STAYS_TEXT}
        assert pushed.written == (*RESTORED, *STAYS_TEXT)
        again = study.to_anndata(fields=[])
        again.biocolab.pull_metadata(list(RESTORED), study=study, dtypes=pushed.dtypes)
        pd.testing.assert_frame_equal(again.obs[list(RESTORED)], adata.obs[list(RESTORED)])
        again.biocolab.pull_metadata(list(STAYS_TEXT), study=study)
        for name, (_, texts) in STAYS_TEXT.items():
            assert without_missing(again.obs[name]) == (texts * N)[:N], name

    def test_a_named_column_that_text_cannot_represent_is_refused(self, sent: tuple[ad.AnnData, Any]) -> None:
        adata, study = sent
        with pytest.raises(InvalidColumn, match="'tuples' holds tuple"):
            adata.biocolab.push_metadata("tuples", study=study)
        with pytest.raises(InvalidColumn, match=r"no columns to send: 'lists' is not sent"):
            ad.AnnData(obs=adata.obs[["lists"]]).biocolab.push_metadata(study=study)

    def test_submit_and_push_give_the_same_message(self, sent: tuple[ad.AnnData, Any]) -> None:
        adata, study = sent
        names = ["date_ns", "cut", "mixed_same"]
        with pytest.warns(UserWarning, match="'mixed_same': mixed types"):
            pushed = adata.biocolab.push_metadata(names, study=study, missing="omit", overwrite=True)
        messages = {found.path: found.message for found in bc.check(adata) if found.code == "BC208"}
        for name in names:
            assert f"{name!r}: {messages[f'obs[{name!r}]']}" in pushed.notes


class TestChosenColumns:
    def test_only_the_columns_that_were_chosen_arrive(self, server: bc.Sandbox) -> None:
        adata = make()
        adata.obs["cell_type"] = ["T", "B"] * 6
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            study = adata.biocolab.submit(study_id="chosen", skip_dimred=True, obs=["cell_type"]).study()
        assert fields_of(study) == ["cell_type"]
        assert study.to_anndata().obs["cell_type"].tolist() == ["T", "B"] * 6

    def test_no_column_may_be_chosen(self, server: bc.Sandbox, tmp_path: Path) -> None:
        adata = make()
        assert list(ad.read_h5ad(adata.biocolab.to_h5ad(tmp_path / "a.h5ad", obs=[])).obs.columns) == []
        assert fields_of(adata.biocolab.submit(study_id="none", skip_dimred=True, obs=[]).study()) == []

    def test_the_plan_shows_what_was_chosen_and_what_was_not(self) -> None:
        adata = make()
        plan = adata.biocolab.submit(dry_run=True, obs=["mixed", "lists"])
        assert (plan.obs, plan.chosen) == (("mixed",), ("mixed", "lists"))
        others = len(adata.obs.columns) - 2
        assert plan.left_out[:others] == tuple(
            f"obs[{name!r}] (not chosen)" for name in adata.obs.columns if name not in ("mixed", "lists")
        )
        assert plan.left_out[others] == "obs['lists'] (values that h5ad cannot hold (list 12))"
        assert plan.changes == ("obs['mixed']: mixed types (int 3, str 3, float 3): sent as text",)
        for shown in (repr(plan), plan._repr_html_()):
            assert "mixed (as chosen)" in shown
            assert f"{others} columns of obs (not chosen), obs[" in shown
            assert "sent as text" in shown

    def test_the_batch_column_is_sent_without_being_chosen(self, server: bc.Sandbox) -> None:
        adata = make(left=False)
        adata.obs["day"] = pd.to_datetime(["2020-01-01"] * 6 + ["2020-01-02"] * 6)
        plan = adata.biocolab.submit(dry_run=True, obs="year", batch_key="day")
        assert set(plan.obs) == {"year", "day"}
        assert [batch.name for batch in plan.batches] == ["2020-01-01", "2020-01-02"]
        with pytest.warns(UserWarning, match="BC208"):
            study = adata.biocolab.submit(study_id="days", skip_dimred=True, obs="year", batch_key="day").study()
        back = study.to_anndata().obs.loc[CELLS]
        assert back["day"].tolist() == ["2020-01-01"] * 6 + ["2020-01-02"] * 6
        assert back["Batch"].nunique() == 2
        assert back["year"].tolist() == [str(1999 + i) for i in range(N)]

    def test_a_strict_check_ignores_bad_columns_that_were_not_chosen(self) -> None:
        adata = make()
        adata.obs["n"] = 1
        assert adata.biocolab.submit(dry_run=True, obs=["n"], check="strict").obs == ("n",)
        for name in ("lists", "cut"):
            with pytest.raises(CheckFailed, match=r"BC20[18]"):
                adata.biocolab.submit(obs=[name], check="strict")

    def test_an_unknown_column_is_an_error_with_near_names(self, tmp_path: Path) -> None:
        adata = make()
        with pytest.raises(UnknownField, match=r"obs has no column 'Mixed' \(did you mean 'mixed'\?\); it has"):
            adata.biocolab.submit(dry_run=True, obs=["Mixed", "cut"])
        with pytest.raises(UnknownField, match="'nothing'"):
            adata.biocolab.to_h5ad(tmp_path / "a.h5ad", obs="nothing")
        with pytest.raises(InvalidArgument, match="obs contains 3, which is not a string"):
            adata.biocolab.submit(dry_run=True, obs=[3])
        assert list(tmp_path.iterdir()) == []

    def test_columns_can_be_chosen_from_files(self, server: bc.Sandbox, tmp_path: Path) -> None:
        obs = pd.DataFrame({"cell_type": ["T", "B"] * 6, "n": range(N)}, index=CELLS)
        ad.AnnData(make().X, obs, make().var).write_h5ad(tmp_path / "a.h5ad")
        before = (tmp_path / "a.h5ad").read_bytes()
        study = bc.submit(tmp_path / "a.h5ad", study_id="file-chosen", skip_dimred=True, obs="n").study()
        assert fields_of(study) == ["n"]
        assert study.to_anndata().obs["n"].tolist() == list(range(N))
        assert (tmp_path / "a.h5ad").read_bytes() == before
        with pytest.raises(UnknownField, match=r"a\.h5ad: obs has no column 'cell type' \(did you mean 'cell_type'"):
            bc.submit(tmp_path / "a.h5ad", obs=["cell type"])
        with pytest.raises(InvalidArgument, match="h5ad files only"):
            bc.submit(tmp_path / "a.h5ad", study_type="tsv", obs=["n"])

    def test_a_file_with_columns_converted_to_text_is_sent_as_a_copy(self, server: bc.Sandbox, tmp_path: Path) -> None:
        obs = pd.DataFrame({"phase": np.arange(N) * 1j}, index=CELLS)
        adata = ad.AnnData(make().X, obs, make().var)
        adata.raw = adata  # the server reads the matrix from raw
        adata.write_h5ad(tmp_path / "a.h5ad")
        with pytest.warns(UserWarning, match=r"a\.h5ad: BC208 obs\['phase'\]: complex128: sent as text"):
            study = bc.submit(tmp_path / "a.h5ad", study_id="file-complex", skip_dimred=True).study()
        again = study.to_anndata()
        again.biocolab.pull_metadata("phase", overwrite=True, dtypes={"phase": "complex128"})
        assert again.obs["phase"].tolist() == obs["phase"].tolist()


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (days("ns", "2020-01-01T00:00:00.5", "2020-01-01"), ["2020-01-01T00:00:00.5", "2020-01-01T00:00:00"]),
        (spans("s", 90_061, -1, 0), ["P1DT1H1M1S", "-PT1S", "PT0S"]),
        (spans("ns", 1, 1_500_000_000), ["PT0.000000001S", "PT1.5S"]),
        (pd.interval_range(pd.Timestamp("2020"), periods=N), ["(2020-01-01, 2020-01-02]", "(2020-01-02, 2020-01-03]"]),
        (zoned("America/Lima", "2020-01-01"), ["2019-12-31T19:00:00-05:00"]),
        (days("s", "-0005-02-03"), ["-0005-02-03"]),
    ],
)
def test_values_become_readable_text(values: Any, texts: list[str]) -> None:
    form = as_text(pd.Series(values))
    assert form is not None
    assert form.column.tolist()[: len(texts)] == texts
    assert category_texts(pd.Index(values).unique())[: len(texts)] == texts


def test_labels_are_in_the_order_of_the_values() -> None:
    for values in (pd.to_timedelta([100, 9, -1], "s"), pd.to_datetime(["2021", "2020", "1999"])):
        form = as_text(pd.Series(values))
        assert form is not None
        assert form.column.cat.codes.tolist() == [2, 1, 0]


@pytest.mark.parametrize("name", RESTORED)
def test_no_two_values_have_the_same_text(name: str) -> None:
    column = pd.Series(RESTORED[name])
    form = as_text(column)
    assert form is not None
    assert form.column.isna().tolist() == column.isna().tolist()
    assert (form.column.nunique(), form.ambiguous) == (column.nunique(), 0)
    if form.dtype != "dtype":
        assert pandas_dtype(form.dtype.strip("'")) == column.dtype


@pytest.mark.parametrize(
    ("values", "ambiguous"),
    [([1, "1"], 1), ([1, 1.0, "1.0"], 1), ([True, "True", 1, "1"], 2), ([b"a", "a"], 1), ([1, 2.0, "x"], 0)],
)
def test_different_values_with_the_same_text_are_counted(values: list[Any], ambiguous: int) -> None:
    form = as_text(objects(values))
    assert form is not None
    assert form.ambiguous == ambiguous
    assert ("values that differ" in form.change) == bool(ambiguous)
    merged = as_text(pd.Series(pd.Categorical(objects(values), pd.Index(values, dtype=object).unique())))
    assert merged is not None
    assert merged.column.tolist()[0] == form.column.tolist()[0]


@pytest.mark.parametrize(
    ("values", "needed"),
    [
        (["a", None], False), ([1, None], False), ([1.5], False), ([True, None], False), ([], False),
        (pd.array([1, None], "Int64"), False), (pd.Categorical(["a"]), False), (pd.Categorical([1, 2]), False),
        (pd.array(["a"], "string"), False), ([1, "a"], True), ([[1]], True), (pd.to_datetime(["2020"]), True),
        (pd.cut([1, 2], 2), True), (pd.Categorical([1, "a"]), True), ([1j], True),
    ],
)  # fmt: skip
def test_only_columns_without_another_form_need_text(values: Any, needed: bool) -> None:
    assert needs_text(pd.Series(values, dtype=object if isinstance(values, list) else None)) == needed
