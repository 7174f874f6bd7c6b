"""Tracebacks: common mistakes, as IPython shows them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from tests.io.test_safe_files_full_disk import disk_of

# Lines of the whole traceback without color: the user's own call and its context, the message, and the notes.
_MOST_LINES = 25

# What is typed, the class of the error, a word of its text, and the line it ends in ("": of any form).
MISTAKES = {
    "no token": ("bc.connect(); bc.groups()", "MissingCredentials", "private_token=", "bc.sandbox()"),
    "a wrong token": (
        "bc.connect(private_host=host, private_token='wrong'); bc.groups()", "Unauthorized", "user settings",
        "from getpass import getpass; bc.connect(private_host=",
    ),
    "a keyword that another name has": ("bc.connect(token='x')", "TypeError", "did you mean", "help(bc.connect)"),
    "a host without https": (
        "bc.connect(private_host='bbx.company.com', private_token='x')", "InvalidHost", "no scheme",
        "bc.connect(private_host='https://bbx.company.com')",
    ),
    "a host that is not an address": (
        "bc.connect(private_host='not a host', private_token='x')", "InvalidHost", "not a host", "help(bc.connect)",
    ),
    "a host without encryption": (
        "bc.connect(private_host='http://a.b', private_token='x')", "InsecureHost", "plain http",
        "bc.connect(private_host='https://a.b')",
    ),
    "an empty token": (
        "bc.connect(private_host=host, private_token=' ')", "InvalidToken", "is empty", "help(bc.connect)",
    ),
    "a dead server": (
        "bc.connect(private_host=dead, private_token='x'); bc.groups()", "TransportError", "refused", "bc.doctor()",
    ),
    "an unknown group": ("bc.studies('nobody')", "UnknownGroup", "personal", "bc.groups()"),
    "an unknown group of a submission": (
        "adata.biocolab.submit('nobody')", "UnknownGroup", "personal", "bc.groups()",
    ),
    "an unknown study": ("bc.study('MISSING')", "UnknownStudy", "species=", "bc.search('MISSING')"),
    "an unknown study of a group": (
        "bc.study('MISSING', source='bbrowserx')", "UnknownStudy", "bc.studies()", "bc.search('MISSING')",
    ),
    "an unknown source": ("bc.study('X', source='nowhere')", "InvalidArgument", "bioflex", "help(bc.study)"),
    "an unknown species": (
        "adata.biocolab.submit(species='martian')", "InvalidArgument", "human", "help(adata.biocolab.submit)",
    ),
    "an unknown gene": ("pbmc.query_genes(['NOGENE'])", "UnknownGene", "NOGENE", "pbmc.features()"),
    "an unknown field": ("pbmc.metadata(['nofield'])", "UnknownField", "nofield", "pbmc.fields"),
    "a gene in a filter": ("pbmc.to_anndata(obs_filter='CD3D > 1')", "UnknownField", "genes cannot", "pbmc.fields"),
    "an unknown unit": ("pbmc.to_anndata(unit='cpm')", "InvalidArgument", "'lognorm'", "help(pbmc.to_anndata)"),
    "layer for layers": ("pbmc.to_anndata(layer='counts')", "TypeError", "did you mean", "help(pbmc.to_anndata)"),
    "group_id for group": (
        "adata.biocolab.submit(group_id='personal')", "TypeError", "mean 'group'", "help(adata.biocolab.submit)",
    ),
    "an unknown column of batches": (
        "adata.biocolab.submit(batch_key='sampel')", "UnknownField", "'sample'", "list(adata.obs)",
    ),
    "an unknown column to send": (
        "adata.biocolab.submit(obs=['nothing'])", "UnknownField", "obs has", "list(adata.obs)",
    ),
    "an impossible filter": (
        "adata.biocolab.submit(min_genes=-1)", "InvalidArgument", "non-negative", "help(adata.biocolab.submit)",
    ),
    "an unknown strictness": (
        "adata.biocolab.submit(check='none')", "InvalidArgument", "default", "help(adata.biocolab.submit)",
    ),
    "a missing number": (
        "damaged.biocolab.submit()", "InvalidValues", "BC302", "damaged.biocolab.check().to_frame()",
    ),
    "a wrong matrix type": (
        "adata.copy().biocolab.submit(input_matrix_type='RAW')", "InvalidArgument", "'raw'",
        "help(adata.biocolab.submit)",
    ),
    "no cells": ("adata[:0].biocolab.submit()", "EmptyAnnData", "BC301", "adata.biocolab.check().to_frame()"),
    "a table of genes by cells": (
        "genes_by_cells.biocolab.submit(check='strict')", "CheckFailed", "transposed",
        "genes_by_cells.T.biocolab.submit()",
    ),
    "a missing file": ("bc.submit('missing.h5ad')", "MissingFile", "does not exist", "import os; os.listdir("),
    "a missing file to check": (
        "bc.check('missing.h5ad')", "MissingFile", "does not exist", "import os; os.listdir(",
    ),
    "not a file": ("bc.submit(adata)", "InvalidArgument", "paths of files", "adata.biocolab.submit()"),
    "a table as h5ad": ("bc.submit(table, study_type='h5ad')", "InvalidFile", "text file", "bc.submit("),
    "an object of no study": ("adata.biocolab.study", "UnknownStudy", "does not say", "bc.studies()"),
    "metadata of an object of no study": (
        "adata.biocolab.pull_metadata()", "UnknownStudy", "study=", "bc.studies()",
    ),
    "labels as dates": (
        "dated.biocolab.pull_metadata(dtypes={'bulk_labels': 'datetime64[ns]'})", "InvalidColumn", "bulk_labels",
        "dated.biocolab.pull_metadata(['bulk_labels'])",
    ),
    "an unknown task": ("bc.submission('missing')", "NotFound", "bc.studies", "bc.submissions()"),
    "an unknown setting": ("bc.settings.tokn = 'x'", "InvalidArgument", "max_retries", "bc.settings"),
    "a full disk": ("pbmc.to_h5ad(written)", "OSError", "File too large", "import shutil; shutil.disk_usage("),
    "a folder that another sandbox uses": (
        "bc.sandbox(folder)", "SandboxError", "another sandbox", "bc.connect(private_host=",
    ),
    "an interrupted wait": ("raise_at_the_server(KeyboardInterrupt())", "KeyboardInterrupt", ".wait()", ""),
    "a connection lost while waiting": (
        "raise_at_the_server(bc.errors.TransportError('lost'))", "TransportError", ".wait()", "",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def shell(server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("colors", "nocolor")
    folder = tmp_path_factory.mktemp("mistakes")
    pbmc = bc.study("PBMC68k_reduced")
    cells = [f"CELL{i}-1" for i in range(20)]
    table = pd.DataFrame(np.random.default_rng(0).poisson(1, (60, 20)), pbmc.features()[:60], cells)
    table.to_csv(folder / "table.h5ad", sep="\t")
    shell.user_ns.update(
        bc=bc, np=np, folder=server.path, host=server.private_host, dead="http://127.0.0.1:9/", genes_by_cells=table
    )
    shell.user_ns.update(table=str(folder / "table.h5ad"), written=folder / "written.h5ad", pbmc=pbmc)
    shell.user_ns["dated"] = pbmc.to_anndata(genes=["LYZ"], fields=["n_genes"])
    yield shell
    shell.history_manager.end_session() if shell.history_manager else None
    InteractiveShell.clear_instance()


@pytest.fixture
def kept_connection() -> Iterator[None]:
    from biocolab_accessor.connection import default

    before = (list(default._stack), default._by_connect)
    yield
    default._stack[:], default._by_connect = before


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("kept_connection")
def test_a_common_mistake_fits_on_one_screen_and_ends_in_a_line_that_works(
    mistake: str, shell: InteractiveShell, server: Sandbox, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biocolab_accessor.connection import default
    from biocolab_accessor.submit.submission import Submission

    code, name, words, last = MISTAKES[mistake]
    if mistake == "no token":
        default._stack.clear()
    elif "bc.connect(" not in code:
        default.push_default(server._connector)
    # Not the cells of an object that another test submitted and that is not collected yet.
    counts.obs_names = [f"MISTAKE{i}" for i in range(counts.n_obs)]
    damaged = counts.copy()
    damaged.X = np.array(damaged.X.todense() if hasattr(damaged.X, "todense") else damaged.X, dtype="float32")
    damaged.X[0, 0] = np.nan
    shell.user_ns.update(adata=counts, damaged=damaged)

    def raise_at_the_server(error: BaseException) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        where = {"study_id": "X", "group_id": "personal", "species": "human", "source": "bbrowserx"}
        running = Submission(server._connector.get_bbrowserx(), task_id=5, **where)
        with monkeypatch.context() as during:
            during.setattr(sys.modules[Submission.__module__], "follow_task", fail)
            running.wait()

    shell.user_ns["raise_at_the_server"] = raise_at_the_server
    with capture_output() as said, disk_of(20_000) if "disk" in mistake else nullcontext():
        result = shell.run_cell(code)
    error = result.error_in_exec
    assert error is not None
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said.stdout + said.stderr).rstrip().splitlines()
    assert len(lines) <= _MOST_LINES, "\n".join(lines)
    assert name in type(error).__name__
    assert words in "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert not any("urllib3/" in line or "requests/" in line for line in lines)
    assert lines[-1].strip().startswith(last)
    monkeypatch.setattr("getpass.getpass", lambda prompt: server.token)
    if "wait" in mistake:  # that it goes on is tested with the submission
        monkeypatch.setattr(sys.modules[Submission.__module__], "task_state", lambda *args: None)
        monkeypatch.setattr(Submission, "wait", lambda self: self)
    line = lines[-1].strip()
    if "submit(" in line and "help(" not in line:  # what the server does with it is tested elsewhere
        line = line.replace("submit()", "submit(dry_run=True)").replace("'tsv')", "'tsv', dry_run=True).ok or 1 / 0")
    with capture_output():
        pasted = shell.run_cell(line)
        pasted.raise_error()
        if "token" in last:
            shell.run_cell("bc.groups()").raise_error()
    if isinstance(pasted.result, Sandbox) and pasted.result is not server:
        pasted.result.close()


def test_a_notebook_shows_the_report_of_a_refused_object_as_a_table_once(
    shell: InteractiveShell, server: Sandbox, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "kernel", None, raising=False)
    counts.X = np.full(counts.shape, np.nan, dtype="float32")
    shell.user_ns["damaged"] = counts
    with capture_output() as said:
        shell.run_cell("damaged.biocolab.submit()")
    [table] = said.outputs
    assert "BC302" in table.data["text/html"]
    assert "this object cannot be sent: see the report above" in said.stdout
    assert "BC302" not in said.stdout


def test_the_error_of_requests_is_an_attribute_and_a_note(server: Sandbox) -> None:
    connector = bc.EConnector(private_host="http://127.0.0.1:9/", private_token="secret-token")
    with pytest.raises(bc.errors.TransportError) as caught:
        connector.get_bbrowserx().get_user_groups()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert type(caught.value.cause).__module__.startswith("requests")
    assert "caused by requests.exceptions.ConnectionError" in "\n".join(caught.value.__notes__)
    assert "secret-token" not in "\n".join(caught.value.__notes__)


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bc.check(tmp_path / "missing.h5ad")


def test_a_dry_run_has_the_errors_of_the_check(counts: Any) -> None:
    damaged = counts.copy()
    damaged.X = np.full(damaged.shape, np.nan, dtype="float32")
    plan = damaged.biocolab.submit(dry_run=True)
    assert not plan.ok
    assert "BC302" in repr(plan)
    assert "cannot be sent" in plan._repr_html_()
