"""Values of uns are reported if anndata itself fails to write them, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc


def structured(*values: Any) -> np.ndarray:
    array = np.empty(len(values), [("0", "O"), ("1", "f4")])
    array["0"] = values
    array["1"] = 1
    return array


def found(value: Any) -> list[tuple[str, str]]:
    adata = ad.AnnData(np.eye(2, dtype=np.float32))
    adata.uns["x"] = value
    return [(finding.path, finding.message) for finding in bc.check(adata) if finding.code == "BC502"]


def is_written(value: Any, path: Path) -> bool:
    adata = ad.AnnData(np.eye(2, dtype=np.float32))
    adata.uns["x"] = value
    try:
        adata.write_h5ad(path / "a.h5ad")
    except Exception:  # noqa: BLE001 - anndata has a different one for each
        return False
    ad.read_h5ad(path / "a.h5ad")
    return True


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (np.datetime64("2020"), "uns['x']", "is a datetime64"),
        (np.timedelta64(1, "D"), "uns['x']", "is a timedelta64"),
        (np.array(["2020"], "M8[D]"), "uns['x']", "holds datetime64[D] values"),
        (1j, "uns['x']", "is a complex"),
        (np.bytes_(b"a"), "uns['x']", "is a bytes_"),
        (2**70, "uns['x']", "is a int"),
        ([[1], [2, 3]], "uns['x']", "is a list of lists of different lengths"),
        ([None, 1], "uns['x']", "is a list of NoneType"),
        (["a\0b"], "uns['x']", "holds a NUL"),
        (np.array(["a\0b"]), "uns['x']", "holds a NUL"),
        (structured("a", np.nan), "uns['x']['0']", "holds objects, some of them missing"),
        (structured(np.nan, np.nan), "uns['x']['0']", "holds objects, some of them missing"),
        (structured("a", 1), "uns['x']['0']", "(str 1, int 1)"),
        (np.array(["a", None], object), "uns['x']", "holds objects, some of them missing"),
        (pd.DataFrame({0: [1]}), "uns['x'][0]", "the column name is a int, not text"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "uns['x']", "has columns with the same name"),
        (pd.DataFrame({"a": [1, 2]}, index=[1, "b"]), "uns['x'].index", "holds values of mixed types"),
        (
            pd.Categorical(pd.date_range("2020", periods=2)),
            "uns['x']",
            "has categories that h5ad cannot hold (holds datetime64",
        ),
        (pd.array(pd.period_range("2020", periods=2)), "uns['x']", "holds period[D], which h5ad cannot hold"),
        (pd.Index(["a"]), "uns['x']", "is a Index"),
        (sparse.coo_matrix(np.eye(2)), "uns['x']", "is a coo_matrix"),
        (sparse.dok_matrix(np.eye(2)), "uns['x']", "is a dok_matrix"),  # which is a dict
        ({"y": {"z": np.datetime64("2020")}}, "uns['x']['y']['z']", "is a datetime64"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_values_that_anndata_cannot_write_are_found_with_their_place(
    value: Any, path: str, reason: str, tmp_path: Path
) -> None:
    ((place, message),) = found(value)
    assert place == path
    assert reason in message
    assert not is_written(value, tmp_path)


def test_a_column_name_with_a_slash_is_found_since_anndata_0_13_does_not_write_it(tmp_path: Path) -> None:
    table = pd.DataFrame({"a/b": [1]})
    assert found(table) == [("uns['x']['a/b']", "the column name contains a '/', which separates groups in HDF5")]
    with ad.settings.override(disallow_forward_slash_in_h5ad=True):
        assert not is_written(table, tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        structured("a", "b"), np.array([1j]), np.complex64(1), np.float16(1), np.str_("a"), [1, np.nan], [], [[1], [2]],
        np.array([b"a"]), pd.DataFrame({"a": [1]}, index=[7]), pd.DataFrame(),
        sparse.csc_matrix(np.eye(2)), sparse.csr_array(np.eye(2)), 2**63, -(2**63), float("nan"),
        pd.array([True, None], "boolean"), np.array([], object),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_that_anndata_can_write_are_not_reported(value: Any, tmp_path: Path) -> None:
    assert found(value) == []
    assert is_written(value, tmp_path)
