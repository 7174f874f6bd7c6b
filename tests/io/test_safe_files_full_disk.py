"""Safe files: a full disk is an error, and neither crashes the process nor leaves a partial file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from biocolab_accessor.io.safe_files import SafeFile
from tests.patience import PATIENCE
from tests.warm import start_python

resource = pytest.importorskip("resource")

COUNTS = sparse.random(1500, 1000, density=0.3, format="csr", dtype=np.float32, random_state=0)
COUNTS.data = np.ceil(COUNTS.data * 50)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Limit the size of files, which acts like a full disk on this process only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("size", [0, 1000, 60_000, 400_000, 900_000])
def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, size: int, compression: Literal["gzip"] | None
) -> None:
    adata = ad.AnnData(COUNTS)
    with disk_of(size), pytest.raises(OSError, match=str(tmp_path)) as caught:
        adata.biocolab.to_h5ad(tmp_path / "x.h5ad", compression=compression)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
    adata.biocolab.to_h5ad(tmp_path / "x.h5ad", compression=compression)
    assert (ad.read_h5ad(tmp_path / "x.h5ad").X != COUNTS).nnz == 0


def test_no_more_rows_are_made_after_the_disk_is_full(tmp_path: Path) -> None:
    taken = []

    def write() -> None:
        with SafeFile(tmp_path / "x") as output:
            for number in output.checked(range(10)):
                taken.append(number)
                output.write(bytes(100))

    with disk_of(250), pytest.raises(OSError, match="x"):
        write()
    assert taken == [0, 1, 2]


def test_an_error_of_the_writer_is_raised_unchanged(tmp_path: Path) -> None:
    def write() -> None:
        with SafeFile(tmp_path / "x") as output, h5py.File(output, "w") as file:
            file["a"] = np.arange(5)
            raise KeyError

    with pytest.raises(KeyError):
        write()


_INTERRUPTED = """
import random, signal, sys, threading, time
from pathlib import Path
from queue import SimpleQueue
import anndata as ad, numpy as np
from scipy import sparse
import biocolab_accessor

folder, chance = Path(sys.argv[1]), random.Random(7)
counts = sparse.random(8000, 2000, 0.05, "csr", np.float32, random_state=0)
counts.data = np.ceil(counts.data * 9)
adata = ad.AnnData(counts)
adata.obs["label"] = "text"
adata.biocolab.to_h5ad(folder / "whole.h5ad")
start = time.perf_counter()
adata.biocolab.to_h5ad(folder / "whole.h5ad")
usual = time.perf_counter() - start
# One thread for all of them, and queues of C: Ctrl-C while threading starts or joins a thread breaks its locks.
moments = SimpleQueue()
def interrupt():
    while True:
        moment, over = moments.get()
        time.sleep(moment)
        signal.raise_signal(signal.SIGINT)
        over.put(None)
threading.Thread(target=interrupt, daemon=True).start()
interrupted, lost = 0, []
# What Ctrl-C breaks into a finalizer is dropped by Python itself, which says so here.
sys.unraisablehook = lambda dropped: lost.append(dropped.exc_type)
for _ in range(int(sys.argv[2])):
    over = SimpleQueue()
    try:
        moments.put((chance.random() * usual, over))
        adata.biocolab.to_h5ad(folder / "x.h5ad")
        over.get()
        time.sleep(0.05)
    except KeyboardInterrupt:
        interrupted += 1
    assert {path.name for path in folder.iterdir()} <= {"whole.h5ad", "x.h5ad"}
adata.biocolab.to_h5ad(folder / "x.h5ad")
assert (ad.read_h5ad(folder / "x.h5ad").X != counts).nnz == 0
print(interrupted + lost.count(KeyboardInterrupt), threading.active_count())
"""


@pytest.mark.parametrize("times", [20, pytest.param(60, marks=pytest.mark.sweeps)])
def test_ctrl_c_at_any_moment_is_a_keyboard_interrupt_and_leaves_nothing(tmp_path: Path, times: int) -> None:
    done = start_python(["-c", _INTERRUPTED, str(tmp_path), str(times)])
    said, told = done.communicate(timeout=5 * PATIENCE)
    assert done.returncode == 0, told[-2000:]
    assert said.split() == [str(times), "2"]  # the thread that interrupts is the other one
