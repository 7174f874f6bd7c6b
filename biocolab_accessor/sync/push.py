"""Push: columns of a table, sent to a study with some of its cells and verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from biocolab_accessor.clients.base import read_table
from biocolab_accessor.errors import (
    AmbiguousName,
    ConfigurationError,
    InvalidArgument,
    InvalidColumn,
    InvalidNames,
    UnknownName,
    public,
    unreadable,
)
from biocolab_accessor.io.column_text import as_text, needs_text
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.io.names import escaped, is_barcodes
from biocolab_accessor.io.values import encode, is_plain
from biocolab_accessor.messages import did_you_mean, listing, quoted, warn
from biocolab_accessor.platforms import expanded, expect_regular
from biocolab_accessor.protocol import Server, argument_names
from biocolab_accessor.studies.conversion import unique_names
from biocolab_accessor.studies.study import Study, parts_of
from biocolab_accessor.studies.study_data import StudyParts
from biocolab_accessor.sync.dtypes import is_sent_as_text, restore, take
from biocolab_accessor.sync.match import OBS_REMEDY, Match, MatchReport, Target, barcodes_of, match, study_meant


def verified(cells: pd.DataFrame, parts: StudyParts, rows: NDArray[np.intp]) -> list[str]:
    """Fetch sent columns, warn of changed values, and return these and changed dtypes as notes for the report."""
    listed = set(parts.fields)
    changed = [f"the study does not list {quoted(name)}" for name in cells.columns if name not in listed]
    back = parts.metadata([name for name in cells.columns if name in listed])
    others: list[str] = []
    for name in back.columns:
        sent, came = cells[name].reset_index(drop=True), take(back[name], rows)
        try:
            difference = _difference(sent, restore(came, sent.dtype))
        except InvalidColumn as error:
            difference = str(error)
        if difference:
            changed.append(f"{quoted(name)} comes back changed: {difference}")
        elif otherwise := _otherwise(back[name].dtype, sent.dtype):
            others.append(f"{quoted(name)} {otherwise}")
    for line in changed:
        warn(f"study {quoted(parts.study_id)}: {line}")
    if others:
        changed.append(f"pull_metadata needs dtypes=report.dtypes, or else it returns {', '.join(others)}")
    return changed


def _otherwise(came: Any, sent: Any) -> str:
    """How a column differs when it is pulled without ``dtypes``; empty if it does not."""
    if not isinstance(sent, pd.CategoricalDtype):
        return "" if came == sent else f"({sent}) as {came}"
    if sent.ordered or not isinstance(came, pd.CategoricalDtype):
        return f"({'ordered ' if sent.ordered else ''}category) as {came}"
    categories = list(sent.categories)
    if not all(isinstance(category, str) for category in categories):
        return f"(category of {sent.categories.dtype}) as category of strings"
    # Categories that only other cells of the study have do not belong to this column.
    there = list(came.categories[came.categories.isin(categories)])
    if there == categories:
        return ""
    # scanpy colors categories by their position.
    kept = list(sent.categories[sent.categories.isin(there)])
    return "with fewer categories" if there == kept else "with its categories in another order"


def _difference(sent: pd.Series, came: pd.Series) -> str:
    missing = np.asarray(sent.isna(), bool)
    equal = (sent == came).astype("boolean").fillna(value=False)
    same = np.asarray(equal, bool) | (missing & np.asarray(came.isna(), bool))
    if same.all():
        return ""
    first = int(np.flatnonzero(~same)[0])
    return f"{int((~same).sum()):,} values differ, such as {quoted(sent.iloc[first])} as {quoted(came.iloc[first])}"


Missing = Literal["raise", "omit"]

_BYTES_PER_VALUE = 16  # of a table in memory
_TABLE_REMEDY = "Put the study's names into the index."


def push_metadata(
    adata: AnnData,
    study: Study,
    columns: Sequence[str] | str | None,
    *,
    on: str | None,
    missing: Missing,
    overwrite: bool,
    verify: bool,
) -> MatchReport:
    """Send columns of obs; see :meth:`AnnDataAccessor.push_metadata`."""
    parts = _parts(study)
    obs = adata.obs
    if columns is None:
        known = set() if overwrite else set(parts.fields)
        wanted = [name for name in obs.columns if name != on and name not in known]
    else:
        wanted = list(dict.fromkeys(argument_names(columns, "columns")))
    if absent := [name for name in wanted if name not in obs.columns]:
        near = did_you_mean(str(absent[0]), map(str, obs.columns))
        msg = f"obs has no {'column' if len(absent) == 1 else 'columns'} {listing(absent)}{near}"
        raise InvalidColumn(msg)
    if not wanted:
        msg = f"no columns to send: study {quoted(study.id)} has all columns of obs already"
        raise InvalidColumn(msg)
    table = obs[wanted].set_axis(barcodes_of(adata, on), axis=0)
    return _push(
        table,
        parts,
        OBS_REMEDY,
        strict=False,
        missing=missing,
        overwrite=overwrite,
        verify=verify,
        complete=columns is not None,
    )


def submit_metadata(
    table: pd.DataFrame, study: Study, *, strict: bool, missing: Missing, overwrite: bool, verify: bool
) -> MatchReport:
    """Send the columns of a table; see :meth:`DataFrameAccessor.submit_metadata`."""
    parts = _parts(study)
    return _push(table, parts, _TABLE_REMEDY, strict=strict, missing=missing, overwrite=overwrite, verify=verify)


@public
def submit_metadata_file(
    path: str | Path,
    study: Target,
    *,
    s3_id: str | None = None,
    shared: bool = False,
    group: str | None = None,
    species: str = "human",
    source: Server = "bbrowserx",
    strict: bool = True,
    missing: Missing = "raise",
    overwrite: bool = False,
    verify: bool = True,
) -> MatchReport:
    """Add the columns of a file to a study; the file is on disk, or in a bucket that the server can read.

    Parameters
    ----------
    path
        A ``.csv``, ``.tsv`` or ``.parquet`` file with the barcodes in its first column or, for parquet, in its index;
        csv and tsv files may be gzipped. With ``s3_id``, the key of a csv or tsv file, without the bucket.
    study
        A study of BBrowserX or Talk2Data, its submission, or its id.
    s3_id
        Id of the bucket, from :func:`biocolab_accessor.buckets`; None means that the file is on disk.
    shared
        Whether the bucket is shared with the group.
    group, species, source
        Where to look for a study id.
    strict, missing, overwrite, verify
        As for :meth:`DataFrameAccessor.submit_metadata`. A file in a bucket is not read here, so it needs
        ``overwrite=True``, and the server decides about barcodes and missing values.

    Returns
    -------
    MatchReport
        Cells of the file and of the study, and the fields sent. For a file in a bucket: the fields that are new, and
        the number of cells that have a value in one of them.

    Raises
    ------
    InvalidFile
        The file cannot be read as a table of metadata.
    InvalidArgument
        The study already has such a field, or is a BioFlex study; or a file in a bucket without ``overwrite=True``.
    InvalidColumn, InvalidNames, UnknownName
        As for :meth:`DataFrameAccessor.submit_metadata`.
    ServerError
        The server has no such bucket, or cannot read the file in it.

    Examples
    --------
    >>> import pandas as pd, scanpy as sc, tempfile, biocolab_accessor as bc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> with bc.sandbox() as server, tempfile.TemporaryDirectory() as folder:
    ...     submission = adata.biocolab.submit(skip_dimred=True)
    ...     pd.DataFrame({"donor": "001"}, index=adata.obs_names).to_csv(f"{folder}/donors.csv")
    ...     bc.submit_metadata(f"{folder}/donors.csv", submission).written
    ('donor',)
    """
    key = str(path)
    if s3_id is None:
        if shared:
            msg = "shared=True needs the id of the bucket: give s3_id=, see bc.buckets()"
            raise InvalidArgument(msg)
        table = _table(expanded(path))
        target = study_meant(study, group=group, species=species, source=source)
        return submit_metadata(table, target, strict=strict, missing=missing, overwrite=overwrite, verify=verify)
    if not key.removesuffix(".gz").lower().endswith((".csv", ".tsv")):
        msg = f"path is {quoted(key)}, but servers read .csv and .tsv files from buckets: give the key of such a file"
        raise InvalidArgument(msg)
    if not overwrite:
        msg = (
            f"file {quoted(key)} is in a bucket and cannot be read here, so it could replace fields of the study: give "
            "overwrite=True, or the path of a file on disk"
        )
        raise InvalidArgument(msg)
    parts = _parts(study_meant(study, group=group, species=species, source=source))
    before = set(parts.fields)
    parts.source.add_metadata_file(key, s3_id, shared=shared)
    new = [name for name in parts.fields if name not in before]
    filled = int(parts.metadata(new).notna().any(axis=1).sum()) if new else 0
    notes = ["the server read the file: cells that only the file has are unknown"]
    if not new:
        notes.append("the study has no new fields: the file replaced fields, or had none")
    return MatchReport(parts.study_id, filled, 0, parts.n_obs - filled, written=tuple(new), notes=tuple(notes))


def _table(path: Path) -> pd.DataFrame:
    if path.suffix.lower() != ".parquet":
        return read_table(path)
    try:
        if not path.is_dir():
            _expect_readable(path)
        table = pd.read_parquet(path)
    except ImportError as error:
        msg = f"{path} is a parquet file, which needs pyarrow: pip install pyarrow"
        raise ConfigurationError(msg) from error
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's own errors are subclasses
        raise unreadable(path, "a metadata table", error) from error
    return table.set_index(table.columns[0]) if isinstance(table.index, pd.RangeIndex) and len(table.columns) else table


def _expect_readable(path: Path) -> None:
    """Raise OSError for anything but a file, and TooLarge for one with more values than fit into memory."""
    from pyarrow.parquet import read_metadata

    expect_regular(path.stat())  # opening a FIFO would block
    found = read_metadata(path)  # a repeated value takes next to nothing in the file
    needed = _BYTES_PER_VALUE * found.num_rows * found.num_columns
    expect_room(needed, str(path), "submit fewer columns or cells at a time")


def _push(
    table: pd.DataFrame,
    parts: StudyParts,
    remedy: str,
    *,
    strict: bool,
    missing: Missing,
    overwrite: bool,
    verify: bool,
    complete: bool = True,
) -> MatchReport:
    if missing not in ("raise", "omit"):
        msg = f"missing is {quoted(missing)}: give 'raise' or 'omit'"
        raise InvalidArgument(msg)
    given = _field_names(table)
    dtypes = {name: table[name].dtype for name in given}
    table, expected, said = _carried(table, every=complete)
    names = list(table.columns)
    found = match(table.index, unique_names(parts.barcodes), parts.study_id, remedy=remedy)
    if strict and found.lacking:
        strange = found.here[~found.found]
        which = f"{len(strange):,} of {len(found.here):,} barcodes"
        msg = (
            f"{which} are not in study {quoted(parts.study_id)}: {listing(strange, limit=3)}. "
            "To leave these cells out, give strict=False"
        )
        raise UnknownName(msg)
    replaced = _in_study(names, parts)
    if replaced and not overwrite:
        msg = (
            f"study {quoted(parts.study_id)} has fields {listing(replaced)} already: give overwrite=True or rename them"
        )
        raise InvalidArgument(msg)
    # A replaced field is sent for the other cells of the study, too.
    _expect_addressable(np.arange(len(found.there)) if replaced else found.rows[found.found], parts)
    cells = table[found.found]
    barcodes = np.array(parts.barcodes, object)
    there = {ours: theirs for theirs, ours in parts.sent_fields(names).items()}
    for rows, columns in _requests(cells, found, parts, replaced, missing):
        # Sent under the study's name of the field; another name would create a second field.
        sent = {there.get(name, escaped(name)): values for name, values in columns.items()}
        parts.source.add_metadata({"barcodes": barcodes[rows].tolist(), **sent})
    notes = [*said, *_notes(cells, found, replaced)]
    if verify:
        notes += verified(expected[found.found], parts, found.rows[found.found])
    return found.report(written=names, notes=notes, dtypes={name: dtypes[name] for name in names})


def _parts(study: Study) -> StudyParts:
    if study.source == "bioflex":
        msg = f"{quoted(study)} is on BioFlex, which accepts no metadata: give a study on BBrowserX or Talk2Data"
        raise InvalidArgument(msg)
    parts = parts_of(study)
    parts.source.refresh()
    return parts


def _field_names(table: pd.DataFrame) -> list[str]:
    names = list(table.columns)
    if not names:
        msg = "the table has no columns to submit"
        raise InvalidColumn(msg)
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name.strip() for name in names):
        msg = f"column names must be non-empty, unique strings: {listing(names)}"
        raise InvalidNames(msg)
    if broken := [name for name in names if not is_plain(name)]:
        msg = f"column name {quoted(broken[0])} contains NUL or half a surrogate pair: rename it"
        raise InvalidNames(msg)
    reserved = [name for name in names if is_barcodes(name)]
    if reserved:
        name = quoted(reserved[0])
        msg = f"column {name} would replace the barcodes: rename it (barcodes belong in the index)"
        raise InvalidNames(msg)
    return names


class _Carried(NamedTuple):
    """Columns to send, the columns that a pull with their own dtypes must return, and notes for the report."""

    table: pd.DataFrame
    expected: pd.DataFrame
    notes: list[str]


def _carried(table: pd.DataFrame, *, every: bool) -> _Carried:
    """The columns of a table as a submission sends them: dtypes unknown to servers and h5ad become strings."""
    # A column that strings cannot represent is left out; if every column was requested, it raises an error later.
    sent, expected, notes = {}, {}, []
    for name in table.columns:
        column = expected[name] = sent[name] = table[name]
        needed = needs_text(column)
        form = as_text(column) if needed else None
        if not every and (form is None if needed else _is_broken(column)):
            del sent[name], expected[name]
            notes.append(f"{quoted(name)} is not sent: it has values that strings cannot represent")
            warn(notes[-1])
        elif form is not None:
            sent[name] = form.column
            notes.append(f"{quoted(name)}: {form.change}")
            if form.ambiguous or not _is_restored(column.dtype):
                expected[name] = form.column.astype(object)
                warn(f"{notes[-1]}. A pull returns strings, too")
    if not notes:
        return _Carried(table, table, notes)
    if not sent:
        msg = f"no columns to send: {'; '.join(notes)}"
        raise InvalidColumn(msg)
    return _Carried(pd.DataFrame(sent, index=table.index), pd.DataFrame(expected, index=table.index), notes)


def _is_broken(column: pd.Series) -> bool:
    """Whether a string would change on the way; see :func:`is_plain`."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    values: Any = column.cat.categories if categorical else [] if is_numeric_dtype(column.dtype) else column
    return not is_plain("".join({value for value in values if isinstance(value, str)}))


