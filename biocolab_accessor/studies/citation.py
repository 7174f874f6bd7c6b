"""Citation: BibTeX, a line of text, or a paragraph for a methods section, from provenance alone."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote, urlsplit

from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.io.safe_files import replacing, target_path
from biocolab_accessor.messages import counted, did_you_mean, listing, quoted
from biocolab_accessor.protocol import TITLES
from biocolab_accessor.studies.conversion import unique_names

Style = Literal["bibtex", "text", "methods"]

Facts = Mapping[str, Any]
"""The provenance of one study, as in ``uns["biocolab"]``."""

_DOI = re.compile(r"(?<![\w.])10\.[0-9]{4,9}(?:\.[0-9]+)*/[^\s\"<>{}|\\^`]+")
_SICI = re.compile(r"(?<![\w.])10\.1002/\([^\s]+?<[^\s>]*>[^\s]+")  # old DOIs of Wiley, the only ones with < and >
_VIEW = re.compile(
    r"(?:/(?:full|fulltext|abstract|summary|references|citation|meta|e?pdf|html?|download)|\.(?:pdf|html?))+$", re.I
)
_PREPRINT = re.compile(r"(?<=[0-9])v[0-9]+(?:\.(?:full|abstract|supplementary|article)[-.\w]*)?$", re.I)
_NATURE = re.compile(r"/articles/([A-Za-z0-9.-]+?)(?:\.pdf)?/?")  # ids of articles there are the ends of their DOIs
_PAIRS = {")": "(", "]": "["}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST = 10_000  # of one text; a longer one is not a title, name or address
_LONGEST_REFERENCE = 2_000


def cite(studies: Sequence[Facts], style: str) -> str:
    """Studies in a style; see :meth:`Study.cite`."""
    if style not in get_args(Style):
        near = did_you_mean(style, get_args(Style))
        msg = f"style is {quoted(style)}{near}: give one of {listing(get_args(Style))}"
        raise InvalidArgument(msg)
    if style == "bibtex":
        return "\n".join(_entry(facts, key) for facts, key in zip(studies, _keys(studies), strict=True))
    if style == "text":
        return "\n".join(_line(facts) for facts in studies)
    return _paragraph(studies)


def add_to_bibliography(path: str | Path, studies: Sequence[Facts]) -> Path:
    """Append BibTeX entries to a file, which need not exist; an entry whose key is in the file already is left out."""
    target = target_path(path)
    try:
        before = target.read_bytes().decode() if target.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{target} cannot be read as a bibliography in UTF-8 ({error}): give another file"
        raise InvalidFile(msg) from error
    known = {key.casefold() for key in re.findall(r"@\s*\w+\s*[{(]\s*([^\s,]+)\s*,", before)}
    new = [_entry(f, key) for f, key in zip(studies, _keys(studies), strict=True) if key.casefold() not in known]
    if new:
        gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
        with replacing(target) as temporary:
            temporary.write_bytes((before + gap + "\n".join(new)).encode())
    return target


def doi_of(reference: str) -> str:
    """The DOI in a reference: itself, ``doi:…``, or an address of doi.org or of a publisher; otherwise empty."""
    text, host = reference[:_LONGEST_REFERENCE].strip(), ""
    if _is_address(text):
        parts = urlsplit(text)
        host, path, query = parts.hostname or "", unquote(parts.path), unquote(parts.query)
        text = path if _DOI.search(path) else query
        if (article := _NATURE.fullmatch(path)) and host.endswith("nature.com"):
            return f"10.1038/{article[1]}"
    elif not _DOI.search(text):
        text = unquote(text)
    found = _SICI.search(text) or _DOI.search(text)
    if found is None:
        return ""
    doi = found[0]
    if host and not host.endswith("doi.org"):
        doi = _VIEW.sub("", doi.partition("&")[0].rstrip("/"))
        doi = _PREPRINT.sub("", doi) if host.endswith("rxiv.org") else doi
    while doi[-1] in ".,;:'*/" or (doi[-1] in _PAIRS and doi.count(doi[-1]) > doi.count(_PAIRS[doi[-1]])):
        doi = doi[:-1]
    return doi if "/" in doi else ""


def _is_address(text: str) -> bool:
    try:
        return bool(re.match(r"https?://[^\s]+$", text, re.I) and urlsplit(text).hostname)
    except ValueError:
        return False


def _link(facts: Facts) -> tuple[str, str, str]:
    """DOI, address and note, of which at most one is not empty, and the address of a DOI."""
    reference = _plain(facts.get("reference"))
    if doi := doi_of(reference):
        return doi, f"https://doi.org/{quote(doi, safe='/:;()._-')}", ""
    if _is_address(reference):
        return "", quote(reference, safe="%/:?#[]@!$&'()*+,;=-._~"), ""
    return "", "", reference


def _plain(value: Any) -> str:
    """Text in one line, without invisible characters."""
    text = unicodedata.normalize("NFC", " ".join(("" if value is None else str(value))[:_LONGEST].split()))
    return "".join(character for character in text if character.isprintable())


def _texts(value: Any) -> list[str]:
    """Texts that a file may have turned into an array, or one into a string."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [text for each in (value if isinstance(value, list | tuple) else [value]) if (text := _plain(each))]


def _mapping(value: Any) -> Mapping[Any, Any]:
    """A mapping, or an empty one in place of anything else that a file may hold."""
    return value if isinstance(value, Mapping) else {}


