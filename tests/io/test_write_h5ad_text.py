"""Write h5ad: text equals that written by h5py."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
from anndata.experimental import read_elem
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.io.write_h5ad import write_text

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


def written(texts: list[Any], **kwargs: Any) -> tuple[bool, Any, h5py.File]:
    file = h5py.File("text.h5", "w", driver="core", backing_store=False)
    array = np.empty(len(texts), object)
    array[:] = texts
    return write_text(file, "ours", array, kwargs), array, file


@given(st.lists(TEXTS, min_size=1, max_size=50), st.sampled_from([{}, {"compression": "gzip", "compression_opts": 1}]))
def test_any_text_is_read_back_as_what_h5py_writes(texts: list[str], kwargs: dict[str, Any]) -> None:
    done, array, file = written(texts, **kwargs)
    with file:
        file.create_dataset("theirs", data=array, dtype=h5py.string_dtype(), **kwargs)
        assert done
        assert file["ours"].asstr()[:].tolist() == file["theirs"].asstr()[:].tolist() == texts
        assert file["ours"].id.get_type() == file["theirs"].id.get_type()
        assert (file["ours"].chunks, file["ours"].compression) == (file["theirs"].chunks, file["theirs"].compression)
        assert read_elem(file["ours"]).tolist() == texts


@pytest.mark.parametrize(
    "texts", [[], ["a", None], ["a", 1], ["a\0b"], ["\0"], ["a", "\udc80"], ["a", float("nan")]], ids=ascii
)
def test_text_that_c_cannot_hold_is_not_written(texts: list[Any]) -> None:
    done, _, file = written(texts)
    with file:
        assert not done
        assert list(file) == []


def test_text_with_more_than_one_dimension_is_not_written() -> None:
    with h5py.File("text.h5", "w", driver="core", backing_store=False) as file:
        assert not write_text(file, "ours", np.array([["a", "b"]], object), {})
        assert list(file) == []
