"""``adata.biocolab``: check and submit an AnnData, sync it with its study, and analyze it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from anndata import AnnData

from biocolab_accessor.errors import public

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.annotate.annotation import Annotation
    from biocolab_accessor.check.filter_preview import FilterPreview
    from biocolab_accessor.check.report import Report
    from biocolab_accessor.clients.bioflex import Database
    from biocolab_accessor.protocol import Server, Source
    from biocolab_accessor.studies.citation import Style
    from biocolab_accessor.studies.study import Study
    from biocolab_accessor.submit.plan import Plan, Strictness
    from biocolab_accessor.submit.submission import Submission
    from biocolab_accessor.sync.match import MatchReport
    from biocolab_accessor.sync.push import Missing

MatrixType = Literal["auto", "raw", "normalized"]


@public
class AnnDataAccessor:
    """The methods of ``adata.biocolab``.

    Parameters
    ----------
    adata
        The object. Only methods whose purpose is to change it do so.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor
    >>> ad.AnnData(np.eye(3, dtype="float32")).biocolab
    adata.biocolab of 3 cells and 3 genes: annotate, check, ...
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    def __repr__(self) -> str:
        n_obs, n_vars = self._adata.shape
        methods = ", ".join(name for name in dir(self) if not name.startswith("_"))
        return f"adata.biocolab of {n_obs:,} cells and {n_vars:,} genes: {methods}"

    def check(
        self,
        *,
        input_matrix_type: MatrixType = "auto",
        batch_key: str | None = None,
        species: str | None = "human",
        min_counts: float | None = None,
        min_genes: float | None = None,
        max_counts: float | None = None,
        max_genes: float | None = None,
        mt_percentage: float | None = None,
    ) -> Report:
        """Report every problem that would stop a submission. Nothing is sent.

        Parameters
        ----------
        input_matrix_type, batch_key
            As for :meth:`submit`.
        species
            As for :meth:`submit`. It is compared with the gene names; None skips the comparison.
        min_counts, min_genes, max_counts, max_genes, mt_percentage
            As for :meth:`submit`. If any is given, the report says how many cells the server would keep.
            :meth:`preview_filters` shows this for each batch and suggests bounds.

        Returns
        -------
        Report
            Findings, each with its location, count, examples and fix. ``report.ok`` is True if the object can be sent.

        Raises
        ------
        InvalidArgument
            A filter is not a number, is negative, is above 100 percent, or is a minimum above its maximum; or
            ``input_matrix_type`` or ``species`` is not one of the allowed values.

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
        gene_symbols: str | None = ...,
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
        gene_symbols: str | None = ...,
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
        gene_symbols: str | None = None,
        to: Server = "bbrowserx",
        chunk_size: int | None = None,
        wait: bool = True,
        check: Strictness = "default",
        dry_run: bool = False,
    ) -> Submission | Plan:
        """Submit the object to a BBrowserX or Talk2Data server, which turns it into a study.

        Parameters
        ----------
        group
            Id or displayed name of the group.
        study_id
            The id that users will see. None generates one.
        name, authors, abstract
            Shown with the study. Without a name, ``study_id`` is the title.
        species
            ``"human"``, ``"mouse"``, ``"primate"`` or ``"others"``.
        input_matrix_type
            ``"auto"`` looks for counts in ``layers["counts"]``, ``raw.X``, ``X`` and the other layers, and sends them
            as raw; if it finds none, it sends ``X`` as normalized. ``"raw"`` requires counts. ``"normalized"`` sends
            ``X``.
        min_counts, min_genes, max_counts, max_genes
            Cells outside these bounds are removed by the server; the bounds are inclusive. The check counts the cells
            before anything is sent, and rejects bounds that would remove all of them.
        mt_percentage
            Maximum share of counts from mitochondrial genes, in percent.
        skip_dimred
            Keep the object's embeddings; the server computes none.
        batch_key
            Column of obs whose values become the batches of the study. Cells are then ordered by batch.
        obs
            Columns of obs to send, such as ``["cell_type", "donor"]``. None sends all of them, ``[]`` none. The
            ``batch_key`` column is always sent.
        gene_symbols
            Column of var (of raw.var, if ``raw.X`` is sent) whose values are sent as the names of the genes, for
            objects whose ``var_names`` are ids. Genes without a symbol keep their name; repeated symbols get a number,
            as by ``var_names_make_unique``. None sends ``var_names``.
        to
            ``"bbrowserx"`` or ``"talk2data"``.
        chunk_size
            Bytes per upload request. None uses ``bc.settings.chunk_size``.
        wait
            Wait until the study is ready. If False, return at once; call ``wait()`` on the submission to complete it.
        check
            ``"default"`` stops at errors of :meth:`check` and issues its warnings as Python warnings. ``"strict"``
            stops at warnings too. The check cannot be skipped: data with errors could not be written, or could not be
            fetched again.
        dry_run
            Send nothing and return the plan. If the object has errors, they are in the plan, and nothing is raised.
            No server is asked, so the plan does not say whether the token is accepted, or a study with this id exists;
            a group is looked for in the last list of :func:`groups` in this session, if any.

        Returns
        -------
        Submission or Plan
            ``submission.study().to_anndata()`` fetches the cells again. With ``dry_run``, a Plan.

        Raises
        ------
        CheckFailed
            The object cannot be sent (:class:`~biocolab_accessor.errors.NoCounts`, …). The message includes the
            report.
        UnknownField
            obs has no column ``batch_key``, or lacks a column named in ``obs``; or var has no column ``gene_symbols``.
        UnknownGroup
            The token has no access to a group of this name.
        MissingCredentials
            No host or token is set.
        TaskFailed
            The server could not process the study.

        Notes
        -----
        Columns that h5ad cannot store do not stop a submission. Values that can be written as text (dates and durations
        in ISO 8601, periods, intervals, mixed values) are sent as labels; a warning shows the line of code that
        restores the dtype. Other values, such as lists, are left out with a warning. ``dry_run`` shows both.

        If Ctrl-C, a crash or the network interrupts a call, repeat the call to resume it: same cells, same server and
        group, same arguments. Only the missing data is sent. A task that the server has started (with ``wait=False``
        too) is waited for and committed. The study keeps its id, even if the id was generated here. If the server has
        lost the data, everything is sent once more, with a warning. :func:`biocolab_accessor.submissions` lists
        interrupted submissions.

        If the same data was submitted under the same ``study_id`` before, nothing is sent, and the submission of the
        existing study is returned. Without a ``study_id``, a call after a completed one creates a new study. While the
        same call is running elsewhere, a call with a ``study_id`` waits for it; a call without one creates its own
        study.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> adata.X = adata.raw.X  # log-normalized; the X of this data set is scaled
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(group="personal", study_id="PBMC", skip_dimred=True)
        ...     again = submission.study().to_anndata()
        >>> again.shape
        (700, 765)
        """
        from biocolab_accessor.protocol import Filters
        from biocolab_accessor.submit.plan import StudyRequest
        from biocolab_accessor.submit.submit import submit_anndata

        filters = Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage)
        request = StudyRequest(group, study_id, name, authors, abstract, species, filters, skip_dimred)
        return submit_anndata(
            self._adata,
            request,
            input_matrix_type=input_matrix_type,
            batch_key=batch_key,
            obs=obs,
            gene_symbols=gene_symbols,
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
        """Write the file exactly as :meth:`submit` sends it.

        Parameters
        ----------
        path
            Path of the h5ad file. An existing file is replaced only once the new one is complete.
        input_matrix_type
            As for :meth:`submit`.
        compression
            ``"gzip"``, which every HDF5 reader supports, or None for a larger file that is written slightly faster.
        obs
            As for :meth:`submit`.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        CheckFailed
            The object cannot be sent.
        UnknownField
            obs lacks a column named in ``obs``.

        Examples
        --------
        >>> import anndata as ad, numpy as np, tempfile, biocolab_accessor
        >>> adata = ad.AnnData(np.eye(3, dtype="float32"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = adata.biocolab.to_h5ad(f"{folder}/x.h5ad")
        ...     (ad.read_h5ad(path).raw.X != adata.X).sum()
        np.int64(0)
        """
        from biocolab_accessor.submit.submit import to_h5ad

        return to_h5ad(self._adata, path, input_matrix_type=input_matrix_type, compression=compression, columns=obs)

    @property
    def study(self) -> Study:
        """The study of this object: of its last submission in this session, or else the one that it was fetched from.

        A submission is remembered for this object, not for its copies, until its cells or genes change; nothing is
        written into the object. A submission that has not ended is waited for. The study that an object was fetched
        from is recorded in ``uns["biocolab"]``.

        Raises
        ------
        UnknownStudy
            The object was neither submitted nor fetched, or the study no longer exists.
        ConfigurationError
            The object was fetched from a different server than the current connection.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> adata = ad.AnnData(np.eye(9, dtype="float32") + 1)
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(study_id="NINE", skip_dimred=True)
        ...     adata.biocolab.study.id
        'NINE'
        """
        from biocolab_accessor.sync.match import study_of_object

        return study_of_object(self._adata)

    def cite(self, style: Style = "bibtex") -> str:
        """The studies that this object was fetched from as citations, from ``uns["biocolab"]`` alone.

        Parameters
        ----------
        style
            ``"bibtex"``, ``"text"`` (one line per study), or ``"methods"``: a paragraph with the server, the version
            of the database, the ids of the studies, what was fetched and when, and the versions of the packages.

        Returns
        -------
        str
            See :meth:`Study.cite`.

        Raises
        ------
        UnknownStudy
            The object was not fetched from a study.
        InvalidArgument
            The style is unknown.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D"])
        >>> adata.biocolab.cite("methods")[:43]
        'Single-cell data of study PBMC68k_reduced ('
        """
        from biocolab_accessor.studies.citation import cite
        from biocolab_accessor.studies.provenance import origins_in

        return cite(origins_in(self._adata), style)

    def pull_metadata(
        self,
        fields: Sequence[str] | str | None = None,
        *,
        study: Study | Submission | str | None = None,
        group: str | None = None,
        species: str = "human",
        source: Source = "bbrowserx",
        on: str | None = None,
        prefix: str = "",
        overwrite: bool = False,
        dtypes: Mapping[str, Any] | pd.Series | None = None,
        errors: Literal["raise", "ignore"] = "raise",
    ) -> MatchReport:
        """Add metadata fields of a study to ``obs``, joined by barcode.

        This changes the object: new columns are appended to ``obs``, and replaced columns keep their position. Nothing
        else changes, and if an error is raised, nothing changes at all. A view becomes an actual object, as with any
        assignment to a view.

        Labels become categories; numbers become int64 (uint64 from 2⁶³ on), float64 (float32 from BioFlex) or bool.
        Cells that are not in the study get a missing value; integers then become float64 (Int64 from 2⁵³ on, UInt64
        from 2⁶³ on) and bools ``boolean``. A replaced column keeps its dtype if it can hold every value exactly. The
        report lists the differences.

        Parameters
        ----------
        fields
            Names of metadata fields. None means all fields that are not yet in ``obs``; with ``overwrite``, all fields.
        study
            A study, its submission, or its id. None means the object's own :attr:`study`.
        group, species, source
            Where to look for a study id.
        on
            Column of ``obs`` with the cell names used by the study. None means ``obs_names``.
        prefix
            Prefix for the column names.
        overwrite
            Replace existing columns.
        dtypes
            The wanted dtype of the columns, by field. It is used if it can hold every value exactly. Pass
            ``report.dtypes`` of the push, ``obs.dtypes`` of the object that was sent, or a dict such as
            ``{"good": bool}``. Dates, durations, periods and intervals are transferred as text, and their dtype
            restores them: ``{"date": "datetime64[ns, UTC]"}``. Names that are not fetched are ignored.
        errors
            ``"raise"`` raises an error if a dtype of ``dtypes`` cannot hold the values of its column. ``"ignore"``
            leaves such a column as received, with a warning, and pulls the others in their dtypes.

        Returns
        -------
        MatchReport
            Cells found on both sides, only here, or only in the study; the columns written; and the differences.

        Raises
        ------
        UnknownName
            No cell of the object is in the study. The message shows names of both and their likely difference.
        UnknownField
            The study does not have this field.
        InvalidArgument
            ``obs`` already has columns of these names.
        InvalidColumn
            A requested dtype cannot hold the values, or ``obs`` has no column ``on``.
        InvalidNames
            Several cells of the object have the same barcode.
        UnknownStudy
            The object was neither submitted in this session nor fetched, and ``study`` was not given.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D"], fields=[])[100:].copy()
        ...     adata.biocolab.pull_metadata(["bulk_labels", "n_genes"])
        MatchReport: study 'PBMC68k_reduced'
          matched     600
          only here   0
          only there  100  'AAAGCCTGGCTAAC-1', 'AAATTCGATGCACA-1', 'AACACGTGGTCTTT-1', …
          written     obs['bulk_labels'], obs['n_genes']
        >>> adata.obs["bulk_labels"].dtype.name
        'category'
        """
        from biocolab_accessor.sync.match import origin_or
        from biocolab_accessor.sync.pull import pull_metadata

        target = origin_or(self._adata, study, group=group, species=species, source=source)
        return pull_metadata(
            self._adata, target, fields, on=on, prefix=prefix, overwrite=overwrite, dtypes=dtypes, errors=errors
        )

    def pull_embeddings(
        self,
        keys: Sequence[str] | str | None = None,
        *,
        study: Study | Submission | str | None = None,
        group: str | None = None,
        species: str = "human",
        source: Server = "bbrowserx",
        on: str | None = None,
        overwrite: bool = False,
    ) -> MatchReport:
        """Add embeddings of a study to ``obsm``, joined by barcode.

        This changes the object: keys of ``obsm`` are added or replaced, each a float32 array of shape (n_obs, n_dims).
        Cells that are not in the study are NaN. Nothing else changes, and if an error is raised, nothing changes at
        all.

        Parameters
        ----------
        keys
            Keys of ``obsm`` (``"X_umap"``) or the names used by the study (``"UMAP"``). None means all embeddings that
            are not yet in ``obsm``; with ``overwrite``, all embeddings.
        study, group, species, source, on
            As for :meth:`pull_metadata`.
        overwrite
            Replace existing keys.

        Returns
        -------
        MatchReport
            Cells found on both sides, only here, or only in the study; and the keys written.

        Raises
        ------
        UnknownName
            The study does not have this embedding, has no embeddings (like every BioFlex study), or has none of the
            cells.
        InvalidArgument
            ``obsm`` already has these keys.
        InvalidNames, InvalidColumn, UnknownStudy
            As for :meth:`pull_metadata`.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(skip_dimred=True)
        ...     del adata.obsm["X_umap"]
        ...     adata.biocolab.pull_embeddings("X_umap", study=submission).written
        ("obsm['X_umap']",)
        >>> adata.obsm["X_umap"].shape
        (700, 2)
        """
        from biocolab_accessor.sync.match import origin_or
        from biocolab_accessor.sync.pull import pull_embeddings

        target = origin_or(self._adata, study, group=group, species=species, source=source)
        return pull_embeddings(self._adata, target, keys, on=on, overwrite=overwrite)

    def pull_var(
        self,
        sender: AnnData,
        columns: Sequence[str] | str | None = None,
        *,
        on: str | None = None,
        overwrite: bool = False,
    ) -> MatchReport:
        """Add columns of ``var`` of the object that was sent, joined by gene name. No server is asked.

        Servers keep the names of the genes, but not the columns of ``var``. This brings them back into a fetched
        object: new columns are appended to ``var``, in the dtypes of the sender. Genes that it lacks
        get a missing value; integers then become float64 (Int64 from 2⁵³ on, UInt64 from 2⁶³ on) and bools
        ``boolean``. Nothing else changes, and if an error is raised, nothing changes at all.

        Parameters
        ----------
        sender
            The object that was sent. If ``raw.var`` has more of the genes than ``var``, its columns are used.
        columns
            Names of columns. None means all columns that are not yet in ``var``; with ``overwrite``, all columns.
        on
            Column of the sender's var with the names of the genes: the ``gene_symbols`` of :meth:`submit`.
        overwrite
            Replace existing columns.

        Returns
        -------
        MatchReport
            Genes found on both sides, only here, or only in the sender's object; and the columns written.

        Raises
        ------
        InvalidArgument
            ``sender`` is not an AnnData, or ``var`` already has columns of these names.
        UnknownField
            The sender's var lacks a column.
        UnknownName
            The objects have no gene in common. The message shows names of both.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> adata.X = adata.raw.X
        >>> with bc.sandbox():
        ...     again = adata.biocolab.submit(skip_dimred=True).study().to_anndata()
        >>> again.biocolab.pull_var(adata, ["n_counts"])
        MatchReport: genes of both objects
          matched     765
          only here   0
          only there  0
          written     var['n_counts']
        >>> again.var["n_counts"].equals(adata.var["n_counts"])
        True
        """
        from biocolab_accessor.sync.pull import pull_var

        return pull_var(self._adata, sender, columns, on=on, overwrite=overwrite)

    def pull_spatial(
        self,
        *,
        study: Study | Submission | str | None = None,
        group: str | None = None,
        species: str = "human",
        source: Server = "bbrowserx",
        on: str | None = None,
        sample: str = "sample",
        grid: bool = False,
        overwrite: bool = False,
    ) -> MatchReport:
        """Add the cell centers of a spatial study, joined by barcode, in the layout of squidpy.

        This changes the object: ``obsm["spatial"]`` is (n_obs, 2) float64, NaN for cells without a position, in the
        server's unit, and ``obs[sample]`` is the categorical sample. If an error is raised, nothing changes.

        Parameters
        ----------
        study, group, species, source, on
            As for :meth:`pull_metadata`.
        sample
            Column of ``obs`` for the sample: squidpy's ``library_key``.
        grid
            Whether the cells are spots on a grid, as on a Visium slide. If True, ``uns["spatial"]`` gets an empty dict
            for each sample, which tells squidpy so. Cells that are not on a grid would get wrong neighbors with it.
        overwrite
            Replace ``obsm["spatial"]``, the column and, with ``grid``, ``uns["spatial"]``.

        Returns
        -------
        MatchReport
            Cells found on both sides, only here, or only in the study; and the keys written.

        Raises
        ------
        UnknownEmbedding
            The study has no cell centers, or its server has no route for them (Lens servers and the sandbox have it).
        InvalidArgument
            ``obsm["spatial"]`` or the column exists already.
        InvalidResponse
            The server's barcodes are not those of the study.
        InvalidNames, InvalidColumn, UnknownStudy
            As for :meth:`pull_metadata`.

        Examples
        --------
        >>> import numpy as np, scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> adata.obsm["spatial"] = np.arange(1400.0).reshape(700, 2)
        >>> with bc.sandbox():
        ...     mine = adata.biocolab.submit(study_id="slide", skip_dimred=True).study().to_anndata(obsm=False)
        ...     mine.biocolab.pull_spatial().written
        ("obsm['spatial']", "obs['sample']")
        >>> mine.obsm["spatial"][1].tolist(), mine.obs["sample"].iloc[1]
        ([2.0, 3.0], 'slide')
        """
        from biocolab_accessor.sync.match import origin_or
        from biocolab_accessor.sync.pull import pull_spatial

        target = origin_or(self._adata, study, group=group, species=species, source=source)
        return pull_spatial(self._adata, target, on=on, sample=sample, grid=grid, overwrite=overwrite)

    def push_metadata(
        self,
        columns: Sequence[str] | str | None = None,
        *,
        study: Study | Submission | str | None = None,
        group: str | None = None,
        species: str = "human",
        source: Server = "bbrowserx",
        on: str | None = None,
        missing: Missing = "raise",
        overwrite: bool = False,
        verify: bool = True,
    ) -> MatchReport:
        """Send columns of ``obs`` to a study of BBrowserX or Talk2Data, joined by barcode. The object is not changed.

        The protocol transfers numbers and text. Numbers are sent as numbers, text as text (``"001"`` too), categories
        as their text, and booleans as the labels ``"True"`` and ``"False"``. Dates, durations, periods, intervals and
        mixed values are sent as the same text as by :meth:`submit`, and the report lists them. Dtypes and the order of
        categories are not transferred: pass the report's ``dtypes`` to :meth:`pull_metadata` to restore the columns.

        Cells that are not in the study are left out. For cells that only the study has, a new field is sent without
        values; the protocol does not say what a server does with them (the sandbox stores missing values). If a field
        is replaced, these cells keep their values, which are fetched and sent along.

        Parameters
        ----------
        columns
            Names of columns. None means all columns that the study does not have yet; with ``overwrite``, all columns.
            Columns that cannot be written as text, such as lists, are then left out with a warning; named explicitly,
            they raise an error.
        study
            A study, its submission, or its id. None means the study that the object was fetched from.
        group, species, source, on
            As for :meth:`pull_metadata`.
        missing
            How to handle missing values, which the protocol cannot transfer. ``"raise"`` raises an error. ``"omit"``
            leaves the cell out for that column, as if only the study had it; columns that lack different cells then
            need one request each.
        overwrite
            Replace fields that the study already has.
        verify
            Fetch the fields afterwards and warn about every value that differs.

        Returns
        -------
        MatchReport
            Cells found on both sides, only here, or only in the study; the fields sent; changes of dtype; and
            ``dtypes``.

        Raises
        ------
        InvalidColumn
            A column does not exist, or holds values that the protocol cannot transfer. The message names all of them.
        InvalidArgument
            The study already has these fields, or is a BioFlex study, which is read-only.
        InvalidNames
            Barcodes are repeated, or a column has the same name as the barcodes.
        UnknownName
            No cell of the object is in the study. The message shows names of both and their likely difference.
        AmbiguousName
            The study contains a barcode more than once.
        UnknownStudy
            The object was not fetched from a study, and ``study`` was not given.

        Warns
        -----
        UserWarning
            The server returns different values than were sent.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(skip_dimred=True)
        ...     adata.obs["cycling"] = adata.obs["phase"] != "G1"
        ...     pushed = adata.biocolab.push_metadata("cycling", study=submission)
        ...     back = submission.study().to_anndata(fields=[])
        ...     _ = back.biocolab.pull_metadata("cycling", dtypes=pushed.dtypes)
        >>> back.obs["cycling"].dtype.name, (back.obs["cycling"] == adata.obs["cycling"]).all()
        ('bool', np.True_)
        """
        from biocolab_accessor.sync.match import origin_or
        from biocolab_accessor.sync.push import push_metadata

        target = origin_or(self._adata, study, group=group, species=species, source=source, writes=True)
        return push_metadata(self._adata, target, columns, on=on, missing=missing, overwrite=overwrite, verify=verify)

    def preview_filters(
        self,
        *,
        min_counts: float | None = None,
        min_genes: float | None = None,
        max_counts: float | None = None,
        max_genes: float | None = None,
        mt_percentage: float | None = None,
        batch_key: str | None = None,
        input_matrix_type: MatrixType = "auto",
        n_mads: float = 5.0,
        n_mads_mt: float = 3.0,
    ) -> FilterPreview:
        """Compute which cells a server would keep with these filters. Nothing is sent.

        Parameters
        ----------
        min_counts, min_genes, max_counts, max_genes
            As for :meth:`submit`; the bounds are inclusive.
        mt_percentage
            Maximum share of counts from mitochondrial genes (names that begin with ``MT-``, in upper or lower case), in
            percent.
        batch_key
            Column of obs. The tables then have one row per value.
        input_matrix_type
            As for :meth:`submit`. It decides which matrix is used.
        n_mads
            Distance of the suggested bounds from the median, in median absolute deviations (unscaled), on the logarithm
            of counts and genes. Cells without counts are ignored.
        n_mads_mt
            The same for the mitochondrial share: an upper bound only, and without the logarithm.

        Returns
        -------
        FilterPreview
            ``table`` by batch, ``kept`` by barcode, ``qc`` by barcode, ``suggestions``, ``plot()``.

        Raises
        ------
        InvalidArgument
            A bound is not a number, is negative, is above 100 percent, or is a minimum above its maximum.
        UnknownField
            obs has no column ``batch_key``. The message suggests similar names.
        AmbiguousName
            obs has several columns ``batch_key``.
        CheckFailed
            The object has no matrix that can be sent (:class:`~biocolab_accessor.errors.NoCounts`, …).

        Notes
        -----
        Cells are read in small blocks, so that views, backed objects and Dask arrays are never loaded as a whole.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> adata = ad.AnnData(np.array([[6, 3, 1], [0, 2, 2], [9, 0, 0]], dtype="float32"))
        >>> adata.var_names = ["CD3D", "LYZ", "MT-CO1"]
        >>> preview = adata.biocolab.preview_filters(min_genes=2, mt_percentage=10)
        >>> preview.kept.tolist()
        [True, False, False]
        >>> preview.qc["mt_percent"].tolist()
        [10.0, 50.0, 0.0]
        """
        from biocolab_accessor.check.filter_preview import preview_filters
        from biocolab_accessor.protocol import Filters

        return preview_filters(
            self._adata,
            Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage),
            batch_key=batch_key,
            input_matrix_type=input_matrix_type,
            n_mads=n_mads,
            n_mads_mt=n_mads_mt,
        )

    def annotate(
        self,
        groupby: str = "leiden",
        *,
        markers: Mapping[str, Sequence[str]] | str | None = None,
        n_genes: int = 25,
        database: Database | None = None,
        gene_symbols: str | None = None,
        key_added: str | None = None,
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> Annotation:
        """Suggest cell types for each cluster, from the expression of its marker genes in a database.

        Each marker gene ranks the cell types of the database by its mean expression over all their cells: 1 is the
        highest, 0 the lowest, and ties share their mean rank. The score of a cell type is its mean rank over the
        markers; the expected score by chance is 0.5. ``support`` measures the confidence: the markers are resampled
        many times with replacement, together with two uninformative ones (so that a single marker never looks certain),
        and ``support`` is the share of resamples in which the cell type ranks first.

        Parameters
        ----------
        groupby
            Column of obs with the clusters.
        markers
            Marker genes by cluster, best first; or the key in uns of a result of ``scanpy.tl.rank_genes_groups``. None
            uses ``uns["rank_genes_groups"]`` if it matches the current clusters (same names, and its genes are higher
            in them); otherwise it finds markers with Welch's t-test on log-normalized expression, without storing them.
        n_genes
            Number of markers per cluster.
        database
            A database from :func:`biocolab_accessor.database`. None means the latest human database.
        gene_symbols
            Column of var (of raw.var if the markers are from raw) with the gene names used by the database, if the
            index has different names.
        key_added
            Name of a column of obs for the best cell type of each cell's cluster, as a categorical. An existing column
            is replaced. With None, the default, the object is not changed.
        n_resamples
            Number of resamples.
        seed
            Seed for the resampling.

        Returns
        -------
        Annotation
            ``table`` (tidy), ``best`` by cluster, ``own_studies``, ``plot()``, ``plot_markers()``.

        Raises
        ------
        UnknownField
            obs, var or uns lacks a column or key, or ``markers`` names an unknown cluster. The message suggests similar
            names.
        UnknownGene
            The database has none of the markers.
        InvalidArgument
            An argument is out of range, or there are fewer than two clusters to compare.

        Warns
        -----
        UserWarning
            The database lacks most of the markers, or contains the cells of this object.

        Notes
        -----
        If the database contains the cells of this object, they are compared with their own labels. The result
        therefore names the study and the number of cells in it. The study is found by ``uns["biocolab"]``, or by its id
        (in ``uns["biocolab"]``, in a column of obs such as ``study``, or in uns) if it also contains most of the
        barcodes. Objects that do not name a study need no request.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     guess = sc.datasets.pbmc68k_reduced().biocolab.annotate(
        ...         markers={"0": ["CD79A", "CD79B", "MS4A1"], "1": ["NKG7", "GNLY", "PRF1"]}
        ...     )
        >>> guess.best.tolist()
        ['CD19+ B', 'CD56+ NK']
        """
        from biocolab_accessor.annotate.clusters import annotate

        return annotate(
            self._adata,
            groupby,
            markers=markers,
            n_genes=n_genes,
            database=database,
            gene_symbols=gene_symbols,
            key_added=key_added,
            n_resamples=n_resamples,
            seed=seed,
        )

    def plot_expression_summary(
        self,
        genes: Sequence[str] | str | None = None,
        *,
        database: Database | None = None,
        standard_scale: Literal["gene"] | None = "gene",
        swap_axes: bool = False,
        cmap: str = "Reds",
        ax: Axes | None = None,
    ) -> Figure:
        """Dot plot of the expression of genes by cell type in a database. The cells of the object are not used.

        To plot an existing table, use ``biocolab_accessor.plotting.expression_dotplot(table)``.

        Parameters
        ----------
        genes
            Names of genes. None means all genes of the object, for objects with few genes.
        database
            A database from :func:`biocolab_accessor.database`. None means the latest human database.
        standard_scale
            ``"gene"`` scales the colors of each gene from its minimum to its maximum. None uses the values unscaled.
        swap_axes
            Put genes in rows.
        cmap
            Name of a matplotlib color map.
        ax
            Axes to draw on. None creates a figure.

        Returns
        -------
        matplotlib.figure.Figure
            Dot size: share of cells of the type that express the gene. Color: mean expression over all of these cells.

        Raises
        ------
        UnknownGene
            The database does not have these genes.
        InvalidArgument
            ``genes`` is None and the object has more than 100 genes, or an argument is not one of its allowed values.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     figure = sc.datasets.pbmc68k_reduced().biocolab.plot_expression_summary(["CD79A", "NKG7"])
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['CD79A', 'NKG7']
        """
        from biocolab_accessor.annotate.annotation import plot_summary

        return plot_summary(
            self._adata,
            genes,
            database=database,
            standard_scale=standard_scale,
            swap_axes=swap_axes,
            cmap=cmap,
            ax=ax,
        )
