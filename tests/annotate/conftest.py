"""Fixtures for annotation: real cells, half of them in a database."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import biocolab_accessor as bc
from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.sandbox.server import Sandbox

_SEED = 0


@pytest.fixture(scope="session")
def cells() -> ad.AnnData:
    """PBMC 68k with its log-normalized values."""
    whole = sc.datasets.pbmc68k_reduced()
    return ad.AnnData(whole.raw.X, obs=whole.obs, var=pd.DataFrame(index=whole.raw.var_names))


@pytest.fixture(scope="session")
def in_database(cells: ad.AnnData) -> np.ndarray:
    return np.random.default_rng(_SEED).permutation(cells.n_obs) < cells.n_obs // 2


@pytest.fixture(scope="session")
def other(cells: ad.AnnData, in_database: np.ndarray) -> ad.AnnData:
    """The half of the cells that is not in the database."""
    return cells[~in_database].copy()


@pytest.fixture(scope="session")
def database(cells: ad.AnnData, in_database: np.ndarray, server: Sandbox) -> Database:
    """A database with only one half; those for human have all cells."""
    server.add_study("half_of_pbmc68k", cells[in_database].copy(), species="primate", cell_type="bulk_labels")
    return bc.database("primate")
