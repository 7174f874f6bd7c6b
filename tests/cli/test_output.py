"""Output: what is printed can be used."""

from __future__ import annotations

import pytest
from rich.console import Console

from biocolab_accessor.cli import output

_UUID = "0123456789abcdef0123456789abcdef"
_ROW = {
    "study_id": "a_long_study_id",
    "title": "Some title of a study",
    "created_by": "user@example.com",
    "uuid": _UUID,
}


@pytest.mark.parametrize("width", [200, 100, 80, 64, 50, 38])
def test_an_id_is_never_cut_and_in_one_line_where_there_is_room(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "out", Console(width=width, force_terminal=True, color_system=None))
    output.print_table([_ROW])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert max(map(len, lines)) <= width
    last = [line.strip("│").split("│")[-1].strip() for line in lines]
    assert "".join(last) == _UUID
    assert (last[0] == _UUID) == (width >= 64)
