"""Markers: the genes that distinguish a cluster from the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.check.matrix_choice import choose_matrix
from biocolab_accessor.check.matrix_stats import describe
from biocolab_accessor.errors import InvalidArgument, UnknownField
from biocolab_accessor.io.columns import as_frame
from biocolab_accessor.io.matrix_blocks import Slot, filled_slots, row_blocks, source_of
from biocolab_accessor.messages import did_you_mean, listing, quoted
from biocolab_accessor.protocol import argument_names

_RESULT = "rank_genes_groups"
_LEAST_HIGHER = 0.9
_TARGET = 1e4


class Markers(NamedTuple):
    """Marker genes by cluster, best first."""

    genes: dict[str, list[str]]
    origin: str
    of_raw: bool = False  # whether the names are those of raw


def markers_of(
    adata: AnnData,
    clusters: pd.Categorical[Any] | None,
    groupby: str,
    markers: Mapping[str, Sequence[str]] | str | None,
    n_genes: int,
) -> Markers:
    """The markers of each cluster; see :meth:`AnnDataAccessor.annotate`."""
    if isinstance(markers, Mapping):
        given = {
            str(name): list(dict.fromkeys(argument_names(genes, f"markers[{quoted(str(name))}]")))[:n_genes]
            for name, genes in markers.items()
        }
        _expect_clusters(given, clusters, groupby, "markers")
        return Markers(given, "given")
    if markers is not None and not isinstance(markers, str):
        msg = f"markers is of type {type(markers).__name__}: give a dict of genes by cluster, or a key of uns"
        raise InvalidArgument(msg)
    if markers is not None and markers not in adata.uns:
        msg = f"uns has no {quoted(markers)}{did_you_mean(markers, list(adata.uns))} for markers"
        raise UnknownField(msg)
    if clusters is None:
        _raise_no_column("obs", adata.obs, groupby, "groupby")
    if markers is not None:
        result = _from_result(adata.uns[markers], markers, n_genes)
        _expect_clusters(result.genes, clusters, groupby, f"uns[{quoted(markers)}]")
        return result
    stored = adata.uns.get(_RESULT)
    if _is_about(stored, clusters, groupby):
        result = _from_result(stored, _RESULT, n_genes)
        if _are_higher(adata, clusters, result, stored["params"].get("layer")):
            return result
    return _computed(adata, clusters, n_genes)


def rank_genes(adata: AnnData, slot: Slot, clusters: pd.Categorical[Any], *, counts: bool) -> NDArray[np.float64]:
    """Welch's t as in ``scanpy.tl.rank_genes_groups(method="t-test")``: (n_clusters, n_genes) float64."""
    # Computed in blocks of cells. Counts are scaled to 10,000 per cell and log1p-transformed. The result is 0 for a
    # gene that does not vary, and infinite for one that varies only between a cluster and the rest.
    source = source_of(adata, slot)
    n_clusters, codes = len(clusters.categories), np.asarray(clusters.codes)
    sums, squares = np.zeros((2, n_clusters, source.shape[1]))
    start = 0
    for block in row_blocks(source):
        stop = start + block.shape[0]
        values = sparse.csr_matrix(block, dtype=np.float64, copy=True)
        if counts:
            totals = values @ np.ones(values.shape[1])
            values.data *= np.repeat(_TARGET / np.where(totals > 0, totals, 1), np.diff(values.indptr))
            np.log1p(values.data, out=values.data)
        has = np.flatnonzero(codes[start:stop] >= 0)
        member = sparse.csr_matrix((np.ones(len(has)), (codes[start:stop][has], has)), shape=(n_clusters, stop - start))
        sums += (member @ values).toarray()
        values.data **= 2
        squares += (member @ values).toarray()
        start = stop
    sizes = np.bincount(codes[codes >= 0], minlength=n_clusters)[:, None].astype(np.float64)
    mean, error = _mean_and_error(sums, squares, sizes)
    rest_mean, rest_error = _mean_and_error(sums.sum(0) - sums, squares.sum(0) - squares, sizes.sum() - sizes)
    deviation = np.sqrt(error + rest_error)
    difference = mean - rest_mean
    # The rounding error of a constant gene must not become infinite.
    differs = np.abs(difference) > 1e-9 * (np.abs(mean) + np.abs(rest_mean))
    constant = np.where(differs, np.copysign(np.inf, difference), 0.0)
    return np.divide(difference, deviation, out=constant, where=deviation > 0)


def translate(adata: AnnData, markers: Markers, gene_symbols: str) -> Markers:
    """The markers by the names in a column of var; genes without a name there keep theirs."""
    var = as_frame(adata.raw.var if markers.of_raw else adata.var)
    if gene_symbols not in var.columns:
        _raise_no_column("raw.var" if markers.of_raw else "var", var, gene_symbols, "gene_symbols")
    known = var[gene_symbols].astype(object)
    symbol = {str(gene): str(name) for gene, name in known[known.notna() & (known != "")].items()}
    genes = {
        name: list(dict.fromkeys(symbol.get(gene, gene) for gene in every)) for name, every in markers.genes.items()
    }
    return markers._replace(genes=genes)


