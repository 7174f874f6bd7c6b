"""Search: studies of all groups, by words and ontology terms, in an index kept for ``bc.settings.search_age``."""

from __future__ import annotations

import difflib
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import pandas as pd

from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.config import settings
from biocolab_accessor.errors import (
    InvalidArgument,
    InvalidResponse,
    MissingCredentials,
    ServerError,
    Unauthorized,
    public,
)
from biocolab_accessor.io.values import table_of
from biocolab_accessor.messages import did_you_mean, quoted, shown, warn
from biocolab_accessor.protocol import SERVERS, SPECIES, Server, argument_names, known_species
from biocolab_accessor.studies.catalog import PUBLIC_STUDIES, connector_of, group_id_of, list_groups, list_studies
from biocolab_accessor.studies.sources import Term, read_terms

if TYPE_CHECKING:
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector

_COLUMNS = ["study", "source", "group", "species", "title", "n_cells", "matched", "reference", "uuid"]
_WEIGHTS = {"id": 4.0, "title": 3.0, "authors": 1.5, "abstract": 1.0}
_TERM, _BELOW = 4.0, 3.5  # a term itself, and a term below it
_LONGER, _NEAR = 0.6, 0.5  # a word that only begins with the one of the search, and another spelling
_CUTOFF = 0.8  # similarity of two spellings of a word, as difflib measures it
_SHORTEST = 4  # words that may be the beginning of another, or misspelled
_PLACES = {"text": "study", "cell_type": "cell type", "tissue": "tissue", "disease": "disease"}
_IDS = ("personal", "all_members", PUBLIC_STUDIES)  # of every server; the official clients use them without a list
_N_CELLS = ("n_cells", "n_obs", "total_cells")

Words = frozenset[str]
Above = tuple[tuple[str, Words], ...]  # name and words of the terms above one, parent first

_PREFIXES = {"CL": "cell type", "UBERON": "tissue", "MONDO": "disease", "DOID": "disease"}
_HINTS = {"cell": "cell type", "tissue": "tissue", "organ": "tissue", "anatomical": "tissue", "disease": "disease"}

Alternatives = Mapping[str, float]
"""Words of the index that stand for a word of the search, with a weight of at most 1."""


@public
def search(
    text: str | None = None,
    *,
    cell_type: str | None = None,
    tissue: str | None = None,
    disease: str | None = None,
    species: Sequence[str] | str | None = None,
    group: Sequence[str] | str | None = None,
    source: Server | None = None,
) -> pd.DataFrame:
    """Find studies on BBrowserX and Talk2Data, by words and ontology terms.

    Words are found in any order, whatever their case, accents and plurals; a word of four letters or more is also found
    as the beginning of a longer one. A word that no study has is replaced by the nearest spellings, with a warning. A
    term finds the terms below it: monocyte finds macrophage.

    A search makes one request for each group and species, and one for the terms of all studies. The answers are kept in
    memory for ``bc.settings.search_age`` seconds, or until you submit a study, and not requested again until then. Two
    more requests are needed at times: the list of groups, unless ``group`` has only ids that all servers have
    (``"personal"``, ``"all_members"``, ``"bioturing_public_studies"``); and, once for each connection, the tree of
    terms, if studies have terms. A search without words needs no terms.

    Parameters
    ----------
    text
        Words to find in ids, titles, abstracts, authors, or terms and their labels. All must be found.
    cell_type, tissue, disease
        Words to find in one ontology term of this kind, in its label, or in a term above it; or its accession, such as
        ``"CL:0000576"``. Studies whose labels were not assigned terms have none.
    species
        One or more of ``"human"``, ``"mouse"``, ``"primate"`` and ``"others"``; None means all.
    group
        One or more groups, by id or name; None means all that the token can access, and the public studies.
    source
        ``"bbrowserx"`` or ``"talk2data"``; None means those of the connection. BioFlex lists no studies.

    Returns
    -------
    pandas.DataFrame
        One row per study, the best first: ``study`` (the displayed id), ``source``, ``group`` (its id), ``species``,
        ``title``, ``n_cells`` (Int64, missing if the server does not send it), ``matched`` (why it was found),
        ``reference`` and ``uuid``. A row is an argument of :func:`study`, and the table one of :func:`collection`.

    Raises
    ------
    InvalidArgument
        The search has no words, and neither species nor group; or an argument is not text.
    UnknownGroup
        The token cannot access a group with this id or name.
    MissingCredentials
        The host or the token is not set.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     found = bc.search("transcriptional profiling", species="human")
    ...     bc.study(found.iloc[0]).n_obs
    700
    >>> found[["study", "species", "matched"]]
                 study species matched
    0  PBMC68k_reduced   human   title
    """
    asked = {"text": text, "cell_type": cell_type, "tissue": tissue, "disease": disease}
    words = {name: _words(given, name) for name, given in asked.items() if given is not None}
    if not words and species is None and group is None:
        msg = "the search is empty: give words, bc.search('lung fibrosis'), or cell_type=, tissue= or disease="
        raise InvalidArgument(msg)
    wanted = SPECIES if species is None else [known_species(name) for name in _names(species, "species")]
    groups = None if group is None else _names(group, "group")
    every = {
        name: look_up(connector, groups, wanted, with_terms=bool(words))
        for name, connector in _connectors(source).items()
    }
    alternatives = {name: _alternatives(found, words) for name, found in every.items()}
    rows = [
        (score, _row(listed, name, reasons))
        for name, found in every.items()
        for listed, score, reasons in _matches(found, alternatives[name])
    ]
    rows.sort(key=lambda each: -each[0])
    if replaced := _replaced(alternatives.values(), words):
        warn(f"no study has these words, so near spellings were found instead: {'; '.join(replaced)}")
    if not rows:
        _explain(list(every.values()), words)
    return table_of([row for _, row in rows], _COLUMNS).astype({"n_cells": "Int64"})


