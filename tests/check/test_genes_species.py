"""Gene names show their species, ids, versions and genomes, and damage by a spreadsheet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.check.filters import mitochondrial
from biocolab_accessor.check.genes import identify

HUMAN = [
    "MALAT1", "B2M", "TMSB4X", "EEF1A1", "RPLP1", "RPL13", "MT-CO1", "MT-CO3", "RPS27", "CD74", "HLA-DRA", "CD3D",
    "CD79A", "MS4A1", "LYZ", "S100A9", "S100A8", "FTL", "FTH1", "ACTB", "GNLY", "NKG7", "PPBP", "FCGR3A", "C1orf56",
    "RP11-34P13.7", "AC012345.1",
]  # fmt: skip
MOUSE = [
    "Malat1", "B2m", "Tmsb4x", "Eef1a1", "Rplp1", "Rpl13", "mt-Co1", "mt-Nd1", "Rps27", "Cd74", "Xkr4", "Cd3d",
    "Cd79a", "Ms4a1", "Lyz1", "S100a9", "S100a8", "Ftl1", "Fth1", "Actb", "Sox17", "Mrpl15", "Gm1992", "Gm37381",
    "4930488L21Rik", "A930006A01Rik", "AI597479",
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "species", "evidence"),
    [
        (HUMAN, "human", "upper case"),
        (MOUSE, "mouse", "capitalized"),
        ([f"ENSG{i:011d}" for i in range(30)], "human", "30 ids start with ENSG"),
        ([f"ENSMUSG{i:011d}.7" for i in range(30)] + HUMAN, "mouse", "ENSMUSG"),
        ([f"ENSDARG{i:011d}" for i in range(30)], "others", "ENSDARG"),
        (HUMAN[:10], None, ""),
        ([f"ENSMUSG{i:011d}" for i in range(26)] + [f"ENSG{i:011d}" for i in range(4)], None, ""),
        ([f"ENSMUSG{i:011d}" for i in range(10)] + [f"ENSG{i:011d}" for i in range(20)] + MOUSE, "mouse", "Cd3d"),
        (HUMAN + MOUSE, None, ""),
        ([f"g{i}" for i in range(100)], None, ""),
        ([f"{i}" for i in range(100)], None, ""),
        ([f"FBgn{i:07d}" for i in range(100)], None, ""),
        ([], None, ""),
    ],
)
def test_the_species_is_guessed_or_left_open(names, species, evidence):
    found = identify(names)
    assert found.species == species
    assert evidence in found.evidence


@pytest.mark.parametrize(
    "name",
    ["1-Mar", "2-Sep", "10-MAR", "Mar-01", "Dec-1", "2006-09-02", "2006/09/02", "2001-03-01 00:00:00", "1/3/2001",
     "2.31E+13", "44256"],
)  # fmt: skip
def test_names_changed_by_a_spreadsheet_are_recognized(name):
    assert identify([*HUMAN, name]).mangled == (name,)


@pytest.mark.parametrize(
    "name",
    ["MARCH1", "SEPT2", "SEPTIN2", "DEC1", "MARC1", "sep-1", "dec-1", "1-Foo", "OCT4", "H2-K1", "HLA-A", "7SK",
     "5S_rRNA", "1060P11.3", "12345678", "100", "Mar1", "NKX2-1", "2310009E13Rik", "99999"],
)  # fmt: skip
def test_real_names_are_not_taken_for_dates(name):
    assert identify([*HUMAN, name]).mangled == ()


def test_dates_that_became_numbers_are_listed_with_other_dates():
    assert identify([*HUMAN, "44256", "1-Mar"]).mangled == ("1-Mar", "44256")


def test_numbers_of_a_database_are_not_dates():
    assert identify([str(number) for number in range(44_000, 44_300)]).mangled == ()


def test_versions_ids_genomes_and_numbers_are_counted():
    found = identify(["ENSG00000000003.15", "ENSG00000000005", "ENSG123", "GRCh38_CD3D", "mm10___Cd3d", "17", 5, None])
    assert found.number == 6
    assert found.ensembl == ("ENSG00000000003.15", "ENSG00000000005")
    assert found.versioned == ("ENSG00000000003.15",)
    assert found.genomes == (("GRCh38", 1), ("mm10", 1))
    assert found.numeric == 1


@pytest.mark.parametrize(("name", "yes"), [("MT-ND1", True), ("mt-Nd1", True), ("MTOR", False), ("MT1X", False)])
def test_mitochondrial_genes_are_known_by_their_prefix(name, yes):
    assert mitochondrial([name]).tolist() == [yes]
    assert identify([name]).mitochondrial == ((name,) if yes else ())


def test_a_line_break_does_not_split_a_name():
    found = identify(["a\n1-Mar", "MT-1\nMT-2", "\n", "7\n8", *HUMAN])
    assert (found.number, found.mangled, found.numeric) == (4 + len(HUMAN), (), 0)
    assert found.mitochondrial == ("MT-1 MT-2", "MT-CO1", "MT-CO3")


@given(st.lists(st.one_of(st.sampled_from(HUMAN + MOUSE), st.text(), st.from_regex(r"[Mm][Tt]-.?|\d{1,2}-Mar"))))
def test_looking_at_all_names_at_once_finds_what_looking_at_each_does(names):
    whole = identify(names)
    alone = [identify([name]) for name in names]
    assert whole.number == len(names)
    assert whole.numeric == sum(found.numeric for found in alone)
    assert whole.mitochondrial == tuple(name for found in alone for name in found.mitochondrial)
    assert len(whole.mitochondrial) == mitochondrial(names).sum()
    assert whole.ensembl == tuple(name for found in alone for name in found.ensembl)


def test_the_evidence_says_how_many_names_and_of_which_kind():
    assert identify(HUMAN).evidence == "24 names are in upper case, like CD3D"
    assert identify(MOUSE).evidence == "21 names are capitalized, like Cd3d"
    assert identify([f"ENSMUSG{i:011d}" for i in range(1_200)]).evidence == "1,200 ids start with ENSMUSG"


def human(number, first=0):
    return [f"ENSG{i:011d}" for i in range(first, first + number)]


def mouse(number):
    return [f"ENSMUSG{i:011d}" for i in range(number)]


@pytest.mark.parametrize(
    ("names", "species"),
    [
        (human(20), "human"),
        (human(19), None),
        (mouse(27) + human(3), "mouse"),  # nine of ten are enough
        ([f"CD{i}X" for i in range(20)], "human"),
        ([f"CD{i}X" for i in range(19)], None),
        ([f"CD{i}X" for i in range(27)] + ["Cd3d", "Cd4x", "Cd8a"], "human"),
        ([f"CD{i}X" for i in range(26)] + ["Cd3d", "Cd4x", "Cd8a", "Cd9a"], None),
        ([f"Cd{i}x" for i in range(21)] + [f"CD{i}X" for i in range(9)], "mouse"),  # seven of ten, for Riken genes
        ([f"Cd{i}x" for i in range(20)] + [f"CD{i}X" for i in range(10)], None),
    ],
)
def test_a_species_needs_twenty_names_that_nearly_all_agree(names, species):
    assert identify(names).species == species


@pytest.mark.parametrize(
    ("day", "is_date"), [(36_891, False), (36_892, True), (48_213, True), (48_214, False), (4_425, False)]
)
def test_days_of_thirty_years_are_dates(day, is_date):
    assert identify([*HUMAN, str(day)]).mangled == ((str(day),) if is_date else ())


def test_a_few_numbers_among_names_may_be_dates_and_more_are_ids():
    assert identify([*HUMAN, "44256", "44257"]).mangled == ("44256", "44257")
    assert identify([*HUMAN, "44256", "44257", "44258"]).mangled == ()
    many = [f"GENE{i}" for i in range(297)]
    assert len(identify([*many, "44256", "44257", "44258"]).mangled) == 3
    assert identify([*many[1:], "44256", "44257", "44258"]).mangled == ()


def test_genomes_are_counted_the_most_frequent_first():
    assert identify(["mm10_A", "GRCh38_B", "GRCh38__C"]).genomes == (("GRCh38", 2), ("mm10", 1))


def test_the_species_of_a_long_list_is_judged_by_names_from_all_of_it():
    genes = [f"GENE{number}" for number in range(25_000)]
    assert identify(genes).evidence == "5,000 names of 5,000 checked are in upper case, like CD3D"
    # At the front as many as are looked at in all, and yet few.
    found = identify([f"Gene{number}" for number in range(5_000)] + genes * 3)
    assert (found.species, found.number) == ("human", 80_000)
    assert found.evidence == "4,687 names of 5,000 checked are in upper case, like CD3D"
