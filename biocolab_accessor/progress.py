"""Progress: one bar per call, silent where nobody watches."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(description: str, total: int | None = None, *, unit: str = "B") -> tqdm[Any]:
    """A tqdm bar that follows ``bc.settings.progress``.

    Parameters
    ----------
    description
        What is going on, as the user would say it.
    total
        Units in all; None where it is not known.
    unit
        ``"B"`` for bytes (shown as MiB and so on) or any word.
    """
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets text bars, which are no worse; tqdm warns of it in every notebook.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    from biocolab_accessor.config import settings

    # disable=None switches the bar off where the output is no terminal; notebooks are recognised by tqdm.auto.
    disable = {"auto": None, "on": False, "off": True}[settings.progress]
    bytes_ = unit == "B"
    bar: tqdm[Any] = tqdm(
        desc=description,
        total=total,
        unit=unit,
        unit_scale=bytes_,
        unit_divisor=1024 if bytes_ else 1000,
        disable=disable,
    )
    return bar
