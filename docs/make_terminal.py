"""Terminal: docs/terminal.svg, what the commands really print, with ``python docs/make_terminal.py``."""

from __future__ import annotations

import io
import os
import shlex
import tempfile
import warnings
from pathlib import Path

import numpy as np
import scanpy as sc
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app, output, studies, submit

_COMMANDS = (
    "biocolab check before.h5ad",
    "biocolab summary CD79A LYZ --top 2",
    "biocolab pull PBMC68k_reduced -o b_cells.h5ad --genes CD79A,MS4A1",
    "biocolab pull PBMC68k_reducd -o b_cells.h5ad",
)


def main() -> None:
    """Run the commands on a console that records."""
    console = Console(record=True, width=84, force_terminal=True, highlight=False, file=io.StringIO())
    for module in (output, submit, studies):
        for name in ("out", "err"):
            if hasattr(module, name):
                setattr(module, name, console)
    target = Path(__file__).parent / "terminal.svg"
    with tempfile.TemporaryDirectory() as folder, bc.sandbox(), bc.settings.override(progress="off"):
        os.chdir(folder)
        warnings.simplefilter("ignore")
        adata = sc.datasets.pbmc68k_reduced().raw.to_adata()
        adata.X = adata.X.toarray()
        adata.X[0, :5] = np.nan
        adata.obs_names = ["AAAGCCTGGCTAAC-1"] * 2 + list(adata.obs_names[2:])
        adata.write_h5ad("before.h5ad")
        for command in _COMMANDS:
            console.print(Text("$ ", "bold green") + command)
            CliRunner().invoke(app, shlex.split(command)[1:])
            console.print()
        os.chdir(target.parent)
    target.write_text(console.export_svg(title="biocolab"), encoding="utf-8")


if __name__ == "__main__":
    main()
