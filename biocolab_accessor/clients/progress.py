"""Progress: one bar per call, hidden if the output is not a terminal or notebook, and the wording of all bars."""

from __future__ import annotations

import sys
import threading
import warnings
from functools import cache
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from biocolab_accessor.errors import TaskFailed, TimedOut
from biocolab_accessor.messages import quoted, shown

if TYPE_CHECKING:
    from tqdm import tqdm

# What bars say.
UPLOADING = "Uploading"
DOWNLOADING = "Downloading"

# Warning filters are global: two threads that save and restore them at the same time could leave the wrong ones.
_IMPORTING = threading.Lock()
# Work that ends sooner shows no bar.
_SECONDS_UNSEEN = 0.5


def downloading(name: str) -> str:
    """While a file is saved under a name."""
    return f"{DOWNLOADING} {name}"


def fetching(study: str, unit: str) -> str:
    """While the matrix of a study is fetched into memory."""
    return f"{study} {unit}"


def exporting(study: str) -> str:
    """While the server makes a file of a study."""
    return f"Exporting {study}"


def packing(name: str) -> str:
    """While an archive is written before its upload."""
    return f"Packing {name}"


def processing(study: str) -> str:
    """While the server works on a submission."""
    return f"Processing {study}"


def ready(study: str | None) -> str:
    """After the server has made a study of a submission."""
    return f"Study {quoted(study)} is ready"


def progress_bar(description: str, total: int | None = None) -> tqdm[Any]:
    """A bar for bytes, with rate and remaining time; `total` is None if it is unknown."""
    return _bar(desc=description, total=total, unit="B", unit_scale=True, unit_divisor=1024)


def task_bar(description: str) -> tqdm[Any]:
    """A line for work on a server: the elapsed time and, as its postfix, the current step."""
    # The servers do not say how many steps there are, and a rate of steps would be meaningless.
    # tqdm ends a bar that it showed before the delay was over without a line break.
    return _bar(desc=description, bar_format="{desc}: {elapsed}{postfix}", as_line=_in_notebook(), delay=0)


def _bar(*, as_line: bool = False, **options: Any) -> tqdm[Any]:
    """A tqdm bar that follows ``bc.settings.progress``."""
    from biocolab_accessor.config import settings

    with _IMPORTING:
        kind = _imported()

    # disable=None hides the bar if the output is not a terminal; tqdm.auto recognizes notebooks.
    disable = {"auto": None, "on": False, "off": True}[settings.progress]
    options["desc"] = shown(options["desc"])
    # Without ipywidgets, tqdm shows nothing in a notebook, as a kernel's stderr is not a terminal. With them, it would
    # show a square for a task, and a saved notebook would keep what was shown first.
    if as_line or (_in_notebook() and find_spec("ipywidgets") is None):
        kind, disable = _line(), bool(disable)
    bar: tqdm[Any] = kind(disable=disable, **{"delay": _SECONDS_UNSEEN, **options})
    return bar


@cache
def _imported() -> Any:
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets text bars, which do as well, but tqdm would warn in every notebook.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@cache
def _line() -> Any:
    """A bar that is a line of text in the output of a cell."""
    from tqdm import tqdm

    class Line(tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: Any) -> None:
            self._handle, self._over, self._in_red = None, "", False
            super().__init__(**options, gui=True)  # gui: nothing is written to stderr
            self.ncols = None if options.get("bar_format") else 80

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            from IPython.display import display

            text = (msg or str(self)) + self._over
            content = {"text/plain": text}
            if self._in_red:
                content["text/html"] = f"<pre style='margin:0;color:#d32f2f'>{escape(text)}</pre>"
            if self._handle is None:
                self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            else:
                self._handle.update(content, raw=True)

        def __exit__(self, kind: Any, *rest: Any) -> None:
            if kind is not None:
                self._over = " (failed)" if issubclass(kind, TaskFailed) else " (stopped)"
                self._in_red = not issubclass(kind, KeyboardInterrupt | TimedOut)
            super().__exit__(kind, *rest)

        def close(self) -> None:
            ended = self.disable
            super().close()
            if not ended and self._handle is not None:
                self.display()

    return Line
