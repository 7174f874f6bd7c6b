"""Dtypes of a whole object, where a column cannot have its own again."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

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
