"""Score: how well cell types fit a list of marker genes, and how sure that is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ranks_by_gene", "score_types"]

_CHANCE = 0.5
# Markers that say nothing, drawn along with the others: a single marker must not look sure.
_NEUTRAL = 2


def ranks_by_gene(summary: pd.DataFrame) -> pd.DataFrame:
    """The rank of each cell type for each gene, by mean expression over all cells of the type.

    Parameters
    ----------
    summary
        As :func:`biocolab_accessor.expression_summary` gives it.

    Returns
    -------
    pandas.DataFrame
        Genes x cell types, from 0 (least) to 1 (most); ties share their mean; NaN where the database has no numbers of
        a gene for a type. Where there is one type only, there is nothing to rank: 0.5.

    Examples
    --------
    >>> summary = pd.DataFrame(
    ...     {"gene": ["CD3D"] * 3, "cell_type": ["B", "NK", "T"], "mean": [1.0, 1.0, 3.0], "rate": [0.1, 0.1, 0.9]}
    ... )
    >>> ranks_by_gene(summary).loc["CD3D"].tolist()
    [0.25, 0.25, 1.0]
    """
    level = summary["mean"].to_numpy(np.float64) * summary["rate"].to_numpy(np.float64)
    flat = pd.DataFrame({"gene": summary["gene"], "cell_type": summary["cell_type"], "level": level})
    types, genes = list(dict.fromkeys(flat["cell_type"])), list(dict.fromkeys(flat["gene"]))
    wide = flat.groupby(["gene", "cell_type"], sort=False, observed=True)["level"].mean().unstack()
    wide = wide.reindex(index=genes, columns=types)
    ranks = wide.rank(axis=1, method="average") - 1
    most = wide.notna().sum(axis=1) - 1
    shared = ranks.div(most.where(most > 0), axis=0)
    return shared.where(wide.isna() | (most > 0).to_numpy()[:, None], _CHANCE)


def score_types(ranks: pd.DataFrame, *, n_resamples: int, seed: int) -> pd.DataFrame:
    """Scores of cell types for the marker genes of one cluster.

    Parameters
    ----------
    ranks
        Markers x cell types, as :func:`ranks_by_gene` gives them. A missing rank counts 0.5, as chance would: a type
        that was hardly measured cannot win by a few genes.
    n_resamples
        How often the markers are drawn anew, with replacement, and with two among them that say nothing, so that a
        single marker does not look sure.
    seed
        Of these draws.

    Returns
    -------
    pandas.DataFrame
        A row for each cell type, best first: ``cell_type``; ``score``; ``rank`` (from 1; types with equal scores have
        the same); ``margin`` to the best other type; ``support``, the share of draws in which the type is first (shared
        by those that tie); ``uncertainty``, which is 1 - support; ``n_genes`` that were measured for the type.
    """
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
