"""Every public name says what it is, what it takes and how it is used, checked by numpydoc's own tool.

That the examples run is checked by ``test_public_names.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from numpydoc.validate import validate

import biocolab_accessor as bc
from biocolab_accessor.accessors.anndata import AnnDataAccessor
from biocolab_accessor.accessors.dataframe import DataFrameAccessor
from biocolab_accessor.accessors.mudata import MuDataAccessor
from biocolab_accessor.check.report import Report
from biocolab_accessor.config import Settings
from biocolab_accessor.io.cache import Cache
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.collection import Collection
from biocolab_accessor.studies.lock import DataLock, Recorder
from biocolab_accessor.studies.selection import FetchPlan
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.plan import Plan
from biocolab_accessor.submit.submission import Submission

_CLASSES = (
    AnnDataAccessor,
    DataFrameAccessor,
    MuDataAccessor,
    Study,
    FetchPlan,
    DataLock,
    Submission,
    Sandbox,
    Report,
    Plan,
    Collection,
    Cache,
    Settings,
    bc.EConnector,
)

_BY_FETCHES = {Recorder.add, DataLock.save}  # which no user calls

# No docstring, no summary, parameters that are not told or not there, no example.
_CODES = {"GL08", "SS01", "PR01", "PR02", "EX01"}


def _path(thing: object) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _public() -> Iterator[object]:
    for name in bc.__all__:
        if inspect.isfunction(getattr(bc, name)):
            yield getattr(bc, name)
    for kind in _CLASSES:
        yield kind
        for name in dir(kind):
            method = inspect.getattr_static(kind, name)
            function = method.__func__ if isinstance(method, classmethod | staticmethod) else method
            own = str(getattr(function, "__module__", "")).startswith("biocolab_accessor")
            if not name.startswith("_") and own and inspect.isfunction(function) and function not in _BY_FETCHES:
                yield function


_THINGS = {_path(thing): thing for thing in _public()}


def _problems(path: str) -> list[str]:
    found = [f"{code}: {text}" for code, text in validate(path)["errors"] if code in _CODES]
    if inspect.isclass(_THINGS[path]):
        # What a class is made of is for those that make one; its attributes are told instead.
        found = [problem for problem in found if not problem.startswith(("PR01", "PR02"))]
    if not any(problem.startswith("EX01") for problem in found) and ">>>" not in (_THINGS[path].__doc__ or ""):
        found.append("EX01: the example does not run")
    return found


@pytest.mark.parametrize("path", sorted(_THINGS))
def test_a_public_name_has_a_whole_docstring_with_an_example(path: str) -> None:
    assert _problems(path) == []


def test_properties_say_what_they_are() -> None:
    for kind in _CLASSES:
        for name, member in inspect.getmembers(kind, lambda member: isinstance(member, property)):
            if not name.startswith("_") and member.fget.__module__.startswith("biocolab_accessor"):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
