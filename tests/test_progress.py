from __future__ import annotations

import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import biocolab_accessor as bc
from biocolab_accessor import progress
from biocolab_accessor.progress import progress_bar, task_bar


@pytest.mark.parametrize(("setting", "shown"), [("off", False), ("auto", False), ("on", True)])
def test_bars_are_shown_where_somebody_looks(
    setting: str, shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0)
    with bc.settings.override(progress=setting), progress_bar("Uploading", 2048) as bar:
        bar.update(1024)
    assert ("Uploading" in capsys.readouterr().err) is shown


def test_what_is_over_soon_leaves_no_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 3600)
    with bc.settings.override(progress="on"):
        with progress_bar("Downloading", 10) as bar:
            bar.update(10)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0.05)
        with progress_bar("Downloading", 2 << 20) as bar:
            time.sleep(0.1)
            bar.update(1 << 20)
        assert "50%" in capsys.readouterr().err


def test_a_task_is_a_line_with_its_time_and_stage_and_without_a_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0)
    with bc.settings.override(progress="on"), task_bar("Processing PBMC") as bar:
        bar.set_postfix_str("Running UMAP")
        bar.update()
    assert capsys.readouterr().err.rstrip().endswith("Processing PBMC: 00:00, Running UMAP")


def test_bars_of_several_threads_leave_the_filters_of_warnings_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    progress._imported.cache_clear()
    for name in [name for name in sys.modules if name.startswith("tqdm")]:
        monkeypatch.delitem(sys.modules, name)  # as before the first bar
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def bars(_: int) -> None:
        for _ in range(200):
            progress_bar("Downloading").close()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(bars, range(8)))
        finally:
            sys.setswitchinterval(interval)
            progress._imported.cache_clear()
        assert list(warnings.filters) == before


@pytest.mark.parametrize("failed", [False, True])
def test_a_notebook_without_ipywidgets_has_a_line_that_updates_itself(
    failed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], *, raw: bool) -> None:
            shown.append(content["text/plain"])

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert not shown
        shown.append(content["text/plain"])
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "_in_plain_notebook", lambda: True)
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0)
    with bc.settings.override(progress="auto"), suppress(OSError), task_bar("Processing PBMC") as bar:
        bar.set_postfix_str("Running UMAP")
        bar.refresh()
        if failed:
            raise OSError
    assert "Processing PBMC: 00:00, Running UMAP" in shown
    assert shown[-1] == f"Processing PBMC: 00:00, Running UMAP{' (stopped)' if failed else ''}"
    number = len(shown)
    with bc.settings.override(progress="off"), task_bar("Processing PBMC") as bar:
        bar.refresh()
    assert len(shown) == number
