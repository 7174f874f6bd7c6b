"""What a check calls exact comes back from the server exactly, by either protocol, or the report says what does not.

Many cases go in one study each: columns and embeddings of one object, matrices as batches of one submission.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check.report import Report
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.values import encode
from tests.corpus.cases import CASES, CELLS, COUNTS, NAMES, OBS, OBSM, Case, X

TWICE = [case for case in NAMES if "features twice" in case.name]
MATRICES = [
    case for case in (*X, *NAMES) if case.outcome == "exact" and case not in TWICE and not case.make().obs.shape[1]
]
# 65,600 labels are more than either protocol can number, which BC203 says.
COLUMNS = [case for case in OBS if case.outcome == "exact" and case.code != "BC203"]
ARRAYS = [case for case in OBSM if "key" not in case.name and (case.outcome == "exact" or case.code == "BC506")]


class Trip(NamedTuple):
    sent: ad.AnnData
    report: Report
    study: Any
    by_bbrowserx: ad.AnnData
    by_bioflex: ad.AnnData


@pytest.fixture(scope="module")
def trip(server: bc.Sandbox) -> Trip:
    """All columns and embeddings that are called exact, in one study."""
    adata = Case("all", lambda adata: None, "exact").make()
    for i, case in enumerate(COLUMNS):
        adata._obs[f"c{i}"] = case.make().obs.iloc[:, 0]
    for case in NAMES:
        if case.outcome == "exact" and case.make().obs.shape[1]:
            for name, column in case.make().obs.items():
                adata._obs[name] = column.to_numpy()
    for i, case in enumerate(ARRAYS):
        adata.obsm._data[f"k{i}"] = next(iter(case.make().obsm._data.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the check says is looked at
        study = adata.biocolab.submit(study_id="corpus_columns", skip_dimred=True).study()
    return Trip(adata, bc.check(adata), study, study.to_anndata(), bc.study("corpus_columns").to_anndata())


def test_the_columns_differ_from_row_to_row(trip: Trip) -> None:
    every_row_the_same = {"no category in use", "no categories at all"}
    for i, case in enumerate(COLUMNS):
        assert len(set(map(repr, trip.sent.obs[f"c{i}"]))) > 1 or case.name in every_row_the_same, case.name


@pytest.mark.parametrize(("protocol", "codes"), [("bbrowserx", "BC20[56]"), ("bioflex", "BC20[569]|BC210")])
def test_columns_arrive_as_they_are_or_the_report_says_so(trip: Trip, protocol: str, codes: str) -> None:
    back = trip.by_bbrowserx if protocol == "bbrowserx" else trip.by_bioflex
    assert list(back.obs_names) == CELLS
    wrong = {}
    for name, column in trip.sent.obs.items():
        pairs = zip(column.tolist(), back.obs[str(name)].tolist(), strict=True)
        different = [(was, now) for was, now in pairs if not _same(was, now)]
        if different and not _said(trip.report, f"obs[{str(name)!r}]", codes):
            wrong[_called(str(name))] = different[:2]
    assert wrong == {}


def test_the_numbers_that_differ_in_bioflex_are_those_that_were_counted(trip: Trip) -> None:
    said = [found for found in trip.report if found.code in ("BC209", "BC210") and "float32" in found.message]
    assert [found.severity for found in said] == ["warning", "note"]
    differing = {
        f"obs[{name!r}]": sum(not _same(was, now) for was, now in zip(column, trip.by_bioflex.obs[name], strict=True))
        for name, column in ((name, column.tolist()) for name, column in trip.sent.obs.items())
        if trip.by_bioflex.obs[name].dtype == np.float32
    }
    paths = [path for found in said for path in found.path.split(", ")]
    assert {path for path, number in differing.items() if number} == set(paths)
    assert sum(differing.values()) == sum(found.count for found in said)


def test_embeddings_arrive_as_they_are_or_the_report_says_so(trip: Trip) -> None:
    wrong, lost = {}, {}
    for i, case in enumerate(ARRAYS):
        sent = trip.sent.obsm[f"k{i}"]
        if isinstance(sent, pd.DataFrame) or sparse.issparse(sent):
            lost[f"k{i}"] = case.name
            continue
        ours = sent.compute() if hasattr(sent, "compute") else sent
        theirs = trip.by_bbrowserx.obsm[f"k{i}"]
        assert theirs.shape == ours.shape
        pairs = zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True)
        different = [(was, now) for was, now in pairs if not _same(_number(was), now)]
        said = [found for found in trip.report if found.code == "BC313" and f"'k{i}'" in found.path]
        if len(different) != sum(found.count for found in said) and not hasattr(sent, "compute"):
            wrong[case.name] = different[:2]
        assert bool(different) <= bool(said), case.name
    assert wrong == {}
    (said,) = (found for found in trip.report if found.code == "BC505")
    assert set(lost) == set(re.findall(r"obsm\['(\w+)'\]", said.path))
    assert not set(lost) & set(trip.by_bbrowserx.obsm)


def test_columns_that_are_pushed_come_back_in_their_dtype(trip: Trip) -> None:
    """What cannot be pushed is refused: infinite numbers, and columns of Python objects."""
    table = trip.sent.obs.add_prefix("again ")
    fit, refused = [], []
    for name in table:
        try:
            values, _ = encode(table[name])
        except InvalidColumn:
            refused.append(_called(name.removeprefix("again ")))
        else:
            fit += [name] if values else []
    assert refused == [
        "NumPy bool as objects", "int as objects", "int and float as objects", "float as objects #1850",
        "float and None as objects", "uint64 as objects", "NaN and infinite numbers",
    ]  # fmt: skip
    report = ad.AnnData(COUNTS.copy(), table).biocolab.push_metadata(fit, study=trip.study, missing="omit")
    assert [note for note in report.notes if "changed" in note] == []
    bare = ad.AnnData(COUNTS.copy(), pd.DataFrame(index=CELLS))
    bare.biocolab.pull_metadata(fit, study=trip.study, dtypes=report.dtypes)
    for name in fit:
        assert bare.obs[name].dtype == table[name].dtype, _called(name.removeprefix("again "))
        pairs = zip(table[name].tolist(), bare.obs[name].tolist(), strict=True)
        assert [pair for pair in pairs if not _same(*pair)] == [], _called(name.removeprefix("again "))


@pytest.mark.parametrize("kind", ["raw", "normalized"])
def test_matrices_arrive_as_they_are_or_the_report_says_so(kind: str, server: bc.Sandbox, tmp_path: Path) -> None:
    """Each is a batch of one submission, with what was put into barcodes and features."""
    sent: dict[str, tuple[Case, ad.AnnData, Report]] = {}
    for i, case in enumerate(MATRICES):
        adata = case.make()
        plan = adata.biocolab.submit(dry_run=True)
        if plan.input_matrix_type == kind:
            adata.biocolab.to_h5ad(tmp_path / f"m{i}.h5ad")
            sent[f"m{i}"] = case, adata, plan.report
    assert len(sent) >= (20 if kind == "raw" else 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        submission = bc.submit(
            [tmp_path / f"{name}.h5ad" for name in sent],
            study_id=f"corpus_{kind}",
            input_matrix_type=kind,
            skip_dimred=True,
        )
    for study in (submission.study(), bc.study(f"corpus_{kind}")):
        back = study.to_anndata(unit="raw")
        for name, (case, adata, report) in sent.items():
            there = back[[f"{name}_{cell}" for cell in adata.obs_names], list(map(str, adata.var_names))].X.toarray()
            ours = adata.X.compute() if hasattr(adata.X, "compute") else adata.X
            ours = ours.toarray() if sparse.issparse(ours) else np.asarray(ours)
            same = [_same(_number(was), now)
                    for was, now in zip(ours.ravel().tolist(), there.ravel().tolist(), strict=True)]  # fmt: skip
            assert all(same) or _said(report, "X", "BC304|BC313"), case.name


@pytest.mark.parametrize("case", TWICE, ids=[case.name for case in TWICE])
def test_features_that_repeat_arrive_as_they_are(case: Case, server: bc.Sandbox) -> None:
    adata = case.make()
    with pytest.warns(UserWarning, match="BC103"):
        study = adata.biocolab.submit(study_id=case.name.replace(" ", "_"), skip_dimred=True).study()
    for back in (study.to_anndata(), bc.study(study.id).to_anndata(unit="raw")):
        assert list(back.var["feature"]) == list(adata.var_names)
        np.testing.assert_array_equal(back.X.toarray(), adata.X)


def test_batches_of_whole_numbers_of_64_bits_arrive_as_they_are(server: bc.Sandbox) -> None:
    adata = next(case for case in CASES if case.name == "uint64 for batches").make()
    adata.obs["n"] = np.arange(len(CELLS), dtype=np.uint64) + np.uint64(2**64 - 20)
    adata.obs["z"] = [0 if batch < 2**64 - 1 else -1 for batch in adata.obs["b"].tolist()]
    back = adata.biocolab.submit(batch_key="b", skip_dimred=True).study().to_anndata()[CELLS]
    for name in ("b", "n", "z"):
        assert back.obs[name].tolist() == adata.obs[name].tolist()
    assert back.obs["Batch"].tolist() == list(map(str, adata.obs["b"].tolist()))


def test_batches_with_numbers_of_several_dtypes_lose_none(server: bc.Sandbox, tmp_path: Path) -> None:
    """pandas makes floats of int64 below uint64, and of whole numbers beside rows that have none."""
    numbers = {
        "int64 and uint64": ([2**53 + 1, 7], np.array([2**64 - 1, 2**63 + 1], np.uint64)),
        "below and above": ([-1, -2], np.array([2**64 - 1, 2**63 + 1], np.uint64)),
        "whole and not": ([2**53 + 1, 7], np.array([0.5, 1.5])),
        "in one file only": ([2**53 + 1, 2**53 + 3], None),
    }
    for i in range(2):
        obs = pd.DataFrame(
            {name: both[i] for name, both in numbers.items() if both[i] is not None}, index=[f"{i}a", f"{i}b"]
        )
        ad.AnnData(COUNTS[:2].copy(), obs).write_h5ad(tmp_path / f"{i}.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = bc.submit(
            [tmp_path / "0.h5ad", tmp_path / "1.h5ad"], skip_dimred=True, input_matrix_type="normalized"
        ).study()
    back = study.to_anndata().obs
    assert back["int64 and uint64"].tolist() == [2**53 + 1, 7, 2**64 - 1, 2**63 + 1]
    assert back["below and above"].tolist() == ["-1", "-2", "18446744073709551615", "9223372036854775809"]
    assert back["whole and not"].tolist() == ["9007199254740993", "7", "0.5", "1.5"]
    assert back["in one file only"].tolist()[:2] == [2**53 + 1, 2**53 + 3]
    assert back["in one file only"].isna().tolist() == [False, False, True, True]


def _called(name: str) -> str:
    return COLUMNS[int(name[1:])].name if re.fullmatch(r"c\d+", name) else name


def _number(value: Any) -> Any:
    """A truth value as the number that an embedding or a matrix has for it."""
    return int(value) if isinstance(value, bool) else value


def _said(report: Report, path: str, codes: str) -> bool:
    return any(re.fullmatch(codes, found.code) and path in found.path.split(", ") for found in report)


def _same(was: Any, now: Any) -> bool:
    """Whether two values are one: as Python compares them, which is exactly, and with the sign of zeros."""
    if pd.isna(was) or pd.isna(now):
        return bool(pd.isna(was) and pd.isna(now))
    was, now = (value.item() if isinstance(value, np.generic) else value for value in (was, now))
    if isinstance(was, str | bool) or isinstance(now, str | bool):
        return type(was) is type(now) and was == now
    return bool(was == now) and (was != 0 or math.copysign(1, was) == math.copysign(1, now) or isinstance(was, int))
