"""Submit: counts of the size of GSE96583 to a file, and in a file to a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anndata as ad

from benchmarks import data
from benchmarks.link import slow_link
from benchmarks.measure import REPEATS, child, environment, paired, server, stop_worker, table, timed

_RATE = 50e6
_CHUNK = 104_857_600


def main(*arguments: str) -> None:
    """Print the tables."""
    if arguments[:1] == ("--side",):
        SIDES[arguments[1]]()
        return
    repeats = int(arguments[0]) if arguments else REPEATS
    data.study()
    what = f"{data.N_OBS:,} x {data.N_VARS:,}, {data.NNZ:,} counts (simulated)"
    sides = {
        "ours, to_h5ad": lambda: child("submit", "serialise"),
        "ours, to_h5ad, checked before": lambda: child("submit", "write"),
        "write_h5ad, gzip": lambda: child("submit", "gzip"),
        "write_h5ad, plain": lambda: child("submit", "plain"),
        "ours, to_h5ad, compression=None": lambda: child("submit", "serialise_plain"),
    }
    table(f"serialise: {what}", paired(sides, repeats), "ours, to_h5ad", "`size` is the file's, in MB.")
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "data") as url:
        child("submit", "first", **environment(url))
        stop_worker()
        _both_clients("loopback", url, what, repeats)
        with slow_link(url, _RATE) as slow:
            _both_clients(f"a link of {_RATE / 1e6:g} MB/s", slow, what, repeats)


def _both_clients(title: str, url: str, what: str, repeats: int) -> None:
    variables = environment(url)

    def new() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as journal:  # one that does not know the file from the run before
            return child("submit", "ours", BIOCOLAB_CACHE_DIR=journal, **variables)

    sides = {
        "ours, submit": new,
        "write_h5ad gzip, official client": lambda: child("submit", "official", **variables),
    }
    table(f"submit, to the end of the upload, {title}: {what}", paired(sides, repeats), "ours, submit")


def _to_file(write: Callable[[ad.AnnData, Path], object]) -> None:
    import biocolab_accessor  # noqa: F401 - registers the accessor

    adata = ad.read_h5ad(data.study())
    with tempfile.TemporaryDirectory() as folder:
        write(data.tiny(), Path(folder) / "tiny.h5ad")
        path = Path(folder) / "x.h5ad"
        timed(lambda: write(adata, path), size=lambda _: round(path.stat().st_size / 1e6, 1))


def write() -> None:
    """To a file without the check before it, which is not timed: :func:`anndata.AnnData.write_h5ad` checks nothing."""
    from biocolab_accessor.submit.plan import plan_submission
    from biocolab_accessor.submit.write import write_plan

    adata = ad.read_h5ad(data.study())
    plan = plan_submission(adata)
    with tempfile.TemporaryDirectory() as folder:
        write_plan(data.tiny(), plan_submission(data.tiny()), Path(folder))
        timed(lambda: write_plan(adata, plan, folder), size=lambda paths: round(paths[0].stat().st_size / 1e6, 1))


def ours() -> None:
    """From the check to the request that follows the upload."""
    import biocolab_accessor  # noqa: F401 - registers the accessor

    adata = ad.read_h5ad(data.study())
    data.tiny().biocolab.submit(wait=False)
    timed(lambda: adata.biocolab.submit(wait=False))


def first() -> None:
    """A first submission, which starts the server's worker."""
    import biocolab_accessor  # noqa: F401 - registers the accessor

    timed(lambda: data.tiny().biocolab.submit())


def official() -> None:
    """The calls in the official client's documentation, up to the request that follows the upload."""
    from bioturing_connector.bbrowserx_connector import BBrowserXConnector as Connector

    adata = ad.read_h5ad(data.study())
    host, token = os.environ["BIOCOLAB_PRIVATE_HOST"], os.environ["BIOCOLAB_PRIVATE_TOKEN"]

    def call(adata: ad.AnnData) -> None:
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
            path = Path(folder) / "x.h5ad"
            adata.write_h5ad(path, compression="gzip")
            with redirect_stdout(nowhere), redirect_stderr(nowhere), patch.object(Connector, "get_submission_log"):
                Connector(host=host, token=token).submit_study_from_local(
                    "personal", [{"matrix": str(path)}], input_matrix_type="raw", chunk_size=_CHUNK
                )

    call(data.tiny())
    timed(lambda: call(adata))


SIDES = {
    "serialise": lambda: _to_file(lambda adata, path: adata.biocolab.to_h5ad(path)),
    "serialise_plain": lambda: _to_file(lambda adata, path: adata.biocolab.to_h5ad(path, compression=None)),
    "gzip": lambda: _to_file(lambda adata, path: adata.write_h5ad(path, compression="gzip")),
    "plain": lambda: _to_file(lambda adata, path: adata.write_h5ad(path)),
    "write": write,
    "first": first,
    "ours": ours,
    "official": official,
}
