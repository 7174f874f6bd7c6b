from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.base import columns_on_the_wire, read_table
from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidFile, InvalidNames, TooLarge


def test_numbers_are_sent_as_numbers_and_text_as_text_whatever_it_looks_like() -> None:
    table = pd.DataFrame(
        {
            "code": ["001", "1e5"],
            "big": [2**53 + 1, 1],
            "part": [0.73, 1.9],
            "good": [True, False],
            "label": pd.Categorical(["1", "2"]),
            "boxed": pd.Series([3, 4], dtype=object),
        }
    ).set_axis([7, 8])
    assert columns_on_the_wire(table) == [
        {
            "barcodes": ["7", "8"],
            "code": ["001", "1e5"],
            "big": [9007199254740993, 1],
            "part": [0.73, 1.9],
            "good": ["True", "False"],
            "label": ["1", "2"],
            "boxed": [3, 4],
        }
    ]


def test_cells_without_a_value_are_left_out_and_columns_with_the_same_gaps_are_sent_together() -> None:
    table = pd.DataFrame({"a": [1.5, None, 3.0], "b": ["x", None, "z"], "c": [1, 2, 3]}, index=["k", "l", "m"])
    assert columns_on_the_wire(table) == [
        {"barcodes": ["k", "m"], "a": [1.5, 3.0], "b": ["x", "z"]},
        {"barcodes": ["k", "l", "m"], "c": [1, 2, 3]},
    ]


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        ([1], InvalidArgument, "is a list: it must be a pandas.DataFrame"),
        (pd.Series([1]), InvalidArgument, "is a Series"),
        (pd.DataFrame({"a": [1, 2]}, index=["x", "x"]), InvalidArgument, "unique"),
        (pd.DataFrame({"a": [1, 2]}, index=["x", None]), InvalidArgument, "without missing values"),
        (pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])), InvalidArgument, "one level"),
        (pd.DataFrame(index=["x"]), InvalidNames, "must have columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), InvalidNames, "names must differ: 'a', 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), InvalidNames, "names must differ"),
        (pd.DataFrame({"Barcodes": ["x"]}), InvalidNames, "would replace the barcodes"),
        (pd.DataFrame({"a": [None]}), InvalidColumn, "'a' has no values: drop it"),
        (pd.DataFrame({"a": [1, "x"]}), InvalidColumn, "convert it"),
        (pd.DataFrame({"a": [float("inf")]}), InvalidColumn, "infinite"),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), InvalidColumn, "Timestamp"),
    ],
)
def test_a_table_that_cannot_be_sent_is_refused(table: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        columns_on_the_wire(table)


def test_a_file_keeps_its_labels(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        'cell,code,n,share,label,note\n001,007,1,0.5,NA,"a\tb"\n2,1,-2,,B cell,\n3,2,30,NA,,c\n', encoding="utf-8"
    )
    table = read_table(tmp_path / "x.csv")
    assert table.index.tolist() == ["001", "2", "3"]
    assert columns_on_the_wire(table) == [
        {"barcodes": ["001", "2", "3"], "code": ["007", "1", "2"], "n": [1, -2, 30]},
        {"barcodes": ["001"], "share": [0.5]},
        {"barcodes": ["001", "2"], "label": ["NA", "B cell"]},
        {"barcodes": ["001", "3"], "note": ["a\tb", "c"]},
    ]


def test_integers_with_gaps_stay_integers_and_too_long_ones_are_labels(tmp_path: Path) -> None:
    (tmp_path / "x.tsv.gz").write_bytes(
        gzip.compress(b"cell\tn\tid\na\t9007199254740993\t99999999999999999999\nb\t\t1\n")
    )
    assert columns_on_the_wire(read_table(tmp_path / "x.tsv.gz")) == [
        {"barcodes": ["a"], "n": [9007199254740993]},
        {"barcodes": ["a", "b"], "id": ["99999999999999999999", "1"]},
    ]


def test_floats_in_a_file_are_read_to_the_last_digit(tmp_path: Path) -> None:
    written = np.random.default_rng(0).random(200) * 10.0 ** np.random.default_rng(1).integers(-300, 300, 200)
    (tmp_path / "x.csv").write_text("cell,n\n" + "".join(f"c{i},{value!s}\n" for i, value in enumerate(written)))
    (columns,) = columns_on_the_wire(read_table(tmp_path / "x.csv"))
    assert columns["n"] == written.tolist()


def test_integers_that_fractions_in_their_column_would_round_are_labels(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("cell,n,m\na,9007199254740993,9007199254740992\nb,0.5,0.5\n")
    (columns,) = columns_on_the_wire(read_table(tmp_path / "x.csv"))
    assert columns["n"] == ["9007199254740993", "0.5"]
    assert columns["m"] == [2.0**53, 0.5]


@pytest.mark.parametrize(("separator", "name"), [(",", "x.txt"), ("\t", "x.txt"), ("\t", "x"), (",", "y.csv.txt")])
def test_the_separator_of_a_file_with_an_unknown_suffix_is_taken_from_its_first_line(
    tmp_path: Path, separator: str, name: str
) -> None:
    (tmp_path / name).write_text(f"cell{separator}n\na{separator}1e-05\nb{separator}.5\n")
    assert columns_on_the_wire(read_table(tmp_path / name)) == [{"barcodes": ["a", "b"], "n": [1e-05, 0.5]}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "cannot be read as a metadata table"),
        (b"\x89HDF\r\n\x1a\n\xff\xfe", "cannot be read as a metadata table"),
        (b"cell\na\n", "has only one column"),
        (b"n,m\na,1,2\nb,3,4\n", "name the column of barcodes too"),
    ],
)
def test_a_file_that_is_not_a_table_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InvalidFile, match=rf"x\.csv.*{says}"):
        read_table(tmp_path / "x.csv")


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_a_compressed_table_of_more_text_than_fits_is_refused_before_it_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.csv{ending}"
    pd.DataFrame({"barcode": ["A" * 1_000_000] * 8, "n": 1}).to_csv(path, index=False)
    assert path.stat().st_size < 200_000
    with bc.settings.override(memory_budget=30_000_000), pytest.raises(TooLarge, match="submit fewer columns or cells"):
        read_table(path)
    assert len(read_table(path)) == 8


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_a_compressed_table_that_is_cut_off_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.csv{ending}"
    pd.DataFrame({"barcode": [f"{i * 2654435761}" for i in range(2000)], "n": 1}).to_csv(path, index=False)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidFile, match=r"x\.csv\.\w+ cannot be read as a metadata table"):
        read_table(path)
