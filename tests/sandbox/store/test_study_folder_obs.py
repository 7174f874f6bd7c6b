from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.store.study_folder import Column, ObsTable


def test_values_are_stored_exactly_with_their_kind(tmp_path: Path) -> None:
    columns = {
        "whole": np.array([2**53 + 1, -1]),
        "real": np.array([0.1, np.nan]),
        "truth": np.array([True, False]),
        "text": pd.Series(["001", None], dtype=object),
        "label": pd.Categorical(["b", "a"], categories=["b", "a", "c"]),
    }
    ObsTable.of(columns).write(tmp_path / "obs.npz")
    found = ObsTable.read(tmp_path / "obs.npz").columns
    assert {name: column.as_json() for name, column in found.items()} == {
        "whole": [2**53 + 1, -1],
        "real": [0.1, None],
        "truth": [True, False],
        "text": ["001", None],
        "label": ["b", "a"],
    }
    assert found["label"].labels == ("b", "a", "c")
    assert list(tmp_path.iterdir()) == [tmp_path / "obs.npz"]


def test_nullable_numbers_are_stored_as_numbers() -> None:
    missing, whole = (Column.of(pd.Series(pd.array(values, dtype="Int64"))) for values in ([1, None], [2**53 + 1, 2]))
    assert (missing.labels, missing.as_json()) == (None, [1.0, None])
    assert (whole.labels, whole.as_json()) == (None, [2**53 + 1, 2])
    assert Column.of(pd.Series(pd.array([1.5, None], dtype="Float64"))).as_json() == [1.5, None]
    assert Column.of(pd.Series(pd.array([True, False], dtype="boolean"))).as_json() == [True, False]
    assert Column.of(pd.Series(pd.array([True, None], dtype="boolean"))).as_json() == ["True", None]


def test_missing_labels_get_an_unused_label() -> None:
    column = Column.of(pd.Series(["Unassigned", None, "x"], dtype=object))
    labels, codes = column.as_category()
    assert [labels[code] for code in codes] == ["Unassigned", "Unassigned_", "x"]


def test_bools_become_a_category_if_the_protocol_has_no_bools() -> None:
    labels, codes = Column.of(pd.Series([True, False])).as_category()
    assert [labels[code] for code in codes] == ["True", "False"]


def test_more_labels_than_16_bits_are_refused() -> None:
    with pytest.raises(HTTPError, match="70,000 labels"):
        Column.of(pd.Series([str(i) for i in range(70_000)])).as_category()


def test_columns_of_a_request_are_in_memory_once_while_they_are_added() -> None:
    cells = [str(number) for number in range(5000)]
    tracemalloc.start()
    try:
        columns = {f"column {i}": [i + number + 0.5 for number in range(5000)] for i in range(20)}
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        added = ObsTable({}).with_values(cells, cells, columns)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * held
    assert columns == {}
    assert added.columns["column 7"].values[:2].tolist() == [7.5, 8.5]


def test_columns_are_joined_by_barcode() -> None:
    table = ObsTable.of({"old": np.array([1, 2, 3])})
    added = table.with_values(["a", "b", "c"], ["c", "a"], {"x": ["p", "q"], "n": [1, 2]})
    assert added.columns["x"].as_json() == ["q", None, "p"]
    assert added.columns["n"].as_json() == [2.0, None, 1.0]
    assert added.columns["old"].as_json() == [1, 2, 3]
    with pytest.raises(HTTPError, match="'z'"):
        table.with_values(["a"], ["z"], {"x": ["p"]})
    with pytest.raises(HTTPError, match="value for each"):
        table.with_values(["a"], ["a"], {"x": []})
