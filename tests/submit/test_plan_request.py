"""A request is checked before a byte is sent, and what it was given is in its body."""

import numpy as np
import pytest

from biocolab_accessor.submit.plan import StudyRequest


@pytest.mark.parametrize("make", [list, tuple, iter, np.array, lambda names: (name for name in names)])
def test_authors_may_come_in_any_form_and_none_is_lost(make):
    body = StudyRequest(authors=make(["Ada Lovelace", "Charles Babbage"])).body("g")
    assert body["study_info"]["authors"] == ["Ada Lovelace", "Charles Babbage"]


def test_a_study_without_a_name_is_titled_by_the_id_that_was_given():
    titles = [StudyRequest(**given).body("g")["study_info"]["name"] for given in ({"study_id": "S"}, {})]
    assert titles == ["S", "TBD"]
    assert StudyRequest(study_id="S", name="Named").body("g")["study_info"]["name"] == "Named"
