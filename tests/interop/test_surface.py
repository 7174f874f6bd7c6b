"""Every promised name is there and takes its arguments in their order; what differs on purpose is listed with why."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import biocolabsdk.connector
import biocolabsdk.identity
import bioflex
import bioflex.connection
import bioflex.database
import bioflex.metadata
import bioflex.study
import bioturing_connector.bbrowserx_connector
import bioturing_connector.lens_bulk_connector
import bioturing_connector.lens_sc_connector
import pytest
import typer.main

import biocolab_accessor as bc
from biocolab_accessor import identity, util
from biocolab_accessor.accessors import AnnDataAccessor, DataFrameAccessor
from biocolab_accessor.cli import app
from biocolab_accessor.clients import bbrowserx, lens_bulk, lens_sc
from biocolab_accessor.clients import bioflex as ours
from biocolab_accessor.config import Settings
from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.submission import Submission
from tests.interop.surface import COMMANDS, LATER_COMMANDS, SETTINGS, Design, Sdk

PROMISED = [
    *((Sdk.EConnector, EConnector), (Sdk.EConnector108, EConnector), (Sdk.EConnector101, EConnector)),
    *((Sdk.Identity, identity.Identity), (Sdk.util, util)),
    *((Design.bc, bc), (Design.Study, Study), (Design.Submission, Submission), (Design.Sandbox, Sandbox)),
    *((Design.AnnDataAccessor, AnnDataAccessor), (Design.DataFrameAccessor, DataFrameAccessor)),
]
OFFICIAL = [
    *((biocolabsdk.connector.EConnector, EConnector), (biocolabsdk.identity.Identity, identity.Identity)),
    *((bioflex.connection.Connection, ours.BioFlexConnection), (bioflex.database.Database, ours.Database)),
    *((bioflex.study.Study, ours.Study), (bioflex.metadata.Metadata, ours.Metadata)),
    (bioturing_connector.bbrowserx_connector.BBrowserXConnector, bbrowserx.BBrowserXConnector),
    (bioturing_connector.lens_bulk_connector.LensBulkConnector, lens_bulk.LensBulkConnector),
    (bioturing_connector.lens_sc_connector.LensSCConnector, lens_sc.LensSCConnector),
]
_WHERE = ("local", "s3", "shared_s3")
DEFAULTS_OF_OURS = {
    # The connector's own setting, so that a certificate bundle is given once.
    ("EConnector", "ssl"): None,
    # bc.settings.ssl, which is True as long as it is not set.
    ("bc.connect", "ssl"): None,
    # "str", which no server knows.
    ("Study.export_study", "export_format"): "h5ad",
    # Has to be given there.
    ("Study.query_genes", "unit"): "lognorm",
    ("Study.matrix", "unit"): "lognorm",
    # Lists that all calls would share.
    ("BBrowserXConnector.get_metadata", "fields"): (),
    ("BBrowserXConnector.submit_study_from_sever", "authors"): (),
    ("BBrowserXConnector.post_request", "data"): None,
    **{
        (f"{kind}.{method}", argument): default
        for kind in ("LensBulkConnector", "LensSCConnector")
        for method, argument, default in (("get_metadata", "fields", ()), ("post_request", "data", None))
    },
    **{
        (f"{kind}.submit_study_from_{method}", argument): None
        if argument == "batch_info" and "proteomics" in method
        else ()
        for kind, methods in (
            ("LensBulkConnector", _WHERE),
            ("LensSCConnector", [f"{where}_{what}" for where in _WHERE for what in ("lens_sc", "proteomics")]),
        )
        for method in methods
        for argument in ("authors", "batch_info")
        if argument == "authors" or "s3" in method
    },
}


def public(kind: Any) -> Iterator[str]:
    """Public names of a class or of a stub, ``__init__`` among them."""
    stub = kind.__module__ == Design.__module__
    for name in (*vars(kind), *getattr(kind, "__annotations__", {})) if stub else dir(kind):
        if name == "__init__" or not name.startswith("_"):
            yield name


def cases(pairs: list[tuple[Any, Any]]) -> list[Any]:
    return [
        pytest.param(theirs, mine, name, id=f"{theirs.__qualname__}.{name}")
        for theirs, mine in pairs
        for name in dict.fromkeys(public(theirs))
        if not (name == "__init__" and theirs.__init__ is object.__init__)
    ]


@pytest.mark.parametrize(("theirs", "mine", "name"), cases(PROMISED) + cases(OFFICIAL))
def test_it_is_there_and_takes_the_same_arguments(theirs: Any, mine: Any, name: str) -> None:
    official = inspect.getattr_static(theirs, name, None)
    if not callable(official):
        assert name in ATTRIBUTES.get(mine, ()) or hasattr(mine, name)
        return
    wanted, found = (list(inspect.signature(getattr(kind, name)).parameters.values()) for kind in (theirs, mine))
    given = {parameter.name: parameter for parameter in found}
    positional = [p.name for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in found[: len(positional)]] == positional
    for parameter in wanted:
        own = given[parameter.name]
        places = (f"{theirs.__name__}.{name}", "EConnector" if mine is EConnector else "")
        default = next(
            (DEFAULTS_OF_OURS[place, own.name] for place in places if (place, own.name) in DEFAULTS_OF_OURS),
            parameter.default,
        )
        assert (own.kind, own.default) == (parameter.kind, default), parameter.name
    # What came in addition can be left out.
    added = [p for p in found if p.name not in {w.name for w in wanted}]
    assert all(p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in added)


ATTRIBUTES: dict[Any, tuple[str, ...]] = {
    Study: ("id", "title", "authors", "reference", "source"),
    Submission: ("study_id", "task_id", "study_info"),
    Sandbox: ("url", "token", "faults", "requests"),
}
"""Set when an object is made: :func:`test_attributes_are_on_the_object` looks at them there."""


def test_attributes_are_on_the_object(server: Sandbox, counts: Any) -> None:
    submission = counts.biocolab.submit(skip_dimred=True)
    for made in (server, submission, submission.study(), bc.study("PBMC68k_reduced")):
        for name in ATTRIBUTES[type(made)]:
            assert getattr(made, name) is not None


def test_helpers_of_the_sdk_are_importable_as_there() -> None:
    from biocolab_accessor.identity import Identity
    from biocolab_accessor.util import empty, get_settings

    assert bc.EConnector is EConnector
    assert Identity is identity.Identity
    assert (empty(data=None), empty(""), empty("x"), get_settings()) == (True, True, False, {})


def test_settings_and_commands_are_those_that_were_promised() -> None:
    assert set(SETTINGS) <= set(Settings.model_fields)
    assert callable(bc.settings.override)
    commands: Callable[..., Any] = typer.main.get_command(app)
    assert {*COMMANDS, *LATER_COMMANDS} == set(commands.commands)  # type: ignore[attr-defined]
    assert {"info", "clear"} <= set(dir(bc.cache))
