"""Rules about genes: their identifiers, and their types and genomes in var."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from biocolab_accessor.check.genes import ENSEMBL, are_entrez, gene_share, looked_at, species_findings
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.check.tables import annotations_among, ids_among
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.messages import counted, quoted

# Panels of a few hundred genes usually leave out mitochondrial ones.
_WHOLE_TRANSCRIPTOME = 1_000
_FEWEST = 20
_LOOKED_AT = 200

# A third of the genes of a whole transcriptome have a known name, and hardly any cells do.
_LEAST_KNOWN, _FAR_LESS = 0.15, 0.2

# Alone, or between the name of a sample and a number. Guides have longer sequences.
_BARCODE = re.compile(r"(?:.*[_#:.-])?[ACGT]{14,18}(?:[-_.]\w+)?")
_MARKED = re.compile(r"""[\s\ufeff].*\S.*|.*\S.*[\s\ufeff]|"[^"]+"|'[^']+'""", re.DOTALL)
_MARK = re.compile(r"""[\s\ufeff"']""")
_ENSEMBL_ID = re.compile(ENSEMBL)
_ANY_ENSEMBL_ID = re.compile(r"ENS[A-Z]*\d{11}.*")  # transcripts and proteins too; ENSA is a gene symbol

_SYMBOL_COLUMNS = (
    "gene_symbols",
    "gene_symbol",
    "symbol",
    "symbols",
    "gene_name",
    "gene_names",
    "feature_name",
    "name",
)


@rule("BC401", "note")
def mixed_identifiers(context: Context) -> Iterator[Finding]:
    """Some genes are named by Ensembl id, others by symbol."""
    path, names = _names(context), context.identifiers
    others = names.number - len(names.ensembl)
    if names.ensembl and others:
        examples = (quoted(names.ensembl[0]),)
        yield found(path, f"{len(names.ensembl):,} Ensembl ids among {others:,} other names",
                    count=len(names.ensembl), examples=examples)  # fmt: skip


@rule("BC402", "warning")
def versioned_identifiers(context: Context) -> Iterator[Finding]:
    """Servers find genes by Ensembl ids without a version."""
    path, names = _names(context), context.identifiers
    if names.versioned:
        cut = r"{var}_names.str.replace(r'\.\d+$', '', regex=True)"
        fix = f"In a copy: {_renaming(path, cut)}, then check for duplicate names"
        yield found(path, f"{len(names.versioned):,} Ensembl ids have a version", count=len(names.versioned),
                    examples=tuple(map(quoted, names.versioned[:3])), fix=fix)  # fmt: skip


@rule("BC403", "warning")
def ids_instead_of_symbols(context: Context) -> Iterator[Finding]:
    """If genes are named by id although var has their symbols, a search for CD3D finds nothing."""
    path, names = _names(context), context.identifiers
    if not names.ensembl or len(names.ensembl) < 0.9 * names.number:
        return
    where = path.removesuffix("_names")
    column = _symbol_column(context.tables[where])
    if column is not None:
        fix = f"To send symbols: adata.biocolab.submit(gene_symbols={quoted(column)})"
        yield found(path, f"genes are named by Ensembl ids; {where}[{quoted(column)}] has their symbols", fix=fix)


@rule("BC404", "warning")
def species_mismatch(context: Context) -> Iterator[Finding]:
    """A study that is submitted under the wrong species is compared with the wrong databases."""
    for finding in species_findings(_names(context), context.identifiers, context.species):
        if not _is_transposed(*_axes(context)):  # barcodes are in upper case, like human genes
            yield finding


@rule("BC405", "note")
def mitochondrial_genes(context: Context) -> Iterator[Finding]:
    """Genes that a filter by ``mt_percentage`` counts."""
    path, names = _names(context), context.identifiers
    mitochondrial = names.mitochondrial
    if mitochondrial:
        yield found(path, f"{counted(len(mitochondrial), 'mitochondrial gene')}, used by the mt_percentage filter",
                    count=len(mitochondrial), examples=tuple(map(quoted, mitochondrial[:3])))  # fmt: skip
    elif names.number >= _WHOLE_TRANSCRIPTOME and not (context.filters and context.filters.limits_mitochondrial):
        yield found(
            path, "no gene has a mitochondrial name (MT-… or mt-…): a filter by mt_percentage would keep every cell"
        )


@rule("BC406", "warning")
def names_changed_by_a_spreadsheet(context: Context) -> Iterator[Finding]:
    """Gene names such as MARCH1 and SEPT2 that a spreadsheet turned into dates or powers of ten."""
    path, names = _names(context), context.identifiers
    if names.mangled:
        fix = "Restore the names from the original file; spreadsheets turn MARCH1, SEPT2 and DEC1 into dates"
        message = f"{counted(len(names.mangled), 'gene name')} that a spreadsheet turned into dates or numbers"
        yield found(path, message,
                    count=len(names.mangled), examples=tuple(map(quoted, names.mangled[:3])), fix=fix)  # fmt: skip


