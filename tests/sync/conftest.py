"""A real study of PBMC on the shared sandbox, and the object that it came from."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.submission import Submission


@pytest.fixture(scope="session")
def submission(server: Sandbox) -> Submission:
    """700 cells with labels, numbers, two embeddings; tests add fields of their own names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # its X is scaled
        return sc.datasets.pbmc68k_reduced().biocolab.submit(study_id="exchange", name="Exchange", skip_dimred=True)


@pytest.fixture
def study(submission: Submission) -> Study:
    return submission.study()


@pytest.fixture
def pbmc() -> ad.AnnData:
    """The same cells without annotations."""
    adata = sc.datasets.pbmc68k_reduced()
    return ad.AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])


@pytest.fixture
def truth() -> ad.AnnData:
    """The submitted object."""
    return sc.datasets.pbmc68k_reduced()


@pytest.fixture(scope="session")
def small(server: Sandbox) -> Study:
    """A study of a few cells, for random writes."""
    adata = ad.AnnData(np.eye(12, dtype=np.float32), obs=pd.DataFrame(index=[f"CELL{i}-1" for i in range(12)]))
    return adata.biocolab.submit(study_id="small", skip_dimred=True).study()
