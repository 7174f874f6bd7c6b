"""Samples: real cells that come with packages that are installed."""

from __future__ import annotations

import functools
import warnings
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

__all__ = ["celltypist_sample", "has_celltypist", "pbmc68k"]


def pbmc68k() -> ad.AnnData:
    """Scanpy's packaged PBMC 68k: 700 cells by 765 genes, X scaled, raw.X log-normalised, no counts."""
    path = _package("scanpy") / "datasets" / "10x_pbmc68k_reduced.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is of an old version, which is none of the caller's business
        return ad.read_h5ad(path)


def has_celltypist() -> bool:
    """Whether CellTypist, and with it real counts, is installed (extra ``demo``)."""
    return find_spec("celltypist") is not None


@functools.cache
def celltypist_sample() -> pd.DataFrame:
    """CellTypist's packaged sample: counts of 559 human cells by 32,786 genes, as the table that it is.

    The file's values are off whole numbers by up to 4e-11, and are given as they are. It is read a line at a time,
    since pandas takes three times as long for a table of so many columns.

    Returns
    -------
    pandas.DataFrame
        float64, cells in the index, gene symbols as columns. It is made once: copy before changing it.
    """
    path = _package("celltypist") / "data" / "samples" / "sample_cell_by_gene.csv"
    with path.open(encoding="utf-8") as file:
        genes = file.readline().rstrip("\n").split(",")[1:]
        names, rows = [], []
        for line in file:
            name, _, numbers = line.partition(",")
            names.append(name)
            rows.append(np.fromstring(numbers, sep=","))
    return pd.DataFrame(np.vstack(rows), index=names, columns=genes)


def _package(name: str) -> Path:
    """A package's folder, without importing it: scanpy and CellTypist take seconds."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        msg = f"{name} is not installed" + (": pip install 'biocolab_accessor[demo]'" if name == "celltypist" else "")
        raise ModuleNotFoundError(msg)
    return Path(spec.origin).parent
