"""Selection: the part of a study to fetch, its form, and the cells that ``obs_filter`` and ``cells`` select."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import AmbiguousName, InvalidArgument, NoCells, TooLarge, UnknownCell
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.io.transpose import csr_of_csc
from biocolab_accessor.io.values import text_index
from biocolab_accessor.messages import about_megabytes, counted, did_you_mean, facts_table, listing, quoted, suggestion
from biocolab_accessor.protocol import Format, Unit, argument_names, unit_name
from biocolab_accessor.studies.conversion import expect_shape, gene_names, owner, to_obsm
from biocolab_accessor.studies.obs_filter import ObsFilter, labels_of
from biocolab_accessor.studies.sources import StudySource, Term
from biocolab_accessor.studies.study_data import StudyParts

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Wanted(TypedDict, total=False):
    """The arguments that every fetch has; their defaults are those of :meth:`Selection.of`."""

    genes: Sequence[str] | str | None
    fields: Sequence[str] | str | None
    unit: Unit
    layers: Sequence[str] | None
    obsm: bool | Sequence[str] | str
    terms: bool
    obs_filter: str | None
    cells: Sequence[str] | str | None


class Selection(NamedTuple):
    """The part of a study to fetch; see :meth:`Study.to_anndata`."""

    genes: tuple[str, ...] | None  # empty if the study has no gene of an outer join
    fields: tuple[str, ...] | None
    unit: str  # the protocol's name
    layers: dict[str, str]  # the protocol's name of each layer's unit
    obsm: bool | tuple[str, ...]  # names as given
    format: Format
    terms: bool = False
    obs_filter: str | None = None
    cells: tuple[str, ...] | None = None
    of_many: bool = False  # of a collection, in which a study may lack fields, labels and cells

    @classmethod
    def of(
        cls,
        *,
        genes: Sequence[str] | str | None = None,
        fields: Sequence[str] | str | None = None,
        unit: Unit = "raw",
        layers: Sequence[str] | None = (),
        obsm: bool | Sequence[str] | str = True,
        format: Format = "csr",
        terms: bool = False,
        obs_filter: str | None = None,
        cells: Sequence[str] | str | None = None,
    ) -> Selection:
        """Check a user's arguments."""
        embeddings: bool | tuple[str, ...]
        if isinstance(obsm, bool | np.bool_):
            embeddings = bool(obsm)
        elif isinstance(obsm, Iterable):
            embeddings = tuple(argument_names(obsm, "obsm"))
        else:
            msg = f"obsm is {quoted(obsm)}: give True for all embeddings, False for none, or their names"
            raise InvalidArgument(msg)
        if not isinstance(terms, bool | np.bool_):
            msg = f"terms is {quoted(terms)}: give True for the ontology terms of the labels, or False"
            raise InvalidArgument(msg)
        if format not in get_args(Format):
            msg = f"format is {quoted(format)}: give 'csr', 'csc' or 'dense'"
            raise InvalidArgument(msg)
        if not isinstance(layers, Iterable) or isinstance(layers, str):
            layers = [] if layers is None else [layers]
        if obs_filter is not None:
            ObsFilter.of(obs_filter)
        if cells is not None:
            cells = tuple(dict.fromkeys(argument_names(cells, "cells")))
            if not cells:
                msg = "cells is empty: give barcodes, or None for all cells"
                raise InvalidArgument(msg)
        asked = argument_names([getattr(layer, "value", layer) for layer in layers], "layers")
        return cls(
            None if genes is None else tuple(gene_names(genes)),
            None if fields is None else tuple(argument_names(fields, "fields")),
            unit_name(unit),
            {name: unit_name(name, "one of layers") for name in asked},
            embeddings,
            format,
            bool(terms),
            obs_filter,
            cells,
        )

    @property
    def selects_cells(self) -> bool:
        """Whether only some of the cells are selected."""
        return self.obs_filter is not None or self.cells is not None

    @property
    def matrices(self) -> list[str]:
        """The unit of each matrix of the result: first X, then the layers."""
        return [self.unit, *self.layers.values()]

    @property
    def units(self) -> list[str]:
        """Each requested unit, once."""
        return list(dict.fromkeys(self.matrices))


