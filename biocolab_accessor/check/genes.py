"""Genes: whether names are names of genes, and of which species."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.check.report import Finding, finding
from biocolab_accessor.messages import quoted

_PADDING = 8


class NameList:
    """Names, those of them that are text, and these one below the other.

    A call for each of 64,000 names takes longer than all that is asked of them.

    Parameters
    ----------
    names
        Of features.
    """

    def __init__(self, names: Iterable[Any]) -> None:
        self.every: list[Any] = names.tolist() if isinstance(names, pd.Index) else list(names)
        texts = self.every
        try:
            joined = "\n".join(texts)
        except TypeError:
            texts = [name for name in texts if isinstance(name, str)]
            joined = "\n".join(texts)
        if joined.count("\n") >= max(1, len(texts)):
            texts = [name.replace("\n", " ") for name in texts]  # what would break a line
            joined = "\n".join(texts)
        self.texts: list[str] = texts
        self.lines = f"\n{joined}\n"

    @property
    def is_text(self) -> bool:
        """Whether every name is text of one line."""
        return self.texts is self.every

    def letter(self, place: int) -> NDArray[np.uint8]:
        """The byte at a place of each text, in UTF-8; from the end of a text on it is one of what follows."""
        letters: NDArray[np.uint8] = self._encoded[self._starts + place]
        return letters

    def those(self, chosen: NDArray[np.bool_]) -> str:
        """Some of the texts as lines."""
        return "\n".join(["", *(self.texts[place] for place in np.flatnonzero(chosen).tolist()), ""])

    @cached_property
    def _encoded(self) -> NDArray[np.uint8]:
        return np.frombuffer(f"{self.lines}{' ' * _PADDING}".encode("utf-8", "replace"), np.uint8)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        ends = np.flatnonzero(self._encoded == ord("\n"))
        starts: NDArray[np.intp] = ends[: len(self.texts)] + 1
        return starts


# Characters that do not matter in the name of a column.
LEFT_OUT = str.maketrans("", "", " ._-\t")
# How many letters are looked at first, and the classes of what is not a letter.
_LETTERS = 4
_DIGIT, _LEFT_OUT, _FOREIGN, _PUNCTUATION = 27, 28, 29, 30


def places_by_letters(names: NameList, known: frozenset[str], starts: tuple[str, ...]) -> list[int]:
    """Positions of names that may be known ones or begin like ``starts``, judging by their first letters."""
    classes, beginnings = _letters(known, starts)
    key = classes[names.letter(0)].astype(np.uint32)
    inside = key != 0
    for place in range(1, _LETTERS):
        letter = classes[names.letter(place)] * inside  # nothing of the next line
        inside = letter != 0
        key = (key << 5) | letter
    places: list[int] = np.flatnonzero(beginnings[key]).tolist()
    return places


@cache
def _letters(known: frozenset[str], starts: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A class for each byte of UTF-8, and whether four of them may begin a known name."""
    classes = np.full(256, _FOREIGN, np.uint8)
    classes[:128] = _PUNCTUATION
    classes[ord("\n")] = 0
    for byte in range(128):
        letter = chr(byte).casefold()
        if letter.isalpha():
            classes[byte] = ord(letter) - ord("a") + 1
        elif letter.isdecimal():
            classes[byte] = _DIGIT
        elif ord(letter) in LEFT_OUT:
            classes[byte] = _LEFT_OUT
    beginnings = np.zeros((32,) * _LETTERS, np.bool_)
    for name in known:
        beginnings[tuple(classes[list(name[:_LETTERS].ljust(_LETTERS, "\n").encode())])] = True
    for name in starts:
        beginnings[tuple(classes[list(name[:_LETTERS].encode())])] = True
    for axis in range(_LETTERS):
        # Ignored characters, and those that may be another form of a letter, match any.
        beginnings[(slice(None),) * axis + ([_LEFT_OUT, _FOREIGN],)] = True
    return classes, beginnings.ravel()


_MOST = 500
_FEWEST_STEMS = 5

# Ids of databases that show what they are, alone or with a symbol before or after them.
_ENSEMBL = r"ENS(?:[A-Z]{3,6})?[GTP]\d{11}(?:\.\d+)?"

