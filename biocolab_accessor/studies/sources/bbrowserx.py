"""BBrowserX source: a study of a BBrowserX or Talk2Data group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector, cell_centers
from biocolab_accessor.clients.http import save
from biocolab_accessor.clients.progress import exporting
from biocolab_accessor.clients.tasks import restart_if_lost, show_task
from biocolab_accessor.errors import InvalidArgument, InvalidResponse, NotFound, UnknownEmbedding
from biocolab_accessor.io.memory import instead
from biocolab_accessor.io.names import is_barcodes
from biocolab_accessor.io.transpose import csr_of_csc
from biocolab_accessor.messages import quoted, shown
from biocolab_accessor.security.urls import file_url
from biocolab_accessor.studies.conversion import ObsColumn, align, column, gene_stripes
from biocolab_accessor.studies.sources import StudySource, Term, read_terms

_EXPORT_TYPES = {"h5ad": 2, "seurat": 5, "rds": 5}


class ConnectorSource(StudySource):
    """A study of a group, from its ``row`` in the group's list and the species under which it was listed."""

    # It can change, so it is not cached. Its matrix is JSON, whose length the server does not announce.

    def __init__(
        self, connector: BBrowserXConnector, row: Mapping[str, Any], *, group_id: str, species: str, name: str
    ) -> None:
        self.name = name
        self.uuid = str(row["uuid"])
        self.study_id = str(row["study_id"])
        self.title = str(row.get("title") or "")
        authors = row.get("authors")
        self.authors = [str(author) for author in authors] if isinstance(authors, list) else []
        self.reference = str(row.get("reference") or "")
        self._connector, self._group_id, self._species = connector, group_id, species
        self._fields: dict[str, ConnectorField] = {}
        self.known_embeddings: list[str] = []  # as last listed by the server

    @cached_property
    def metalist(self) -> list[ConnectorField]:
        """Fields by name. Their types are known after a fetch; fields that remain keep their objects."""
        answer = self._connector.get_metadata_fields(self._species, self.uuid, self._group_id)
        if isinstance(answer, Mapping):
            answer = list(answer)
        if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
            msg = f"study {self.study_id}: expected a list of field names"
            raise InvalidResponse(msg)
        names = [name for name in answer if not is_barcodes(name)]
        self._fields = {name: self._fields.get(name) or ConnectorField(self, name) for name in names}
        for number, field in enumerate(self._fields.values()):
            field.id = number
        return list(self._fields.values())

    def barcodes(self) -> list[str]:
        """See StudySource."""
        return self._connector.get_barcodes(self._species, self.uuid)

    def features(self) -> list[str]:
        """See StudySource."""
        return self._connector.get_features(self._species, self.uuid)

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        if not genes:
            msg = "genes is empty, which the server would take for all genes: give at least one"
            raise InvalidArgument(msg)
        return self._connector.query_genes(self._species, self.uuid, genes, unit)

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._connector.query_genes(self._species, self.uuid, [], unit)

    def rows(self, unit: str) -> sparse.csr_matrix:
        """See StudySource."""
        return csr_of_csc(self._connector.query_genes(self._species, self.uuid, [], unit), consume=True)

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """See StudySource."""
        genes = self.features()
        if len(set(genes)) == len(genes):
            yield from gene_stripes(lambda some: self.query_genes(some, unit), genes, most // max(1, n_obs), most)
            return
        with instead("genes with repeated names cannot be requested in parts: use study.export_study(path=path)"):
            yield self.matrix(unit)

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """See StudySource; one request for all fields."""
        if not fields:
            return {}
        every = [field.name for field in self.metalist]
        asked = [] if list(fields) == every else list(fields)
        columns = self._connector.get_metadata_columns(self._species, self.uuid, self._group_id, asked)
        what = f"metadata of {self.study_id}"
        aligned = align(columns, barcodes(), what)
        missing = [name for name in fields if name not in aligned]
        if missing:
            msg = f"{what}: the server's answer lacks {missing}"
            raise InvalidResponse(msg)
        return {name: column(aligned[name]) for name in fields}

    def embedding_names(self) -> list[str]:
        """See StudySource."""
        return list(self._embedding_ids())

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """See StudySource."""
        return {
            name: self._connector.retrieve_custom_embedding(self._species, self.uuid, embedding_id)
            for name, embedding_id in self._embedding_ids().items()
            if names is None or name in names
        }

    def cell_centers(self) -> dict[str, pd.DataFrame]:
        """See StudySource."""
        try:
            return cell_centers(self._connector.http, self.uuid, self._species)
        except NotFound as error:
            msg = (
                f"study {quoted(self.study_id)} has no cell centers, or its server has no route for them "
                f"(Lens servers have it): {error}"
            )
            raise UnknownEmbedding(msg) from error

    def terms(self) -> list[Term]:
        """See StudySource."""
        try:
            every = read_terms(self._connector.export_std_meta([self.uuid]))
        except NotFound as error:
            msg = f"study {quoted(self.study_id)} is gone, or its server exports no ontology terms: {error}"
            raise NotFound(msg) from error
        return [term for term in every if term.study_id in (self.uuid, self.study_id)]

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """See StudySource."""
        self._send_metadata("submit_metadata_dataframe", {"metadata_dct": dict(columns)})

    def add_metadata_file(self, key: str, bucket_id: str, *, shared: bool) -> None:
        """See StudySource."""
        route = "submit_metadata_from_shared_s3" if shared else "submit_metadata_s3"
        self._send_metadata(route, {"file_path": key, "shared_s3_id" if shared else "s3_id": bucket_id})

    def _send_metadata(self, route: str, content: Mapping[str, Any]) -> None:
        body = {"species": self._species, "study_id": self.uuid, "group_id": self._group_id}
        self._connector.post_request(f"api/v1/{route}", {**body, **content})
        self.refresh()

    def refresh(self) -> None:
        """See StudySource: any member of the group can add fields."""
        self.__dict__.pop("metalist", None)

    def _embedding_ids(self) -> dict[str, Any]:
        rows = self._connector.list_all_custom_embeddings(self._species, self.uuid)
        if not isinstance(rows, list) or not all(
            isinstance(row, Mapping) and isinstance(row.get("embedding_id"), str | int) for row in rows
        ):
            msg = f"study {self.study_id}: expected a list of embeddings with their ids"
            raise InvalidResponse(msg)
        names = [str(row.get("embedding_name") or row["embedding_id"]) for row in rows]
        if len(set(names)) < len(names):
            names = [str(row["embedding_id"]) for row in rows]
        self.known_embeddings = names
        return {name: row["embedding_id"] for name, row in zip(names, rows, strict=True)}

    def export(self, format: str) -> dict[str, Any]:
        """See StudySource; waits until the server has made the file."""
        if format not in _EXPORT_TYPES:
            msg = f"format is {quoted(format)}: give 'h5ad' or 'seurat'"
            raise InvalidArgument(msg)
        body = {"group_id": self._group_id, "study_id": self.uuid, "species": self._species, "context": []}

        def result(task_id: str | int) -> dict[str, Any]:
            show_task(self._connector, task_id, exporting(self.study_id))
            asked = {"group_id": self._group_id, "task_id": task_id}
            return self._connector.post_request("api/v1/get_export_result", asked)

        _, answer = restart_if_lost(
            lambda: self._connector.submit_task("export_study", {**body, "study_type": _EXPORT_TYPES[format]}),
            result,
            f"export of {self.study_id}",
        )
        data = answer.get("data")
        if not isinstance(data, Mapping) or not isinstance(data.get("file_path"), str):
            msg = f"study {self.study_id}: the server sent no link to the exported file"
            raise InvalidResponse(msg)
        link = file_url(self._connector.host, data["file_path"].lstrip("/"))
        return {"download_link": link, "study_hash_id": self.study_id}

    def save(self, link: str, path: str | Path) -> Path:
        """See StudySource."""
        return save(self._connector.http, link, path)

    def provenance(self) -> Mapping[str, Any]:
        """See StudySource."""
        return {
            "server": self._connector.host,
            "study_uuid": self.uuid,
            "group_id": self._group_id,
            "species": self._species,
        }


class ConnectorField:
    """A metadata field with the interface of bioflex's Metadata.

    Attributes
    ----------
    id
        Position in the server's list.
    name
        Name of the field.
    type
        ``"Numeric"`` or ``"Category"``; ``"Unknown"`` until :meth:`fetch`.
    values
        None until :meth:`fetch`, then one value per cell.
    """

    def __init__(self, source: ConnectorSource, name: str) -> None:
        self.id, self.name, self.type = -1, name, "Unknown"
        self.values: Any = None
        self._source = source

    def __repr__(self) -> str:
        return f'Metadata(id={self.id},name="{shown(self.name)}",type="{self.type}")'

    def fetch(self) -> None:
        """Fetch the values."""
        values = self._source.metadata([self.name], self._source.barcodes)[self.name]
        self.type = "Category" if isinstance(values, pd.Categorical) else "Numeric"
        self.values = np.asarray(values)
