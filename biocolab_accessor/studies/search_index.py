"""Search index: what the servers list, as words, in memory for as long as ``bc.settings.search_age``."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidResponse, ServerError, Unauthorized
from biocolab_accessor.studies.catalog import PUBLIC_STUDIES, group_id_of, list_groups, list_studies
from biocolab_accessor.studies.terms import Term, read_terms

if TYPE_CHECKING:
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector

__all__ = ["Concept", "Found", "Listed", "look_up", "words_of"]

Words = frozenset[str]

_PREFIXES = {"CL": "cell type", "UBERON": "tissue", "MONDO": "disease", "DOID": "disease"}
_HINTS = {"cell": "cell type", "tissue": "tissue", "organ": "tissue", "anatomical": "tissue", "disease": "disease"}

# CL, UBERON and MONDO together have 100,000 terms, with up to 40 above one.
_DEEPEST, _MOST_ABOVE = 200, 10_000_000


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
    above: Sequence[tuple[str, Words]]  # parent first


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


def look_up(connector: BBrowserXConnector, groups: Sequence[str] | None, species: Sequence[str]) -> Found:
    """Studies of groups (None means all, and the public ones) and their terms.

    Requests: the list of groups, one per group and species, one for all terms, and, if there are terms, one for the
    tree of their ontologies.
    """
    with _lock:
        index = _indexes.setdefault(connector, _Index())
    with index.lock:  # another thread that searches waits, instead of asking for the same
        known = index.ask({"groups": partial(list_groups, connector)})["groups"]
        if groups is None:
            ids = [*(row["id"] for row in known), PUBLIC_STUDIES]
        else:
            ids = [group_id_of(connector, group, known) for group in groups]
        pairs = [(id_, name) for id_ in dict.fromkeys(ids) for name in species]
        requests: dict[Any, Callable[[], Any]] = {pair: partial(_listed, connector, *pair) for pair in pairs}
        answers = index.ask({"terms": partial(_terms, connector), **requests})
        terms = answers.pop("terms")
        tree = None
        if terms and pairs:
            tree = index.ask({"tree": partial(_above, connector, *pairs[0])})["tree"]
    studies: dict[str, Listed] = {}
    for pair in pairs:
        for listed in answers[pair]:  # a study can be in several groups: the first one counts
            studies.setdefault(listed.row["uuid"], listed)
    concepts: dict[str, list[Concept]] = {}
    for term in terms or ():
        above = next((tree[key] for key in (term.node, term.node_label) if tree and key in tree), ())
        concepts.setdefault(term.study_id, []).append(_concept(term, above))
    return Found(list(studies.values()), concepts, terms is not None, tree is not None)


def _listed(connector: BBrowserXConnector, group_id: str, species: str) -> list[Listed]:
    try:
        rows = list_studies(connector, group_id, species)
    except ServerError:
        if group_id != PUBLIC_STUDIES:  # which not all servers have, and none lists
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


def _above(
    connector: BBrowserXConnector, group_id: str, species: str
) -> dict[str, tuple[tuple[str, Words], ...]] | None:
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
    waiting: list[tuple[Mapping[str, Any], tuple[tuple[str, Words], ...]]]
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


def _children(node: Any) -> Iterable[Mapping[str, Any]]:
    children = node.get("children") if isinstance(node, Mapping) else None
    if children is None:
        return []
    if not isinstance(children, list) or not all(isinstance(child, Mapping) for child in children):
        msg = "get_ontologies: the children of a term are not a list of terms"
        raise InvalidResponse(msg)
    return children


def _concept(term: Term, above: Sequence[tuple[str, Words]]) -> Concept:
    words = frozenset(words_of(f"{term.label} {term.node_label} {term.node}"))
    return Concept(_kind(term), term.node_label or term.label, words, above)


def _kind(term: Term) -> str:
    for id_ in (term.node, term.ontology_id):
        if kind := _PREFIXES.get(re.split(r"[:_]", id_)[0].upper()):
            return kind
    for text in (term.ontology_label, term.field):
        for word in words_of(text):
            if word in _HINTS:
                return _HINTS[word]
    return term.ontology_label or term.field
