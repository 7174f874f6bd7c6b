"""A study of BioFlex as a source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.bioflex import Metadata, Study
from biocolab_accessor.clients.save import save
from biocolab_accessor.crew import Crew
from biocolab_accessor.errors import InvalidArgument, InvalidResponse
from biocolab_accessor.inbound.metadata import ObsColumn, categorical
from biocolab_accessor.naming import quoted
from biocolab_accessor.storage.transpose import csr_of_csc
from biocolab_accessor.waits import result

__all__ = ["BioFlexSource"]

# One request per field is the protocol's way; they are sent side by side, but few enough to be polite.
_FIELDS_AT_ONCE = 16


class BioFlexSource:
    """A study of a BioFlex database.

    Parameters
    ----------
    study
        The study as the client has it.
    """

    name = "bioflex"

    def __init__(self, study: Study) -> None:
        self._study = study
        self.study_id = str(study.hash_id)
        self.title = str(study.title or "")
        self.authors = [str(author) for author in study.authors or []]
        self.reference = str(study.reference or "")

    @property
    def metalist(self) -> list[Metadata]:
        """The client's own Metadata objects."""
        return self._study.metalist

    def barcodes(self) -> list[str]:
        """See StudySource."""
        return self._study.barcodes()

    def features(self) -> list[str]:
        """See StudySource."""
        return self._study.features()

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._study.query_genes(genes, unit)

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """See StudySource."""
        return self._study.matrix(unit)

    def rows(self, unit: str) -> sparse.csr_matrix:
        """See StudySource."""
        return csr_of_csc(self._study.matrix(unit), consume=True)

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        """See StudySource."""
        return self._study.matrix_stripes(unit, folder, most)

    def matrix_bytes(self, unit: str) -> int | None:
        """See StudySource."""
        return self._study.matrix_bytes(unit)

    def cache_key(self) -> Mapping[str, Any]:
        """See StudySource: a version of a database never changes."""
        return {**self.provenance(), "study": self.study_id, "revision": self._study.revision}

    def metadata(self, fields: Sequence[str], barcodes: Callable[[], Sequence[str]]) -> dict[str, ObsColumn]:
        """See StudySource; numeric fields are float32, since that is what the wire carries."""
        wanted = [next(field for field in self.metalist if field.name == name) for name in fields]

        def fetch(field: Metadata) -> ObsColumn:
            field.fetch()
            if field.codes is not None and field.categories is not None:
                return categorical(field.codes, field.categories)
            return pd.Series(np.asarray(field.values, np.float32))

        with Crew(_FIELDS_AT_ONCE, "biocolab-metadata") as crew:
            # Once, and not by each field: barcodes that do not come are waited for once.
            cells = crew.ask(barcodes)
            fetched = [crew.ask(fetch, field) for field in wanted]
            columns = dict(zip(fields, [result(each) for each in fetched], strict=True))
            n_obs = len(result(cells))
        for name, column in columns.items():
            if len(column) != n_obs:
                msg = f"metadata {quoted(name)} of {self.study_id}: {len(column):,} values for {n_obs:,} cells"
                raise InvalidResponse(msg)
        return columns

    def embedding_names(self) -> list[str]:
        """None: BioFlex has no route for them."""
        return []

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """None: BioFlex has no route for them."""
        return {}

    def add_metadata(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Not possible: a version of a database never changes."""
        study = quoted(self.study_id)
        msg = f"study {study} is of BioFlex, which takes no metadata: give a study of BBrowserX or Talk2Data"
        raise InvalidArgument(msg)

    def refresh(self) -> None:
        """See StudySource: there is nothing that could change."""

    def export(self, format: str) -> dict[str, Any]:
        """See StudySource."""
        answer: dict[str, Any] = self._study.export_study(format)
        return answer

    def save(self, link: str, path: str | Path) -> Path:
        """See StudySource."""
        return save(self._study.database.connection.http, link, path)

    def provenance(self) -> Mapping[str, Any]:
        """See StudySource."""
        database = self._study.database
        return {
            "server": database.connection.http.host,
            "database": str(database.id),
            "database_name": str(database.name),
            "species": str(database.species),
            "version": int(database.version),
        }
