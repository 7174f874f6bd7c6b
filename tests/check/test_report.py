"""A report can be read, counted, tabulated and raised."""

import pickle

import pytest

from biocolab_accessor import errors
from biocolab_accessor.check.report import Finding, Report

NOTE = Finding("BC202", "note", "obs['a']", "made text")
WARNING = Finding("BC103", "warning", "var_names", "twice", 2, ("'g'",), "Rename")
NAN = Finding("BC302", "error", "X", "3 NaN", 3, error=errors.InvalidValues)
MIXED = Finding("BC201", "error", "obs['<b>']", "mixed", error=errors.InvalidColumn)
REPORT = Report([NOTE, WARNING, NAN, MIXED])


def test_findings_come_errors_first_and_in_order_of_code():
    assert list(REPORT) == [MIXED, NAN, WARNING, NOTE]
    assert (REPORT.errors, REPORT.warnings, REPORT.notes) == ((MIXED, NAN), (WARNING,), (NOTE,))
    assert (REPORT[0], REPORT[-1], len(REPORT[1:3]), len(REPORT)) == (MIXED, NOTE, 2, 4)


def test_only_errors_block_a_submission():
    assert not REPORT.ok
    assert Report([NOTE, WARNING]).ok
    Report([NOTE, WARNING]).raise_for_errors()


def test_the_first_error_names_the_class_and_the_message_has_the_whole_report():
    with pytest.raises(errors.InvalidColumn) as caught:
        REPORT.raise_for_errors()
    assert caught.value.report is REPORT
    assert str(caught.value) == f"this object cannot be sent\n{REPORT!r}"


def test_a_finding_is_printed_on_a_line():
    assert str(WARNING) == "BC103 warning var_names: twice ('g'). Rename"
    assert str(NOTE) == "BC202 note obs['a']: made text"
    several = Finding("BC1", "note", "X", "what", 2, ("'g'", "'h'"))
    assert several.text == "what ('g', 'h')"


def test_a_report_is_read_like_a_tuple_and_equal_to_reports_only():
    assert isinstance(REPORT[1:], tuple)
    assert Report() == Report([])
    assert Report() != ()
    assert REPORT != [MIXED, NAN, WARNING, NOTE]


def test_a_long_path_does_not_push_the_messages_aside():
    long = Finding("BC202", "note", "obs['" + "x" * 40 + "']", "long")
    assert repr(Report([long, NOTE])).splitlines()[1:] == [
        f"  BC202  note  {long.path}  long",
        f"  BC202  note  obs['a']{' ' * 20}  made text",
    ]


def test_repr_is_a_table_with_a_headline():
    assert repr(REPORT).splitlines() == [
        "Report: 2 errors, 1 warning, 1 note",
        "  BC201  error    obs['<b>']  mixed",
        "  BC302  error    X           3 NaN",
        "  BC103  warning  var_names   twice ('g'). Rename",
        "  BC202  note     obs['a']    made text",
    ]
    assert repr(Report()) == "Report: no problems found, ready to be sent"
    assert repr(Report([WARNING])).startswith("Report: 1 warning, ready to be sent\n")
    assert repr(Report([NOTE] * 1_200)).startswith("Report: 1,200 notes, ready to be sent\n")


def test_html_is_escaped_and_keeps_the_colors_of_the_page():
    html = REPORT._repr_html_()
    assert "obs[&#x27;&lt;b&gt;&#x27;]" in html
    assert "<b>" not in html
    assert "background" not in html
    assert "var(--jp-error-color1,inherit)" in html
    assert "#" not in html.replace("&#x27;", "")
    assert "no problems found" in Report()._repr_html_()


def test_html_is_a_table_with_a_row_for_each_finding():
    left = "text-align:left;vertical-align:top"
    error = "var(--vscode-errorForeground,var(--jp-error-color1,inherit))"
    assert Report([NAN, NOTE])._repr_html_() == (
        f"<table style='color:inherit'><caption style='{left};color:inherit'>Report: 1 error, 1 note</caption><tbody>"
        f"<tr><td style='{left};white-space:nowrap;color:{error}'>✗ BC302 error</td>"
        f"<td style='{left}'><code>X</code></td><td style='{left}'>3 NaN</td></tr>"
        f"<tr><td style='{left};white-space:nowrap;color:inherit'>· BC202 note</td>"
        f"<td style='{left}'><code>obs[&#x27;a&#x27;]</code></td><td style='{left}'>made text</td></tr>"
        "</tbody></table>"
    )


def test_html_stays_short_and_says_how_much_is_left():
    html = Report([NOTE] * 73)._repr_html_()
    assert html.count("BC202") == 50
    assert html.endswith(
        "<tr><td colspan='3' style='text-align:left;vertical-align:top'>"
        "… and 23 more: see report.to_frame()</td></tr></tbody></table>"
    )
    assert "more" not in Report([NOTE] * 50)._repr_html_()
    assert "… and 1 more" in Report([NOTE] * 51)._repr_html_()


def test_a_name_that_cannot_be_encoded_can_be_shown():
    report = Report([Finding("BC109", "warning", "obs['\ud800']", "half \ud800")])
    assert "\\ud800" in repr(report).encode().decode()
    assert "\\ud800" in report._repr_html_().encode().decode()


def test_strict_takes_warnings_for_errors_and_notes_for_none():
    Report([NOTE]).raise_for_errors(strict=True)
    with pytest.raises(
        errors.CheckFailed, match=r"has warnings, which check='strict' treats as errors\nReport: 1 warning"
    ):
        Report([NOTE, WARNING]).raise_for_errors(strict=True)
    with pytest.raises(errors.InvalidColumn, match="cannot be sent"):
        REPORT.raise_for_errors(strict=True)


def test_the_data_frame_has_a_row_for_each_finding():
    frame = REPORT.to_frame()
    assert frame.columns.tolist() == ["code", "severity", "path", "message", "count", "examples", "fix"]
    assert frame["count"].tolist() == [1, 3, 2, 1]
    assert frame.iloc[2].tolist() == ["BC103", "warning", "var_names", "twice", 2, ("'g'",), "Rename"]
    assert Report().to_frame().shape == (0, 7)


def test_reports_are_values():
    again = pickle.loads(pickle.dumps(REPORT))
    assert again == REPORT
    assert hash(again) == hash(REPORT)
    assert Report([NOTE]) != REPORT
    assert len({Report([NOTE]), REPORT, Report([NOTE])}) == 2
    assert hash(Report([NOTE])) != hash(REPORT)
