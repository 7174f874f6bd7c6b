from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.studies.study import Study, parts_of
from biocolab_accessor.sync.push import verified


def test_values_that_come_back_changed_give_a_warning(pbmc: ad.AnnData, study: Study) -> None:
    table = pd.DataFrame({"checked": np.arange(700), "labels": "a"}, index=pbmc.obs_names)
    table.biocolab.submit_metadata(study)
    rows = np.arange(700)
    assert verified(table[["checked"]], parts_of(study), rows) == []
    others = table.assign(labels="b", lost=1)
    others.iloc[[3, 5], 0] = -1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notes = verified(others, parts_of(study), rows)
    assert notes[:3] == [
        "the study does not list 'lost'",
        "'checked' comes back changed: 2 values differ, such as -1 as 3",
        "'labels' comes back changed: 700 values differ, such as 'b' as 'a'",
    ]
    assert [str(warning.message) for warning in caught] == [f"study 'exchange': {note}" for note in notes[:3]]


def test_numbers_that_became_labels_give_a_warning(pbmc: ad.AnnData, study: Study) -> None:
    pd.DataFrame({"as_text": "7"}, index=pbmc.obs_names).biocolab.submit_metadata(study)
    with pytest.warns(UserWarning, match="labels, not numbers"):
        verified(pd.DataFrame({"as_text": 7}, index=pbmc.obs_names), parts_of(study), np.arange(700))
