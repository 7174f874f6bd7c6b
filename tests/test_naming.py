from __future__ import annotations

from biocolab_accessor.naming import counted, did_you_mean, listing, natural_key


def test_case_comes_before_spelling() -> None:
    assert did_you_mean("cd3d", ["CD3E", "CD3D"]) == " (did you mean 'CD3D'?)"
    assert did_you_mean("CD3DD", ["LYZ", "CD3D"]) == " (did you mean 'CD3D'?)"
    assert did_you_mean("XYZ", ["CD3D"]) == ""


def test_one_word_of_a_name_is_enough() -> None:
    assert did_you_mean("leiden", ["phase", "Leiden clustering"]) == " (did you mean 'Leiden clustering'?)"
    named = ["seurat_cluster.0", "clusters"]
    assert did_you_mean("Cluster", named) == " (did you mean 'seurat_cluster.0' or 'clusters'?)"
    assert did_you_mean("eid", ["Leiden clustering"]) == ""
    assert did_you_mean("", ["_index", "a b"]) == ""


def test_one_is_no_plural() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2, 1234)] == ["0 cells", "1 cell", "2 cells", "1,234 cells"]


def test_long_lists_are_cut_with_their_number() -> None:
    assert listing("abc") == "'a', 'b', 'c'"
    assert listing(range(10), limit=2) == "0, 1, … and 8 more"
    assert listing(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"


def test_numbers_in_names_are_in_order_of_size_however_long_they_are() -> None:
    long = "9" * 5_000
    names = ["b", "10", "", "2", long, "02", "T cell 10", "T cell 9", "1a"]
    assert sorted(names, key=natural_key) == ["", "1a", "02", "2", "10", long, "T cell 9", "T cell 10", "b"]
