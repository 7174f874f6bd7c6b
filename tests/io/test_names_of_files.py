"""Names: file names are safe everywhere, all different, and keep their extension."""

import pytest

from biocolab_accessor.io.names import distinct, safe_name


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a" * 120 + ".h5ad", ".h5ad"), ("a" * 120 + ".tsv.gz", ".tsv.gz"), ("样本.h5ad", ".h5ad"), (".h5ad", ".h5ad")],
)
def test_a_shortened_name_keeps_its_extension(name, ending):
    safe = safe_name(name)
    assert safe.endswith(ending)
    assert len(ending) < len(safe) <= 100


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "x.h5ad\n", "a/b.c d", "x." + "y" * 200, "a\\b.h5ad"])
def test_a_name_means_nothing_to_a_shell_or_a_file_system(name):
    safe = safe_name(name)
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert 0 < len(safe) <= 100
    assert not safe.startswith(".")


def test_names_shortened_to_the_same_differ_before_their_extension():
    assert distinct(["a" * 120 + ".h5ad", "a" * 121 + ".h5ad"]) == ["a" * 95 + ".h5ad", "a" * 95 + "_2.h5ad"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Sample A (1).h5ad", "Sample_A_1.h5ad"),
        ("X..Y", "X.Y"),
        ("._x_.h5ad", "x.h5ad"),
        (".h5ad.h5ad", "batch.h5ad.h5ad"),
        ("donor", "donor"),
        ("", "batch"),
        ("XX", "XX"),
        ("../T cells; rm", "T_cells_rm"),
        ("样本.h5ad", "batch.h5ad"),
        ("con", "con_"),
    ],
)
def test_a_name_keeps_its_harmless_characters(name, safe):
    assert safe_name(name) == safe


def test_names_that_are_taken_get_their_folder_and_then_a_number():
    names, folders = ["m.tsv.gz"] * 5, ["a", "b", "b", "b", ""]
    assert distinct(names, folders) == ["m.tsv.gz", "b_m.tsv.gz", "b_m_2.tsv.gz", "b_m_3.tsv.gz", "m_2.tsv.gz"]
    assert distinct(["x", "y", "X"], ["a", "b", "c"]) == ["x", "y", "c_X"]
    assert distinct(["x"] * 4) == ["x", "x_2", "x_3", "x_4"]
