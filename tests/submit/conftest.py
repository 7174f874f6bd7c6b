"""Objects, files and servers for submissions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

CHUNK = 64 * 1024


@pytest.fixture
def wide() -> ad.AnnData:
    """Counts of 300 cells by 250 genes that hardly deflate: several chunks of 64 kB."""
    rng = np.random.default_rng(7)
    adata = ad.AnnData(sparse.csr_matrix(rng.integers(0, 2**20, (300, 250)).astype(np.float32)))
    adata.obs_names = [f"CELL{i}-1" for i in range(300)]
    return adata


@pytest.fixture
def unread(tmp_path: Path) -> Path:
    """A file of a type that neither the sandbox nor the check can read."""
    path = tmp_path / "x.rds"
    path.write_bytes(b"RDX3\nnothing")
    return path


@pytest.fixture
def faulty(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The shared server with an empty ledger and short pauses; its faults are removed after the test."""
    monkeypatch.setattr("biocolab_accessor.clients.retry._FIRST_DELAY", 0.01)
    server.requests.clear()
    with bc.settings.override(max_retries=2):
        yield server
    server.faults.clear()
