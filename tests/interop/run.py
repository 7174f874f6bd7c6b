"""Run: one client driven against a sandbox of its own, seen from both sides."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from biocolab_accessor.sandbox.server import Sandbox
from tests.interop.routes import route_of

__all__ = ["BUCKET", "Run", "drive"]

BUCKET = "conformance"
_HERE = Path(__file__).parent
_PATIENCE = 1800


@dataclass
class Run:
    """What came of driving a client.

    Attributes
    ----------
    name
        Of the client.
    packages
        Version by official package.
    lines
        One for each case: method, case, routes, ok and detail.
    hits
        HTTP statuses that the sandbox gave, by route.
    has_lens
        Whether the client has a Lens connector.
    """

    name: str
    packages: Mapping[str, str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    hits: dict[str, list[int]] = field(default_factory=dict)

    @property
    def has_lens(self) -> bool:
        return any(line["method"].startswith("Lens") for line in self.lines)

    def failed(self) -> list[dict[str, Any]]:
        """The lines of cases that failed."""
        return [line for line in self.lines if not line["ok"]]


def drive(
    name: str,
    commands: Sequence[Sequence[str]],
    packages: Mapping[str, str],
    expected: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Drive a client.

    Parameters
    ----------
    name, packages
        Of the client.
    commands
        Interpreter, driver and options of each script to run.
    expected
        The JSON file that ``prepare`` made.
    environment
        Of the scripts; None is this process's own.
    """
    run = Run(name, packages)
    with tempfile.TemporaryDirectory(prefix="biocolab-conformance-") as folder, Sandbox() as sandbox:
        sandbox.add_bucket(expected.parent / "bucket", bucket_id=BUCKET)
        sandbox.add_folder(expected.parent / "bucket")
        for python, script, *options in commands:
            host = sandbox.url + "/" if script == "drive_bioflex.py" else sandbox.private_host
            command = [python, str(_HERE / script), host, sandbox.token, str(expected), folder]
            command += ["--email", sandbox.email, *options]
            run.lines += _lines(command, environment)
        for line in run.lines:
            _check_file(line, expected)
        for record in sandbox.requests:
            run.hits.setdefault(route_of(record.path), []).append(record.status or 0)
    return run


def _lines(command: Sequence[str], environment: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """The lines of a driver; one more that failed where it broke off."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_PATIENCE, env=environment, cwd=_HERE
    )
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = done.stderr.strip()[-1500:]
        lines.append({"method": Path(command[1]).name, "case": "runs", "routes": [], "ok": False, "detail": said})
    return lines


def _check_file(line: dict[str, Any], expected: Path) -> None:
    """Read the h5ad that a case downloaded, which a client's environment has no package for."""
    detail = str(line.get("detail", ""))
    if not line["ok"] or not detail.startswith("file:"):
        return
    _, study, path = detail.split(":", 2)
    wanted = json.loads(expected.read_text())[study]
    line["detail"] = "h5ad, compared value by value"
    try:
        found = ad.read_h5ad(path)
        assert list(found.obs_names) == wanted["barcodes"], "barcodes differ"
        assert list(found.var_names) == wanted["features"], "features differ"
        with np.load(expected.parent / f"{study}.npz") as arrays:
            for unit, matrix in (("lognorm", found.X), ("raw", found.layers["counts"])):
                csc = sparse.csc_matrix(matrix)
                csc.sort_indices()
                for part in ("data", "indices", "indptr"):
                    assert np.array_equal(getattr(csc, part), arrays[f"{unit}_{part}"]), f"{unit}: {part} differ"
            for key in wanted["embeddings"]:
                assert np.array_equal(found.obsm[key], arrays[f"obsm_{key}"]), f"{key} differs"
        for name, values in wanted["metadata"].items():
            assert found.obs[name].tolist() == values, f"{name} differs"
    except (AssertionError, KeyError, OSError, ValueError) as error:
        line["ok"], line["detail"] = False, f"the downloaded h5ad: {type(error).__name__}: {error}"
