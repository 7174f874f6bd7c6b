"""Analysis: looking at an object before it is sent, and naming what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from biocolab_accessor.accessors.base import AnnDataPart
from biocolab_accessor.accessors.sending import MatrixType

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biocolab_accessor.annotate.annotation import Annotation
    from biocolab_accessor.clients.bioflex import Database
    from biocolab_accessor.filters import FilterPreview

__all__ = ["Analysis"]


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
        from biocolab_accessor.filters import preview_filters
        from biocolab_accessor.outbound.request import Filters

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
        from biocolab_accessor.annotate.dotplot import plot_summary

        return plot_summary(
            self._adata,
            genes,
            database=database,
            standard_scale=standard_scale,
            swap_axes=swap_axes,
            cmap=cmap,
            ax=ax,
        )
