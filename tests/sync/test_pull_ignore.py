"""Dtypes of a whole object, where a column cannot have its own again."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidColumn
from biocolab_accessor.sandbox.server import Sandbox


def test_dates_come_back_and_one_column_that_cannot_does_not_stop_the_others(server: Sandbox) -> None:
    adata = ad.AnnData(np.eye(6, dtype=np.float32) + 1)
    adata.obs["date"] = pd.Timestamp("2026-03-01", tz="UTC")
    adata.obs["small"] = np.arange(6, dtype=np.int8)
    adata.obs["good"] = [True, False] * 3
    again = adata.biocolab.submit(study_id="dtypes", skip_dimred=True).study().to_anndata()
    dtypes = adata.obs.dtypes.copy()
    dtypes["small"] = np.dtype(bool)  # as where a column was changed on the server
    with pytest.raises(InvalidColumn, match="field 'small' cannot be bool"):
        again.biocolab.pull_metadata(dtypes=dtypes, overwrite=True)
    with pytest.warns(UserWarning, match="'small' is int64, not bool: some numbers are neither 0 nor 1"):
        report = again.biocolab.pull_metadata(dtypes=dtypes, overwrite=True, errors="ignore")
    pd.testing.assert_series_equal(again.obs["date"], adata.obs["date"])
    pd.testing.assert_series_equal(again.obs["good"], adata.obs["good"])
    assert again.obs["small"].tolist() == list(range(6))
    assert report.notes == ("'small' is int64, not bool: some numbers are neither 0 nor 1",)
    with pytest.raises(InvalidArgument, match="errors is 'skip'"):
        again.biocolab.pull_metadata(errors="skip")


@pytest.mark.parametrize("name", ["when", "long", "hash", "cut", "month"])
def test_a_label_of_bioflex_for_missing_values_is_named_with_the_line_that_keeps_them(
    name: str, gaps: pd.DataFrame
) -> None:
    bare = ad.AnnData(obs=gaps[[]].copy())
    with pytest.raises(InvalidColumn, match="BioFlex returns 'Unassigned' for cells without a label") as caught:
        bare.biocolab.pull_metadata([name], study=bc.study("with_gaps"), dtypes=gaps.dtypes)
    assert str(caught.value).endswith("give study=bc.study('with_gaps', source='bbrowserx')")
    exec(caught.value.line.replace("{it}", "bare"), {"bare": bare, "bc": bc, "dtypes": gaps.dtypes})
    pd.testing.assert_series_equal(bare.obs[name], gaps[name])


@pytest.fixture(scope="module")
def gaps(server: Sandbox) -> pd.DataFrame:
    obs = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-03-01", None] * 3),
            "long": pd.to_timedelta([1, None] * 3, unit="h"),
            "hash": pd.array([2**63 + 1, None, 2**64 - 1, 1, 2**53 + 1, 0], "UInt64"),
            "cut": pd.cut([1, np.nan, 3] * 2, [0, 2, 4]),
            "month": pd.PeriodIndex(["2026-03", None] * 3, freq="M"),
        },
        index=[f"c{i}" for i in range(6)],
    )
    with pytest.warns(UserWarning, match="BC208"):
        ad.AnnData(np.eye(6, dtype=np.float32) + 1, obs).biocolab.submit(study_id="with_gaps", skip_dimred=True)
    return obs
