"""Union: several fetched studies joined into one AnnData."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.io.names import escaped
from biocolab_accessor.io.values import shared_dtype, text_index
from biocolab_accessor.messages import listing, quoted, warn
from biocolab_accessor.studies.conversion import unique_names
from biocolab_accessor.studies.obs_filter import kind_of
from biocolab_accessor.studies.provenance import KEY as PROVENANCE

Join = Literal["inner", "outer"]


def expect_join(join: str) -> None:
    """Raise InvalidArgument unless ``join`` is ``"inner"`` or ``"outer"``."""
    if join not in get_args(Join):
        msg = f"join is {quoted(join)}: give 'inner' or 'outer'"
        raise InvalidArgument(msg)


def union(parts: Sequence[AnnData], names: Sequence[str], join: Join, label: str) -> AnnData:
    """Concatenate studies along obs, changing all of ``parts`` but X; see :meth:`Collection.to_anndata`."""
    origins = {escaped(name): dict(part.uns[PROVENANCE]) for name, part in zip(names, parts, strict=True)}
    for part in parts:
        if not part.n_obs:  # no cell of the study was selected; from a file, its index has no dtype of text
            part.obs_names = text_index([""])[:0]
    _make_features_distinct(parts)
    _harmonize_columns(parts, join)
    _harmonize_embeddings(parts, join)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique", UserWarning)
        joined = anndata.concat(parts, join=join, label=label, keys=list(names), index_unique="-", fill_value=0)
    if not joined.obs_names.is_unique:  # "A-x" of study "y", and "A" of study "x-y"
        joined.obs_names = text_index(unique_names(list(joined.obs_names)))
    if not joined.n_vars:
        first = "; ".join(
            f"{quoted(name)} has {listing(part.var_names, limit=3) or 'none'}"
            for name, part in zip(names, parts, strict=True)
        )
        msg = f"the studies have no genes ({first}): give other studies"
        if join == "inner":
            way = "give join='outer', or studies with the same kind of gene names"
            msg = f"the studies have no gene in common ({first}): {way}"
        raise InvalidArgument(msg)
    if join == "inner":
        _warn_of_lost_genes(joined.n_vars, parts, names)
    # concat drops the columns of var, and a repeated feature has a made-up name in var_names.
    features = {name: feature for part in parts for name, feature in part.var["feature"].items()}
    joined.var["feature"] = text_index([features[name] for name in joined.var_names])
    joined.uns[PROVENANCE] = {"studies": origins}
    return joined


def _warn_of_lost_genes(n_vars: int, parts: Sequence[AnnData], names: Sequence[str]) -> None:
    if 2 * n_vars >= max(part.n_vars for part in parts):
        return
    every = len({feature for part in parts for feature in part.var_names})
    by_size = sorted(zip(names, parts, strict=True), key=lambda pair: pair[1].n_vars)
    sizes = ", ".join(f"{quoted(name)} has {part.n_vars:,}" for name, part in (by_size[0], by_size[-1]))
    warn(
        f'the inner join keeps {n_vars:,} of {every:,} genes, those that all studies have ({sizes}): join="outer" '
        "keeps every gene, with zeros where a study lacks it"
    )


def _make_features_distinct(parts: Sequence[AnnData]) -> None:
    """Keep the names made up for repeated features from colliding with features of another study."""
    taken = list(dict.fromkeys(feature for part in parts for feature in part.var["feature"]))
    for part in parts:
        if not part.var["feature"].is_unique:
            names = unique_names([*part.var["feature"], *taken])
            part.var_names = text_index(names[: part.n_vars])


def _harmonize_columns(parts: Sequence[AnnData], join: Join) -> None:
    """Give columns of one name one kind: concat would mix labels and numbers as objects, which h5ad cannot store."""
    mixed, inexact = [], []
    for name in dict.fromkeys(name for part in parts for name in part.obs.columns):
        having = [part for part in parts if name in part.obs.columns]
        if join == "inner" and len(having) < len(parts):
            continue
        # A study without a selected cell adapts to the others.
        filled = [part for part in having if part.n_obs] or having
        for part in having:
            if not part.n_obs:
                part.obs[name] = part.obs[name].astype(filled[0].obs[name].dtype)
        present = [part.obs[name] for part in filled if _kind(part.obs[name])]
        kinds, gaps = set(map(_kind, present)), len(present) < len(filled) or len(having) < len(parts)
        dtype: str | None = ""
        if kinds == {"truth"} and gaps:
            dtype = "boolean"
        elif kinds == {"numbers"}:
            dtype = shared_dtype(present, gaps=gaps)
        if len(kinds) > 1:
            mixed.append(name)
        elif dtype is None:
            inexact.append(name)
        for part in having:
            if "labels" in kinds or len(kinds) > 1 or dtype is None:
                part.obs[name] = _as_labels(part.obs[name])
            elif dtype:
                part.obs[name] = part.obs[name].astype(dtype)
    if mixed:
        warn(f"columns {listing(mixed)} have different types across studies: their numbers and bools became labels")
    if inexact:
        warn(f"columns {listing(inexact)} have numbers that no single dtype can hold exactly: they became labels")


def _kind(column: pd.Series) -> str:
    """The :func:`kind_of` a column, but ``"labels"`` for categories without a value."""
    return "labels" if isinstance(column.dtype, pd.CategoricalDtype) else kind_of(column)


def _as_labels(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    labelled = column.astype("category")
    values: Any = labelled.cat.categories.to_numpy()
    return labelled.cat.rename_categories([str(value).removesuffix(".0") for value in values])


def _harmonize_embeddings(parts: Sequence[AnnData], join: Join) -> None:
    """Keep only embeddings with the same width everywhere; cells without one get NaN, not the origin."""
    widths: dict[str, set[int]] = {}
    for part in parts:
        for key, array in part.obsm.items():
            widths.setdefault(key, set()).add(array.shape[1])
    uneven = [key for key, found in widths.items() if len(found) > 1]
    for part in parts:
        for key in uneven:
            part.obsm.pop(key, None)
        for key, found in widths.items() if join == "outer" else ():
            if key not in uneven and key not in part.obsm:
                part.obsm[key] = np.full((part.n_obs, *found), np.nan, np.float32)
    if uneven:
        warn(f"embeddings {listing(uneven)} were left out because their dimensions differ across studies")
