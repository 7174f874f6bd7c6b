"""Collection: several studies, fetched in parallel and joined into one AnnData."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from pandas.api.types import is_bool_dtype

from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidArgument, NoCells
from biocolab_accessor.io.memory import instead
from biocolab_accessor.io.names import escaped
from biocolab_accessor.io.values import shared_dtype, text_index
from biocolab_accessor.messages import listing, quoted, warn
from biocolab_accessor.platforms import expanded, replace
from biocolab_accessor.protocol import Source, Unit, argument_names
from biocolab_accessor.studies.catalog import study
from biocolab_accessor.studies.cells import expect_cells, no_cells, without_unused_labels
from biocolab_accessor.studies.citation import Style, cite
from biocolab_accessor.studies.conversion import select_fields, select_genes, unique_names
from biocolab_accessor.studies.disk import file_of_study, open_lazily, safe_names
from biocolab_accessor.studies.distributed import fetch_all, write_all
from biocolab_accessor.studies.obs_filter import ObsFilter
from biocolab_accessor.studies.provenance import KEY as PROVENANCE
from biocolab_accessor.studies.selection import Selection
from biocolab_accessor.studies.study import Study, address_of, facts_of, parts_of

__all__ = ["Collection", "Join", "collection", "expect_join", "union"]

Join = Literal["inner", "outer"]


def expect_join(join: str) -> None:
    """Raise InvalidArgument unless ``join`` is ``"inner"`` or ``"outer"``."""
    if join not in get_args(Join):
        msg = f"join is {quoted(join)}: give 'inner' or 'outer'"
        raise InvalidArgument(msg)


def union(parts: Sequence[AnnData], names: Sequence[str], join: Join, label: str) -> AnnData:
    """Concatenate studies along obs, changing all of ``parts`` but X; see :meth:`Collection.to_anndata`."""
    origins = {escaped(name): dict(part.uns[PROVENANCE]) for name, part in zip(names, parts, strict=True)}
    for part in parts:
        if not part.n_obs:  # no cell of the study was selected; from a file, its index has no dtype of text
            part.obs_names = text_index([""])[:0]
    _make_features_distinct(parts)
    _harmonize_columns(parts, join)
    _harmonize_embeddings(parts, join)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique", UserWarning)
        joined = anndata.concat(parts, join=join, label=label, keys=list(names), index_unique="-", fill_value=0)
    if not joined.obs_names.is_unique:  # "A-x" of study "y", and "A" of study "x-y"
        joined.obs_names = text_index(unique_names(list(joined.obs_names)))
    if not joined.n_vars:
        first = "; ".join(
            f"{quoted(name)} has {listing(part.var_names, limit=3) or 'none'}"
            for name, part in zip(names, parts, strict=True)
        )
        msg = f"the studies have no genes ({first}): give other studies"
        if join == "inner":
            way = "give join='outer', or studies with the same kind of gene names"
            msg = f"the studies have no gene in common ({first}): {way}"
        raise InvalidArgument(msg)
    # concat drops the columns of var, and a repeated feature has a made-up name in var_names.
    features = {name: feature for part in parts for name, feature in part.var["feature"].items()}
    joined.var["feature"] = text_index([features[name] for name in joined.var_names])
    joined.uns[PROVENANCE] = {"studies": origins}
    return joined


def _make_features_distinct(parts: Sequence[AnnData]) -> None:
    """Keep the names made up for repeated features from colliding with features of another study."""
    taken = list(dict.fromkeys(feature for part in parts for feature in part.var["feature"]))
    for part in parts:
        if not part.var["feature"].is_unique:
            names = unique_names([*part.var["feature"], *taken])
            part.var_names = text_index(names[: part.n_vars])


def _harmonize_columns(parts: Sequence[AnnData], join: Join) -> None:
    """Give columns of one name one kind: concat would mix labels and numbers as objects, which h5ad cannot store."""
    mixed, inexact = [], []
    for name in dict.fromkeys(name for part in parts for name in part.obs.columns):
        having = [part for part in parts if name in part.obs.columns]
        if join == "inner" and len(having) < len(parts):
            continue
        # A study without a selected cell adapts to the others.
        filled = [part for part in having if part.n_obs] or having
        for part in having:
            if not part.n_obs:
                part.obs[name] = part.obs[name].astype(filled[0].obs[name].dtype)
        kinds = {_kind(part.obs[name]) for part in filled}
        known, gaps = kinds - {""}, "" in kinds or len(having) < len(parts)
        present = [part.obs[name] for part in filled if _kind(part.obs[name])]
        dtype: str | None = ""
        if known == {"truth"}:
            dtype = "boolean" if gaps else ""
        elif known == {"numbers"}:
            dtype = shared_dtype(present, gaps=gaps)
            if dtype is None:
                inexact.append(name)
        elif len(known) > 1:
            mixed.append(name)
        if "labels" in known or len(known) > 1 or dtype is None:
            for part in having:
                part.obs[name] = _as_labels(part.obs[name])
        elif dtype:
            for part in having:
                part.obs[name] = part.obs[name].astype(dtype)
    if mixed:
        msg = f"columns {listing(mixed)} have different types across studies: their numbers and bools became labels"
        warn(msg)
    if inexact:
        msg = f"columns {listing(inexact)} have numbers that no single dtype can hold exactly: they became labels"
        warn(msg)


def _kind(column: pd.Series) -> str:
    """``"labels"``, ``"truth"`` or ``"numbers"``; empty if all values are missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "labels"
    if column.isna().all():
        return ""
    return "truth" if is_bool_dtype(column.dtype) else "numbers"


