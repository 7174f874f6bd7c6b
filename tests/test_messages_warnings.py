"""Messages: warnings point to the user's line."""

from __future__ import annotations

import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FunctionType

import pytest

import biocolab_accessor as bc
from biocolab_accessor import messages as room


def of_the_package(function: FunctionType) -> FunctionType:
    """The same function, as if it were in a module of the package."""
    return FunctionType(function.__code__, {**function.__globals__, "__name__": "biocolab_accessor.some.room"})


@contextmanager
def _block():
    room.warn("look out")
    yield


def _within():
    with ExitStack() as held:
        held.enter_context(_block())


@pytest.mark.parametrize("deep", [False, True])
def test_a_warning_shows_the_line_that_called_the_package(deep: bool) -> None:
    call = of_the_package(_within) if deep else room.warn
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1
        call() if deep else call("look out")
    [warning] = caught
    assert (warning.filename, warning.lineno, warning.category, str(warning.message)) == (
        __file__,
        line,
        UserWarning,
        "look out",
    )


def test_a_warning_in_a_thread_of_the_user_shows_the_line_there(server: bc.Sandbox, tmp_path: Path) -> None:
    study = bc.study("PBMC68k_reduced")
    with pytest.warns(UserWarning, match="has no counts") as caught, ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: study.to_h5ad(tmp_path / "x.h5ad", genes=["LYZ"])).result()
    assert {each.filename for each in caught if "has no counts" in str(each.message)} == {__file__}
