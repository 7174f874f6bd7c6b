from __future__ import annotations

from biocolab_accessor.messages import facts_table


def test_texts_are_escaped_in_html() -> None:
    table = facts_table("<b>", [("name", "<script>"), ("empty", "")], link=("page", "http://127.0.0.1/?a='b'"))
    assert "<b>" not in table
    assert "<script>" not in table
    assert "&lt;script&gt;" in table
    assert "empty" not in table
    assert "href='http://127.0.0.1/?a=&#x27;b&#x27;'" in table


def test_a_table_sets_no_colors() -> None:
    table = facts_table("Study", [("title", "x")])
    assert "#" not in table
    assert "background" not in table
