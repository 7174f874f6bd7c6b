from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.protocol import Filters, argument_names


@pytest.mark.parametrize(
    "given",
    [["A", "B"], ("A", "B"), pd.Index(["A", "B"]), pd.Series(["A", "B"]), np.array(["A", "B"]), iter("AB"), "AB"],
)
def test_names_may_be_any_one_dimensional_collection(given: Any) -> None:
    names = argument_names(given, "genes")
    assert names == (["AB"] if isinstance(given, str) else ["A", "B"])
    assert {type(name) for name in names} == {str}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (pd.DataFrame({"A": [1]}), "genes is of type DataFrame: give a name, or a list of names"),
        (np.array([["A"]]), "genes is of type ndarray: give a name, or a list of names"),
        (b"A", "genes is of type bytes: give a name, or a list of names"),
        (5, "genes is of type int: give a name, or a list of names"),
        (None, "genes is of type NoneType: give a name, or a list of names"),
        (["A", 5], "genes contains 5, which is not a string: give a name, or a list of names"),
    ],
)
def test_an_argument_that_does_not_contain_names_is_refused(given: Any, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        argument_names(given, "genes")
    assert str(caught.value) == why


def test_filters_print_as_arguments_and_are_sent_with_the_mitochondrial_share_as_a_fraction() -> None:
    filters = Filters(min_genes=200, mt_percentage=20)
    assert str(filters) == "min_genes=200, mt_percentage=20"
    assert filters.on_the_wire() == {
        "min_counts": 0, "min_genes": 200, "max_counts": 1e9, "max_genes": 1e9, "mt_percentage": 0.2,
    }  # fmt: skip
