from __future__ import annotations

import dataclasses

from biocolab_accessor.sync.match import MatchReport

REPORT = MatchReport(
    "a<b", 5, 1200, 0, ("x-1", "<y>", "z"), (), written=("obs['leiden']",), notes=("'n' is float64",), dtypes={"n": "x"}
)


def test_a_report_reads_as_a_table() -> None:
    assert repr(REPORT).splitlines() == [
        "MatchReport: study 'a<b'",
        "  matched     5",
        "  only here   1,200  'x-1', '<y>', 'z', …",
        "  only there  0",
        "  written     obs['leiden']",
        "  note        'n' is float64",
    ]


def test_in_a_notebook_names_are_escaped_and_colors_are_those_of_the_theme() -> None:
    html = REPORT._repr_html_()
    assert "a&lt;b" in html
    assert "&#x27;&lt;y&gt;&#x27;" in html
    assert "<y>" not in html
    assert "color:inherit" in html
    assert "background" not in html


def test_equal_joins_are_equal_reports() -> None:
    assert dataclasses.replace(REPORT) == REPORT
    assert dataclasses.replace(REPORT, matched=6) != REPORT
    assert hash(REPORT) == hash(dataclasses.replace(REPORT))
    assert "nothing" in repr(MatchReport("s", 1, 0, 0))
