"""Study: one study on a server, and how it becomes an AnnData."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from anndata import AnnData

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.inbound.disk import expect_same, file_of_study, open_backed, open_lazily, write_study
from biocolab_accessor.inbound.fetch import fetch, plan_fetch
from biocolab_accessor.inbound.matrix import Format, Unit
from biocolab_accessor.inbound.parts import StudyParts
from biocolab_accessor.inbound.picture import plot_study
from biocolab_accessor.inbound.reading import Reading
from biocolab_accessor.inbound.selection import FetchPlan, Selection
from biocolab_accessor.naming import quoted
from biocolab_accessor.storage.csr import Compression

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.plotting.embedding import LegendLoc

__all__ = ["Study", "address_of", "parts_of"]


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

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Study], tuple[dict[str, Any]]]:
        from biocolab_accessor.catalog import study_of_origin

        return study_of_origin, (address_of(self),)

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
            Fetch no values; say what would come (:class:`~biocolab_accessor.inbound.selection.FetchPlan`).

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
