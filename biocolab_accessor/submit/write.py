"""Write: the files of a plan, one for each batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.check.matrix_choice import stored_dtype
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.io.columns import as_frame, chosen_columns, labels_of
from biocolab_accessor.io.compression import Compression
from biocolab_accessor.io.matrix_blocks import row_blocks, source_of
from biocolab_accessor.io.write_h5ad import write_h5ad
from biocolab_accessor.messages import quoted
from biocolab_accessor.submit.plan import Plan, encode, encoded_obsm

__all__ = ["Tables", "rows_of", "tables_of", "write_plan"]


class Tables:
    """The matrix and tables that the files contain, encoded once for all batches."""

    # Once for all: a column could get a different dtype in one batch, such as integers where no value is missing.

    def __init__(self, adata: AnnData, plan: Plan) -> None:
        assert plan.slot is not None  # a plan without a matrix has errors, and is never written
        self.summary = next(summary for summary in plan.slots if summary.slot == plan.slot)
        self.raw = plan.input_matrix_type == "raw"
        self.source = source_of(adata, plan.slot)
        encoded = plan.encoded
        if encoded is None:
            obs = chosen_columns(as_frame(adata.obs), plan.chosen)
            encoded = encode(adata, plan.slot, obs, encoded_obsm(adata), gene_symbols=plan.gene_symbols)
        self.obs, self.var, self.obsm = encoded

    def write(self, path: Path, rows: NDArray[np.intp] | None, compression: Compression) -> None:
        """Write one file with the selected cells, or all of them."""
        write_h5ad(
            path,
            row_blocks(self.source, rows),
            rows_of(self.obs, rows),
            self.var,
            {key: rows_of(value, rows) for key, value in self.obsm.items()},
            dtype=stored_dtype(self.summary, raw=self.raw),
            whole=self.raw and self.summary.noise > 0,
            as_raw=self.raw,
            compression=compression,
        )


def write_plan(adata: AnnData, plan: Plan, folder: str | Path, *, compression: Compression = "gzip") -> list[Path]:
    """Write the files of a plan, one per batch, and return their paths in the order of ``plan.batches``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    tables = tables_of(adata, plan)
    paths = [target / batch.file_name for batch in plan.batches]
    if plan.batch_key is None:
        tables.write(paths[0], None, compression)
        return paths
    labels = labels_of(as_frame(adata.obs)[plan.batch_key]).to_numpy()
    for batch, path in zip(plan.batches, paths, strict=True):
        rows = np.flatnonzero(labels == batch.name)
        if len(rows) != batch.n_obs:
            msg = f"batch {quoted(batch.name)} has {len(rows):,} cells, but {batch.n_obs:,} in the plan: plan again"
            raise InvalidArgument(msg)
        tables.write(path, rows, compression)
    return paths


def tables_of(adata: AnnData, plan: Plan) -> Tables:
    """The tables and matrix of a plan; InvalidArgument if the object has another shape by now."""
    assert plan.slot is not None
    now = (adata.n_obs, plan.slot.shape(adata)[1])
    if now != (plan.n_obs, plan.n_vars):
        msg = f"the object is {now[0]:,} x {now[1]:,}, but {plan.n_obs:,} x {plan.n_vars:,} in the plan: plan again"
        raise InvalidArgument(msg)
    return Tables(adata, plan)


def rows_of(value: Any, rows: NDArray[np.intp] | None) -> Any:
    """The selected rows of an array, a sparse matrix or a table; None means all."""
    if rows is None:
        return value
    return value.iloc[rows] if isinstance(value, pd.DataFrame) else value[rows]
