"""Names that are numbers become text when they are sent, and the report says so before."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc


@pytest.fixture
def numbered():
    adata = ad.AnnData(np.array([[3, 0], [0, 1]], np.float32))
    adata._obs = pd.DataFrame({7: [1, 2], "x": [3, 4]}, index=[10, 11])
    return adata


def test_the_report_and_the_plan_say_that_numbers_as_names_stay_text(numbered):
    found = {finding.code: finding for finding in bc.check(numbered) if finding.code in ("BC107", "BC110")}
    assert {code: (finding.path, finding.changed) for code, finding in found.items()} == {
        "BC107": ("obs_names", True), "BC110": ("obs.columns", True),
    }  # fmt: skip
    for finding in found.values():
        assert finding.message.endswith("sent as text")
        assert "text when the study is fetched" in finding.fix
    changes = numbered.biocolab.submit(dry_run=True).changes
    assert set(changes) == {"obs_names: 2 int: sent as text", "obs.columns: names that are numbers: sent as text"}


def test_names_that_are_numbers_are_text_on_the_server_and_when_fetched(numbered, server):
    study = numbered.biocolab.submit(skip_dimred=True).study()
    assert {"7", "x"} <= set(study.fields)
    back = study.to_anndata(fields=["7", "x"])
    assert (list(back.obs.columns), list(back.obs_names)) == (["7", "x"], ["10", "11"])
    assert back.obs["7"].tolist() == [1, 2]
