"""Public functions suggest keywords, and their errors end in a line of code that helps."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import biocolab_accessor as bc
from biocolab_accessor.accessors.mudata import MuDataAccessor
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.bioflex import BioFlexConnection, Database, Study
from biocolab_accessor.clients.lens_bulk import LensBulkConnector
from biocolab_accessor.clients.lens_sc import LensSCConnector
from biocolab_accessor.errors import public

_HANDED_OUT = (BBrowserXConnector, BioFlexConnection, Database, Study, LensBulkConnector, LensSCConnector)


def functions() -> Iterator[Callable[..., Any]]:
    """Every public function, method and constructor; results with fields, such as plans, are not made by users."""
    accessors = (type(AnnData().biocolab), type(pd.DataFrame().biocolab), MuDataAccessor)
    for each in (*(getattr(bc, name) for name in bc.__all__), type(bc.settings), *accessors, *_HANDED_OUT):
        if inspect.isfunction(each):
            yield each
        for name in dir(each) if inspect.isclass(each) else ():
            owner = next(base for base in each.__mro__ if name in vars(base))
            method = vars(owner)[name]
            ours = owner.__module__.startswith("biocolab_accessor") and inspect.isfunction(method)
            made = name == "__init__" and not dataclasses.is_dataclass(owner)
            if ours and (made or not name.startswith("_")):
                yield method


def keywords(function: Callable[..., Any]) -> list[str]:
    """Names of its arguments; none if it takes any keyword, which it then hands on."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return []
    return [each.name for each in parameters if each.name != "self" and each.kind is not each.VAR_POSITIONAL]


CALLS = {f"{each.__module__}.{each.__qualname__}": each for each in functions() if keywords(each)}


def test_the_error_about_a_misspelled_keyword_of_a_public_function_suggests_the_right_one() -> None:
    assert len(CALLS) > 110
    for call in CALLS.values():
        for name in keywords(call):
            with pytest.raises(TypeError, match=rf"'{name}{name[-1]}' \(did you.*'{name}'"):
                call(**{name + name[-1]: None})


def test_the_error_about_a_keyword_that_resembles_none_lists_all_of_them() -> None:
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'nothing_alike'; it takes 'ids', 'dat"):
        bc.collection(nothing_alike=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'; it takes no arguments"):
        public(lambda: None)(x=1)


def test_the_error_about_a_keyword_names_the_function_as_users_call_it() -> None:
    adata = AnnData(np.eye(2, dtype=np.float32))
    for call, name in {
        bc.submit: "bc.submit",
        bc.submit_metadata: "bc.submit_metadata",
        bc.check: "bc.check",
        adata.biocolab.submit: "adata.biocolab.submit",
        adata.to_df().biocolab.check: "df.biocolab.check",
        bc.Report: "bc.Report",
        bc.Report().raise_for_errors: "Report.raise_for_errors",
    }.items():
        with pytest.raises(TypeError) as caught:
            call(nonsense=1)  # type: ignore[operator]
        assert str(caught.value).startswith(f"{name}() got an unexpected keyword argument 'nonsense'")


def test_the_error_about_a_misspelled_setting_suggests_the_right_one() -> None:
    with pytest.raises(bc.errors.InvalidArgument, match="did you mean 'max_retries'"):
        bc.settings.override(max_retires=1).__enter__()


def test_the_line_that_an_error_ends_in_has_the_users_own_names(server: bc.Sandbox, counts: AnnData) -> None:
    mine, both, cells = bc.study("PBMC68k_reduced"), bc.collection(["PBMC68k_reduced"]), counts
    for call, line in {
        lambda: mine.metadata("nothing"): "mine.fields",
        lambda: both.to_anndata(genes=["NOTHING"]): "both.studies[0].features()",
        lambda: mine.to_anndata(cells=["NOTHING"]): "mine.barcodes()",
        lambda: cells.biocolab.pull_metadata("nothing", study=mine): "mine.fields",
        lambda: cells.biocolab.plot_expression_summary(
            genes=["NOTHING"]
        ): "help(cells.biocolab.plot_expression_summary)",
        lambda: bc.study("PBMC68k_reduced").query_genes([]): "help(bc.Study.query_genes)",
        lambda: bc.expression_summary([]): "help(bc.expression_summary)",
        lambda: bc.EConnector(private_token=" "): "help(bc.EConnector)",
    }.items():
        with pytest.raises(bc.errors.BiocolabError) as caught:
            call()
        assert caught.value.__notes__[-1] == f"  {line}"


def test_a_positional_argument_that_a_public_function_does_not_take_is_a_mistake_of_the_user() -> None:
    with pytest.raises(TypeError, match="takes 0 positional arguments but 1 was given") as caught:
        bc.groups("x")
    assert caught.value.__notes__ == ["  help(bc.groups)"]
    assert hasattr(caught.value, "_render_traceback_")  # in a notebook, without the frames of the package


def test_a_type_error_in_the_code_of_the_package_keeps_its_whole_traceback() -> None:
    @public
    def broken() -> None:
        len(3)

    with pytest.raises(TypeError) as caught:
        broken()
    assert not hasattr(caught.value, "_render_traceback_")
    assert not hasattr(caught.value, "__notes__")


def test_an_error_that_a_public_function_raises_within_another_has_one_line() -> None:
    with pytest.raises(bc.errors.InvalidArgument) as caught:
        bc.collection(["X"], source="nowhere")
    assert caught.value.__notes__ == ["  help(bc.collection)"]


def test_looking_for_the_name_of_an_object_changes_no_variables_of_the_caller() -> None:
    program = "kept = 1\ntry:\n    bc.submit('missing.h5ad')\nexcept bc.errors.MissingFile:\n    pass\nkept += 1"
    own = {"bc": bc}
    exec(program, {}, own)
    assert own == {"bc": bc, "kept": 2}
    kept = 1
    with pytest.raises(bc.errors.MissingFile):
        bc.submit("missing.h5ad")
    assert kept == 1
