"""Plot: the cells of a study on an embedding from the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidArgument, UnknownEmbedding, UnknownField
from biocolab_accessor.messages import did_you_mean, listing, quoted
from biocolab_accessor.studies.conversion import obsm_keys, select_genes
from biocolab_accessor.studies.study_data import StudyParts

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
    """Plot a study; see :meth:`Study.plot` for arguments and errors."""
    from biocolab_accessor.plotting.embedding import draw_embedding

    for argument, given in (("color", color), ("basis", basis)):
        if given is not None and not isinstance(given, str):
            msg = f"{argument} is {quoted(given):.100}: give one name, or None"
            raise InvalidArgument(msg)
    values, unit = (None, "") if color is None else _values(parts, color)
    key, coordinates = _embedding(parts, basis, color)
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


def _embedding(parts: StudyParts, basis: str | None, color: str | None) -> tuple[str, NDArray[np.float32]]:
    """The requested or default embedding and its obsm key; no other embedding is fetched."""
    keys = obsm_keys(parts.source.embedding_names())
    named = {key: name for name, key in keys.items()}
    if basis is None:
        wanted = [key for key in dict.fromkeys((*_FIRST, *named)) if key in named]
    else:
        spoken = keys | {key.removeprefix("X_"): key for key in named} | {key: key for key in named}
        found = spoken.get(basis) or spoken.get(basis.casefold())
        wanted = [found] if found else []
    for key in wanted:
        coordinates = parts.source.embeddings([named[key]])[named[key]]
        if coordinates.ndim == 2 and coordinates.shape[1] >= 2:
            return key, coordinates
    if basis is not None and named:
        near = did_you_mean(basis, named)
        msg = f"study {parts.study_id} has no embedding {quoted(basis)}{near}; it has {listing(named)}"
        raise UnknownEmbedding(msg)
    msg = f"study {parts.study_id} has no embedding on its server to plot (BioFlex stores none). Compute one:\n"
    raise UnknownEmbedding(msg + _with_scanpy(parts, color))


def _with_scanpy(parts: StudyParts, color: str | None) -> str:
    """Code to paste that fetches the study, computes a UMAP and plots it."""
    source, facts = parts.source, parts.source.provenance()
    if source.name == "bioflex":
        study = (
            f"bc.study({quoted(parts.study_id)}, database=bc.database({quoted(facts['species'])}, {facts['version']}))"
        )
    else:
        study = (
            f"bc.study({quoted(facts['study_uuid'])}, source={quoted(source.name)}, species={quoted(facts['species'])})"
        )
    lines = (
        "import biocolab_accessor as bc",
        "import scanpy as sc",
        f"adata = {study}.to_anndata(unit='lognorm')",
        "sc.pp.pca(adata)",
        "sc.pp.neighbors(adata)",
        "sc.tl.umap(adata)",
        f"sc.pl.umap(adata, color={quoted(color)})",
    )
    return "\n".join(lines)


def _values(parts: StudyParts, color: str) -> tuple[pd.Series, str]:
    """A metadata field or the log-normalized expression of a gene, and its unit if known."""
    if color in parts.fields:
        return parts.metadata([color])[color], ""
    if color in parts.features:
        wanted = select_genes(color, parts.features, parts.study_id)
        return pd.Series(parts.query_genes(wanted, "lognorm").toarray()[:, 0]), "expression (lognorm)"
    near = did_you_mean(str(color), [*parts.fields, *parts.features])
    msg = f"study {parts.study_id} has no field or gene {quoted(color)}{near}; its fields are {listing(parts.fields)}"
    raise UnknownField(msg)
