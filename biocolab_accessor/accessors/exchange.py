"""Exchange: ``adata.biocolab.study``, and what goes to and fro between an object and its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biocolab_accessor.accessors.base import AnnDataPart

if TYPE_CHECKING:
    import pandas as pd

    from biocolab_accessor.catalog import Server, Source
    from biocolab_accessor.exchange.push import Missing
    from biocolab_accessor.exchange.report import MatchReport
    from biocolab_accessor.inbound.study import Study
    from biocolab_accessor.outbound.submission import Submission

__all__ = ["Exchange"]


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
        from biocolab_accessor.catalog import study_of_origin
        from biocolab_accessor.inbound.provenance import read_provenance

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
        from biocolab_accessor.exchange.pull import pull_metadata
        from biocolab_accessor.exchange.target import origin_or

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
        from biocolab_accessor.exchange.pull import pull_embeddings
        from biocolab_accessor.exchange.target import origin_or

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
        from biocolab_accessor.exchange.push import push_metadata
        from biocolab_accessor.exchange.target import origin_or

        target = origin_or(self._adata, study, group=group, species=species, source=source)
        return push_metadata(self._adata, target, columns, on=on, missing=missing, overwrite=overwrite, verify=verify)
