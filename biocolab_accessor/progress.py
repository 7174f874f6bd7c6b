"""Progress: one bar per call, silent where nobody watches."""

from __future__ import annotations

import threading
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from biocolab_accessor.messages import shown

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["progress_bar", "task_bar"]

# One thread that restores the filters of warnings before another that began later leaves those of the other for good.
_IMPORTING = threading.Lock()
# What is over sooner leaves no bar behind.
_SECONDS_UNSEEN = 0.5


def progress_bar(description: str, total: int | None = None) -> tqdm[Any]:
    """A bar for bytes, with rate and the time that is left.

    Parameters
    ----------
    description
        What is going on, as the user would say it.
    total
        Bytes in all; None where it is not known.
    """
    return _bar(desc=description, total=total, unit="B", unit_scale=True, unit_divisor=1024)


def task_bar(description: str) -> tqdm[Any]:
    """A line for work of a server: for how long it goes on, and, as its postfix, at what the server is.

    Parameters
    ----------
    description
        What is going on, as the user would say it.
    """
    # How many steps there will be no server says, and a rate of steps tells nobody anything.
    return _bar(desc=description, bar_format="{desc}: {elapsed}{postfix}")


def _bar(**options: Any) -> tqdm[Any]:
    """A tqdm bar that follows ``bc.settings.progress``."""
    from biocolab_accessor.config import settings

    with _IMPORTING:
        kind = _imported()

    # disable=None switches the bar off where the output is no terminal; notebooks are recognised by tqdm.auto.
    disable = {"auto": None, "on": False, "off": True}[settings.progress]
    options["desc"] = shown(options["desc"])
    bar: tqdm[Any] = kind(disable=disable, delay=_SECONDS_UNSEEN, **options)
    return bar


@cache
def _imported() -> Any:
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets text bars, which are no worse; tqdm warns of it in every notebook.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
