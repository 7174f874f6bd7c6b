"""Pull: fields and embeddings of a study, added to an object with some of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidResponse, UnknownField, UnknownName
from biocolab_accessor.io.columns import as_frame, named_by
from biocolab_accessor.io.names import escaped
from biocolab_accessor.messages import counted, did_you_mean, listing, quoted, warn
from biocolab_accessor.protocol import argument_names
from biocolab_accessor.studies.conversion import obsm_keys, select_embeddings, select_fields, unique_names
from biocolab_accessor.studies.study import Study, parts_of
from biocolab_accessor.studies.study_data import StudyParts
from biocolab_accessor.sync.dtypes import TRUTH, restore, take
from biocolab_accessor.sync.match import OBS_REMEDY, Match, MatchReport, barcodes_of, match

_UNASSIGNED = "Unassigned"


def pull_metadata(
    adata: AnnData,
    study: Study,
    fields: Sequence[str] | str | None,
    *,
    on: str | None,
    prefix: str,
    overwrite: bool,
    dtypes: Mapping[str, Any] | pd.Series | None,
    errors: str = "raise",
) -> MatchReport:
    """Add fields to obs; see :meth:`AnnDataAccessor.pull_metadata`."""
    if errors not in ("raise", "ignore"):
        msg = f"errors is {quoted(errors)}: give 'raise' or 'ignore'"
        raise InvalidArgument(msg)
    _expect_changeable(adata)
    parts = _fresh_parts(study)
    known = list(dict.fromkeys(parts.fields))
    there = [name for name in known if f"{prefix}{name}" in adata.obs.columns]
    if fields is None:
        wanted = known if overwrite else [name for name in known if name not in there]
    else:
        wanted = select_fields(fields, known, study.id)
        _expect_free("obs has columns", [f"{prefix}{name}" for name in wanted if name in there], overwrite, "prefix=")
    if fields is not None and dtypes is not None:
        _expect_fields(list(dtypes.keys()), known, wanted)
    found = _match(adata, on, parts)
    notes = _left_alone("obs", [name for name in there if name not in wanted] if fields is None else [])
    table = parts.metadata(wanted)
    columns: dict[str, pd.Series] = {}
    for name in wanted:
        key = f"{prefix}{name}"
        wanted_dtype = _dtype_for(adata, key, name, dtypes)
        column, said = _column(table[name], name, found, wanted_dtype, study, ignore=errors == "ignore")
        columns[key] = column.set_axis(adata.obs.index)
        notes += said
    if columns:
        kept = adata.obs.drop(columns=[key for key in columns if key in adata.obs.columns])
        joined = pd.concat([kept, pd.DataFrame(columns, index=adata.obs.index)], axis=1)
        order = [*adata.obs.columns, *(key for key in columns if key not in adata.obs.columns)]
        adata.obs = joined if len(set(order)) < len(order) else joined[order]
    return found.report(written=[f"obs[{quoted(key)}]" for key in columns], notes=notes)


def pull_embeddings(
    adata: AnnData, study: Study, keys: Sequence[str] | str | None, *, on: str | None, overwrite: bool
) -> MatchReport:
    """Add embeddings to obsm; see :meth:`AnnDataAccessor.pull_embeddings`."""
    _expect_changeable(adata)
    parts = _fresh_parts(study)
    known = obsm_keys(parts.source.embedding_names())
    if not known:
        reason = "BioFlex stores none" if study.source == "bioflex" else "none were submitted or computed"
        msg = f"study {quoted(study.id)} has no embeddings: {reason}"
        raise UnknownName(msg)
    there = [name for name, key in known.items() if key in adata.obsm]
    if keys is None:
        wanted = [name for name in known if overwrite or name not in there]
    else:
        wanted = select_embeddings(argument_names(keys, "keys"), list(known), study.id)
        _expect_free("obsm has keys", [known[name] for name in wanted if name in there], overwrite, "other keys=")
    found = _match(adata, on, parts)
    came = parts.embeddings(wanted) if wanted else {}
    arrays = {}
    for name in dict.fromkeys(wanted):
        if name not in came or len(came[name]) != len(found.there):
            n_rows = f"{len(found.there):,} rows"
            msg = f"study {quoted(study.id)}: the server did not send embedding {quoted(name)} with {n_rows}"
            raise InvalidResponse(msg)
        arrays[known[name]] = np.where(found.found[:, None], came[name][found.rows], np.float32(np.nan))
    for key, array in arrays.items():
        adata.obsm[key] = array
    notes = _left_alone("obsm", [known[name] for name in there] if keys is None and not overwrite else [])
    if arrays and found.lacking:
        notes.append(f"{found.lacking:,} cells that the study lacks are NaN")
    return found.report(written=[f"obsm[{quoted(key)}]" for key in arrays], notes=notes)


def pull_var(
    adata: AnnData, sender: AnnData, columns: Sequence[str] | str | None, *, on: str | None, overwrite: bool
) -> MatchReport:
    """Add columns of the sender's var; see :meth:`AnnDataAccessor.pull_var`."""
    _expect_changeable(adata)
    if not isinstance(sender, AnnData):
        msg = f"sender is a {type(sender).__name__}: give the AnnData that was sent"
        raise InvalidArgument(msg)
    table, names, where = _genes_of(sender, adata.var_names, on)
    there = [name for name in table.columns if name in adata.var.columns]
    if columns is None:
        wanted = [name for name in table.columns if overwrite or name not in there]
    else:
        wanted = list(dict.fromkeys(argument_names(columns, "columns")))
        if absent := [name for name in wanted if name not in table.columns]:
            near = did_you_mean(absent[0], map(str, table.columns))
            msg = (
                f"the sender's {where} has no column {listing(absent)}{near}; it has {listing(table.columns) or 'none'}"
            )
            raise UnknownField(msg)
        _expect_free("var has columns", [name for name in wanted if name in there], overwrite, "other columns=")
    here = pd.Index(adata.var_names, dtype=object)
    found = Match("", here, names, names.get_indexer(here))
    if not found.found.any():
        msg = (
            f"none of the {len(here):,} genes here are in the sender's {where}. Here: {listing(here, limit=3)}; there: "
            f"{listing(names, limit=3)}. Give its column with the names of the genes as on="
        )
        raise UnknownName(msg)
    notes = _left_alone("var", [name for name in there if name not in wanted] if columns is None else [])
    notes += ["from the sender's raw.var"] if where == "raw.var" else []
    var = adata.var.copy()
    for name in wanted:
        column = _rows_of(table[name], found)
        if column.dtype != table[name].dtype:
            notes.append(f"{quoted(name)} is {column.dtype}: the sender lacks {counted(found.lacking, 'gene')}")
        var[name] = column.set_axis(var.index)
    if wanted:
        adata.var = var
    return found.report(written=[f"var[{quoted(name)}]" for name in wanted], notes=notes)


