"""Tables: columns and rows of expression tables, in memory and in TSV files."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.check.genes import (
    LEFT_OUT,
    NameList,
    are_entrez,
    gene_share,
    identify,
    is_gene,
    places_by_letters,
    species_findings,
)
from biocolab_accessor.check.report import Finding, Report, finding
from biocolab_accessor.errors import InvalidColumn, InvalidFile, InvalidNames, InvalidValues
from biocolab_accessor.messages import counted, listing, quoted

# No species has genes with these names. Case and the characters between words do not matter.
_ID = frozenset(
    """
    index cell cells cellid cellids cellname cellnames cellbarcode cellbarcodes cellindex cellnumber cellno
    celllabel celluuid barcode barcodes fov fovid objectid objectnumber nucleusid entityid spotid spot spots
    rowname rownames rowindex rowid rownumber obsname obsnames observation observations obsid sampleindex
    unnamed cellidentifier cellcode barcodeid originalindex
    """.split()  # noqa: SIM905
)

_NUMBERED = ("unnamed", "level")
_NUMBERED_ID = re.compile(r"unnamed:\d+(?:level\d+)?|level\d+|unnamed\d+")

# These names are ids only if their values look like ids.
_MAYBE_ID = frozenset(
    ["", "id", "ids", "x", "v1", "1", "0", "label", "number", "nr", "no", "key", "uid", "idx", "i", "name", "#", "bc"]
)

_NAMED_ID = re.compile(r"[_. -][Ii][Dd]$|[a-z]I[Dd]$")  # label_id, segmentationID

_ANNOTATION = frozenset(
    """
    ncounts ncount ngenes ngene numi numis ncountrna nfeaturerna ncountspatial nfeaturespatial ncountsct
    nfeaturesct ncountadt nfeatureadt nfeatures totalcounts totalcount totalumis totalgenes librarysize
    libsize ngenesbycounts log1ptotalcounts log1pngenesbycounts percentmt percentmito percentmitochondrial
    pctmt pctmito percmito mitopercent mtpercent percentribo pctribo percenths doubletscore doubletscores
    predicteddoublet predicteddoublets scrubletscore leiden louvain seuratclusters phenograph celltype
    celltypes celltypeid celllabelid cellontology cellontologyid origident sscore g2mscore umap1 umap2 tsne1
    tsne2 centroidx centroidy xcentroid ycentroid centerx centery centerxlocalpx centerylocalpx
    centerxglobalpx centeryglobalpx minx maxx miny maxy cellarea nucleusarea transcriptcounts
    controlprobecounts controlcodewordcounts unassignedcodewordcounts nucleuscount deprecatedcodewordcounts
    bcwells bc1well bc2well bc3well bc1wind bc2wind bc3wind tscpcount mreadcount subsetsmitosum
    subsetsmitodetected subsetsmitopercent ncountatac nfeatureatac ncountpeaks nfeaturepeaks ncounthto nfeaturehto
    tssenrichment nucleosomesignal blacklistfraction peakregionfragments fripscore scvibatch scvilabels gexbarcode
    atacbarcode celltypeexperimental sampletag samplename iscell
    genomiccontrolcounts sizefactor sizefactors arrayrow arraycol intissue pxlrowinfullres pxlcolinfullres
    mtfrac mitofrac mtfraction mitofraction fracmt fracmito fractionmt fractionmito bulklabels
    mitoratio log10genesperumi majorityvoting predictedlabels overclustering confscore dptpseudotime latenttime
    isdoublet doubletclass aspectratio celltypeontologytermid diseaseontologytermid selfreportedethnicity
    """.split()  # noqa: SIM905
)

_STARTS = (
    "kmeans", "scdblfinder", "pctcounts", "totalcounts", "log1ptotalcounts", "leiden", "louvain",
    "rnasnnres", "sctsnnres", "integratedsnnres", "wsnnres", "dfclassifications", "predictedcelltype",
    "celltypel1", "celltypel2", "celltypel3", "pann0", "xumap", "xtsne", "xpca",
)  # fmt: skip

_MAYBE_ANNOTATION = frozenset(
    """
    cluster clusters clusterid batch batches sample samples sampleid donor donorid patient patientid condition
    treatment group groups phase area volume sex gender age tissue stage plate well library timepoint time day
    doublet eccentricity solidity total dose annotation subject individual lane replicate disease organism assay
    stim width height meandapi maxdapi
    """.split()  # noqa: SIM905
)

_KNOWN = _ID | _ANNOTATION | _MAYBE_ANNOTATION
_FEW, _ENOUGH = 10, 20
_OTHERS = 50
_SELDOM = 0.1
_LOOSEST = 20
_MOST_NAMED = 5


def _plain_name(name: Any) -> str:
    return str(name).translate(LEFT_OUT).casefold()


def _plains(names: Iterable[Any]) -> Iterator[tuple[Any, str]]:
    """Each name with its form for comparison; all at once takes a tenth of the time."""
    every = list(names)
    lines = "\n".join(map(str, every)).translate(LEFT_OUT).casefold().split("\n")
    return zip(every, lines if len(lines) == len(every) else map(_plain_name, every), strict=True)


def _is_id(name: str) -> bool:
    return name in _ID or (name.startswith(_NUMBERED) and _NUMBERED_ID.fullmatch(name) is not None)


def suspects(names: Iterable[Any] | NameList) -> list[Any]:
    """All names if one of them may be the name of an id or annotation column, else nothing."""
    # The first four letters, looked at for all names at once, rule out most genes.
    given = names if isinstance(names, NameList) else NameList(names)
    if not given.is_text:
        return given.every
    found = (_plain_name(given.texts[place]) for place in places_by_letters(given, _KNOWN, (*_NUMBERED, *_STARTS)))
    return given.every if any(name in _KNOWN or name.startswith((*_NUMBERED, *_STARTS)) for name in found) else []


def ids_among(names: Iterable[Any]) -> list[Any]:
    """Names of features that are names of barcode or index columns."""
    return [name for name, plain in _plains(names) if _is_id(plain)]


def annotations_among(names: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Names of features that are certainly, and that may be, names of QC or annotation columns."""
    sure, maybe = [], []
    for name, plain in _plains(names):
        if plain in _ANNOTATION or plain.startswith(_STARTS):
            sure.append(name)
        elif plain in _MAYBE_ANNOTATION:
            maybe.append(name)
    return sure, maybe


