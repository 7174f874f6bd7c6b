"""Export: a whole study as one h5ad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import pandas as pd
from anndata.experimental import write_dispatched

from biocolab_accessor.sandbox.store.durable import publish, remove
from biocolab_accessor.sandbox.store.private import private_file
from biocolab_accessor.sandbox.store.study_folder import StudyFolder
from biocolab_accessor.storage.sink import Sink

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
    try:
        private_file(part)
        with Sink(part) as sink, h5py.File(sink, "w") as file:

            def step(write: Any, group: Any, key: str, element: Any, *, dataset_kwargs: Any, iospec: Any) -> None:
                sink.expect()
                write(group, key, element, dataset_kwargs=dataset_kwargs)

            write_dispatched(file, "/", adata, step)
        publish(part, path)
    finally:
        remove(part)