def _genes_of(sender: AnnData, here: pd.Index[Any], on: str | None) -> tuple[pd.DataFrame, pd.Index[Any], str]:
    """The sender's var or raw.var, whichever has more of the genes, their names made unique as by a fetch."""
    tables = {"var": as_frame(sender.var)}
    if sender.raw is not None:
        tables["raw.var"] = as_frame(sender.raw.var)
    fitting = [where for where in tables if on is None or on in tables[where].columns] or ["var"]
    best: tuple[int, tuple[pd.DataFrame, pd.Index[Any], str]] | None = None
    for where in fitting:
        table, _ = named_by(tables[where], on, where, "on")
        names = pd.Index(unique_names([str(name) for name in table.index]), dtype=object)
        met = int(here.isin(names).sum())
        if best is None or met > best[0]:
            best = met, (table, names, where)
    assert best is not None
    return best[1]


def _rows_of(column: pd.Series, found: Match) -> pd.Series:
    """The values of some genes, in the dtype of the column if it can hold the missing ones."""
    if not found.lacking:
        return column.iloc[found.rows]
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return take(column, found.rows)
    return pd.Series(column.array.take(found.rows, allow_fill=True))


def pull_spatial(
    adata: AnnData, study: Study, *, on: str | None, sample: str, grid: bool, overwrite: bool
) -> MatchReport:
    """Add cell centers to obsm, obs and uns; see :meth:`AnnDataAccessor.pull_spatial`."""
    _expect_changeable(adata)
    parts = _fresh_parts(study)
    _expect_free("obsm has keys", ["spatial"] if "spatial" in adata.obsm else [], overwrite, "remove it")
    _expect_free("obs has columns", [sample] if sample in adata.obs.columns else [], overwrite, "another sample=")
    centers = parts.cell_centers()
    found = _match(adata, on, parts)
    places = np.where(found.found[:, None], centers[["x", "y"]].to_numpy()[found.rows], np.nan)
    labels = take(centers["sample"], found.rows).cat.remove_unused_categories()
    adata.obsm["spatial"] = places
    adata.obs[sample] = labels.set_axis(adata.obs.index)
    written = ["obsm['spatial']", f"obs[{quoted(sample)}]"]
    # squidpy takes cells for spots on a grid if uns["spatial"] exists, and would join cells to the wrong neighbors.
    if grid:
        adata.uns["spatial"] = {escaped(str(name)): {} for name in labels.cat.categories}
        written.append("uns['spatial']")
    without = int(np.isnan(places).any(axis=1).sum())
    notes = [f"{without:,} cells have no position: NaN"] if without else []
    return found.report(written=written, notes=notes)