def judge_table(table: pd.DataFrame) -> list[Finding]:
    """Findings about the names of a table of cells by genes that has only numeric columns."""
    ids = list(_ids(table))
    findings = [Finding("BC410", severity, path, message, fix=fix, error=InvalidColumn)
                for severity, path, message, fix in ids]  # fmt: skip
    taken = {path for _, path, _, _ in ids}
    names = [name for name in table.columns if _place(name) not in taken]
    sure, maybe = annotations_among(names)
    if sure:
        findings.append(_annotations(sure, "error", "QC or annotations, not genes"))
    if maybe:
        findings.append(_annotations(maybe, "warning", "possible annotations, not genes"))
    if are_row_numbers(table.index):
        fix = (
            "Use the barcodes as the index: pd.read_csv(path, index_col=0), or df.set_index('…') with the column that "
            "has them"
        )
        message = f"cells are named by row numbers ({table.index[0]} to {table.index[-1]}), not by barcodes"
        findings.append(Finding("BC412", "warning", "index", message, count=len(table), fix=fix))
    return findings


def remedy_for_text(table: pd.DataFrame, bad: list[Any]) -> str:
    """What to do about columns of text: the first one often holds the names of cells or genes."""
    first = table.columns[0]
    column = table.iloc[:, 0]
    if first in bad and isinstance(first, str) and column.is_unique and len(column):
        turned = ".T" if gene_share(column) > 2 * gene_share(table.columns[1:]) else ""
        what = "genes, which belong in the columns" if turned else "cells"
        return (
            f"The first column seems to hold the names of {what}: pd.read_csv(path, index_col=0){turned}, or "
            f"df.set_index({quoted(first)}){turned}. "
        )
    return ""


def are_row_numbers(index: pd.Index) -> bool:
    """Whether names are row numbers, all of them or those that a filter kept."""
    if not len(index):
        return False
    if isinstance(index, pd.RangeIndex):
        return index.start in (0, 1) and index.step == 1
    labels = [str(name) for name in index]
    if not all(name.isascii() and name.isdecimal() and len(name) < 16 for name in labels):
        return False
    numbers = np.array(labels, np.int64)
    rising = bool((np.diff(numbers) > 0).all())
    return rising and len(numbers) >= _FEW and int(numbers[-1]) < _LOOSEST * len(numbers)


