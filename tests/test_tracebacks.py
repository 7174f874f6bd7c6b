"""Tracebacks: common mistakes, as IPython shows them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

# Lines of the whole traceback without color: the user's own call and its context, the message, and the notes.
_MOST_LINES = 25

MISTAKES = {
    "no token": ("bc.connect(); bc.groups()", "MissingCredentials", "bc.sandbox()"),
    "a wrong token": ("bc.connect(private_host=host, private_token='wrong'); bc.groups()", "Unauthorized", ""),
    "a keyword that another name has": ("bc.connect(token='x')", "TypeError", "did you mean"),
    "a host that is not an address": ("bc.connect(private_host='not a host', private_token='x')", "InvalidHost", ""),
    "a host without encryption": ("bc.connect(private_host='http://a.b', private_token='x')", "InsecureHost", ""),
    "an empty token": ("bc.connect(private_host=host, private_token=' ')", "InvalidToken", ""),
    "a dead server": ("bc.connect(private_host=dead, private_token='x'); bc.groups()", "TransportError", "refused"),
    "an unknown group": ("bc.studies('nobody')", "UnknownGroup", "personal"),
    "an unknown group of a submission": ("adata.biocolab.submit('nobody')", "UnknownGroup", "personal"),
    "an unknown study": ("bc.study('MISSING')", "UnknownStudy", "species="),
    "an unknown study of a group": ("bc.study('MISSING', source='bbrowserx')", "UnknownStudy", "bc.studies()"),
    "an unknown study of BioFlex": ("bc.study('MISSING', source='bioflex')", "UnknownStudy", ""),
    "an unknown source": ("bc.study('X', source='nowhere')", "InvalidArgument", "bioflex"),
    "an unknown species": ("adata.biocolab.submit(species='martian')", "InvalidArgument", "human"),
    "an unknown gene": ("study.query_genes(['NOGENE'])", "UnknownGene", ""),
    "an unknown field": ("study.metadata(['nofield'])", "UnknownField", ""),
    "an unknown unit": ("study.to_anndata(unit='cpm')", "InvalidArgument", ""),
    "layer for layers": ("study.to_anndata(layer='counts')", "TypeError", "did you mean"),
    "group_id for group": ("adata.biocolab.submit(group_id='personal')", "TypeError", "did you mean 'group'"),
    "an unknown column of batches": ("adata.biocolab.submit(batch_key='sampel')", "UnknownField", "obs has"),
    "an unknown column to send": ("adata.biocolab.submit(obs=['nothing'])", "UnknownField", ""),
    "an impossible filter": ("adata.biocolab.submit(min_genes=-1)", "InvalidArgument", ""),
    "an unknown strictness": ("adata.biocolab.submit(check='none')", "InvalidArgument", "default"),
    "a missing number": ("damaged.biocolab.submit()", "InvalidValues", "BC302"),
    "no counts": ("(adata.copy()).biocolab.submit(input_matrix_type='RAW')", "InvalidArgument", ""),
    "no cells": ("adata[:0].biocolab.submit()", "EmptyAnnData", ""),
    "a missing file": ("bc.submit('missing.h5ad')", "MissingFile", "does not exist"),
    "a missing file to check": ("bc.check('missing.h5ad')", "MissingFile", "does not exist"),
    "not a file": ("bc.submit(adata)", "InvalidArgument", ""),
    "a table as h5ad": ("bc.submit(table)", "InvalidFile", ""),
    "an object of no study": ("adata.biocolab.study", "UnknownStudy", ""),
    "metadata of an object of no study": ("adata.biocolab.pull_metadata()", "UnknownStudy", "study="),
    "an unknown task": ("bc.submission('missing')", "NotFound", "bc.studies"),
    "an unknown setting": ("bc.settings.tokn = 'x'", "", ""),
    "an interrupted wait": ("raise_at_the_server(KeyboardInterrupt())", "KeyboardInterrupt", ".wait()"),
    "a connection lost while waiting": ("raise_at_the_server(bc.errors.TransportError('lost'))", "", ".wait()"),
}


@pytest.fixture(scope="module")
def shell(server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("colors", "nocolor")
    table = tmp_path_factory.mktemp("mistakes") / "table.h5ad"
    table.write_text("a\tb\n1\t2\n")
    shell.user_ns.update(bc=bc, np=np, host=server.private_host, dead="http://127.0.0.1:9/", table=str(table))
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
def test_a_common_mistake_is_told_on_one_screen(
    mistake: str, shell: InteractiveShell, server: Sandbox, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biocolab_accessor.connection import default
    from biocolab_accessor.submit.submission import Submission

    code, name, words = MISTAKES[mistake]
    connector = server._connector
    if mistake == "no token":
        default._stack.clear()
    elif "bc.connect(" not in code:
        default.push_default(connector)
    damaged = counts.copy()
    damaged.X = np.array(damaged.X.todense() if hasattr(damaged.X, "todense") else damaged.X, dtype="float32")
    damaged.X[0, 0] = np.nan
    shell.user_ns.update(adata=counts, damaged=damaged)
    if "study." in code:
        shell.user_ns["study"] = bc.study("PBMC68k_reduced")
    running = Submission(
        connector.get_bbrowserx(), task_id=5, study_id="X", group_id="personal", species="human", source="bbrowserx"
    )

    def raise_at_the_server(error: BaseException) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(sys.modules[Submission.__module__], "follow_task", fail)
        running.wait()

    shell.user_ns["raise_at_the_server"] = raise_at_the_server
    with capture_output() as said:
        result = shell.run_cell(code)
    error = result.error_in_exec
    assert error is not None
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said.stdout + said.stderr).rstrip().splitlines()
    assert len(lines) <= _MOST_LINES, "\n".join(lines)
    assert name in type(error).__name__
    assert words in "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert not any("urllib3/" in line or "requests/" in line for line in lines)
    if mistake in ("no token", "an interrupted wait", "a connection lost while waiting"):
        compile(lines[-1].strip(), "last line", "eval")  # it can be pasted


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