_ID = re.compile(
    rf"{_ENSEMBL}(?:[|_:;, -].+)?|.+[|_:; (]{_ENSEMBL}\)?"
    r"|FBgn\d{7}(?:[|_:].+)?|WBGene\d{8}(?:[|_:].+)?|.+[|_](?:FBgn\d{7}|WBGene\d{8})"
    r"|AT[1-5MC]G\d{5}(?:\.\d+)?|Y[A-P][LR]\d{3}[WC](?:-[A-Z])?|ZDB-GENE-\d{6}-\d+"
    r"|(?:MGI|HGNC|RGD|SGD|Xenbase):[A-Z]*-?\w+|[NX][MR]_\d{5,9}(?:\.\d+)?|LOC\d{5,9}|Gm\d{3,5}"
    r"|[A-Z0-9]\d{6}[A-Z]\d{2}Rik\w*|C[GR]\d{4,5}|(?:lncRNA|asRNA|tRNA|snoRNA|snRNA|mt):[\w:.-]+"
    r"|A[CLPFDJ]\d{6}\.\d{1,2}|RP\d{1,2}-\d+[A-Z]\d+\.\d+|[A-Z]{1,2}\d{1,3}[A-Z]{1,2}\d{1,2}[A-Z]?\.\d{1,2}[a-z]?"
    r"|(?:GRCh3[78]|GRCm3[89]|hg19|hg38|mm9|mm10|mm39)_+\w.*|(?:si:(?:ch|dkey)|zgc:)[\w-]+"
    r"|chr(?:\d{1,2}|[XYM])[:_-]\d+[-_]\d+"  # a peak
)

# Families of symbols, written CD3D for human, Cd3d for mouse and rat, cd3d for fish.
_FAMILY = re.compile(
    r"(?:ZNF|ZFP|RPL|RPS|MRPL|MRPS|SLC|TMEM|CCDC|FAM|KRT|KRTAP|LINC|COL|CYP|NDUF|ATP|COX|UQCR|H[1234][ABC]|TAS2R|"
    r"OR|OLFR|IGH[VDJGAM]|IGK[VJC]|IGL[VJC]|TR[ABDG][VJC]|CCL|CXCL|CCR|CXCR|IL|TNFRSF|TNFSF|TNFAIP|IFN[AG]|"
    r"IFIT|IFI|IRF|STAT|SOX|PAX|HOX[ABCD]|FOX[A-S]|GATA|KLF|WNT|FGFR?|BMP|SMAD|MAP[1234]K|MAPK|CDKN?|CDC|"
    r"CCN[A-Y]|CD|ITG[ABLMX]|ADAM|ADAMTS|MMP|SERPIN[A-I]|PSM[A-G]|EIF|HSPA|HSPB|DNAJ[ABC]|UBE2|USP|TRIM|RAB|"
    r"ARHG(?:AP|EF)|PCDH[ABG]?|CDH|CLDN|KCN[A-Z]|SCN|CACN[AB]|GABR[ABGD]|GRI[AKMN]|CHRN[AB]|ADR[AB]|HTR|DRD|"
    r"POL[A-R]|GPR|S100[AB]?|ANXA|FCGR|FCER|KLR[A-K]|LILR[AB]|NKX|SEC|TUB[AB]|MYH|MYL|TPM|WDR|ZC3H|ZBTB|ANKRD|"
    r"LRRC|TTC|RBM|PPP[1-6]R?|PRKC?|PTPN|PTPR|DUSP|GNA|GNB|GNG|RGS|SNX|VPS|TBC1D|KIF|MT|GSTM?|ALDH|ABC[A-G]|"
    r"AKR|UGT|SULT|ACSL|ACOT|HSD|PLA2G|PDE|PIK3[CR]|PHF|KDM|KMT|SETD|HDAC|SIRT|DDX|DHX|SNORD|SNORA|MIR|RNU|"
    r"LGALS|GBP|APOBEC|APO[A-F]|CLEC|SIGLEC|VSIG|CEACAM|MUC|DEFA|DEFB|CST|CTS[A-Z]|TLR|NLRP|NLRC|CASP|BCL|"
    r"BIRC|TP|RNF|FBXO|FBXL|KLHL|BTBD|SPATA|TEX|DNAH|CEP|CFAP|IFT|BBS|SH3|PLEK|ARL|RALG|RAS[AGL]|GIMAP|SAMD|"
    r"TSPAN|TMC|TMCO|MFSD|NUP|EXOC|COG|XRCC|ERCC|RAD|POLR|TAF|MED|INTS|SF3|SNRP|HNRNP|SRSF|PRPF|LSM|DHRS|ELOV|"
    r"FADS|ACAD|ECH|MS4A|GZM|SCGB|AQP|CHD|SMARC|ARID|ACT[ABGNR]|TGFB)"
    r"[A-Z]?\d{1,4}[A-Z]{0,4}\d{0,3}[A-Z]?\d?(?:[-.](?:AS|IT|OT|DT|PS)?\d)?|HLA-D?[A-Z]{1,3}\d?|H2-[A-Z]{1,3}\d?\w?|MT-[A-Z]{2,3}\d?[A-Z]?",
    re.IGNORECASE,
)