def _place(facts: Facts) -> str:
    """The server and the version of the database, in words."""
    source = _plain(facts.get("source"))
    place = TITLES.get(source, source) or "a server"  # type: ignore[call-overload]
    details = [_plain(facts.get("server"))]
    if source == "bioflex":
        details.append(f"{_plain(facts.get('species'))} database version {_plain(facts.get('version'))}")
    elif "group_id" in facts:
        details.append(f"{_plain(facts.get('species'))}, group {_plain(facts['group_id'])}")
    shown = "; ".join(detail for detail in details if detail)
    return f"{place} ({shown})" if shown else place


def _date(facts: Facts) -> str:
    found = _DAY.match(_plain(facts.get("fetched_at")))
    return found[0] if found else ""


def _line(facts: Facts) -> str:
    _, address, note = _link(facts)
    study = f"{_place(facts)}, study {_plain(facts['study_id'])}"
    accessed = f", accessed {_date(facts)}" if _date(facts) else ""
    sentences = [", ".join(_texts(facts.get("authors"))), _plain(facts.get("title")), note, address, study + accessed]
    return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in sentences if text)


_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\textbraceleft{}",  # BibTeX counts braces, also those after a backslash
        "}": r"\textbraceright{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: f"\\{character}" for character in "#$%&_"},
    }
)


def _author(name: str) -> str:
    if found := re.fullmatch(r"(.+?)(?:,? et\.? al\.?)+", name):
        return f"{_author(found[1])} and others"
    if found := re.fullmatch(r"([^,]+) ([A-Z]{1,3})", name):  # the surname comes first where initials come last
        name = f"{found[1]}, {found[2]}"
    # "and" separates authors, and a name has one comma: other names are those of organizations.
    whole = name.count(",") > 1 or re.search(r"\band\b", name, re.I) or name.casefold() == "others"
    escaped = name.translate(_ESCAPES)
    return f"{{{escaped}}}" if whole else escaped


def _entry(facts: Facts, key: str) -> str:
    doi, address, note = _link(facts)
    title, authors = _plain(facts.get("title")) or _plain(facts["study_id"]), _texts(facts.get("authors"))
    fields = {
        "title": f"{{{title.translate(_ESCAPES)}}}",  # a second pair of braces keeps the case of gene names
        "author": " and ".join(map(_author, authors)),
        "doi": quote(doi, safe="/:;()<>._-"),
        "url": address,
        "howpublished": f"{_place(facts)}, study {_plain(facts['study_id'])}".translate(_ESCAPES),
        "note": note.translate(_ESCAPES),
        "urldate": _date(facts),
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@misc{{{key},\n{lines}}}\n"


def _keys(studies: Sequence[Facts]) -> list[str]:
    """A key of BibTeX for each study: its id, with a hash of its address if the id alone would not do."""
    slugs = [re.sub(r"[^A-Za-z0-9_.:-]+", "_", str(facts["study_id"])).strip("_") for facts in studies]
    counts = Counter(slug.casefold() for slug in slugs)
    keys: list[str] = []
    for slug, facts in zip(slugs, studies, strict=True):
        address = [str(facts.get(name, "")) for name in ("server", "database", "version", "species", "study_uuid")]
        digest = hashlib.sha256("\n".join([*address, str(facts["study_id"])]).encode(errors="replace")).hexdigest()[:8]
        exact = slug == str(facts["study_id"]) and counts[slug.casefold()] == 1
        keys.append(slug if exact else f"{slug or 'study'}-{digest}")
    return unique_names(keys)


def _paragraph(studies: Sequence[Facts]) -> str:
    """A paragraph for a methods section."""
    sentences = []
    groups: dict[str, list[str]] = {}
    for facts in studies:
        groups.setdefault(f"{_place(facts)}{_how(facts)}", []).append(_described(facts))
    for origin, described in groups.items():
        noun = "study" if len(described) == 1 else counted(len(described), "study")
        sentences.append(f"Single-cell data of {noun} {'; '.join(described)} were taken from {origin}.")
    packages: dict[str, list[str]] = {}
    for facts in studies:
        for name, version in _mapping(facts.get("packages")).items():
            packages.setdefault(_plain(name), []).append(_plain(version))
    if packages:
        versions = [f"{name} {' and '.join(dict.fromkeys(found))}" for name, found in sorted(packages.items())]
        sentences.append(f"Software: {', '.join(versions)}.")
    return " ".join(sentences)


def _described(facts: Facts) -> str:
    _, address, note = _link(facts)
    title = f"“{title}”" if (title := _plain(facts.get("title"))) else ""
    about = ", ".join(text for text in (title, address or note) if text)
    return _plain(facts["study_id"]) + (f" ({about})" if about else "")


def _how(facts: Facts) -> str:
    """The selection of a fetch, and its day."""
    unit = {"raw": "counts (raw)", "lognorm": "log-normalized values"}.get(_plain(facts.get("unit")), "")
    parts = [f" as {unit}"] if unit else []
    if layers := _mapping(facts.get("layers")):
        parts.append(f" with {'layer' if len(layers) == 1 else 'layers'} {' and '.join(sorted(map(_plain, layers)))}")
    if facts.get("genes") is not None:
        parts.append(f", limited to {counted(len(_texts(facts['genes'])), 'gene')}")
    if clause := _plain(facts.get("obs_filter")):
        parts.append(f", limited to the cells with {clause}")
    return "".join(parts) + (f" on {_date(facts)}" if _date(facts) else "")
