"""Accessors: ``adata.biocolab`` and ``df.biocolab``, thin fronts of functions that take the object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import pandas as pd
from anndata import (
    AnnData,  # at run time: the registration compares the annotation of __init__ with the class itself
    register_anndata_namespace,
)

if TYPE_CHECKING:
    from biocolab_accessor.catalog import Server
    from biocolab_accessor.check.report import Report
    from biocolab_accessor.clients.bioflex import Database
    from biocolab_accessor.inbound.study import Study
    from biocolab_accessor.outbound.plan import Plan
    from biocolab_accessor.outbound.submission import Submission

__all__ = ["AnnDataAccessor", "DataFrameAccessor"]

MatrixType = Literal["auto", "raw", "normalized"]


class AnnDataAccessor:
    """What ``adata.biocolab`` offers.

    Parameters
    ----------
    adata
        The object. No method changes it.
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    def __repr__(self) -> str:
        n_obs, n_vars = self._adata.shape
        return f"adata.biocolab of {n_obs:,} cells and {n_vars:,} genes: check, submit, to_h5ad, study"

    def check(self, *, input_matrix_type: MatrixType = "auto", batch_key: str | None = None) -> Report:
        """Everything that stands in the way of a submission, at once; nothing is sent.

        Parameters
        ----------
        input_matrix_type, batch_key
            As for :meth:`submit`.

        Returns
        -------
        Report
            Findings with their place, count, examples and mending; ``report.ok`` says whether it can be sent.

        Examples
        --------
        >>> import scanpy as sc, biocolab_accessor as bc
        >>> sc.datasets.pbmc68k_reduced().biocolab.check().ok
        True
        """
        from biocolab_accessor.check import check

        return check(self._adata, input_matrix_type=input_matrix_type, batch_key=batch_key)

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
        to: Server = ...,
        chunk_size: int | None = ...,
        wait: bool = ...,
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
        to: Server = ...,
        chunk_size: int | None = ...,
        wait: bool = ...,
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
        to: Server = "bbrowserx",
        chunk_size: int | None = None,
        wait: bool = True,
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
            Shown with the study.
        species
            ``"human"``, ``"mouse"``, ``"primate"`` or ``"others"``.
        input_matrix_type
            ``"auto"`` looks for counts in ``layers["counts"]``, ``raw.X``, ``X`` and other layers and sends them as
            raw; where there are none, ``X`` is sent as normalized. ``"raw"`` insists on counts,
            ``"normalized"`` on ``X``.
        min_counts, min_genes, max_counts, max_genes
            Which cells the server shall keep; bounds are inclusive.
        mt_percentage
            Most counts from mitochondrial genes, in percent.
        skip_dimred
            Keep the object's own embeddings, compute none.
        batch_key
            Column of obs whose values become the batches of the study; cells are then ordered by batch.
        to
            ``"bbrowserx"`` or ``"talk2data"``.
        chunk_size
            Bytes of one upload request; None means ``bc.settings.chunk_size``.
        wait
            Wait until the study is there; else the submission comes back at once, and ``wait()`` ends it.
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
        UnknownGroup
            The token sees no such group.
        MissingCredentials
            No host or token is known.
        TaskFailed
            The server could not process the study.

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
            to=to,
            chunk_size=chunk_size,
            wait=wait,
            dry_run=dry_run,
        )

    def to_h5ad(
        self,
        path: str | Path,
        *,
        input_matrix_type: MatrixType = "auto",
        compression: Literal["gzip"] | None = "gzip",
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

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        CheckFailed
            The object is not fit to be sent.
        """
        from biocolab_accessor.outbound.plan import to_h5ad

        return to_h5ad(self._adata, path, input_matrix_type=input_matrix_type, compression=compression)

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
        from biocolab_accessor.catalog import study_of_origin
        from biocolab_accessor.inbound.provenance import read_provenance

        return study_of_origin(read_provenance(self._adata))


class DataFrameAccessor:
    """What ``df.biocolab`` offers: for an expression table, a metadata table, or a list of genes.

    Parameters
    ----------
    table
        The data frame. No method changes it.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table

    def __repr__(self) -> str:
        return "df.biocolab: to_anndata, check, submit (expression table); submit_metadata; expression_summary (genes)"

    def to_anndata(self) -> AnnData:
        """An expression table (barcodes in the index, genes as columns) as AnnData with CSR float32 ``X``.

        Raises
        ------
        InvalidColumn
            A column holds something else than numbers.
        InvalidValues
            Values are missing.

        Examples
        --------
        >>> import pandas as pd, biocolab_accessor as bc
        >>> pd.DataFrame({"CD3D": [3, 0], "CD79A": [0, 5]}, index=["cell1", "cell2"]).biocolab.to_anndata().shape
        (2, 2)
        """
        from biocolab_accessor.table import to_anndata

        return to_anndata(self._table)

    def check(self, *, input_matrix_type: MatrixType = "auto") -> Report:
        """As :meth:`AnnDataAccessor.check`, for an expression table."""
        return AnnDataAccessor(self.to_anndata()).check(input_matrix_type=input_matrix_type)

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
        to: Server = "bbrowserx",
        chunk_size: int | None = None,
        wait: bool = True,
    ) -> Submission:
        """As :meth:`AnnDataAccessor.submit`, for an expression table; see there for arguments and errors."""
        return AnnDataAccessor(self.to_anndata()).submit(
            group,
            study_id=study_id,
            name=name,
            authors=authors,
            abstract=abstract,
            species=species,
            input_matrix_type=input_matrix_type,
            min_counts=min_counts,
            min_genes=min_genes,
            max_counts=max_counts,
            max_genes=max_genes,
            mt_percentage=mt_percentage,
            skip_dimred=skip_dimred,
            to=to,
            chunk_size=chunk_size,
            wait=wait,
        )

    def submit_metadata(
        self,
        study: Study | str,
        group: str | None = None,
        *,
        species: str = "human",
        source: Server = "bbrowserx",
    ) -> None:
        """Add the columns of a metadata table (barcodes in the index) to a study.

        Values are sent by their dtype: text stays text (``"001"`` too), whole numbers stay whole, booleans go as
        ``"True"`` and ``"False"``, since the protocol has no others.

        Parameters
        ----------
        study
            A study of BBrowserX or Talk2Data, or its id.
        group, species, source
            Where to look for an id.

        Raises
        ------
        InvalidColumn
            A column has missing values, or something that is neither text nor number.
        InvalidNames
            Barcodes or column names are repeated, or a column is named like the barcodes.
        UnknownName
            Some barcodes are not in the study.
        """
        from biocolab_accessor.table import submit_metadata

        submit_metadata(self._table, study, group=group, species=species, source=source)

    def expression_summary(self, column: str | None = None, *, database: Database | None = None) -> pd.DataFrame:
        """Expression by cell type of the genes that the table lists; see :func:`biocolab_accessor.expression_summary`.

        Parameters
        ----------
        column
            Column of gene names; None takes one named ``gene``, ``names``, ``symbol`` or alike, else the index.
        database
            As :func:`biocolab_accessor.database` gives it.
        """
        from biocolab_accessor.catalog import expression_summary
        from biocolab_accessor.table import genes_of

        return expression_summary(genes_of(self._table, column), database=database)


class _Uncached:
    """Makes the accessor anew at each access.

    anndata and pandas keep the accessor on the object, which the accessor refers to: a cycle that only the garbage
    collector ends. Twelve AnnData of 200 MB in a loop then peak at seven times the memory; and what is kept is
    pickled along.
    """

    def __init__(self, accessor: type) -> None:
        self._accessor = accessor

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self._accessor if instance is None else self._accessor(instance)


def _register() -> None:
    """Register through the official functions, which check name and signature, then keep them from caching."""
    if "biocolab" not in vars(AnnData):  # a second import of this module must not warn about itself
        register_anndata_namespace("biocolab")(AnnDataAccessor)
        pd.api.extensions.register_dataframe_accessor("biocolab")(DataFrameAccessor)
    AnnData.biocolab = _Uncached(AnnDataAccessor)
    pd.DataFrame.biocolab = _Uncached(DataFrameAccessor)  # type: ignore[attr-defined]


_register()
