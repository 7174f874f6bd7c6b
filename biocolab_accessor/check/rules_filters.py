"""Rules about the filters of a submission: how many cells they keep. Without filters, nothing is measured."""

from __future__ import annotations

from collections.abc import Iterator

from biocolab_accessor.check.qc import Kept
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import EmptyAnnData
from biocolab_accessor.messages import quoted
from biocolab_accessor.protocol import Filters

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
    """Without genes named ``MT-…``, a filter by ``mt_percentage`` keeps every cell, including damaged ones."""
    kept, filters = context.kept, context.filters
    if kept and filters and filters.limits_mitochondrial and not kept.has_mitochondrial:
        ids = context.identifiers.ensembl
        why = f", since they have Ensembl ids ({ids[0]})" if len(ids) > 0.5 * max(1, context.identifiers.number) else ""
        fix = "Rename the genes to their symbols in a copy, or filter by a list of genes before submitting"
        message = f"mt_percentage={filters.mt_percentage:g} removes nothing: no gene is named MT-…{why}"
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
