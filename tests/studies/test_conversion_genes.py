from __future__ import annotations

import numpy as np
import pytest
from bioturing_connector.typing import StudyUnit
from scipy import sparse

from biocolab_accessor.errors import AmbiguousName, InvalidArgument, InvalidResponse, UnknownGene
from biocolab_accessor.protocol import unit_name
from biocolab_accessor.studies.conversion import expect_shape, select_genes


def test_units_have_their_usual_names_and_the_official_ones() -> None:
    assert [unit_name(u) for u in ("raw", "counts", "lognorm", StudyUnit.UNIT_LOGNORM)] == [
        "raw",
        "raw",
        "lognorm",
        "lognorm",
    ]


def test_an_unknown_unit_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument) as caught:
        unit_name("normalized")
    assert str(caught.value) == "unit is 'normalized': give 'raw' (the counts) or 'lognorm'"
    with pytest.raises(InvalidArgument, match="unit is \\['raw'\\]"):
        unit_name(["raw"])


@pytest.mark.parametrize("make", [sparse.csc_matrix, sparse.csr_matrix])
def test_a_matrix_with_the_shape_of_the_study_is_returned_unchanged(make: type) -> None:
    matrix = make(np.eye(3, 2))
    assert expect_shape(matrix, 3, 2, "S") is matrix


@pytest.mark.parametrize(("n_obs", "n_vars"), [(2_700, 2), (3, 32_738), (2, 3)])
def test_a_matrix_of_another_shape_is_refused_with_both_shapes(n_obs: int, n_vars: int) -> None:
    with pytest.raises(InvalidResponse) as caught:
        expect_shape(sparse.csc_matrix(np.eye(3, 2)), n_obs, n_vars, "S")
    assert str(caught.value) == (
        f"study S: the matrix is 3 x 2, but there are {n_obs:,} barcodes and {n_vars:,} features"
    )


def test_genes_are_taken_once_in_their_order() -> None:
    assert select_genes(["B", "A", "B"], ["A", "B", "C"], "S") == ["B", "A"]
    assert select_genes("CD3D", ["C", "D", "CD3D"], "S") == ["CD3D"]


def test_genes_are_plain_strings_for_any_type_of_argument() -> None:
    found = select_genes(np.array(["B", "A"]), ["A", "B"], "S")
    assert (found, {type(name) for name in found}) == (["B", "A"], {str})


def test_an_empty_list_of_genes_does_not_mean_all_genes() -> None:
    with pytest.raises(InvalidArgument) as caught:
        select_genes([], ["A", "B"], "S")
    assert str(caught.value) == "genes is empty: give names, or None for all genes"


def test_unknown_genes_are_named_with_similar_ones() -> None:
    with pytest.raises(UnknownGene) as caught:
        select_genes(["CD3D", "cd79a", "Zyx"], ["CD3D", "CD79A"], "S")
    assert str(caught.value) == ("study 'S' has no gene 'cd79a' (did you mean 'CD79A'?), 'Zyx'; see study.features()")


@pytest.mark.parametrize(("number", "more"), [(8, ""), (9, " and 1 more"), (30, " and 22 more")])
def test_at_most_eight_missing_genes_are_named(number: int, more: str) -> None:
    with pytest.raises(UnknownGene) as caught:
        select_genes([f"g{i}" for i in range(number)], ["ACTB"], "S")
    named = ", ".join(f"'g{i}'" for i in range(8))
    assert str(caught.value) == f"study 'S' has no gene {named}{more}; see study.features()"


def test_a_name_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="genes contains 17, which is not a string"):
        select_genes([17], ["ACTB"], "S")


def test_only_genes_with_a_repeated_name_are_refused() -> None:
    features = ["TBCE", "ACTB", "TBCE"]
    assert select_genes(["ACTB"], features, "S") == ["ACTB"]
    with pytest.raises(AmbiguousName) as caught:
        select_genes(["ACTB", "TBCE"], features, "S")
    assert str(caught.value) == (
        "study 'S' has several features named 'TBCE': fetch it without genes= and select by var['feature']"
    )
