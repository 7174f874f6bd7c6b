"""Submit: an AnnData, files on disk, or files in an S3 bucket become a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from anndata import AnnData

from biocolab_accessor.errors import InvalidArgument, InvalidResponse, ServerError, public
from biocolab_accessor.io.compression import Compression
from biocolab_accessor.io.safe_files import target_path
from biocolab_accessor.messages import quoted, warn
from biocolab_accessor.protocol import SERVERS, STUDY_TYPES, Filters, Server
from biocolab_accessor.studies.catalog import connector_of, expect_group_in_last_list, group_id_of
from biocolab_accessor.studies.provenance import remember_sent
from biocolab_accessor.submit.delivery import call_of, chunk_bytes, delivery, outgoing
from biocolab_accessor.submit.files import (
    Files,
    check_readable,
    collect,
    plan_h5ad_files,
    prepare_h5ad_files,
    scratch_folder,
    study_type_number,
    study_type_of_files,
)
from biocolab_accessor.submit.plan import (
    FilesPlan,
    Plan,
    Strictness,
    StudyRequest,
    expect_strictness,
    plan_submission,
)
from biocolab_accessor.submit.submission import Sent, Submission, follow, warn_of_restart, was_lost
from biocolab_accessor.submit.tables import matrix_type_of_tables, names_of_tables, with_tabs
from biocolab_accessor.submit.write import tables_of, write_plan

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Finding

_COUNTS_BY_DEFINITION = {STUDY_TYPES["h5_10x"], STUDY_TYPES["mtx_10x"]}


def _matrix_type(given: str, study_type: int, files: Sequence[Path]) -> tuple[str, str]:
    """``"raw"`` or ``"normalized"`` for files other than h5ad, and why, if the files had to be read."""
    if given != "auto":
        return given, ""
    if study_type == STUDY_TYPES["tsv"]:
        return matrix_type_of_tables(files)
    return "raw" if study_type in _COUNTS_BY_DEFINITION else "normalized", ""


def submit_anndata(
    adata: AnnData,
    request: StudyRequest,
    *,
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    to: Server = "bbrowserx",
    chunk_size: int | None = None,
    wait: bool = True,
    check: Strictness = "default",
    dry_run: bool = False,
    of_table: Sequence[Finding] | None = None,
    obs: Sequence[str] | str | None = None,
    gene_symbols: str | None = None,
) -> Submission | Plan:
    """Check, serialize, upload and submit an AnnData; see :meth:`AnnDataAccessor.submit` for the arguments."""
    if to not in SERVERS:
        msg = f"to is {quoted(to)}: give 'bbrowserx' or 'talk2data'"
        raise InvalidArgument(msg)
    size = chunk_bytes(chunk_size)
    if dry_run:
        expect_group_in_last_list(to, request.group)
    plan = plan_submission(
        adata,
        request=request,
        to=to,
        input_matrix_type=input_matrix_type,
        batch_key=batch_key,
        check=check,
        of_table=of_table,
        columns=obs,
        dry_run=dry_run,
        gene_symbols=gene_symbols,
    )
    if dry_run:
        return plan
    for finding in plan.report.warnings:
        warn(f"{finding.code} {finding.path}: {finding.text}")
    connector = connector_of(to)
    body = {
        **request.body(group_id_of(connector, request.group)),
        "study_type": STUDY_TYPES["h5ad"],
        "normalize": plan.input_matrix_type == "raw",
        "batch_info": [batch.file_name for batch in plan.batches],
    }

    @contextmanager
    def sent() -> Iterator[Submission]:
        with ExitStack() as held:
            with scratch_folder() as folder:
                files = [outgoing(path, path.name) for path in write_plan(adata, plan, folder)]
                way = delivery(connector, "submit_study_from_local", body, request, files, source=to, chunk_size=size)
                submission = held.enter_context(way)
            submission._sent = Sent(adata.n_obs, {batch.file_name: batch.n_obs for batch in plan.batches})
            yield submission

    submission = _ended(sent, wait=wait)
    remember_sent(adata, submission)
    return submission


@overload
def submit_files(
    files: Files,
    group: str = ...,
    *,
    study_type: Any = ...,
    study_id: str | None = ...,
    name: str | None = ...,
    authors: Sequence[str] = ...,
    abstract: str = ...,
    species: str = ...,
    input_matrix_type: Literal["auto", "raw", "normalized"] = ...,
    batch_key: str | None = ...,
    gene_symbols: str | None = ...,
    min_counts: float | None = ...,
    min_genes: float | None = ...,
    max_counts: float | None = ...,
    max_genes: float | None = ...,
    mt_percentage: float | None = ...,
    skip_dimred: bool = ...,
    check: Strictness = ...,
    to: Server = ...,
    obs: Sequence[str] | str | None = ...,
    chunk_size: int | None = ...,
    wait: bool = ...,
    dry_run: Literal[False] = ...,
) -> Submission: ...


@overload
def submit_files(
    files: Files,
    group: str = ...,
    *,
    study_type: Any = ...,
    study_id: str | None = ...,
    name: str | None = ...,
    authors: Sequence[str] = ...,
    abstract: str = ...,
    species: str = ...,
    input_matrix_type: Literal["auto", "raw", "normalized"] = ...,
    batch_key: str | None = ...,
    gene_symbols: str | None = ...,
    min_counts: float | None = ...,
    min_genes: float | None = ...,
    max_counts: float | None = ...,
    max_genes: float | None = ...,
    mt_percentage: float | None = ...,
    skip_dimred: bool = ...,
    check: Strictness = ...,
    to: Server = ...,
    obs: Sequence[str] | str | None = ...,
    chunk_size: int | None = ...,
    wait: bool = ...,
    dry_run: Literal[True],
) -> FilesPlan: ...


@public
def submit_files(
    files: Files,
    group: str = "personal",
    *,
    study_type: Any = "auto",
    study_id: str | None = None,
    name: str | None = None,
    authors: Sequence[str] = (),
    abstract: str = "",
    species: str = "human",
    input_matrix_type: Literal["auto", "raw", "normalized"] = "auto",
    batch_key: str | None = None,
    gene_symbols: str | None = None,
    min_counts: float | None = None,
    min_genes: float | None = None,
    max_counts: float | None = None,
    max_genes: float | None = None,
    mt_percentage: float | None = None,
    skip_dimred: bool = False,
    check: Strictness = "default",
    to: Server = "bbrowserx",
    obs: Sequence[str] | str | None = None,
    chunk_size: int | None = None,
    wait: bool = True,
    dry_run: bool = False,
) -> Submission | FilesPlan:
    """Submit files on disk. Several files become the batches of one study.

    Parameters
    ----------
    files
        One or several paths. For ``"mtx_10x"``, a folder or a dict with ``matrix``, ``features`` and ``barcodes`` (or
        several of them). For ``"processed_folder"``, the folder.
    group
        Id or displayed name of the group.
    study_type
        ``"h5ad"``, ``"h5_10x"``, ``"mtx_10x"``, ``"tsv"``, ``"rds"``, ``"bcs"``, ``"bbrowser"`` or
        ``"processed_folder"``. Members and numbers of the official ``StudyType`` are accepted too. ``"auto"``
        recognizes h5ad, 10x h5, 10x folders, tables (a comma-separated .csv is sent with tabs), rds and bcs.
    study_id
        The id that users will see. None generates one.
    name, authors, abstract, species
        Shown with the study. Without a name, ``study_id`` is the title.
    input_matrix_type
        ``"raw"`` (the server log-normalizes) or ``"normalized"``. ``"auto"`` reads h5ad files and tables to decide:
        whole numbers are counts. 10x files are counts too, and everything else is normalized.
    batch_key
        Column of obs that splits a single h5ad file into batches.
    gene_symbols
        Column of var (of ``raw.var``, if that is sent) with the names to send for the genes of h5ad files.
    min_counts, min_genes, max_counts, max_genes
        Cells outside these bounds are removed by the server; the bounds are inclusive.
    mt_percentage
        Maximum share of counts from mitochondrial genes, in percent.
    skip_dimred
        Keep the embeddings in the file; the server computes none.
    check
        ``"default"`` stops at errors of :func:`check` and issues its warnings as Python warnings. ``"strict"`` stops at
        warnings too.
    to
        ``"bbrowserx"`` or ``"talk2data"``.
    obs
        Columns of obs to send from h5ad files. None sends all of them, ``[]`` none. Every file must have them.
    chunk_size
        Bytes per upload request. None uses ``bc.settings.chunk_size``.
    wait
        Wait until the study is ready.
    dry_run
        Check the files and return the plan, with their errors if they have some (``plan.ok``); nothing is sent and the
        server is not contacted. A group is looked for in the last list of :func:`groups` in this session, if any.

    Returns
    -------
    Submission or FilesPlan
        A submission, whose ``study()`` returns the study; with ``dry_run=True``, the plan.

    Raises
    ------
    InvalidFile
        A file is missing, empty, or of a different type than ``study_type``.
    InvalidArgument
        ``files`` is not a path (for example an object in memory), or an argument is not one of its allowed values.
    CheckFailed
        A file cannot be sent (:class:`~biocolab_accessor.errors.NoCounts`, …). The message includes the report. In
        tables and 10x files, only the header and the first lines or values are checked.
    UnknownField
        A file lacks ``batch_key`` or a column named in ``obs``.
    UnknownGroup
        The token has no access to a group of this name.
    TaskFailed
        The server could not process the files.

    Notes
    -----
    An h5ad file is sent as a temporary copy if its counts are not in ``raw.X``, where the server reads them; if it has
    columns that are sent as text or left out; if ``obs`` selects columns; or if ``batch_key`` splits it. The file
    itself is never changed.

    If a call is interrupted, repeat it with the same files to resume it, as for
    :meth:`~biocolab_accessor.accessors.anndata.AnnDataAccessor.submit`.

    Examples
    --------
    >>> import anndata as ad, numpy as np, tempfile, biocolab_accessor as bc
    >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
    ...     ad.AnnData(np.eye(9, dtype="float32") + 1).write_h5ad(f"{folder}/x.h5ad")
    ...     bc.submit(f"{folder}/x.h5ad", skip_dimred=True).study().n_obs
    9
    """
    filters = Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage)
    request = StudyRequest(group, study_id, name, authors, abstract, species, filters, skip_dimred)
    files = list(files) if isinstance(files, Iterator) else files  # it is iterated more than once
    number = study_type_number(study_type_of_files(files) if study_type == "auto" else study_type)
    payload = collect(files, number)
    matrix_type = getattr(input_matrix_type, "value", input_matrix_type)
    if matrix_type not in ("auto", "raw", "normalized"):
        msg = f"input_matrix_type is {quoted(input_matrix_type)}: give 'auto', 'raw' or 'normalized'"
        raise InvalidArgument(msg)
    if (obs is not None or gene_symbols is not None) and number != STUDY_TYPES["h5ad"]:
        msg = "obs and gene_symbols name columns of h5ad files only: leave them out"
        raise InvalidArgument(msg)
    if batch_key is not None and (number != STUDY_TYPES["h5ad"] or len(payload.files) > 1):
        msg = "batch_key splits a single h5ad file by a column of its obs: leave it out (several files are batches)"
        raise InvalidArgument(msg)
    if to not in SERVERS:
        msg = f"to is {quoted(to)}: give 'bbrowserx' or 'talk2data'"
        raise InvalidArgument(msg)
    expect_strictness(check)
    size = chunk_bytes(chunk_size)
    arguments = {
        "group": group,
        "study_type": number,
        "study_id": study_id,
        "name": name,
        "authors": list(request.authors),
        "abstract": abstract,
        "species": request.species,
        "input_matrix_type": matrix_type,
        **({} if batch_key is None else {"batch_key": batch_key}),
        **({} if gene_symbols is None else {"gene_symbols": gene_symbols}),
        "min_counts": min_counts,
        "min_genes": min_genes,
        "max_counts": max_counts,
        "max_genes": max_genes,
        "mt_percentage": mt_percentage,
        "skip_dimred": skip_dimred,
        "to": to,
        "obs": obs if obs is None or isinstance(obs, str) else list(obs),
        "chunk_size": size,
    }
    if dry_run:
        expect_group_in_last_list(to, group)
        reason = ""
        if number == STUDY_TYPES["h5ad"]:
            plans, report = plan_h5ad_files(
                payload.files, request, matrix_type, to, obs, batch_key, gene_symbols, check=check
            )
        else:
            plans, report = [], check_readable(payload, number, request.species)
            if report.ok:  # else its values may not even be numbers
                matrix_type, reason = _matrix_type(matrix_type, number, payload.files)
        return FilesPlan(
            to=to,
            group=group,
            study_id=study_id,
            species=request.species,
            study_type=next(name for name, known in STUDY_TYPES.items() if known == number),
            input_matrix_type=(plans and plans[0].input_matrix_type) or matrix_type,
            files=(*payload.files, *payload.extra),
            batches=tuple(batch.file_name for batch in plans[0].batches) if batch_key else payload.batches,
            n_bytes=sum(path.stat().st_size for path in (*payload.files, *payload.extra)),
            plans=tuple(plans),
            report=report,
            reason=reason,
            check=check,
        )
    call = call_of(files, (*payload.files, *payload.extra), arguments)

    @contextmanager
    def sent() -> Iterator[Submission]:
        with ExitStack() as held:
            with scratch_folder() as folder:
                paths, names, batches = list(payload.files), payload.names, payload.batches
                if number == STUDY_TYPES["h5ad"]:
                    paths, raw = prepare_h5ad_files(
                        paths, request, matrix_type, folder, obs, batch_key, gene_symbols, check=check
                    )
                    if batch_key is not None:
                        names = batches = tuple(path.name for path in paths)
                else:
                    check_readable(payload, number, request.species, check=check)
                    raw = _matrix_type(matrix_type, number, paths)[0] == "raw"
                if number == STUDY_TYPES["tsv"]:
                    paths = with_tabs(paths, folder)
                    names = batches = names_of_tables(names, paths)
                sending = [outgoing(path, name_there) for path, name_there in zip(paths, names, strict=True)]
                sending += [outgoing(path, path.name, "custom_embeddings") for path in payload.extra]
                connector = connector_of(to)
                body = {**request.body(group_id_of(connector, request.group)), "study_type": number}
                if number == STUDY_TYPES["processed_folder"]:
                    unknown = dict.fromkeys(body["filter_params"], "unk")
                    body = {key: body[key] for key in ("species", "group_id", "study_info", "study_type")}
                    body["filter_params"] = unknown
                    route = "submit_processed_study_from_local"
                else:
                    body |= {"normalize": raw, "batch_info": list(batches)}
                    route = "submit_study_from_local"
                way = delivery(connector, route, body, request, sending, source=to, chunk_size=size, call=call)
                submission = held.enter_context(way)
            yield submission

    return _ended(sent, wait=wait)


def _ended(sent: Callable[[], AbstractContextManager[Submission]], *, wait: bool) -> Submission:
    """Send, and wait for the end if wanted; if the server has lost data of an earlier call, send it once more."""
    with sent() as submission:
        try:
            if wait:
                return submission.wait()
        except (ServerError, InvalidResponse) as error:
            if not was_lost(submission):
                raise
            warn_of_restart(submission.study_id, error)
    if not wait:
        return follow(submission)
    with sent() as submission:
        return submission.wait()


def to_h5ad(
    adata: AnnData,
    path: str | Path,
    *,
    input_matrix_type: Any = "auto",
    compression: Compression = "gzip",
    columns: Sequence[str] | str | None = None,
) -> Path:
    """Write the file exactly as a submission sends it."""
    target = target_path(path)
    plan = plan_submission(adata, input_matrix_type=input_matrix_type, columns=columns)
    tables_of(adata, plan).write(target, None, compression)
    return target
