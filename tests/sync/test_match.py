from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidNames, UnknownName
from biocolab_accessor.sync.match import MatchReport, match

STUDY = ["AAAC-1", "AAAG-1", "AACT-1", "AATT-1"]


def sequences(number: int, *, seed: int) -> list[str]:
    """Barcodes of 16 letters, as in 10x data."""
    dice = np.random.default_rng(seed)
    return ["".join(dice.choice(list("ACGT"), 16)) for _ in range(number)]


def matched(here: list[str], there: list[str] = STUDY) -> MatchReport:
    return match(pd.Index(here), there, "pbmc", remedy="Rename them.").report(written=[])


class TestMatch:
    def test_cells_are_found_whatever_their_order(self) -> None:
        found = match(pd.Index(["AATT-1", "NOBODY", "AAAC-1"]), STUDY, "pbmc", remedy="")
        np.testing.assert_array_equal(found.rows, [3, -1, 0])
        np.testing.assert_array_equal(found.rows_only_there(), [1, 2])
        assert found.lacking == 1

    @pytest.mark.parametrize(
        ("here", "numbers"),
        [
            (STUDY, (4, 0, 0)),
            (STUDY[::-1], (4, 0, 0)),
            (STUDY[:1], (1, 0, 3)),
            ([*STUDY, "x", "y"], (4, 2, 0)),
            (["x", "AACT-1"], (1, 1, 3)),
        ],
    )
    def test_both_sides_are_counted(self, here: list[str], numbers: tuple[int, int, int]) -> None:
        report = matched(here)
        assert (report.matched, report.only_here, report.only_there) == numbers
        assert report.complete is (numbers[1:] == (0, 0))

    def test_a_repeated_barcode_is_refused_and_named(self) -> None:
        with pytest.raises(InvalidNames, match=r"1 barcodes occur more than once here: 'AAAC-1'"):
            matched(["AAAC-1", "AAAG-1", "AAAC-1"])

    def test_numbers_are_no_barcodes(self) -> None:
        with pytest.raises(InvalidNames, match="not all names here are strings"):
            match(pd.RangeIndex(3), STUDY, "pbmc", remedy="")


