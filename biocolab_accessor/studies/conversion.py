"""Conversion: genes, metadata and embeddings of the wire as an AnnData has them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import AmbiguousName, InvalidArgument, InvalidResponse, UnknownField, UnknownGene
from biocolab_accessor.io.names import computed_embedding, is_barcodes, needs_escape, restored
from biocolab_accessor.io.values import labelled, numbers, text_index
from biocolab_accessor.messages import did_you_mean, listing, natural_key, quoted
from biocolab_accessor.protocol import argument_names

__all__ = [
    "ObsColumn",
    "align",
    "categorical",
    "column",
    "expect_shape",
    "gene_names",
    "gene_stripes",
    "obsm_keys",
    "select_fields",
    "select_genes",
    "to_obsm",
    "unique_names",
]


def obsm_keys(names: list[str]) -> dict[str, str]:
    """For each embedding's name the key of obsm.

    What a server computes has the key under which scanpy looks for it: ``t-SNE`` becomes ``X_tsne``. Every other name
    is the key itself, so that what was sent under ``spatial`` is back as ``spatial``, and a key that was sent under a
    safe name (:mod:`biocolab_accessor.io.names`) is what it was. Of names that no file could hold letters and digits
    are left: ``a/b`` becomes ``X_a_b``. Where two names meet in one key, the one that is spelled as the key has it,
    and the other gets a number.

    Examples
    --------
    >>> obsm_keys(["UMAP", "X_umap", "t-SNE", "spatial", "X_spatial"])
    {'UMAP': 'X_umap_2', 'X_umap': 'X_umap', 't-SNE': 'X_tsne', 'spatial': 'spatial', 'X_spatial': 'X_spatial'}
    """
    computed = {name: key for name in names if (key := computed_embedding(name))}
    sent = restored((name for name in names if name not in computed), embedding=True)
    keys = {name: key for name, key in sent.items() if key != name or not needs_escape(name)}
    taken = set(keys.values())
    for name in names:
        if name in keys:
            continue
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "embedding"
        base = key = computed.get(name, f"X_{slug}")
        number = 2
        while key in taken:
            key = f"{base}_{number}"
            number += 1
        taken.add(key)
        keys[name] = key
    return {name: keys[name] for name in names}


def to_obsm(
    embeddings: Mapping[str, NDArray[np.float32]], n_obs: int, study_id: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Embeddings by obsm key, and for each server's name the key that it became.

    Raises
    ------
    InvalidResponse
        One has another number of cells.
    """
    keys = obsm_keys(list(embeddings))
    for name, coordinates in embeddings.items():
        if len(coordinates) != n_obs:
            msg = f"study {study_id}: embedding {quoted(name)} has {len(coordinates):,} rows for {n_obs:,} cells"
            raise InvalidResponse(msg)
    return {keys[name]: array for name, array in embeddings.items()}, keys


_Matrix = TypeVar("_Matrix", sparse.csc_matrix, sparse.csr_matrix)


def expect_shape(matrix: _Matrix, n_obs: int, n_vars: int, study_id: str) -> _Matrix:
    """Give the matrix back if it has the study's shape.

    Raises
    ------
    InvalidResponse
        It has another; its rows or columns could not be named.
    """
    if matrix.shape != (n_obs, n_vars):
        n, m = matrix.shape
        msg = f"study {study_id}: the matrix is {n:,} x {m:,}, but there are {n_obs:,} barcodes and {n_vars:,} features"
        raise InvalidResponse(msg)
    return matrix


def gene_names(genes: Sequence[str] | str) -> list[str]:
    """Names of genes that an argument gives, each once.

    Raises
    ------
    InvalidArgument
        There is none, or something is no name.
    """
    wanted = list(dict.fromkeys(argument_names(genes, "genes")))
    if not wanted:
        msg = "genes is empty: give names, or None for all genes"
        raise InvalidArgument(msg)
    return wanted