def _is_restored(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype) or is_sent_as_text(dtype)


def _in_study(names: Sequence[str], parts: StudyParts) -> list[str]:
    known = set(parts.fields)
    return [name for name in names if name in known]


def _expect_addressable(rows: NDArray[np.intp], parts: StudyParts) -> None:
    own = pd.Index(parts.barcodes, dtype=object)
    if own.is_unique:
        return
    repeated = own.duplicated(keep=False)
    if repeated[rows].any():
        names = own[repeated].unique()
        msg = (
            f"{len(names):,} barcodes occur more than once in study {quoted(parts.study_id)} "
            f"({listing(names, limit=3)}), so values cannot be sent for one of them: leave these cells out"
        )
        raise AmbiguousName(msg)


def _requests(
    cells: pd.DataFrame, found: Match, parts: StudyParts, replaced: Sequence[str], missing: Missing
) -> list[tuple[NDArray[np.intp], dict[str, list[Any]]]]:
    """Columns grouped by the cells that have values: the cells' rows in the study, and the columns."""
    rows, others = found.rows[found.found], found.rows_only_there()
    before = parts.metadata(replaced if len(others) else [])
    groups: dict[bytes, tuple[NDArray[np.intp], dict[str, list[Any]]]] = {}
    problems: list[str] = []
    for name in cells.columns:
        try:
            values, absent = encode(cells[name])
            _expect_values(name, absent, missing)
            sent = rows[~absent]
            if name in before.columns:
                kept, empty = encode(before[name].iloc[others])
                _expect_one_kind(name, values, kept)
                values, sent = values + kept, np.concatenate([sent, others[~empty]])
        except InvalidColumn as error:
            problems.append(str(error))
            continue
        groups.setdefault(sent.tobytes(), (sent, {}))[1][name] = values
    if problems:
        msg = "; ".join(problems)
        raise InvalidColumn(msg)
    return list(groups.values())


