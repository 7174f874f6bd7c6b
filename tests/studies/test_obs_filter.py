"""Filter: what a filter may say, what it selects, and how a wrong one is refused."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidArgument, InvalidFilter, UnknownField
from biocolab_accessor.studies.obs_filter import ObsFilter, labels_of

FRAME = pd.DataFrame(
    {
        "phase": pd.Categorical(["S", "G1", None, "S", "G2M"]),
        "code": pd.Categorical(["001", "1", "01", None, "001"]),
        "cell type": pd.Categorical(["B", "it's", "B & T", "T|B", None]),
        "percent.mt": np.array([0.1, 5, np.nan, 2.5, 1], np.float32),
        "n": [1, 2, 3, 4, 5],
        "m": [5, 2, 1, 4, 6],
        "many": pd.array([2**53 + 1, None, 3, 3, 7], "Int64"),
        "doublet": [True, False, False, True, False],
        "Größe": [1.0, 2.0, 3.0, 4.0, 5.0],
        "nothing": np.full(5, np.nan),
    }
)


def test_a_date_in_a_comparison_leads_to_a_line_that_selects_cells_by_it() -> None:
    dates = pd.DataFrame({"d": pd.Categorical(["2026-03-01", "2026-03-02"])}, index=["a", "b"])
    with pytest.raises(InvalidFilter, match="have no order") as caught:
        ObsFilter.of("'2026-03-02' <= d").mask(dates)
    first, _, second = caught.value.line.partition("; ")
    assert first == "dates = pd.to_datetime({study}.metadata('d')['d'])"
    assert second == "{study}.to_anndata(cells=dates.index[dates >= '2026-03-02'])"
    with pytest.raises(InvalidFilter) as without:
        ObsFilter.of("d > 'later'").mask(dates)
    assert without.value.line == ""


def test_cells_that_bioflex_labels_unassigned_are_not_taken_for_missing_without_a_word() -> None:
    frame = pd.DataFrame(
        {"of bioflex": pd.Categorical(["a", "Unassigned"]), "other": pd.Categorical(["Unassigned", None])}
    )
    for text, wanted in (("`of bioflex`.notna()", [True, True]), ("`of bioflex`.isna()", [False, False])):
        with pytest.warns(UserWarning, match="'of bioflex' has no missing labels, .*compare with == 'Unassigned'"):
            assert list(ObsFilter.of(text).mask(frame)) == wanted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(ObsFilter.of("other.notna()").mask(frame)) == [True, False]
        assert list(ObsFilter.of("`of bioflex` == 'Unassigned'").mask(frame)) == [False, True]


def test_truth_values_that_bioflex_sends_as_labels_are_compared_as_such() -> None:
    frame = pd.DataFrame({"doublet": pd.Categorical(["True", "False"]), "phase": pd.Categorical(["S", "True"])})
    with pytest.raises(InvalidFilter, match="'doublet' holds labels, not True or False: compare with == 'True'"):
        ObsFilter.of("not doublet").mask(frame)
    with pytest.raises(InvalidFilter, match="'phase' holds labels, not True or False: write conditions such as"):
        ObsFilter.of("not phase").mask(frame)
    assert list(ObsFilter.of("doublet == 'True'").mask(frame)) == [True, False]


def rows(text: str) -> list[int]:
    wanted = ObsFilter.of(text)
    wanted.expect_fields(list(FRAME.columns), "A")
    wanted.expect_labels(labels_of(FRAME))
    return np.flatnonzero(wanted.mask(FRAME)).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "phase == 'S'",
        "phase != 'S'",
        "'S' == phase",
        "phase in ['S', 'G1'] and n > 1",
        "phase not in ['S']",
        "phase == ['S', 'G1']",
        "not phase == 'S'",
        "~(phase == 'S') & n > 2",
        "n == 1 | n == 5 & phase == 'G1'",
        "1 < n <= 4",
        "n >= m",
        "3 > n",
        "code == '001'",
        '`cell type` == "it\'s"',
        "`cell type` in ['B & T', 'T|B']",
        "`percent.mt` < 5 and Größe > 1.5",
        "`percent.mt` == 0.1",
        "`percent.mt`.isna() or n == 1",
        "phase.notna()",
        "not phase.isna()",
        "doublet",
        "not doublet and n < 5",
        "doublet == False",
        "many == 3",
        "not many == 3",
        "many != 9007199254740993",
        "many not in [3]",
        "n > -1 and n < 1e300",
        "nothing > 2",
        "nothing != 1",
    ],
)
def test_a_filter_selects_the_rows_of_pandas_query(text: str) -> None:
    assert rows(text) == FRAME.query(text.strip(), engine="python").index.tolist()


def test_a_filter_may_have_several_lines() -> None:
    assert rows("""
        (n > 2)
        and phase == 'S'
    """) == [3]


def test_isna_is_a_function_and_a_method() -> None:
    assert rows("isna(phase)") == rows("phase.isna()") == [2]
    assert rows("notna(`cell type`)") == [0, 1, 2, 3]


def test_a_list_finds_a_float32_as_equality_does() -> None:
    assert rows("`percent.mt` in [0.1]") == rows("`percent.mt` == 0.1") == [0]
    assert rows("`percent.mt` not in [0.1]") == [1, 2, 3, 4]
    assert rows("n in []") == rows("phase in []") == []
    assert rows("many in [9007199254740993, 7]") == [0, 4]
    assert rows("n in [2.5, 3, 5e300]") == [2]
    assert rows("doublet in [True]") == [0, 3]


def test_a_field_of_missing_values_equals_nothing_not_even_text() -> None:
    assert rows("nothing == 'S' or nothing in ['S'] or nothing == n or nothing") == []


def test_fields_are_named_once_in_the_order_of_the_text() -> None:
    assert list(ObsFilter.of("n > 1 and `cell type` == 'B' or n < m").fields) == ["n", "cell type", "m"]


def test_each_clause_counts_its_own_rows() -> None:
    wanted = ObsFilter.of("(phase == 'S' or n in [1, 2]) and not `percent.mt`.isna()")
    assert wanted.counts(FRAME) == [("phase == 'S'", 2), ("n in [1, 2]", 2), ("not `percent.mt`.isna()", 4)]


REFUSED = {
    "": "is empty",
    "   ": "is empty",
    "phase = 'S'": "column 7",
    "phase == 'S": "column 10: this ' is not closed",
    "`phase == 'S'": "this ` is not closed",
    "`` == 1": "the backticks are empty: write a field",
    "(n > 1": "column 1: '(' was never closed",
    "n > 1)": "column 6",
    "n > 'a'": "column 5: field 'n' holds numbers, but 'a' is text: write a number",
    "n > True": "'n' holds numbers, but True is True or False",
    "phase == 1": "'phase' holds labels, but 1 is a number: write it in quotes, '1'",
    "doublet == 1": "'doublet' holds True and False, but 1 is a number: write True or False",
    "code in ['1', '0001']": "column 15: field 'code' has no label '0001' (did you mean '001'",
    "phase == 's'": "did you mean 'S'?",
    "phase > 'S'": "have no order",
    "phase > 'nothing'": "have no order",
    "doublet < True": "have no order",
    "phase == code or phase < code": "have no order",
    "phase == n": "'phase' holds labels, but 'n' holds numbers: compare fields of one kind",
    "n": "holds numbers, not True or False",
    "'S'": "a value is not a condition",
    "1 == 1": "compares no field",
    "1 in n": "the field comes first",
    "[1] == n": "the field comes first",
    "n in 1": "write a list of values after in",
    "n in m": "write a list of values after in",
    "n > [1, 2]": "a list can only be compared by in or not in",
    "phase is None": "None is not a value: write field.isna()",
    "n is m": "is is not a comparison",
    "n + 1 > 2": "arithmetic is not allowed here",
    "n > 2 * 3": "arithmetic is not allowed here",
    "n > --1": "this is not allowed here",
    "n > -True": "this is not allowed here",
    "percent.mt < 5": "write a name with a dot in backticks",
    "phase.str.upper() == 'S'": "a call is not allowed here",
    "n > 1 and open('x')": "column 11: only isna and notna can be called",
    "__import__('os').system('true')": "only isna and notna can be called",
    "phase.isna(1)": "only isna and notna can be called",
    "isna(field=n)": "only isna and notna can be called",
    "n.isna().any()": "only isna and notna can be called",
    "().__class__": "an attribute is not a condition",
    "n > n.__class__": "a dot is not allowed",
    "n[0] > 1": "an index in brackets is not allowed here",
    "lambda: n": "a function is not a condition",
    "(n := 1)": "an assignment is not a condition",
    "n if n else m": "an if is not a condition",
    "[n for n in m]": "this is not a condition",
    "phase == f'{n}'": "an f-string is not allowed here",
    "phase == b'S'": "a value is not allowed here",
    "n == 1j": "a value is not allowed here",
    "n == ...": "a value is not allowed here",
    "n in [[1]]": "a list is not allowed here",
    "n in {1: 2}": "a dict is not allowed here",
    "n > @limit": "variables are not read",
    "n > 1 # and": "a comment is not allowed",
    "n > 1; m > 1": "a filter is one expression",
    "n > \\1": "only allowed inside quotes",
    "n > 1 and and m > 1": "column 11",
    "yield n": "column",
    "*n": "column",
    "n\0 > 1": "column",
    "phase == '\ud800'": "not text",
    "n > 1" + "0" * 5000: "column",
    "(" * 3000 + "n": "too many nested parentheses",
    "not " * 2400 + "doublet": "nested too deeply",
    "~" * 9000 + "doublet": "nested too deeply",
    "n > " + "-" * 9000 + "1": "column",
    "(n > 1 and " * 80 + "n > 1" + ")" * 80: "nested too deeply",
    "[" * 5000 + "]" * 5000: "column",
    "n" + ".n" * 4000 + " > 1": "column",
    "n > 1 or " * 2000 + "n > 1": "has 18,005 characters, more than 10,000",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: f"{text!a:.30}")
def test_a_wrong_filter_is_refused_with_its_place_and_a_remedy(text: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        rows(text)
    assert REFUSED[text] in str(raised.value)
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize("text", [3, b"n > 1", ["n > 1"], pd.Series([True])])
def test_a_filter_that_is_not_text_is_refused(text: object) -> None:
    with pytest.raises(InvalidArgument, match=r"obs_filter is of type .*: write conditions"):
        ObsFilter.of(text)


def test_an_unknown_field_is_refused_with_near_names() -> None:
    with pytest.raises(
        UnknownField, match=r"column 11: study 'A' has no metadata field 'Phase' \(did you mean 'phase'"
    ):
        rows("n > 1 and Phase == 'S'")
    with pytest.raises(UnknownField, match="no metadata field 'cell type '"):
        rows("`cell type ` == 'B'")


@pytest.mark.parametrize("before", ["", "Größe > 1 and `cell type` == 'B' and ", "n > 1 and " * 90])
def test_the_caret_is_below_the_wrong_value(before: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        rows(f"{before}n > 'a'")
    _, line, caret = str(raised.value).splitlines()
    assert line[caret.index("^") :].startswith("'a'")


def test_a_hostile_filter_executes_nothing(tmp_path, monkeypatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr("builtins.eval", ran.append)
    monkeypatch.setattr("builtins.exec", ran.append)
    for call in (f"open({str(tmp_path / 'made')!r}, 'w')", "().__class__.__mro__[-1].__subclasses__()", "n.__len__()"):
        for text in (call, f"n > 1 or {call}", f"n == {call}", f"n in [{call}]", f"isna({call})", f"not {call}"):
            with pytest.raises(InvalidFilter):
                rows(text)
    assert ran == []
    assert list(tmp_path.iterdir()) == []


def hostile_filters(number: int) -> list[str]:
    """Filters of up to 10,000 characters around something that no filter may have."""
    rng = random.Random(0)
    bad = [
        "open('x')",
        "n.__class__",
        "().__class__.__mro__",
        "n[0]",
        "lambda: n",
        "(n := 1)",
        "f'{n}'",
        "n ** n",
        "@n",
    ]
    bad += [
        "9**9**9 > n",
        "n if n else m",
        "[n for n in m]",
        "n > 'a' * 9999",
        "yield n",
        "*n",
        "n is m",
        "`n",
        "'n",
        "n\0",
    ]
    bad += [
        "(" * 4000 + "n",
        "not " * 2000 + "n",
        "~" * 9000 + "n",
        "n" + ".n" * 4000,
        "[" * 4000,
        "n > " + "-" * 9000 + "1",
    ]
    bad += ["n in " + "[" * 2000 + "]" * 2000, "n > 1" + "0" * 5000, "phase == '" + "\ud800" * 99 + "'", "(n, " * 2000]
    found = []
    for count in range(number):
        text = bad[count % len(bad)]
        for _ in range(rng.randrange(4)):
            text = rng.choice(
                ["not ({})", "({}) and n > 1", "n > 1 or ({})", "n == ({})", "isna({})", "n in [{}]"]
            ).format(text)
        found.append(f"{'n > 1 and ' * rng.randrange((10_000 - len(text)) // 10 if len(text) < 9_990 else 1)}{text}")
    return found


def refusal_time(text: str) -> float:
    """Seconds of processor time, at best of three."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        with pytest.raises(InvalidFilter):
            ObsFilter.of(text)
        times.append(time.thread_time() - began)
    return min(times)