def _words(given: Any, name: str) -> list[str]:
    if not isinstance(given, str):
        msg = f"{name} is {quoted(given):.80}: give words, such as {'lung fibrosis' if name == 'text' else 'lung'!r}"
        raise InvalidArgument(msg)
    if not (found := list(dict.fromkeys(words_of(given)))):
        msg = f"{name} is {quoted(given):.80}, which has no letters or digits to search for"
        raise InvalidArgument(msg)
    return found


def _names(given: Any, what: str) -> list[str]:
    given = getattr(given, "value", given)
    names = argument_names(given, what)
    if not names:
        msg = f"{what} is empty: give a name, or None for all"
        raise InvalidArgument(msg)
    return names


def _connectors(source: Server | None) -> dict[str, BBrowserXConnector]:
    """The connector of a source, or of each server that the connection has credentials for."""
    if source is not None:
        return {source: connector_of(source)}
    found: dict[str, BBrowserXConnector] = {}
    missing: list[MissingCredentials] = []
    for name in SERVERS:
        try:
            connector = connector_of(name)
        except MissingCredentials as error:
            missing.append(error)
            continue
        if connector.host not in [other.host for other in found.values()]:  # a sandbox is both
            found[name] = connector
    if not found:
        raise missing[0]
    return found


def _matches(found: Found, wanted: Mapping[str, Sequence[Alternatives]]) -> list[tuple[Listed, float, list[str]]]:
    """Studies that match all arguments, with a score and the reasons."""
    matches = []
    for listed in found.studies:
        concepts = [c for name in ("uuid", "study_id") for c in found.concepts.get(listed.row[name], ())]
        total, reasons = 0.0, list[str]()
        for name, each in wanted.items():
            score, why = _by_term(each, [c for c in concepts if name in ("text", c.kind.replace(" ", "_"))])
            if name == "text":
                other, places = _by_word(each, listed, () if score else concepts)
                score, why = max(score, other), why + places
            if not score:
                break
            total, reasons = total + score, reasons + why
        else:
            matches.append((listed, total, list(dict.fromkeys(reasons))))
    return matches


def _by_term(wanted: Sequence[Alternatives], concepts: Iterable[Concept]) -> tuple[float, list[str]]:
    """The score of the best term that has all words itself, or is below one that has, and all such terms."""
    best, reasons = 0.0, list[str]()
    for concept in concepts:
        if score := _all_in(wanted, concept.words):
            best = max(best, _TERM * score)
            reasons.append(f"{concept.kind}: {concept.name}")
            continue
        above = next(((name, score) for name, words in concept.above if (score := _all_in(wanted, words))), None)
        if above is not None:
            best = max(best, _BELOW * above[1])
            reasons.append(f"{concept.kind}: {concept.name} ({above[0]})")
    return best, reasons


