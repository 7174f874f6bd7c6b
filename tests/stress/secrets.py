"""Secrets: a whole session with known tokens, and then a search for them in all that it left.

Run it as ``python -m tests.stress.secrets``. The exit status is 1 where a token was found.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import functools
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import biocolab_accessor as bc
from tests.security.url_table import ADDRESSES
from tests.verbose import verbose

__all__ = ["TOKENS", "find", "session"]

TOKENS = {"right": "tOk3n+right/7f0c9a51e2", "wrong": "tOk3n+wrong/c41b22d87a"}
"""With signs that addresses write otherwise."""

_KEY_FILE = ".bioapi.key"
_CELL = """
import os, biocolab_accessor as bc
connector = bc.connect(os.environ["SECRET"], private_host=os.environ["HOST"], private_token=os.environ["SECRET"],
                       bioflex_host=os.environ["HOST_OF_BIOFLEX"])
display(connector, bc.settings, connector.get_bbrowserx(), connector.get_bioflex())
study = bc.study("public secrets")
display(study, study.to_anndata(genes=["gene1"]), bc.groups())
"""
_FAILING = 'bc.connect(private_host=os.environ["HOST"], private_token=os.environ["WRONG"]); bc.groups()'


def session(folder: Path, *, whole: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run a session in a process of its own, whose home, cache, scratch files and output are below ``folder``.

    Parameters
    ----------
    folder
        Empty.
    whole
        Whether to plot and to run a notebook as well, which takes longer.
    """
    for name in ("home", "tmp", "left"):
        (folder / name).mkdir(exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BIOCOLAB_")},
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home" / "cache"),
        "XDG_STATE_HOME": str(folder / "home" / "state"),
        "XDG_DATA_HOME": str(folder / "home" / "data"),
        "TMPDIR": str(folder / "tmp"),
        "MPLBACKEND": "Agg",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "PYTHONFAULTHANDLER": "1",
    }
    command = [sys.executable, "-m", "tests.stress.secrets", "--child", str(folder / "left")]
    command += ["--whole"] if whole else []
    with (folder / "left" / "output.txt").open("wb") as output:
        return subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=300, check=False)


def find(folder: Path) -> list[str]:
    """Every place below a folder where a token is, spelled in whichever way."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = str(path.relative_to(folder))
        content = relative.encode()
        if path.is_file() and path.name != _KEY_FILE:
            content += path.read_bytes() + b"".join(_inside(path))
        for name, token in TOKENS.items():
            found += [f"{relative}: the {name} token as {how}" for how, text in _spellings(token) if text in content]
    return found


def _spellings(token: str) -> Iterator[tuple[str, bytes]]:
    plain = token.encode()
    yield "it is", plain
    yield "in an address", quote(token, safe="").encode()
    yield "JSON", json.dumps(token)[1:-1].replace("/", "\\/").encode()
    yield "hex", plain.hex().encode()
    yield "UTF-16", token.encode("utf-16-le")
    for shift in range(3):
        # The middle of base64, which does not depend on what stands before and after.
        yield "base64", base64.b64encode(b"x" * shift + plain)[4:-4]


def _inside(path: Path) -> Iterator[bytes]:
    """Texts of an HDF5 file, which may be compressed."""
    import h5py

    if path.suffix not in (".h5ad", ".h5", "") or not h5py.is_hdf5(path):
        return
    texts: list[str] = []

    def look(name: str, item: Any) -> None:
        texts.append(name)
        texts.extend(map(str, item.attrs.items()))
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "OSU":
            texts.append(str(item[()]) if item.ndim == 0 else "\n".join(map(str, item[()].ravel())))

    with h5py.File(path, "r") as file:
        file.visititems(look)
    yield "\n".join(texts).encode()


class _Left:
    """Where the session leaves things."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failed = 0

    def keep(self, name: str, content: bytes | str) -> None:
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    def must_fail(self, action: Callable[[], Any]) -> None:
        """Print the traceback, as Python does, and as rich and IPython do with all variables of our own frames."""
        try:
            action()
        except Exception as error:
            traceback.print_exc()
            logging.getLogger("session").exception("failed")
            chained: BaseException | None = error
            while chained is not None:
                print(verbose(chained))
                chained = chained.__cause__ or chained.__context__
            with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
                self.keep(f"error{self.failed}.pickle", pickle.dumps(error))
            self.failed += 1
        else:
            msg = "an action succeeded that had to fail"
            raise AssertionError(msg)

    def pickled(self, name: str, item: Any) -> None:
        """What a pickle and a copy hold, where there are some."""
        for how, act in (("pickle", pickle.dumps), ("copy", lambda item: repr(vars(copy.deepcopy(item))).encode())):
            try:
                self.keep(f"{name}.{how}", act(item))
            except TypeError as error:
                print(name, how, error)


