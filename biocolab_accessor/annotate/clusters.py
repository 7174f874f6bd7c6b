"""Clusters: cell types for clusters by their markers, with a score for each type."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.annotate.annotation import Annotation, expect_integer, own_studies
from biocolab_accessor.annotate.markers import markers_of, translate
from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.errors import InvalidArgument, UnknownGene
from biocolab_accessor.io.columns import as_frame
from biocolab_accessor.io.values import labelled
from biocolab_accessor.messages import listing, naturally_sorted, quoted, warn
from biocolab_accessor.studies.catalog import database as newest
from biocolab_accessor.studies.catalog import expression_summary

_AT_ONCE = 200
_NEAR = re.compile(r"\(did you mean .*?\)")


def summaries_of(genes: Sequence[str], database: Database) -> tuple[pd.DataFrame, list[str]]:
    """Expression summaries of many genes, and the genes that the database lacks; UnknownGene if it lacks all."""
    # It warns if the database lacks most of them. Servers reject a whole request for one unknown gene, and do not list
    # the genes that they have. We leave out genes that the error names; if it names none, we halve the request.
    frames: list[pd.DataFrame] = []
    missing: set[str] = set()
    refusals: list[UnknownGene] = []
    waiting = [list(genes[i : i + _AT_ONCE]) for i in range(0, len(genes), _AT_ONCE)]
    while waiting:
        asked = waiting.pop(0)
        try:
            frames.append(expression_summary(asked, database=database))
        except UnknownGene as error:
            refusals.append(error)
            named = _named(str(error), asked)
            if named:
                missing.update(named)
                waiting.append([gene for gene in asked if gene not in named])
            elif len(asked) == 1:
                missing.update(asked)
            else:
                waiting += [asked[: len(asked) // 2], asked[len(asked) // 2 :]]
    which, n_genes = f"the database ({database.species} version {database.version})", len(genes)
    remedy = "The markers must be gene symbols; if they are in a column of var, give its name as gene_symbols="
    if database.species == "human":
        remedy = f"For another species than human, give database=bc.database('mouse'). {remedy}"
    if not frames:
        msg = f"{which} has none of the {n_genes} marker genes {listing(genes, limit=4)}: {refusals[0]}. {remedy}"
        raise UnknownGene(msg) from refusals[0]
    lacking = [gene for gene in genes if gene in missing]
    if 2 * len(lacking) > n_genes:
        few = f"such as {listing(lacking, limit=3)}, so the cell types are based on few genes"
        warn(f"{which} lacks {len(lacking)} of the {n_genes} marker genes, {few}. {remedy}")
    return pd.concat(frames, ignore_index=True), lacking


def _named(message: str, asked: Sequence[str]) -> set[str]:
    """Requested genes that an error names, unless it names all of them."""
    plain = _NEAR.sub("", message)
    named = {gene for gene in asked if repr(gene) in plain}
    return named if len(named) < len(asked) else set()


_CHANCE = 0.5

# Uninformative markers drawn with the others, so that a single marker does not look certain.
_NEUTRAL = 2


def ranks_by_gene(summary: pd.DataFrame) -> pd.DataFrame:
    """Genes x cell types: ranks of mean expression over all cells of a type, from 0 (lowest) to 1 (highest)."""
    # Ties share their mean rank. A rank is NaN if the summary lacks the gene for a type, and 0.5 for a single type.
    level = summary["mean"].to_numpy(np.float64) * summary["rate"].to_numpy(np.float64)
    flat = pd.DataFrame({"gene": summary["gene"], "cell_type": summary["cell_type"], "level": level})
    wide = flat.groupby(["gene", "cell_type"], sort=False, observed=True)["level"].mean().unstack()
    wide = wide.reindex(index=flat["gene"].unique(), columns=flat["cell_type"].unique())
    ranks = wide.rank(axis=1, method="average") - 1
    most = wide.notna().sum(axis=1) - 1
    shared = ranks.div(most.where(most > 0), axis=0)
    return shared.where(wide.isna() | (most > 0).to_numpy()[:, None], _CHANCE)


def score_types(ranks: pd.DataFrame, *, n_resamples: int, seed: int) -> pd.DataFrame:
    """Scores of cell types for the markers of one cluster, best first; see :class:`Annotation` for the columns."""
    # A missing rank counts as chance, so that a type with few measured genes cannot win by them.
    filled = ranks.fillna(_CHANCE).to_numpy(np.float64)
    scores = filled.mean(axis=0)
    support = _support(filled, n_resamples, seed)
    best, second = np.sort(scores)[::-1][:2] if len(scores) > 1 else (scores[0], np.nan)
    is_only_best = (scores == best) & (np.sum(scores == best) == 1)
    margin = scores - np.where(is_only_best, second, best)
    table = pd.DataFrame(
        {
            "cell_type": ranks.columns.astype(str),
            "score": scores,
            "rank": pd.Series(scores).rank(ascending=False, method="min").astype(int).to_numpy(),
            "margin": margin,
            "support": support,
            "uncertainty": 1 - support,
            "n_genes": ranks.notna().sum(axis=0).to_numpy(),
        }
    )
    return table.sort_values(["score", "support"], ascending=False, kind="stable").reset_index(drop=True)


def _support(filled: NDArray[np.float64], n_resamples: int, seed: int) -> NDArray[np.float64]:
    markers = np.vstack([filled, np.full((_NEUTRAL, filled.shape[1]), _CHANCE)])
    number = len(markers)
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=n_resamples)
    sums = draws @ markers
    first = sums >= sums.max(axis=1, keepdims=True) - 1e-9
    support: NDArray[np.float64] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return support


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
        expect_integer(name, value, least)
    obs = as_frame(adata.obs)
    clusters = _clusters(obs, groupby)
    if key_added is not None and (not isinstance(key_added, str) or not key_added or key_added == groupby):
        msg = f"key_added is {quoted(key_added)}: give a column name that differs from groupby"
        raise InvalidArgument(msg)
    if key_added is not None and clusters is None:
        msg = f"obs has no column {quoted(groupby)}, so key_added has no clusters to write cell types for"
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
    ranks, unknown = ranks_by_gene(summary), set(missing)
    parts = []
    for cluster, genes in found.genes.items():
        known = [gene for gene in genes if gene not in unknown]
        absent = tuple(gene for gene in genes if gene in unknown)
        if known:
            part = score_types(ranks.loc[known], n_resamples=n_resamples, seed=seed)
        else:
            part = pd.DataFrame({"cell_type": [None], "n_genes": [0]})
        lacking = pd.Series([absent] * len(part), dtype=object)
        parts.append(part.assign(cluster=cluster, n_missing=len(absent), genes_missing=lacking))
    own, notes = own_studies(adata, obs, source)
    for study in own:
        warn(str(study))
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
    """The cluster of each cell as a string, without empty clusters; None if obs has no such column."""
    if not isinstance(groupby, Hashable) or groupby not in obs.columns:
        return None
    column = obs[groupby]
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = [str(label) for label in column.cat.remove_unused_categories().cat.categories]
    else:
        labels = naturally_sorted(map(str, column.dropna().unique()))
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
