"""Collection: several studies as one AnnData, fetched side by side and joined."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from pandas.api.types import is_bool_dtype

from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.io.memory import instead
from biocolab_accessor.io.names import escaped
from biocolab_accessor.io.values import shared_dtype, text_index
from biocolab_accessor.messages import listing, quoted, warn
from biocolab_accessor.platforms import expanded, replace
from biocolab_accessor.protocol import Source, Unit, argument_names
from biocolab_accessor.studies.catalog import study
from biocolab_accessor.studies.conversion import select_fields, select_genes, unique_names
from biocolab_accessor.studies.disk import file_of_study, open_lazily, safe_names
from biocolab_accessor.studies.distributed import fetch_all, write_all
from biocolab_accessor.studies.provenance import KEY as PROVENANCE
from biocolab_accessor.studies.selection import Selection
from biocolab_accessor.studies.study import Study, address_of, parts_of

__all__ = ["Collection", "Join", "collection", "expect_join", "union"]

Join = Literal["inner", "outer"]


def expect_join(join: str) -> None:
    """Refuse what is no way to join.

    Raises
    ------
    InvalidArgument
        It is neither ``"inner"`` nor ``"outer"``.
    """
    if join not in get_args(Join):
        msg = f"join is {quoted(join)}: give 'inner' or 'outer'"
        raise InvalidArgument(msg)


def union(parts: Sequence[AnnData], names: Sequence[str], join: Join, label: str) -> AnnData:
    """Studies one below the other; see :meth:`Collection.to_anndata`.

    Parameters
    ----------
    parts
        One AnnData of each study, as :meth:`Study.to_anndata` or :meth:`Study.lazy` gives it; all but X may change.
    names
        Of the studies, each once.
    join
        ``"inner"`` or ``"outer"``.
    label
        Column of obs for the names.

    Raises
    ------
    InvalidArgument
        An inner join finds no gene that all have.
    """
    origins = {escaped(name): dict(part.uns[PROVENANCE]) for name, part in zip(names, parts, strict=True)}
    _tell_features_apart(parts)
    _even_columns(parts, join)
    _even_embeddings(parts, join)
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
        msg = f"none of the studies has a gene ({first}): give other studies"
        if join == "inner":
            way = "give join='outer', or studies whose genes are named alike"
            msg = f"the studies have no gene in common ({first}): {way}"
        raise InvalidArgument(msg)
    # Columns of var do not come through a concatenation, and of a repeated feature the name in var_names is made up.
    features = {name: feature for part in parts for name, feature in part.var["feature"].items()}
    joined.var["feature"] = text_index([features[name] for name in joined.var_names])
    joined.uns[PROVENANCE] = {"studies": origins}
    return joined


def _tell_features_apart(parts: Sequence[AnnData]) -> None:
    """No name that was made up for a repeated feature is one that another study's feature has."""
    taken = list(dict.fromkeys(feature for part in parts for feature in part.var["feature"]))
    for part in parts:
        if not part.var["feature"].is_unique:
            names = unique_names([*part.var["feature"], *taken])
            part.var_names = text_index(names[: part.n_vars])


def _even_columns(parts: Sequence[AnnData], join: Join) -> None:
    """Columns of one name in one kind: pandas would make objects of labels beside numbers, which no file holds."""
    mixed, inexact = [], []
    for name in dict.fromkeys(name for part in parts for name in part.obs.columns):
        having = [part for part in parts if name in part.obs.columns]
        if join == "inner" and len(having) < len(parts):
            continue
        kinds = {_kind(part.obs[name]) for part in having}
        known, gaps = kinds - {""}, "" in kinds or len(having) < len(parts)
        present = [part.obs[name] for part in having if _kind(part.obs[name])]
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
        msg = f"columns {listing(mixed)} are not of one kind in all studies: numbers and bools became labels in them"
        warn(msg)
    if inexact:
        msg = f"columns {listing(inexact)} hold numbers that no dtype holds for all studies: they became labels"
        warn(msg)


def _kind(column: pd.Series) -> str:
    """``"labels"``, ``"truth"`` or ``"numbers"``; empty where there is no value that would tell."""
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


