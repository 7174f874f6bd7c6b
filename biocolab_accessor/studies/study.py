"""Study: one study on a server, its parts, its plot, and how it becomes an AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Unpack, overload

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidArgument, UnknownEmbedding, UnknownField, public
from biocolab_accessor.io.compression import Compression
from biocolab_accessor.messages import did_you_mean, facts_table, listing, quoted, shown
from biocolab_accessor.protocol import Format, Unit, unit_name
from biocolab_accessor.studies.citation import Style, cite
from biocolab_accessor.studies.conversion import (
    expect_spatial,
    obsm_keys,
    select_embeddings,
    select_fields,
    select_genes,
    spatial_data,
)
from biocolab_accessor.studies.disk import (
    expect_same,
    export_study,
    file_of_study,
    open_backed,
    open_lazily,
    write_study,
)
from biocolab_accessor.studies.fetch import fetch, plan_fetch
from biocolab_accessor.studies.provenance import origin_of
from biocolab_accessor.studies.selection import (
    FetchPlan,
    Selection,
    Wanted,
    selected,
    takes_wanted,
    without_unused_labels,
)
from biocolab_accessor.studies.sources import StudySource, table_of_terms
from biocolab_accessor.studies.study_data import StudyParts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

    from biocolab_accessor.plotting.embedding import LegendLoc

_AXIS_NAMES = {"X_umap": "UMAP", "X_tsne": "tSNE", "X_pca": "PC"}


def _embedding(parts: StudyParts, basis: str | None, color: str | None) -> tuple[str, NDArray[np.float32]]:
    """The requested or default embedding and its obsm key; no other embedding is fetched."""
    keys = obsm_keys(parts.source.embedding_names())
    if basis is not None and keys:
        wanted = select_embeddings([basis], list(keys), parts.study_id)
    else:
        wanted = sorted(keys, key=lambda name: (keys[name] != "X_umap", keys[name] != "X_tsne"))
    for name in wanted:
        coordinates = parts.source.embeddings([name])[name]
        if coordinates.ndim == 2 and coordinates.shape[1] >= 2:
            return keys[name], coordinates
    if basis is not None and keys:
        has = f"it has {listing(keys.values())}"
        msg = f"study {quoted(parts.study_id)} has no embedding {quoted(basis)} of two or more dimensions; {has}"
        raise UnknownEmbedding(msg)
    bioflex = parts.source.name == "bioflex"
    why = "BioFlex stores none" if bioflex else "none was submitted, and skip_dimred=True computes none"
    msg = f"study {parts.study_id} has no embedding to plot: {why}. Compute one:\n"
    raise UnknownEmbedding(msg + _with_scanpy(parts, color))


def _with_scanpy(parts: StudyParts, color: str | None) -> str:
    """Code to paste that fetches the study, computes a UMAP and plots it."""
    lines = (
        "import biocolab_accessor as bc",
        "import scanpy as sc",
        f"adata = {_study_call(parts.source)}.to_anndata(unit='lognorm')",
        "sc.pp.pca(adata)",
        "sc.pp.neighbors(adata)",
        "sc.tl.umap(adata)",
        "sc.pl.umap(adata)" if color is None else f"sc.pl.umap(adata, color={quoted(color)})",
    )
    return "\n".join(lines)


def _study_call(source: StudySource) -> str:
    """Code to paste that finds a study."""
    facts = source.provenance()
    if source.name == "bioflex":
        return (
            f"bc.study({quoted(source.study_id)}, database=bc.database({quoted(facts['species'])}, {facts['version']}))"
        )
    return f"bc.study({quoted(facts['study_uuid'])}, source={quoted(source.name)}, species={quoted(facts['species'])})"


def _values(parts: StudyParts, color: str) -> tuple[pd.Series, str]:
    """A metadata field or the log-normalized expression of a gene, and its unit if known."""
    if color in parts.fields:
        return parts.metadata([color])[color], ""
    if color in parts.features:
        wanted = select_genes(color, parts.features, parts.study_id)
        return pd.Series(parts.query_genes(wanted, "lognorm").toarray()[:, 0]), "expression (lognorm)"
    near = did_you_mean(str(color), [*parts.fields, *parts.features])
    msg = f"study {parts.study_id} has no field or gene {quoted(color)}{near}; its fields are {listing(parts.fields)}"
    raise UnknownField(msg)


@public
class Study:
    """A study on BioFlex, BBrowserX or Talk2Data; created by :func:`biocolab_accessor.study`.

    A pickled study contains no token. When it is unpickled, it is looked up over the connection of that process.

    Attributes
    ----------
    id
        The displayed id, such as ``"GSE96583_batch2"``.
    title, authors, reference
        From the server; empty if it sends none.
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

    def __reduce__(self) -> NoReturn:
        # studies.catalog registers how a study is pickled. Without it the pickle would contain a token.
        msg = "import biocolab_accessor.studies.catalog before a Study is pickled"
        raise TypeError(msg)

    def __repr__(self) -> str:
        return f'Study(id="{shown(self.id)}",title="{shown(self.title)}",reference="{shown(self.reference)}")'

    def _repr_html_(self) -> str:
        facts = [
            ("title", self.title),
            ("authors", ", ".join(self.authors)),
            ("reference", self.reference),
            ("source", self.source),
            *self._parts.known_facts(),
            ("next", f"{_study_call(self._parts.source)}.to_anndata()"),
        ]
        return facts_table(f"Study {self.id}", facts)

    @property
    def metalist(self) -> Sequence[Any]:
        """Metadata fields, as the SDK's objects with ``id``, ``name``, ``type``, ``values`` and ``fetch()``."""
        return self._parts.source.metalist

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields, read from the server each time because group members can add fields."""
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
        """Cell barcodes, in the order of the rows of the matrix.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").barcodes()[:2]
        ['AAAGCCTGGCTAAC-1', 'AAATTCGATGCACA-1']
        """
        return list(self._parts.barcodes)

    def features(self) -> list[str]:
        """Gene names, in the order of the columns of the matrix.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").features()[:3]
        ['HES4', 'TNFRSF4', 'SSU72']
        """
        return list(self._parts.features)

    def query_genes(
        self,
        genes: Sequence[str] | str,
        unit: Unit = "lognorm",
        *,
        obs_filter: str | None = None,
        cells: Sequence[str] | str | None = None,
    ) -> sparse.csc_matrix:
        """Expression of selected genes.

        Parameters
        ----------
        genes
            Gene names; repeated names are ignored.
        unit
            ``"raw"`` (counts) or ``"lognorm"``.
        obs_filter, cells
            Select cells, see :meth:`Study.to_anndata`.

        Returns
        -------
        scipy.sparse.csc_matrix
            (n_obs, number of genes) float32, with columns in the order of ``genes``.

        Raises
        ------
        UnknownGene
            The study lacks some of the genes. The message suggests similar names; no expression was requested.
        AmbiguousName
            Several features have one of the names.
        InvalidFilter, NoCells, UnknownCell, UnknownField
            See :meth:`Study.to_anndata`.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     found = bc.study("PBMC68k_reduced").query_genes(["CD3D", "LYZ"], "lognorm")
        >>> found.shape, found.dtype.name
        ((700, 2), 'float32')
        """
        selection = Selection.of(genes=genes, unit=unit, obs_filter=obs_filter, cells=cells)
        wanted = select_genes(genes, self._parts.features, self.id)
        if obs_filter is not None:
            self._parts.source.refresh()
        return selected(self._parts, selection).query_genes(wanted, selection.unit)

    def matrix(self, unit: Unit = "lognorm") -> sparse.csc_matrix:
        """The whole expression matrix.

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

    def metadata(
        self,
        fields: Sequence[str] | str | None = None,
        *,
        obs_filter: str | None = None,
        cells: Sequence[str] | str | None = None,
    ) -> pd.DataFrame:
        """Metadata of the cells.

        Parameters
        ----------
        fields
            Names of metadata fields; None means all.
        obs_filter, cells
            Select cells, see :meth:`Study.to_anndata`. All labels of the study remain categories.

        Returns
        -------
        pandas.DataFrame
            One row per cell, indexed by barcode. Labels are Categorical. Numbers are float32 from BioFlex, which sends
            no other type, and int64 (uint64 from 2⁶³ on), float64 or bool from BBrowserX and Talk2Data. Integers from
            2⁵³ on are Int64 or UInt64 if some cells have no value.

        Raises
        ------
        UnknownField
            The study lacks some of the fields; the message suggests similar names.
        InvalidFilter, NoCells, UnknownCell
            See :meth:`Study.to_anndata`.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").metadata("bulk_labels")["bulk_labels"].value_counts().index[0]
        'Dendritic'
        """
        selection = Selection.of(obs_filter=obs_filter, cells=cells)
        wanted = select_fields(fields, self.fields, self.id)
        return selected(self._parts, selection).metadata(wanted)

    def cell_centers(self) -> pd.DataFrame:
        """Positions of the cells of a spatial study.

        Lens servers have the route (1.12 of the official client), and so does the sandbox. Other servers may not.

        Returns
        -------
        pandas.DataFrame
            One row per cell, indexed by barcode: ``x`` and ``y`` (float64, NaN for cells without a position) and
            ``sample`` (categorical).

        Raises
        ------
        UnknownEmbedding
            The study has no cell centers, or its server does not have the route.
        InvalidResponse
            The server's barcodes are not those of the study, or are repeated.

        Examples
        --------
        >>> import numpy as np, scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> adata.obsm["spatial"] = np.arange(1400.0).reshape(700, 2)
        >>> with bc.sandbox():
        ...     adata.biocolab.submit(study_id="slide", skip_dimred=True).study().cell_centers()["y"].tolist()[:3]
        [1.0, 3.0, 5.0]
        """
        return self._parts.cell_centers()

    def terms(self) -> pd.DataFrame:
        """Ontology terms that were assigned to the labels of the metadata; one request.

        ``to_anndata(terms=True)`` adds them to ``obs``.

        Returns
        -------
        pandas.DataFrame
            One row per label and term: ``field``, ``label``, ``ontology_id`` and ``ontology_label`` (the ontology, such
            as ``"CL:0000000"`` and ``"cell type"``), ``node`` and ``node_label`` (the term, such as ``"CL:0000235"``
            and ``"macrophage"``). It is empty if no terms were assigned.

        Raises
        ------
        InvalidArgument
            The study is on BioFlex, which has no ontology terms.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced", source="bbrowserx", group="bioturing_public_studies").terms().shape
        (0, 6)
        """
        return table_of_terms(self._parts.terms())

    def provenance(self) -> dict[str, Any]:
        """Where the study is stored: its server, and its database or group; never a token.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.study("PBMC68k_reduced").provenance()["species"]
        'human'
        """
        return dict(self._parts.source.provenance())

    def cite(self, style: Style = "bibtex") -> str:
        """The study as a citation, from its title, authors and reference; nothing is requested.

        Parameters
        ----------
        style
            ``"bibtex"``, ``"text"`` (one line), or ``"methods"``: a paragraph with the server, the version of the
            database, the id of the study, and the versions of the packages.

        Returns
        -------
        str
            A DOI is found in any form of address. A reference that is not an address becomes a note.

        Raises
        ------
        InvalidArgument
            The style is unknown.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     print(bc.study("PBMC68k_reduced").cite().splitlines()[0])
        @misc{PBMC68k_reduced,
        """
        return cite([facts_of(self)], style)

    def export_study(self, export_format: str = "h5ad", *, path: str | Path | None = None) -> dict[str, Any]:
        """Export the whole study to a file on the server, and optionally download it.

        Parameters
        ----------
        export_format
            ``"h5ad"`` or ``"seurat"``.
        path
            Path to download to. An existing file is replaced once the new one is complete. None downloads nothing.

        Returns
        -------
        dict
            ``download_link`` and ``study_hash_id``, and, if the file was downloaded, ``path`` (pathlib.Path).

        Raises
        ------
        InvalidArgument
            The path is a folder, or its parent folder does not exist.
        InvalidResponse
            The server sent no link, or a plain http link to another server.

        Examples
        --------
        >>> import anndata, tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     found = bc.study("PBMC68k_reduced").export_study(path=f"{folder}/exported.h5ad")
        ...     anndata.read_h5ad(found["path"]).shape
        (700, 765)
        """
        return export_study(self._parts, export_format, path)

    @overload
    def to_anndata(
        self,
        *,
        format: Format = ...,
        cache: bool = ...,
        backed: str | Path | None = ...,
        dry_run: Literal[False] = ...,
        **wanted: Unpack[Wanted],
    ) -> AnnData: ...

    @overload
    def to_anndata(
        self,
        *,
        format: Format = ...,
        cache: bool = ...,
        backed: str | Path | None = ...,
        dry_run: Literal[True],
        **wanted: Unpack[Wanted],
    ) -> FetchPlan: ...

    @takes_wanted()
    def to_anndata(
        self,
        *,
        format: Format = "csr",
        cache: bool = True,
        backed: str | Path | None = None,
        dry_run: bool = False,
        **wanted: Unpack[Wanted],
    ) -> AnnData | FetchPlan:
        """Fetch the study, or a part of it, as an AnnData.

        Parameters
        ----------
        genes
            Gene names, in the order of the result; None means all.
        fields
            Names of metadata fields for obs; None means all, an empty list none. BioFlex sends numbers as float32,
            which is exact for integers up to 16,777,216, and booleans as labels.
        unit
            The unit of ``X``: ``"raw"`` (counts) or ``"lognorm"``.
        layers
            Units to fetch as layers, each under its own name: ``["lognorm"]``, ``["counts"]``.
        obsm
            True to fetch all embeddings, False for none, or names: ``["UMAP"]``, ``["X_umap"]`` or the server's. Only
            those are requested (BBrowserX and Talk2Data; BioFlex has none).
        terms
            Whether to add the ontology terms of the labels, as ``obs["<field>_ontology_term_id"]``: categorical ids
            such as ``"CL:0000235"``, missing where a label has no term (BBrowserX and Talk2Data; one more request).
        format
            ``"csr"``, ``"csc"`` (the layout that the server sends, so no transpose is needed) or ``"dense"``.
        cache
            Whether to read and store the server's answers in ``bc.cache``. Arrays from the cache are memory-mapped;
            writing to them changes this AnnData only. Studies of groups are never cached, because they can change.
        backed
            Path of an h5ad to write with bounded memory and to back the AnnData with, for studies that do not fit into
            memory.
        obs_filter
            A condition on metadata fields that selects cells, as in pandas' ``DataFrame.query``:
            ``"cell_type in ['B', 'T'] and n_genes > 200 and not phase == 'S'"``. It may have ``==``, ``!=``, ``<``,
            ``<=``, ``>``, ``>=``, ``in`` and ``not in`` with a list, ``and``, ``or``, ``not`` (also ``&``, ``|``,
            ``~``), ``field.isna()``, ``field.notna()``, and backticks around names with blanks. Labels are compared as
            text, also ``"001"``. Nothing in it is executed. Its fields are fetched before any matrix. Labels of obs
            that no selected cell has are dropped.
        cells
            Barcodes of the cells to select; with ``obs_filter``, those of them for which it holds. The result has them
            in the order of the study.
        dry_run
            Fetch no expression values, and return a :class:`~biocolab_accessor.studies.selection.FetchPlan`. With
            ``obs_filter``, its fields are fetched to count the cells.

        Returns
        -------
        anndata.AnnData or FetchPlan
            (n_obs, n_vars) float32. ``obs_names`` are the barcodes and ``var_names`` the features, both made unique.
            ``var["feature"]`` has the server's gene names, and ``uns["biocolab"]`` the provenance.

        Raises
        ------
        UnknownGene, UnknownField, UnknownEmbedding
            The study lacks some of the genes, fields or embeddings; the message suggests similar names.
        UnknownCell
            The study lacks some of the ``cells``.
        AmbiguousName
            Several features have one of the names in ``genes``, or several cells one of the names in ``cells``.
        InvalidFilter
            ``obs_filter`` is not such a condition; the message has the column, and what to write.
        NoCells
            No cell is selected; the message has the number of cells of each condition. No matrix was requested.
        InvalidArgument
            The unit or the format is unknown, ``obsm`` is neither a bool nor names, ``terms`` is not a bool, or
            ``terms=True`` is given for a study of BioFlex.
        TooLarge
            The study would not fit into memory; the message has the sizes and the alternatives.
        InvalidResponse
            The server's answers do not fit together.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D", "CD79A"], fields=["bulk_labels"])
        >>> adata.shape, list(adata.var_names), adata.obs["bulk_labels"].dtype.name
        ((700, 2), ['CD3D', 'CD79A'], 'category')
        >>> with bc.sandbox():
        ...     study = bc.study("PBMC68k_reduced")
        ...     adata = study.to_anndata(obs_filter="bulk_labels in ['Dendritic', 'CD19+ B'] and n_genes > 900")
        >>> adata.shape, list(adata.obs["bulk_labels"].cat.categories)
        ((335, 765), ['CD19+ B', 'Dendritic'])
        """
        selection = Selection.of(format=format, **wanted)
        self._parts.source.refresh()
        parts = self._parts.cached() if cache else self._parts
        if backed is not None and selection.format != "csr":
            msg = f"format is {quoted(format)}, but a backed AnnData must have format='csr'"
            raise InvalidArgument(msg)
        if dry_run:
            return plan_fetch(parts, selection)
        if backed is None:
            adata = fetch(parts, selection)
            adata.obs = without_unused_labels(adata.obs, selection)
            return adata
        return open_backed(write_study(parts, selection, backed))

    @overload
    def to_h5ad(
        self,
        path: str | Path,
        *,
        compression: Compression = ...,
        dry_run: Literal[False] = ...,
        **wanted: Unpack[Wanted],
    ) -> Path: ...

    @overload
    def to_h5ad(
        self,
        path: str | Path,
        *,
        compression: Compression = ...,
        dry_run: Literal[True],
        **wanted: Unpack[Wanted],
    ) -> FetchPlan: ...

    @takes_wanted()
    def to_h5ad(
        self,
        path: str | Path,
        *,
        compression: Compression = "gzip",
        dry_run: bool = False,
        **wanted: Unpack[Wanted],
    ) -> Path | FetchPlan:
        """Write the study to an h5ad file, with bounded memory for a study of any size.

        Temporary files in the folder of ``path`` take about twice the size of the matrix until the file is complete.
        Names that h5ad cannot store stay escaped, see :mod:`biocolab_accessor.io.names`.

        Parameters
        ----------
        path
            Path to write to. An existing file is replaced once the new one is complete.
        genes, fields, unit, layers, obsm, terms, obs_filter, cells
            See :meth:`to_anndata`.
        compression
            ``"gzip"`` or None.
        dry_run
            Write no file, and return a plan; see :meth:`to_anndata`.

        Returns
        -------
        pathlib.Path or FetchPlan
            The path; with ``dry_run``, the plan.

        Raises
        ------
        UnknownGene, UnknownField, UnknownEmbedding, InvalidArgument, InvalidResponse
            See :meth:`to_anndata`.

        Examples
        --------
        >>> import anndata, tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     path = bc.study("PBMC68k_reduced").to_h5ad(f"{folder}/pbmc.h5ad")
        ...     anndata.read_h5ad(path).shape
        (700, 765)
        """
        selection = Selection.of(**wanted)
        self._parts.source.refresh()
        if dry_run:
            return plan_fetch(self._parts, selection)
        return write_study(self._parts, selection, path, compression)

    @overload
    def lazy(
        self, path: str | Path | None = ..., *, dry_run: Literal[False] = ..., **wanted: Unpack[Wanted]
    ) -> AnnData: ...

    @overload
    def lazy(self, path: str | Path | None = ..., *, dry_run: Literal[True], **wanted: Unpack[Wanted]) -> FetchPlan: ...

    @takes_wanted()
    def lazy(
        self, path: str | Path | None = None, *, dry_run: bool = False, **wanted: Unpack[Wanted]
    ) -> AnnData | FetchPlan:
        """The study as an AnnData of Dask arrays: its matrices stay on disk, for scanpy's functions that support Dask.

        Parameters
        ----------
        path
            h5ad file to write and to read from. An existing file is replaced if it holds the same study, cells, genes,
            unit and layers; objects that read from it keep their values. None means a file in ``bc.cache``, for studies
            of BioFlex. The file must exist for as long as the AnnData is used: ``bc.cache.clear()`` removes it, and so
            do newer entries once the cache exceeds ``bc.settings.cache_size``.
        genes, fields, unit, layers, obsm, terms, obs_filter, cells
            See :meth:`to_anndata`.
        dry_run
            Write no file, and return a plan; see :meth:`to_anndata`.

        Returns
        -------
        anndata.AnnData or FetchPlan
            (n_obs, n_vars) float32. ``X`` and layers are Dask arrays of CSR blocks; the rest is in memory. With
            ``dry_run``, the plan.

        Raises
        ------
        ConfigurationError
            Dask is not installed.
        InvalidArgument
            The study cannot be cached and no path is given, or the path is another file.
        UnknownGene, UnknownField, UnknownEmbedding, InvalidResponse
            See :meth:`to_anndata`.

        Examples
        --------
        >>> import tempfile
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
        ...     adata = bc.study("PBMC68k_reduced").lazy(f"{folder}/pbmc.h5ad", fields=["bulk_labels"])
        ...     type(adata.X).__module__, adata.X[:5].compute().shape
        ('dask.array.core', (5, 765))
        """
        selection = Selection.of(**wanted)
        self._parts.source.refresh()
        if dry_run:
            return plan_fetch(self._parts, selection)
        if path is not None:
            expect_same(path, self._parts, selection)
        adata = open_lazily(file_of_study(self._parts, selection, path))
        adata.obs = without_unused_labels(adata.obs, selection)
        return adata

    @takes_wanted()
    def to_spatialdata(self, *, radius: float | None = None, **wanted: Unpack[Wanted]) -> SpatialData:
        """Fetch a spatial study as a SpatialData object: circles around the cell centers, and a table of the cells.

        Servers send centers, not outlines. See :meth:`cell_centers` for which servers have them.

        Parameters
        ----------
        genes, fields, unit, layers, obsm, terms, obs_filter, cells
            See :meth:`to_anndata`.
        radius
            Radius of all circles, in the unit of the cell centers. None means half the median distance of a cell to
            its nearest neighbor, for each sample.

        Returns
        -------
        spatialdata.SpatialData
            ``shapes`` has an element for each sample, indexed by barcode, in a coordinate system with the sample's
            name. ``tables["table"]`` is the AnnData of :meth:`to_anndata`: ``obs["region"]`` names the element of each
            cell, ``obs["cell_id"]`` its circle, and ``obsm["spatial"]`` (n_obs, 2; float64) has the centers. Cells
            without a position are left out, with a warning. In names of samples and fields, characters other than
            letters, digits, dots, ``_`` and ``-`` become ``_``, as SpatialData requires.

        Raises
        ------
        ConfigurationError
            spatialdata is not installed (extra ``spatial``).
        UnknownEmbedding
            The study has no cell centers, its server does not have the route, or no selected cell has a position.
        InvalidArgument
            ``radius`` is not a positive number.
        UnknownGene, UnknownField, UnknownCell, InvalidFilter, NoCells, InvalidResponse
            See :meth:`to_anndata`.

        Examples
        --------
        >>> import numpy as np, scanpy as sc, biocolab_accessor as bc
        >>> adata = sc.datasets.pbmc68k_reduced()
        >>> adata.obsm["spatial"] = np.arange(1400.0).reshape(700, 2)
        >>> with bc.sandbox():
        ...     study = adata.biocolab.submit(study_id="slide", skip_dimred=True).study()
        ...     sdata = study.to_spatialdata()  # doctest: +SKIP
        >>> sdata["table"].shape, len(sdata["slide"])  # doctest: +SKIP
        ((700, 765), 700)
        """
        expect_spatial(radius)
        centers = self._parts.cell_centers()
        adata = self.to_anndata(**wanted)
        return spatial_data(adata, centers, radius, self.id)

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
        """Plot the cells on an embedding from the server; only the plotted values are fetched.

        Parameters
        ----------
        color
            Name of a metadata field, or of a gene (its lognorm expression).
        basis
            ``"umap"``, ``"X_umap"`` or the server's name; None means UMAP, else t-SNE, else the first embedding.
        palette
            Colors by category, or a list in the order of the legend. That order is natural (cluster 2 before 10), as
            in ``adata.uns["leiden_colors"]``. None means a color-blind safe palette for up to seven categories, and
            scanpy's palettes for more.
        cmap
            Color map for numbers.
        size
            Size of the points as for ``scanpy.pl.umap``; None derives it from the number of cells.
        legend_loc
            ``"right margin"``, ``"on data"`` or ``"none"``.
        ax
            Axes to draw on; None creates a figure.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook displays it, and ``savefig`` saves it; it is not registered with pyplot.

        Raises
        ------
        UnknownEmbedding
            The server does not have this embedding, or has no embeddings of the study (BioFlex never has).
        UnknownField
            The study has no field or gene with this name; the message suggests similar names.
        AmbiguousName
            Several features of the study have this name.
        InvalidArgument
            The field has too many different values to color, or an argument has an invalid value.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> adata = ad.AnnData(np.eye(6, dtype="float32") + 1, obsm={"X_umap": np.random.rand(6, 2)})
        >>> with bc.sandbox():
        ...     figure = adata.biocolab.submit(skip_dimred=True).study().plot()
        >>> figure.axes[0].get_xlabel()
        'UMAP1'
        """
        from biocolab_accessor.plotting.embedding import draw_embedding

        for argument, given in (("color", color), ("basis", basis)):
            if given is not None and not isinstance(given, str):
                msg = f"{argument} is {quoted(given):.100}: give one name, or None"
                raise InvalidArgument(msg)
        self._parts.source.refresh()
        values, unit = (None, "") if color is None else _values(self._parts, color)
        key, coordinates = _embedding(self._parts, basis, color)
        return draw_embedding(
            coordinates,
            values,
            axis_name=_AXIS_NAMES.get(key, key.removeprefix("X_")),
            title=color or "",
            unit=unit,
            palette=palette,
            cmap=cmap,
            size=size,
            legend_loc=legend_loc,
            ax=ax,
        )


def address_of(study: Study) -> dict[str, Any]:
    """The address of a study, by which any process that is connected to its server finds it; never a token."""
    return {**study.provenance(), "source": study.source, "study_id": study.id}


def facts_of(study: Study) -> dict[str, Any]:
    """What a citation needs to know of a study that was not fetched."""
    about = {"title": study.title, "authors": study.authors, "reference": study.reference}
    return {**address_of(study), **about, "packages": origin_of()["packages"]}


def parts_of(study: Study) -> StudyParts:
    """The parts of a study, for functions outside the class."""
    return study._parts