def _by_word(wanted: Sequence[Alternatives], listed: Listed, concepts: Iterable[Concept]) -> tuple[float, list[str]]:
    """The score of a study that has each word somewhere, and the best place of each; 0 if a word is nowhere."""
    places = [(weight, place, listed.words[place]) for place, weight in _WEIGHTS.items() if place in listed.words]
    for concept in concepts:
        shortly = f"{concept.kind}: {concept.name}"
        places.append((_TERM, shortly, concept.words))
        places += [(_BELOW, f"{shortly} ({name})", words) for name, words in concept.above]
    total, reasons = 0.0, list[str]()
    for alternatives in wanted:
        hits = [(weight * score, place) for weight, place, words in places if (score := _all_in([alternatives], words))]
        if not hits:
            return 0.0, []
        score, place = max(hits, key=lambda hit: hit[0])
        total += score
        reasons.append(place)
    return total / len(wanted), reasons


def _all_in(wanted: Sequence[Alternatives], words: frozenset[str]) -> float:
    """The mean weight of the words that were found; 0 unless all were."""
    scores = [max((each[word] for word in each.keys() & words), default=0.0) for each in wanted]
    return sum(scores) / len(scores) if all(scores) else 0.0


def _vocabulary(found: Found, name: str) -> frozenset[str]:
    """All words that an argument can find."""
    every = [c for each in found.concepts.values() for c in each if name in ("text", c.kind.replace(" ", "_"))]
    texts = [words for listed in found.studies for words in listed.words.values()] if name == "text" else []
    return frozenset[str]().union(*texts, *(c.words for c in every), *(words for c in every for _, words in c.above))


def _alternatives(found: Found, words: Mapping[str, Sequence[str]]) -> dict[str, list[Alternatives]]:
    """For each word of each argument, the words of the index that stand for it."""
    vocabularies = {name: _vocabulary(found, name) for name in words}
    return {name: [_spellings(word, vocabularies[name]) for word in each] for name, each in words.items()}


def _spellings(word: str, vocabulary: frozenset[str]) -> Alternatives:
    """The word itself and longer ones, or else the nearest spellings."""
    long = len(word) >= _SHORTEST
    known = {word: 1.0} if word in vocabulary else {}
    if long and word.isalpha():
        known |= {other: _LONGER for other in vocabulary if other.startswith(word) and other != word}
    if long and not known:
        known = dict.fromkeys(sorted(difflib.get_close_matches(word, vocabulary, n=3, cutoff=_CUTOFF)), _NEAR)
    return known


def _replaced(every: Iterable[Mapping[str, Sequence[Alternatives]]], words: Mapping[str, Sequence[str]]) -> list[str]:
    """Words that only near spellings stand for, with those."""
    replaced = list[str]()
    for name, each in words.items():
        for number, word in enumerate(each):
            near = {other: weight for own in every for other, weight in own[name][number].items()}
            if near and set(near.values()) == {_NEAR}:
                replaced.append(f"{' or '.join(map(quoted, near))} for {quoted(word)}")
    return replaced


def _explain(every: Sequence[Found], words: Mapping[str, Sequence[str]]) -> None:
    """Warn why nothing was found, and what would be."""
    hints = []
    for name, each in words.items():
        known = sorted(frozenset[str]().union(*(_vocabulary(found, name) for found in every)))
        missing = [word for word in each if not _spellings(word, frozenset(known))]
        hints += [f"no {_PLACES[name]} has {quoted(word)}{did_you_mean(word, known)}" for word in missing]
    terms = [name for name in words if name != "text"]
    if terms and not all(found.has_terms for found in every):
        hints.append("the server exports no ontology terms")
    elif terms and not all(found.has_tree for found in every if found.concepts):
        hints.append("the server has no tree of ontologies, so a term does not find those below it")
    for name in terms:
        if number := sum(len(_matches(found, _alternatives(found, {"text": words[name]}))) for found in every):
            hints.append(f"bc.search({quoted(' '.join(words[name]))}) finds {number:,} by words")
    warn("no study was found" + (f": {'; '.join(hints)}" if hints else ""))


