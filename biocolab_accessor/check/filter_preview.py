"""Filter preview: which cells the filters keep, computed before anything is sent, and the rules about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.check.filters import Kept, failing, measure, mitochondrial
from biocolab_accessor.check.matrix_choice import choose_matrix
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import AmbiguousName, EmptyAnnData, InvalidArgument, UnknownField, public
from biocolab_accessor.io.column_text import category_texts
from biocolab_accessor.io.columns import as_frame, batches_of
from biocolab_accessor.io.matrix_blocks import Slot, source_of
from biocolab_accessor.io.values import labelled
from biocolab_accessor.messages import did_you_mean, listing, quoted
from biocolab_accessor.protocol import Bounds, Filters, is_finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOUNDS = ("min_counts", "max_counts", "min_genes", "max_genes", "mt_percentage")
_ALL = "all cells"
_MOST_ROWS = 12


@public
@dataclass(frozen=True, repr=False, eq=False)
class FilterPreview:
    """The cells that the filters of a submission would keep; returned by ``adata.biocolab.preview_filters``.

    Attributes
    ----------
    table
        One row for each batch and one for all cells: ``cells``, ``kept``, ``kept_percent``, ``removed`` (by all filters
        together), and for each filter the number of cells that it would remove if it were the only one.
    kept
        bool by barcode: whether the server keeps the cell.
    fails
        bool, cells x filters: which filters a cell fails.
    qc
        By barcode: ``batch``, ``counts`` (sum, float64), ``genes`` (expressed, int64), ``mt_percent`` (of the counts,
        0 to 100).
    suggestions
        By batch, and for all cells: bounds at the median ± ``n_mads`` MAD of the logarithm of counts and genes, and at
        the median + ``n_mads_mt`` MAD of ``mt_percent``. NaN where a bound would not be meaningful.
    filters
        The bounds of the call.
    slot, input_matrix_type
        The matrix that would be sent, and whether it is sent as raw or normalized.
    mt_genes
        The mitochondrial genes: names that begin with ``MT-``, in upper or lower case.
    n_mads, n_mads_mt
        Distance of the suggestions from the median, in median absolute deviations.
    colors
        A color for each batch, if ``uns`` has them.
    """

    table: pd.DataFrame
    kept: pd.Series
    fails: pd.DataFrame
    qc: pd.DataFrame
    suggestions: pd.DataFrame
    filters: Filters
    slot: Slot
    input_matrix_type: Literal["raw", "normalized"]
    mt_genes: tuple[str, ...]
    n_mads: float
    n_mads_mt: float
    colors: tuple[str, ...] | None = None

    @property
    def n_kept(self) -> int:
        """Number of cells that the server keeps."""
        return int(self.kept.sum())

    @property
    def suggested(self) -> Bounds:
        """The suggestions for all cells as arguments: ``adata.biocolab.submit(**preview.suggested)``."""
        row = self.suggestions.iloc[-1]
        return cast("Bounds", {name: _plain(value) for name, value in row.items() if not np.isnan(value)})

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds of the call, without those that are None."""
        return self.filters.given

    def plot(self, *, suggestions: bool = False) -> Figure:
        """Plot counts, genes and mitochondrial share by batch as violins, and counts against genes, with the bounds.

        Parameters
        ----------
        suggestions
            Also draw the suggestions of each batch, dotted.

        Returns
        -------
        matplotlib.figure.Figure
            Not registered with pyplot. A notebook shows it, and ``savefig`` saves it.

        Raises
        ------
        InvalidArgument
            More than 500 batches.
        """
        from biocolab_accessor.plotting.violins import plot_filters

        return plot_filters(
            self.qc,
            self.kept.to_numpy(),
            self.bounds,
            suggestions=self.suggestions if suggestions else None,
            colors=self.colors,
            what=self._what,
        )

    @property
    def _what(self) -> str:
        return "counts" if self.input_matrix_type == "raw" else "sum of normalized values"

    def _headline(self) -> str:
        n_cells = len(self.kept)
        share = f" ({100 * self.n_kept / n_cells:.1f} %)" if n_cells else ""
        return f"{self.n_kept:,} of {n_cells:,} cells kept{share} with {str(self.filters) or 'no filters'}"

    def _remarks(self) -> list[str]:
        remarks = [f"measured on {self.slot}, which is sent as {self.input_matrix_type}"]
        if self.suggested:
            given = ", ".join(f"{name}={value:g}" for name, value in self.suggested.items())
            remarks.append(
                f"suggested for all cells: {given} (median ± {self.n_mads:g} MAD of log counts and genes, "
                f"+ {self.n_mads_mt:g} MAD of the mitochondrial share)"
            )
        if not self.mt_genes:
            remarks.append("no gene is named MT-… or mt-…: mt_percentage removes nothing")
        if self.input_matrix_type == "normalized" and self.bounds:
            remarks.append("these are not counts: bounds apply to sums of normalized values")
        if not self.n_kept:
            remarks.append("no cells would be left: the server rejects such a submission")
        return remarks

    def _shown(self) -> pd.DataFrame:
        """The table, cut to the batches that lose most if it has many."""
        if len(self.table) <= _MOST_ROWS:
            return self.table
        worst = self.table.iloc[:-1].sort_values("kept_percent", kind="stable").index[: _MOST_ROWS - 1]
        return self.table.loc[[*worst, self.table.index[-1]]]

    def __repr__(self) -> str:
        shown = self._shown()
        lines = [f"FilterPreview: {self._headline()}", shown.round({"kept_percent": 1}).to_string()]
        if len(shown) < len(self.table):
            lines.append(f"({len(self.table) - len(shown):,} more batches that lose less: see .table)")
        return "\n".join([*lines, *self._remarks()])

    def _repr_html_(self) -> str:
        shown = self._shown()
        left, right = "text-align:left", "text-align:right"
        head = "".join(f"<th style='{right}'>{escape(str(name).replace('_', ' '))}</th>" for name in shown.columns)
        rows = "".join(
            f"<tr><td style='{left}'>{escape(str(label))}</td>"
            + "".join(
                f"<td style='{right}'>{value:,.1f} %</td>"
                if name == "kept_percent"
                else f"<td style='{right}'>{int(value):,}</td>"
                for name, value in row.items()
            )
            + "</tr>"
            for label, row in shown.iterrows()
        )
        remarks = self._remarks()
        if len(shown) < len(self.table):
            remarks.insert(0, f"{len(self.table) - len(shown):,} more batches that lose less: see .table")
        notes = "".join(f"<div style='opacity:0.75'>{escape(remark)}</div>" for remark in remarks)
        return (
            f"<div style='color:inherit'><table style='color:inherit'>"
            f"<caption style='{left};color:inherit'>FilterPreview: {escape(self._headline())}</caption>"
            f"<thead><tr><th style='{left}'>batch</th>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}</div>"
        )


