"""Table columns: which columns of an expression table are not genes, and whether its rows have names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.check.gene_names import gene_share, is_gene
from biocolab_accessor.check.name_list import NameList
from biocolab_accessor.check.report import Finding
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.naming import counted, listing, quoted

__all__ = ["annotations_among", "ids_among", "judge_table", "remedy_for_text", "suspects"]

# Findings that no rule about an AnnData makes, for the documentation.
CODES = {
    "BC412": (
        "warning",
        "Row numbers for barcodes",
        "A table whose index numbers its rows has lost its barcodes: the study's cells would be called 0, 1, 2.",
    )
}

_PLAIN = str.maketrans("", "", " ._-\t")
# No species has a gene of such a name; the case and what stands between the words do not matter.
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
# These may be anything, and are ids where their values are.
_MAYBE_ID = frozenset(
    ["", "id", "ids", "x", "v1", "1", "0", "label", "number", "nr", "no", "key", "uid", "idx", "i", "name", "#", "bc"]
)
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
    """.split()  # noqa: SIM905
)
_STARTS = ("pctcounts", "totalcounts", "log1ptotalcounts", "leiden", "louvain", "rnasnnres", "sctsnnres")
_MAYBE_ANNOTATION = frozenset(
    """
    cluster clusters clusterid batch batches sample samples sampleid donor donorid patient patientid condition
    treatment group groups phase area volume sex gender age tissue stage plate well library timepoint time day
    doublet eccentricity solidity total dose annotation subject individual lane replicate
    """.split()  # noqa: SIM905
)
_KNOWN = _ID | _ANNOTATION | _MAYBE_ANNOTATION
_FEW, _ENOUGH = 10, 20
_OTHERS = 50
_SELDOM = 0.1
_LOOSEST = 20
_MOST_NAMED = 5
# How many letters are looked at first, and the classes of what is not a letter.
_LETTERS = 4
_DIGIT, _LEFT_OUT, _FOREIGN, _PUNCTUATION = 27, 28, 29, 30


def _plain(name: Any) -> str:
    return str(name).translate(_PLAIN).casefold()


def _plains(names: Iterable[Any]) -> Iterator[tuple[Any, str]]:
    """Each name, and how it is compared; of tens of thousands at once, which takes a tenth of the time."""
    every = list(names)
    lines = "\n".join(map(str, every)).translate(_PLAIN).casefold().split("\n")
    return zip(every, lines if len(lines) == len(every) else map(_plain, every), strict=True)


def _is_id(name: str) -> bool:
    return name in _ID or (name.startswith(_NUMBERED) and _NUMBERED_ID.fullmatch(name) is not None)


def suspects(names: Iterable[Any] | NameList) -> list[Any]:
    """All names where one of them may be that of an id or an annotation, else nothing.

    Most genes are known not to be by their first four letters, which are looked at for all of them at once.
    """
    given = names if isinstance(names, NameList) else NameList(names)
    if not given.is_text:
        return given.every
    found = (_plain(given.texts[place]) for place in _places_by_letters(given))
    return given.every if any(name in _KNOWN or name.startswith((*_NUMBERED, *_STARTS)) for name in found) else []


def _places_by_letters(names: NameList) -> list[int]:
    """Which names may be one of those that are known, as far as their first letters tell."""
    classes, beginnings = _letters()
    key = classes[names.letter(0)].astype(np.uint32)
    inside = key != 0
    for place in range(1, _LETTERS):
        letter = classes[names.letter(place)] * inside  # nothing of the next line
        inside = letter != 0
        key = (key << 5) | letter
    places: list[int] = np.flatnonzero(beginnings[key]).tolist()
    return places


@cache
def _letters() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A class for each byte of UTF-8, and whether four of them may begin a name that is known."""
    classes = np.full(256, _FOREIGN, np.uint8)
    classes[:128] = _PUNCTUATION
    classes[ord("\n")] = 0
    for byte in range(128):
        letter = chr(byte).casefold()
        if letter.isalpha():
            classes[byte] = ord(letter) - ord("a") + 1
        elif letter.isdecimal():
            classes[byte] = _DIGIT
        elif ord(letter) in _PLAIN:
            classes[byte] = _LEFT_OUT
    beginnings = np.zeros((32,) * _LETTERS, np.bool_)
    for name in _KNOWN:
        beginnings[tuple(classes[list(name[:_LETTERS].ljust(_LETTERS, "\n").encode())])] = True
    for name in (*_NUMBERED, *_STARTS):
        beginnings[tuple(classes[list(name[:_LETTERS].encode())])] = True
    for axis in range(_LETTERS):
        # What is left out of a name, or may be the same letter in another form, stands for any.
        beginnings[(slice(None),) * axis + ([_LEFT_OUT, _FOREIGN],)] = True
    return classes, beginnings.ravel()


def ids_among(names: Iterable[Any]) -> list[Any]:
    """Names of features that are those of barcodes or of an index."""
    return [name for name, plain in _plains(names) if _is_id(plain)]


def annotations_among(names: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Names of features that are those of QC or annotations: for sure, and those that may be."""
    sure, maybe = [], []
    for name, plain in _plains(names):
        if plain in _ANNOTATION or plain.startswith(_STARTS):
            sure.append(name)
        elif plain in _MAYBE_ANNOTATION:
            maybe.append(name)
    return sure, maybe


