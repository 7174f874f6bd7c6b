"""Table file: the header and the first lines of a TSV, which servers read with genes in rows and cells in columns."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pandas as pd

from biocolab_accessor.check.gene_names import are_entrez, gene_share
from biocolab_accessor.check.identifiers import identify
from biocolab_accessor.check.report import Finding, Report, Severity
from biocolab_accessor.check.table_columns import annotations_among, are_row_numbers, ids_among
from biocolab_accessor.errors import CheckFailed, InvalidColumn, InvalidFile, InvalidNames, InvalidValues
from biocolab_accessor.naming import counted, listing

__all__ = ["check_table_file", "opened_text"]

# Findings that no rule about an AnnData makes, for the documentation.
CODES = {
    "BC801": (
        "error",
        "Structure of a file",
        "A table or a 10x file is not of the form that servers read; the path has the file, the line and the column.",
    ),
    "BC802": (
        "error",
        "Values in a file",
        "Values at the beginning of a table or a 10x file are missing, not numbers, infinite, or negative counts.",
    ),
    "BC803": ("warning", "Fractions in a 10x file", "10x files are submitted as counts, and the first values are not."),
}

_MOST_LINES = 500
_MOST_VALUES = 2_000_000
_FEWEST = 20
_WITH_COMMA = re.compile(r"-?\d+(?:,\d+)+(?:\.\d+)?")
_LEAST_KNOWN, _FAR_LESS = 0.15, 0.2
_MISSING = frozenset(["", "na", "nan", "n/a", "null", "none", "-", "#n/a"])
# Columns of featureCounts and of tables of annotated genes.
_OF_GENES = frozenset(
    """
    chr chrom chromosome start end strand length genelength txlength description genename genesymbol symbol entrezid
    entrez geneid biotype genebiotype genetype genestart geneend ensemblid ensembl
    """.split()  # noqa: SIM905
)


@dataclass
class _Seen:
    """What the first lines hold."""

    header: list[str]
    lines: int = 0
    genes: list[str] = field(default_factory=list)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    uneven: list[tuple[int, int]] = field(default_factory=list)


def opened_text(path: Path) -> IO[str]:
    """A text file, packed or not."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig")


def check_table_file(path: Path) -> Report:
    """Look at a table file before it is sent.

    Raises
    ------
    InvalidFile
        It is no text, or cannot be read.
    """
    try:
        with opened_text(path) as file:
            return Report(list(_findings(path.name, file)))
    except UnicodeDecodeError as error:
        msg = f"{path} is not a text file in UTF-8, which servers read: {error.reason} at byte {error.start:,}"
        raise InvalidFile(msg) from error
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} cannot be read: {error}. Copy or download it again"
        raise InvalidFile(msg) from error


def _findings(name: str, file: IO[str]) -> Iterator[Finding]:
    line = file.readline().rstrip("\r\n")
    if "\0" in line:
        yield _found("BC801", f"{name} line 1", "is not a line of text", "Give a table of tab-separated text")
        return
    header = _fields(line)
    if line.startswith("#") and len(header) < 2:
        fix = "Leave out the lines that begin with #: pd.read_csv(path, sep=…, comment='#', index_col=0)"
        yield _found("BC801", f"{name} line 1", "is a comment, where servers take the names of the cells from", fix)
        return
    if len(header) < 2:
        other = next((mark for mark in (",", ";", "|", " ") if line.count(mark)), "")
        what = f"no tab, but {other!r}: servers read tab-separated tables" if other else "one column only"
        fix = f"Write it with tabs: pd.read_csv(path, sep={other or ','!r}, index_col=0).to_csv('x.tsv', sep='\\t')"
        yield _found("BC801", f"{name} line 1", f"the header has {what}", fix)
        return
    seen = _read(header, file)
    if not seen.lines:
        yield _found("BC801", name, "there is a header, but no line of values", "Look at how it was written")
        return
    for number, fields in seen.uneven[:1]:
        message = f"has {counted(fields, 'field')}, the header {len(header)}"
        fix = "Look for tabs within names, or a line that was cut short"
        yield _found("BC801", f"{name} line {number}", message, fix, count=len(seen.uneven))
    yield from _values(name, seen)
    yield from _names(name, seen)


def _read(header: list[str], file: IO[str]) -> _Seen:
    seen = _Seen(header)
    values = 0
    for number, line in enumerate(file, 2):
        if seen.lines >= _MOST_LINES or values > _MOST_VALUES:
            break
        fields = _fields(line.rstrip("\r\n"))
        if fields == [""]:
            continue
        seen.lines += 1
        if seen.lines == 1 and len(fields) == len(header) + 1:
            seen.header = header = ["", *header]  # as R writes it, without a name for the column of names
        seen.genes.append(fields[0])
        if len(fields) != len(header):
            seen.uneven.append((number, len(fields)))
            continue
        values += len(fields)
        for column, text in zip(header[1:], fields[1:], strict=True):
            _look(seen, number, column, text)
    return seen


def _look(seen: _Seen, number: int, column: str, text: str) -> None:
    try:
        value = float(text)
        good = value - value == 0  # neither NaN nor infinite
    except ValueError:
        good = False
    if not good:
        seen.times[column] += 1
        seen.first.setdefault(column, (number, text))


