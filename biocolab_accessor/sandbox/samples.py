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

    The file's values are off whole numbers by up to 4e-11, and are given as they are.

    Returns
    -------
    pandas.DataFrame
        float64, cells in the index, gene symbols as columns. It is made once: copy before changing it.
    """
    path = _package("celltypist") / "data" / "samples" / "sample_cell_by_gene.csv"
    with path.open("rb") as file:
        genes = file.readline().decode().rstrip().split(",")[1:]
        names, rows = [], []
        for line in file:
            name, _, numbers = line.rstrip().partition(b",")
            names.append(name.decode())
            rows.append(_mostly_zero(numbers))
    return pd.DataFrame(np.vstack(rows), index=names, columns=genes)


def _mostly_zero(text: bytes) -> np.ndarray:
    """Numbers between commas. Only those other than 0 and 0.0 are parsed: pandas takes ten times as long."""
    characters = np.frombuffer(text + b",", np.uint8)
    ends = np.flatnonzero(characters == ord(","))
    starts = np.append(0, ends[:-1] + 1)
    zero = characters[starts] == ord("0")
    zero &= (ends - starts == 1) | ((ends - starts == 3) & (characters[ends - 2] == ord(".")))
    zero &= characters[ends - 1] == ord("0")
    values = np.zeros(len(ends))
    others = np.flatnonzero(~zero)
    values[others] = [float(text[start:end]) for start, end in zip(starts[others], ends[others], strict=True)]
    return values


def _package(name: str) -> Path:
    """A package's folder, without importing it: scanpy and CellTypist take seconds."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        msg = f"{name} is not installed" + (": pip install 'biocolab_accessor[demo]'" if name == "celltypist" else "")
        raise ModuleNotFoundError(msg)
    return Path(spec.origin).parent
