"""Selection: the part of a study to fetch, and its form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict, get_args

import numpy as np

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import about_megabytes, facts_table, quoted
from biocolab_accessor.protocol import Format, Unit, argument_names, unit_name
from biocolab_accessor.studies.conversion import gene_names
from biocolab_accessor.studies.obs_filter import ObsFilter

__all__ = ["FetchPlan", "Selection", "Wanted"]


class Wanted(TypedDict, total=False):
    """The arguments that every fetch has, for type checkers."""

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
        lines = [f"FetchPlan of {self.study_id}: no values were fetched"]
        return "\n".join([*lines, *(f"  {name}: {text}" for name, text in self._facts())])

    def _repr_html_(self) -> str:
        return facts_table(f"FetchPlan of {self.study_id}: no values were fetched", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        facts = [
            ("cells x genes", f"{self.n_obs:,} x {self.n_vars:,}"),
            ("fields", ", ".join(self.fields) or "none"),
        ]
        if self.n_bytes is not None:
            facts.append(("to fetch", f"{self.n_bytes / 1e6:,.1f} MB"))
        if self.memory is not None:
            facts.append(("in memory", f"{about_megabytes(self.memory)} of {self.available / 1e6:,.1f} MB"))
        if self.left_out:
            facts.append(("left out", self.left_out))
        if not self.fits:
            facts.append(
                ("does not fit", "use to_h5ad(path), to_anndata(backed=path) or lazy(path), or ask for genes=")
            )
        return facts
