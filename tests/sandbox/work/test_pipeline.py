from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from biocolab_accessor.sandbox.server import Sandbox


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 2), (5, 4), (16, 40)])
def test_tiny_studies_are_processed_as_far_as_they_can_be(shape: tuple[int, int], server: Sandbox) -> None:
    matrix = np.random.default_rng(1).poisson(3, shape).astype(np.float32) + 1
    submission = ad.AnnData(matrix).biocolab.submit()
    back = submission.study().to_anndata()
    np.testing.assert_array_equal(back.X.toarray(), matrix)
    if min(shape) < 4:
        assert "too few" in submission.log
    else:
        assert {"X_pca", "X_umap", "X_tsne"} <= set(back.obsm)
        assert np.isfinite(back.obsm["X_umap"]).all()


def test_scaled_values_are_processed_as_they_are(server: Sandbox) -> None:
    matrix = np.random.default_rng(1).normal(size=(40, 20)).astype(np.float32)
    with pytest.warns(UserWarning, match="scaled"):
        submission = ad.AnnData(matrix).biocolab.submit()
    assert "Normalizing" not in submission.log
    np.testing.assert_array_equal(submission.study().to_anndata().X.toarray(), matrix)
