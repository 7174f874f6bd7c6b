"""A real study of PBMC on the shared sandbox, and the object that it came from."""

from __future__ import annotations

import anndata as ad
import pytest
import scanpy as sc

from biocolab_accessor.inbound.study import Study
from biocolab_accessor.outbound.submission import Submission
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture(scope="session")
def submission(server: Sandbox) -> Submission:
    """700 cells with labels, numbers, two embeddings; tests add fields of their own names."""
    return sc.datasets.pbmc68k_reduced().biocolab.submit(study_id="exchange", name="Exchange", skip_dimred=True)


@pytest.fixture
def study(submission: Submission) -> Study:
    return submission.study()


@pytest.fixture
def pbmc() -> ad.AnnData:
    """The same cells without anything about them."""
    adata = sc.datasets.pbmc68k_reduced()
    return ad.AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])


@pytest.fixture
def truth() -> ad.AnnData:
    """What was submitted."""
    return sc.datasets.pbmc68k_reduced()
