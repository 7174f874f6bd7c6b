"""Plan: the content of a submission, decided and encoded before anything is written."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from biocolab_accessor.check.matrix_choice import bytes_of
from biocolab_accessor.check.matrix_stats import SlotSummary
from biocolab_accessor.check.report import Report
from biocolab_accessor.check.run import Checked, check_object
from biocolab_accessor.errors import InvalidArgument, UnknownField
from biocolab_accessor.io.columns import as_frame, batches_of, chosen_columns, named_by
from biocolab_accessor.io.matrix_blocks import Slot, filled_slots
from biocolab_accessor.io.names import batch_names, key_as_text, safe_name, sent_name
from biocolab_accessor.messages import about_megabytes, counted, did_you_mean, facts_table, listing, quoted
from biocolab_accessor.protocol import Filters, argument_names, known_species
from biocolab_accessor.submit.write import Encoded, EncodedObsm, encode, encoded_obsm, var_of

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Finding
    from biocolab_accessor.protocol import Server


@dataclass(frozen=True)
class StudyRequest:
    """The properties of the new study, validated."""

    group: str = "personal"
    study_id: str | None = None  # generated here (uuid4) if not given, so that a repeated request means the same study
    name: str | None = None
    authors: Sequence[str] = ()
    abstract: str = ""
    species: str = "human"
    filters: Filters = field(default_factory=Filters)
    skip_dimred: bool = False
    id_is_made: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        species = known_species(self.species)
        # Read once: an iterator can be consumed only once.
        several = isinstance(self.authors, Iterable) and not isinstance(self.authors, str)
        authors = tuple(self.authors) if several else (None,)
        if not all(isinstance(author, str) for author in authors):
            msg = f"authors is {quoted(self.authors)}: give a list of names, such as ['Ada Lovelace']"
            raise InvalidArgument(msg)
        for name in ("group", "study_id", "name", "abstract"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                msg = f"{name} is of type {type(value).__name__}: give a string"
                raise InvalidArgument(msg)
        study_id = self.study_id if self.study_id is not None else uuid.uuid4().hex
        if not study_id.strip() or len(study_id) > 200 or not study_id.isprintable():
            msg = f"study_id is {quoted(study_id[:40])}: give 1 to 200 printable characters, or None to generate one"
            raise InvalidArgument(msg)
        if not isinstance(self.skip_dimred, bool | np.bool_):
            msg = f"skip_dimred is {quoted(self.skip_dimred)}: give True or False"
            raise InvalidArgument(msg)
        object.__setattr__(self, "skip_dimred", bool(self.skip_dimred))
        object.__setattr__(self, "species", species)
        object.__setattr__(self, "id_is_made", self.study_id is None)
        object.__setattr__(self, "study_id", study_id)
        object.__setattr__(self, "authors", authors)

    def body(self, group_id: str) -> dict[str, Any]:
        """The part of the request body that all submit routes share."""
        return {
            "species": self.species,
            "group_id": group_id,
            "filter_params": self.filters.on_the_wire(),
            "subsample": -1,
            "skip_dimred": self.skip_dimred,
            "study_info": {
                "study_hash_id": self.study_id,
                # "TBD" is the title that the official clients use.
                "name": self.name or ("TBD" if self.id_is_made else self.study_id),
                "authors": list(self.authors),
                "abstract": self.abstract,
            },
        }


Strictness = Literal["default", "strict"]

_MOST_SHOWN = 8
_NOT_CHOSEN = " (not chosen)"
_NOTHING_SENT = "Plan: nothing has been sent"
_TO_SEND = ("to send", "the same call without dry_run")


@dataclass(frozen=True)
class Batch:
    """One file of a submission.

    Attributes
    ----------
    name
        Value of the batch column; empty for the only batch.
    file_name
        Name on the server.
    n_obs
        Number of cells.
    """

    name: str
    file_name: str
    n_obs: int


@dataclass(frozen=True)
class Plan:
    """The plan of a submission: what would be sent. It holds no reference to the object.

    Attributes
    ----------
    to, group, study_id, species
        The destination. The server was not asked whether the group exists, or has a study with this id already. If
        ``study_id`` is None, an id is generated when the study is sent.
    n_obs, n_vars
        Cells and genes.
    nnz
        Number of nonzero values of the matrix (for a sparse matrix, of stored values that are not zero).
    slot
        The matrix that is sent; None if the report has errors and none could be chosen.
    input_matrix_type
        ``"raw"`` or ``"normalized"``; None without a matrix.
    reason
        Why this matrix was chosen.
    slots
        All matrices that were examined.
    obs, obsm
        Names of the columns and embeddings that are sent.
    batches
        The files, one per batch.
    batch_key
        Column of obs that defines the batches.
    left_out
        Parts that no study has: columns that were not selected or that h5ad cannot store, and parts that servers do not
        read. The columns of var are one entry.
    changes
        Values that are sent in a different form.
    n_bytes
        Estimated size of all files before compression, in bytes.
    report
        The report of the check. If it has errors, a plan has only the destination, the matrix and the report.
    check
        ``"strict"`` if warnings stop the submission too.
    chosen
        Selected columns of obs, and the batch column; None if all columns are sent.
    gene_symbols
        Column of var whose values are sent as the names of the genes; None sends the names themselves.
    encoded
        obs, var and obsm as encoded by the check; None if they are encoded again for writing.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor as bc
    >>> plan = ad.AnnData(np.eye(3, dtype="float32")).biocolab.submit(dry_run=True)
    >>> plan.input_matrix_type, str(plan.slot), plan.n_obs
    ('raw', 'X', 3)
    """

    to: Server
    group: str
    study_id: str | None
    species: str
    n_obs: int
    n_vars: int
    nnz: int
    slot: Slot | None
    input_matrix_type: Literal["raw", "normalized"] | None
    reason: str
    slots: tuple[SlotSummary, ...]
    obs: tuple[str, ...]
    obsm: tuple[str, ...]
    batches: tuple[Batch, ...]
    batch_key: str | None
    left_out: tuple[str, ...]
    changes: tuple[str, ...]
    n_bytes: int
    report: Report
    chosen: tuple[str, ...] | None = None
    gene_symbols: str | None = None
    encoded: Encoded | None = field(default=None, repr=False, compare=False)
    check: Strictness = "default"

    @property
    def ok(self) -> bool:
        """Whether the object can be sent."""
        return self.report.ok and not (self.check == "strict" and self.report.warnings)

    def _headline(self) -> str:
        return _NOTHING_SENT if self.ok else "Plan: this object cannot be sent"

    def _rows(self) -> list[tuple[str, str]]:
        size = f"{about_megabytes(self.n_bytes)} before compression, {self.nnz:,} nonzero values"
        shown = [f"{batch.file_name} ({counted(batch.n_obs, 'cell')})" for batch in self.batches[:_MOST_SHOWN]]
        more = len(self.batches) - len(shown)
        files = ", ".join(shown) + (f", … and {more} more" if more else "")
        # A change is shown once, although some changes are warnings too.
        warned = (found for found in self.report.warnings if not found.changed)
        rows = [
            *(("error", f"{found.code} {found.path}: {found.text}") for found in self.report.errors),
            *_strict(self),
            ("to", _destination(self)),
            ("cells x genes", f"{self.n_obs:,} x {self.n_vars:,}"),
            ("matrix", f"{self.slot} as {self.input_matrix_type}" if self.slot else ""),
            ("because", self.reason),
            ("obs", self._columns()),
            ("obsm", ", ".join(self.obsm)),
            ("files", files),
            ("size", size if self.report.ok else ""),
            *(("changed", change) for change in self.changes),
            ("left out", ", ".join(self._left())),
            ("filters", "; ".join(found.text for found in self.report.notes if found.path == "filters")),
            *(("warning", f"{found.code} {found.path}: {found.text}") for found in warned),
            *([_TO_SEND] if self.ok else []),
        ]
        return [(name, text) for name, text in rows if text]

    def _columns(self) -> str:
        names = ", ".join(self.obs)
        return names if self.chosen is None or not self.report.ok else f"{names or 'no columns'} (as chosen)"

    def _left(self) -> list[str]:
        """What is left out; columns that were not selected are counted, because there may be hundreds."""
        others = [name for name in self.left_out if not name.endswith(_NOT_CHOSEN)]
        number = len(self.left_out) - len(others)
        return [*([f"{counted(number, 'column')} of obs (not chosen)"] if number else []), *others]

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *(f"  {name}: {text}" for name, text in self._rows())])

    def _repr_html_(self) -> str:
        return facts_table(self._headline(), self._rows())


@dataclass(frozen=True)
class FilesPlan:
    """The plan of a submission of files: what would be sent.

    Attributes
    ----------
    to, group, study_id, species
        The destination, as in :class:`Plan`.
    study_type
        ``"h5ad"``, ``"h5_10x"``, ``"mtx_10x"``, …
    input_matrix_type
        ``"raw"`` (counts, which the server log-normalizes) or ``"normalized"``.
    files
        The files that would be read.
    batches
        Names of the batches on the server.
    n_bytes
        Size of the files on disk, in bytes.
    plans
        One :class:`Plan` for each h5ad file; empty for other types, of which only a part is read.
    report
        The findings of all files. If it has errors, the files cannot be sent.
    reason
        Why a table is sent as counts or as normalized; empty for other types, and if ``input_matrix_type`` is given.
    check
        ``"strict"`` if warnings stop the submission too.

    Examples
    --------
    >>> import anndata as ad, numpy as np, tempfile, biocolab_accessor as bc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ad.AnnData(np.eye(9, dtype="float32") + 1).write_h5ad(f"{folder}/x.h5ad")
    ...     plan = bc.submit(f"{folder}/x.h5ad", dry_run=True)
    >>> plan.study_type, plan.input_matrix_type, plan.plans[0].n_obs
    ('h5ad', 'raw', 9)
    """

    to: Server
    group: str
    study_id: str | None
    species: str
    study_type: str
    input_matrix_type: str
    files: tuple[Path, ...]
    batches: tuple[str, ...]
    n_bytes: int
    plans: tuple[Plan, ...] = ()
    report: Report = field(default_factory=Report)
    reason: str = ""
    check: Strictness = "default"

    @property
    def ok(self) -> bool:
        """Whether the files can be sent."""
        return self.report.ok and not (self.check == "strict" and self.report.warnings)

    def _headline(self) -> str:
        these = "these files" if len(self.files) > 1 else "this file"
        return _NOTHING_SENT if self.ok else f"Plan: {these} cannot be sent"

    def _rows(self) -> list[tuple[str, str]]:
        last = [_TO_SEND] if self.ok else []
        if self.plans:
            named = [
                (path.name, plan if plan.batch_key else _named(plan, path))
                for path, plan in zip(self.files, self.plans, strict=True)
            ]
            rows = [(name, row) for name, plan in named for row in plan._rows() if row[0] != _TO_SEND[0]]
            if len(named) == 1:
                return [*(row for _, row in rows), *last]
            own = [(f"{name}: {fact}", text) for name, (fact, text) in rows if fact != "to"]
            return [("to", _destination(self)), *own, *last]
        found = self.report.errors
        return [
            *_strict(self),
            *((each.severity, f"{each.code} {each.path}: {each.text}") for each in found),
            ("to", _destination(self)),
            ("type", f"{self.study_type}, sent as {self.input_matrix_type}"),
            *([("because", self.reason)] if self.reason else []),
            ("files", listing((path.name for path in self.files), limit=_MOST_SHOWN)),
            ("batches", listing(self.batches, limit=_MOST_SHOWN)),
            ("size", f"{about_megabytes(self.n_bytes)} on disk"),
            *((each.severity, f"{each.code} {each.path}: {each.text}") for each in self.report.warnings),
            *last,
        ]

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *(f"  {name}: {text}" for name, text in self._rows())])

    def _repr_html_(self) -> str:
        return facts_table(self._headline(), self._rows())


def _strict(plan: Plan | FilesPlan) -> list[tuple[str, str]]:
    """The line that says why a plan without errors cannot be sent."""
    if plan.ok or not plan.report.ok:
        return []
    stopping = ", ".join(f"{found.code} {found.path}" for found in plan.report.warnings)
    return [("error", f"check='strict' treats warnings as errors: {stopping}")]


def _destination(plan: Plan | FilesPlan) -> str:
    study = "a new study (id generated on submission)" if plan.study_id is None else f"study {quoted(plan.study_id)}"
    return f"{plan.to}, group {quoted(plan.group)}, {study}, species {plan.species}"


def _named(plan: Plan, path: Path) -> Plan:
    """The plan of a file that is sent as one, under its own name."""
    return replace(plan, batches=tuple(replace(batch, file_name=path.name) for batch in plan.batches))


def plan_submission(
    adata: AnnData,
    *,
    request: StudyRequest | None = None,
    to: Server = "bbrowserx",
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    check: Strictness = "default",
    of_table: Sequence[Finding] | None = None,
    columns: Sequence[str] | str | None = None,
    dry_run: bool = False,
    gene_symbols: str | None = None,
) -> Plan:
    """Check the object and decide what to send; raise CheckFailed if it cannot be sent, unless ``dry_run``."""
    obs = as_frame(adata.obs)
    expect_column(adata, batch_key)
    expect_strictness(check)
    chosen = columns_chosen(obs, columns, batch_key)
    checked = check_object(
        adata,
        input_matrix_type=input_matrix_type,
        batch_key=batch_key,
        species=request.species if request else None,
        filters=request.filters if request else None,
        of_table=of_table,
        obs=chosen,
        gene_symbols=gene_symbols,
    )
    if not dry_run:
        checked.report.raise_for_errors(strict=check == "strict")
    planned = plan_of if checked.report.ok else plan_of_refused
    plan = planned(
        adata, checked, request=request, to=to, batch_key=batch_key, chosen=chosen, gene_symbols=gene_symbols
    )
    # The object may change before it is sent.
    return replace(plan, check=check, encoded=None if dry_run else plan.encoded)


def expect_strictness(check: Any) -> None:
    """Raise InvalidArgument for other values than the two strictnesses."""
    if not isinstance(check, str) or check not in ("default", "strict"):
        msg = (
            f"check is {quoted(check)}: give 'default' or 'strict'. The check cannot be skipped: data with errors "
            "could not be sent"
        )
        raise InvalidArgument(msg)


def plan_of_refused(
    adata: AnnData,
    checked: Checked,
    *,
    request: StudyRequest | None,
    to: Server,
    batch_key: str | None,
    chosen: tuple[str, ...] | None,
    gene_symbols: str | None,
) -> Plan:
    """The plan of an object that has errors: its columns could not be encoded."""
    report, choice, _ = checked
    asked = request or StudyRequest()
    n_obs, n_vars = choice.slot.shape(adata) if choice else adata.shape
    return Plan(
        to=to,
        group=asked.group,
        study_id=None if asked.id_is_made else asked.study_id,
        species=asked.species,
        n_obs=n_obs,
        n_vars=n_vars,
        nnz=choice.chosen.nnz if choice else 0,
        slot=choice.slot if choice else None,
        input_matrix_type=choice.input_matrix_type if choice else None,
        reason=choice.reason if choice else "",
        slots=choice.slots if choice else (),
        obs=(),
        obsm=(),
        batches=(),
        batch_key=batch_key,
        left_out=(),
        changes=(),
        n_bytes=0,
        report=report,
        chosen=chosen,
        gene_symbols=gene_symbols,
    )


def expect_column(adata: AnnData, batch_key: str | None) -> None:
    """Raise UnknownField if obs has no such column."""
    obs = as_frame(adata.obs)
    if batch_key is not None and not (isinstance(batch_key, str) and batch_key in obs.columns):
        near = did_you_mean(str(batch_key), [str(column) for column in obs.columns])
        msg = f"obs has no column {quoted(batch_key)}{near} for batch_key; it has {listing(obs.columns)}"
        raise UnknownField(msg)


def columns_chosen(
    obs: pd.DataFrame, columns: Sequence[str] | str | None, batch_key: str | None = None
) -> tuple[str, ...] | None:
    """The selected columns of obs and the batch column; None means all columns."""
    if columns is None:
        return None
    known = [text for name in obs.columns if (text := key_as_text(name)) is not None]
    wanted = list(dict.fromkeys(argument_names(columns, "obs")))
    if missing := [name for name in wanted if name not in known]:
        near = "; ".join(f"{quoted(name)}{did_you_mean(name, known)}" for name in missing)
        msg = f"obs has no column {near}; it has {listing(known)}"
        raise UnknownField(msg)
    return tuple(wanted if batch_key is None or batch_key in wanted else [*wanted, batch_key])


def plan_of(
    adata: AnnData,
    checked: Checked,
    *,
    request: StudyRequest | None = None,
    to: Server = "bbrowserx",
    batch_key: str | None = None,
    chosen: tuple[str, ...] | None = None,
    gene_symbols: str | None = None,
) -> Plan:
    """The plan for an object that was checked already."""
    report, choice, verdicts = checked
    assert choice is not None
    everything, obsm = as_frame(adata.obs), encoded_obsm(adata, verdicts)
    obs = chosen_columns(everything, chosen)
    # By location, as in the findings of the check.
    refused = {found.path: found.message.removeprefix("not sent: ") for found in report if found.code == "BC201"}
    places = {f"obs[{quoted(name)}]": name for name in obs.columns}
    sent = [name for place, name in places.items() if place not in refused]
    unchosen = [f"obs[{quoted(name)}]{_NOT_CHOSEN}" for name in everything.columns if name not in obs.columns]
    unfit = [f"{place} ({problem})" for place, problem in refused.items()]
    var, where = var_of(adata, choice.slot)
    renamed = named_by(var, gene_symbols, where)[1]
    changes = [
        *([renamed] if renamed else []),
        *(f"{found.path}: {found.message}" for found in report if found.changed),
        *obsm.changes,
    ]
    n_obs, n_vars = choice.slot.shape(adata)
    asked = request or StudyRequest()
    # A generated id must not enter a file name: a call that resumes has to produce the file of the earlier call.
    study_id = None if asked.id_is_made else asked.study_id
    return Plan(
        to=to,
        group=asked.group,
        study_id=study_id,
        species=asked.species,
        n_obs=n_obs,
        n_vars=n_vars,
        nnz=choice.chosen.nnz,
        slot=choice.slot,
        input_matrix_type=choice.input_matrix_type,
        reason=choice.reason,
        slots=choice.slots,
        obs=tuple(name for name in map(sent_name, sent) if name is not None),
        obsm=tuple(obsm.sent),
        batches=_batches(obs, batch_key, study_id or "study"),
        batch_key=batch_key,
        left_out=(*unchosen, *unfit, *_left_out(adata, choice.slot, obsm, gene_symbols)),
        changes=tuple(dict.fromkeys(changes)),
        n_bytes=bytes_of(choice.chosen, obs, obsm.sent.values()),
        report=report,
        chosen=chosen,
        gene_symbols=gene_symbols,
        encoded=encode(adata, choice.slot, obs, obsm, verdicts, gene_symbols=gene_symbols),
    )


def _batches(obs: pd.DataFrame, batch_key: str | None, name: str) -> tuple[Batch, ...]:
    if batch_key is None:
        return (Batch("", f"{safe_name(name)}.h5ad", len(obs)),)
    labels, order = batches_of(obs[batch_key])
    counts = labels.value_counts()
    names = batch_names(order)
    return tuple(Batch(label, f"{file}.h5ad", int(counts[label])) for label, file in zip(order, names, strict=True))


def _left_out(adata: AnnData, slot: Slot, obsm: EncodedObsm, gene_symbols: str | None) -> tuple[str, ...]:
    left = [str(other) for other in filled_slots(adata) if other != slot]
    left += [f"obsm[{quoted(key)}] ({reason})" for key, reason in obsm.left_out.items()]
    for name in ("varm", "obsp", "varp", "uns"):
        left += [f"{name}[{quoted(key)}]" for key in getattr(adata, name)]
    var, where = var_of(adata, slot)
    if columns := [name for name in var.columns if name != gene_symbols]:  # in the file, but servers do not keep them
        left.append(f"columns of {where} ({listing(columns)})")
    return tuple(left)
