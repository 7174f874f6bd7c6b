"""Fetch: a failed or interrupted fetch ends at once, even if other threads are waiting."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor import concurrency
from biocolab_accessor.errors import BiocolabError, TooLarge, UnknownGene
from biocolab_accessor.sandbox.faults.faults import Fault
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from tests.patience import PATIENCE, until

# As long as a test may take at all: who waits for it is seen to.
_SILENT = PATIENCE


@pytest.fixture
def faulty(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    # A thread that is slow to end is not left behind, as the time that this takes is the machine's.
    monkeypatch.setattr(concurrency, "_SECONDS_TO_END", PATIENCE)
    with bc.settings.override(cache_size=0):
        yield server
    server.faults.clear()


@pytest.fixture
def interrupt() -> Iterator[Callable[[Fault], None]]:
    """Press Ctrl-C once a request has met a fault, and again until Python notices it between two waits."""
    raised, threads = [], []

    def once(*_: object) -> None:
        if not raised:
            raised.append(True)
            raise KeyboardInterrupt

    def as_it_waits(fault: Fault) -> None:
        until(lambda: fault.hits)
        while not raised:
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    def soon(fault: Fault) -> None:
        threads.append(threading.Thread(target=as_it_waits, args=(fault,)))
        threads[0].start()

    before = signal.signal(signal.SIGINT, once)
    yield soon
    raised.append(True)
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGINT, before)


def of_fetches() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("biocolab-fetch", "biocolab-metadata"))]


@pytest.mark.parametrize("route", ["fetch_metadata", "barcodes", "features", "get_matrix"])
def test_ctrl_c_ends_a_fetch_at_once_and_the_next_can_begin(
    faulty: Sandbox, interrupt: Callable[[Fault], None], route: str
) -> None:
    study = bc.study("PBMC68k_reduced")
    start = time.monotonic()
    interrupt(faulty.faults.add(f"*{route}", kind="hang", seconds=_SILENT))
    with pytest.raises(KeyboardInterrupt):
        study.to_anndata()
    assert of_fetches() == []
    faulty.faults.clear()
    # No lock is held by a thread that still waits.
    with pytest.warns(UserWarning, match="no counts"):
        found = study.to_anndata()
    assert found.shape == (700, 765)
    assert time.monotonic() - start < _SILENT


@pytest.mark.parametrize(
    "call", [lambda study, path: study.to_h5ad(path / "x.h5ad"), lambda study, path: study.metadata()]
)
def test_ctrl_c_ends_the_fetch_of_metadata_at_once(
    faulty: Sandbox, interrupt: Callable[[Fault], None], call: Callable[[Study, Path], object], tmp_path: Path
) -> None:
    study = bc.study("PBMC68k_reduced")
    start = time.monotonic()
    interrupt(faulty.faults.add("*fetch_metadata", kind="hang", seconds=_SILENT))
    with pytest.raises(KeyboardInterrupt):
        call(study, tmp_path)
    assert time.monotonic() - start < _SILENT
    assert of_fetches() == []
    assert list(tmp_path.iterdir()) == []


def expect_at_once(error: type[BiocolabError], study: Study, **options: object) -> None:
    start = time.monotonic()
    with pytest.raises(error):
        study.to_anndata(**options)
    assert time.monotonic() - start < _SILENT
    assert of_fetches() == []


def test_an_error_does_not_wait_for_a_slow_request(faulty: Sandbox) -> None:
    study = bc.study("PBMC68k_reduced")
    study.features()
    faulty.faults.add("*fetch_metadata", kind="delay", seconds=_SILENT)
    expect_at_once(UnknownGene, study, genes=["NOPE"])
    with bc.settings.override(memory_budget=1000):
        expect_at_once(TooLarge, study)


def test_an_error_does_not_wait_for_another_attempt(faulty: Sandbox) -> None:
    study = bc.study("PBMC68k_reduced")
    study.features()
    faulty.faults.add("*fetch_metadata", kind="status", retry_after=_SILENT)
    expect_at_once(UnknownGene, study, genes=["NOPE"])
