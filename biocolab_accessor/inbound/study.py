"""Study: one study on a server, and how it becomes an AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.inbound.disk import file_of_study, open_backed, open_lazily, write_study
from biocolab_accessor.inbound.fetch import fetch, plan_fetch
from biocolab_accessor.inbound.matrix import Format, Unit, select_genes, unit_name
from biocolab_accessor.inbound.metadata import select_fields
from biocolab_accessor.inbound.parts import StudyParts
from biocolab_accessor.inbound.selection import Selection
from biocolab_accessor.inbound.source import StudySource
from biocolab_accessor.storage.h5ad import Compression

__all__ = ["Study"]


class Study:
    """A study of BioFlex, BBrowserX or Talk2Data; made by :func:`biocolab_accessor.study`.

    Attributes
    ----------
    id
        The id that people see, ``"GSE96583_batch2"``.
    title, authors, reference
        As the server gives them; empty where it does not.
    source
        ``"bioflex"``, ``"bbrowserx"`` or ``"talk2data"``.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     study = bc.study("PBMC68k_reduced")
    ...     study.n_obs, study.n_vars
    (700, 765)
    """

    def __init__(self, source: StudySource) -> None:
        self._parts = StudyParts(source)
        self.id = source.study_id
        self.title = source.title
        self.authors = source.authors
        self.reference = source.reference
        self.source = source.name

    def __repr__(self) -> str:
        return f'Study(id="{self.id}",title="{self.title}",reference="{self.reference}")'

    def _repr_html_(self) -> str:
        rows = {
            "title": self.title,
            "authors": ", ".join(self.authors),
            "reference": self.reference,
            "source": self.source,
        }
        cells = "".join(
            f"<tr><td style='text-align:left'>{escape(name)}</td><td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in rows.items()
            if value
        )
        head = f"<thead><tr><th colspan='2' style='text-align:left'>Study {escape(self.id)}</th></tr></thead>"
        return f"<table>{head}{cells}</table>"

    @property
    def metalist(self) -> Sequence[Any]:
        """Metadata fields as objects with ``id``, ``name``, ``type``, ``values`` and ``fetch()``, as in the SDK."""
        return self._parts.source.metalist

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields."""
        return self._parts.fields

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self._parts.n_obs

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self._parts.n_vars

    def barcodes(self) -> list[str]:
        """Cell barcodes, in the order of the matrix' rows."""
        return list(self._parts.barcodes)

    def features(self) -> list[str]:
        """Gene names, in the order of the matrix' columns."""
        return list(self._parts.features)

    def query_genes(self, genes: Sequence[str] | str, unit: Unit = "lognorm") -> sparse.csc_matrix:
        """Expression of some genes.

        Parameters
        ----------
        genes
            Names, each taken once.
        unit
            ``"raw"`` (counts) or ``"lognorm"``.

        Returns
        -------
        scipy.sparse.csc_matrix
            (n_obs, number of genes) float32, columns in the order asked for.

        Raises
        ------
        UnknownGene
            The study has no such genes; near names are given, and nothing was asked of the server.
        """
        return self._parts.query_genes(select_genes(genes, self._parts.features, self.id), unit_name(unit))

    def matrix(self, unit: Unit = "lognorm") -> sparse.csc_matrix:
        """The whole matrix: (n_obs, n_vars) float32; ``unit`` is ``"raw"`` (counts) or ``"lognorm"``."""
        return self._parts.matrix(unit_name(unit))

    def metadata(self, fields: Sequence[str] | str | None = None) -> pd.DataFrame:
        """Metadata of the cells.

        Parameters
        ----------
        fields
            Names; None means all.

        Returns
        -------
        pandas.DataFrame
            Indexed by barcode. Labels are Categorical, made from codes where the server sends codes; numbers are
            float32 from BioFlex (that is what it sends), int64, float64 or bool from BBrowserX and Talk2Data.

        Raises
        ------
        UnknownField
            The study has no such field; near names are given.
        """
        return self._parts.metadata(select_fields(fields, self.fields, self.id))

    def provenance(self) -> dict[str, Any]:
        """Where the study is: server, and database or group; never a token."""
        return dict(self._parts.source.provenance())

    def export_study(self, export_format: str = "h5ad") -> dict[str, Any]:
        """Ask the server for a file of the whole study.

        Parameters
        ----------
        export_format
            ``"h5ad"`` or ``"seurat"``.

        Returns
        -------
        dict
            ``download_link`` and ``study_hash_id``.
        """
        return self._parts.source.export(export_format)

    def to_anndata(
        self,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] = (),
        obsm: bool = True,
        format: Format = "csr",
        cache: bool = True,
        backed: str | Path | None = None,
        dry_run: bool = False,
    ) -> Any:
        """Fetch the study, or a part of it, as an AnnData.

        Parameters
        ----------
        genes
            Names of genes, in the order of the result; None means all.
        fields
            Names of metadata fields for obs; None means all, an empty list none.
        unit
            What ``X`` holds: ``"raw"`` (counts) or ``"lognorm"``.
        layers
            Units to fetch besides, each under its own name: ``["lognorm"]``, ``["counts"]``.
        obsm
            Whether to fetch the embeddings (BBrowserX and Talk2Data; BioFlex has none).
        format
            ``"csr"``, ``"csc"`` (the wire's own layout, which costs no transpose) or ``"dense"``.
        cache
            Keep the answers of a database version in ``bc.cache``, and take them from there. Arrays from the cache are
            mapped into memory; what is written into them stays in this AnnData. Studies of groups are never kept, since
            they change.
        backed
            Path of an h5ad to write, with bounded memory; the AnnData is backed by it. For studies that do not fit.
        dry_run
            Fetch no values; say what would come (:class:`~biocolab_accessor.inbound.selection.FetchPlan`).

        Returns
        -------
        anndata.AnnData
            (n_obs, n_vars) float32. ``obs_names`` are the barcodes; ``var_names`` the features, repeated ones made
            unique, with the server's names in ``var["feature"]``. ``uns["biocolab"]`` says where it all came from.

        Raises
        ------
        UnknownGene, UnknownField
            The study has no such gene or field.
        InvalidArgument
            A unit or format that does not exist.
        TooLarge
            It would not fit into memory; the sizes and the alternatives are given.
        InvalidResponse
            What the server sent does not fit together.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D", "CD79A"], fields=["bulk_labels"])
        >>> adata.shape, list(adata.var_names), adata.obs["bulk_labels"].dtype.name
        ((700, 2), ['CD3D', 'CD79A'], 'category')
        """
        selection = Selection.of(genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm, format=format)
        parts = self._parts.cached() if cache else self._parts
        if dry_run:
            return plan_fetch(parts, selection)
        if backed is None:
            return fetch(parts, selection)
        if selection.format != "csr":
            msg = f"format is {format!r}: an AnnData that is backed by a file holds 'csr'"
            raise InvalidArgument(msg)
        return open_backed(write_study(parts, selection, backed))

    def to_h5ad(
        self,
        path: str | Path,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] = (),
        obsm: bool = True,
        compression: Compression = "gzip",
    ) -> Path:
        """Write the study as an h5ad, with bounded memory whatever its size.

        The matrix goes by way of scratch files beside ``path``, which take about twice its size for as long. Names that
        h5ad cannot hold stay as they were sent, see :mod:`biocolab_accessor.escape`.

        Parameters
        ----------
        path
            Where to; a file that is there is replaced once the new one is complete.
        genes, fields, unit, layers, obsm
            As for :meth:`to_anndata`.
        compression
            ``"gzip"`` or None.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        UnknownGene, UnknownField, InvalidArgument, InvalidResponse
            As for :meth:`to_anndata`.

        Examples
        --------
        >>> import anndata, tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     path = bc.study("PBMC68k_reduced").to_h5ad(f"{folder}/pbmc.h5ad")
        ...     anndata.read_h5ad(path).shape
        (700, 765)
        """
        selection = Selection.of(genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm)
        return write_study(self._parts, selection, path, compression)

    def lazy(
        self,
        path: str | Path | None = None,
        *,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] = (),
        obsm: bool = True,
    ) -> AnnData:
        """The study as an AnnData over Dask: its matrices stay on disk, and scanpy's Dask-aware functions take them.

        Parameters
        ----------
        path
            h5ad to write and to read from; None means one in ``bc.cache``, which is possible for studies of BioFlex.
        fields, unit, layers, obsm
            As for :meth:`to_anndata`.

        Returns
        -------
        anndata.AnnData
            ``X`` and layers are Dask arrays of CSR blocks; the rest is in memory.

        Raises
        ------
        ConfigurationError
            Dask is not installed.
        InvalidArgument
            The study cannot be kept in the cache, and no path is given.
        """
        selection = Selection.of(fields=fields, unit=unit, layers=layers, obsm=obsm)
        return open_lazily(file_of_study(self._parts, selection, path))