@rule("BC407", "warning")
def numbers_as_gene_names(context: Context) -> Iterator[Finding]:
    """Genes that are named by numbers cannot be found in the study."""
    path, names = _names(context), context.identifiers
    if names.number >= _FEWEST and names.numeric == names.number:
        where = path.removesuffix("_names")
        column = _symbol_column(context.tables[where])
        known = f"; {where}[{quoted(column)}] may have them" if column is not None else ""
        fix = f"Set the names of the genes in a copy: {_renaming(path, '[...]')}{known}"
        yield found(path, "all gene names are numbers", count=names.number, fix=fix)


@rule("BC408", "warning")
def genome_prefixes(context: Context) -> Iterator[Finding]:
    """Gene names with a genome prefix, as in 10x references of several species, cannot be found by symbol."""
    path, names = _names(context), context.identifiers
    if names.genomes:
        counted = ", ".join(f"{genome} {number:,}" for genome, number in names.genomes)
        several = "keep the cells and genes of one species, and " if len(names.genomes) > 1 else ""
        fix = f"In a copy, {several}remove the genome from the names"
        number = sum(times for _, times in names.genomes)
        yield found(path, f"gene names carry a genome prefix ({counted})", count=number, fix=fix)


@rule("BC409", "warning")
def transposed_matrix(context: Context) -> Iterator[Finding]:
    """An AnnData has cells as rows, but tables of counts often have them as columns."""
    path, (cells, genes) = _names(context), _axes(context)
    if _is_transposed(cells, genes):
        examples = (f"a cell {quoted(str(cells[0]))}", f"a gene {quoted(str(genes[0]))}")
        fix = "An AnnData has cells as rows and genes as columns: use adata.T.copy(), or df.T for a table"
        yield found(path, "the matrix looks transposed", examples=examples, fix=fix)


@rule("BC410", "warning", InvalidColumn)
def ids_among_genes(context: Context) -> Iterator[Finding]:
    """A barcode or index column of a table is not a gene; checks of the table itself report an error."""
    path = _names(context)
    if context.of_table is None and (ids := ids_among(context.suspects)):
        fix = "Drop them from a copy; for a table: pd.read_csv(path, index_col=0)"
        message = "barcode or index columns among the genes"
        yield found(path, message, count=len(ids), examples=tuple(map(quoted, ids[:3])), fix=fix)


@rule("BC411", "warning", InvalidColumn)
def annotations_among_genes(context: Context) -> Iterator[Finding]:
    """QC and annotation columns of a table are not genes; checks of the table itself report an error."""
    path = _names(context)
    if context.of_table is None and (sure := annotations_among(context.suspects)[0]):
        fix = "Drop them from a copy, and put them into obs"
        message = "QC or annotation columns among the genes"
        yield found(path, message, count=len(sure), examples=tuple(map(quoted, sure[:3])), fix=fix)


@rule("BC415", "warning")
def quotes_around_names(context: Context) -> Iterator[Finding]:
    """Quotes or spaces around names, left over from a table, keep a search from finding them."""
    where = _names(context)
    genes = context.tables[where.removesuffix("_names")].index
    for path, names in ((where, genes), ("obs_names", context.adata.obs_names)):
        some = looked_at(names)
        # Most names have no such mark anywhere, which one search tells.
        odd = [name for name in some if _MARKED.fullmatch(name)] if _MARK.search("|".join(some)) else []
        if odd:
            fix = f"In a copy: copy.{path} = copy.{path}.str.strip(' \\t\\r\\n\\ufeff\\xa0\"\\'')"
            if path == "raw.var_names":
                fix = "Remove them before setting raw"
            message = "names with quotes or spaces around them"
            yield found(path, message, count=len(odd), examples=tuple(map(quoted, odd[:3])), fix=fix)


def _axes(context: Context) -> tuple[pd.Index, pd.Index]:
    """The names of the cells and of the genes."""
    return context.tables["obs"].index, context.tables[_names(context).removesuffix("_names")].index


def _is_transposed(cells: pd.Index, genes: pd.Index) -> bool:
    return (_share(_BARCODE, genes) > 0.9 and _share(_BARCODE, cells) < 0.1) or _are_genes(cells, genes)


def _are_genes(cells: pd.Index, genes: pd.Index) -> bool:
    """Whether the cells have names like genes of any species, and the genes do not."""
    if len(cells) < _FEWEST:
        return False
    if _share(_ENSEMBL_ID, cells) > 0.9:
        return True
    # The names of the cells nearly always decide, and those of the genes are then not read.
    share = gene_share(cells)
    if share >= _LEAST_KNOWN and gene_share(genes) <= _FAR_LESS * share:
        return True
    return are_entrez(cells) and gene_share(genes) < _FAR_LESS and not are_entrez(genes)