def preview_filters(
    adata: AnnData,
    filters: Filters,
    *,
    batch_key: str | None = None,
    input_matrix_type: Any = "auto",
    n_mads: float = 5.0,
    n_mads_mt: float = 3.0,
) -> FilterPreview:
    """See :meth:`AnnDataAccessor.preview_filters`."""
    for name, value in (("n_mads", n_mads), ("n_mads_mt", n_mads_mt)):
        if isinstance(value, bool | str) or not is_finite(value) or value <= 0:
            msg = f"{name} is {quoted(value)}: it must be a finite number above 0"
            raise InvalidArgument(msg)
    obs = as_frame(adata.obs)
    batch = _batches(obs, batch_key)
    choice = choose_matrix(adata, input_matrix_type)
    features = adata.raw.var_names if choice.slot.kind == "raw.X" else adata.var_names
    mito = mitochondrial(features)
    quality = measure(source_of(adata, choice.slot), mito)
    qc = pd.DataFrame(
        {
            "batch": batch,
            "counts": quality.counts,
            "genes": quality.genes,
            "mt_percent": 100 * quality.mt_share,
        },
        index=adata.obs_names,
    )
    fails = pd.DataFrame(failing(filters, quality), index=adata.obs_names, dtype=bool)
    kept = pd.Series(~fails.to_numpy().any(axis=1), index=adata.obs_names, name="kept")
    groups = _groups(batch, by_batch=batch_key is not None)
    return FilterPreview(
        table=_table(groups, kept.to_numpy(), fails),
        kept=kept,
        fails=fails,
        qc=qc,
        suggestions=_suggestions(groups, qc, n_mads, n_mads_mt),
        filters=filters,
        slot=choice.slot,
        input_matrix_type=choice.input_matrix_type,
        mt_genes=tuple(str(name) for name in features[mito]),
        n_mads=n_mads,
        n_mads_mt=n_mads_mt,
        colors=None if batch_key is None else _colors(adata.uns.get(f"{batch_key}_colors"), obs[batch_key], batch),
    )