def _child(folder: Path, *, whole: bool) -> None:
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    logging.captureWarnings(True)
    warnings.simplefilter("always")
    left, right, wrong = _Left(folder), TOKENS["right"], TOKENS["wrong"]
    bc.settings.progress = "on"
    with bc.sandbox(folder / "sandbox", token=right) as sandbox:
        adata = _cells()
        sandbox.add_study("public secrets", adata)
        key_file = Path.home() / _KEY_FILE
        key_file.write_text(json.dumps({"bio_bbx_private_domain": sandbox.private_host, "bio_bbx_private_key": right}))
        key_file.chmod(0o644)
        from_file = bc.EConnector()
        print(from_file, from_file.get_bbrowserx(), vars(from_file))
        from_file.close()

        with bc.settings.override(private_token=right, private_host=sandbox.private_host):
            print(bc.settings, repr(bc.settings), bc.settings.model_dump(), bc.settings.model_dump_json())
            left.pickled("settings", bc.settings)
        connector = bc.connect(
            bioflex_token=right,
            private_host=sandbox.private_host,
            private_token=right,
            bioflex_host=sandbox.bioflex_host,
            public_host=sandbox.public_host,
            public_token=right,
        )
        clients = [connector.get_bbrowserx(), connector.get_bioflex(), connector.get_talk2data()]
        for client in [connector, *clients, *(client.http for client in clients)]:
            print(repr(client), str(client), f"{client}", vars(client), getattr(client, "_repr_html_", lambda: "")())
        clients[0].test_connection()

        submission = adata.biocolab.submit(study_id="secrets", skip_dimred=True)
        print(submission, submission._repr_html_(), submission.log)
        study, public = submission.study(), bc.study("public secrets")
        fetched = [study.to_anndata(), public.to_anndata(), public.to_anndata()]
        public.to_h5ad(folder / "written.h5ad")
        lazy = public.lazy(folder / "lazy.h5ad")
        left.keep("graph.pickle", pickle.dumps(dict(lazy.X.__dask_graph__())))
        left.keep("cells.pickle", pickle.dumps(fetched))
        print(public.export_study(), study.export_study())
        items = {"submission": submission, "study": study, "public": public, "connector": connector}
        for name, item in {**items, **{f"client{i}": client for i, client in enumerate(clients)}}.items():
            left.pickled(name, item)
        _fail(left, sandbox, wrong)
        sandbox.requests.to_frame().to_csv(folder / "requests.csv")
        if whole:
            _plot(fetched[0], folder / "plot.png")
            _notebook(folder / "cells.ipynb", sandbox, right, wrong)
        connector.close()


def _fail(left: _Left, sandbox: Any, wrong: str) -> None:
    """Everything that can go wrong with a request."""
    bc.settings.max_retries = 1
    bc.settings.read_timeout = 0.5
    for kind, route in (
        ("html", "v1/study/get_matrix"),
        ("status", "v1/study/get_matrix"),
        ("reset", "v1/study/get_barcodes"),
        ("reset_midway", "v1/study/get_matrix"),
        ("hang", "v1/study/get_features"),
        ("truncate", "v1/study/get_matrix"),
        ("redirect", "v1/study/get_matrix"),
        ("corrupt_arrays", "v1/study/get_matrix"),
        ("broken_json", "v1/study/get"),
    ):
        fault = sandbox.faults.add(route, kind=kind)
        left.must_fail(lambda: bc.study("public secrets").to_anndata(cache=False))
        sandbox.faults.remove(fault)
    fault = sandbox.faults.add("upload_chunk", kind="reset")
    left.must_fail(lambda: _cells().biocolab.submit(study_id="failed"))
    sandbox.faults.remove(fault)
    for host, token in (
        (sandbox.private_host, wrong),
        ("http://127.0.0.1:9/", wrong),
        (sandbox.url + "/nowhere", wrong),
    ):
        bc.connect(private_host=host, private_token=token, bioflex_token=token, bioflex_host=host)
        left.must_fail(bc.groups)
        left.must_fail(bc.databases)
    for bad in (wrong + "\nX: y", wrong + "é", [wrong], wrong.encode()):
        left.must_fail(functools.partial(bc.connect, private_host=sandbox.private_host, private_token=bad))
        left.must_fail(functools.partial(setattr, bc.settings, "private_token", [bad]))
    for host, _ in ADDRESSES:
        for marked in {host, host.replace("secret", wrong), host.replace("@", f"{quote(wrong)}@")}:
            if not marked.startswith("HTTP"):
                left.must_fail(functools.partial(_connect_to, marked, wrong))


def _connect_to(host: str, token: str) -> None:
    bc.connect(private_host=host, private_token=token).get_bbrowserx().get_user_groups()


def _cells() -> Any:
    import anndata as ad
    import numpy as np
    from scipy import sparse

    rng = np.random.default_rng(0)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(0.6, (40, 20)).astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(20)]
    adata.obs["label"] = ["a", "b"] * 20
    adata.obsm["X_umap"] = rng.random((40, 2)).astype(np.float32)
    return adata


def _plot(adata: Any, path: Path) -> None:
    import matplotlib.pyplot as plt
    import scanpy as sc

    sc.pl.embedding(adata, "X_umap", color="label", show=False)
    plt.savefig(path)
    plt.close("all")


def _notebook(path: Path, sandbox: Any, right: str, wrong: str) -> None:
    """Cells that show everything, and one that fails; their outputs are kept."""
    import nbformat
    from nbclient import NotebookClient

    os.environ |= {"SECRET": right, "WRONG": wrong}
    os.environ |= {"HOST": sandbox.private_host, "HOST_OF_BIOFLEX": sandbox.bioflex_host}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (_CELL, _FAILING)])
    NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3").execute()
    errors = [[output.ename for output in cell.outputs if output.output_type == "error"] for cell in notebook.cells]
    assert errors == [[], ["Unauthorized"]], errors
    nbformat.write(notebook, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    if given.child:
        _child(given.child, whole=given.whole)
        return 0
    with tempfile.TemporaryDirectory(prefix="biocolab-secrets-") as name:
        folder = Path(name)
        done = session(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files):,} bytes were left")
        if done.returncode:
            print((folder / "left" / "output.txt").read_text()[-3000:])
        found = find(folder)
    for line in found:
        print(line)
    print(f"a token was found in {len(found)} places")
    return 1 if found or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
