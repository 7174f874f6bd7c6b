"""``adata.biocolab``: check and submit an AnnData, sync it with its study, analyze it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from anndata import AnnData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.annotate.annotation import Annotation
    from biocolab_accessor.check.filter_preview import FilterPreview
    from biocolab_accessor.check.report import Report
    from biocolab_accessor.clients.bioflex import Database
    from biocolab_accessor.protocol import Server, Source
    from biocolab_accessor.studies.study import Study
    from biocolab_accessor.submit.plan import Plan, Strictness
    from biocolab_accessor.submit.submission import Submission
    from biocolab_accessor.sync.match import MatchReport
    from biocolab_accessor.sync.push import Missing

__all__ = ["Analysis", "AnnDataAccessor", "AnnDataPart", "Exchange", "MatrixType", "Sending"]


class AnnDataPart:
    """A part of the accessor.

    Parameters
    ----------
    adata
        The object.
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata


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
        from biocolab_accessor.submit.plan import Filters, StudyRequest
        from biocolab_accessor.submit.submit import submit_anndata

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
        from biocolab_accessor.submit.plan import to_h5ad

        return to_h5ad(self._adata, path, input_matrix_type=input_matrix_type, compression=compression, columns=obs)


class Exchange(AnnDataPart):
    """Between an object and the study that it belongs to."""

    @property
    def study(self) -> Study:
        """The study that this object came from, as ``uns["biocolab"]`` says.

        Raises
        ------
        UnknownStudy
            The object does not come from a study, or its study is no longer there.
        ConfigurationError
            It came from another server than the one that is connected to now.
        """
        from biocolab_accessor.studies.catalog import study_of_origin
        from biocolab_accessor.studies.provenance import read_provenance

        return study_of_origin(read_provenance(self._adata))

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
    ) -> MatchReport:
        """Add metadata fields of a study to ``obs``, joined by barcode.

        This changes the object: columns of ``obs`` are added, after those that are there, or replaced in their place.
        Nothing else is touched, and nothing at all where an error is raised. A view becomes an object of its own, as
        with any assignment to a view.

        Labels become categories, numbers int64 (uint64 from 2⁶³ on), float64 (float32 from BioFlex) or bool. Cells that
        the study does not have get a missing value, for which whole numbers become float64 (Int64 from 2⁵³ on, UInt64
        from 2⁶³ on) and bools ``boolean``. A column that is replaced keeps its dtype where that holds every value
        exactly. The report says what differs.

        Parameters
        ----------
        fields
            Names. None means all that ``obs`` does not have yet; with ``overwrite`` all.
        study
            A study, the submission that becomes it, or its id. None means the one that the object came from.
        group, species, source
            Where to look for an id.
        on
            Column of ``obs`` that holds the study's names of the cells; None means ``obs_names``.
        prefix
            Put before the names of the columns.
        overwrite
            Replace columns that are there.
        dtypes
            By field, the dtype that the column shall have, if that holds every value exactly: ``report.dtypes`` of
            the push, ``obs.dtypes`` of the object that was sent, or a dict such as ``{"good": bool}``. Dates,
            durations, periods and intervals, which travel as text, become what they were by their dtype:
            ``{"date": "datetime64[ns, UTC]"}``. Other names in it do not matter.

        Returns
        -------
        MatchReport
            Cells that are on both sides, only here, only there; the columns; what is not as it was.

        Raises
        ------
        UnknownName
            None of the cells is in the study; both sides and their likely difference are shown.
        UnknownField
            The study has no such field.
        InvalidArgument
            Columns of these names are there already.
        InvalidColumn
            A dtype that was asked for cannot hold the values; or there is no column ``on``.
        InvalidNames
            Cells here have the same barcode.
        UnknownStudy
            The object does not come from a study, and none is given.

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
        return pull_metadata(self._adata, target, fields, on=on, prefix=prefix, overwrite=overwrite, dtypes=dtypes)

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

        This changes the object: keys of ``obsm`` are added or replaced, each (n_obs, n_dims) float32; cells that the
        study does not have are NaN. Nothing else is touched, and nothing at all where an error is raised.

        Parameters
        ----------
        keys
            Keys of ``obsm`` (``"X_umap"``) or the study's own names (``"UMAP"``). None means all that ``obsm`` does not
            have yet; with ``overwrite`` all.
        study, group, species, source, on
            As for :meth:`pull_metadata`.
        overwrite
            Replace keys that are there.

        Returns
        -------
        MatchReport
            Cells that are on both sides, only here, only there; the keys.

        Raises
        ------
        UnknownName
            The study has no embeddings (none of BioFlex has) or not this one, or none of the cells.
        InvalidArgument
            Keys of these names are there already.
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
        """Send columns of ``obs`` to a study of BBrowserX or Talk2Data, joined by barcode; nothing here is changed.

        The protocol carries numbers and texts. Numbers go as numbers, text as text (``"001"`` too), categories as the
        text of each, booleans as the labels ``"True"`` and ``"False"``. Dates, durations, periods, intervals and mixed
        values go as the text that :meth:`submit` makes of them, and the report says so. Dtypes and the order of
        categories do not travel: give the report's ``dtypes`` to :meth:`pull_metadata`, and the columns come back as
        they were.

        Cells that the study does not have are left out. For cells that only the study has nothing is sent of a new
        field; what a server makes of them the protocol does not say (the sandbox: missing values). Of a field that is
        replaced they keep their values, which are fetched and sent along.

        Parameters
        ----------
        columns
            Names. None means all that the study does not have yet; with ``overwrite`` all. Columns that text cannot
            carry, such as lists, are left out then, with a warning; by their names they are refused.
        study, group, species, source, on
            As for :meth:`pull_metadata`.
        missing
            What to do with missing values, which the protocol cannot carry: ``"raise"``, or ``"omit"``, which leaves
            out the cell for that column, so that it is as one that only the study has. Columns that miss other cells
            need a request each.
        overwrite
            Replace fields that the study has.
        verify
            Ask for the fields afterwards and warn of every value that is not as it was sent.

        Returns
        -------
        MatchReport
            Cells that are on both sides, only here, only there; the fields; what will be of another dtype; ``dtypes``.

        Raises
        ------
        InvalidColumn
            There is no such column, or it holds what the protocol cannot carry; all of them are named.
        InvalidArgument
            The study has such fields already, or is of BioFlex, whose studies never change.
        InvalidNames
            Barcodes are repeated, or a column is named like the barcodes.
        UnknownName
            None of the cells is in the study; both sides and their likely difference are shown.
        AmbiguousName
            The study has a barcode more than once.
        UnknownStudy
            The object does not come from a study, and none is given.

        Warns
        -----
        UserWarning
            The server gives back other values than were sent.

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

        target = origin_or(self._adata, study, group=group, species=species, source=source)
        return push_metadata(self._adata, target, columns, on=on, missing=missing, overwrite=overwrite, verify=verify)


