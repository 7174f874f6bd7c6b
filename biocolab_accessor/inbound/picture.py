"""Picture: a study's cells on one of its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.errors import UnknownEmbedding, UnknownField
from biocolab_accessor.inbound.embedding import obsm_keys
from biocolab_accessor.inbound.parts import StudyParts
from biocolab_accessor.naming import did_you_mean, listing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.plotting.embedding import LegendLoc

__all__ = ["plot_study"]

_FIRST = ("X_umap", "X_tsne")
_AXIS_NAMES = {"X_umap": "UMAP", "X_tsne": "tSNE", "X_pca": "PC"}


def plot_study(
    parts: StudyParts,
    color: str | None,
    *,
    basis: str | None = None,
    palette: Mapping[str, str] | Sequence[str] | None = None,
    cmap: str = "viridis",
    size: float | None = None,
    legend_loc: LegendLoc = "right margin",
    ax: Axes | None = None,
) -> Figure:
    """Draw a study; see :meth:`Study.plot` for arguments and errors."""
    from biocolab_accessor.plotting.embedding import draw_embedding

    values, unit = (None, "") if color is None else _values(parts, color)
    key, coordinates = _embedding(parts, basis)
    return draw_embedding(
        coordinates,
        values,
        axis_name=_AXIS_NAMES.get(key, key.removeprefix("X_")),
        title=color or "",
        unit=unit,
        palette=palette,
        cmap=cmap,
        size=size,
        legend_loc=legend_loc,
        ax=ax,
    )


def _embedding(parts: StudyParts, basis: str | None) -> tuple[str, NDArray[np.float32]]:
    """The embedding that is asked for, or the best known, by its obsm key."""
    every = parts.source.embeddings()
    keys = obsm_keys(list(every))
    flat = {keys[name]: array for name, array in every.items() if array.ndim == 2 and array.shape[1] >= 2}
    if not flat:
        msg = (
            f"study {parts.study_id} has no embedding on its server to draw (BioFlex keeps none): "
            "adata = study.to_anndata(), then sc.pp.neighbors(adata), sc.tl.umap(adata) and sc.pl.umap(adata)"
        )
        raise UnknownEmbedding(msg)
    if basis is None:
        return next((key, flat[key]) for key in (*_FIRST, *flat) if key in flat)
    names = {**{name: keys[name] for name in every}, **{key.removeprefix("X_"): key for key in flat}}
    names |= {key: key for key in flat}
    key = names.get(basis) or names.get(basis.casefold(), "")
    if key not in flat:
        msg = f"study {parts.study_id} has no embedding {basis!r}{did_you_mean(basis, flat)}; it has {listing(flat)}"
        raise UnknownEmbedding(msg)
    return key, flat[key]


def _values(parts: StudyParts, color: str) -> tuple[pd.Series, str]:
    """A metadata field, or the log-normalised expression of a gene; and the unit, as far as it is known."""
    if color in parts.fields:
        return parts.metadata([color])[color], ""
    if color in parts.features:
        return pd.Series(parts.query_genes([color], "lognorm").toarray()[:, 0]), "expression (lognorm)"
    near = did_you_mean(str(color), [*parts.fields, *parts.features])
    msg = f"study {parts.study_id} has no field and no gene {color!r}{near}; its fields are {listing(parts.fields)}"
    raise UnknownField(msg)
