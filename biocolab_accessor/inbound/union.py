"""Union: the AnnData of several studies as one that any file can hold."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from pandas.api.types import is_bool_dtype

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.escape import escaped
from biocolab_accessor.inbound.metadata import unique_names
from biocolab_accessor.inbound.provenance import KEY as PROVENANCE
from biocolab_accessor.naming import listing, quoted
from biocolab_accessor.notice import notice
from biocolab_accessor.precision import shared_dtype
from biocolab_accessor.values import text_index

__all__ = ["Join", "expect_join", "union"]

Join = Literal["inner", "outer"]


def expect_join(join: str) -> None:
    """Refuse what is no way to join.

    Raises
    ------
    InvalidArgument
        It is neither ``"inner"`` nor ``"outer"``.
    """
    if join not in get_args(Join):
        msg = f"join is {quoted(join)}: give 'inner' or 'outer'"
        raise InvalidArgument(msg)


def union(parts: Sequence[AnnData], names: Sequence[str], join: Join, label: str) -> AnnData:
    """Studies one below the other; see :meth:`Collection.to_anndata`.

    Parameters
    ----------
    parts
        One AnnData of each study, as :meth:`Study.to_anndata` or :meth:`Study.lazy` gives it; all but X may change.
    names
        Of the studies, each once.
    join
        ``"inner"`` or ``"outer"``.
    label
        Column of obs for the names.

    Raises
    ------
    InvalidArgument
        An inner join finds no gene that all have.
    """
    origins = {escaped(name): dict(part.uns[PROVENANCE]) for name, part in zip(names, parts, strict=True)}
    _tell_features_apart(parts)
    _even_columns(parts, join)
    _even_embeddings(parts, join)
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
        msg = f"none of the studies has a gene ({first}): give other studies"
        if join == "inner":
            way = "give join='outer', or studies whose genes are named alike"
            msg = f"the studies have no gene in common ({first}): {way}"
        raise InvalidArgument(msg)
    # Columns of var do not come through a concatenation, and of a repeated feature the name in var_names is made up.
    features = {name: feature for part in parts for name, feature in part.var["feature"].items()}
    joined.var["feature"] = text_index([features[name] for name in joined.var_names])
    joined.uns[PROVENANCE] = {"studies": origins}
    return joined


def _tell_features_apart(parts: Sequence[AnnData]) -> None:
    """No name that was made up for a repeated feature is one that another study's feature has."""
    taken = list(dict.fromkeys(feature for part in parts for feature in part.var["feature"]))
    for part in parts:
        if not part.var["feature"].is_unique:
            names = unique_names([*part.var["feature"], *taken])
            part.var_names = text_index(names[: part.n_vars])


def _even_columns(parts: Sequence[AnnData], join: Join) -> None:
    """Columns of one name in one kind: pandas would make objects of labels beside numbers, which no file holds."""
    mixed, inexact = [], []
    for name in dict.fromkeys(name for part in parts for name in part.obs.columns):
        having = [part for part in parts if name in part.obs.columns]
        if join == "inner" and len(having) < len(parts):
            continue
        kinds = {_kind(part.obs[name]) for part in having}
        known, gaps = kinds - {""}, "" in kinds or len(having) < len(parts)
        present = [part.obs[name] for part in having if _kind(part.obs[name])]
        dtype: str | None = ""
        if known == {"truth"}:
            dtype = "boolean" if gaps else ""
        elif known == {"numbers"}:
            dtype = shared_dtype(present, gaps=gaps)
            if dtype is None:
                inexact.append(name)
        elif len(known) > 1:
            mixed.append(name)
        if "labels" in known or len(known) > 1 or dtype is None:
            for part in having:
                part.obs[name] = _as_labels(part.obs[name])
        elif dtype:
            for part in having:
                part.obs[name] = part.obs[name].astype(dtype)
    if mixed:
        msg = f"columns {listing(mixed)} are not of one kind in all studies: numbers and bools became labels in them"
        notice(msg)
    if inexact:
        msg = f"columns {listing(inexact)} hold numbers that no dtype holds for all studies: they became labels"
        notice(msg)


def _kind(column: pd.Series) -> str:
    """``"labels"``, ``"truth"`` or ``"numbers"``; empty where there is no value that would tell."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "labels"
    if column.isna().all():
        return ""
    return "truth" if is_bool_dtype(column.dtype) else "numbers"


def _as_labels(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    labelled = column.astype("category")
    values: Any = labelled.cat.categories.to_numpy()
    return labelled.cat.rename_categories([str(value).removesuffix(".0") for value in values])


def _even_embeddings(parts: Sequence[AnnData], join: Join) -> None:
    """Embeddings of one name in one width; cells that have none are nowhere, and not at the origin."""
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
        notice(f"embeddings {listing(uneven)} have not the same dimensions in all studies, and are left out")