def _share(pattern: re.Pattern[str], names: pd.Index) -> float:
    """Share of the first names that match; 0 if there are too few to decide."""
    first = [str(name) for name in names[:_LOOKED_AT]]
    return sum(pattern.fullmatch(name) is not None for name in first) / len(first) if len(first) >= _FEWEST else 0.0


def _names(context: Context) -> str:
    return f"{next(where for where in context.tables if where != 'obs')}_names"


def _renaming(path: str, names: str) -> str:
    """The statement that renames the genes; those of ``raw`` can only be changed through an AnnData."""
    if path == "var_names":
        return f"copy.var_names = {names.replace('{var}', 'copy.var')}"
    return f"raw = copy.raw.to_adata(); raw.var_names = {names.replace('{var}', 'raw.var')}; copy.raw = raw"


def _symbol_column(var: pd.DataFrame) -> str | None:
    """The first column of var that holds gene symbols, not ids or numbers; None without one."""
    for name in _SYMBOL_COLUMNS:
        column = var.get(name)
        if isinstance(column, pd.Series) and len(known := column.dropna()):
            first = str(known.iloc[0])
            if not _ANY_ENSEMBL_ID.fullmatch(first) and not first.isdecimal():
                return name
    return None


_TYPES = ("feature_types", "feature_type", "modality", "modalities", "type")
_GENOMES = ("genome", "genomes")

# As written by Cell Ranger, Seurat, muon and CELLxGENE.
_GENES = {"geneexpression", "gene", "genes", "rna", "gex", "mrna", "expression", "transcript", "transcripts"}

# A column feature_type may also hold biotypes, as in CELLxGENE. There, only these count as other features.
_OTHERS = {
    "antibodycapture", "antibody", "antibodies", "adt", "prot", "protein", "proteins", "hto", "hashtag", "hashtags",
    "multiplexingcapture", "crisprguidecapture", "crispr", "guide", "guides", "grna", "sgrna", "antigencapture",
    "custom", "peaks", "peak", "atac", "chromatinaccessibility", "abcapture", "cellhashing", "spikein", "ercc",
    "negativecontrolprobe", "negativecontrolcodeword", "unassignedcodeword", "deprecatedcodeword", "blankcodeword",
    "genomiccontrol", "negativecontrol", "systemcontrol", "blank",
}  # fmt: skip

_BIOTYPES = {"proteincoding", "lncrna", "mirna"}
_MOST_SHOWN = 6
_PEAK = re.compile(r"(?:chr)?(?:\d{1,2}|[XYM]|MT|GL[\d.]+|KI[\d.]+)[:_-]\d+[-_]\d+")
_SEVERAL = 0.1


@rule("BC413", "warning")
def other_features(context: Context) -> Iterator[Finding]:
    """Antibodies, guides and peaks are normalized together with the genes, as if they were genes."""
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
        fix = "They are normalized like genes"
        if genes:
            fix += f". To leave them out: {_keeping(where, column, genes)}"
        yield found(f"{where}[{quoted(column.name)}]", message, count=number, fix=fix)


def _peaks(where: str, names: pd.Index) -> Iterator[Finding]:
    """Without a column of types, ATAC peaks are recognized by their names."""
    some = looked_at(names)
    if some and sum(_PEAK.fullmatch(name) is not None for name in some) > _SEVERAL * len(some):
        number = sum(_PEAK.fullmatch(str(name)) is not None for name in names)
        example = next(name for name in some if _PEAK.fullmatch(name))
        message = f"{number:,} of {len(names):,} features are named like peaks, not genes"
        fix = "They are normalized like genes"
        if number < len(names) and where == "var":
            fix += f". To leave them out: adata[:, ~adata.var_names.str.match({quoted(_PEAK.pattern)})]"
        yield found(f"{where}_names", message, count=number, examples=(quoted(example),), fix=fix)


@rule("BC414", "warning")
def several_genomes(context: Context) -> Iterator[Finding]:
    """A study has one species, so that genes of several genomes do not belong together."""
    where, column = _column(context, _GENOMES)
    if column is None:
        return
    genomes = column.value_counts()
    if len(genomes) > 1:
        fix = f"To keep one of them: {_keeping(where, column, [genomes.index[0]])}"
        message = f"features of {len(genomes):,} genomes ({_counts(genomes)})"
        yield found(f"{where}[{quoted(column.name)}]", message, count=len(genomes), fix=fix)


def _column(context: Context, names: tuple[str, ...]) -> tuple[str, pd.Series | None]:
    """The first of these columns that var has, as text and without missing or empty values; None if nothing is left."""
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
    """The line of code that keeps the features of some kinds."""
    is_kept = f" == {quoted(kept[0])}" if len(kept) == 1 else f".isin({quoted(kept)})"
    if where == "var":
        return f"adata[:, adata.var[{quoted(column.name)}]{is_kept}]"
    return f"raw = adata.raw.to_adata(); raw[:, raw.var[{quoted(column.name)}]{is_kept}]"
