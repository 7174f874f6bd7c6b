"""After a call nothing is left: no reference to the user's object, no socket, nothing that processes share."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE, until


def small() -> ad.AnnData:
    return ad.AnnData(sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (20, 10)).astype(np.float32)))


@pytest.mark.parametrize(
    "call",
    [
        lambda adata, folder: adata.biocolab.check(),
        lambda adata, folder: adata.biocolab.to_h5ad(folder / "x.h5ad"),
        lambda adata, folder: adata.biocolab.submit(dry_run=True),
        lambda adata, folder: adata.biocolab.submit(study_id=f"left {time.monotonic_ns()}", skip_dimred=True),
    ],
    ids=["check", "to_h5ad", "dry_run", "submit"],
)
def test_no_reference_to_an_object_is_kept(
    server: Sandbox, call: Callable[[ad.AnnData, Path], object], tmp_path: Path
) -> None:
    adata = small()
    result = call(adata, tmp_path)
    gone = weakref.ref(adata)
    del adata
    gc.collect()
    assert gone() is None
    del result


def _sockets() -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(entry).startswith("socket:")
        except OSError:  # the one that lists the folder is closed by now
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell")
def test_a_closed_connector_leaves_no_socket(server: Sandbox) -> None:
    before = _sockets()
    connector = server.connect()
    assert len(connector.get_bbrowserx().get_user_groups()) == 2
    assert len(connector.get_bioflex().databases()) > 1
    assert _sockets() > before
    connector.close()
    until(lambda: _sockets() <= before)  # the sandbox' own ends are closed by its own thread


def test_threads_share_a_connection(server: Sandbox) -> None:
    study = bc.study("PBMC68k_reduced")
    genes = study.features()[:16]
    barrier = threading.Barrier(8)

    def fetch(gene: str) -> np.ndarray:
        barrier.wait(PATIENCE)
        return study.query_genes([gene], "raw").toarray()

    whole = study.query_genes(genes, "raw").toarray()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(fetch, genes))
    np.testing.assert_array_equal(np.hstack(found), whole)


def _fetch(environment: dict[str, str], cache: str) -> tuple[float, list[str]]:
    os.environ.update(environment)
    bc.settings.reset()
    bc.settings.progress = "off"
    bc.settings.cache_dir = Path(cache)
    adata = bc.study("PBMC68k_reduced").to_anndata()
    return float(adata.X.sum()), [thread.name for thread in threading.enumerate() if "biocolab" in thread.name]


def _fetch_inherited(cache: str) -> float:
    """With the connection, settings and caches that the parent had when it forked."""
    bc.settings.cache_dir = Path(cache)
    return float(bc.study("PBMC68k_reduced").to_anndata().X.sum())


@pytest.mark.sweeps  # processes that begin with nothing: those that are forked are tried below
def test_spawned_processes_fetch_with_nothing_of_their_parents(server: Sandbox, tmp_path: Path) -> None:
    server.requests.clear()
    arguments = [(server.environment(), str(tmp_path / "cache"))] * 2
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_fetch, arguments)
    whole = float(bc.study("PBMC68k_reduced").to_anndata(cache=False).X.sum())
    assert found == [(whole, [])] * 2
    # Ours without the cache, and one of the two others: who came second found it in the cache.
    assert len(server.requests.of("v1/study/get_matrix")) == 2


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_use_sockets_of_their_own(server: Sandbox, tmp_path: Path) -> None:
    """Two processes on one socket would read each other's answers."""
    study = bc.study("PBMC68k_reduced")
    whole = float(study.to_anndata(cache=False).X.sum())
    server.requests.clear()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        waiting = pool.map_async(_fetch_inherited, [str(tmp_path / "cache")] * 4)
        here = [float(study.to_anndata(cache=False).X.sum()) for _ in range(3)]
        found = waiting.get(PATIENCE)
    assert found == [whole] * 4
    assert here == [whole] * 3
    assert len(server.requests.of("v1/study/get_matrix")) == 3 + 1
