"""Rules about what var says of its features: their types and genomes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from biocolab_accessor.check.gene_names import looked_at
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.naming import quoted

_TYPES = ("feature_types", "feature_type", "modality", "modalities", "type")
_GENOMES = ("genome", "genomes")
# As Cell Ranger, Seurat, muon and CELLxGENE have them.
_GENES = {"geneexpression", "gene", "genes", "rna", "gex", "mrna", "expression", "transcript", "transcripts"}
# A column feature_type may as well have biotypes, as CELLxGENE's: of it only these are meant.
_OTHERS = {
    "antibodycapture", "antibody", "antibodies", "adt", "prot", "protein", "proteins", "hto", "hashtag", "hashtags",
    "multiplexingcapture", "crisprguidecapture", "crispr", "guide", "guides", "grna", "sgrna", "antigencapture",
    "custom", "peaks", "peak", "atac", "chromatinaccessibility",
}  # fmt: skip
_BIOTYPES = {"proteincoding", "lncrna", "mirna"}
_MOST_SHOWN = 6
_PEAK = re.compile(r"(?:chr)?(?:\d{1,2}|[XYM]|MT|GL[\d.]+|KI[\d.]+)[:_-]\d+[-_]\d+")
_SEVERAL = 0.1


@rule("BC413", "warning")
def other_features(context: Context) -> Iterator[Finding]:
    """Antibodies, guides and peaks are normalised with the genes, as if they were some."""
    where, column = _column(context, _TYPES)
    if column is None:
        yield from _peaks(where, context.tables[where].index)
        return
    kinds = column.value_counts()
    sure = column.name == _TYPES[0] and not any(_plain(kind) in _BIOTYPES for kind in kinds.index)
    others = [kind for kind in kinds.index if _plain(kind) not in _GENES and (sure or _plain(kind) in _OTHERS)]
    genes = [kind for kind in kinds.index if kind not in others]
    if others:
        number = int(kinds[others].sum())
        message = (
            f"{number:,} of {len(context.tables[where]):,} features are not Gene Expression ({_counts(kinds[others])})"
        )
        fix = "They are normalised as genes are"
        if genes:
            fix += f". To leave them out: {_keeping(where, column, genes)}"
        yield found(f"{where}[{quoted(column.name)}]", message, count=number, fix=fix)


def _peaks(where: str, names: pd.Index) -> Iterator[Finding]:
    """Peaks of ATAC are known by their names, too."""
    some = looked_at(names)
    if some and sum(_PEAK.fullmatch(name) is not None for name in some) > _SEVERAL * len(some):
        number = sum(_PEAK.fullmatch(str(name)) is not None for name in names)
        example = next(name for name in some if _PEAK.fullmatch(name))
        message = f"{number:,} of {len(names):,} features are named like peaks, not genes"
        fix = "They are normalised as genes are"
        if number < len(names) and where == "var":
            fix += f". To leave them out: adata[:, ~adata.var_names.str.match({quoted(_PEAK.pattern)})]"
        yield found(f"{where}_names", message, count=number, examples=(quoted(example),), fix=fix)


@rule("BC414", "warning")
def several_genomes(context: Context) -> Iterator[Finding]:
    """A study is of one species."""
    where, column = _column(context, _GENOMES)
    if column is None:
        return
    genomes = column.value_counts()
    if len(genomes) > 1:
        fix = f"To keep one of them: {_keeping(where, column, [genomes.index[0]])}"
        message = f"features of {len(genomes):,} genomes ({_counts(genomes)})"
        yield found(f"{where}[{quoted(column.name)}]", message, count=len(genomes), fix=fix)


def _column(context: Context, names: tuple[str, ...]) -> tuple[str, pd.Series | None]:
    """The first of some columns that is there and says something, as text; what is missing or empty is left out."""
    where, var = next((where, frame) for where, frame in context.tables.items() if where != "obs")
    for name in names:
        column = var.get(name)
        if isinstance(column, pd.Series):
            text = column.dropna().astype(str).astype(object)
            return where, text[text.str.strip() != ""] if len(text) else None
    return where, None


def _plain(kind: str) -> str:
    return "".join(letter for letter in kind.casefold() if letter.isalnum())


def _counts(kinds: pd.Series) -> str:
    shown = [f"{kind} {number:,}" for kind, number in kinds.items()][:_MOST_SHOWN]
    return ", ".join([*shown, *([f"and {len(kinds) - len(shown):,} more"] if len(kinds) > len(shown) else [])])


def _keeping(where: str, column: pd.Series, kept: list[str]) -> str:
    """The line that keeps the features of some kinds."""
    is_kept = f" == {quoted(kept[0])}" if len(kept) == 1 else f".isin({quoted(kept)})"
    if where == "var":
        return f"adata[:, adata.var[{quoted(column.name)}]{is_kept}]"
    return f"raw = adata.raw.to_adata(); raw[:, raw.var[{quoted(column.name)}]{is_kept}]"
