"""Files are checked like objects before anything is sent."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import EmptyAnnData, InvalidNames, InvalidValues
from biocolab_accessor.protocol import Filters
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.files import prepare_h5ad_files
from biocolab_accessor.submit.plan import StudyRequest


def write(path: Path, values: np.ndarray, **tables: pd.DataFrame) -> Path:
    genes = pd.DataFrame(index=["CD3D", "CD79A", "LYZ", "NKG7"])
    adata = ad.AnnData(values.astype(np.float32), var=genes, **tables)
    adata.raw = adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(path)
    return path


VALUES = np.arange(1, 25).reshape(6, 4)


def test_a_file_with_an_error_is_named_and_nothing_is_sent(server: Sandbox, tmp_path: Path) -> None:
    good = write(tmp_path / "good.h5ad", VALUES)
    broken = write(tmp_path / "broken.h5ad", np.where(VALUES == 5, np.nan, VALUES))
    server.requests.clear()
    with pytest.raises(InvalidValues, match=r"broken\.h5ad cannot be sent\nReport: [\s\S]*BC302  error +X +1 NaN"):
        bc.submit([good, broken])
    twice = write(tmp_path / "twice.h5ad", VALUES, obs=pd.DataFrame(index=list("aabcde")))
    with pytest.raises(InvalidNames, match=r"twice\.h5ad cannot be sent\n[\s\S]*BC101"):
        bc.submit(twice)
    assert server.requests.of("upload_chunk") == server.requests.of("add_file_upload") == []


def test_filters_that_keep_no_cell_of_any_file_are_rejected(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.h5ad", VALUES) for name in "ab"]
    request = StudyRequest(filters=Filters(min_counts=1000))
    with pytest.raises(EmptyAnnData, match="none of 6 cells would be kept"):
        prepare_h5ad_files(paths, request, "auto", tmp_path)


def test_a_batch_that_filters_empty_is_a_warning_with_the_name_of_its_file(tmp_path: Path) -> None:
    paths = [write(tmp_path / "few.h5ad", VALUES), write(tmp_path / "many.h5ad", 100 * VALUES)]
    with pytest.warns(UserWarning, match=r"^few\.h5ad: BC703 filters: none of 6 cells would be kept"):
        ready, raw = prepare_h5ad_files(paths, StudyRequest(filters=Filters(min_counts=1000)), "raw", tmp_path)
    assert (ready, raw) == (paths, True)


def test_names_that_are_fixed_automatically_cause_no_warning(tmp_path: Path) -> None:
    obs = pd.DataFrame({"barcodes": range(6)}, index=list("abcdef"))
    path = write(tmp_path / "x.h5ad", VALUES, obs=obs)
    assert [found.code for found in bc.check(path).warnings] == ["BC106"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert prepare_h5ad_files([path, path], StudyRequest(), "auto", tmp_path) == ([path, path], True)


def test_the_plan_of_several_files_has_their_destination_once_and_warnings_last(
    counts: ad.AnnData, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        counts.write_h5ad(tmp_path / f"{name}.h5ad")
    plan = bc.submit([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], species="mouse", dry_run=True)
    facts = [line.strip().partition(": ") for line in repr(plan).splitlines()[1:]]
    assert facts[0] == (
        "to",
        ": ",
        "bbrowserx, group 'personal', a new study (id generated on submission), species mouse",
    )
    assert facts[-1] == ("to send", ": ", "the same call without dry_run")
    by_file = [(file, text.partition(": ")[0]) for file, _, text in facts[1:-1]]
    of_a, of_b = ([fact for file, fact in by_file if file == f"{name}.h5ad"] for name in "ab")
    assert len(of_a) + len(of_b) == len(by_file)
    assert of_a == of_b
    assert (of_a[0], of_a[-1]) == ("cells x genes", "warning")
