"""Pipeline folder: output of a pipeline that servers do not read, and the line that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from biocolab_accessor.naming import quoted

__all__ = ["pipeline_in"]


class _Pipeline(NamedTuple):
    """What a pipeline writes: a matrix with cells in rows, and what names its cells and genes."""

    name: str
    matrix: tuple[str, ...]
    cells: str
    genes: str
    reading_cells: str
    reading_genes: str


_NAMES = "names=['{}'], index_col='{}'"
_PIPELINES = (
    _Pipeline(
        "Parse Biosciences",
        ("DGE.mtx", "count_matrix.mtx"),
        "cell_metadata.csv",
        "all_genes.csv",
        "index_col=0",
        "index_col='gene_name'",
    ),
    _Pipeline(
        "kallisto|bustools",
        ("cells_x_genes.mtx",),
        "cells_x_genes.barcodes.txt",
        "cells_x_genes.genes.txt",
        _NAMES.format("barcode", "barcode"),
        _NAMES.format("gene", "gene"),
    ),
    _Pipeline(
        "alevin-fry",
        ("quants_mat.mtx",),
        "quants_mat_rows.txt",
        "quants_mat_cols.txt",
        _NAMES.format("barcode", "barcode"),
        _NAMES.format("gene", "gene"),
    ),
)


def pipeline_in(folder: Path) -> str:
    """What a folder is, with the line that reads it, as the end of a sentence; empty of any other folder."""
    there = {entry.name.removesuffix(".gz"): entry for entry in folder.iterdir()}
    for pipeline in _PIPELINES:
        matrix = next((name for name in pipeline.matrix if name in there), None)
        if matrix is None or not {pipeline.cells, pipeline.genes} <= there.keys():
            continue
        paths = [quoted(str(there[name])) for name in (matrix, pipeline.cells, pipeline.genes)]
        line = (
            f"adata = anndata.AnnData(scanpy.read_mtx({paths[0]}).X, pandas.read_csv({paths[1]}, "
            f"{pipeline.reading_cells}), pandas.read_csv({paths[2]}, {pipeline.reading_genes}))"
        )
        return (
            f"with the output of {pipeline.name}, which servers do not read. Read it with {line}, and submit "
            "that: adata.biocolab.submit(…)"
        )
    return ""