def select_genes(genes: Sequence[str] | str, features: Sequence[str], study_id: str) -> list[str]:
    """The genes asked for, each once, in their order.

    Parameters
    ----------
    genes
        Names; one text is one gene.
    features
        All genes of the study.
    study_id
        For messages.

    Raises
    ------
    InvalidArgument
        The list is empty.
    UnknownGene
        The study has no such genes; near names are given.
    AmbiguousName
        Several features have the same name, so that the server's answer could be about any of them.
    """
    wanted = gene_names(genes)
    counts = Counter(features)
    missing = [gene for gene in wanted if gene not in counts]
    if missing:
        near = ", ".join(f"{quoted(gene)}{did_you_mean(str(gene), counts)}" for gene in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        msg = f"study {quoted(study_id)} has no gene {near}{more}; see study.features()"
        raise UnknownGene(msg)
    twice = [gene for gene in wanted if counts[gene] > 1]
    if twice:
        msg = (
            f"study {quoted(study_id)} has several features named {listing(twice)}: "
            "fetch it without genes= and select by var['feature']"
        )
        raise AmbiguousName(msg)
    return wanted


def gene_stripes(
    query: Callable[[Sequence[str]], sparse.csc_matrix], genes: Sequence[str], first: int, most: int
) -> Generator[sparse.csc_matrix, None, None]:
    """Consecutive genes of a study, as many at a time as the last ones let expect.

    Parameters
    ----------
    query
        Asks for some genes.
    genes
        All that are wanted.
    first
        How many to begin with.
    most
        Non-zeros at a time, about; a single gene may have more.
    """
    start, step = 0, max(1, first)
    while start < len(genes):
        stripe = query(genes[start : start + step])
        yield stripe
        start += step
        step = max(1, min(4 * step, int(step * most / max(stripe.nnz, 1))))


ObsColumn = pd.Series | pd.Categorical
"""Numbers, or labels."""


def categorical(codes: NDArray[np.uint16], categories: Sequence[str]) -> pd.Categorical[Any]:
    """A Categorical from codes, without making a string per cell.

    Parameters
    ----------
    codes
        (n_cells,) index into ``categories``.
    categories
        Labels in the server's order; a label that occurs twice becomes one category.
    """
    place = {label: i for i, label in enumerate(dict.fromkeys(categories))}
    wide = np.asarray(codes, np.int32)
    if len(place) < len(categories):
        wide = np.array([place[label] for label in categories], np.int32)[wide]
    return pd.Categorical.from_codes(wide, categories=text_index(list(place)))


def column(values: Sequence[Any]) -> ObsColumn:
    """A JSON column as an obs column: bool, int64, uint64, float64, or a Categorical of strings.

    The JSON type decides, never what a text looks like: ``"001"`` stays a string. ``null`` is missing: NaN in numbers
    (which makes whole numbers floats, or Int64 where floats would not be exact), no category in strings and booleans.
    Numbers that no dtype holds exactly, such as -1 and 2⁶⁴-1 in one column, are labels. The order of categories does
    not travel; they are in the natural one, as anndata has it, with cluster 2 before cluster 10.

    Parameters
    ----------
    values
        One value per cell.

    Raises
    ------
    InvalidResponse
        A value is a list or an object, or a number beyond what a float holds.
    """
    present = [value for value in values if value is not None]
    kinds = {bool if isinstance(value, bool) else type(value) for value in present}
    if kinds & {list, dict}:
        msg = "a metadata column holds lists or objects in place of values"
        raise InvalidResponse(msg)
    if present and kinds <= {int, float}:
        try:
            found = numbers(values)
        except OverflowError as error:
            msg = "a metadata column holds a number beyond what a float holds"
            raise InvalidResponse(msg) from error
        if found is not None:
            return found
    if kinds == {bool} and len(present) == len(values):
        return pd.Series(values, dtype=bool)
    if not present:
        return pd.Series(np.full(len(values), np.nan))
    labels = [None if value is None else str(value) for value in values]
    return labelled(labels, sorted({label for label in labels if label is not None}, key=natural_key))


def align(columns: Mapping[str, Sequence[Any]], barcodes: Sequence[str], what: str) -> dict[str, list[Any]]:
    """JSON columns in the order of ``barcodes``; the barcode column itself is left out.

    Raises
    ------
    InvalidResponse
        The columns are about other cells.
    """
    # Of several that could be meant it is the one that is named most like ``barcodes``, as the protocol has it.
    named = sorted(filter(is_barcodes, columns), key=lambda name: (name != "barcodes", name.casefold() != "barcodes"))
    key = named[0] if named else None
    lengths = {len(values) for values in columns.values()}
    if lengths - {len(barcodes)}:
        msg = f"{what}: {max(lengths):,} rows for {len(barcodes):,} cells"
        raise InvalidResponse(msg)
    rest = {name: list(values) for name, values in columns.items() if name != key}
    own = list(columns[key]) if key is not None else list(barcodes)
    if own == list(barcodes):
        return rest
    place = {str(barcode): i for i, barcode in enumerate(own)}
    if len(place) < len(own) or place.keys() != set(barcodes):
        msg = f"{what}: its barcodes are not those of the matrix"
        raise InvalidResponse(msg)
    order = [place[barcode] for barcode in barcodes]
    return {name: [values[i] for i in order] for name, values in rest.items()}


def select_fields(fields: Sequence[str] | str | None, known: Sequence[str], study_id: str) -> list[str]:
    """The fields asked for, or all.

    Raises
    ------
    UnknownField
        Some are not there; near names are given.
    """
    if fields is None:
        return list(known)
    wanted = list(dict.fromkeys(argument_names(fields, "fields")))
    missing = [name for name in wanted if name not in known]
    if missing:
        near = "; ".join(f"{quoted(name)}{did_you_mean(str(name), known)}" for name in missing)
        msg = f"study {quoted(study_id)} has no metadata field {near}. It has {listing(known)}"
        raise UnknownField(msg)
    return wanted


def unique_names(names: Sequence[str]) -> list[str]:
    """Names with ``-1``, ``-2``, … after repeated ones, never meeting a name that is there already.

    Examples
    --------
    >>> unique_names(["A", "B", "A", "A-1"])
    ['A', 'B', 'A-2', 'A-1']
    """
    if len(set(names)) == len(names):
        return list(names)
    taken, seen, result = set(names), set[str](), list[str]()
    counts: dict[str, int] = {}
    for name in names:
        unique = name
        while unique in seen or (unique != name and unique in taken):
            counts[name] = counts.get(name, 0) + 1
            unique = f"{name}-{counts[name]}"
        seen.add(unique)
        result.append(unique)
    return result
