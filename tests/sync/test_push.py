from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.connection import default
from biocolab_accessor.errors import (
    AmbiguousName,
    InvalidArgument,
    InvalidColumn,
    InvalidNames,
    UnknownName,
    UnknownStudy,
)
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store import study_folder
from biocolab_accessor.studies.sources.bbrowserx import ConnectorSource
from biocolab_accessor.studies.study import Study, parts_of
from biocolab_accessor.submit.submission import Submission
from biocolab_accessor.sync.push import push_metadata
from tests.conftest import assert_equal_objects

EVERY_KIND = {
    "text": lambda n: [f"{i:03d}" for i in range(n)],
    "whole": lambda n: np.arange(n) + 2**53,
    "small": lambda n: np.arange(n).astype("int32"),
    "real": lambda n: np.linspace(0, 0.73, n),
    "single": lambda n: np.linspace(0, 0.73, n).astype("float32"),
    "truth": lambda n: np.arange(n) % 3 == 0,
    "label": lambda n: pd.Categorical(np.array(["x", "y"])[np.arange(n) % 2], categories=["y", "x", "unused"]),
    "grade": lambda n: pd.Categorical(np.arange(n) % 3, categories=[2, 0, 1], ordered=True),
    "range": lambda n: pd.cut(np.arange(n), 4),
    "nullable": lambda n: pd.array(np.arange(n), dtype="Int16"),
    "string": lambda n: pd.array([f"s{i % 5}" for i in range(n)], dtype="string"),
}


def fill(adata: ad.AnnData, prefix: str) -> list[str]:
    for name, make in EVERY_KIND.items():
        adata.obs[f"{prefix}{name}"] = make(adata.n_obs)
    return [f"{prefix}{name}" for name in EVERY_KIND]