# Genes that nearly every table or panel of markers has.
_KNOWN = frozenset(
    """
    ACTB GAPDH B2M MALAT1 NEAT1 XIST TBP HPRT1 PPIA EEF1A1 EEF2 UBC UBB FTL FTH1 TPT1 FAU VIM LMNA PTPRC LYZ
    NKG7 GNLY PRF1 FCN1 CST3 PPBP PF4 HBA1 HBA2 HBB JCHAIN MZB1 TYROBP AIF1 LST1 TRAC TRBC1 TRBC2 SELL LEF1
    TCF7 FOXP3 CTLA4 PDCD1 LAG3 TIGIT HAVCR2 MKI67 TOP2A PCNA STMN1 TYMS EPCAM PECAM1 VWF KDR CDH5 PDGFRA
    PDGFRB ACTA2 TAGLN DCN LUM FAP THY1 POSTN GFAP OLIG2 MBP PLP1 MOG SNAP25 RBFOX3 SYT1 GAD1 GAD2 SST PVALB
    VIP NEUROD1 ALB TTR AFP INS GCG PRSS1 SFTPC SFTPB AGER FOXJ1 TP53 MYC KRAS NRAS HRAS BRAF EGFR ERBB2 ESR1
    PGR AR PTEN RB1 BRCA1 BRCA2 VEGFA JUN JUNB FOS FOSB EGR1 ATF3 IER2 DUSP1 NFKBIA ZFP36 A1BG A1CF A2M A2ML1
    AAAS AACS AADAC AADACL2 AAGAB AAK1 AAMP AARS1 AATF ABCA1 ABL1 ACE2 ADA ADAR AKT1 ALK APC APP ATM ATR AXL
    BAX CALR CANX CAV1 CBL CFTR CLU CREB1 CTNNB1 CX3CL1 CX3CR1 DES DMD DNMT1 DNMT3A ENG ETS1 EZH2 FASN FLT1
    FLT3 FN1 GLI1 GRN HGF HIF1A HMGB1 ICAM1 ID1 ID2 ID3 IDO1 IGF1 IGF1R INSR ITK JAK1 JAK2 KIT LCK LCN2 LDHA
    LEP LGR5 LPL MAPT MET MPO MTOR MUC1 NANOG NCAM1 NES NOTCH1 NOTCH2 NPM1 NTS OAS1 PARP1 PLAU PLCG1 POMC
    POU5F1 PRDM1 PTH RELA RET RUNX1 SDC1 SNAI1 SNAI2 SPI1 SPP1 SRC TBX21 TERT TF TGFB1 TNF TTN TWIST1 TXN
    VCAM1 WT1 XBP1 YAP1 ZEB1 ZEB2 ISG15 MX1 PDK4 AXIN2 EOMES MRC1 MARCO CSF1R ITGAX
    """.split()  # noqa: SIM905 - a list of them would take a page
)

# A gene of a worm: three or four letters and a number. Numbered cells look alike, but all have the same letters.
_WORM = re.compile(r"([a-z]{3,4})-\d+(?:\.\d+)?")

# Well-known genes of human (TP53, EGFR, MYC, ACTB, …) and their counterparts of mouse.
_ENTREZ = frozenset(
    """
    1 2 60 207 672 675 834 841 914 915 916 920 925 931 958 1017 1029 1436 1493 1499 1956 2064 2099 2597 3065
    3106 3117 3122 3458 3558 3565 3569 3576 3586 3684 3688 3702 3845 3932 4069 4088 4193 4288 4609 4790 4893
    5133 5156 5290 5594 5728 5788 5925 5970 6138 6175 6194 6774 7040 7124 7157 7316 7422 7431 8767 9636 10320
    29126 50943 54106 84868 90865 11303 11461 11651 12010 12321 12371 12443 12483 12501 12524 12566 13649
    13982 14104 14433 15978 16193 16423 16818 17105 17345 17869 18033 18706 19206 19264 20293 20302 20750
    21803 21926 22059 22339 22352
    """.split()  # noqa: SIM905
)

_FEWEST_ENTREZ = 5
_DENSEST = 0.2