@pytest.mark.sweeps  # coverage, which plain pytest is measured with, takes most of the time
def test_each_of_200_hostile_filters_is_refused_in_less_than_50_ms_of_processor_time() -> None:
    gc.disable()  # collecting all that a session has imported takes longer
    try:
        slow = {text: took for text in hostile_filters(200) if (took := refusal_time(text)) >= 0.05}
    finally:
        gc.enable()
    assert slow == {}


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"n < {HUGE} and `percent.mt` < {HUGE}", [0, 1, 3, 4]),
        (f"n < -{HUGE} or `percent.mt` == {HUGE} or many in [{HUGE}, 7]", [4]),
        (f"n in [{HUGE}, -{HUGE}, 2.5, 2]", [1]),
        ("many in [9007199254740993, 9007199254740992.0, 1e300, 18446744073709551616]", [0]),
        ("many not in [3]", [0, 1, 4]),
        ("doublet in [True, True]", [0, 3]),
    ],
)
def test_a_number_that_no_field_can_hold_compares_as_infinity(text: str, expected: list[int]) -> None:
    assert rows(text) == expected


def test_a_list_of_thousands_of_values_takes_no_memory_for_each_of_them() -> None:
    frame = pd.DataFrame({"n": np.arange(20_000) % 2_000, "b": np.arange(20_000) % 2 == 0})
    wanted = ObsFilter.of(f"n in [{', '.join(map(str, range(1_800)))}]")
    tracemalloc.start()
    try:
        selected = int(wanted.mask(frame).sum())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert selected == 18_000
    assert peak < 4_000_000  # one byte for each value and cell would be 36,000,000
