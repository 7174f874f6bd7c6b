from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.messages import (
    about_megabytes,
    counted,
    did_you_mean,
    listing,
    natural_key,
    naturally_sorted,
    quoted,
    shown,
)


def test_a_name_in_other_case_is_suggested_before_similar_spelling() -> None:
    assert did_you_mean("cd3d", ["CD3E", "CD3D"]) == " (did you mean 'CD3D'?)"
    assert did_you_mean("CD3DD", ["LYZ", "CD3D"]) == " (did you mean 'CD3D'?)"
    assert did_you_mean("XYZ", ["CD3D"]) == ""


def test_one_word_of_a_name_is_enough_for_a_suggestion() -> None:
    assert did_you_mean("leiden", ["phase", "Leiden clustering"]) == " (did you mean 'Leiden clustering'?)"
    named = ["seurat_cluster.0", "clusters"]
    assert did_you_mean("Cluster", named) == " (did you mean 'seurat_cluster.0' or 'clusters'?)"
    assert did_you_mean("eid", ["Leiden clustering"]) == ""
    assert did_you_mean("", ["_index", "a b"]) == ""


def test_a_count_of_one_is_singular() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2, 1234)] == ["0 cells", "1 cell", "2 cells", "1,234 cells"]
    assert [counted(2, noun) for noun in ("study", "key", "query")] == ["2 studies", "2 keys", "2 queries"]


def test_a_long_list_is_shortened_with_its_length() -> None:
    assert listing("abc") == "'a', 'b', 'c'"
    assert listing(range(10), limit=2) == "0, 1, … and 8 more"
    assert listing(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"


def test_numbers_in_names_are_sorted_by_size_however_long_they_are() -> None:
    long = "9" * 5_000
    names = ["b", "10", "", "2", long, "02", "T cell 10", "T cell 9", "1a"]
    assert sorted(names, key=natural_key) == ["", "1a", "02", "2", "10", long, "T cell 9", "T cell 10", "b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.str_("nan"), "'nan'"),
        (np.int64(3), "3"),
        (np.float32(0.5), "0.5"),
        (np.bool_(True), "True"),
        ((np.str_("a"), np.int8(1)), "('a', 1)"),
        ([np.float64(2)], "[2.0]"),
        ("it's", '"it\'s"'),
        (None, "None"),
        (7, "7"),
    ],
)
def test_a_numpy_scalar_is_written_without_its_type(value: object, text: str) -> None:
    assert quoted(value) == text
    assert listing([value]) == text


def test_non_ascii_characters_can_be_escaped() -> None:
    assert quoted(np.str_("é"), escape=True) == "'\\xe9'"


def test_no_message_of_a_check_shows_a_numpy_type() -> None:
    names = np.array(["nan", "nan", "", "a/b", "MT-ND1", "Mar-01", "ENSG00000000001.2", "ENSG00000000002"])
    table = pd.DataFrame({name: np.arange(8) for name in ("a", "b")}, index=pd.Index(list(names), dtype=object))
    table.columns = pd.Index([np.str_("c/d"), np.int64(3)], dtype=object)
    table["batch"] = pd.Series([np.str_("x"), None, *[np.str_("y")] * 6], index=table.index, dtype=object)
    adata = ad.AnnData(np.eye(8, dtype=np.float32) - 1, layers={np.str_("counts"): np.eye(8) - 1})
    for axis in ("obs", "var"):
        frame = table.copy()
        frame.index = pd.Index([np.str_(name) for name in names], dtype=object)
        setattr(adata, axis, frame)
    adata.obsm["X_umap"] = np.full((8, 2), np.nan)
    adata.uns[np.str_("u/v")] = {1}
    for wanted in ("auto", "raw", "normalized"):
        report = adata.biocolab.check(input_matrix_type=wanted, batch_key="batch", species="mouse")
        assert len(report) > 6
        shown = f"{report!r}{report.to_frame().to_string()}"
        assert not re.search(r"np\.\w+\(", shown), re.findall(r".*np\.\w+\(.*", shown)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("T cells", "T cells"),
        ("Größe 单细胞 🧬", "Größe 单细胞 🧬"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("gpj\u202etxt", "gpj\\u202etxt"),
        ("pass\u200bword\ufeff", "pass\\u200bword\\ufeff"),
        ("\u2028\u2066\xad\U000e0041", "\\u2028\\u2066\\xad\\U000e0041"),
        ("half \ud800", "half \\ud800"),
        (None, "None"),
    ],
)
def test_control_and_invisible_characters_are_escaped(text: object, seen: str) -> None:
    assert shown(text) == seen


def test_lines_of_a_message_stay_lines() -> None:
    assert shown("one\n\ttwo\r\x1b", lines=True) == "one\n\ttwo\\r\\x1b"


@given(st.lists(st.text("01a_ T٣é", max_size=6), max_size=12))
def test_the_fast_order_of_texts_is_the_natural_one(texts: list[str]) -> None:
    assert naturally_sorted(texts) == sorted(texts, key=natural_key)


def test_numbers_of_more_digits_than_int_reads_are_in_order() -> None:
    long = "9" * 5000
    assert naturally_sorted([f"c{long}", "c10", "c9"]) == ["c9", "c10", f"c{long}"]


def test_a_small_size_is_not_shown_as_zero() -> None:
    assert about_megabytes(5_712_345) == "about 5.7 MB"
    assert about_megabytes(7_000) == "less than 0.1 MB"
