from __future__ import annotations

import pytest

import biocolab_accessor as bc
from biocolab_accessor.progress import progress_bar


@pytest.mark.parametrize(("setting", "shown"), [("off", False), ("auto", False), ("on", True)])
def test_bars_are_shown_where_somebody_looks(setting: str, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with bc.settings.override(progress=setting), progress_bar("Uploading", 2048) as bar:
        bar.update(1024)
    assert ("Uploading" in capsys.readouterr().err) is shown