def looked_at(names: Iterable[Any]) -> list[str]:
    """Some hundred names from all over the list, as genes are often sorted by name."""
    every = names if hasattr(names, "__len__") else list(names)
    step = max(1, len(every) // _MOST)  # type: ignore[arg-type]
    return [str(name) for name in every[::step]]  # type: ignore[index]


def is_gene(name: str) -> bool:
    """Whether a name is an id or symbol of a gene, judging by a list of common ones."""
    return bool(_ID.fullmatch(name)) or _is_symbol(name)


# What exports add to a name: quotes, the prefix of NCBI's annotations, the chromosome of CEL-Seq pipelines.
_ADDED = re.compile(r"[\"'\s]*(?:gene[-:])?(.*?)(?:__chr\w+)?[\"'\s]*", re.DOTALL)


def _is_symbol(name: str) -> bool:
    return name.upper() in _KNOWN or (name[:1].isalpha() and _FAMILY.fullmatch(name) is not None)


def gene_share(names: Iterable[Any]) -> float:
    """Share of the names that are known gene names: about a third for the symbols of a whole transcriptome."""
    some = [_ADDED.fullmatch(name)[1] for name in looked_at(names)]  # type: ignore[index]  # it matches every text
    if not some:
        return 0.0
    others = [name for name in some if not _ID.fullmatch(name)]
    ids, symbols = len(some) - len(others), [name for name in others if _is_symbol(name)]
    # A panel of antibodies has CD3 and CD4; cells of a sample IL are IL1, IL2, IL3.
    stems = {re.split(r"[^A-Z]", name.upper(), maxsplit=1)[0] for name in symbols}
    known = ids + (len(symbols) if len(stems) >= _FEWEST_STEMS else 0)
    worm = [found[1] for name in some if name[:1].islower() and (found := _WORM.fullmatch(name))]
    if len(set(worm)) >= max(_FEWEST_STEMS, len(worm) // 10):
        known += len(worm)
    return min(1.0, known / len(some))


def are_entrez(names: Iterable[Any]) -> bool:
    """Whether whole numbers are Entrez ids: they include well-known genes, and most numbers are missing."""
    every = []
    for name in names:
        # Most names are not numbers, and the first one shows that.
        if not (text := str(name)).isdecimal():
            return False
        every.append(text)
    if not every:
        return False
    hits = len(_ENTREZ.intersection(every))
    return hits >= _FEWEST_ENTREZ and len(every) < _DENSEST * max(map(int, every))


Species = Literal["human", "mouse", "others"]


def _line(group: str, after: str = "") -> re.Pattern[str]:
    """A pattern that finds the group in whole lines.

    It searches all names at once, one per line: a call for each of 64,000 names takes longer than all the rest.
    """
    return re.compile(rf"\n({group}){after}(?=\n)")


ENSEMBL = r"ENS([A-Z]{3,4})?G\d{11}(\.\d+)?"
"""Ensembl id of a gene: letters for the species (none for human), a number, and optionally a version."""

_ENSEMBL_LINES = _line(ENSEMBL)
_HUMAN, _MOUSE = "", "MUS"

# Human genes are written CD3D, those of mouse and rat Cd3d. Short names, clones and Riken genes show neither.
_UPPER = _line(r"[A-Z][0-9]*[A-Z][A-Z0-9-]*")
_CAPITALISED = _line(r"[A-Z][a-z]{2,}[a-z0-9-]*|[A-Z][a-z]+[0-9][a-z0-9-]*|mt-[A-Z][a-z]+[0-9a-z]*")
_FEWEST = 20
_MOST_UPPER, _MOST_CAPITALISED = 0.9, 0.7
_ENOUGH = 5_000
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec"

# Not in lower case, as sep-1 and dec-1 are genes of a worm. Riken genes such as 2310009E13Rik, when truncated, become
# powers of ten. The lookahead keeps most names from the alternatives.
_MANGLED = _line(
    r"(?=[\dADFJMNOS])(?:"
    rf"\d{{1,2}}-(?:{_MONTH}|{_MONTH.upper()})|(?:{_MONTH})-\d{{1,2}}"
    r"|\d{4}[-/]\d{1,2}[-/]\d{1,2}(?: 00:00:00)?|\d{1,2}/\d{1,2}/(?:\d{2}|\d{4})"
    r"|\d(?:\.\d+)?E\+\d{2})"
)

# Days since 1900, for 2001 to 2031: the years in which a spreadsheet turned names such as MARCH1 into dates.
_FIRST_DAY, _LAST_DAY = 36_892, 48_213
_DIGITS = _line(r"\d+")
_GENOME = _line("GRCh3[78]|GRCm3[89]|hg19|hg38|mm9|mm10|mm39", after=r"_+\w.*")
_MITOCHONDRIAL = _line("[Mm][Tt]-.*")


@dataclass(frozen=True)
class Identifiers:
    """What kind of identifiers gene names are."""

    number: int
    ensembl: tuple[str, ...]  # Ensembl ids, with or without a version
    versioned: tuple[str, ...]  # Ensembl ids with a version
    mitochondrial: tuple[str, ...]  # names that filters count as mitochondrial
    mangled: tuple[str, ...]  # names that a spreadsheet turned into dates or powers of ten
    numeric: int  # how many are whole numbers
    genomes: tuple[tuple[str, int], ...]  # prefixes such as "GRCh38", and how many names have them
    species: Species | None  # a guess; None if the names do not show it
    evidence: str  # why


def identify(names: Iterable[Any] | NameList) -> Identifiers:
    """The kind of identifiers that feature names are; names that are not text are ignored."""
    given = names if isinstance(names, NameList) else NameList(names)
    texts, lines = given.texts, given.lines
    first, second = given.letter(0), given.letter(1)
    ids = _ENSEMBL_LINES.findall(lines)
    # The first letters rule out most names in a fraction of the time.
    few = given.those(
        (first >= 0x80)  # digits of other scripts
        | _any_of("0123456789", first)
        | (_any_of("ADFJMNOS", first) & _any_of("abcdefghijklmnopqrstuvwxyz", second))
    )
    digits = _DIGITS.findall(few)
    mangled = _MANGLED.findall(few)
    if digits and len(digits) <= max(2, len(texts) // 100):  # else they are numbers of another database
        mangled += [name for name in digits if len(name) == 5 and _FIRST_DAY <= int(name) <= _LAST_DAY]
    species, evidence = _by_ensembl(Counter(prefix for _, prefix, _ in ids))
    if species is None:
        species, evidence = _by_letters(texts)
    return Identifiers(
        number=len(texts),
        ensembl=tuple(name for name, _, _ in ids),
        versioned=tuple(name for name, _, version in ids if version),
        mitochondrial=tuple(_MITOCHONDRIAL.findall(given.those(_any_of("Mm", first) & _any_of("Tt", second)))),
        mangled=tuple(mangled),
        numeric=len(digits),
        genomes=tuple(Counter(_GENOME.findall(lines) if "_" in lines else ()).most_common()),
        species=species,
        evidence=evidence,
    )


def _any_of(letters: str, found: NDArray[np.uint8]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(letters.encode())] = True
    is_one: NDArray[np.bool_] = table[found]
    return is_one


def _by_ensembl(prefixes: Counter[str]) -> tuple[Species | None, str]:
    if not prefixes:
        return None, ""
    prefix, number = prefixes.most_common(1)[0]
    if number < _FEWEST or number < _MOST_UPPER * prefixes.total():
        return None, ""
    species: Species = "human" if prefix == _HUMAN else "mouse" if prefix == _MOUSE else "others"
    return species, f"{number:,} ids start with ENS{prefix}G"


def _by_letters(texts: list[str]) -> tuple[Species | None, str]:
    # Some thousand names from all over the list are enough.
    some = texts[:: max(1, len(texts) // _ENOUGH)]
    lines = "\n".join(["", *some, ""])
    looked_at = f" of {len(some):,} checked" if len(some) < len(texts) else ""
    # Ids of every species are in upper case; those with a version match neither pattern.
    n_ids = sum(not version for _, _, version in _ENSEMBL_LINES.findall(lines))
    upper, capitalised = len(_UPPER.findall(lines)) - n_ids, len(_CAPITALISED.findall(lines))
    said = upper + capitalised
    if said < _FEWEST:
        return None, ""
    if upper >= _MOST_UPPER * said:
        return "human", f"{upper:,} names{looked_at} are in upper case, like CD3D"
    if capitalised >= _MOST_CAPITALISED * said:
        return "mouse", f"{capitalised:,} names{looked_at} are capitalized, like Cd3d"
    return None, ""


# Primate symbols are written like human ones. Nothing is known about other species.
_CONFLICTS: dict[Species, tuple[str, ...]] = {
    "human": ("mouse",),
    "mouse": ("human", "primate"),
    "others": ("human", "mouse"),
}


def species_findings(place: str, names: Identifiers, species: str | None) -> Iterator[Finding]:
    """A warning if the names look like genes of another species than the one of the submission."""
    if names.species is None or species not in _CONFLICTS[names.species]:
        return
    others = names.species == "others"
    seems, genes = (
        ("another species", "genes of another species") if others else (names.species, f"{names.species} genes")
    )
    message = f"species is {quoted(species)}, but the genes look like {seems}: {names.evidence}"
    fix = f"If they are {genes}, submit with species={quoted(names.species)}"
    yield finding("BC404", place, message, fix, severity="warning")
