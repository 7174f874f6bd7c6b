"""A request is checked before anything is sent, and its body holds the arguments."""

import numpy as np
import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.submit.plan import StudyRequest


@pytest.mark.parametrize("make", [list, tuple, iter, np.array, lambda names: (name for name in names)])
def test_authors_can_be_any_iterable_and_all_are_kept(make):
    body = StudyRequest(authors=make(["Ada Lovelace", "Charles Babbage"])).body("g")
    assert body["study_info"]["authors"] == ["Ada Lovelace", "Charles Babbage"]


def test_a_study_without_a_name_has_the_given_id_as_title():
    titles = [StudyRequest(**given).body("g")["study_info"]["name"] for given in ({"study_id": "S"}, {})]
    assert titles == ["S", "TBD"]
    assert StudyRequest(study_id="S", name="Named").body("g")["study_info"]["name"] == "Named"


def test_whether_to_compute_embeddings_is_a_truth_value():
    assert StudyRequest(skip_dimred=np.True_).body("g")["skip_dimred"] is True
    for given in ("yes", 1, None):
        with pytest.raises(InvalidArgument, match=r"skip_dimred is .*: give True or False"):
            StudyRequest(skip_dimred=given)
