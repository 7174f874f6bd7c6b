"""Parts: the parts of a study, checked against each other; names are fetched once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidResponse, UnknownEmbedding
from biocolab_accessor.io.memory import instead
from biocolab_accessor.io.names import computed_embedding, restored
from biocolab_accessor.io.values import text_index
from biocolab_accessor.messages import counted, listing, quoted
from biocolab_accessor.studies.conversion import expect_shape, gene_stripes, obsm_keys, unique_names
from biocolab_accessor.studies.lock import (
    Entry,
    Recorder,
    recorded_stripes,
    recorder,
    sha_of_array,
    sha_of_column,
    sha_of_matrix,
    sha_of_names,
)
from biocolab_accessor.studies.sources import StudySource, Term

_Matrix = TypeVar("_Matrix", sparse.csc_matrix, sparse.csr_matrix)

_MOST_LISTED = 12
_STRIPE = 2 << 20  # non-zeros
_OF_ALL = "use study.to_h5ad(path), study.to_anndata(backed=path) or study.lazy(path), or ask for genes="
_OF_GENES = "ask for fewer genes, or use study.to_h5ad(path, genes=…)"
_OF_FIELDS = "ask for some of the fields with fields="


class StudyParts:
    """The parts of a study, from a source."""

    is_cached = False  # whether the cache holds what was fetched

    def __init__(self, source: StudySource) -> None:
        self.source = source
        self.study_id = source.study_id
        self._names: dict[str, list[str]] = {}
        self._known_fields: list[str] = []
        self.known_size: tuple[int | None, ...] = (None, None)  # cells and genes, as the answer to a commit says
        self._hashes: dict[str, str] = {}
        self._locks = {name: Lock() for name in ("barcodes", "features")}

    def cached(self) -> StudyParts:
        """The same parts through the cache, if the study never changes and the cache is enabled."""
        if self.source.cache_key() is None or not settings.cache_size:
            return self
        parts: StudyParts = StudyParts(self.source.cached(lambda: parts.n_obs))
        parts.is_cached = True
        parts._names, parts._locks, parts._hashes = self._names, self._locks, self._hashes
        return parts

    @property
    def barcodes(self) -> list[str]:
        """Cells in order; do not modify."""
        return self._once("barcodes", self.source.barcodes)

    @property
    def features(self) -> list[str]:
        """Genes in order; do not modify."""
        return self._once("features", self.source.features)

    @property
    def fields(self) -> list[str]:
        """Original names of the metadata fields."""
        names = self._original_names
        self._known_fields = [names[field.name] for field in self.source.metalist]
        return list(self._known_fields)

    @property
    def cell_names(self) -> list[str]:
        """Barcodes made unique."""
        return unique_names(self.barcodes)

    @property
    def n_sent(self) -> int:
        """Number of cells that the server sends, of which these are all or some."""
        return self.n_obs

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.barcodes)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.features)

    def known_facts(self) -> list[tuple[str, str]]:
        """The study in words, without any request: only facts that were fetched before."""
        sizes = [
            (len(self._names[of]) if of in self._names else n, noun)
            for of, noun, n in zip(("barcodes", "features"), ("cell", "gene"), self.known_size, strict=True)
        ]
        size = [counted(n, noun) for n, noun in sizes if n is not None]
        known = self.fields if self.source.name == "bioflex" else self._known_fields  # its studies come with fields
        fields = listing(known, limit=_MOST_LISTED)
        embeddings = [
            f"{key} ({'computed by the server' if computed_embedding(name) else 'sent'})"
            for name, key in obsm_keys(list(getattr(self.source, "known_embeddings", ()))).items()
        ]
        uuid = str(getattr(self.source, "uuid", ""))
        return [("size", " x ".join(size)), ("fields", fields), ("embeddings", ", ".join(embeddings)), ("uuid", uuid)]

    def metadata(self, fields: Sequence[str]) -> pd.DataFrame:
        """Fields as a table, indexed by barcode."""
        names = self._original_names if fields else {}
        sent = {ours: theirs for theirs, ours in names.items()}
        with instead(_OF_FIELDS):
            found = self.source.metadata([sent[name] for name in fields], lambda: self.barcodes)
        columns = [pd.Series(column).array for column in found.values()]  # without their index
        frame = pd.DataFrame(dict(enumerate(columns)), index=text_index(self.barcodes))
        frame.columns = text_index([names[name] for name in found])
        if (to := self._recorder) is not None:
            hashes = {name: sha_of_column(column) for name, column in frame.items()}
            to.add(self.source, [{"part": "obs", "name": name, "sha256": each} for name, each in hashes.items()])
        return frame

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Embeddings by the server's names; None means all."""
        found = self.source.embeddings(names)
        if (to := self._recorder) is not None:
            hashes = {name: sha_of_array(array, "<f4") for name, array in found.items()}
            to.add(self.source, [{"part": "obsm", "name": name, "sha256": each} for name, each in hashes.items()])
        return found

    def cell_centers(self) -> pd.DataFrame:
        """Position and sample of each cell: ``x``, ``y`` and ``sample``, missing for cells without a position."""
        sent = self.source.cell_centers()
        what = f"cell centers of {self.study_id}"
        tables = [table.assign(sample=name) for name, table in sent.items() if len(table)]
        if not tables:
            msg = f"study {quoted(self.study_id)} has no cell centers: its server sent none"
            raise UnknownEmbedding(msg)
        centers = pd.concat(tables)
        if not centers.index.is_unique or len(set(self.barcodes)) < self.n_obs:
            again = listing(centers.index[centers.index.duplicated()].unique()) or "barcodes of the study"
            msg = f"{what}: {again} are repeated, so the cells cannot be told apart"
            raise InvalidResponse(msg)
        if not centers.index.isin(self.barcodes).any():
            msg = f"{what}: none of their {len(centers):,} barcodes is one of the study's {self.n_obs:,}"
            raise InvalidResponse(msg)
        frame = centers.reindex(self.barcodes).astype({"x": np.float64, "y": np.float64})
        frame["sample"] = pd.Categorical(frame["sample"], categories=text_index(list(sent)))
        frame = frame.set_axis(text_index(self.barcodes))
        if (to := self._recorder) is not None:
            hashes = [sha_of_column(frame[name]) for name in frame]
            to.add(self.source, [{"part": "cell_centers", "sha256": sha_of_names(hashes)}])
        return frame

    def sent_fields(self, fields: Sequence[str]) -> dict[str, str]:
        """Original names of some fields, by their names on the server."""
        wanted = set(fields)
        return {theirs: ours for theirs, ours in self._original_names.items() if ours in wanted}

    def terms(self) -> list[Term]:
        """Ontology terms of the labels, with the original names of the fields."""
        names, found = self._original_names, self.source.terms()
        terms = [term._replace(field=names.get(term.field, term.field)) for term in found]
        if (to := self._recorder) is not None:
            to.add(self.source, [{"part": "terms", "sha256": sha_of_names(sorted(map(json.dumps, terms)))}])
        return terms

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        """Some genes: (n_obs, number of genes)."""
        if not genes:  # a server would take an empty list for all genes
            return sparse.csc_matrix((self.n_obs, 0), dtype=np.float32)
        return self._recorded(self._query(genes, unit), {"part": "genes", "unit": unit, "genes": list(genes)})

    def matrix(self, unit: str) -> sparse.csc_matrix:
        """All genes, by genes."""
        with instead(_OF_ALL):
            found = expect_shape(self.source.matrix(unit), self.n_obs, self.n_vars, self.study_id)
        return self._recorded(found, {"part": "matrix", "unit": unit})

    def rows(self, unit: str) -> sparse.csr_matrix:
        """All genes, by cells."""
        with instead(_OF_ALL):
            found = expect_shape(self.source.rows(unit), self.n_obs, self.n_vars, self.study_id)
        return self._recorded(found, {"part": "matrix", "unit": unit})

    def stripes(
        self, genes: Sequence[str] | None, unit: str, folder: Path, most: int
    ) -> Generator[sparse.csc_matrix, None, None]:
        """All or some genes, a few at a time, about ``most`` non-zeros each; temporary files go to ``folder``."""
        entry: Entry = {"part": "matrix", "unit": unit}
        if genes is None:
            stripes = self.source.stripes(unit, folder, most, self.n_obs)
        else:
            entry = {"part": "genes", "unit": unit, "genes": list(genes)}
            n = max(1, self.n_sent)
            stripes = gene_stripes(lambda some: self._query(some, unit), genes, most // n, most * self.n_obs // n)
        to = self._recorder
        return stripes if to is None else recorded_stripes(stripes, to, self.source, entry)

    def record_matrix(self, genes: Sequence[str] | None, unit: str) -> None:
        """Fetch all or some genes for the active lock alone, and keep none of them."""
        with (
            tempfile.TemporaryDirectory(prefix="biocolab-") as folder,
            closing(self.stripes(genes, unit, Path(folder), _STRIPE)) as stripes,
        ):
            for _ in stripes:
                pass

    def _query(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        with instead(_OF_GENES):
            return expect_shape(self.source.query_genes(genes, unit), self.n_obs, len(genes), self.study_id)

    def _recorded(self, matrix: _Matrix, entry: Entry) -> _Matrix:
        """The same matrix; its hash goes to the active recorder."""
        if (to := self._recorder) is not None:
            to.add(self.source, [{**entry, "sha256": sha_of_matrix(matrix)}])
        return matrix

    @property
    def _recorder(self) -> Recorder | None:
        """The lock that records these parts; nothing is hashed without one."""
        return recorder()

    @property
    def _original_names(self) -> dict[str, str]:
        """The original name of each field, by its name on the server."""
        return restored(field.name for field in self.source.metalist)

    def _once(self, name: str, fetch: Callable[[], list[str]]) -> list[str]:
        with self._locks[name]:
            if name not in self._names:
                self._names[name] = fetch()
            names = self._names[name]
            if (to := self._recorder) is not None:
                # Hashed once, although they are asked for many times.
                if name not in self._hashes:
                    self._hashes[name] = sha_of_names(names)
                to.add(self.source, [{"part": name, "sha256": self._hashes[name]}])
            return names