def _annotations(names: list[Any], severity: Any, what: str) -> Finding:
    message = f"{counted(len(names), 'column')} of {what}: {listing(map(str, names), limit=_MOST_NAMED)}"
    dropped = [str(name) for name in names[:_MOST_NAMED]]
    fix = f"Drop them: df.drop(columns={quoted(dropped)}), and send them with submit_metadata"
    return Finding("BC411", severity, "columns", message, count=len(names), fix=fix, error=InvalidColumn)


def _place(name: Any) -> str:
    return f"columns[{quoted(name)}]"


def _ids(table: pd.DataFrame) -> Iterator[tuple[Any, str, str, str]]:
    """Severity, path, message and fix for every column of ids."""
    for position, name in enumerate(table.columns):
        plain = _plain_name(name)
        if not _is_id(plain) and position and not _NAMED_ID.search(str(name)):
            continue
        values = _whole(table.iloc[:, position])
        if _is_id(plain):
            severity, what = ("error", "whole numbers") if values is not None else ("warning", "fractions")
            message = f"is named like a barcode or index column and holds {what}: not a gene"
            yield severity, _place(name), message, _remedy(name, position)
        elif values is not None and (severity := _as_ids(table, position, plain, values)):
            in_order = bool((np.diff(values) == 1).all())
            numbers = "numbers the rows" if in_order else "has a different whole number in every row, like ids"
            what = "is named like ids and" if position else "the first column"
            yield severity, _place(name), f"{what} {numbers}: not a gene", _remedy(name, position)


def _remedy(name: Any, position: int) -> str:
    way = "pd.read_csv(path, index_col=0), or " if not position else ""
    return f"Make it the index, or drop it: {way}df.set_index({quoted(name)}) or df.drop(columns=[{quoted(name)}])"


def _as_ids(table: pd.DataFrame, position: int, plain: str, values: NDArray[Any]) -> str:
    """Whether a column certainly (``"error"``) or probably (``"warning"``) holds ids; empty if not."""
    if len(values) < 2 or len(np.unique(values)) < len(values):
        return ""
    name = str(table.columns[position])
    may_be_id = plain in _MAYBE_ID or _NAMED_ID.search(name) is not None
    steps = np.diff(values)
    if bool((steps == 1).all()) and values[0] in (0, 1):
        if may_be_id:
            return "error"
        if len(values) >= _FEW:
            return "warning" if is_gene(name) else "error"
    if len(values) < (_FEW if may_be_id else _ENOUGH) or is_gene(name) or _often_distinct(table, position):
        return ""
    return "error" if may_be_id or bool((steps > 0).all()) else "warning"


def _often_distinct(table: pd.DataFrame, position: int) -> bool:
    """Whether other columns have a different number in every row too, like those of bulk samples."""
    others = table.iloc[:, [place for place in range(min(1 + _OTHERS, table.shape[1])) if place != position]]
    distinct = sum(others.iloc[:, i].is_unique for i in range(others.shape[1]))
    return distinct > _SELDOM * max(1, others.shape[1])


def _whole(column: pd.Series) -> NDArray[Any] | None:
    """The values if all are whole numbers, else None."""
    if pd.api.types.is_bool_dtype(column.dtype) or column.isna().any():
        return None
    values = column.to_numpy()
    if values.dtype.kind not in "iu":
        values = column.to_numpy(np.float64)
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            return None
    return values


# Findings without a rule about an AnnData, for the documentation.
CODES = {
    "BC412": (
        "warning",
        "Row numbers for barcodes",
        "A table whose index numbers its rows has lost its barcodes: the cells of the study would be named 0, 1, 2.",
    ),
    "BC801": (
        "error",
        "Structure of a file",
        "Servers cannot read a table or 10x file with this structure; the path names the file, line and column.",
    ),
    "BC802": (
        "error",
        "Values in a file",
        "Values at the beginning of a table or 10x file are missing, not numbers, infinite, or negative counts.",
    ),
    "BC803": (
        "warning",
        "Fractions in a 10x file",
        "The first values are not whole numbers, but it is sent as counts.",
    ),
}