def _row(listed: Listed, source: str, reasons: Sequence[str]) -> dict[str, Any]:
    row = listed.row
    n_cells = next((row[key] for key in _N_CELLS if type(row.get(key)) is int and 0 <= row[key] < 2**63), None)
    most = 4
    more = f"; and {len(reasons) - most} more" if len(reasons) > most else ""
    return {
        "study": shown(row["study_id"]),
        "source": source,
        "group": listed.group_id,
        "species": listed.species,
        "title": shown(row.get("title") or ""),
        "n_cells": n_cells,
        "matched": shown("; ".join(reasons[:most]) + more),
        "reference": shown(row.get("reference") or ""),
        "uuid": row["uuid"],
    }


class Listed(NamedTuple):
    """A study of a group."""

    row: Mapping[str, Any]
    group_id: str
    species: str
    words: Mapping[str, Words]  # by where they are: id, title, abstract, authors


class Concept(NamedTuple):
    """A term of a study, with the terms above it."""

    kind: str
    name: str
    words: Words  # of its label, its name and its id
    above: Above


class Found(NamedTuple):
    """What a server lists."""

    studies: Sequence[Listed]
    concepts: Mapping[str, Sequence[Concept]]  # by the study's uuid
    has_terms: bool  # whether the server exports terms
    has_tree: bool  # whether it says which terms are above others