@pytest.mark.smoke
class TestRoundTrip:
    def test_every_kind_of_column_comes_back_equal(self, pbmc: ad.AnnData, study: Study) -> None:
        names = fill(pbmc, "all_")
        pushed = ad.AnnData(obs=pbmc.obs.iloc[::-1]).biocolab.push_metadata(names, study=study)
        assert (pushed.matched, pushed.complete, pushed.written) == (700, True, tuple(names))
        other = ad.AnnData(obs=pbmc.obs[[]].sample(frac=1, random_state=0))
        pulled = other.biocolab.pull_metadata(names, study=study, dtypes=pushed.dtypes)
        assert pulled.notes == ()
        pd.testing.assert_frame_equal(other.obs.loc[pbmc.obs_names], pbmc.obs)

    def test_replaced_fields_do_not_come_from_the_bioflex_cache(self) -> None:
        adata = ad.AnnData(np.eye(6, dtype=np.float32) + 1, obs=pd.DataFrame({"v": np.arange(6)}, list("abcdef")))
        with bc.sandbox():
            submission = adata.biocolab.submit(study_id="replaced", skip_dimred=True)
            assert bc.study("replaced").to_anndata().obs["v"].tolist() == [0, 1, 2, 3, 4, 5]
            adata.obs["v"] += 100
            adata.biocolab.push_metadata("v", study=submission, overwrite=True)
            assert bc.study("replaced").to_anndata().obs["v"].tolist() == [100, 101, 102, 103, 104, 105]

    @pytest.mark.parametrize(
        ("categories", "said"),
        [
            (["a", "b"], ""),
            (["b", "a"], "'{}' with its categories in another order"),
            (["a", "b", "none"], "'{}' with fewer categories"),
            ([1, 0], "'{}' (category of int64) as category of strings"),
        ],
    )
    def test_the_report_names_categories_that_come_back_changed(
        self, pbmc: ad.AnnData, study: Study, categories: list[Any], said: str
    ) -> None:
        name = f"categories_{len(categories)}_{categories[0]}"
        pbmc.obs[name] = pd.Categorical.from_codes(np.arange(pbmc.n_obs) % 2, categories)
        pushed = pbmc.biocolab.push_metadata(name, study=study)
        back = study.to_anndata(genes=["CD3D"], fields=[], unit="lognorm")
        back.biocolab.pull_metadata(name, study=study)
        assert (list(back.obs[name].cat.categories) == categories) == (not said)
        assert "".join(pushed.notes).partition("or else it returns ")[2] == said.format(name)
        again = study.to_anndata(genes=["CD3D"], fields=[], unit="lognorm")
        again.biocolab.pull_metadata(name, study=study, dtypes=pushed.dtypes)
        assert list(again.obs[name].cat.categories) == categories

    def test_the_report_names_columns_that_need_dtypes(self, pbmc: ad.AnnData, study: Study) -> None:
        names = fill(pbmc, "said_")
        pushed = pbmc.biocolab.push_metadata(names, study=study)
        back = ad.AnnData(obs=pbmc.obs[[]])
        pulled = back.biocolab.pull_metadata(names, study=study)
        assert pushed.notes[0] == "'said_range': intervals, as from pd.cut: sent as text"
        assert len(pushed.notes) == 2
        same = [name for name in names if f"{name!r} (" not in pushed.notes[1]]
        assert same == ["said_whole", "said_real", "said_label"]
        pd.testing.assert_frame_equal(back.obs[same], pbmc.obs[same], check_categorical=False)
        assert "'said_small' (int32) as int64" in pushed.notes[1]
        assert "'said_truth' (bool) as category" in pushed.notes[1]
        assert "'said_grade' (ordered category) as category" in pushed.notes[1]
        assert pulled.notes == (
            "'said_truth' has labels 'True' and 'False'; dtypes={'said_truth': 'bool'} makes it bool",
        )
        assert list(back.obs["said_text"]) == list(pbmc.obs["said_text"])

    def test_the_same_object_gets_its_own_columns_back(self, pbmc: ad.AnnData, study: Study) -> None:
        names = fill(pbmc, "own_")
        pbmc.biocolab.push_metadata(names, study=study)
        before = pbmc.obs.copy()
        assert pbmc.biocolab.pull_metadata(names, study=study, overwrite=True).notes == ()
        pd.testing.assert_frame_equal(pbmc.obs, before)

    def test_missing_values_are_refused_or_left_out(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs["gap_text"] = pd.Series(["a", np.nan] * 350, index=pbmc.obs_names, dtype=object)
        pbmc.obs["gap_real"] = np.where(np.arange(700) % 3 == 0, np.nan, 0.1)
        pbmc.obs["gap_truth"] = pd.array([True, None] * 350, dtype="boolean")
        pbmc.obs["gap_none"] = 5
        names = ["gap_text", "gap_real", "gap_truth", "gap_none"]
        with pytest.raises(InvalidColumn, match="'gap_text' has 350 missing") as caught:
            pbmc.biocolab.push_metadata(names, study=study)
        assert "'gap_real' has 234 missing" in str(caught.value)
        assert "gap_none" not in bc.study("exchange", source="bbrowserx").fields
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            pushed = pbmc.biocolab.push_metadata(names, study=study, missing="omit")
        assert pushed.notes[0] == "'gap_text' sent without 350 cells that have no value here"
        back = ad.AnnData(obs=pbmc.obs[[]])
        back.biocolab.pull_metadata(names, study=study, dtypes=pushed.dtypes)
        pd.testing.assert_frame_equal(back.obs, pbmc.obs)

    def test_columns_that_miss_the_same_cells_go_together(
        self, pbmc: ad.AnnData, study: Study, server: Sandbox
    ) -> None:
        gap = pd.Series([0.5, np.nan] * 350, index=pbmc.obs_names)
        pbmc.obs["one_a"], pbmc.obs["one_b"], pbmc.obs["one_c"] = gap, gap, 1
        seen = len(server.requests)
        pbmc.biocolab.push_metadata(study=study, missing="omit", verify=False)
        sent = [request for request in list(server.requests)[seen:] if "submit_metadata_dataframe" in request.path]
        assert len(sent) == 2


class TestWhichCells:
    def test_a_part_of_the_cells_is_sent_to_its_places(self, pbmc: ad.AnnData, study: Study) -> None:
        part = pbmc[100:300][::-1].copy()
        part.obs_names = [*part.obs_names[:-1], "STRANGER"]
        part.obs["part_n"] = np.arange(200)
        report = part.biocolab.push_metadata("part_n", study=study)
        assert (report.matched, report.only_here, report.only_there) == (199, 1, 501)
        assert report.examples_here == ("STRANGER",)
        assert report.notes[0] == "'part_n' sent without the 501 cells that only the study has"
        back = bc.study("exchange", source="bbrowserx").metadata("part_n")["part_n"]
        np.testing.assert_array_equal(back[part.obs_names[:-1]], np.arange(199))
        assert back.isna().sum() == 501

    def test_cells_that_the_server_filtered_out_are_only_here(self, counts: ad.AnnData, server: Sandbox) -> None:
        totals = np.asarray(counts.X.sum(axis=1)).ravel()
        kept = totals >= np.median(totals)
        submission = counts.biocolab.submit(min_counts=float(np.median(totals)), skip_dimred=True)
        counts.obs["leiden"] = pd.Categorical([str(i % 4) for i in range(60)])
        pushed = counts.biocolab.push_metadata("leiden", study=submission)
        assert (pushed.matched, pushed.only_here, pushed.only_there) == (kept.sum(), 60 - kept.sum(), 0)
        assert pushed.examples_here == tuple(counts.obs_names[~kept][:3])
        back = submission.study().metadata("leiden")["leiden"]
        assert list(back[counts.obs_names[kept]]) == list(counts.obs["leiden"][kept])

    def test_a_field_is_replaced_only_when_asked_and_only_in_the_cells_that_are_here(
        self, pbmc: ad.AnnData, study: Study
    ) -> None:
        pbmc.obs["kept"] = pd.Categorical(["T", "B"] * 350)
        pbmc.obs["kept_n"] = np.arange(700)
        pbmc.biocolab.push_metadata(["kept", "kept_n"], study=study)
        part = pbmc[:100].copy()
        part.obs["kept"], part.obs["kept_n"] = "CD8 T", 0.5
        with pytest.raises(InvalidArgument, match=r"fields 'kept', 'kept_n' already: give overwrite=True"):
            part.biocolab.push_metadata(["kept", "kept_n"], study=study)
        report = part.biocolab.push_metadata(["kept", "kept_n"], study=study, overwrite=True)
        assert report.notes[0] == "'kept', 'kept_n': the 600 other cells keep their values"
        back = bc.study("exchange", source="bbrowserx").metadata(["kept", "kept_n"]).loc[pbmc.obs_names]
        assert list(back["kept"]) == ["CD8 T"] * 100 + ["T", "B"] * 300
        np.testing.assert_array_equal(back["kept_n"], [*[0.5] * 100, *range(100, 700)])

    def test_labels_do_not_replace_a_part_of_numbers(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs["kind"] = np.arange(700)
        pbmc.biocolab.push_metadata("kind", study=study)
        part = pbmc[:10].copy()
        part.obs["kind"] = "a"
        with pytest.raises(InvalidColumn, match="holds labels here but numbers in the study, and 690 cells"):
            part.biocolab.push_metadata("kind", study=study, overwrite=True)
        pbmc.obs["kind"] = "a"
        pbmc.biocolab.push_metadata("kind", study=study, overwrite=True)
        assert set(bc.study("exchange", source="bbrowserx").metadata("kind")["kind"]) == {"a"}

    def test_no_match_is_an_error(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs["x_nobody"] = 1
        pbmc.obs_names = [f"{name}-0" for name in pbmc.obs_names]
        with pytest.raises(UnknownName, match=r"none of the 700 .* differ by a number at the end: .* as on="):
            pbmc.biocolab.push_metadata("x_nobody", study=study)
        pbmc.obs["barcode"] = [name.removesuffix("-0") for name in pbmc.obs_names]
        assert pbmc.biocolab.push_metadata(study=study, on="barcode").written == ("x_nobody",)

    def test_a_barcode_that_the_study_has_twice_cannot_be_written(self) -> None:
        study = Study(TwoCellsOfOneName())
        twice = ad.AnnData(obs=pd.DataFrame({"x": [1, 2]}, index=["A", "B"]))
        options = {"on": None, "missing": "raise", "overwrite": False, "verify": True}
        with pytest.raises(AmbiguousName, match=r"1 barcodes occur more than once in study 'twice' \('A'\)"):
            push_metadata(twice, study, "x", **options)
        sent = Study(TwoCellsOfOneName())
        options["verify"] = False
        assert push_metadata(twice[["B"]], sent, "x", **options).matched == 1
        assert parts_of(sent).source.sent == [{"barcodes": ["B"], "x": [2]}]


class TwoCellsOfOneName(ConnectorSource):
    """A study that the sandbox refuses to create."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        super().__init__(None, {"uuid": "u", "study_id": "twice"}, group_id="g", species="human", name="bbrowserx")

    metalist = ()

    def barcodes(self) -> list[str]:
        return ["A", "A", "B"]

    def add_metadata(self, columns: object) -> None:
        self.sent.append(columns)


class TestWhatIsSent:
    def test_without_names_new_columns_are_sent(self, truth: ad.AnnData, study: Study) -> None:
        truth.obs["fresh"] = "a"
        assert truth.biocolab.push_metadata(study=study).written == ("fresh",)
        with pytest.raises(InvalidColumn, match="has all columns of obs already"):
            truth.biocolab.push_metadata(study=study)

    @pytest.mark.parametrize("kind", ["whole", "view", "backed"])
    def test_nothing_here_is_changed(self, pbmc: ad.AnnData, study: Study, kind: str, tmp_path: Path) -> None:
        pbmc.obs[f"still_{kind}"] = np.array(["b", "a"] * 350, object)
        if kind == "backed":
            pbmc.write_h5ad(tmp_path / "x.h5ad")
        adata = {
            "whole": lambda: pbmc,
            "view": lambda: pbmc[:300],
            "backed": lambda: ad.read_h5ad(tmp_path / "x.h5ad", backed="r"),
        }[kind]()
        before = adata.to_memory() if kind == "backed" else adata.copy()
        assert adata.biocolab.push_metadata(study=study).written == (f"still_{kind}",)
        assert adata.is_view is (kind == "view")
        assert_equal_objects(adata.to_memory() if kind == "backed" else adata.copy(), before)
        if kind == "backed":
            adata.file.close()

    @pytest.mark.filterwarnings("ignore:BC1")
    def test_a_field_with_an_escaped_name_is_replaced_and_not_duplicated(
        self, counts: ad.AnnData, server: Sandbox
    ) -> None:
        counts.obs = pd.DataFrame({"donor/age": np.arange(60)}, index=counts.obs_names)
        submission = counts.biocolab.submit(skip_dimred=True)
        before = submission.study().fields
        half = ad.AnnData(obs=counts.obs[30:] + 100)
        half.biocolab.push_metadata("donor/age", study=submission.study(), overwrite=True, verify=True)
        after = submission.study()
        assert after.fields == before
        assert after.metadata("donor/age")["donor/age"].tolist() == [*range(30), *range(130, 160)]

    @pytest.mark.parametrize("name", ["a/b", "a%2Fb~biocolab", "50%", "~biocolab"])
    def test_any_name_comes_back_unchanged(self, pbmc: ad.AnnData, study: Study, name: str) -> None:
        pbmc.obs[name] = np.arange(700)
        pbmc.biocolab.push_metadata(name, study=study, overwrite=True)
        assert study.metadata(name)[name].tolist() == list(range(700))

    def test_all_columns_that_cannot_be_sent_are_named_at_once(self, pbmc: ad.AnnData, study: Study) -> None:
        pbmc.obs["bad_list"] = [[1]] * 700
        pbmc.obs["bad_inf"] = np.inf
        pbmc.obs["good"] = 1
        with pytest.raises(InvalidColumn) as caught:
            pbmc.biocolab.push_metadata(["bad_list", "bad_inf", "good"], study=study)
        assert "'bad_list' holds list" in str(caught.value)
        assert "'bad_inf' holds infinite" in str(caught.value)
        with pytest.raises(InvalidColumn, match=r"obs has no column 'goood' \(did you mean 'good'"):
            pbmc.biocolab.push_metadata(["good", "goood"], study=study)
        with pytest.raises(InvalidArgument, match="missing is 'drop'"):
            pbmc.biocolab.push_metadata("good", study=study, missing="drop")

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("few_int64", np.array([2**53 + 1, -4])),
            ("few_uint64", np.array([2**64 - 1, 1], np.uint64)),
            ("few_nullable", pd.array([2**64 - 1, 2**63 + 1], "UInt64")),
            ("few_hashes", pd.util.hash_array(np.arange(2))),
            ("few_zeros", np.array([-0.0, 5e-324])),
        ],
    )
    def test_numbers_of_some_cells_come_back_exactly(
        self, name: str, values: np.ndarray, pbmc: ad.AnnData, study: Study
    ) -> None:
        part = pbmc[:2].copy()
        part.obs[name] = values
        report = part.biocolab.push_metadata(name, study=study)
        assert not any("changed" in note for note in report.notes)
        pbmc.biocolab.pull_metadata(name, study=study)
        assert pbmc.obs[name].iloc[:2].tolist() == part.obs[name].tolist()
        assert pbmc.obs[name].iloc[2:].isna().all()
        part.biocolab.pull_metadata(name, study=study, prefix="back_", dtypes=report.dtypes)
        assert part.obs[f"back_{name}"].dtype == part.obs[name].dtype
        assert list(map(repr, part.obs[f"back_{name}"])) == list(map(repr, part.obs[name]))

    def test_numbers_that_a_server_rounds_give_a_warning(
        self, pbmc: ad.AnnData, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part = pbmc[:2].copy()
        part.obs["rounded"] = [2**53 + 1, 4]
        monkeypatch.setattr(
            study_folder, "numbers", lambda values: pd.Series(values, dtype=float)
        )  # a server with floats
        with pytest.warns(
            UserWarning, match=r"'rounded' comes back changed: 1 values differ, such as .*9007199254740993"
        ):
            report = part.biocolab.push_metadata("rounded", study=study)
        assert any("comes back changed" in note for note in report.notes)


class TestWhichStudy:
    def test_after_a_submission_it_is_the_submission(self, counts: ad.AnnData, server: Sandbox) -> None:
        submission = counts.biocolab.submit("All members", study_id="pushed_to", skip_dimred=True)
        counts.obs["leiden"] = pd.Categorical(["0", "1"] * 30)
        with pytest.raises(UnknownStudy, match="was submitted as 'pushed_to', but was not fetched") as caught:
            counts.biocolab.push_metadata("leiden")
        assert caught.value.__notes__ == ["  counts.biocolab.push_metadata('leiden', study=counts.biocolab.study)"]
        wanted = ["leiden", "sample"]
        with pytest.raises(UnknownStudy) as caught:
            counts.biocolab.push_metadata(columns=wanted, missing="omit", overwrite=True)
        arguments = "columns=wanted, missing='omit', overwrite=True, study=counts.biocolab.study"
        assert caught.value.__notes__ == [f"  counts.biocolab.push_metadata({arguments})"]

        counts.biocolab.push_metadata("leiden", study=submission)
        counts.obs["leiden_2"] = counts.obs["leiden"]
        counts.biocolab.push_metadata("leiden_2", study=submission.study_id, group="All members")
        adata = submission.study().to_anndata()
        adata.obs["leiden_3"] = adata.obs["leiden_2"]
        adata.biocolab.push_metadata("leiden_3")
        back = submission.study().metadata(["leiden", "leiden_2", "leiden_3"])
        assert (back["leiden"] == back["leiden_2"]).all()
        assert list(back["leiden_3"]) == ["0", "1"] * 30

    def test_bioflex_accepts_no_metadata(self, pbmc: ad.AnnData, server: Sandbox) -> None:
        pbmc.obs["x"] = 1
        for push in (pbmc.biocolab.push_metadata, pbmc.obs.biocolab.submit_metadata):
            with pytest.raises(InvalidArgument, match="BioFlex, which accepts no metadata"):
                push(study=bc.study("PBMC68k_reduced"))

    def test_the_studys_own_server_is_written_to(self, counts: ad.AnnData, server: Sandbox) -> None:
        study = counts.biocolab.submit(skip_dimred=True).study()
        elsewhere = bc.connect(private_host="https://elsewhere.example/t2d/", private_token="other")
        try:
            counts.obs["mine"] = 1
            assert counts.biocolab.push_metadata("mine", study=study).matched == 60
        finally:
            default.drop_default(elsewhere)


class TestTable:
    def test_unknown_barcodes_are_refused_or_left_out(self, study: Study) -> None:
        table = pd.DataFrame({"strict": ["a", "b"]}, index=["AAAGCCTGGCTAAC-1", "NOBODY"])
        with pytest.raises(UnknownName, match=r"not in study 'exchange': 'NOBODY'\. To .*, give strict=False"):
            table.biocolab.submit_metadata(study)
        report = table.biocolab.submit_metadata(study, strict=False)
        assert (report.matched, report.only_here, report.only_there) == (1, 1, 699)
        assert bc.study("exchange", source="bbrowserx").metadata("strict")["strict"]["AAAGCCTGGCTAAC-1"] == "a"

    def test_it_is_not_changed_and_comes_back(self, pbmc: ad.AnnData, submission: Submission) -> None:
        fill(pbmc, "table_")
        table, before = pbmc.obs, pbmc.obs.copy()
        report = table.biocolab.submit_metadata(submission)
        pd.testing.assert_frame_equal(table, before)
        back = ad.AnnData(obs=table[[]])
        back.biocolab.pull_metadata(list(table.columns), study=submission, dtypes=before.dtypes)
        pd.testing.assert_frame_equal(back.obs, before)
        assert report.dtypes == before.dtypes.to_dict()

    @pytest.mark.parametrize(
        ("table", "error", "said"),
        [
            (pd.DataFrame({"x": [1.0, None]}, index=["CELL1-1", "CELL2-1"]), InvalidColumn, "1 missing"),
            (pd.DataFrame({"x": [None]}, index=["CELL1-1"]), InvalidColumn, "only missing values"),
            (pd.DataFrame({"barcodes": ["a"]}, index=["CELL1-1"]), InvalidNames, "would replace the barcodes"),
            (pd.DataFrame({"x": ["a", "b"]}, index=["CELL1-1"] * 2), InvalidNames, "more than once"),
            (pd.DataFrame({"x": ["a"]}), InvalidNames, "set_index"),
            (pd.DataFrame([["a", "b"]], columns=["x", "x"], index=["CELL1-1"]), InvalidNames, "unique strings"),
            (pd.DataFrame([["a"]], ["CELL1-1"], pd.Index(["\ud800"], dtype=object)), InvalidNames, "surrogate pair"),
            (pd.DataFrame(index=["CELL1-1"]), InvalidColumn, "no columns"),
        ],
    )
    def test_invalid_tables_are_refused(
        self, study: Study, pbmc: ad.AnnData, table: pd.DataFrame, error: type, said: str
    ) -> None:
        table = table.rename({"CELL1-1": pbmc.obs_names[0], "CELL2-1": pbmc.obs_names[1]})
        with pytest.raises(error, match=said):
            table.biocolab.submit_metadata(study)

    def test_a_study_is_found_by_its_id(self, counts: ad.AnnData, server: Sandbox) -> None:
        counts.biocolab.submit("All members", study_id="by_id", skip_dimred=True)
        pd.DataFrame({"new": ["a"]}, index=["CELL3-1"]).biocolab.submit_metadata("by_id", "All members")
        column = bc.study("by_id", source="bbrowserx").metadata("new")["new"]
        assert column["CELL3-1"] == "a"
        assert column.isna().sum() == 59