def judge_table(table: pd.DataFrame) -> list[Finding]:
    """What is wrong with the names of a table of cells by genes, whose columns are numbers."""
    ids = list(_ids(table))
    findings = [Finding("BC410", severity, path, message, fix=fix, error=InvalidColumn)
                for severity, path, message, fix in ids]  # fmt: skip
    taken = {path for _, path, _, _ in ids}
    names = [name for name in table.columns if _place(name) not in taken]
    sure, maybe = annotations_among(names)
    if sure:
        findings.append(_annotations(sure, "error", "QC or annotations, not genes"))
    if maybe:
        findings.append(_annotations(maybe, "warning", "perhaps annotations, not genes"))
    if are_row_numbers(table.index):
        fix = (
            "Give the cells their barcodes: pd.read_csv(path, index_col=0), or df.set_index('…') with the column that "
            "has them"
        )
        message = f"cells are numbered ({table.index[0]} to {table.index[-1]}), as rows without names are"
        findings.append(Finding("BC412", "warning", "index", message, count=len(table), fix=fix))
    return findings


def remedy_for_text(table: pd.DataFrame, bad: list[Any]) -> str:
    """What to do about columns of text: the first is often the names, of cells or of genes."""
    first = table.columns[0]
    column = table.iloc[:, 0]
    if first in bad and isinstance(first, str) and column.is_unique and len(column):
        turned = ".T" if gene_share(column) > 2 * gene_share(table.columns[1:]) else ""
        what = "genes, which belong into the columns" if turned else "cells"
        return (
            f"The first column seems to have the names of {what}: pd.read_csv(path, index_col=0){turned}, or "
            f"df.set_index({quoted(first)}){turned}. "
        )
    return ""


def are_row_numbers(index: pd.Index) -> bool:
    """Whether names are the numbers of rows, all of them or those that a filter has left."""
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
    fix = f"Take them out: df.drop(columns={quoted(dropped)}), and send them with submit_metadata"
    return Finding("BC411", severity, "columns", message, count=len(names), fix=fix, error=InvalidColumn)


def _place(name: Any) -> str:
    return f"columns[{quoted(name)}]"


def _ids(table: pd.DataFrame) -> Iterator[tuple[Any, str, str, str]]:
    """Severity, path, message and fix for every column of ids."""
    for position, name in enumerate(table.columns):
        plain = _plain(name)
        if not _is_id(plain) and position:
            continue
        values = _whole(table.iloc[:, position])
        if _is_id(plain):
            severity = "error" if values is not None else "warning"
            what = "holds whole numbers" if values is not None else "holds fractions"
            yield (
                severity,
                _place(name),
                f"is named like barcodes or an index and {what}: not a gene",
                _remedy(name, position),
            )
        elif values is not None and (severity := _as_ids(table, plain, str(name), values)):
            message = "the first column numbers the rows: not a gene" if severity == "error" else (
                "the first column has another whole number in every row, as ids have")  # fmt: skip
            yield severity, _place(name), message, _remedy(name, position)


def _remedy(name: Any, position: int) -> str:
    way = "pd.read_csv(path, index_col=0), or " if not position else ""
    return f"Make it the index, or leave it out: {way}df.set_index({quoted(name)}) or df.drop(columns=[{quoted(name)}])"


def _as_ids(table: pd.DataFrame, plain: str, name: str, values: NDArray[Any]) -> str:
    """How sure it is that the first column has ids: ``"error"``, ``"warning"``, or empty where it has counts."""
    if len(values) < 2 or len(np.unique(values)) < len(values):
        return ""
    steps = np.diff(values)
    if bool((steps == 1).all()) and values[0] in (0, 1):
        if plain in _MAYBE_ID:
            return "error"
        if len(values) >= _FEW:
            return "warning" if is_gene(name) else "error"
    if len(values) < (_FEW if plain in _MAYBE_ID else _ENOUGH) or is_gene(name) or _often_distinct(table):
        return ""
    return "error" if plain in _MAYBE_ID or bool((steps > 0).all()) else "warning"


def _often_distinct(table: pd.DataFrame) -> bool:
    """Whether other columns have another number in every row too, as those of bulk samples have."""
    others = table.iloc[:, 1 : 1 + _OTHERS]
    distinct = sum(others.iloc[:, i].is_unique for i in range(others.shape[1]))
    return distinct > _SELDOM * max(1, others.shape[1])


def _whole(column: pd.Series) -> NDArray[Any] | None:
    """The values where all are whole numbers, else None."""
    if pd.api.types.is_bool_dtype(column.dtype) or column.isna().any():
        return None
    values = column.to_numpy()
    if values.dtype.kind not in "iu":
        values = column.to_numpy(np.float64)
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            return None
    return values
