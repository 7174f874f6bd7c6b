"""Study: one study on a server, its parts, and how it becomes an AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.clients.tasks import restart_if_lost
from biocolab_accessor.errors import InvalidArgument, InvalidResponse
from biocolab_accessor.io.write_h5ad import Compression
from biocolab_accessor.messages import facts_table, quoted, shown
from biocolab_accessor.protocol import Format, Unit, unit_name
from biocolab_accessor.studies.conversion import select_fields, select_genes
from biocolab_accessor.studies.disk import expect_same, file_of_study, open_backed, open_lazily, write_study
from biocolab_accessor.studies.fetch import fetch, plan_fetch
from biocolab_accessor.studies.plot import plot_study
from biocolab_accessor.studies.selection import FetchPlan, Selection
from biocolab_accessor.studies.source import StudySource
from biocolab_accessor.studies.study_data import StudyParts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.plotting.embedding import LegendLoc

__all__ = ["Reading", "Study", "address_of", "parts_of"]


class Reading:
    """A study before anything of it is an AnnData; see :class:`~biocolab_accessor.studies.study.Study`.

    Parameters
    ----------
    source
        Where it is.
    """

    def __init__(self, source: StudySource) -> None:
        self._parts = StudyParts(source)
        self.id = source.study_id
        self.title = source.title
        self.authors = source.authors
        self.reference = source.reference
        self.source = source.name

    def __repr__(self) -> str:
        return f'Study(id="{shown(self.id)}",title="{shown(self.title)}",reference="{shown(self.reference)}")'

    def _repr_html_(self) -> str:
        facts = [
            ("title", self.title),
            ("authors", ", ".join(self.authors)),
            ("reference", self.reference),
            ("source", self.source),
        ]
        return facts_table(f"Study {self.id}", facts)

    @property
    def metalist(self) -> Sequence[Any]:
        """Metadata fields as objects with ``id``, ``name``, ``type``, ``values`` and ``fetch()``, as in the SDK."""
        return self._parts.source.metalist

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields, as they are now: anybody in a group may add some."""
        self._parts.source.refresh()
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
        """Cell barcodes, in the order of the matrix' rows.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").barcodes()[:2]
        ['AAAGCCTGGCTAAC-1', 'AAATTCGATGCACA-1']
        """
        return list(self._parts.barcodes)

    def features(self) -> list[str]:
        """Gene names, in the order of the matrix' columns.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").features()[:3]
        ['HES4', 'TNFRSF4', 'SSU72']
        """
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

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     found = bc.study("PBMC68k_reduced").query_genes(["CD3D", "LYZ"], "lognorm")
        >>> found.shape, found.dtype.name
        ((700, 2), 'float32')
        """
        return self._parts.query_genes(select_genes(genes, self._parts.features, self.id), unit_name(unit))

    def matrix(self, unit: Unit = "lognorm") -> sparse.csc_matrix:
        """The whole matrix.

        Parameters
        ----------
        unit
            ``"raw"`` (counts) or ``"lognorm"``.

        Returns
        -------
        scipy.sparse.csc_matrix
            (n_obs, n_vars) float32.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").matrix("lognorm").shape
        (700, 765)
        """
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
            float32 from BioFlex (that is what it sends), int64 (uint64 from 2⁶³ on), float64 or bool from BBrowserX
            and Talk2Data. Whole numbers from 2⁵³ on that some cells lack are Int64 or UInt64.

        Raises
        ------
        UnknownField
            The study has no such field; near names are given.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").metadata("bulk_labels")["bulk_labels"].value_counts().index[0]
        'Dendritic'
        """
        return self._parts.metadata(select_fields(fields, self.fields, self.id))

    def provenance(self) -> dict[str, Any]:
        """Where the study is: server, and database or group; never a token.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").provenance()["species"]
        'human'
        """
        return dict(self._parts.source.provenance())

    def export_study(self, export_format: str = "h5ad", *, path: str | Path | None = None) -> dict[str, Any]:
        """Ask the server for a file of the whole study.

        Parameters
        ----------
        export_format
            ``"h5ad"`` or ``"seurat"``.
        path
            Where to write the file; a file that is there is replaced once the new one is complete. None fetches
            nothing.

        Returns
        -------
        dict
            ``download_link`` and ``study_hash_id``, and ``path`` (pathlib.Path) where the file was fetched.

        Raises
        ------
        InvalidArgument
            The path is a folder, or in none.
        InvalidResponse
            The server gave no link, or one that leads to another server by plain http.

        Examples
        --------
        >>> import anndata, tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     found = bc.study("PBMC68k_reduced").export_study(path=f"{folder}/exported.h5ad")
        ...     anndata.read_h5ad(found["path"]).shape
        (700, 765)
        """
        source = self._parts.source
        if path is None:
            return source.export(export_format)

        def link_of(answer: dict[str, Any]) -> str:
            link = answer.get("download_link") if isinstance(answer, Mapping) else None
            if not isinstance(link, str) or not link:
                msg = f"study {self.id}: the server did not say where the exported file is"
                raise InvalidResponse(msg)
            return link

        def begin() -> tuple[dict[str, Any], str]:
            answer = source.export(export_format)
            return answer, link_of(answer)

        (answer, _), saved = restart_if_lost(begin, lambda begun: source.save(begun[1], path), f"export of {self.id}")
        return {**answer, "path": saved}


