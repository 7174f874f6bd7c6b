"""The matrix with counts is sent, and the choice has a reason."""

import enum

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from biocolab_accessor.check.matrix_choice import choose_matrix, decide
from biocolab_accessor.check.matrix_stats import describe
from biocolab_accessor.errors import EmptyAnnData, InvalidArgument, InvalidValues, NoCounts
from biocolab_accessor.io.matrix_blocks import Slot

COUNTS = np.array([[3, 0], [0, 1]], np.float32)
LOG = np.log1p(COUNTS)
SCALED = COUNTS - COUNTS.mean(axis=0) + 0.25


class Official(enum.Enum):
    RAW = "raw"
    NORMALIZED = "normalized"


def make(x, *, raw=None, **layers):
    adata = AnnData(x, pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["g", "h"]), layers=layers)
    if raw is not None:
        adata.raw = AnnData(raw, pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["g", "h"]))
    return adata


@pytest.mark.parametrize(
    ("adata", "slot"),
    [
        (make(COUNTS), "X"),
        (make(COUNTS, counts=COUNTS, raw=COUNTS), "layers['counts']"),
        (make(LOG, counts=LOG, raw=COUNTS), "raw.X"),
        (make(LOG, raw=LOG, raw_counts=COUNTS), "layers['raw_counts']"),
        (make(LOG, **{"Raw Counts": COUNTS}), "layers['Raw Counts']"),
        (make(None, counts=COUNTS), "layers['counts']"),
        (make(LOG, counts=np.zeros((2, 2)), raw=COUNTS.astype(np.int64)), "raw.X"),
    ],
)
def test_counts_are_found_where_people_put_them(adata, slot):
    choice = choose_matrix(adata)
    assert (str(choice.slot), choice.input_matrix_type) == (slot, "raw")
    assert choice.reason.startswith(f"{slot} (2 x 2): counts (whole numbers, max 3)")
    assert choice == choose_matrix(adata, "raw") == choose_matrix(adata, Official.RAW)


def test_the_reason_names_slots_that_were_not_chosen():
    assert "not layers['counts'] (2 x 2): looks log-normalized" in choose_matrix(make(COUNTS, counts=LOG)).reason


@pytest.mark.parametrize("adata", [make(LOG), make(LOG, spliced=COUNTS), make(COUNTS > 0), make(np.zeros((2, 2)))])
def test_without_counts_x_is_normalized(adata):
    choice = choose_matrix(adata)
    assert (choice.slot, choice.input_matrix_type) == (Slot("X"), "normalized")
    assert choice.reason.startswith("found no counts; X (2 x 2): ")


def test_normalized_means_x_even_if_it_holds_counts():
    choice = choose_matrix(make(COUNTS, counts=COUNTS), Official.NORMALIZED)
    assert (choice.slot, choice.input_matrix_type) == (Slot("X"), "normalized")


@pytest.mark.parametrize("wanted", ["auto", "normalized"])
def test_the_reason_says_that_x_is_scaled_and_raw_looks_better(wanted):
    reason = choose_matrix(make(SCALED, raw=LOG), wanted).reason
    assert "looks scaled (2 negative values" in reason
    assert "raw.X (2 x 2): looks log-normalized" in reason


def test_asking_for_counts_that_are_not_there_names_what_each_slot_holds():
    with pytest.raises(NoCounts) as caught:
        choose_matrix(make(SCALED, raw=LOG, spliced=COUNTS), "raw")
    message = str(caught.value)
    assert "raw.X (2 x 2): looks log-normalized (0 % whole numbers, max 1.3863)" in message
    assert "X (2 x 2): looks scaled" in message
    assert message == (
        "input_matrix_type is 'raw', but no slot that is named like counts holds counts: "
        "raw.X (2 x 2): looks log-normalized (0 % whole numbers, max 1.3863); "
        f"X (2 x 2): {describe(SCALED)._what()}; "
        "layers['spliced'] (2 x 2): counts (whole numbers, max 3), but not named like counts. If layers['spliced'] "
        "holds the counts, in a copy: copy.layers['counts'] = copy.layers['spliced'], or submit with "
        "input_matrix_type='normalized'"
    )


def test_the_error_says_that_no_slot_is_named_like_counts():
    with pytest.raises(
        NoCounts, match=r"holds counts: layers\['spliced'\] .*, but not named like counts; layers\['u'\] \("
    ):
        choose_matrix(make(None, spliced=COUNTS, u=COUNTS), "raw")


def test_the_reason_names_each_slot_that_was_read():
    choice = choose_matrix(make(LOG, raw=LOG, counts=LOG, umi=COUNTS))
    log = "(2 x 2): looks log-normalized (0 % whole numbers, max 1.3863)"
    assert choice.reason == (
        f"layers['umi'] (2 x 2): counts (whole numbers, max 3); not layers['counts'] {log}; "
        f"not raw.X {log}; not X {log}"
    )
    assert [str(summary.slot) for summary in choice.slots] == ["layers['counts']", "raw.X", "X", "layers['umi']"]
    assert choice.chosen is choice.slots[-1]


