"""Rules about size."""

from __future__ import annotations

from collections.abc import Iterator

from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.check.size import bytes_of, server_bytes

# What is smaller takes seconds; its size stands in the plan.
_WORTH_SAYING = 50e6


@rule("BC601", "note")
def size(context: Context) -> Iterator[Finding]:
    """How much will be sent, where that is worth to know before."""
    if context.choice is None:
        return
    summary = context.choice.chosen
    obsm = context.adata.obsm
    n_bytes = bytes_of(summary, context.tables["obs"], (obsm[key] for key in obsm))
    if n_bytes >= _WORTH_SAYING:
        n_obs, n_vars = summary.shape
        yield found(
            str(summary.slot),
            f"{n_obs:,} cells x {n_vars:,} genes, {summary.nnz:,} values that are not zero: about "
            f"{n_bytes / 1e6:,.0f} MB before compression; a server that normalises it and computes embeddings needs "
            f"some {server_bytes(summary) / 1e9:,.1f} GB of memory",
        )