_MOST_LINES = 500
_MOST_VALUES = 2_000_000
_FEWEST = 20
_WITH_COMMA = re.compile(r"-?\d+(?:,\d+)+(?:\.\d+)?")
_OF_READS = ("__", "N_unmapped", "N_multimapping")
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
    """What the first lines of a table file hold."""

    header: list[str]
    lines: int = 0
    genes: list[str] = field(default_factory=list)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    uneven: list[tuple[int, int]] = field(default_factory=list)


def opened_text(path: Path) -> IO[str]:
    """A text file, compressed by gzip or not."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig")


def check_table_file(path: Path, species: str | None = None) -> Report:
    """Check a table file before it is sent; InvalidFile if it is not text or cannot be read."""
    try:
        with opened_text(path) as file:
            separator = _separator(path, file)
            lines = tabbed_lines(path, file) or file
            return Report(list(_findings(path.name, lines, species, separator)))
    except UnicodeDecodeError as error:
        msg = f"{path} is not a text file in UTF-8, which servers read: {error.reason} at byte {error.start:,}"
        raise InvalidFile(msg) from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        msg = f"{path} cannot be read: {error}. Copy or download it again"
        raise InvalidFile(msg) from error


def tabbed_lines(path: Path, file: IO[str]) -> Iterator[str] | None:
    """The lines of a .csv file with tabs, which servers read; None if it is another file or has tabs already."""
    separator = _separator(path, file)
    if separator == "\t":
        return None
    # A tab within a name would become another field.
    return ("\t".join(text.replace("\t", " ") for text in row) + "\n" for row in csv.reader(file, delimiter=separator))


def _separator(path: Path, file: IO[str]) -> str:
    """A comma or semicolon in a .csv file with one of them, otherwise a tab."""
    if not path.name.casefold().removesuffix(".gz").endswith(".csv"):
        return "\t"
    header = file.readline()
    file.seek(0)
    separator = max(",;", key=header.count)
    return "\t" if "\t" in header or separator not in header else separator


def _findings(name: str, file: Iterator[str], species: str | None, separator: str) -> Iterator[Finding]:
    reading = f"pd.read_csv(path, sep={separator!r}, "
    line = next(file, "").rstrip("\r\n")
    if "\0" in line:
        yield finding("BC801", f"{name} line 1", "is not a line of text", "Use a table of tab-separated text")
        return
    header = _fields(line)
    if line.startswith("#") and len(header) < 2:
        fix = "Remove the lines that begin with #: pd.read_csv(path, sep=…, comment='#', index_col=0)"
        yield finding("BC801", f"{name} line 1", "is a comment, but servers expect the names of the cells", fix)
        return
    if len(header) < 2:
        other = next((mark for mark in (",", ";", "|", " ") if line.count(mark)), "")
        what = f"no tabs, but {other!r}: servers read tab-separated tables" if other else "only one column"
        fix = f"Write it with tabs: pd.read_csv(path, sep={other or ','!r}, index_col=0).to_csv('x.tsv', sep='\\t')"
        yield finding("BC801", f"{name} line 1", f"the header has {what}", fix)
        return
    seen = _read(header, file)
    if not seen.lines:
        yield finding("BC801", name, "has a header, but no values", "Check how the file was written")
        return
    for number, fields in seen.uneven[:1]:
        message = f"has {counted(fields, 'field')}, but the header has {len(header)}"
        fix = "Look for tabs within names, or for a truncated line"
        yield finding("BC801", f"{name} line {number}", message, fix, count=len(seen.uneven))
    yield from _values(name, seen, reading)
    yield from _names(name, seen, reading, species)


def _read(header: list[str], file: Iterator[str]) -> _Seen:
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
            seen.header = header = ["", *header]  # as written by R, where the column of names has no name
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


def _values(name: str, seen: _Seen, reading: str) -> Iterator[Finding]:
    of_genes = [column for column in seen.header[1:] if _plain(column) in _OF_GENES]
    for column, (number, text) in list(seen.first.items())[:5]:
        if column in of_genes:
            continue
        what = "is missing" if text.strip().casefold() in _MISSING else f"{text[:40]!r} is not a finite number"
        times = seen.times[column]
        every = f", as in {times:,} of the first {seen.lines:,} lines" if times > 1 else ""
        fix = "Drop the column" if times == seen.lines else "Fill it, or drop the gene or the cell"
        if _WITH_COMMA.fullmatch(text):
            fix = f"For a decimal comma: {reading}decimal=',', index_col=0); else thousands=','"
        yield finding("BC802", f"{name} line {number} column {column!r}", f"the value {what}{every}", fix, count=times,
                     error=InvalidValues)  # fmt: skip
    if of_genes:
        fix = "Drop them: df.drop(columns=[…]); servers read every column but the first as a cell"
        message = f"columns that describe genes, not cells: {listing(of_genes, limit=5)}"
        yield finding("BC411", f"{name} line 1", message, fix, count=len(of_genes), error=InvalidColumn)


def _names(name: str, seen: _Seen, reading: str, species: str | None) -> Iterator[Finding]:
    cells, genes = seen.header[1:], seen.genes
    twice = [cell for cell, times in Counter(cells).items() if times > 1]
    if twice:
        message = f"duplicate cell names: {listing(twice, limit=3)}"
        yield finding("BC101", f"{name} line 1", message, "Make them unique", count=len(twice), error=InvalidNames)
    empty = [position for position, gene in enumerate(genes, 2) if not gene.strip()]
    if empty:
        message = f"{counted(len(empty), 'gene')} without a name"
        yield finding("BC102", f"{name} line {empty[0]} column 1", message, "Begin each line with the name of its gene",
                      count=len(empty), error=InvalidNames)  # fmt: skip
    again = [gene for gene, times in Counter(genes).items() if times > 1 and gene.strip()]
    if again:
        line = len(genes) + 1 - genes[::-1].index(again[0])
        message = f"duplicate gene names: {listing(again, limit=3)}"
        yield finding("BC103", f"{name} line {line}", message, "Make them unique, or add their values",
                      count=len(again), severity="warning", error=InvalidNames)  # fmt: skip
    kinds = identify(genes)
    if mangled := kinds.mangled:
        line = genes.index(mangled[0]) + 2
        message = f"{counted(len(mangled), 'gene name')} that a spreadsheet turned into dates or numbers"
        fix = "Restore the names from the original file; spreadsheets turn MARCH1, SEPT2 and DEC1 into dates"
        yield finding("BC406", f"{name} line {line}", f"{message}: {listing(mangled, limit=3)}", fix,
                      count=len(mangled), severity="warning")  # fmt: skip
    if ids := ids_among(cells):
        fix = f"Write the table with its names as the index: {reading}index_col=0).to_csv('x.tsv', sep='\\t')"
        message = f"barcode or index columns among the cells: {listing(ids, limit=3)}"
        yield finding("BC410", f"{name} line 1", message, fix, count=len(ids), error=InvalidColumn)
    turned = f"Servers expect genes in rows: {reading}index_col=0).T.to_csv('x.tsv', sep='\\t')"
    known, other = gene_share(genes), gene_share(cells)
    if len(cells) >= _FEWEST and other >= _LEAST_KNOWN and known <= _FAR_LESS * other:
        message = f"the table looks transposed: genes in columns ({listing(cells, limit=2)})"
        yield finding("BC409", f"{name} line 1", message, turned, severity="warning")
    elif are_row_numbers(_index(genes)) and not are_entrez(genes):
        fix = "Write the table with the names of its genes as the index: df.set_index('…').to_csv('x.tsv', sep='\\t')"
        message = f"the first column holds row numbers ({genes[0]} to {genes[-1]}), not gene names"
        yield finding("BC410", f"{name} column 1", message, fix, error=InvalidColumn)
    else:
        yield from species_findings(f"{name} column 1", kinds, species)
    if sure := annotations_among(genes)[0] + [gene for gene in genes if gene.startswith(_OF_READS)]:
        line = genes.index(sure[0]) + 2
        message = f"lines of QC or annotations, not genes: {listing(sure, limit=3)}"
        yield finding("BC411", f"{name} line {line}", message, "Remove them", count=len(sure), error=InvalidColumn)


def _index(names: list[str]) -> pd.Index:
    return pd.Index(names, dtype=object)


def _plain(text: str) -> str:
    return text.casefold().replace("_", "").replace(" ", "").replace(".", "")