def _as_labels(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    labelled = column.astype("category")
    values: Any = labelled.cat.categories.to_numpy()
    return labelled.cat.rename_categories([str(value).removesuffix(".0") for value in values])


def _harmonize_embeddings(parts: Sequence[AnnData], join: Join) -> None:
    """Keep only embeddings with the same width everywhere; cells without one get NaN, not the origin."""
    widths: dict[str, set[int]] = {}
    for part in parts:
        for key, array in part.obsm.items():
            widths.setdefault(key, set()).add(array.shape[1])
    uneven = [key for key, found in widths.items() if len(found) > 1]
    for part in parts:
        for key in uneven:
            part.obsm.pop(key, None)
        for key, found in widths.items() if join == "outer" else ():
            if key not in uneven and key not in part.obsm:
                part.obsm[key] = np.full((part.n_obs, *found), np.nan, np.float32)
    if uneven:
        warn(f"embeddings {listing(uneven)} were left out because their dimensions differ across studies")


_ALTERNATIVE = "use collection.lazy(folder=folder) or collection.to_zarr(path), or ask for genes="


def collection(
    ids: Sequence[str] | pd.DataFrame,
    *,
    database: Any = None,
    source: Source = "bioflex",
    species: str = "human",
    group: str | None = None,
) -> Collection:
    """Several studies, to be joined into one AnnData.

    Parameters
    ----------
    ids
        Ids of the studies, each once, or rows of :func:`search`, which say where the studies are.
    database, source, species, group
        See :func:`biocolab_accessor.study`.

    Returns
    -------
    Collection
        Its ``to_anndata()``, ``lazy()`` and ``to_zarr(path)`` join the studies.

    Raises
    ------
    InvalidArgument
        ``ids`` is empty, lists a study twice, or contains a value that is not a string.
    UnknownStudy
        The server has no study with one of the ids.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.collection(["PBMC68k_reduced"]).to_anndata(genes=["CD3D"]).shape
    (700, 1)
    """
    rows = [row for _, row in ids.iterrows()] if isinstance(ids, pd.DataFrame) else None
    names: Sequence[Any] = argument_names(ids, "ids") if rows is None else rows
    if not names:
        msg = "a collection needs at least one study"
        raise InvalidArgument(msg)
    found: list[Study] = []
    for name in names:
        each = study(name, database=database, source=source, species=species, group=group)
        # An id and a uuid can name the same study.
        if any(address_of(each) == address_of(other) for other in found):
            msg = f"study {quoted(each.id)} is listed twice: {listing([*(other.id for other in found), each.id])}"
            raise InvalidArgument(msg)
        found.append(each)
    return Collection(found)


class Collection:
    """Studies to be joined; created by :func:`biocolab_accessor.collection`.

    Attributes
    ----------
    studies
        The :class:`~biocolab_accessor.studies.study.Study` objects, in order.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.collection(["PBMC68k_reduced"])
    Collection(['PBMC68k_reduced'])
    """

    def __init__(self, studies: Sequence[Study]) -> None:
        self.studies = list(studies)

    def __repr__(self) -> str:
        return f"Collection({[study.id for study in self.studies]})"

    def __len__(self) -> int:
        return len(self.studies)

    def __iter__(self) -> Iterator[Study]:
        return iter(self.studies)

    def to_anndata(
        self,
        join: Join = "inner",
        *,
        label: str = "study",
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool = True,
        terms: bool = False,
        cache: bool = True,
        obs_filter: str | None = None,
        cells: Sequence[str] | str | None = None,
    ) -> AnnData:
        """Fetch all studies and join them.

        With a ``dask.distributed.Client``, each study is fetched by a Dask task on a worker. Workers take tokens from
        their own environment or from :func:`biocolab_accessor.share_credentials`; tasks contain no tokens. If a worker
        is lost, its tasks run again on another one.

        Parameters
        ----------
        join
            ``"inner"`` keeps the genes and fields that all studies have, ``"outer"`` those that any study has. Where a
            study lacks a gene, its expression is zero; where it lacks a field or an embedding, the values are missing
            (NaN).
        label
            Column of obs that names the study. If several studies have the same id, the later ones get a number.
        genes, fields
            See :meth:`Study.to_anndata`. For an outer join, at least one study must have each of them.
        unit, layers, obsm, terms, cache
            See :meth:`Study.to_anndata`.
        obs_filter
            See :meth:`Study.to_anndata`. It is applied to each study, which may have no cell to add; for an outer join,
            a field that a study lacks is missing in all of its cells. A label that a study lacks is not an error.
        cells
            Names of cells as in the result, ``"AAACATACAACCAC-1-GSE1"``: barcodes with the study's name appended.

        Returns
        -------
        anndata.AnnData
            (n_obs, n_vars) float32: the cells of all studies in order, with the study's name appended to each cell
            name. A field that has numbers in some studies and labels in others becomes labels, and an embedding whose
            dimensions differ between studies is left out, both with a warning. ``var["feature"]`` has the server's
            gene names. ``uns["biocolab"]["studies"]`` says where each study came from; it can be written to a file (a
            ``/`` in an id is escaped, see :mod:`biocolab_accessor.io.names`).

        Raises
        ------
        InvalidArgument
            A study has a field with the name ``label``, or the studies of an inner join have no gene in common.
        TooLarge
            The joined studies would not fit into memory.
        UnknownField, UnknownGene
            A study (for an outer join: every study) lacks a field or a gene.
        InvalidFilter, UnknownCell, NoCells
            See :meth:`Study.to_anndata`.
        ConfigurationError
            A worker has no token for the server.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> import scanpy as sc
        >>> with bc.sandbox() as server:
        ...     study = server.add_study("AGAIN", sc.datasets.pbmc68k_reduced())
        ...     adata = bc.collection(["PBMC68k_reduced", "AGAIN"]).to_anndata(label="from", genes=["LYZ"])
        >>> adata.shape, adata.obs["from"].value_counts().to_dict()
        ((1400, 1), {'PBMC68k_reduced': 700, 'AGAIN': 700})
        """
        wanted = Selection.of(
            genes=genes,
            fields=fields,
            unit=unit,
            layers=layers,
            obsm=obsm,
            terms=terms,
            obs_filter=obs_filter,
            cells=cells,
        )
        with instead(_ALTERNATIVE):
            parts = fetch_all(self.studies, self._selections(join, label, wanted), _ALTERNATIVE, cache=cache)
            return self._joined(parts, join, label, wanted)

    def lazy(
        self,
        join: Join = "inner",
        *,
        label: str = "study",
        folder: str | Path | None = None,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool = True,
        terms: bool = False,
        obs_filter: str | None = None,
        cells: Sequence[str] | str | None = None,
    ) -> AnnData:
        """Join all studies as Dask arrays, without loading their matrices into memory.

        With a ``dask.distributed.Client``, the workers write the files into the folder, which they must be able to
        access to compute. If they cannot access it, this process writes the files one after another.

        Parameters
        ----------
        folder
            Folder that holds an h5ad of each study for as long as the AnnData is used; created if it does not exist.
            Several collections can share it, because the file names differ by study and unit. None means
            ``bc.cache``, which keeps BioFlex studies only.
        join, label, genes, fields, unit, layers, obsm, terms, obs_filter, cells
            See :meth:`to_anndata`.

        Returns
        -------
        anndata.AnnData
            (n_obs, n_vars) float32; ``X`` and layers are Dask arrays.

        Raises
        ------
        InvalidArgument
            The cache cannot keep all studies, or for a reason listed under :meth:`to_anndata`.
        UnknownField, UnknownGene, ConfigurationError
            See :meth:`to_anndata`.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox(), TemporaryDirectory() as folder:
        ...     adata = bc.collection(["PBMC68k_reduced"]).lazy(folder=folder)
        ...     type(adata.X).__module__, adata.shape
        ('dask.array.core', (700, 765))
        """
        selection = Selection.of(
            genes=genes,
            fields=fields,
            unit=unit,
            layers=layers,
            obsm=obsm,
            terms=terms,
            obs_filter=obs_filter,
            cells=cells,
        )
        wanted = self._selections(join, label, selection)
        if folder is not None:
            kept = expanded(folder).absolute()
            _make_folder(kept)
            paths = write_all(self.studies, wanted, kept)
            return self._joined([open_lazily(path) for path in paths], join, label, selection)
        if not settings.cache_size or any(parts_of(each).source.cache_key() is None for each in self.studies):
            why = "studies of groups can change" if settings.cache_size else "its cache_size is 0"
            msg = (
                f"studies {listing([each.id for each in self.studies])} cannot be cached ({why}): give a "
                "folder for their files, lazy(folder='studies')"
            )
            raise InvalidArgument(msg)
        paths = [file_of_study(parts_of(each), own, None) for each, own in zip(self.studies, wanted, strict=True)]
        if gone := [each.id for each, path in zip(self.studies, paths, strict=True) if not path.exists()]:
            msg = (
                f"the cache of bc.settings.cache_size={settings.cache_size:,} bytes is too small for all studies "
                f"(no room for {listing(gone)}): give a folder, lazy(folder=…), or a larger cache_size"
            )
            raise InvalidArgument(msg)
        return self._joined([open_lazily(path) for path in paths], join, label, selection)

    def to_zarr(
        self,
        path: str | Path,
        join: Join = "inner",
        *,
        label: str = "study",
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool = True,
        terms: bool = False,
        obs_filter: str | None = None,
        cells: Sequence[str] | str | None = None,
    ) -> Path:
        """Join all studies in a Zarr store, a block of cells at a time.

        Parameters
        ----------
        path
            Folder to write; it must not exist. ``anndata.settings.zarr_write_format`` sets the format.
        join, label, genes, fields, unit, layers, obsm, terms, obs_filter, cells
            See :meth:`to_anndata`.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        InvalidArgument
            The path exists already, or its parent folder does not exist.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> import anndata
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox(), TemporaryDirectory() as folder:
        ...     path = bc.collection(["PBMC68k_reduced"]).to_zarr(f"{folder}/joined.zarr")
        ...     anndata.read_zarr(path).shape
        (700, 765)
        """
        target = expanded(path)
        if target.exists() or not target.parent.is_dir():
            exists = f"{target} exists already: remove it, or give another path"
            msg = exists if target.exists() else f"folder {target.parent} does not exist"
            raise InvalidArgument(msg)
        with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=target.parent, ignore_cleanup_errors=True) as folder:
            joined = self.lazy(
                join,
                label=label,
                folder=folder,
                genes=genes,
                fields=fields,
                unit=unit,
                layers=layers,
                obsm=obsm,
                terms=terms,
                obs_filter=obs_filter,
                cells=cells,
            )
            part = Path(folder) / "joined.zarr"
            with warnings.catch_warnings():
                # anndata warns about its default format at each store; users choose it in anndata.settings.
                warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
                safe_names(joined).write_zarr(part)
            replace(part, target)
        return target

    def cite(self, style: Style = "bibtex") -> str:
        """All studies as citations; see :meth:`Study.cite`.

        Parameters
        ----------
        style
            ``"bibtex"``, ``"text"`` or ``"methods"``.

        Returns
        -------
        str
            An entry or a line for each study, or one paragraph. The keys of BibTeX entries differ.

        Raises
        ------
        InvalidArgument
            The style is unknown.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox():
        ...     bc.collection(["PBMC68k_reduced"]).cite("methods")[:43]
        'Single-cell data of study PBMC68k_reduced ('
        """
        return cite([facts_of(each) for each in self.studies], style)

    @property
    def _names(self) -> list[str]:
        """Names of the studies; if several share a display id, the later ones get a number."""
        return unique_names([study.id for study in self.studies])

    @property
    def _several(self) -> str:
        """The studies in a message: the first, and how many more."""
        return self.studies[0].id + (f" or {len(self.studies) - 1} more" if len(self.studies) > 1 else "")

    def _joined(self, parts: Sequence[AnnData], join: Join, label: str, selection: Selection) -> AnnData:
        if selection.selects_cells and not any(part.n_obs for part in parts):
            self._raise_no_cells(selection)
        joined = union(parts, self._names, join, label)
        joined.obs = without_unused_labels(joined.obs, selection)
        if selection.genes is not None and join == "outer":
            # concat sorts them alphabetically.
            joined = joined[:, list(dict.fromkeys(selection.genes))].copy()
        return joined

    def _selections(self, join: Join, label: str, selection: Selection) -> list[Selection]:
        """The selection for each study: for an outer join, only the genes and fields that it has."""
        expect_join(join)
        found, fields = self._selections_of_cells(join, selection), [each.fields for each in self.studies]
        if join == "outer":
            several = self._several
            if selection.genes is not None:
                known = [each.features() for each in self.studies]
                wanted = select_genes(selection.genes, _every(known), several)
                found = [own._replace(genes=_owned(wanted, names)) for own, names in zip(found, known, strict=True)]
            if selection.fields is not None:
                wanted = select_fields(selection.fields, _every(fields), several)
                found = [own._replace(fields=_owned(wanted, names)) for own, names in zip(found, fields, strict=True)]
        for each, own, names in zip(self.studies, found, fields, strict=True):
            if label in select_fields(own.fields, names, each.id):
                msg = (
                    f"study {quoted(each.id)} has a field {quoted(label)}, which label= would overwrite: "
                    "give another label, or fields="
                )
                raise InvalidArgument(msg)
        return found

    def _selections_of_cells(self, join: Join, selection: Selection) -> list[Selection]:
        """The selection for each study with its own cells, after a check of the filter's fields."""
        if not selection.selects_cells:
            return [selection] * len(self.studies)
        if selection.obs_filter is not None:
            wanted, fields = ObsFilter.of(selection.obs_filter), [each.fields for each in self.studies]
            for each, known in zip(self.studies, fields, strict=True):
                wanted.expect_fields(known if join == "inner" else _every(fields), each.id)
        if selection.cells is None:
            return [selection._replace(of_many=True)] * len(self.studies)
        every = [
            [f"{cell}-{name}" for cell in each.barcodes()] for each, name in zip(self.studies, self._names, strict=True)
        ]
        expect_cells(selection.cells, [cell for cells in every for cell in cells], self._several)
        return [
            selection._replace(
                of_many=True,
                cells=tuple(cell.removesuffix(f"-{name}") for cell in _owned(selection.cells, cells)),
            )
            for name, cells in zip(self._names, every, strict=True)
        ]

    def _raise_no_cells(self, selection: Selection) -> NoReturn:
        """NoCells with the number of cells of each condition in each study."""
        why = []
        for each, own in zip(self.studies, self._selections_of_cells("outer", selection), strict=True):
            why.append(no_cells(parts_of(each).cached(), own))
        raise NoCells("\n".join(why))


def _every(known: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in known for name in names))


def _owned(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    names = set(known)
    return tuple(name for name in wanted if name in names)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"folder is {path}, which is a file or inside one: give another path"
        raise InvalidArgument(msg) from error
