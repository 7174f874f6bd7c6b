"""Collection: several studies, fetched in parallel and joined into one AnnData."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Unpack, overload

import pandas as pd
from anndata import AnnData

from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidArgument, NoCells, public
from biocolab_accessor.io.memory import budget, instead
from biocolab_accessor.messages import counted, facts_table, listing, quoted
from biocolab_accessor.platforms import expanded, replace
from biocolab_accessor.protocol import Source, argument_names
from biocolab_accessor.studies.catalog import study
from biocolab_accessor.studies.citation import Style, cite
from biocolab_accessor.studies.conversion import select_embeddings, select_fields, select_genes, unique_names
from biocolab_accessor.studies.disk import file_of_study, open_lazily, safe_names
from biocolab_accessor.studies.distributed import fetch_all, write_all
from biocolab_accessor.studies.fetch import plan_fetch
from biocolab_accessor.studies.obs_filter import ObsFilter, labels_of
from biocolab_accessor.studies.selection import (
    FetchPlan,
    Selection,
    Wanted,
    no_cells,
    rows_of_cells,
    takes_wanted,
    without_unused_labels,
)
from biocolab_accessor.studies.study import Study, address_of, facts_of, parts_of
from biocolab_accessor.studies.union import Join, expect_join, union

_MOST_SHOWN = 20
_ALTERNATIVE = "use collection.lazy(folder=folder) or collection.to_zarr(path), or ask for genes="


@public
def collection(
    ids: Sequence[str | Study] | pd.DataFrame,
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
        The studies, each once: ids, :class:`~biocolab_accessor.studies.study.Study` objects, or rows of
        :func:`search`, which say where the studies are.
    database, source, species, group
        See :func:`biocolab_accessor.study`.

    Returns
    -------
    Collection
        Its ``to_anndata()``, ``lazy()`` and ``to_zarr(path)`` join the studies.

    Raises
    ------
    InvalidArgument
        ``ids`` is empty, lists a study twice, or contains a value that is neither an id nor a study.
    UnknownStudy
        The server has no study with one of the ids.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.collection(["PBMC68k_reduced"]).to_anndata(genes=["CD3D"]).shape
    (700, 1)
    """
    names: Sequence[Any]
    if isinstance(ids, pd.DataFrame) and "uuid" in ids:
        names = [row for _, row in ids.iterrows()]
    elif isinstance(ids, Sequence) and any(isinstance(each, Study) for each in ids):
        names = [each if isinstance(each, Study) else argument_names([each], "ids")[0] for each in ids]
    else:
        names = argument_names(ids, "ids")
    if not names:
        msg = "a collection needs at least one study"
        raise InvalidArgument(msg)
    where = {"database": database, "source": source, "species": species, "group": group}
    found: list[Study] = []
    for name in names:
        each = name if isinstance(name, Study) else study(name, **where)
        # An id and a uuid can name the same study.
        if any(address_of(each) == address_of(other) for other in found):
            msg = f"study {quoted(each.id)} is listed twice: {listing([*(other.id for other in found), each.id])}"
            raise InvalidArgument(msg)
        found.append(each)
    return Collection(found)