def _even_embeddings(parts: Sequence[AnnData], join: Join) -> None:
    """Embeddings of one name in one width; cells that have none are nowhere, and not at the origin."""
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
        warn(f"embeddings {listing(uneven)} have not the same dimensions in all studies, and are left out")


_ALTERNATIVE = "use collection.lazy(folder=folder) or collection.to_zarr(path), or ask for genes="


def collection(
    ids: Sequence[str],
    *,
    database: Any = None,
    source: Source = "bioflex",
    species: str = "human",
    group: str | None = None,
) -> Collection:
    """Several studies.

    Parameters
    ----------
    ids
        The studies, each once.
    database, source, species, group
        As for :func:`biocolab_accessor.study`.

    Returns
    -------
    Collection
        Its ``to_anndata()``, ``lazy()`` and ``to_zarr(path)`` join them.

    Raises
    ------
    InvalidArgument
        There is no id, one of them is there twice, or something is no id.
    UnknownStudy
        There is no such study.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.collection(["PBMC68k_reduced"]).to_anndata(genes=["CD3D"]).shape
    (700, 1)
    """
    names = argument_names(ids, "ids")
    if not names:
        msg = "a collection needs at least one study"
        raise InvalidArgument(msg)
    found: list[Study] = []
    for name in names:
        each = study(name, database=database, source=source, species=species, group=group)
        # An id and a uuid may be of one study.
        if any(address_of(each) == address_of(other) for other in found):
            msg = f"study {quoted(name)} is there twice: {listing(names)}"
            raise InvalidArgument(msg)
        found.append(each)
    return Collection(found)


