"""Dot plot: where a database expresses genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from anndata import AnnData

from biocolab_accessor.atlas import expression_summary
from biocolab_accessor.errors import InvalidArgument

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.clients.bioflex import Database

__all__ = ["plot_summary"]

_MOST_DRAWN = 100


def plot_summary(
    adata: AnnData,
    genes: Sequence[str] | str | None,
    *,
    database: Database | None,
    standard_scale: Literal["gene"] | None,
    swap_axes: bool,
    cmap: str,
    ax: Axes | None,
) -> Figure:
    """Draw where a database expresses genes; see :meth:`AnnDataAccessor.plot_expression_summary`."""
    from biocolab_accessor.plotting.dots import expression_dotplot

    if genes is None and adata.n_vars > _MOST_DRAWN:
        msg = f"the object has {adata.n_vars:,} genes, and a dot plot room for {_MOST_DRAWN}: give genes"
        raise InvalidArgument(msg)
    wanted = [str(name) for name in adata.var_names] if genes is None else genes
    return expression_dotplot(
        expression_summary(wanted, database=database),
        standard_scale=standard_scale,
        swap_axes=swap_axes,
        cmap=cmap,
        ax=ax,
    )
