"""The names of ``biocolab_accessor`` itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

_ROOT = Path(__file__).parents[1]


def cells() -> ad.AnnData:
    """Two clusters that a database of blood cells knows, without an embedding."""
    counts = np.array([[5, 4, 0, 1], [6, 5, 1, 0], [4, 6, 0, 2], [0, 1, 7, 5], [1, 0, 6, 7], [0, 2, 5, 6]])
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs_names = [f"INIT{i}-1" for i in range(6)]
    adata.var_names = ["CD3D", "IL32", "LYZ", "CST3"]
    adata.obs["cluster"] = ["a", "a", "a", "b", "b", "b"]
    adata.obs["good"] = [True, False] * 3
    return adata


def synced(adata: ad.AnnData) -> Any:
    submission = adata.biocolab.submit(study_id="INIT_SYNCED", skip_dimred=True)
    return adata.biocolab.pull_metadata(["good"], study=submission, overwrite=True)


def left(adata: ad.AnnData) -> Any:
    adata.biocolab.submit(study_id="INIT_LEFT", skip_dimred=True, wait=False)
    (found,) = [each for each in bc.submissions() if each.study_id == "INIT_LEFT"]
    found.resume()
    return found


CALLS: dict[str, Callable[[ad.AnnData, Sandbox], Any]] = {
    "Annotation": lambda adata, server: adata.biocolab.annotate("cluster", markers={"a": ["CD3D"], "b": ["LYZ"]}),
    "BrokenOff": lambda adata, server: left(adata),
    "Cache": lambda adata, server: bc.cache,
    "CacheInfo": lambda adata, server: bc.cache.info(),
    "Collection": lambda adata, server: bc.collection(["PBMC68k_reduced"]),
    "EConnector": lambda adata, server: server.connect(),
    "FetchPlan": lambda adata, server: bc.study("PBMC68k_reduced").to_anndata(dry_run=True),
    "FilterPreview": lambda adata, server: adata.biocolab.preview_filters(min_genes=1),
    "Finding": lambda adata, server: adata.biocolab.check(species="mouse", min_genes=100)[0],
    "MatchReport": lambda adata, server: synced(adata),
    "Plan": lambda adata, server: adata.biocolab.submit(dry_run=True),
    "Report": lambda adata, server: bc.check(adata),
    "Sandbox": lambda adata, server: server,
    "Settings": lambda adata, server: bc.settings,
    "Study": lambda adata, server: bc.study("PBMC68k_reduced"),
    "Submission": lambda adata, server: adata.biocolab.submit(study_id="INIT", skip_dimred=True),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_public_class_is_that_of_the_object_a_call_returns(name: str, server: Sandbox) -> None:
    kind = getattr(bc, name)
    assert kind.__name__ == name
    assert type(CALLS[name](cells(), server)) is kind


def test_every_public_class_has_a_call_that_returns_it() -> None:
    kinds = {name for name in bc.__all__ if isinstance(getattr(bc, name), type)}
    assert kinds == {*CALLS, "DataLock", "FilesPlan", "OwnStudy"}
    assert bc.OwnStudy.__name__ == "OwnStudy"  # its own tests have the calls of these three


@pytest.mark.sweeps
def test_a_class_and_a_function_whose_names_differ_in_their_first_letter_are_both_there() -> None:
    code = (
        "import biocolab_accessor as bc;"
        "print(bc.Sandbox.__name__, bc.sandbox.__name__, bc.Study.__name__, bc.study.__name__, bc.check.__name__);"
        "import biocolab_accessor.sandbox.server; print(bc.sandbox.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Sandbox", "sandbox", "Study", "study", "check", "sandbox"]


def test_the_version_stands_in_one_place_and_everything_else_reads_it_there() -> None:
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["dynamic"] == ["version"]
    assert "version" not in settings["project"]
    path = _ROOT / settings["tool"]["hatch"]["version"]["path"]
    assert f'\n__version__ = "{bc.__version__}"' in path.read_text(encoding="utf-8")
