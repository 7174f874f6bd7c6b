"""Sending: ``adata.biocolab.check``, ``submit`` and ``to_h5ad``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from biocolab_accessor.accessors.base import AnnDataPart

if TYPE_CHECKING:
    from biocolab_accessor.catalog import Server
    from biocolab_accessor.check.report import Report
    from biocolab_accessor.outbound.plan import Plan, Strictness
    from biocolab_accessor.outbound.submission import Submission

__all__ = ["MatrixType", "Sending"]

MatrixType = Literal["auto", "raw", "normalized"]


class Sending(AnnDataPart):
    """From an object to a server."""

    def check(
        self,
        *,
        input_matrix_type: MatrixType = "auto",
        batch_key: str | None = None,
        species: str | None = None,
        min_counts: float | None = None,
        min_genes: float | None = None,
        max_counts: float | None = None,
        max_genes: float | None = None,
        mt_percentage: float | None = None,
    ) -> Report:
        """Everything that stands in the way of a submission, at once; nothing is sent.

        Parameters
        ----------
        input_matrix_type, batch_key
            As for :meth:`submit`.
        species
            As for :meth:`submit`, to be compared with the names of the genes; None compares nothing.
        min_counts, min_genes, max_counts, max_genes, mt_percentage
            As for :meth:`submit`; where one is given, the report says how many cells the server would keep. What it is
            for each batch, and which bounds would suit, is shown by :meth:`preview_filters`.

        Returns
        -------
        Report
            Findings with their place, count, examples and mending; ``report.ok`` says whether it can be sent.

        Raises
        ------
        InvalidArgument
            A filter is no number, negative, above 100 percent, or a minimum above its maximum; or
            ``input_matrix_type`` or ``species`` is something else.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> sc.datasets.pbmc68k_reduced().biocolab.check().ok
        True
        """
        from biocolab_accessor.check import check

        return check(
            self._adata,
            input_matrix_type=input_matrix_type,
            batch_key=batch_key,
            species=species,
            min_counts=min_counts,
            min_genes=min_genes,
            max_counts=max_counts,
            max_genes=max_genes,
            mt_percentage=mt_percentage,
        )

    @overload
    def submit(
        self,
        group: str = ...,
        *,
        study_id: str | None = ...,
        name: str | None = ...,
        authors: Sequence[str] = ...,
        abstract: str = ...,
        species: str = ...,
        input_matrix_type: MatrixType = ...,
        min_counts: float | None = ...,
        min_genes: float | None = ...,
        max_counts: float | None = ...,
        max_genes: float | None = ...,
        mt_percentage: float | None = ...,
        skip_dimred: bool = ...,
        batch_key: str | None = ...,
        obs: Sequence[str] | str | None = ...,
        to: Server = ...,
        chunk_size: int | None = ...,
        wait: bool = ...,
        check: Strictness = ...,
        dry_run: Literal[False] = ...,
    ) -> Submission: ...

    @overload
    def submit(
        self,
        group: str = ...,
        *,
        study_id: str | None = ...,
        name: str | None = ...,
        authors: Sequence[str] = ...,
        abstract: str = ...,
        species: str = ...,
        input_matrix_type: MatrixType = ...,
        min_counts: float | None = ...,
        min_genes: float | None = ...,
        max_counts: float | None = ...,
        max_genes: float | None = ...,
        mt_percentage: float | None = ...,
        skip_dimred: bool = ...,
        batch_key: str | None = ...,
        obs: Sequence[str] | str | None = ...,
        to: Server = ...,
        chunk_size: int | None = ...,
        wait: bool = ...,
        check: Strictness = ...,
        dry_run: Literal[True],
    ) -> Plan: ...

    def submit(
        self,
        group: str = "personal",
        *,
        study_id: str | None = None,
        name: str | None = None,
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        input_matrix_type: MatrixType = "auto",
        min_counts: float | None = None,
        min_genes: float | None = None,
        max_counts: float | None = None,
        max_genes: float | None = None,
        mt_percentage: float | None = None,
        skip_dimred: bool = False,
        batch_key: str | None = None,
        obs: Sequence[str] | str | None = None,
        to: Server = "bbrowserx",
        chunk_size: int | None = None,
        wait: bool = True,
        check: Strictness = "default",
        dry_run: bool = False,
    ) -> Submission | Plan:
        """Send the object to a BBrowserX or Talk2Data server, where it becomes a study.

        Parameters
        ----------
        group
            Id or displayed name of the group.
        study_id
            The id that people will see; None makes one.
        name, authors, abstract
            Shown with the study; without a name ``study_id`` is its title.
        species
            ``"human"``, ``"mouse"``, ``"primate"`` or ``"others"``.
        input_matrix_type
            ``"auto"`` looks for counts in ``layers["counts"]``, ``raw.X``, ``X`` and other layers and sends them as
            raw; where there are none, ``X`` is sent as normalized. ``"raw"`` insists on counts,
            ``"normalized"`` on ``X``.
        min_counts, min_genes, max_counts, max_genes
            Which cells the server shall keep; bounds are inclusive. The check counts them before anything is sent, and
            refuses bounds that would leave none.
        mt_percentage
            Most counts from mitochondrial genes, in percent.
        skip_dimred
            Keep the object's own embeddings, compute none.
        batch_key
            Column of obs whose values become the batches of the study; cells are then ordered by batch.
        obs
            Columns of obs that are sent, ``["cell_type", "donor"]``; None means all, and ``[]`` none. The column of
            ``batch_key`` is always sent.
        to
            ``"bbrowserx"`` or ``"talk2data"``.
        chunk_size
            Bytes of one upload request; None means ``bc.settings.chunk_size``.
        wait
            Wait until the study is there; else the submission comes back at once, and ``wait()`` ends it.
        check
            ``"default"`` refuses what :meth:`check` calls an error and gives its warnings as Python warnings;
            ``"strict"`` refuses warnings too. A check cannot be left out: what it calls an error cannot be written,
            or would not come back.
        dry_run
            Send nothing; give the plan of what would be sent.

        Returns
        -------
        Submission or Plan
            ``submission.study().to_anndata()`` brings the cells back. A Plan with ``dry_run``.

        Raises
        ------
        CheckFailed
            The object is not fit to be sent (:class:`~biocolab_accessor.errors.NoCounts`, …); the
            message holds the report.
        UnknownField
            obs has no column ``batch_key``, or none of a name in ``obs``.
        UnknownGroup
            The token sees no such group.
        MissingCredentials
            No host or token is known.
        TaskFailed
            The server could not process the study.

        Notes
        -----
        Columns that h5ad cannot hold do not stop a submission. What text can carry (dates and durations in ISO 8601,
        periods, intervals, mixed values) is sent as labels, with a warning that has the line which gives the dtype
        back; what it cannot carry (lists and other objects) is left out with a warning. ``dry_run`` shows both.

        A call that was broken off, by Ctrl-C, a crash or the network, is carried on by the same call: same cells, same
        server and group, same arguments. Only what the server does not have is sent, a task that it has begun (by
        ``wait=False`` too) is waited for and committed, and the study keeps its id, also one that was made here. Where
        the server has lost what it was given, it is sent once from the start, with a warning that says so.
        :func:`biocolab_accessor.submissions` lists what was broken off.

        Where ``study_id`` is given and the same was sent under it before, nothing is sent, and the submission is that
        of the study that is there. Without a ``study_id``, a call after one that has ended is a new study. While the
        same call is under way elsewhere, one with a ``study_id`` waits for it, and one without makes its own study.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> adata.X = adata.raw.X  # log-normalised; the X of this data set is scaled
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(group="personal", study_id="PBMC", skip_dimred=True)
        ...     again = submission.study().to_anndata()
        >>> again.shape
        (700, 765)
        """
        from biocolab_accessor.outbound.request import Filters, StudyRequest
        from biocolab_accessor.outbound.submit import submit_anndata

        filters = Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage)
        request = StudyRequest(group, study_id, name, authors, abstract, species, filters, skip_dimred)
        return submit_anndata(
            self._adata,
            request,
            input_matrix_type=input_matrix_type,
            batch_key=batch_key,
            obs=obs,
            to=to,
            chunk_size=chunk_size,
            wait=wait,
            check=check,
            dry_run=dry_run,
        )

    def to_h5ad(
        self,
        path: str | Path,
        *,
        input_matrix_type: MatrixType = "auto",
        compression: Literal["gzip"] | None = "gzip",
        obs: Sequence[str] | str | None = None,
    ) -> Path:
        """Write exactly the file that :meth:`submit` sends.

        Parameters
        ----------
        path
            Where to. An existing file is replaced only when the new one is complete.
        input_matrix_type
            As for :meth:`submit`.
        compression
            ``"gzip"``, which any reader of HDF5 knows, or None for a larger file that is written a little sooner.
        obs
            As for :meth:`submit`.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        CheckFailed
            The object is not fit to be sent.
        UnknownField
            obs has no column of a name in ``obs``.

        Examples
        --------
        >>> import anndata as ad, numpy as np, tempfile, biocolab_accessor
        >>> adata = ad.AnnData(np.eye(3, dtype="float32"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = adata.biocolab.to_h5ad(f"{folder}/x.h5ad")
        ...     (ad.read_h5ad(path).raw.X != adata.X).sum()
        np.int64(0)
        """
        from biocolab_accessor.outbound.plan import to_h5ad

        return to_h5ad(self._adata, path, input_matrix_type=input_matrix_type, compression=compression, columns=obs)
