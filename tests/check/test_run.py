"""bc.check reports everything at once, for objects and files, and changes nothing."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from bioturing_connector.typing import Species

import biocolab_accessor as bc
from biocolab_accessor.check.files import open_h5ad
from biocolab_accessor.check.run import check_object
from biocolab_accessor.errors import InvalidArgument, InvalidFile

pytestmark = pytest.mark.smoke

DATA = Path(os.environ.get("BIOCOLAB_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def data(name):
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not in {DATA}: set BIOCOLAB_TEST_DATA")
    return DATA / name


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("mouse_neurons_10k_x_1k.h5ad", ["BC103", "BC310", "BC404"]),
        ("pbmc_10k_protein_v3.h5ad", []),
        ("anndata-v0.5.0.h5ad", ["BC305"]),
        ("anndata-v0.7.0.h5ad", []),
        ("cellxgene-nan.h5ad", ["BC302", "BC305"]),
    ],
)
def test_real_files_are_judged_without_a_warning(name, codes):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        report = bc.check(data(name), species="human")
    assert [found.code for found in report if found.severity != "note"] == codes


def test_a_10x_file_is_checked_as_what_it_is():
    assert bc.check(data("10x-v3.h5")).errors == ()
    with pytest.raises(InvalidFile, match="10x file"):
        open_h5ad(data("10x-v3.h5"))


def test_everything_is_found_at_once():
    obs = pd.DataFrame({"x": [1, "a"], "a/b": [1, 2]}, index=["c", "c"])
    with pytest.warns(UserWarning, match="not unique"):
        adata = AnnData(np.array([[np.nan], [1]]), obs, obsm={"X_u": np.array([[np.inf], [0.1]])})
    assert [found.code for found in bc.check(adata, batch_key="no")] == [
        "BC101", "BC204", "BC302", "BC109", "BC208", "BC309", "BC313",
    ]  # fmt: skip


@pytest.mark.parametrize("thing", [None, 3, np.eye(2), pd.DataFrame()])
def test_other_types_are_refused(thing):
    with pytest.raises(InvalidArgument, match="AnnData or the path"):
        bc.check(thing)


def test_a_wrong_matrix_type_is_refused():
    with pytest.raises(InvalidArgument, match="input_matrix_type"):
        bc.check(AnnData(np.eye(2)), input_matrix_type="both")


@pytest.mark.sweeps
def test_importing_the_package_loads_no_rules():
    code = "import sys, biocolab_accessor.check as c; print(any('check.' in m for m in sys.modules))"
    package = str(Path(bc.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "False"


def test_arguments_are_passed_on_for_objects_and_for_files(tmp_path):
    adata = AnnData(
        np.log1p(np.ones((2, 30), np.float32)),
        pd.DataFrame({"sample": ["a", None]}, index=["c1", "c2"]),
        pd.DataFrame(index=[f"ENSG{i:011d}" for i in range(30)]),
    )
    adata.write_h5ad(tmp_path / "a.h5ad")
    for thing in (adata, tmp_path / "a.h5ad", str(tmp_path / "a.h5ad")):
        found = bc.check(thing, input_matrix_type="raw", batch_key="sample", species=Species.MOUSE)
        assert [(each.code, each.path) for each in found] == [
            ("BC204", "obs['sample']"), ("BC300", "X, raw.X, layers"), ("BC404", "var_names"),
            ("BC209", "obs['sample']"),
        ]  # fmt: skip


def test_the_chosen_matrix_is_returned_with_the_report():
    adata = AnnData(np.eye(2, dtype=np.float32))
    report, choice, _ = check_object(adata)
    assert (report.ok, str(choice.slot), choice.input_matrix_type) == (True, "X", "raw")
    assert check_object(AnnData(np.eye(2) / 3), input_matrix_type="raw")[1] is None
    adata.obsm._data["k"] = np.ones((3, 2))
    report, choice, _ = check_object(adata)
    assert ([found.code for found in report], choice) == (["BC503"], None)


@pytest.mark.parametrize("thing", [None, 3, np.eye(2)])
def test_the_error_names_the_type_that_was_passed(thing):
    with pytest.raises(InvalidArgument) as caught:
        bc.check(thing)
    assert str(caught.value) == f"expected an AnnData or the path of an h5ad file, got {type(thing).__name__}"


@pytest.mark.parametrize("species", ["humn", ["human"], 9606])
def test_a_species_that_no_server_knows_is_refused_as_submit_does(species):
    with pytest.raises(InvalidArgument, match="species is "):
        bc.check(AnnData(np.eye(2, dtype=np.float32)), species=species)