@public
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

    def _repr_html_(self) -> str:
        facts = []
        for each in self.studies[:_MOST_SHOWN]:
            size = dict(parts_of(each).known_facts())["size"]
            facts.append((each.id, " · ".join(filter(None, [each.title, each.source, size]))))
        more = len(self.studies) - _MOST_SHOWN
        facts.append(("…", f"and {more:,} more: see .studies" if more > 0 else ""))
        facts.append(("next", "collection.to_anndata(dry_run=True) for the size, then collection.to_anndata()"))
        return facts_table(f"Collection of {counted(len(self.studies), 'study')}", facts)

    def __len__(self) -> int:
        return len(self.studies)

    def __iter__(self) -> Iterator[Study]:
        return iter(self.studies)

    @overload
    def to_anndata(
        self,
        join: Join = ...,
        *,
        label: str = ...,
        cache: bool = ...,
        dry_run: Literal[False] = ...,
        **wanted: Unpack[Wanted],
    ) -> AnnData: ...

    @overload
    def to_anndata(
        self,
        join: Join = ...,
        *,
        label: str = ...,
        cache: bool = ...,
        dry_run: Literal[True],
        **wanted: Unpack[Wanted],
    ) -> FetchPlan: ...

    @takes_wanted(after="label")
    def to_anndata(
        self,
        join: Join = "inner",
        *,
        label: str = "study",
        cache: bool = True,
        dry_run: bool = False,
        **wanted: Unpack[Wanted],
    ) -> AnnData | FetchPlan:
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
        genes, fields, obsm
            See :meth:`Study.to_anndata`. For an outer join, at least one study must have each of them.
        unit, layers, terms, cache
            See :meth:`Study.to_anndata`.
        obs_filter
            See :meth:`Study.to_anndata`. It is applied to each study, which may have no cell to add; for an outer join,
            a field that a study lacks is missing in all of its cells. At least one study must have each label.
        cells
            Names of cells as in the result, ``"AAACATACAACCAC-1-GSE1"``: barcodes with the study's name appended.
        dry_run
            Fetch no values, only names of cells and genes, and return the plan: cells, genes, fields, bytes, and what
            the join leaves out.

        Returns
        -------
        anndata.AnnData or FetchPlan
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
        UnknownField, UnknownGene, UnknownEmbedding
            A study (for an outer join: every study) lacks a field, a gene or an embedding.
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
        selection = Selection.of(**wanted)
        if dry_run:
            return self._plan(self._selections(join, label, selection), join, selection)
        with instead(_ALTERNATIVE):
            parts = fetch_all(self.studies, self._selections(join, label, selection), _ALTERNATIVE, cache=cache)
            return self._joined(parts, join, label, selection)

    @overload
    def lazy(
        self,
        join: Join = ...,
        *,
        label: str = ...,
        folder: str | Path | None = ...,
        dry_run: Literal[False] = ...,
        **wanted: Unpack[Wanted],
    ) -> AnnData: ...

    @overload
    def lazy(
        self,
        join: Join = ...,
        *,
        label: str = ...,
        folder: str | Path | None = ...,
        dry_run: Literal[True],
        **wanted: Unpack[Wanted],
    ) -> FetchPlan: ...

    @takes_wanted(after="folder")
    def lazy(
        self,
        join: Join = "inner",
        *,
        label: str = "study",
        folder: str | Path | None = None,
        dry_run: bool = False,
        **wanted: Unpack[Wanted],
    ) -> AnnData | FetchPlan:
        """Join all studies as Dask arrays, without loading their matrices into memory.

        With a ``dask.distributed.Client``, the workers write the files into the folder, which they must be able to
        access to compute. If they cannot access it, this process writes the files one after another.

        Parameters
        ----------
        folder
            Folder that holds an h5ad of each study for as long as the AnnData is used; created if it does not exist.
            Several collections can share it, because the file names differ by study and unit. None means
            ``bc.cache``, which keeps BioFlex studies only.
        join, label, genes, fields, unit, layers, obsm, terms, obs_filter, cells, dry_run
            See :meth:`to_anndata`.

        Returns
        -------
        anndata.AnnData or FetchPlan
            (n_obs, n_vars) float32; ``X`` and layers are Dask arrays. With ``dry_run``, the plan.

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
        selection = Selection.of(**wanted)
        selections = self._selections(join, label, selection)
        if dry_run:
            return self._plan(selections, join, selection)
        paths = self._cached_files(selections) if folder is None else self._files_in(folder, selections)
        return self._joined([open_lazily(path) for path in paths], join, label, selection)

    @overload
    def to_zarr(
        self,
        path: str | Path,
        join: Join = ...,
        *,
        label: str = ...,
        dry_run: Literal[False] = ...,
        **wanted: Unpack[Wanted],
    ) -> Path: ...

    @overload
    def to_zarr(
        self,
        path: str | Path,
        join: Join = ...,
        *,
        label: str = ...,
        dry_run: Literal[True],
        **wanted: Unpack[Wanted],
    ) -> FetchPlan: ...

    @takes_wanted(after="label")
    def to_zarr(
        self,
        path: str | Path,
        join: Join = "inner",
        *,
        label: str = "study",
        dry_run: bool = False,
        **wanted: Unpack[Wanted],
    ) -> Path | FetchPlan:
        """Join all studies in a Zarr store, a block of cells at a time.

        Parameters
        ----------
        path
            Folder to write; it must not exist. ``anndata.settings.zarr_write_format`` sets the format.
        join, label, genes, fields, unit, layers, obsm, terms, obs_filter, cells, dry_run
            See :meth:`to_anndata`.

        Returns
        -------
        pathlib.Path or FetchPlan
            The path; with ``dry_run``, the plan.

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
        if dry_run:
            return self.lazy(join, label=label, dry_run=True, **wanted)
        with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=target.parent, ignore_cleanup_errors=True) as folder:
            joined = self.lazy(join, label=label, folder=folder, **wanted)
            part = Path(folder) / "joined.zarr"
            with warnings.catch_warnings():
                # anndata warns about its default format at each store; users choose it in anndata.settings.
                warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
                safe_names(joined).write_zarr(part)
            replace(part, target)
        return target

    def _plan(self, selections: Sequence[Selection], join: Join, wanted: Selection) -> FetchPlan:
        pairs = list(zip(self.studies, selections, strict=True))
        with request_threads("biocolab-collection") as threads:
            asked = [threads.submit(plan_fetch, parts_of(each), own) for each, own in pairs]
            plans = [result(each) for each in asked]
        if wanted.selects_cells and not any(plan.n_obs for plan in plans):
            self._raise_no_cells(wanted)
        genes = [set(each.features() if own.genes is None else own.genes) for each, own in pairs]
        fields = [set(plan.fields) for plan in plans]
        combined = set.intersection if join == "inner" else set.union
        n_vars, n_every = len(combined(*genes)), len(set.union(*genes))
        kept, every = combined(*fields), _every([plan.fields for plan in plans])
        lost = listing(name for name in every if name not in kept)
        left_out = [f"{n_every - n_vars:,} of {n_every:,} genes"] if n_vars < n_every else []
        left_out += [f"fields {lost}"] if lost else []
        sizes = [plan.n_bytes for plan in plans if plan.n_bytes is not None]
        n_bytes = sum(sizes) if len(sizes) == len(plans) else None
        in_memory = None
        if n_bytes is not None:
            # The parts, some cells of each study, stay in memory until all of them are joined.
            shares = [plan.n_obs / max(1, each.n_obs) for each, plan in zip(self.studies, plans, strict=True)]
            parts = sum(size * share for size, share in zip(sizes, shares, strict=True))
            in_memory = int(2 * parts * len(wanted.matrices) / len(wanted.units))
        return FetchPlan(
            f"{counted(len(plans), 'study')} ({listing(self._names, limit=3)})",
            sum(plan.n_obs for plan in plans),
            n_vars,
            tuple(name for name in every if name in kept),
            n_bytes,
            in_memory,
            budget(),
            f"{' and '.join(left_out)}, which not all studies have: give join='outer'" if left_out else "",
        )

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

    def _files_in(self, folder: str | Path, selections: Sequence[Selection]) -> list[Path]:
        """An h5ad of each study in a folder, which is created if it does not exist."""
        path = expanded(folder).absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            msg = f"folder is {path}, which is a file or inside one: give another path"
            raise InvalidArgument(msg) from error
        return write_all(self.studies, selections, path)

    def _cached_files(self, selections: Sequence[Selection]) -> list[Path]:
        """An h5ad of each study in the cache, or InvalidArgument if it cannot keep all of them."""
        if not settings.cache_size or any(parts_of(each).source.cache_key() is None for each in self.studies):
            why = "studies of groups can change" if settings.cache_size else "its cache_size is 0"
            msg = (
                f"studies {listing([each.id for each in self.studies])} cannot be cached ({why}): give a "
                "folder for their files, lazy(folder='studies')"
            )
            raise InvalidArgument(msg)
        paths = [file_of_study(parts_of(each), own, None) for each, own in zip(self.studies, selections, strict=True)]
        if gone := [each.id for each, path in zip(self.studies, paths, strict=True) if not path.exists()]:
            msg = (
                f"the cache of bc.settings.cache_size={settings.cache_size:,} bytes is too small for all studies "
                f"(no room for {listing(gone)}): give a folder, lazy(folder=…), or a larger cache_size"
            )
            raise InvalidArgument(msg)
        return paths

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
        fields = [each.fields for each in self.studies]
        if selection.obs_filter is not None:
            self._expect_filter(ObsFilter.of(selection.obs_filter), join, fields)
        found = self._selections_of_cells(selection)
        if join == "outer":
            several = [each.id for each in self.studies]
            if selection.genes is not None:
                known = [each.features() for each in self.studies]
                wanted = select_genes(selection.genes, _every(known), several)
                found = [own._replace(genes=_owned(wanted, names)) for own, names in zip(found, known, strict=True)]
            if selection.fields is not None:
                wanted = select_fields(selection.fields, _every(fields), several)
                found = [own._replace(fields=_owned(wanted, names)) for own, names in zip(found, fields, strict=True)]
            if isinstance(selection.obsm, tuple) and selection.obsm:
                known = [parts_of(each).source.embedding_names() for each in self.studies]
                wanted = select_embeddings(selection.obsm, _every(known), several)
                found = [own._replace(obsm=_owned(wanted, names)) for own, names in zip(found, known, strict=True)]
        for each, own, names in zip(self.studies, found, fields, strict=True):
            if label in select_fields(own.fields, names, each.id):
                msg = (
                    f"study {quoted(each.id)} has a field {quoted(label)}, which label= would overwrite: "
                    "give another label, or fields="
                )
                raise InvalidArgument(msg)
        return found

    def _expect_filter(self, wanted: ObsFilter, join: Join, fields: Sequence[Sequence[str]]) -> None:
        """Check the fields of the filter, and that at least one study has each of its labels."""
        for each, known in zip(self.studies, fields, strict=True):
            wanted.expect_fields(known if join == "inner" else _every(fields), each.id)
        labels: dict[str, list[str]] = {}
        for each, known in zip(self.studies, fields, strict=True):
            # Usually the first study has all labels, and no other study is asked.
            if names := _owned(wanted.fields_of_labels(labels), known):
                for name, own in labels_of(parts_of(each).cached().metadata(names)).items():
                    labels[name] = list(dict.fromkeys([*labels.get(name, []), *own]))
        wanted.expect_labels(labels)

    def _selections_of_cells(self, selection: Selection) -> list[Selection]:
        """The selection for each study with its own cells."""
        if not selection.selects_cells:
            return [selection] * len(self.studies)
        if selection.cells is None:
            return [selection._replace(of_many=True)] * len(self.studies)
        every = [
            [f"{cell}-{name}" for cell in each.barcodes()] for each, name in zip(self.studies, self._names, strict=True)
        ]
        # Raises unless each cell is in exactly one study.
        rows_of_cells(selection.cells, [cell for cells in every for cell in cells], [each.id for each in self.studies])
        return [
            selection._replace(
                of_many=True,
                cells=tuple(cell.removesuffix(f"-{name}") for cell in _owned(selection.cells, cells)),
            )
            for name, cells in zip(self._names, every, strict=True)
        ]

    def _raise_no_cells(self, selection: Selection) -> NoReturn:
        """NoCells with the number of cells of each condition in each study."""
        pairs = zip(self.studies, self._selections_of_cells(selection), strict=True)
        raise NoCells("\n".join(no_cells(parts_of(each).cached(), own) for each, own in pairs))


def _every(known: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in known for name in names))


def _owned(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    names = set(known)
    return tuple(name for name in wanted if name in names)