def words_of(text: str) -> list[str]:
    """Words in order, without case, accents and the s of plurals."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return [_singular(word) for word in re.findall(r"[^\W_]+", plain)]


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 5 else word[:-1]


@dataclass
class _Index:
    """Answers of one server to one token."""

    lock: Lock = field(default_factory=Lock)
    answers: dict[Any, tuple[float, Any]] = field(default_factory=dict)

    def ask(self, requests: Mapping[Any, Callable[[], Any]]) -> dict[Any, Any]:
        """The answers by key; those that are missing or too old are requested in parallel."""
        now = time.monotonic()
        fresh = {key for key in requests if key in self.answers and now - self.answers[key][0] < settings.search_age}
        with request_threads("biocolab-search") as threads:
            asked = {key: threads.submit(call) for key, call in requests.items() if key not in fresh}
            new = {key: result(future) for key, future in asked.items()}
        self.answers |= {key: (now, answer) for key, answer in new.items()}
        return {key: self.answers[key][1] for key in requests}


# By the connector, which belongs to one server and one token, and ends with its connection.
_indexes: WeakKeyDictionary[BBrowserXConnector, _Index] = WeakKeyDictionary()
_lock = Lock()


def forget_lists() -> None:
    """Let the next search ask the servers again, because a study was added."""
    with _lock:
        _indexes.clear()


def look_up(
    connector: BBrowserXConnector, groups: Sequence[str] | None, species: Sequence[str], *, with_terms: bool = True
) -> Found:
    """Studies of groups (None means all, and the public ones) and their terms."""
    with _lock:
        index = _indexes.setdefault(connector, _Index())
    with index.lock:  # another thread that searches waits, instead of asking for the same
        ids = _group_ids(index, connector, groups)
        pairs = [(id_, name) for id_ in dict.fromkeys(ids) for name in species]
        requests: dict[Any, Callable[[], Any]] = {pair: partial(_listed, connector, *pair) for pair in pairs}
        if with_terms:
            requests["terms"] = partial(_terms, connector)
        answers = index.ask(requests)
        terms = answers.pop("terms", None)
        tree = None
        if terms and pairs:
            # The tree may be of any age. It is asked for again only if a term is missing from it.
            _, tree = index.answers.get("tree", (0.0, None))
            if tree is None or not all(term.node in tree or term.node_label in tree for term in terms):
                tree = index.ask({"tree": partial(_above, connector, *pairs[0])})["tree"]
    studies: dict[str, Listed] = {}
    for pair in pairs:
        for listed in answers[pair]:  # a study can be in several groups: the first one counts
            studies.setdefault(listed.row["uuid"], listed)
    concepts: dict[str, list[Concept]] = {}
    for term in terms or ():
        above = next((tree[key] for key in (term.node, term.node_label) if tree and key in tree), ())
        words = frozenset(words_of(f"{term.label} {term.node_label} {term.node}"))
        concept = Concept(_kind(term), term.node_label or term.label, words, above)
        concepts.setdefault(term.study_id, []).append(concept)
    return Found(list(studies.values()), concepts, terms is not None, tree is not None)


def _group_ids(index: _Index, connector: BBrowserXConnector, groups: Sequence[str] | None) -> list[str]:
    """Ids of groups, for which the list of groups is requested, unless all are ids that every server has."""
    if groups is not None and all(group in _IDS for group in groups):
        return list(groups)
    known = index.ask({"groups": partial(list_groups, connector)})["groups"]
    if groups is None:
        return [*(row["id"] for row in known), PUBLIC_STUDIES]
    return [group_id_of(connector, group, known) for group in groups]


def _listed(connector: BBrowserXConnector, group_id: str, species: str) -> list[Listed]:
    try:
        rows = list_studies(connector, group_id, species)
    except ServerError:
        if group_id != PUBLIC_STUDIES:  # not all servers have this group, and none lists it
            raise
        return []
    return [Listed(row, group_id, species, _words_of_row(row)) for row in rows]


def _words_of_row(row: Mapping[str, Any]) -> dict[str, Words]:
    texts = {"id": row["study_id"], "title": row.get("title"), "abstract": row.get("abstract")}
    authors = row.get("authors")
    texts["authors"] = " ".join(map(str, authors)) if isinstance(authors, list) else authors
    return {place: frozenset(words_of(str(text))) for place, text in texts.items() if text}


def _terms(connector: BBrowserXConnector) -> list[Term] | None:
    """Terms of all studies; None if the server does not export them."""
    try:
        return read_terms(connector.export_std_meta())
    except Unauthorized:
        raise
    except ServerError:
        return None


def _above(connector: BBrowserXConnector, group_id: str, species: str) -> dict[str, Above] | None:
    """The terms above each term, without the root; None if the server has no tree."""
    body = {"species": species, "group_id": group_id}
    try:
        data = connector.post_request("api/v1/get_ontologies", body).get("data")
    except Unauthorized:
        raise
    except ServerError:
        return None
    roots = data.get("tree") if isinstance(data, Mapping) else None
    if not isinstance(roots, Mapping):
        msg = "get_ontologies: expected a tree of terms"
        raise InvalidResponse(msg)
    found: dict[str, dict[tuple[str, Words], None]] = {}
    n_listed = 0
    waiting: list[tuple[Mapping[str, Any], Above]]
    waiting = [(node, ()) for root in roots.values() for node in _children(root)]
    while waiting:
        node, above = waiting.pop()
        id_, name = str(node.get("id", "")), str(node.get("name", ""))
        n_listed += len(above)
        if len(above) > _DEEPEST or n_listed > _MOST_ABOVE:
            msg = f"get_ontologies: the tree has more than {_DEEPEST} levels, or {_MOST_ABOVE:,} terms above others"
            raise InvalidResponse(msg)
        for key in {id_, name}:  # a server may export other ids than those of its tree
            found.setdefault(key, {}).update(dict.fromkeys(above))  # a term can be in several places
        own = (name, frozenset(words_of(f"{name} {id_}")))
        waiting += [(child, (own, *above)) for child in _children(node)]
    return {key: tuple(above) for key, above in found.items()}


# CL, UBERON and MONDO together have 100,000 terms, with up to 40 above one.
_DEEPEST, _MOST_ABOVE = 200, 10_000_000


def _children(node: Any) -> Iterable[Mapping[str, Any]]:
    children = node.get("children") if isinstance(node, Mapping) else None
    if children is None:
        return []
    if not isinstance(children, list) or not all(isinstance(child, Mapping) for child in children):
        msg = "get_ontologies: the children of a term are not a list of terms"
        raise InvalidResponse(msg)
    return children


def _kind(term: Term) -> str:
    for id_ in (term.node, term.ontology_id):
        if kind := _PREFIXES.get(re.split(r"[:_]", id_)[0].upper()):
            return kind
    for text in (term.ontology_label, term.field):
        for word in words_of(text):
            if word in _HINTS:
                return _HINTS[word]
    return term.ontology_label or term.field