def _batches(obs: pd.DataFrame, batch_key: str | None) -> pd.Categorical[Any]:
    """The batch of each cell, with the batches in the order of a submission."""
    if batch_key is None:
        return pd.Categorical([_ALL] * len(obs), categories=[_ALL])
    if batch_key not in obs.columns:
        near = did_you_mean(str(batch_key), (name for name in obs.columns if isinstance(name, str)))
        msg = f"obs has no column {quoted(batch_key)}{near} for batch_key; it has {listing(obs.columns)}"
        raise UnknownField(msg)
    column = obs[batch_key]
    if isinstance(column, pd.DataFrame):
        msg = (
            f"obs has {column.shape[1]} columns {quoted(batch_key)} for batch_key: rename all but one of them in a copy"
        )
        raise AmbiguousName(msg)
    labels, order = batches_of(column)
    return labelled(labels, order)


def _groups(batch: pd.Categorical[Any], *, by_batch: bool) -> dict[str, NDArray[np.bool_]]:
    """The cells of each row of the tables; the last row has all cells."""
    codes = np.asarray(batch.codes)
    groups = {str(label): codes == code for code, label in enumerate(batch.categories)} if by_batch else {}
    name = _ALL
    while name in groups:
        name = f"{name} (total)"
    return {**groups, name: np.ones(len(codes), bool)}


def _table(groups: Mapping[str, NDArray[np.bool_]], kept: NDArray[np.bool_], fails: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for cells in groups.values():
        n_cells, n_kept = int(cells.sum()), int(kept[cells].sum())
        percent = 100 * n_kept / n_cells if n_cells else float("nan")
        alone = {name: int(fails[name].to_numpy()[cells].sum()) for name in fails}
        rows.append({"cells": n_cells, "kept": n_kept, "kept_percent": percent, "removed": n_cells - n_kept, **alone})
    return pd.DataFrame(rows, index=pd.Index(list(groups), name="batch"))


def _suggestions(
    groups: Mapping[str, NDArray[np.bool_]], qc: pd.DataFrame, n_mads: float, n_mads_mt: float
) -> pd.DataFrame:
    rows = []
    counted = not bool((qc["counts"] < 0).any())  # sums of scaled values mean nothing
    for cells in groups.values():
        part = qc[cells & (qc["counts"] > 0).to_numpy()]  # empty droplets would lower the median
        row = {}
        for name in ("counts", "genes"):
            middle, spread = _median_and_mad(np.log1p(part[name].to_numpy()))
            span = n_mads * spread if spread > 0 and counted else np.nan
            row[f"min_{name}"] = np.floor(np.expm1(max(middle - span, 0.0)))
            with np.errstate(over="ignore"):
                most = np.ceil(np.expm1(middle + span))
            row[f"max_{name}"] = most if np.isfinite(most) else np.nan
        middle, spread = _median_and_mad(part["mt_percent"].to_numpy())
        most = np.ceil(100 * (middle + n_mads_mt * spread)) / 100
        row["mt_percentage"] = most if spread > 0 and most < 100 and counted else np.nan
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(list(groups), name="batch"), columns=list(_BOUNDS), dtype=np.float64)


def _median_and_mad(values: NDArray[Any]) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    middle = float(np.median(values))
    return middle, float(np.median(np.abs(values - middle)))


def _colors(colors: Any, column: pd.Series, batch: pd.Categorical[Any]) -> tuple[str, ...] | None:
    """Colors of the batches, from the colors that scanpy stores for the categories of a column."""
    if colors is None or not isinstance(column.dtype, pd.CategoricalDtype) or len(colors) != len(column.cat.categories):
        return None
    by_label = dict(zip(category_texts(column.cat.categories), map(str, colors), strict=True))
    return tuple(by_label.get(str(label), "#999999") for label in batch.categories)


