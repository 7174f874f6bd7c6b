"""Join: several studies as one AnnData, fetched side by side by Dask, on this machine or on many."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import anndata
from anndata import AnnData

from biocolab_accessor.catalog import Source, study, study_of_origin
from biocolab_accessor.errors import ConfigurationError, InvalidArgument
from biocolab_accessor.inbound.disk import safe_names
from biocolab_accessor.inbound.matrix import Unit
from biocolab_accessor.inbound.provenance import KEY as PROVENANCE
from biocolab_accessor.inbound.selection import Selection
from biocolab_accessor.inbound.study import Study

__all__ = ["Collection", "collection"]

_AT_ONCE = 4
_RETRIES = 3

Join = Literal["inner", "outer"]


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
        There is no id, or one of them is there twice.
    UnknownStudy
        There is no such study.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.collection(["PBMC68k_reduced"]).to_anndata(genes=["CD3D"]).shape
    (700, 1)
    """
    names = [ids] if isinstance(ids, str) else list(ids)
    if not names or len(set(names)) < len(names):
        msg = "a collection needs at least one study" if not names else f"a study is there twice: {names}"
        raise InvalidArgument(msg)
    return Collection([study(name, database=database, source=source, species=species, group=group) for name in names])


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
        layers: Sequence[str] = (),
        obsm: bool = True,
        cache: bool = True,
    ) -> AnnData:
        """Fetch all studies and join them.

        Each study is a task of Dask. With a ``dask.distributed.Client`` the tasks run on its workers, which take their
        tokens from their own environment or from :func:`biocolab_accessor.share_credentials`; the tasks themselves
        hold none. A task whose worker is lost runs again elsewhere.

        Parameters
        ----------
        join
            Genes that all studies have (``"inner"``), or all genes (``"outer"``); what a study lacks is zero.
        label
            Column of obs that names the study.
        genes, fields, unit, layers, obsm, cache
            As for :meth:`Study.to_anndata`.

        Returns
        -------
        anndata.AnnData
            Cells of all studies in order, their names followed by the study's.

        Raises
        ------
        ConfigurationError
            Dask is not installed, or a worker has no token for the server.

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
        options = {"genes": genes, "fields": fields, "unit": unit, "layers": layers, "obsm": obsm, "cache": cache}
        Selection.of(genes=genes, fields=fields, unit=unit, layers=layers, obsm=obsm)
        return _joined(_compute([(_origin(each), options) for each in self.studies]), self._ids, join, label)

    def lazy(
        self,
        join: Join = "inner",
        *,
        label: str = "study",
        folder: str | Path | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] = (),
        obsm: bool = True,
    ) -> AnnData:
        """Join all studies over Dask, without their matrices in memory.

        Parameters
        ----------
        folder
            Where each study is kept as an h5ad; None means ``bc.cache``.
        join, label, fields, unit, layers, obsm
            As for :meth:`to_anndata`.

        Returns
        -------
        anndata.AnnData
            ``X`` and layers are Dask arrays.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> from tempfile import TemporaryDirectory
        >>> with bc.sandbox(), TemporaryDirectory() as folder:
        ...     adata = bc.collection(["PBMC68k_reduced"]).lazy(folder=folder)
        ...     type(adata.X).__module__, adata.shape
        ('dask.array.core', (700, 765))
        """
        kept = None if folder is None else Path(folder).expanduser()
        parts = [
            each.lazy(
                None if kept is None else kept / f"{number}.h5ad", fields=fields, unit=unit, layers=layers, obsm=obsm
            )
            for number, each in enumerate(self.studies)
        ]
        return _joined(parts, self._ids, join, label)

    def to_zarr(
        self,
        path: str | Path,
        join: Join = "inner",
        *,
        label: str = "study",
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] = (),
        obsm: bool = True,
    ) -> Path:
        """Join all studies in a Zarr store, a block of cells at a time.

        Parameters
        ----------
        path
            Folder to write; it must not be there yet. ``anndata.settings.zarr_write_format`` is the format.
        join, label, fields, unit, layers, obsm
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
        target = Path(path).expanduser()
        if target.exists() or not target.parent.is_dir():
            msg = f"{target} is there already" if target.exists() else f"there is no folder {target.parent}"
            raise InvalidArgument(msg)
        with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=target.parent) as folder:
            joined = self.lazy(join, label=label, folder=folder, fields=fields, unit=unit, layers=layers, obsm=obsm)
            part = Path(folder) / "joined.zarr"
            with warnings.catch_warnings():
                # anndata announces another default at each store; which format it is, anndata.settings say.
                warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
                safe_names(joined).write_zarr(part)
            part.rename(target)
        return target

    @property
    def _ids(self) -> list[str]:
        return [study.id for study in self.studies]


def fetch_part(origin: Mapping[str, Any], options: Mapping[str, Any]) -> AnnData:
    """One study, fetched wherever this runs, with the tokens that are there."""
    adata: AnnData = study_of_origin(origin).to_anndata(**options)
    return adata


def _origin(study: Study) -> dict[str, Any]:
    return {**study.provenance(), "source": study.source, "study_id": study.id}


def _compute(tasks: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[AnnData]:
    try:
        from dask.base import compute
        from dask.delayed import delayed
    except ImportError as error:
        msg = "a collection needs Dask: pip install 'biocolab_accessor[dask]'"
        raise ConfigurationError(msg) from error
    parts = [delayed(fetch_part, pure=False)(origin, options) for origin, options in tasks]
    client = _client()
    if client is None:
        return list(compute(*parts, scheduler="threads", num_workers=_AT_ONCE))
    futures = client.compute(parts, retries=_RETRIES)
    try:
        return list(client.gather(futures))
    finally:
        client.cancel(futures)


def _client() -> Any:
    """The distributed client of this session, if there is one."""
    try:
        from distributed import get_client
    except ImportError:
        return None
    try:
        return get_client()
    except ValueError:
        return None


def _joined(parts: Sequence[AnnData], ids: Sequence[str], join: Join, label: str) -> AnnData:
    if join not in ("inner", "outer"):
        msg = f"join is {join!r}: give 'inner' or 'outer'"
        raise InvalidArgument(msg)
    origins = {name: dict(part.uns[PROVENANCE]) for name, part in zip(ids, parts, strict=True)}
    joined = anndata.concat(parts, join=join, label=label, keys=list(ids), index_unique="-", fill_value=0)
    joined.uns[PROVENANCE] = {"studies": origins}
    return joined
