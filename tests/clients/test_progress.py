from __future__ import annotations

import ast
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients import progress
from biocolab_accessor.clients.progress import progress_bar, task_bar
from biocolab_accessor.errors import TaskFailed, TimedOut


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


@pytest.mark.parametrize(
    ("error", "end", "red"),
    [
        (None, "", False),
        (OSError(), " (stopped)", True),
        (TaskFailed("<b>", task_id="7", log=""), " (failed)", True),
        (TimedOut("the task continues"), " (stopped)", False),
        (KeyboardInterrupt(), " (stopped)", False),
    ],
)
def test_a_task_in_a_notebook_is_a_line_that_updates_itself_and_turns_red_on_a_failure(
    error: BaseException | None, end: str, red: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, content: dict[str, str], *, raw: bool) -> None:
            shown.append(content)

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert not shown
        shown.append(content)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0)
    with bc.settings.override(progress="auto"), suppress(BaseException), task_bar("Processing <b>") as bar:
        bar.set_postfix_str("Running UMAP")
        bar.refresh()
        if error is not None:
            raise error
    assert {"text/plain": "Processing <b>: 00:00, Running UMAP"} in shown
    assert shown[-1].pop("text/plain") == f"Processing <b>: 00:00, Running UMAP{end}"
    page = f"<pre style='margin:0;color:#d32f2f'>Processing &lt;b&gt;: 00:00, Running UMAP{end}</pre>"
    assert shown[-1] == ({"text/html": page} if red else {})
    number = len(shown)
    with bc.settings.override(progress="off"), task_bar("Processing <b>") as bar:
        bar.refresh()
    assert len(shown) == number


def test_only_the_module_of_the_bars_has_their_wording() -> None:
    calls = [
        (path.name, call)
        for path in Path(bc.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"progress_bar", "task_bar"}
    ]
    assert len(calls) >= 8
    assert [name for name, call in calls if isinstance(call.args[0], ast.Constant | ast.JoinedStr)] == []