class Study(Reading):
    """A study of BioFlex, BBrowserX or Talk2Data; made by :func:`biocolab_accessor.study`.

    It pickles without a token: in another process it is looked up on the server that is connected to there.

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

    def __reduce__(self) -> NoReturn:
        # studies.catalog registers how a study is pickled. Without it there would be a token in the pickle.
        msg = "import biocolab_accessor.studies.catalog before a Study is pickled"
        raise TypeError(msg)

    @overload
    def to_anndata(
        self,
        *,
        genes: Sequence[str] | str | None = ...,
        fields: Sequence[str] | str | None = ...,
        unit: Unit = ...,
        layers: Sequence[str] | None = ...,
        obsm: bool = ...,
        format: Format = ...,
        cache: bool = ...,
        backed: str | Path | None = ...,
        dry_run: Literal[False] = ...,
    ) -> AnnData: ...

    @overload
    def to_anndata(
        self,
        *,
        genes: Sequence[str] | str | None = ...,
        fields: Sequence[str] | str | None = ...,
        unit: Unit = ...,
        layers: Sequence[str] | None = ...,
        obsm: bool = ...,
        format: Format = ...,
        cache: bool = ...,
        backed: str | Path | None = ...,
        dry_run: Literal[True],
    ) -> FetchPlan: ...

    def to_anndata(
        self,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool = True,
        format: Format = "csr",
        cache: bool = True,
        backed: str | Path | None = None,
        dry_run: bool = False,
    ) -> AnnData | FetchPlan:
        """Fetch the study, or a part of it, as an AnnData.

        Parameters
        ----------
        genes
            Names of genes, in the order of the result; None means all.
        fields
            Names of metadata fields for obs; None means all, an empty list none. Of BioFlex numbers are float32, exact
            up to 16,777,216 where they are whole, and truth values are labels: its wire has no other kinds.
        unit
            What ``X`` holds: ``"raw"`` (counts) or ``"lognorm"``.
        layers
            Units to fetch besides, each under its own name: ``["lognorm"]``, ``["counts"]``.
        obsm
            Whether to fetch the embeddings (BBrowserX and Talk2Data; BioFlex has none): True or False, no names.
        format
            ``"csr"``, ``"csc"`` (the wire's own layout, which costs no transpose) or ``"dense"``.
        cache
            Keep the answers of a database version in ``bc.cache``, and take them from there. Arrays from the cache are
            mapped into memory; what is written into them stays in this AnnData. Studies of groups are never kept, since
            they change.
        backed
            Path of an h5ad to write, with bounded memory; the AnnData is backed by it. For studies that do not fit.
        dry_run
            Fetch no values; say what would come (:class:`~biocolab_accessor.studies.selection.FetchPlan`).

        Returns
        -------
        anndata.AnnData or FetchPlan
            (n_obs, n_vars) float32. ``obs_names`` are the barcodes; ``var_names`` the features, repeated ones made
            unique, with the server's names in ``var["feature"]``. ``uns["biocolab"]`` says where it all came from.

        Raises
        ------
        UnknownGene, UnknownField
            The study has no such gene or field.
        InvalidArgument
            A unit or format that does not exist, or an ``obsm`` that is no bool.
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
        self._parts.source.refresh()
        parts = self._parts.cached() if cache else self._parts
        if backed is not None and selection.format != "csr":
            msg = f"format is {quoted(format)}: an AnnData that is backed by a file holds 'csr'"
            raise InvalidArgument(msg)
        if dry_run:
            return plan_fetch(parts, selection)
        if backed is None:
            return fetch(parts, selection)
        return open_backed(write_study(parts, selection, backed))

    def to_h5ad(
        self,
        path: str | Path,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool = True,
        compression: Compression = "gzip",
    ) -> Path:
        """Write the study as an h5ad, with bounded memory whatever its size.

        The matrix goes by way of scratch files beside ``path``, which take about twice its size for as long. Names that
        h5ad cannot hold stay as they were sent, see :mod:`biocolab_accessor.io.names`.

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
        self._parts.source.refresh()
        return write_study(self._parts, selection, path, compression)

    def lazy(
        self,
        path: str | Path | None = None,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool = True,
    ) -> AnnData:
        """The study as an AnnData over Dask: its matrices stay on disk, and scanpy's Dask-aware functions take them.

        Parameters
        ----------
        path
            h5ad to write and to read from. One that is there is replaced if it is of the same study, genes, unit and
            layers; what others read from it stays what it was. None means one in ``bc.cache``, which is possible for
            studies of BioFlex. It has to stay there as long as the AnnData is used: ``bc.cache.clear()`` removes it,
            and so do newer entries where all do not fit into ``bc.settings.cache_size``.
        genes, fields, unit, layers, obsm
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
            The study cannot be kept in the cache, and no path is given; or there is another file at the path.

        Examples
        --------
        >>> import tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     adata = bc.study("PBMC68k_reduced").lazy(f"{folder}/pbmc.h5ad", fields=["bulk_labels"])
        ...     type(adata.X).__module__, adata.X[:5].compute().shape
        ('dask.array.core', (5, 765))
        """
        selection = Selection.of(genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm)
        self._parts.source.refresh()
        if path is not None:
            expect_same(path, self._parts, selection)
        return open_lazily(file_of_study(self._parts, selection, path))

    def plot(
        self,
        color: str | None = None,
        *,
        basis: str | None = None,
        palette: Mapping[str, str] | Sequence[str] | None = None,
        cmap: str = "viridis",
        size: float | None = None,
        legend_loc: LegendLoc = "right margin",
        ax: Axes | None = None,
    ) -> Figure:
        """The cells on an embedding that the server has of them; only what is drawn is fetched.

        Parameters
        ----------
        color
            Name of a metadata field, or of a gene (its lognorm expression).
        basis
            ``"umap"``, ``"X_umap"`` or the server's name; None means the UMAP, else t-SNE, else the first there is.
        palette
            Colours by category, or in the order of the legend, which is natural (cluster 2 before 10) and so that of
            ``adata.uns["leiden_colors"]``; None takes up to seven that colour-blind eyes can tell apart, and scanpy's
            for more.
        cmap
            Colour map of numbers.
        size
            Area of a point in points²; None goes by the number of cells.
        legend_loc
            ``"right margin"``, ``"on data"`` or ``"none"``.
        ax
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it, and ``savefig`` saves it; pyplot does not know it.

        Raises
        ------
        UnknownEmbedding
            The server has no such embedding of the study, or none at all, as BioFlex.
        UnknownField
            The study has no such field and no such gene; near names are given.
        AmbiguousName
            Several features of the study have this name.
        InvalidArgument
            The field has too many values for colours, or an argument is none of its values.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> adata = ad.AnnData(np.eye(6, dtype="float32") + 1, obsm={"X_umap": np.random.rand(6, 2)})
        >>> with bc.sandbox():
        ...     figure = adata.biocolab.submit(skip_dimred=True).study().plot()
        >>> figure.axes[0].get_xlabel()
        'UMAP1'
        """
        return plot_study(
            self._parts, color, basis=basis, palette=palette, cmap=cmap, size=size, legend_loc=legend_loc, ax=ax
        )


def address_of(study: Study) -> dict[str, Any]:
    """What finds a study again in any process that is connected to its server; never a token."""
    return {**study.provenance(), "source": study.source, "study_id": study.id}


def parts_of(study: Study) -> StudyParts:
    """The parts of a study, for functions that stand beside it."""
    return study._parts
