"""Matrix: from genes-major on the wire to what scanpy works on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, TypeVar

from scipy import sparse

from biocolab_accessor.errors import AmbiguousName, InvalidArgument, InvalidResponse, UnknownGene
from biocolab_accessor.given import given_names
from biocolab_accessor.naming import did_you_mean, listing, quoted

__all__ = ["Format", "Unit", "expect_shape", "gene_names", "gene_stripes", "select_genes", "unit_name"]

Unit = Literal["raw", "lognorm"]
Format = Literal["csr", "csc", "dense"]

_Matrix = TypeVar("_Matrix", sparse.csc_matrix, sparse.csr_matrix)

_UNITS = {"raw": "raw", "counts": "raw", "lognorm": "lognorm"}


def unit_name(unit: Any, what: str = "unit") -> str:
    """The wire's name of a unit: ``raw`` (also spelled ``counts``) or ``lognorm``; enum members are taken too.

    Raises
    ------
    InvalidArgument
        It is neither.
    """
    text = getattr(unit, "value", unit)
    if not isinstance(text, str) or text not in _UNITS:
        msg = f"{what} is {quoted(unit)}: give 'raw' (the counts) or 'lognorm'"
        raise InvalidArgument(msg)
    return _UNITS[text]


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
    wanted = list(dict.fromkeys(given_names(genes, "genes")))
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
