"""Study: one study on a server, and how it becomes an AnnData."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from threading import Lock
from typing import Any

import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.inbound.embedding import to_obsm
from biocolab_accessor.inbound.matrix import Format, Unit, expect_shape, select_genes, to_format, unit_name
from biocolab_accessor.inbound.metadata import select_fields, unique_names
from biocolab_accessor.inbound.provenance import KEY, origin_of
from biocolab_accessor.inbound.source import StudySource

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
        self._source = source
        self._names: dict[str, list[str]] = {}
        self._locks = {name: Lock() for name in ("barcodes", "features")}
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
        return self._source.metalist

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields."""
        return [field.name for field in self._source.metalist]

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self._barcodes)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self._features)

    def barcodes(self) -> list[str]:
        """Cell barcodes, in the order of the matrix' rows."""
        return list(self._barcodes)

    def features(self) -> list[str]:
        """Gene names, in the order of the matrix' columns."""
        return list(self._features)

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
        wanted = select_genes(genes, self._features, self.id)
        matrix = self._source.query_genes(wanted, unit_name(unit))
        return expect_shape(matrix, self.n_obs, len(wanted), self.id)

    def matrix(self, unit: Unit = "lognorm") -> sparse.csc_matrix:
        """The whole matrix: (n_obs, n_vars) float32; ``unit`` is ``"raw"`` (counts) or ``"lognorm"``."""
        return expect_shape(self._source.matrix(unit_name(unit)), self.n_obs, self.n_vars, self.id)

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
        names = select_fields(fields, self.fields, self.id)
        columns = self._source.metadata(names, lambda: self._barcodes)
        return pd.DataFrame(
            {
                name: column if isinstance(column, pd.Categorical) else column.to_numpy()
                for name, column in columns.items()
            },
            index=pd.Index(self._barcodes, dtype=object),
        )

    def provenance(self) -> dict[str, Any]:
        """Where the study is: server, and database or group; never a token."""
        return dict(self._source.provenance())

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
        return self._source.export(export_format)

    def to_anndata(
        self,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] = (),
        obsm: bool = True,
        format: Format = "csr",
    ) -> AnnData:
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
        units = {name: unit_name(name) for name in layers}
        unit_of_x = unit_name(unit)
        to_format(sparse.csc_matrix((0, 0)), format)
        # Four requests that do not wait for each other; the matrix, which is the long one, is fetched in this thread.
        with ThreadPoolExecutor(3, "biocolab-fetch") as pool:
            features = pool.submit(lambda: self._features)
            barcodes = pool.submit(lambda: self._barcodes)
            if genes is not None:
                names = select_genes(genes, features.result(), self.id)
            obs = pool.submit(self.metadata, fields)
            embeddings = pool.submit(self._source.embeddings) if obsm else None
            matrices = {
                name: self._source.query_genes(names, name) if genes is not None else self._source.matrix(name)
                for name in dict.fromkeys([unit_of_x, *units.values()])
            }
            if genes is None:
                names = features.result()
            barcodes.result()
            frame, coordinates = obs.result(), embeddings.result() if embeddings else {}
        ready = {
            name: to_format(expect_shape(matrix, self.n_obs, len(names), self.id), format)
            for name, matrix in matrices.items()
        }
        arrays, embedding_names = to_obsm(coordinates, self.n_obs, self.id)
        frame.index = pd.Index(unique_names(self._barcodes), dtype=object)
        frame.columns = pd.Index(unique_names([str(name) for name in frame.columns]), dtype=object)
        var = pd.DataFrame({"feature": names}, index=pd.Index(unique_names(names), dtype=object))
        facts = origin_of(
            source=self.source,
            study_id=self.id,
            title=self.title,
            reference=self.reference,
            **self.provenance(),
            unit=unit_of_x,
            layers=units or None,
            genes=names if genes is not None else None,
            embeddings=embedding_names or None,
        )
        return AnnData(
            ready[unit_of_x],
            obs=frame,
            var=var,
            obsm=arrays,
            # a unit that is also X's is copied: writing into one must not change the other
            layers={name: ready[u].copy() if u == unit_of_x else ready[u] for name, u in units.items()},
            uns={KEY: facts},
        )

    @property
    def _barcodes(self) -> list[str]:
        return self._once("barcodes", self._source.barcodes)

    @property
    def _features(self) -> list[str]:
        return self._once("features", self._source.features)

    def _once(self, name: str, fetch: Callable[[], list[str]]) -> list[str]:
        with self._locks[name]:
            if name not in self._names:
                self._names[name] = fetch()
            return self._names[name]