def takes_wanted(after: str = "") -> Callable[[_Method], _Method]:
    """Give the signature of a method the arguments of a fetch, after the named one, in place of ``**wanted``."""

    def with_signature(method: _Method) -> _Method:
        shared = [each for each in signature(Selection.of).parameters.values() if each.name in Wanted.__annotations__]
        own = [each for each in signature(method).parameters.values() if each.kind is not each.VAR_KEYWORD]
        first = max(n for n, each in enumerate(own, 1) if each.kind is not each.KEYWORD_ONLY or each.name == after)
        parameters = [*own[:first], *shared, *own[first:]]
        method.__signature__ = signature(method).replace(parameters=parameters)  # type: ignore[attr-defined]
        return method

    return with_signature


@dataclass(frozen=True)
class FetchPlan:
    """The result of a fetch in numbers, from a fetch with ``dry_run=True``, which fetches no values.

    Attributes
    ----------
    study_id
        Id of the study.
    n_obs, n_vars
        Number of cells and genes of the result.
    fields
        Names of the metadata fields.
    n_bytes
        Bytes to download for the matrices; None if the server does not report their size.
    memory
        Estimated bytes that the matrices need in memory while they are fetched; None if unknown.
    available
        Bytes available for them, see ``bc.settings.memory_budget``.
    left_out
        Genes and fields that an inner join of a collection leaves out; empty for a study.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     plan = bc.study("PBMC68k_reduced").to_anndata(obs_filter="phase == 'S'", genes="LYZ", dry_run=True)
    >>> plan.n_obs, plan.n_vars, plan.fits
    (182, 1, True)
    """

    study_id: str
    n_obs: int
    n_vars: int
    fields: tuple[str, ...]
    n_bytes: int | None
    memory: int | None
    available: int
    left_out: str = ""

    @property
    def fits(self) -> bool:
        """Whether the result fits into memory; True if its size is unknown."""
        return self.memory is None or self.memory <= self.available

    def __repr__(self) -> str:
        facts = [f"  {name}: {text}" for name, text in self._facts() if text]
        return "\n".join([f"FetchPlan of {self.study_id}: no values were fetched", *facts])

    def _repr_html_(self) -> str:
        return facts_table(f"FetchPlan of {self.study_id}: no values were fetched", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        remedy = "use to_h5ad(path), to_anndata(backed=path) or lazy(path), or ask for genes="
        available = f"{self.available / 1e6:,.1f} MB"
        return [
            ("cells x genes", f"{self.n_obs:,} x {self.n_vars:,}"),
            ("fields", ", ".join(self.fields) or "none"),
            ("to fetch", "" if self.n_bytes is None else f"{self.n_bytes / 1e6:,.1f} MB"),
            ("in memory", "" if self.memory is None else f"{about_megabytes(self.memory)} of {available}"),
            ("left out", self.left_out),
            ("does not fit", "" if self.fits else remedy),
        ]


# Non-zeros per stripe of genes; each takes 8 bytes.
_MOST = 2 << 20
_MOST_COMPARED = 2000

# While the stripes of all genes are joined, indices or values are in memory twice.
_JOIN_PEAK = 1.5
_FEWER = "select fewer cells"


def selected(parts: StudyParts, selection: Selection) -> StudyParts:
    """The parts for the selected cells; only the fields of the filter are fetched."""
    if not selection.selects_cells:
        return parts
    mask, held, conditions = _evaluated(parts, selection)
    if not mask.any() and not selection.of_many:
        raise NoCells(_no_cells(parts, conditions))
    return SomeCells(parts, np.flatnonzero(mask), held)


def no_cells(parts: StudyParts, selection: Selection) -> str:
    """The message that none of the cells is selected."""
    return _no_cells(parts, _evaluated(parts, selection)[2])


def _no_cells(parts: StudyParts, conditions: Sequence[tuple[str, int]]) -> str:
    each = "".join(f"\n  {_shortened(clause)}: {counted(number, 'cell')}" for clause, number in conditions)
    return (
        f"study {parts.study_id}: none of its {counted(parts.n_obs, 'cell')} is selected. "
        f"Each condition alone selects:{each}"
    )


def _evaluated(
    parts: StudyParts, selection: Selection
) -> tuple[NDArray[np.bool_], pd.DataFrame, list[tuple[str, int]]]:
    """Which cells are selected, the fetched fields, and, if none is, the number of cells of each condition."""
    conditions: list[tuple[str, int]] = []
    mask = np.ones(parts.n_obs, bool)
    held = pd.DataFrame(index=pd.RangeIndex(parts.n_obs))
    if selection.cells is not None:
        mask[:] = False
        mask[rows_of_cells(selection.cells, parts.barcodes, parts.study_id)] = True
        conditions.append(("cells", int(mask.sum())))
    if selection.obs_filter is not None:
        wanted = ObsFilter.of(selection.obs_filter)
        known = parts.fields
        if not selection.of_many:
            wanted.expect_fields(known, parts.study_id)
        held = parts.metadata([name for name in wanted.fields if name in known])
        columns = held.reindex(columns=list(wanted.fields))  # fields that the study lacks have missing values
        if not selection.of_many:
            wanted.expect_labels(labels_of(columns))
        mask &= wanted.mask(columns)
        if not mask.any():
            conditions += wanted.counts(columns)
    return mask, held, conditions


def _shortened(clause: str) -> str:
    """A clause in one line of a message."""
    return f"{clause[:77]}…" if len(clause) > 78 else clause


def without_unused_labels(obs: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """The table without labels that no selected cell has; anndata, too, drops them from its subsets."""
    # Names of columns are unique. The result may share memory with the table.
    if not selection.selects_cells:
        return obs
    found = obs.copy(deep=False)
    for name in obs.select_dtypes("category"):
        found[name] = obs[name].cat.remove_unused_categories()
    return found


def rows_of_cells(cells: Sequence[str], barcodes: Sequence[str], study_id: str | list[str]) -> list[int]:
    """Positions of barcodes; UnknownCell or AmbiguousName unless the study has each of them once."""
    place = {barcode: row for row, barcode in enumerate(barcodes)}
    if missing := [cell for cell in cells if cell not in place]:
        near = ", ".join(f"{quoted(cell)}{_near(cell, barcodes)}" for cell in missing[:3])
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        msg = f"{owner(study_id)} has no cell {near}{more}; its barcodes look like {listing(barcodes, limit=2)}"
        raise UnknownCell(msg)
    if len(place) < len(barcodes):
        counts = Counter(barcodes)
        if twice := [cell for cell in cells if counts[cell] > 1]:
            msg = f"{owner(study_id)} has several cells named {listing(twice)}: select them with obs_filter"
            raise AmbiguousName(msg)
    return [place[cell] for cell in cells]


def _near(cell: str, barcodes: Sequence[str]) -> str:
    """Known barcodes with the same sequence of bases; in a small study, also those that are spelled alike."""
    bases = re.search("[ACGTN]{8,}", cell)
    same = [barcode for barcode in barcodes if bases and bases[0] in barcode][:3]
    if same:
        return suggestion(same)
    return did_you_mean(cell, barcodes) if len(barcodes) <= _MOST_COMPARED else ""


class SomeCells(StudyParts):
    """The parts of a study for some of its cells, in the order of the study."""

    def __init__(self, whole: StudyParts, rows: NDArray[np.intp], held: pd.DataFrame) -> None:
        super().__init__(cast("StudySource", _SomeRows(whole, rows)))
        self._whole, self._rows, self._held = whole, rows, held

    @property
    def features(self) -> list[str]:
        """Genes in order, fetched once for all parts."""
        return self._whole.features

    @property
    def cell_names(self) -> list[str]:
        """Barcodes made unique in the whole study, some of which these are."""
        names = self._whole.cell_names
        return [names[row] for row in self._rows]

    @property
    def n_sent(self) -> int:
        """Number of cells of the whole study."""
        return self._whole.n_obs

    @property
    def _recorder(self) -> None:
        """A lock records what the server sends: the parts of the whole study."""

    def terms(self) -> list[Term]:
        """Ontology terms of the whole study."""
        return self._whole.terms()

    def metadata(self, fields: Sequence[str]) -> pd.DataFrame:
        """Fields as a table; those of the filter are not fetched again."""
        held = list(self._held.columns)
        fetched = self._whole.metadata([name for name in fields if name not in held])
        columns = {i: (self._held if name in held else fetched)[name].array for i, name in enumerate(fields)}
        frame = pd.DataFrame(columns, index=fetched.index)
        frame.columns = text_index(fields)
        return frame.take(self._rows)  # not iloc, whose result warns a user who adds a column


class _SomeRows:
    """A source that sends some of the cells of another one; everything else is as there."""

    def __init__(self, whole: StudyParts, rows: NDArray[np.intp]) -> None:
        self._whole, self._rows = whole, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole.source, name)

    def barcodes(self) -> list[str]:
        barcodes = self._whole.barcodes
        return [barcodes[row] for row in self._rows]

    def query_genes(self, genes: Sequence[str], unit: str) -> sparse.csc_matrix:
        if not len(self._rows):
            return sparse.csc_matrix((0, len(genes)), dtype=np.float32)
        return self._whole.query_genes(genes, unit)[self._rows]

    def matrix(self, unit: str) -> sparse.csc_matrix:
        return self._taken(unit, "csc")

    def rows(self, unit: str) -> sparse.csr_matrix:
        return self._taken(unit, "csr")

    def stripes(self, unit: str, folder: Path, most: int, n_obs: int) -> Generator[sparse.csc_matrix, None, None]:
        whole = self._whole
        if not len(self._rows):
            yield sparse.csc_matrix((0, whole.n_vars), dtype=np.float32)
            return
        with closing(whole.stripes(None, unit, folder, most)) as stripes:
            for stripe in stripes:
                yield expect_shape(stripe, whole.n_obs, stripe.shape[1], whole.study_id)[self._rows]

    def matrix_bytes(self, unit: str) -> int | None:
        # A server of BioFlex says the size as it begins to send the matrix.
        return self._whole.source.matrix_bytes(unit) if len(self._rows) else 0

    def embeddings(self, names: Collection[str] | None = None) -> dict[str, NDArray[np.float32]]:
        found = self._whole.embeddings(names)
        to_obsm(found, self._whole.n_obs, self._whole.study_id)  # checks that each has a row for each cell
        return {name: coordinates[self._rows] for name, coordinates in found.items()}

    def _taken(self, unit: str, format: str) -> Any:
        """The rows of the whole matrix in the cache, or of its stripes as they arrive."""
        whole = self._whole
        if len(self._rows) and whole.is_cached:
            try:
                return (whole.rows(unit) if format == "csr" else whole.matrix(unit))[self._rows]
            except TooLarge:  # the whole is
                pass
        with tempfile.TemporaryDirectory(prefix="biocolab-", ignore_cleanup_errors=True) as folder:
            matrix = _joined(self.stripes(unit, Path(folder), _MOST, len(self._rows)), len(self._rows), whole.study_id)
        return csr_of_csc(matrix, consume=True) if format == "csr" else matrix


def _joined(stripes: Generator[sparse.csc_matrix, None, None], n_obs: int, study_id: str) -> sparse.csc_matrix:
    """Consecutive genes as one matrix."""
    data, indices, counts = [], [], []
    taken = 0
    with closing(stripes):
        for stripe in stripes:
            data.append(stripe.data)
            indices.append(stripe.indices)
            counts.append(np.diff(stripe.indptr))
            taken += stripe.data.nbytes + stripe.indices.nbytes
            expect_room(int(_JOIN_PEAK * taken), f"the selected cells of study {study_id}", _FEWER, held=taken)
    pointers = np.concatenate([[0], np.cumsum(np.concatenate(counts, dtype=np.int64))])
    matrix = sparse.csc_matrix((n_obs, len(pointers) - 1), dtype=np.float32)
    index = np.int32 if max(pointers[-1], n_obs, len(pointers)) <= np.iinfo(np.int32).max else np.int64
    matrix.indptr = pointers.astype(index)
    matrix.data = np.concatenate(data, dtype=np.float32)
    data.clear()
    matrix.indices = np.concatenate(indices, dtype=index)
    return matrix