class Analysis(AnnDataPart):
    """Previews, annotation and pictures."""

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
        """Exactly the cells that a server keeps with these filters, found out here; nothing is sent.

        Parameters
        ----------
        min_counts, min_genes, max_counts, max_genes
            As for :meth:`submit`; bounds are inclusive.
        mt_percentage
            Most counts from mitochondrial genes (names that begin with ``MT-``, in upper or lower case), in percent.
        batch_key
            Column of obs; the tables then have a row for each of its values.
        input_matrix_type
            As for :meth:`submit`: it decides which matrix is measured.
        n_mads
            How many median absolute deviations (unscaled) the suggested bounds stand off the median, on the logarithm
            of counts and genes of the cells that have any.
        n_mads_mt
            The same for the mitochondrial share, upwards only and not on a logarithm.

        Returns
        -------
        FilterPreview
            ``table`` by batch, ``kept`` by barcode, ``qc`` by barcode, ``suggestions``, ``plot()``.

        Raises
        ------
        InvalidArgument
            A bound is no number, negative, above 100 percent, or a minimum above its maximum.
        UnknownField
            obs has no column ``batch_key``; near names are given.
        AmbiguousName
            obs has several columns ``batch_key``.
        CheckFailed
            There is no matrix that could be sent (:class:`~biocolab_accessor.errors.NoCounts`, …).

        Notes
        -----
        The object is read a few cells at a time and stays what it is: view, backed or Dask.

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
        from biocolab_accessor.submit.plan import Filters

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
        """For each cluster the cell types that it most likely is, from where a database expresses its marker genes.

        Each marker gene ranks the database's cell types by its mean expression over all their cells: 1 is the type that
        has most of it, 0 the one that has least, ties share the mean. The score of a cell type is the mean rank over
        the markers; 0.5 is what chance gives. To say how sure that is, the markers are drawn anew with replacement
        many times, together with two that say nothing (so that a single marker never looks sure), and ``support`` is
        the share of draws in which the type comes first.

        Parameters
        ----------
        groupby
            Column of obs with the clusters.
        markers
            Marker genes by cluster, best first; or the key in uns of a result of ``scanpy.tl.rank_genes_groups``. None
            takes such a result from ``uns["rank_genes_groups"]`` if it is about the clusters as they are now (of these
            names, and its genes higher in them), else finds markers by Welch's t-test on log-normalised expression, and
            keeps them to itself.
        n_genes
            How many markers of each cluster to use.
        database
            As :func:`biocolab_accessor.database` gives it; None means the newest human one.
        gene_symbols
            Column of var (of raw.var, where the markers are of raw) with the names that the database knows, if the
            index has other ones.
        key_added
            Name of an obs column to write the best cell type of each cell's cluster to, as a categorical; a column of
            this name is replaced. None, the default, leaves the object as it is.
        n_resamples
            How often markers are drawn anew.
        seed
            Of these draws.

        Returns
        -------
        Annotation
            ``table`` (tidy), ``best`` by cluster, ``own_studies``, ``plot()``, ``plot_markers()``.

        Raises
        ------
        UnknownField
            obs, var or uns has no such column or key, or a cluster of ``markers`` is not there; near names are given.
        UnknownGene
            The database has none of the markers.
        InvalidArgument
            An argument is out of its range, or there are fewer than two clusters to find markers between.

        Warns
        -----
        UserWarning
            The database lacks most of the markers, or holds these very cells.

        Notes
        -----
        Cells that are in the database themselves are compared with their own labels, so the result names the study and
        how many of the cells are in it. It is found by ``uns["biocolab"]``, or by its id (in ``uns["biocolab"]``, in a
        column of obs such as ``study``, or in uns) if most barcodes are in it too. An object that names no study costs
        no request.

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
        """Dot plot of where a database expresses some genes; the object's own cells do not matter.

        For a table that is there already: ``biocolab_accessor.plotting.expression_dotplot(table)``.

        Parameters
        ----------
        genes
            Names; None means all genes of the object, which is for objects that were cut to a few.
        database
            As :func:`biocolab_accessor.database` gives it; None means the newest human one.
        standard_scale
            ``"gene"`` colours each gene from its least to its most expression; None by the values themselves.
        swap_axes
            Genes in rows.
        cmap
            Name of a matplotlib colour map.
        ax
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.figure.Figure
            Size of a dot: share of a cell type's cells that express the gene. Colour: mean expression over all of them.

        Raises
        ------
        UnknownGene
            The database has no such genes.
        InvalidArgument
            No genes are given and the object has more than 100, or an argument is none of its values.

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


class AnnDataAccessor(Sending, Exchange, Analysis):
    """What ``adata.biocolab`` offers.

    Parameters
    ----------
    adata
        The object. No method changes it, but those whose purpose that is.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor
    >>> ad.AnnData(np.eye(3, dtype="float32")).biocolab
    adata.biocolab of 3 cells and 3 genes: annotate, check, ...
    """

    def __init__(self, adata: AnnData) -> None:
        super().__init__(adata)

    def __repr__(self) -> str:
        n_obs, n_vars = self._adata.shape
        methods = ", ".join(name for name in dir(self) if not name.startswith("_"))
        return f"adata.biocolab of {n_obs:,} cells and {n_vars:,} genes: {methods}"
