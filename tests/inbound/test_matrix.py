from __future__ import annotations

import pytest
from bioturing_connector.typing import StudyUnit

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.inbound.matrix import select_genes, unit_name


def test_units_have_their_usual_names_and_the_official_ones() -> None:
    assert [unit_name(u) for u in ("raw", "counts", "lognorm", StudyUnit.UNIT_LOGNORM)] == [
        "raw",
        "raw",
        "lognorm",
        "lognorm",
    ]
    with pytest.raises(InvalidArgument, match="'normalized'"):
        unit_name("normalized")


def test_genes_are_taken_once_in_their_order() -> None:
    assert select_genes(["B", "A", "B"], ["A", "B", "C"], "S") == ["B", "A"]
    assert select_genes("C", ["A", "B", "C"], "S") == ["C"]
