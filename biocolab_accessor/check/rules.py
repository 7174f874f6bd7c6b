"""Rules: the registry, and the context that every rule receives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd
from anndata import AnnData

from biocolab_accessor.check.filters import Kept, count_kept
from biocolab_accessor.check.genes import Identifiers, NameList, identify
from biocolab_accessor.check.matrix_choice import MatrixChoice
from biocolab_accessor.check.matrix_stats import Filled, Margins, filled_of
from biocolab_accessor.check.report import Finding, Severity
from biocolab_accessor.check.slots import is_table, unsendable
from biocolab_accessor.check.tables import suspects
from biocolab_accessor.errors import CheckFailed
from biocolab_accessor.io.columns import Verdict, Verdicts, as_frame, chosen_columns, judge_each, named_by
from biocolab_accessor.io.matrix_blocks import source_of
from biocolab_accessor.messages import quoted
from biocolab_accessor.protocol import Filters


@dataclass(frozen=True)
class Context:
    """The object under check, which rules only read, and the arguments of its submission as far as they are known."""

    adata: AnnData
    choice: MatrixChoice | None  # the matrix to send; None if no slot could be chosen
    batch_key: str | None = None
    species: str | None = None
    filters: Filters | None = None
    of_table: tuple[Finding, ...] | None = None  # findings about the table that adata was made from; else None
    obs: tuple[str, ...] | None = None  # columns of obs that are sent; None means all
    gene_symbols: str | None = None  # column of var that is sent as the names of the genes
    is_batch: bool = False  # whether other files of the study are its other batches

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """``obs``, and the var of the chosen matrix (``var`` or ``raw.var``)."""
        raw = self.choice is not None and self.choice.slot.kind == "raw.X"
        var = ("raw.var", self.adata.raw.var) if raw else ("var", self.adata.var)
        named, _ = named_by(as_frame(var[1]), self.gene_symbols, var[0])
        return {"obs": chosen_columns(as_frame(self.adata.obs), self.obs), var[0]: named}

    @cached_property
    def names(self) -> NameList:
        """The names of the genes."""
        return NameList(next(frame.index for where, frame in self.tables.items() if where != "obs"))

    @cached_property
    def identifiers(self) -> Identifiers:
        """What kind of identifiers the gene names are."""
        return identify(self.names)

    @cached_property
    def suspects(self) -> list[Any]:
        """All gene names if one of them may be the name of an id or annotation column, else nothing."""
        return suspects(self.names)

    @cached_property
    def filled(self) -> Filled | None:
        """Which cells and genes of the chosen matrix have values; None if that does not matter."""
        if self.choice is None or not all(self.choice.chosen.shape) or self.choice.chosen.kind in ("empty", "invalid"):
            return None
        if self.choice.filled is not None:
            return self.choice.filled
        return filled_of(source_of(self.adata, self.choice.slot), self.choice.chosen.nnz)

    @cached_property
    def empty(self) -> Margins | None:
        """Numbers of cells and genes of the chosen matrix that are all zero."""
        return None if self.filled is None else self.filled.empty

    @cached_property
    def kept(self) -> Kept | None:
        """What the filters would keep; None without filters, or if the matrix cannot be measured."""
        choice, obs = self.choice, self.tables["obs"]
        if choice is None or self.filters is None or not self.filters.given or choice.chosen.kind == "invalid":
            return None
        if not all(choice.chosen.shape) or choice.chosen.shape != choice.slot.shape(self.adata):
            return None
        batches = obs[self.batch_key] if self.batch_key is not None and self.batch_key in obs.columns else None
        features = next(frame.index for where, frame in self.tables.items() if where != "obs")
        return count_kept(
            self.adata, choice, features, self.filters, batches if isinstance(batches, pd.Series) else None
        )

    @cached_property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Path and verdict of every column of obs and var."""
        return [
            (f"{where}[{quoted(name)}]", verdict) for where in self.tables for name, verdict in self.verdicts_of[where]
        ]

    @cached_property
    def obsm_verdicts(self) -> list[tuple[str, Verdict]]:
        """Path and verdict of every column of the obsm tables that are sent."""
        others = [where for where in self.verdicts_of if where not in self.tables]
        return [(f"{where}[{quoted(name)}]", verdict) for where in others for name, verdict in self.verdicts_of[where]]

    @cached_property
    def verdicts_of(self) -> Verdicts:
        """The verdicts on all columns that are sent; the file is written from them, so no column is converted twice."""
        obsm = self.adata.obsm
        sent = {key: obsm[key] for key in obsm if is_table(obsm[key]) and not unsendable(key, obsm[key])}
        tables = {**self.tables, **{f"obsm[{quoted(key)}]": as_frame(table) for key, table in sent.items()}}
        return {where: judge_each(frame, where) for where, frame in tables.items()}


Rule = Callable[[Context], Iterator[Finding]]

RULES: list[Rule] = []


def rule(
    code: str, severity: Severity, error: type[CheckFailed] = CheckFailed, *, changed: bool = False
) -> Callable[[Rule], Rule]:
    """Register a rule, a generator of findings, under its stable code; its findings get code, severity and error."""

    def register(function: Rule) -> Rule:
        def stamped(context: Context) -> Iterator[Finding]:
            for finding in function(context):
                yield replace(finding, code=code, severity=severity, error=error, changed=changed)

        RULES.append(stamped)
        return stamped

    return register


def found(path: str, message: str, *, count: int = 1, examples: tuple[str, ...] = (), fix: str = "") -> Finding:
    """A finding of a rule; the registry adds code, severity and error."""
    return Finding("", "note", path, message, count, examples, fix)