class Collection:
    """Studies to be joined; made by :func:`biocolab_accessor.collection`.

    Attributes
    ----------
    studies
        The studies, in order.

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
        cache: bool = True,
    ) -> AnnData:
        """Fetch all studies and join them.

        With a ``dask.distributed.Client`` each study is a task of Dask, which runs on its workers. They take their
        tokens from their own environment or from :func:`biocolab_accessor.share_credentials`; the tasks themselves
        hold none. A task whose worker is lost runs again elsewhere.

        Parameters
        ----------
        join
            Genes and fields that all studies have (``"inner"``), or all that some have (``"outer"``). Expression that
            a study lacks is zero; a field or an embedding is missing (NaN) in its cells.
        label
            Column of obs that names the study; of several studies with one id the later ones get a number.
        genes, fields
            As for :meth:`Study.to_anndata`; of an outer join each has to be of one study at least.
        unit, layers, obsm, cache
            As for :meth:`Study.to_anndata`.

        Returns
        -------
        anndata.AnnData
            Cells of all studies in order, their names followed by the study's. A field that is numbers in some studies
            and labels in others is labels in all, and warned of; an embedding that has not the same dimensions in all
            of them is left out, and warned of. ``var["feature"]`` has the server's names.
            ``uns["biocolab"]["studies"]`` says where each came from; it can be written (a ``/`` in an id is escaped,
            see :mod:`biocolab_accessor.io.names`).

        Raises
        ------
        InvalidArgument
            A study has a field named as ``label``, or an inner join finds no gene that all have.
        TooLarge
            What is made of them would not fit into memory.
        UnknownField, UnknownGene
            A study, or for an outer join each of them, has no such field or gene.
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
        wanted = Selection.of(genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm)
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
    ) -> AnnData:
        """Join all studies over Dask, without their matrices in memory.

        With a ``dask.distributed.Client`` its workers write the files into the folder, which they have to see anyway
        when they compute; where they do not, the files are written from here, one after another.

        Parameters
        ----------
        folder
            Where each study is kept as an h5ad, for as long as the AnnData is used; made if it is not there. It can be
            shared: files of other studies and units have other names. None means ``bc.cache``, which keeps studies of
            BioFlex only.
        join, label, genes, fields, unit, layers, obsm
            As for :meth:`to_anndata`.

        Returns
        -------
        anndata.AnnData
            ``X`` and layers are Dask arrays.

        Raises
        ------
        InvalidArgument
            The cache cannot keep all of them, or as for :meth:`to_anndata`.
        UnknownField, UnknownGene, ConfigurationError
            As for :meth:`to_anndata`.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox(), TemporaryDirectory() as folder:
        ...     adata = bc.collection(["PBMC68k_reduced"]).lazy(folder=folder)
        ...     type(adata.X).__module__, adata.shape
        ('dask.array.core', (700, 765))
        """
        selection = Selection.of(genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm)
        wanted = self._selections(join, label, selection)
        if folder is not None:
            kept = expanded(folder).absolute()
            _make_folder(kept)
            paths = write_all(self.studies, wanted, kept)
            return self._joined([open_lazily(path) for path in paths], join, label, selection)
        if not settings.cache_size or any(parts_of(each).source.cache_key() is None for each in self.studies):
            why = "studies of groups are not, since they change" if settings.cache_size else "its cache_size is 0"
            msg = (
                f"studies {listing([each.id for each in self.studies])} cannot be kept in the cache ({why}): give a "
                "folder for their files, lazy(folder='studies')"
            )
            raise InvalidArgument(msg)
        paths = [file_of_study(parts_of(each), own, None) for each, own in zip(self.studies, wanted, strict=True)]
        if gone := [each.id for each, path in zip(self.studies, paths, strict=True) if not path.exists()]:
            msg = (
                f"the studies cannot all be kept in the cache of bc.settings.cache_size={settings.cache_size:,} bytes "
                f"(there is no more room for {listing(gone)}): give a folder, lazy(folder=…), or a larger cache_size"
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
    ) -> Path:
        """Join all studies in a Zarr store, a block of cells at a time.

        Parameters
        ----------
        path
            Folder to write; it must not be there yet. ``anndata.settings.zarr_write_format`` is the format.
        join, label, genes, fields, unit, layers, obsm
            As for :meth:`to_anndata`.

        Raises
        ------
        InvalidArgument
            There is something at the path, or no folder to put it into.

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
            there = f"{target} is there already: remove it, or give another path"
            msg = there if target.exists() else f"there is no folder {target.parent}"
            raise InvalidArgument(msg)
        with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=target.parent, ignore_cleanup_errors=True) as folder:
            joined = self.lazy(
                join, label=label, folder=folder, genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm
            )
            part = Path(folder) / "joined.zarr"
            with warnings.catch_warnings():
                # anndata announces another default at each store; which format it is, anndata.settings say.
                warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
                safe_names(joined).write_zarr(part)
            replace(part, target)
        return target

    @property
    def _names(self) -> list[str]:
        """Of studies that share the id that people see, the later ones get a number."""
        return unique_names([study.id for study in self.studies])

    def _joined(self, parts: Sequence[AnnData], join: Join, label: str, selection: Selection) -> AnnData:
        joined = union(parts, self._names, join, label)
        if selection.genes is not None and join == "outer":
            # Concatenated, they are in the order of the alphabet.
            joined = joined[:, list(dict.fromkeys(selection.genes))].copy()
        return joined

    def _selections(self, join: Join, label: str, selection: Selection) -> list[Selection]:
        """What to ask of each study: all of it, or for an outer join what it has. Nothing is fetched before.

        Raises
        ------
        InvalidArgument
            There is no room for the label.
        UnknownField, UnknownGene
            A study lacks a field, or for an outer join each of them a field or gene.
        """
        expect_join(join)
        found, fields = [selection] * len(self.studies), [each.fields for each in self.studies]
        if join == "outer":
            several = self.studies[0].id + (f" or {len(self.studies) - 1} more" if len(self.studies) > 1 else "")
            if selection.genes is not None:
                known = [each.features() for each in self.studies]
                wanted = select_genes(selection.genes, _every(known), several)
                found = [own._replace(genes=_owned(wanted, names)) for own, names in zip(found, known, strict=True)]
            if selection.fields is not None:
                wanted = select_fields(selection.fields, _every(fields), several)
                found = [own._replace(fields=_owned(wanted, names)) for own, names in zip(found, fields, strict=True)]
        for each, own, names in zip(self.studies, found, fields, strict=True):
            if label in select_fields(own.fields, names, each.id):
                place = f"study {quoted(each.id)} has a field {quoted(label)}"
                msg = f"{place}, where label= would go: give another label, or fields="
                raise InvalidArgument(msg)
        return found


def _every(known: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in known for name in names))


def _owned(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    names = set(known)
    return tuple(name for name in wanted if name in names)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"folder is {path}, which is a file or lies in one: give another"
        raise InvalidArgument(msg) from error