def _plain(value: Any) -> float:
    """A number as you would type it."""
    return int(value) if float(value).is_integer() else float(value)


# A matrix with its empty droplets usually keeps so few; one that was filtered before does so by mistake.
_FEW = 0.2


@rule("BC701", "note")
def cells_kept(context: Context) -> Iterator[Finding]:
    """How many cells the server would keep, and how many each filter would remove if it were the only one."""
    kept = context.kept
    if kept and kept.share >= _FEW:
        yield _said(context, kept)


@rule("BC702", "warning")
def few_cells_kept(context: Context) -> Iterator[Finding]:
    """Filters that keep less than a fifth of the cells are often meant for other data, or given in another unit."""
    kept = context.kept
    if kept and 0 < kept.share < _FEW:
        fix = f"See adata.biocolab.preview_filters(), which suggests bounds{_by_fraction(context, kept)}"
        yield _said(context, kept, fix)


@rule("BC703", "error", EmptyAnnData)
def no_cells_kept(context: Context) -> Iterator[Finding]:
    """A server cannot make a study of a submission in which no cell passes the filters."""
    kept = context.kept
    if kept and not kept.n_kept:
        fix = f"Use other bounds; see the suggestions of adata.biocolab.preview_filters(){_by_fraction(context, kept)}"
        yield _said(context, kept, fix)


@rule("BC704", "warning")
def batches_without_cells(context: Context) -> Iterator[Finding]:
    """A batch in which no cell passes the filters is missing from the study."""
    kept = context.kept
    if kept and kept.n_kept and kept.emptied:
        number = len(kept.emptied)
        what = f"{number:,} batches" if number > 1 else "one batch"
        fix = f"See adata.biocolab.preview_filters(batch_key={quoted(context.batch_key)})"
        yield found("filters", f"{what} would lose all cells", count=number,
                    examples=tuple(map(quoted, kept.emptied[:3])), fix=fix)  # fmt: skip


@rule("BC705", "warning")
def no_genes_for_mt_percentage(context: Context) -> Iterator[Finding]:
    """Without genes named ``MT-…`` or ``mt-…``, a filter by ``mt_percentage`` keeps every cell, damaged ones too."""
    kept, filters = context.kept, context.filters
    if kept and filters and filters.limits_mitochondrial and not kept.has_mitochondrial:
        ids = context.identifiers.ensembl
        why = f", since they have Ensembl ids ({ids[0]})" if len(ids) > 0.5 * max(1, context.identifiers.number) else ""
        fix = "Rename the genes to their symbols in a copy, or filter by a list of genes before submitting"
        message = f"mt_percentage={filters.mt_percentage:g} removes nothing: no gene is named MT-… or mt-…{why}"
        yield found("filters", message, fix=fix)


def _said(context: Context, kept: Kept, fix: str = "") -> Finding:
    assert context.choice is not None
    of = f"{context.choice.slot} as {context.choice.input_matrix_type}"
    if context.choice.input_matrix_type == "normalized" and {"min_counts", "max_counts"} & kept.removed.keys():
        of += ", whose sums are not counts"
    left = f"{kept.n_kept:,}" if kept.n_kept else "none"
    message = f"{left} of {kept.n_obs:,} cells would be kept ({100 * kept.share:.1f} %), measured on {of}"
    filters = context.filters or Filters()
    removed = tuple(
        f"{filters.shown(name) if name in filters.given else f'the cap on {name}'} removes {number:,}"
        for name, number in kept.removed.items()
    )
    return found("filters", message, count=kept.n_obs - kept.n_kept, examples=removed, fix=fix)


def _by_fraction(context: Context, kept: Kept) -> str:
    """A hint about percent, if ``mt_percentage`` looks like a fraction and removes most cells."""
    most = context.filters.mt_percentage if context.filters else None
    if most is None or not 0 < most <= 1 or kept.removed["mt_percentage"] < 0.5 * kept.n_obs:
        return ""
    return f". mt_percentage is in percent: {most:g} is {most:g} %, not {100 * most:g} %"
