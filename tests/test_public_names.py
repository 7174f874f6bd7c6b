from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor import errors
from biocolab_accessor.connection import default
from biocolab_accessor.sandbox.server import Sandbox
from tests.conftest import forked_dask

_PACKAGE = Path(bc.__file__).parent
_MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages([str(_PACKAGE)], "biocolab_accessor.") if "__main__" not in name
)


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert bc.__all__ == sorted(bc.__all__)
    for name in bc.__all__:
        assert getattr(bc, name) is not None
        assert name in dir(bc)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bc.nonsense


def test_names_that_are_also_modules_stay_what_they_are() -> None:
    for module in _MODULES:
        importlib.import_module(module)
    assert inspect.isfunction(bc.check)
    assert inspect.isfunction(bc.sandbox)
    assert bc.settings.max_retries >= 0


def test_importing_loads_nothing_that_is_slow() -> None:
    code = (
        "import sys, anndata; before = set(sys.modules); import biocolab_accessor;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    slow = {
        "scanpy",
        "uvicorn",
        "starlette",
        "typer",
        "rich",
        "requests",
        "bioflex",
        "bioturing_connector",
        "isal",
        "dask",
        "distributed",
    }
    assert loaded & (slow | {"pydantic", "pydantic_settings", "matplotlib", "numba", "tqdm", "sqlite3"}) == set()


@pytest.mark.parametrize("module", _MODULES)
def test_all_of_every_module_exists(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", []):
        assert hasattr(loaded, name)


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = re.findall(r"(?:├── |└── |^    )(\w+)(?: \((\w+)\))?", errors.__doc__, re.MULTILINE)
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind.__module__ == errors.__name__
    }
    assert {name for name, _ in drawn} == set(classes)
    for name, builtin in drawn:
        if builtin:
            assert issubclass(classes[name], getattr(__builtins__, builtin, None) or __builtins__[builtin])
    assert all(issubclass(kind, errors.BiocolabError) for kind in classes.values())


# Those of three modules submit and fetch a dozen times: plain pytest runs all others.
_LONG = {f"biocolab_accessor.{name}" for name in ("accessors.anndata", "studies.study", "studies.collection")}


@pytest.mark.parametrize(
    "module",
    [pytest.param(module, marks=pytest.mark.notebooks if module in _LONG else []) for module in _MODULES],
)
def test_examples_in_docstrings_run(module: str, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # What an example connects to is no concern of the tests that follow.
    monkeypatch.setattr(default, "_stack", [*default._stack])
    loaded = importlib.import_module(module)
    with forked_dask() if module == "biocolab_accessor.connection.default" else nullcontext():
        failed, _ = doctest.testmod(loaded, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert failed == 0
