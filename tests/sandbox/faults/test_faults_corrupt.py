from __future__ import annotations

import json

import pytest

from biocolab_accessor.sandbox.faults.faults import corrupt


@pytest.mark.parametrize("answer", ["text", 5, {"status": 200, "data": 5}, {"data": {"authors": ["a"], "n": 1}}])
def test_an_answer_with_nothing_to_shorten_stays_unchanged(answer: object) -> None:
    assert json.loads(corrupt("wrong_lengths", json.dumps(answer).encode(), {})) == answer


def test_a_list_loses_its_last_item_and_a_table_the_last_item_of_its_first_column() -> None:
    assert json.loads(corrupt("wrong_lengths", b'["a", "b"]', {})) == ["a"]
    table = {"data": {"Barcodes": ["a", "b"], "x": [1, 2]}}
    assert json.loads(corrupt("wrong_lengths", json.dumps(table).encode(), {})) == {
        "data": {"Barcodes": ["a"], "x": [1, 2]}
    }
