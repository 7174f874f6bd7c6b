"""What every test gets: a clean environment, one shared sandbox, and a look at what stays behind."""

from __future__ import annotations

import asyncio
import datetime
import gc
import ipaddress
import itertools
import os
import signal
import sqlite3
import ssl
import stat
import tempfile
import threading
import types
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anndata as ad
import hypothesis
import numpy as np
import pandas as pd
import pytest
import uvicorn.server
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients import tasks as following
from biocolab_accessor.config import Settings
from biocolab_accessor.connection import default
from biocolab_accessor.sandbox.processing import tasks
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store import files
from tests import warm

pytest_plugins = ["pytester", "tests.skips"]

# A busy machine takes longer for an example. All else is as usual: with CI the same examples each time.
hypothesis.settings.register_profile("patient", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

# Nor the keyring of who runs the tests: what is stored in this one is gone. Tests of it have one of their own.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# They wait most, for processes that they start: begun last, one of them would be left when the others are done.
_FIRST = (
    "cli/test_local_sandbox.py", "studies/test_distributed.py", "test_docs.py", "sandbox/test_pytest_plugin.py",
    "test_public_names.py", "test_typing.py", "studies/test_study_plot.py", "studies/test_disk.py",
    "cli/test_terminal.py", "submit/test_files_scratch.py", "properties/test_out_and_back.py",
    "studies/test_collection.py",
    "interop/test_table.py", "sandbox/processing/test_pipeline_graph.py", "sandbox/routes/test_page.py",
    "sandbox/test_on_windows.py", "sandbox/processing/test_pipeline.py", "io/test_safe_files_full_disk.py",
    "sandbox/test_state.py", "test_notebooks.py", "cli/test_demo_run.py",
)  # fmt: skip
_NOT_OURS = (".py", ".pyc", ".so", ".ipynb", ".ttf")
_START_WORKER = tasks.start_worker
_OPEN = "/proc/self/fd"
_DATA = Path(os.environ.get("BIOCOLAB_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of what is imported and collected is garbage: looking through it takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first; each file's own order stays."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def quick_sandboxes() -> Iterator[None]:
    """Sandboxes of this process close, and are asked how a task is, without pauses that are for people.

    Where the system can fork, they compute in workers that have loaded scanpy.
    """
    hasty = types.SimpleNamespace(**{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(seconds / 10)})
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(uvicorn.server, "asyncio", hasty)
        monkeypatch.setattr(following, "_FIRST_PAUSE", 0.02)
        if warm.AVAILABLE:
            warm.prepare()
            monkeypatch.setattr(tasks, "start_worker", warm.Worker)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files of tests do not have to survive a power cut: a submission waits for the disk a dozen times."""

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(*args, **kwargs)
        connection.execute("pragma synchronous = off")
        return connection

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        monkeypatch.setattr(files, "sqlite3", types.SimpleNamespace(**{**vars(sqlite3), "connect": connect}))
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell that starts pytest in the background makes it ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def cold_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers as users have them: an interpreter that begins with nothing."""
    monkeypatch.setattr(tasks, "start_worker", _START_WORKER)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that all tests share, so that its worker loads scanpy once."""
    with bc.sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="session")
def studies(server: Sandbox) -> list[str]:
    """Twenty public studies with some genes in common."""
    names = [f"PART{number:02}" for number in range(20)]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        adata = ad.AnnData(sparse.csr_matrix(rng.poisson(0.5, (30 + number, 40)).astype(np.float32)))
        adata.obs_names = [f"CELL{i}" for i in range(adata.n_obs)]
        adata.var_names = [f"GENE{i + number % 3}" for i in range(40)]
        adata.obs["batch"] = [f"b{i % 2}" for i in range(adata.n_obs)]
        server.add_study(name, adata)
    return names


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes empty folders; pytest's own mktemp looks through all earlier ones each time."""
    base, numbers = tmp_path_factory.mktemp("folders"), itertools.count()

    def make() -> Path:
        folder = base / str(next(numbers))
        folder.mkdir()
        return folder

    return make


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, folders: Callable[[], Path]) -> Iterator[None]:
    """No settings of the machine: neither variables nor a key file in the home folder."""
    for name in list(os.environ):
        if (name.startswith("BIOCOLAB_") and name != "BIOCOLAB_TEST_DATA") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = folders()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(default, "_ambient", None)
    # As reset() does, without its millisecond of looking for variables that are not there.
    for name, field in Settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        if getattr(bc.settings, name) != value:
            setattr(bc.settings, name, value)
    bc.settings.progress = "off"
    bc.settings.follow = False  # tests of the thread switch it on
    yield
    with suppress(OSError):  # what a test wrote there is left for who looks into a failure
        home.rmdir()


@pytest.fixture(autouse=True)
def nothing_left_behind(folders: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No temporary file, open file or thread of ours outlives a test; those of the shared sandbox belong to it."""
    folder = folders()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = set(threading.enumerate())
    opened = _open_files()
    yield
    if _open_files() - opened:
        gc.collect()  # an AnnData that is backed by a file is part of a cycle
        assert _open_files() - opened == Counter()
    assert list(folder.iterdir()) == []
    folder.rmdir()
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("biocolab-") and t.is_alive()]
    assert [name for name in left if not name.startswith("biocolab-sandbox")] == []


def _open_files() -> Counter[str]:
    """Regular files that this process has open, where the system tells; not those of a sandbox or of Python."""
    found: Counter[str] = Counter()
    for entry in os.listdir(_OPEN) if os.path.isdir(_OPEN) else ():
        with suppress(OSError):  # the one that lists the folder is closed by now
            target = os.readlink(f"{_OPEN}/{entry}")
            ours = target.startswith("/") and "sandbox" not in target and not target.endswith(_NOT_OURS)
            if ours and stat.S_ISREG(os.stat(target).st_mode):
                found[target] += 1
    return found


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh session: nothing is connected to."""
    monkeypatch.setattr(default, "_stack", [])


@contextmanager
def forked_dask() -> Iterator[None]:
    """Where the system can fork, workers of a Dask cluster are forks too, whose environment is that of the first."""
    import dask
    import distributed  # noqa: F401  # what it sets when it is loaded must not be taken back with what is set here

    if warm.AVAILABLE:
        warm.begin()
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver" if warm.AVAILABLE else "spawn"}):
        yield


@contextmanager
def dask_client(folder: Path, n_workers: int) -> Iterator[object]:
    """A client of a cluster on this machine whose workers are processes of one thread."""
    import dask
    from distributed import Client, LocalCluster

    with (
        forked_dask(),
        dask.config.set({"temporary-directory": str(folder)}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=folder,
            env={**os.environ},
            preload="tests.settled",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def data_file() -> Callable[[str], Path]:
    """A real file by name; the test is skipped where the folder is absent."""

    def find(name: str) -> Path:
        path = _DATA / name
        if not path.exists():
            pytest.skip(f"real data file {name} is not here (set BIOCOLAB_TEST_DATA)")
        return path

    return find


@pytest.fixture
def read_h5ad(data_file: Callable[[str], Path]) -> Callable[[str], ad.AnnData]:
    """A real AnnData by file name, without the warnings that anndata has for old files."""

    def read(name: str) -> ad.AnnData:
        path = data_file(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ad.read_h5ad(path)

    return read


@pytest.fixture
def counts() -> ad.AnnData:
    """Simulated counts of 60 cells by 40 genes, with text, label, number and bool columns and an embedding."""
    rng = np.random.default_rng(0)
    matrix = sparse.csr_matrix(rng.poisson(0.7, (60, 40)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "sample": [f"s{i % 3}" for i in range(60)],
            "code": [f"{i:03d}" for i in range(60)],
            "label": pd.Categorical(["b", "a"] * 30, categories=["b", "a", "unused"]),
            "score": rng.normal(size=60),
            "size": np.arange(60, dtype=np.int32),
            "good": rng.random(60) > 0.5,
        },
        index=[f"CELL{i}-1" for i in range(60)],
    )
    var = pd.DataFrame(
        {"id": [f"ENSG{i:011d}" for i in range(40)]}, index=[f"GENE{i}" for i in range(38)] + ["MT-ND1", "mt-co1"]
    )
    adata = ad.AnnData(matrix, obs=obs, var=var)
    adata.obsm["X_own"] = rng.normal(size=(60, 2)).astype(np.float32)
    return adata


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """TLS of a server with a certificate of its own for 5 days and a bit, and the bundle that a client needs."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=5, hours=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle, key_file = tmp_path / "ca.pem", tmp_path / "key.pem"
    bundle.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, key_file)
    return context, bundle


def assert_equal_objects(left: ad.AnnData, right: ad.AnnData) -> None:
    """Two AnnData are the same in every value, dtype and kind of matrix."""
    pd.testing.assert_frame_equal(left.obs, right.obs)
    pd.testing.assert_frame_equal(left.var, right.var)
    assert (left.raw is None) == (right.raw is None)
    pairs = [(left.X, right.X)] + ([(left.raw.X, right.raw.X)] if left.raw is not None else [])
    for name in ("layers", "obsm", "varm", "obsp", "varp"):
        keys = [key for key in getattr(left, name) if key is not None]  # None is how anndata 0.13 calls X
        assert keys == [key for key in getattr(right, name) if key is not None]
        pairs += [(getattr(left, name)[key], getattr(right, name)[key]) for key in keys]
    for ours, theirs in pairs:
        assert type(ours) is type(theirs)
        assert ours.dtype == theirs.dtype
        if sparse.issparse(ours):
            ours, theirs = ours.toarray(), theirs.toarray()
        np.testing.assert_array_equal(ours, theirs)
    assert left.uns == right.uns
