"""Reading: what a study is, and its parts one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import sparse

from biocolab_accessor.clients.tasks import begun_twice
from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.inbound.matrix import Unit, select_genes, unit_name
from biocolab_accessor.inbound.metadata import select_fields
from biocolab_accessor.inbound.parts import StudyParts
from biocolab_accessor.inbound.source import StudySource
from biocolab_accessor.markup import facts_table
from biocolab_accessor.naming import shown

__all__ = ["Reading"]


class Reading:
    """A study before anything of it is an AnnData; see :class:`~biocolab_accessor.inbound.study.Study`.

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

        (answer, _), saved = begun_twice(begin, lambda begun: source.save(begun[1], path), f"export of {self.id}")
        return {**answer, "path": saved}
