"""``df.biocolab``: expression tables, metadata tables and lists of genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

import pandas as pd
from anndata import AnnData

from biocolab_accessor.accessors.anndata import MatrixType
from biocolab_accessor.errors import public

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Report
    from biocolab_accessor.clients.bioflex import Database
    from biocolab_accessor.protocol import Server
    from biocolab_accessor.studies.study import Study
    from biocolab_accessor.submit.plan import Plan, Strictness
    from biocolab_accessor.submit.submission import Submission
    from biocolab_accessor.sync.match import MatchReport
    from biocolab_accessor.sync.push import Missing


@public
class DataFrameAccessor:
    """The methods of ``df.biocolab``, for an expression table, a metadata table, or a list of genes.

    Parameters
    ----------
    table
        The data frame. No method changes it.

    Examples
    --------
    >>> import pandas as pd, biocolab_accessor
    >>> pd.DataFrame({"CD3D": [3, 0]}, index=["cell1", "cell2"]).biocolab
    df.biocolab: to_anndata, check, submit (expression table); submit_metadata; expression_summary (genes)
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table

    def __repr__(self) -> str:
        return "df.biocolab: to_anndata, check, submit (expression table); submit_metadata; expression_summary (genes)"

    def to_anndata(self) -> AnnData:
        """Convert an expression table (barcodes in the index, genes as columns) to AnnData with CSR float32 ``X``.

        ``X`` is int64 or float64 if float32 cannot hold a count exactly, or a value is too large for it.

        Raises
        ------
        InvalidColumn
            A column does not hold real numbers, or holds ids, QC metrics or annotations instead of a gene.
        InvalidValues
            Values are missing.

        Examples
        --------
        >>> import pandas as pd, biocolab_accessor as bc
        >>> pd.DataFrame({"CD3D": [3, 0], "CD79A": [0, 5]}, index=["cell1", "cell2"]).biocolab.to_anndata().shape
        (2, 2)
        """
        from biocolab_accessor.submit.tables import to_anndata

        return to_anndata(self._table)

    def check(
        self,
        *,
        input_matrix_type: MatrixType = "auto",
        species: str | None = "human",
        min_counts: float | None = None,
        min_genes: float | None = None,
        max_counts: float | None = None,
        max_genes: float | None = None,
        mt_percentage: float | None = None,
    ) -> Report:
        """Like :meth:`AnnDataAccessor.check`, for an expression table.

        Parameters
        ----------
        input_matrix_type, species, min_counts, min_genes, max_counts, max_genes, mt_percentage
            As for :class:`AnnDataAccessor`.

        Examples
        --------
        >>> import pandas as pd, biocolab_accessor
        >>> pd.DataFrame({"CD3D": [3, 0], "LYZ": [0, 5]}, index=["cell1", "cell2"]).biocolab.check().ok
        True
        """
        from biocolab_accessor.check.run import check_object
        from biocolab_accessor.check.tables import judge_table
        from biocolab_accessor.protocol import Filters
        from biocolab_accessor.submit.tables import converted

        return check_object(
            converted(self._table),
            input_matrix_type=input_matrix_type,
            species=species,
            filters=Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage),
            of_table=judge_table(self._table),
        )[0]

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
        check: Strictness = ...,
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
        check: Strictness = ...,
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
        check: Strictness = "default",
        to: Server = "bbrowserx",
        chunk_size: int | None = None,
        wait: bool = True,
        dry_run: bool = False,
    ) -> Submission | Plan:
        """Like :meth:`AnnDataAccessor.submit`, for an expression table, with the same return value and errors.

        Parameters
        ----------
        group, study_id, name, authors, abstract, species, input_matrix_type
            As for :class:`AnnDataAccessor`.
        min_counts, min_genes, max_counts, max_genes, mt_percentage, skip_dimred, check, to, chunk_size, wait, dry_run
            As for :class:`AnnDataAccessor`.

        Notes
        -----
        There is no ``batch_key``, because a table has no obs. To submit batches, convert the table with
        :meth:`to_anndata` and add a column to its ``obs``.

        Examples
        --------
        >>> import numpy as np, pandas as pd, biocolab_accessor as bc
        >>> table = pd.DataFrame(np.eye(9, dtype=int) + 1).add_prefix("GENE").rename("cell{}".format)
        >>> with bc.sandbox():
        ...     table.biocolab.submit(skip_dimred=True).study().n_obs
        9
        """
        from biocolab_accessor.check.tables import judge_table
        from biocolab_accessor.protocol import Filters
        from biocolab_accessor.submit.plan import StudyRequest
        from biocolab_accessor.submit.submit import submit_anndata
        from biocolab_accessor.submit.tables import converted

        filters = Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage)
        request = StudyRequest(group, study_id, name, authors, abstract, species, filters, skip_dimred)
        return submit_anndata(
            converted(self._table),
            request,
            input_matrix_type=input_matrix_type,
            to=to,
            chunk_size=chunk_size,
            wait=wait,
            check=check,
            dry_run=dry_run,
            of_table=judge_table(self._table),
        )

    def submit_metadata(
        self,
        study: Study | Submission | str,
        group: str | None = None,
        *,
        species: str = "human",
        source: Server = "bbrowserx",
        strict: bool = True,
        missing: Missing = "raise",
        overwrite: bool = False,
        verify: bool = True,
    ) -> MatchReport:
        """Add the columns of a metadata table (barcodes in the index) to a study.

        Values are sent by dtype: text stays text (``"001"`` too), integers stay integers, and booleans are sent as
        ``"True"`` and ``"False"``, because the protocol has no booleans.

        Parameters
        ----------
        study
            A study of BBrowserX or Talk2Data, its submission, or its id.
        group, species, source
            Where to look for a study id.
        strict
            Raise an error for barcodes that are not in the study. If False, leave them out and count them in the
            report.
        missing, overwrite, verify
            As for :meth:`AnnDataAccessor.push_metadata`.

        Returns
        -------
        MatchReport
            Cells of the table and of the study, and the fields sent.

        Raises
        ------
        InvalidColumn
            A column has missing values, or values that the protocol cannot transfer.
        InvalidNames
            Barcodes or column names are repeated, or a column has the same name as the barcodes.
        UnknownName
            Some barcodes are not in the study; without ``strict``, all of them.
        InvalidArgument
            The study already has such a field, or is a BioFlex study.

        Examples
        --------
        >>> import pandas as pd, scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> table = pd.DataFrame({"donor": "001"}, index=adata.obs_names)
        >>> with bc.sandbox():
        ...     submission = adata.biocolab.submit(skip_dimred=True)
        ...     table.biocolab.submit_metadata(submission).matched
        700
        """
        from biocolab_accessor.sync.match import study_meant
        from biocolab_accessor.sync.push import submit_metadata

        target = study_meant(study, group=group, species=species, source=source)
        return submit_metadata(self._table, target, strict=strict, missing=missing, overwrite=overwrite, verify=verify)

    def expression_summary(self, column: str | None = None, *, database: Database | None = None) -> pd.DataFrame:
        """Expression by cell type of the genes in the table; see :func:`biocolab_accessor.expression_summary`.

        Parameters
        ----------
        column
            Column with gene names. None uses a column named ``gene``, ``names``, ``symbol`` or similar, or else the
            index.
        database
            A database from :func:`biocolab_accessor.database`. None means the latest human database.

        Examples
        --------
        >>> import pandas as pd, biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     summary = pd.DataFrame({"gene": ["CD79A", "LYZ"]}).biocolab.expression_summary()
        >>> summary["gene"].unique().tolist()
        ['CD79A', 'LYZ']
        """
        from biocolab_accessor.studies.catalog import expression_summary
        from biocolab_accessor.submit.tables import genes_of

        return expression_summary(genes_of(self._table, column), database=database)