def _raise_no_column(where: str, table: Any, name: object, argument: str) -> NoReturn:
    columns = [str(column) for column in table.columns]
    near = did_you_mean(name, columns)
    msg = f"{where} has no column {quoted(name)}{near} for {argument}; it has {listing(columns)}"
    raise UnknownField(msg)


def _mean_and_error(
    sums: NDArray[np.float64], squares: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and their squared standard errors; the error of a single cell counts as zero."""
    mean = sums / np.maximum(sizes, 1)
    variance = np.maximum(squares - sizes * mean**2, 0) / np.maximum(sizes - 1, 1)
    return mean, variance / np.maximum(sizes, 1)


def _computed(adata: AnnData, clusters: pd.Categorical[Any], n_genes: int) -> Markers:
    if len(clusters.categories) < 2:
        msg = f"there are {len(clusters.categories)} clusters, but finding markers needs at least two"
        raise InvalidArgument(msg)
    slot, counts = _expression(adata)
    scores = rank_genes(adata, slot, clusters, counts=counts)
    names = np.asarray(adata.raw.var_names if slot.kind == "raw.X" else adata.var_names, dtype=object)
    genes = {}
    for label, row in zip(clusters.categories, scores, strict=True):
        order = np.argsort(-row, kind="stable")[:n_genes]
        genes[str(label)] = [str(name) for name in dict.fromkeys(names[order[row[order] > 0]])]
    how = f"{slot} after log-normalization" if counts else str(slot)
    return Markers(genes, f"found by Welch's t-test on {how}", slot.kind == "raw.X")


def _expression(adata: AnnData) -> tuple[Slot, bool]:
    """The matrix in which to find markers, and whether it holds counts."""
    choice = choose_matrix(adata)
    if choice.input_matrix_type == "raw":
        return choice.slot, True
    # Scaled values hide differences in expression, so the values that they were computed from are better.
    raw = Slot("raw.X")
    is_scaled = choice.chosen.n_negative and raw in filled_slots(adata)
    if is_scaled and describe(source_of(adata, raw), raw).kind == "lognorm":
        return raw, False
    return choice.slot, False


def _is_about(result: Any, clusters: pd.Categorical[Any], groupby: str) -> bool:
    """Whether a result of rank_genes_groups compares each of these clusters with the rest."""
    if not isinstance(result, Mapping) or not isinstance(result.get("params"), Mapping):
        return False
    params, groups = result["params"], getattr(getattr(result.get("names"), "dtype", None), "names", None)
    return (
        str(params.get("groupby")) == groupby
        and str(params.get("reference", "rest")) == "rest"
        and groups is not None
        and set(groups) == set(map(str, clusters.categories))
    )


def _are_higher(adata: AnnData, clusters: pd.Categorical[Any], markers: Markers, layer: Any) -> bool:
    """Whether markers are higher in their clusters: new clusters often have the names of old ones."""
    slot = Slot("raw.X") if markers.of_raw else Slot("layer", str(layer)) if layer else Slot("X")
    if slot not in filled_slots(adata):
        return True
    place = {str(name): i for i, name in enumerate(adata.raw.var_names if markers.of_raw else adata.var_names)}
    scores = rank_genes(adata, slot, clusters, counts=False)
    higher = [
        scores[code, [place[gene] for gene in markers.genes[str(label)] if gene in place]] > 0
        for code, label in enumerate(clusters.categories)
    ]
    return all(each.mean() >= _LEAST_HIGHER for each in higher if len(each))


def _from_result(result: Any, key: str, n_genes: int) -> Markers:
    """Genes of a rank_genes_groups result that are higher in the cluster than in the rest."""
    names = result.get("names") if isinstance(result, Mapping) else None
    groups = getattr(getattr(names, "dtype", None), "names", None)
    if names is None or groups is None:
        msg = f"uns[{quoted(key)}] is not a result of scanpy.tl.rank_genes_groups"
        raise InvalidArgument(msg)
    genes = {}
    for group in groups:
        higher = np.ones(len(names), bool)
        for measure in ("scores", "logfoldchanges"):
            if measure in result and group in (result[measure].dtype.names or ()):
                # scanpy's fold changes of scaled values are NaN, which excludes no gene
                higher &= ~(np.asarray(result[measure][group], np.float64) <= 0)
        genes[str(group)] = [str(name) for name in dict.fromkeys(names[group][higher])][:n_genes]
    of_raw = bool(result.get("params", {}).get("use_raw", False))
    return Markers(genes, f"uns[{quoted(key)}]", of_raw)


def _expect_clusters(genes: Mapping[str, Any], clusters: pd.Categorical[Any] | None, groupby: str, where: str) -> None:
    if not genes:
        msg = f"{where} is empty: give genes for at least one cluster"
        raise InvalidArgument(msg)
    if clusters is None:
        return
    there = [str(label) for label in clusters.categories]
    for name in genes:
        if name not in there:
            near = did_you_mean(name, there)
            column = f"obs[{quoted(groupby)}]"
            msg = f"{where} has a cluster {quoted(name)} that {column} lacks{near}; it has {listing(there)}"
            raise UnknownField(msg)
