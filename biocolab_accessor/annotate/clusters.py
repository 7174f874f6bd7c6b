"""Clusters: naming them by their markers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import pandas as pd
from anndata import AnnData

from biocolab_accessor.annotate.annotation import Annotation
from biocolab_accessor.annotate.lookup import summaries_of
from biocolab_accessor.annotate.markers import markers_of, translate
from biocolab_accessor.annotate.own_study import own_studies
from biocolab_accessor.annotate.score import ranks_by_gene, score_types
from biocolab_accessor.atlas import database as newest
from biocolab_accessor.check.columns import as_frame
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import listing, natural_key, quoted
from biocolab_accessor.notice import notice
from biocolab_accessor.values import labelled

if TYPE_CHECKING:
    from biocolab_accessor.clients.bioflex import Database

__all__ = ["annotate"]

_COLUMNS = [
    "cluster",
    "cell_type",
    "score",
    "rank",
    "margin",
    "support",
    "uncertainty",
    "n_genes",
    "n_missing",
    "genes_missing",
]


def annotate(
    adata: AnnData,
    groupby: str = "leiden",
    *,
    markers: Mapping[str, Sequence[str]] | str | None = None,
    n_genes: int = 25,
    database: Database | None = None,
    gene_symbols: str | None = None,
    key_added: str | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Annotation:
    """Name clusters; see :meth:`AnnDataAccessor.annotate` for arguments and errors."""
    for name, value, least in (("n_genes", n_genes, 1), ("n_resamples", n_resamples, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            msg = f"{name} is {quoted(value)}: give a whole number of {least} or more"
            raise InvalidArgument(msg)
    obs = as_frame(adata.obs)
    clusters = _clusters(obs, groupby)
    if key_added is not None and (not isinstance(key_added, str) or not key_added or key_added == groupby):
        msg = f"key_added is {quoted(key_added)}: give the name of a column, another one than groupby"
        raise InvalidArgument(msg)
    if key_added is not None and clusters is None:
        msg = f"obs has no column {quoted(groupby)}: there are no cells to write cell types to with key_added"
        raise InvalidArgument(msg)
    found = markers_of(adata, clusters, groupby, markers, n_genes)
    if gene_symbols is not None:
        found = translate(adata, found, gene_symbols)
    source = database if database is not None else newest()
    every = list(dict.fromkeys(gene for genes in found.genes.values() for gene in genes))
    if not every:
        msg = f"no cluster of {quoted(groupby)} has a marker gene ({found.origin})"
        raise InvalidArgument(msg)
    summary, missing = summaries_of(every, source)
    if 2 * len(missing) > len(every):
        msg = (
            f"the database ({source.species} version {source.version}) lacks {len(missing)} of the {len(every)} marker "
            f"genes, such as {listing(missing, limit=3)}, so that the cell types rest on few: is it of the right "
            "species, and are these gene symbols? gene_symbols= names a column of var that has them"
        )
        notice(msg)
    ranks, unknown = ranks_by_gene(summary), set(missing)
    parts = []
    for cluster, genes in found.genes.items():
        known = [gene for gene in genes if gene not in unknown]
        absent = [gene for gene in genes if gene in unknown]
        if known:
            part = score_types(ranks.loc[known], n_resamples=n_resamples, seed=seed)
        else:
            part = pd.DataFrame({"cell_type": [None], "n_genes": [0]})
        parts.append(
            part.assign(
                cluster=cluster,
                n_missing=len(absent),
                genes_missing=pd.Series([tuple(absent)] * len(part), dtype=object),
            )
        )
    own, notes = own_studies(adata, obs, source)
    for study in own:
        notice(str(study))
    annotation = Annotation(
        table=_tidy(parts),
        markers=found.genes,
        summary=summary,
        groupby=groupby,
        origin=found.origin,
        database=f"{source.name} ({source.species} version {source.version})",
        own_studies=tuple(own),
        notes=(*map(str, own), *notes),
    )
    if key_added is not None and clusters is not None:
        adata.obs[key_added] = _column(annotation.best, clusters)
    return annotation


def _clusters(obs: pd.DataFrame, groupby: str) -> pd.Categorical[Any] | None:
    """The cluster of each cell as text, without those that no cell is in; None where there is no such column."""
    if not isinstance(groupby, Hashable) or groupby not in obs.columns:
        return None
    column = obs[groupby]
    present = column.dropna().unique()
    if isinstance(column.dtype, pd.CategoricalDtype):
        used = set(present)
        labels = [str(label) for label in column.cat.categories if label in used]
    else:
        labels = sorted(map(str, present), key=natural_key)
    texts = [None if missing else str(label) for label, missing in zip(column, column.isna(), strict=True)]
    return labelled(texts, list(dict.fromkeys(labels)))


def _tidy(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat([part.reindex(columns=_COLUMNS).astype(object) for part in parts], ignore_index=True)
    numbers = dict.fromkeys(["score", "margin", "support", "uncertainty"], "float64")
    return table.astype({**numbers, "rank": "Int64", "n_genes": "int64", "n_missing": "int64"})


def _column(best: pd.Series, clusters: pd.Categorical[Any]) -> pd.Categorical[Any]:
    names = {str(cluster): name for cluster, name in best.items()}
    order = list(dict.fromkeys(name for name in best if isinstance(name, str)))
    return labelled([names.get(label) for label in clusters], order)