class TestNothingMatches:
    def test_examples_of_both_sides_are_shown(self) -> None:
        with pytest.raises(UnknownName, match=r"none of the 2 cells here are among the 4 of study 'pbmc'") as caught:
            matched(["x", "y"])
        assert "Here: 'x', 'y'; there: 'AAAC-1', 'AAAG-1', 'AACT-1', … and 1 more. Rename them." in str(caught.value)

    @pytest.mark.parametrize(
        ("here", "there", "what"),
        [
            (["AAAC", "AAAG"], STUDY, "a number at the end: is 'AAAC' here 'AAAC-1' there? Rename"),
            (["AAAC-1-0", "AAAG-1-1"], STUDY, "a number at the end: is 'AAAC-1-0' here 'AAAC-1' there?"),
            (["AAAC-3"], STUDY, "a number at the end: is 'AAAC-3' here 'AAAC-1' there?"),
            (["donor_1_AAAC-1", "x"], STUDY, "the text before the barcode: is 'donor_1_AAAC-1' here 'AAAC-1'"),
            (["s1-AAAC-1"], STUDY, "the text before the barcode: is 's1-AAAC-1' here 'AAAC-1'"),
            (["AAAC-1"], ["lane:AAAC-1"], "the text before the barcode: is 'AAAC-1' here 'lane:AAAC-1'"),
            (["AAAC-1-ctrl", "AAAG-1-stim"], STUDY, "the text after the barcode: is 'AAAC-1-ctrl' here 'AAAC-1'"),
            (["aaac-1"], STUDY, "upper and lower case: is 'aaac-1' here 'AAAC-1' there?"),
        ],
    )
    def test_what_the_names_differ_by_is_said(self, here: list[str], there: list[str], what: str) -> None:
        with pytest.raises(UnknownName) as caught:
            matched(here, there)
        assert what in str(caught.value)

    @pytest.mark.parametrize(
        ("here", "there"),
        [
            ("S1:{}x", "{}-1"),
            ("{}-1", "S1:{}x"),
            ("GSM1_{}-1_1", "{}-1"),
            ("{}-1-0-1", "{}-1"),
            ("{}-1__s1", "{}-1"),
            ("GSM1_{}-1_1", "S1:{}x"),
            ("pbmc_{}.1", "{}-1"),
            ("run7#{}-1", "{}-1-0-1"),
            ("{}-1_ctrl_a", "{}"),
            ("{}-1-donor-2", "lane1_{}-1"),
            ("possorted_genome_bam_AB12:{}x", "{}-1"),
            ("10X05_1:{}x", "10X05_1_{}"),
            ("sample1#{}-1", "{}-1"),
            ('"{}-1"', "{}-1"),
            ("b'{}-1'", "{}-1"),
            ("\ufeff{}", "{}-1"),
            ("{} ", "{}"),
        ],
    )
    def test_the_barcode_inside_a_known_form_is_recognised(self, here: str, there: str) -> None:
        cells = sequences(60, seed=1)
        with pytest.raises(UnknownName, match="Names seem to differ by") as caught:
            matched([here.format(cell) for cell in cells], [there.format(cell) for cell in cells[::-1]])
        assert f"is {here.format(cells[0])!r} here {there.format(cells[0])!r} there?" in str(caught.value)

    def test_wells_of_parse_are_recognised_with_their_sublibrary(self) -> None:
        wells = [f"{i % 96 + 1:02}_{i // 5 + 1:02}_{i % 7 + 1:02}" for i in range(60)]
        with pytest.raises(UnknownName, match="the text after the barcode: is '01_01_01__s1' here '01_01_01' there"):
            matched([f"{well}__s1" for well in wells], wells)

    @pytest.mark.parametrize(
        ("here", "there"),
        [
            ("P1_A{}", "P2_A{}"),
            ("ctrl_cell{}", "stim_cell{}"),
            ("ctrl:cell_{}", "stim:cell_{}"),
            ("{:02}_01_07__s1", "{:02}_01_07__s2"),
            ("{}-1", "{}-2"),
            ("s_008um_{0:05}_{0:05}-1", "s_016um_{0:05}_{0:05}-1"),
            ("c_1_{}_5", "c_2_{}_5"),
        ],
    )
    def test_wells_and_numbered_cells_of_two_samples_are_not_taken_for_the_same_cells(
        self, here: str, there: str
    ) -> None:
        with pytest.raises(UnknownName) as caught:
            matched([here.format(i) for i in range(60)], [there.format(i) for i in range(60)])
        assert "seem to differ" not in str(caught.value)

    @pytest.mark.parametrize(
        ("here", "there", "pair"),
        [
            ("P1_A{}", "A{}", "is 'P1_A0' here 'A0' there?"),
            ("Cell_{}", "cell_{}", "is 'Cell_0' here 'cell_0' there?"),
            ("run1_GSM{:07}", "run2_GSM{:07}", "is 'run1_GSM0000000' here 'run2_GSM0000000' there?"),
        ],
    )
    def test_names_that_differ_on_one_side_or_by_case_or_hold_an_accession_are_offered(
        self, here: str, there: str, pair: str
    ) -> None:
        with pytest.raises(UnknownName) as caught:
            matched([here.format(i) for i in range(60)], [there.format(i) for i in range(60)])
        assert pair in str(caught.value)

    @pytest.mark.parametrize(
        ("here", "there"),
        [
            ("{}-1", "{}-1"),
            ("S1:{}x", "{}-1"),
            ("GSM1_{}-1_1", "GSM2_{}-1_2"),
            ("{}-1-0-1", "{}-1-0-1"),
            ("{}-1__s1", "{}-1__s2"),
            ("{}", "lane#{}"),
        ],
    )
    def test_barcodes_of_another_sample_are_not_taken_for_the_same_cells(self, here: str, there: str) -> None:
        ours, theirs = sequences(60, seed=1), sequences(60, seed=2)
        with pytest.raises(UnknownName) as caught:
            matched([here.format(cell) for cell in ours], [there.format(cell) for cell in theirs])
        assert "seem to differ" not in str(caught.value)

    def test_cells_that_share_a_trimmed_name_are_not_offered(self) -> None:
        cells = sequences(30, seed=1)
        two_samples = [f"{cell}-1-{sample}" for sample in range(2) for cell in cells]
        for here, there in ((two_samples, [f"{cell}-1" for cell in cells]), (cells, two_samples)):
            with pytest.raises(UnknownName) as caught:
                matched(here, there)
            assert "seem to differ" not in str(caught.value)

    @pytest.mark.parametrize(("known", "offered"), [(30, True), (29, False)])
    def test_most_cells_have_to_match(self, known: int, offered: bool) -> None:
        cells, others = sequences(60, seed=1), sequences(60, seed=2)
        with pytest.raises(UnknownName) as caught:
            matched([f"S1:{cell}x" for cell in cells[:known] + others[known:]], [f"{cell}-1" for cell in cells])
        assert ("seem to differ" in str(caught.value)) is offered

    def test_lanes_of_one_barcode_stay_apart(self) -> None:
        cells = [f"{cell}-{lane}" for lane in (1, 2) for cell in sequences(20, seed=3)]
        with pytest.raises(UnknownName, match="Names seem to differ by") as caught:
            matched([f"GSM1_{cell}_7" for cell in cells], cells)
        assert f"is 'GSM1_{cells[0]}_7' here {cells[0]!r} there?" in str(caught.value)

    def test_numbers_in_common_say_nothing_of_cells(self) -> None:
        with pytest.raises(UnknownName) as caught:
            matched([f"treated_{i}" for i in range(40)], [f"control_{i}" for i in range(40)])
        assert "seem to differ" not in str(caught.value)
        with pytest.raises(UnknownName, match=r"is 'treated_0' here '0' there"):
            matched([f"treated_{i}" for i in range(40)], [str(i) for i in range(40)])

    def test_a_large_study_is_looked_at_in_part(self) -> None:
        cells = [f"{i:032b}".translate(str.maketrans("01", "AC"))[-20:] for i in range(250_000)]
        with pytest.raises(UnknownName, match=r"Names seem to differ by the text (before|after|around)"):
            matched([f"S1:{cell}x" for cell in cells[::50]], [f"{cell}-1" for cell in cells])

    def test_no_cells_match_nothing(self) -> None:
        with pytest.raises(UnknownName, match="none of the 0 cells"):
            match(pd.Index([], dtype=object), STUDY, "pbmc", remedy="")


class TestFewMatch:
    def test_the_likely_reason_is_noted(self) -> None:
        report = matched(["AAAC-1", "AAAG", "AACT", "AATT"])
        assert report.notes == ("names seem to differ by a number at the end: is 'AAAG' here 'AAAG-1' there?",)

    def test_no_reason_is_made_up(self) -> None:
        assert matched(["AAAC-1", "x", "y"]).notes == ()