def _fields(line: str) -> list[str]:
    return [text.strip().strip('"') for text in line.split("\t")]


def _values(name: str, seen: _Seen) -> Iterator[Finding]:
    of_genes = [column for column in seen.header[1:] if _plain(column) in _OF_GENES]
    for column, (number, text) in list(seen.first.items())[:5]:
        if column in of_genes:
            continue
        what = "is missing" if text.strip().casefold() in _MISSING else f"{text[:40]!r} is not a finite number"
        times = seen.times[column]
        every = f", as in {times:,} of the first {seen.lines:,} lines" if times > 1 else ""
        fix = "Take the column out" if times == seen.lines else "Fill it, or leave out the gene or the cell"
        if _WITH_COMMA.fullmatch(text):
            fix = "If the comma is decimal, pd.read_csv(path, sep='\\t', decimal=',', index_col=0), else thousands=','"
        yield _found("BC802", f"{name} line {number} column {column!r}", f"the value {what}{every}", fix, count=times,
                     error=InvalidValues)  # fmt: skip
    if of_genes:
        fix = "Take them out: df.drop(columns=[…]); every column but the first is read as a cell"
        message = f"columns that describe genes, not cells: {listing(of_genes, limit=5)}"
        yield _found("BC411", f"{name} line 1", message, fix, count=len(of_genes), error=InvalidColumn)


def _names(name: str, seen: _Seen) -> Iterator[Finding]:
    cells, genes = seen.header[1:], seen.genes
    twice = [cell for cell, times in Counter(cells).items() if times > 1]
    if twice:
        message = f"names of cells that occur more than once: {listing(twice, limit=3)}"
        yield _found("BC101", f"{name} line 1", message, "Make them unique", count=len(twice), error=InvalidNames)
    empty = [position for position, gene in enumerate(genes, 2) if not gene.strip()]
    if empty:
        message = f"{counted(len(empty), 'gene')} without a name"
        yield _found("BC102", f"{name} line {empty[0]} column 1", message, "Give every line the name of its gene",
                     count=len(empty), error=InvalidNames)  # fmt: skip
    again = [gene for gene, times in Counter(genes).items() if times > 1 and gene.strip()]
    if again:
        line = len(genes) + 1 - genes[::-1].index(again[0])
        message = f"genes that occur more than once: {listing(again, limit=3)}"
        yield _found("BC103", f"{name} line {line}", message, "Make them unique, or add them up", count=len(again),
                     severity="warning", error=InvalidNames)  # fmt: skip
    if mangled := identify(_index(genes)).mangled:
        line = genes.index(mangled[0]) + 2
        message = f"{counted(len(mangled), 'name')} like days or numbers, which a spreadsheet makes of genes"
        fix = "Take the names from the file that was there before; MARCH1, SEPT2 and DEC1 become days in a spreadsheet"
        yield _found("BC406", f"{name} line {line}", f"{message}: {listing(mangled, limit=3)}", fix, count=len(mangled),
                     severity="warning")  # fmt: skip
    ids = ids_among(cells)
    if ids:
        fix = "Write the table with its names as the index: pd.read_csv(path, index_col=0).to_csv('x.tsv', sep='\\t')"
        message = f"columns named like barcodes or an index among the cells: {listing(ids, limit=3)}"
        yield _found("BC410", f"{name} line 1", message, fix, count=len(ids), error=InvalidColumn)
    turned = "Servers read genes in rows: pd.read_csv(path, sep='\\t', index_col=0).T.to_csv('x.tsv', sep='\\t')"
    known, other = gene_share(genes), gene_share(cells)
    if len(cells) >= _FEWEST and other >= _LEAST_KNOWN and known <= _FAR_LESS * other:
        yield _found("BC409", f"{name} line 1", f"genes seem to be where cells are ({listing(cells, limit=2)})", turned,
                     severity="warning")  # fmt: skip
    elif are_row_numbers(_index(genes)) and not are_entrez(genes):
        fix = "Write the table with the names of its genes as the index: df.set_index('…').to_csv('x.tsv', sep='\\t')"
        message = f"the first column numbers the lines ({genes[0]} to {genes[-1]}), where names of genes belong"
        yield _found("BC410", f"{name} column 1", message, fix, error=InvalidColumn)
    sure = annotations_among(genes)[0] + [
        gene for gene in genes if gene.startswith(("__", "N_unmapped", "N_multimapping"))
    ]
    if sure:
        line = genes.index(sure[0]) + 2
        message = f"lines of QC or annotations, not genes: {listing(sure, limit=3)}"
        yield _found("BC411", f"{name} line {line}", message, "Take them out", count=len(sure), error=InvalidColumn)


def _index(names: list[str]) -> pd.Index:
    return pd.Index(names, dtype=object)


def _plain(text: str) -> str:
    return text.casefold().replace("_", "").replace(" ", "").replace(".", "")


def _found(
    code: str, path: str, message: str, fix: str, *, count: int = 1, severity: Severity = "error",
    error: type[CheckFailed] = CheckFailed,
) -> Finding:  # fmt: skip
    return Finding(code, severity, path, message, count, fix=fix, error=error)
