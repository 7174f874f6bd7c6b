from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from biocolab_accessor.cli.demo import run_demo
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.sandbox.public_studies import has_celltypist


@pytest.mark.smoke
@pytest.mark.usefixtures("cold_workers")  # layouts as long as users see them
@pytest.mark.skipif(not has_celltypist(), reason="CellTypist's sample is not installed (extra demo)")
def test_the_round_trip_is_exact_and_ends_with_a_picture(tmp_path: Path) -> None:
    said: list[str] = []
    stages: list[str] = []
    result = run_demo(tmp_path / "umap.png", said.append, stages.append)
    assert result.exact
    assert (result.n_obs, result.n_vars, result.n_counts) == (559, 32_786, 3 * 1_027_859)
    with Image.open(tmp_path / "umap.png") as picture:
        assert picture.size > (600, 400)
    assert any("Running UMAP" in stage for stage in stages)
    assert said[-3].endswith(": exact")
    assert "VCAN" in said[-2]  # of the monocytes, whatever number this version of Leiden gives them
    assert "UMAP plotted" in said[-1]


@pytest.mark.parametrize(
    ("name", "said"), [("no/umap.png", "no folder"), ("umap", "not an image file name"), ("umap.csv", "csv")]
)
def test_an_invalid_picture_path_is_rejected_before_the_demo_runs(name: str, said: str, tmp_path: Path) -> None:
    stages: list[str] = []
    with pytest.raises(InvalidArgument, match=said):
        run_demo(tmp_path / name, stages.append, stages.append)
    assert stages == []
