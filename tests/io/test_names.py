"""Names: an escaped name can be written and restored, and other names do not change."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from biocolab_accessor.io.names import (
    computed_embedding,
    escaped,
    is_barcodes,
    key_as_text,
    needs_escape,
    restored,
    sent_name,
    unescaped,
)

ANY = st.text(max_size=12) | st.text(st.sampled_from("/%.~\0\ud800\udc00 2Fé"), max_size=8)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a/b", "a%2Fb~biocolab"),
        ("a%/b", "a%25%2Fb~biocolab"),
        ("", "~biocolab"),
        (" ", "%20~biocolab"),
        (".", ".~biocolab"),
        ("..", "..~biocolab"),
        ("_index", "_index~biocolab"),
        ("Barcodes", "Barcodes~biocolab"),
        ("a\0", "a%00~biocolab"),
        ("\ud800", "%ED%A0%80~biocolab"),
        ("a%2Fb~biocolab", "a%252Fb~biocolab~biocolab"),
        ("50 %", "50 %"),
        ("é", "é"),
    ],
)
def test_a_name_is_sent_under_a_readable_one_and_comes_back(name, sent):
    assert escaped(name) == sent
    assert unescaped(sent) == name
    assert bool(needs_escape(name)) == (name != sent)


@given(ANY)
@example("~biocolab")
@example("~biocolab~biocolab")
def test_every_name_comes_back(name):
    sent = escaped(name)
    assert not needs_escape(sent) or sent.endswith("~biocolab")
    assert not re.search("[/\0\ud800-\udfff]", sent)
    assert sent.strip()
    assert sent.casefold() not in ("barcodes", "barcode", "_index", ".", "..")
    assert unescaped(sent) == name


@given(ANY, ANY)
def test_two_names_are_never_sent_as_one(one, other):
    assert (escaped(one) == escaped(other)) == (one == other)


@given(ANY)
def test_a_name_that_was_not_escaped_here_is_unchanged(name):
    original = unescaped(name)
    assert original == name or escaped(original) == name


@pytest.mark.parametrize(
    "name", ["a%2fb~biocolab", "ab~biocolab", "%FF~biocolab", "a%2Fb", "a/b~biocolab", "x%41~biocolab"]
)
def test_a_name_that_only_looks_escaped_is_unchanged(name):
    assert unescaped(name) == name


def test_a_name_that_is_taken_is_not_restored():
    assert restored(["a%2Fb~biocolab", "a/b"]) == {"a%2Fb~biocolab": "a%2Fb~biocolab", "a/b": "a/b"}


@pytest.mark.parametrize(
    ("key", "text"),
    [(3, "3"), (-1, "-1"), ("x", "x"), (None, None), (True, None), (1.5, None), (b"a", None), (("a",), None)],
)
def test_integers_are_the_only_keys_that_become_text(key, text):
    assert key_as_text(key) == text


def test_a_name_that_was_escaped_twice_never_replaces_its_original() -> None:
    once = escaped("a/b")
    twice = escaped(once)
    assert restored([twice, once]) == {twice: once, once: "a/b"}
    assert restored([twice, once, "a/b"]) == {twice: twice, once: once, "a/b": "a/b"}


def test_names_with_a_meaning_on_the_servers_are_recognized_in_any_case() -> None:
    assert [is_barcodes(name) for name in ("Barcodes", "barcode", "batch")] == [True, True, False]
    assert [computed_embedding(name) for name in ("t-SNE", "UMAP", "X_tsne")] == ["X_tsne", "X_umap", None]
    assert needs_escape("UMAP") == ""
    assert needs_escape("UMAP", embedding=True) == "is reserved for an embedding that the servers compute"
    assert needs_escape("donor/age") == "contains a '/', which separates groups in HDF5"


def test_a_key_is_sent_as_escaped_text_or_not_at_all() -> None:
    assert [sent_name(key) for key in (0, "a/b", None)] == ["0", "a%2Fb~biocolab", None]