def _fresh_parts(study: Study) -> StudyParts:
    parts = parts_of(study)
    parts.source.refresh()
    return parts.cached()


def _match(adata: AnnData, on: str | None, parts: StudyParts) -> Match:
    # Makes repeated barcodes of a study unique in the same way as to_anndata.
    return match(barcodes_of(adata, on), unique_names(parts.barcodes), parts.study_id, remedy=OBS_REMEDY)


def _expect_changeable(adata: AnnData) -> None:
    if adata.is_view and adata.isbacked:
        msg = "a view of a backed AnnData cannot be changed: call .to_memory() first"
        raise InvalidArgument(msg)


def _expect_free(what: str, taken: Sequence[str], overwrite: bool, other: str) -> None:
    if taken and not overwrite:
        msg = f"{what} {listing(taken)} already: give overwrite=True or {other}"
        raise InvalidArgument(msg)


def _left_alone(where: str, names: Sequence[str]) -> list[str]:
    return [f"already in {where} and not replaced: {listing(names)}"] if names else []


def _expect_fields(typed: Sequence[Any], known: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse a dtype for a misspelled field; other columns are fine, since the dtypes may be those of a whole obs."""
    left = [name for name in wanted if name not in typed]
    for name in typed:
        if name not in known and (near := did_you_mean(name, left)):
            msg = f"dtypes has {quoted(name)}, which is not a field of the study{near}"
            raise UnknownField(msg)


def _dtype_for(
    adata: AnnData, key: str, name: str, dtypes: Mapping[str, Any] | pd.Series | None
) -> tuple[Any, bool] | None:
    """The dtype for a column and whether the user requested it; otherwise that of the column to be replaced."""
    if dtypes is not None and name in dtypes:
        return dtypes[name], True
    if key in adata.obs.columns and isinstance(adata.obs[key], pd.Series):
        return adata.obs[key].dtype, False
    return None


def _column(
    came: pd.Series, name: str, found: Match, wanted: tuple[Any, bool] | None, study: Study, *, ignore: bool
) -> tuple[pd.Series, list[str]]:
    column = take(came, found.rows)
    if wanted is not None:
        dtype, asked = wanted
        try:
            return restore(column, dtype), []
        except InvalidColumn as error:
            why, line = f"{error}", f"{{it}}.biocolab.pull_metadata([{name!r}])"
            if study.source == "bioflex" and _UNASSIGNED in getattr(getattr(column, "cat", None), "categories", ()):
                elsewhere = f"bc.study({study.id!r}, source='bbrowserx')"
                why += (
                    f". BioFlex returns {quoted(_UNASSIGNED)} for cells without a label. BBrowserX keeps them missing: "
                )
                why += f"give study={elsewhere}"
                shown = f"{{{name!r}: {str(dtype)!r}}}" if str(dtype) != "category" else "dtypes"
                line = f"{{it}}.biocolab.pull_metadata([{name!r}], study={elsewhere}, dtypes={shown})"
            if asked and not ignore:
                msg = f"field {quoted(name)} cannot be {dtype}: {why}"
                raise InvalidColumn(msg, line=line) from error
            note = f"{quoted(name)} is {column.dtype}, not {dtype}{'' if asked else ' as before'}: {why}"
            if asked:
                warn(note)
            return column, [note]
    if column.dtype != came.dtype:
        return column, [f"{quoted(name)} is {column.dtype}, because {found.lacking:,} cells have no value"]
    labels = set(came.cat.categories) if isinstance(came.dtype, pd.CategoricalDtype) else set()
    if labels and labels <= TRUTH.keys():
        return column, [
            f"{quoted(name)} has labels 'True' and 'False'; dtypes={{{quoted(name)}: 'bool'}} makes it bool"
        ]
    return column, []
