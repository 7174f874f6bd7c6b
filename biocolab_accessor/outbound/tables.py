"""Tables: everything of an object that goes into the files of a submission."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.blocks import row_blocks, source_of
from biocolab_accessor.check.columns import as_frame, chosen_columns
from biocolab_accessor.check.size import stored_dtype
from biocolab_accessor.check.summary import SlotSummary
from biocolab_accessor.outbound.shadow import rows_of, shadow_frame, shadow_obsm
from biocolab_accessor.storage.csr import Compression
from biocolab_accessor.storage.h5ad import write_h5ad

__all__ = ["Tables"]


class Tables:
    """Everything of an object that goes into files, made write-safe once for all batches.

    A column of one batch alone may look like another dtype than the whole, as whole numbers do where none is missing.

    Parameters
    ----------
    adata
        The object; it is not changed.
    summary
        Of the matrix that is sent.
    raw
        Whether it is sent as counts.
    obs
        Columns of obs that are sent; None means all.
    """

    def __init__(self, adata: AnnData, summary: SlotSummary, *, raw: bool, obs: Sequence[str] | None = None) -> None:
        self.summary, self.raw = summary, raw
        self.source = source_of(adata, summary.slot)
        self.obs = shadow_frame(chosen_columns(as_frame(adata.obs), obs), "obs")[0]
        self.var = shadow_frame(as_frame(adata.raw.var if summary.slot.kind == "raw.X" else adata.var), "var")[0]
        self.obsm = shadow_obsm(adata).sent

    def write(self, path: Path, rows: NDArray[np.intp] | None, compression: Compression) -> None:
        """Write one file with some of the cells, or all."""
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
