"""Export: a whole study as one h5ad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import pandas as pd

from biocolab_accessor.sandbox.store.durable import publish
from biocolab_accessor.sandbox.store.private import private_file
from biocolab_accessor.sandbox.store.study_folder import StudyFolder

__all__ = ["write_export"]


def write_export(folder: StudyFolder, path: Path) -> None:
    """Write log-normalised values as X, what was submitted as ``layers["counts"]``, obs and embeddings."""
    columns: dict[str, Any] = {}
    for name, column in folder.obs.columns.items():
        if column.labels is None:
            values, missing = column.values, column.missing
            whole = None if missing is None else pd.arrays.IntegerArray(values, missing)
            columns[name.replace("/", "_")] = values if whole is None else whole
        else:
            columns[name.replace("/", "_")] = pd.Categorical.from_codes(
                column.values, pd.Index(list(column.labels), dtype=object)
            )
    index = pd.Index(folder.barcodes, dtype=object)
    adata = ad.AnnData(
        folder.matrix("lognorm").tocsr(),
        obs=pd.DataFrame(columns, index=index),
        var=pd.DataFrame(index=pd.Index(folder.features, dtype=object)),
        obsm={
            row["embedding_name"].replace("/", "_"): folder.embedding(row["embedding_id"]) for row in folder.embeddings
        },
        layers={"counts": folder.matrix("raw").tocsr()},
    )
    part = path.with_suffix(".part")
    private_file(part)
    adata.write_h5ad(part)
    publish(part, path)
