from __future__ import annotations

import copy
import pickle

import pytest

from biocolab_accessor.errors import InvalidToken
from biocolab_accessor.secret import Secret


def test_no_text_of_it_shows_the_token() -> None:
    secret = Secret("hidden")
    assert "hidden" not in f"{secret} {secret!r} {secret:>20} {[secret]}" + repr(secret.__reduce__.__doc__)
    assert secret.reveal() == "hidden"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_not_duplicated(duplicate: object) -> None:
    with pytest.raises(TypeError, match="never pickled or copied"):
        duplicate(Secret("hidden"))


def test_equal_tokens_are_equal() -> None:
    assert Secret(" a\n") == Secret("a", "elsewhere")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize("value", ["", " \n", "a\nb", "a\tb", "ä", "a\x00b", None, 5, b"a"])
def test_what_no_header_can_carry_is_refused_without_showing_it(value: object) -> None:
    with pytest.raises(InvalidToken, match="from argument x") as caught:
        Secret(value, "argument x")
    assert repr(value) not in str(caught.value) or value in ("", None)