def _expect_values(name: str, absent: NDArray[np.bool_], missing: Missing) -> None:
    if absent.all():
        msg = f"column {quoted(name)} has only missing values"
        raise InvalidColumn(msg)
    if absent.any() and missing == "raise":
        msg = (
            f"column {quoted(name)} has {int(absent.sum()):,} missing values, which the protocol cannot represent: "
            "fill or drop them, or leave those cells out with missing='omit'"
        )
        raise InvalidColumn(msg)


def _expect_one_kind(name: str, values: Sequence[Any], kept: Sequence[Any]) -> None:
    if kept and isinstance(values[0], str) != isinstance(kept[0], str):
        ours, theirs = ("labels", "numbers") if isinstance(values[0], str) else ("numbers", "labels")
        msg = (
            f"column {quoted(name)} holds {ours} here but {theirs} in the study, and {len(kept):,} cells that are "
            "not here would lose theirs: send it under another name"
        )
        raise InvalidColumn(msg)


def _notes(cells: pd.DataFrame, found: Match, replaced: Sequence[str]) -> list[str]:
    others = len(found.rows_only_there())
    new = [name for name in cells.columns if name not in replaced]
    omitted = {name: int(count) for name, count in cells.isna().sum().items() if count}
    return [
        *(f"{quoted(name)} sent without {count:,} cells that have no value here" for name, count in omitted.items()),
        *([f"{listing(new)} sent without the {others:,} cells that only the study has"] if others and new else []),
        *([f"{listing(replaced)}: the {others:,} other cells keep their values"] if others and replaced else []),
    ]