def test_the_reason_says_what_an_x_of_a_few_cells_looks_like():
    assert choose_matrix(make(LOG, counts=COUNTS)).reason == (
        "layers['counts'] (2 x 2): counts (whole numbers, max 3); X looks log-normalized"
    )


def test_the_reason_says_that_booleans_are_sent_as_raw():
    assert choose_matrix(make(COUNTS > 0), "raw").reason == "X (2 x 2): booleans, and input_matrix_type is 'raw'"


def test_the_reason_for_a_scaled_x_names_raw_only_if_it_is_better():
    better = "; raw.X (2 x 2): looks log-normalized (0 % whole numbers, max 1.3863)"
    scaled = f"X (2 x 2): {describe(SCALED)._what()}"
    assert choose_matrix(make(SCALED, raw=LOG), "normalized").reason == scaled + better
    assert choose_matrix(make(SCALED, raw=LOG)).reason == f"found no counts; {scaled}{better}"
    assert choose_matrix(make(SCALED, raw=SCALED), "normalized").reason == scaled
    assert choose_matrix(make(SCALED), "normalized").reason == scaled
    assert choose_matrix(make(LOG, raw=LOG), "normalized").reason == (
        "X (2 x 2): looks log-normalized (0 % whole numbers, max 1.3863)"
    )


def test_zeros_are_not_evidence_of_counts():
    with pytest.raises(NoCounts, match="all zero"):
        choose_matrix(make(np.zeros((2, 2))), "raw")


def test_booleans_are_counts_only_on_request():
    assert choose_matrix(make(COUNTS > 0), "raw").input_matrix_type == "raw"
    assert choose_matrix(make(COUNTS > 0)).input_matrix_type == "normalized"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_counts_with_bad_values_are_refused_as_raw(bad):
    matrix = COUNTS.copy()
    matrix[0, 1] = bad
    with pytest.raises(InvalidValues) as caught:
        choose_matrix(make(LOG, counts=matrix), "raw")
    summary = describe(matrix, "layers['counts']")
    assert str(caught.value) == f"{summary}. Fix the values, or drop those cells or genes, in a copy"
    assert decide(make(LOG, counts=matrix), "raw").reason == f"{summary}, and input_matrix_type is 'raw'"
    assert decide(make(LOG, counts=matrix), "raw").slot == Slot("layer", "counts")
    assert choose_matrix(make(LOG, counts=matrix)).slot == Slot("X")


def test_nan_in_x_is_refused_as_any_matrix_type():
    for wanted in ("auto", "normalized"):
        with pytest.raises(InvalidValues, match=r"X .*1 NaN"):
            choose_matrix(make(np.array([[np.nan, 0.5], [0, 1]])), wanted)


def test_negative_values_are_allowed_in_normalized_data():
    assert choose_matrix(make(SCALED), "normalized").chosen.n_negative == 2


@pytest.mark.parametrize("wanted", ["auto", "raw", "normalized"])
def test_no_matrix_at_all_is_an_error(wanted):
    with pytest.raises(EmptyAnnData) as caught:
        choose_matrix(make(None), wanted)
    assert str(caught.value) == "this AnnData has no matrix: X is None, and raw and layers are empty"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (
            "auto",
            "X is None, and no other slot holds counts (layers['counts'] (2 x 2): looks log-normalized (0 % whole "
            "numbers, max 1.3863); layers['u'] (2 x 2): looks log-normalized (0 % whole numbers, max 1.3863)): put a "
            "matrix into X of a copy",
        ),
        (
            "normalized",
            "X is None, but input_matrix_type='normalized' sends X (layers['counts'], layers['u'] not read): put a "
            "matrix into X of a copy",
        ),
    ],
)
def test_layers_without_counts_are_named_if_x_is_none(wanted, why):
    with pytest.raises(EmptyAnnData) as caught:
        choose_matrix(make(None, counts=LOG, u=LOG), wanted)
    assert str(caught.value) == why


@pytest.mark.parametrize("wanted", ["counts", "", None, 1, ["raw"], "RAW"])
def test_other_matrix_types_are_refused(wanted):
    with pytest.raises(InvalidArgument) as caught:
        choose_matrix(make(COUNTS), wanted)
    assert str(caught.value) == f"input_matrix_type is {wanted!r}: use 'auto', 'raw' or 'normalized'"


def test_a_view_is_judged_by_its_own_part_and_stays_a_view():
    adata = make(np.array([[0.5, 1], [0.5, 2]], np.float32))
    view = adata[:, ["h"]]
    assert choose_matrix(view).input_matrix_type == "raw"
    assert view.is_view
