"""An object knows its last submission."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import anndata as ad
import numpy as np
import pytest

from biocolab_accessor.errors import UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import provenance
from biocolab_accessor.studies.provenance import remember_sent, submission_of
from biocolab_accessor.submit.submission import Submission


def small() -> ad.AnnData:
    adata = ad.AnnData(np.eye(9, dtype=np.float32) + 1)
    adata.obs_names = [f"CELL{i}-1" for i in range(9)]
    return adata


class Stub(Submission):
    def __init__(self, name: str) -> None:
        self.study_id = name

    def __repr__(self) -> str:
        return self.study_id


def test_a_submitted_object_finds_its_study_without_an_argument(server: Sandbox) -> None:
    adata = small()
    first = adata.biocolab.submit(study_id="knows-first", skip_dimred=True)
    adata.obsm["X_own"] = np.arange(18, dtype=np.float32).reshape(9, 2)
    assert submission_of(adata) is first
    adata.biocolab.submit(study_id="knows-second", skip_dimred=True)
    assert adata.biocolab.study.id == "knows-second"
    assert not adata.uns
    adata.obs["grade"] = [float(i) for i in range(9)]
    assert adata.biocolab.push_metadata("grade", study=adata.biocolab.study).matched == 9
    del adata.obs["grade"], adata.obsm["X_own"]
    report = adata.biocolab.pull_metadata("grade")
    assert (report.study_id, adata.obs["grade"].tolist()) == ("knows-second", [float(i) for i in range(9)])
    assert adata.biocolab.pull_embeddings().written == ("obsm['X_own']",)


def test_an_object_whose_names_or_shape_changed_is_not_the_one_that_was_sent(server: Sandbox) -> None:
    for change in ("obs_names", "var_names", "shape"):
        adata = small()
        remember_sent(adata, Stub("gone"))
        if change == "shape":
            adata._inplace_subset_obs(np.arange(8))
        else:
            setattr(adata, change, [f"other{i}" for i in range(9)])
        with pytest.raises(UnknownStudy, match=r"give study=.*last submission in this session"):
            adata.biocolab.pull_metadata()
        with pytest.raises(UnknownStudy, match="study="):
            _ = adata.biocolab.study


def test_a_copy_is_another_object() -> None:
    adata = small()
    remember_sent(adata, Stub("one"))
    assert submission_of(adata.copy()) is None
    assert submission_of(adata) is not None


def test_an_object_is_not_kept_alive_and_is_forgotten_with_its_end() -> None:
    adata = small()
    key = id(adata)
    remember_sent(adata, Stub("one"))
    remember_sent(adata, Stub("two"))
    del adata
    gc.collect()
    assert key not in provenance._sent


def test_threads_do_not_mix_up_their_objects() -> None:
    def work(number: int) -> list[str]:
        found = []
        for turn in range(50):
            adata = small()
            remember_sent(adata, Stub(f"{number}-{turn}"))
            found.append(str(submission_of(adata)))
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert results == [[f"{number}-{turn}" for turn in range(50)] for number in range(8)]


def test_a_part_of_an_object_is_told_where_the_whole_went(server: Sandbox) -> None:
    adata = small()
    whole = adata.biocolab.submit(study_id="whole", skip_dimred=True)
    for part in (adata[:, :5], adata[:4].copy()):
        with pytest.raises(UnknownStudy, match="The cells of this one were submitted as 'whole'") as caught:
            part.biocolab.pull_metadata()
        assert f"bc.submission('{whole.task_id}').study()" in caught.value.__notes__[-1]
    other = ad.AnnData(np.eye(9, dtype=np.float32), obs={"name": [f"OTHER{i}" for i in range(9)]})
    with pytest.raises(UnknownStudy) as caught:
        other.biocolab.pull_metadata()
    assert "were submitted as" not in str(caught.value)
