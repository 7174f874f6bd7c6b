"""A session as a user writes it with a type checker at hand; `assert_type` says what an editor should know."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.figure import Figure
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.annotate.annotation import Annotation
from biocolab_accessor.check.filter_preview import FilterPreview
from biocolab_accessor.check.report import Finding, Report
from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.io.cache import CacheInfo
from biocolab_accessor.studies.collection import Collection
from biocolab_accessor.studies.selection import FetchPlan
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.plan import Plan
from biocolab_accessor.submit.submission import Submission
from biocolab_accessor.sync.match import MatchReport


def some_cells(n_cells: int = 12) -> AnnData:
    counts = sparse.csr_matrix(np.arange(n_cells * 5, dtype=np.float32).reshape(n_cells, 5) % 7)
    obs = pd.DataFrame({"sample": ["a", "b"] * (n_cells // 2)}, index=[f"CELL{i}-1" for i in range(n_cells)])
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=["CD3D", "CD79A", "LYZ", "NKG7", "MT-CO1"]))


def look(adata: AnnData) -> dict[str, str]:
    report = bc.accessor(adata).check(species="human")
    assert_type(report, Report)
    assert_type(report[0], Finding)
    assert_type(report.ok, bool)
    assert_type(bc.check(adata), Report)
    preview = bc.accessor(adata).preview_filters(min_genes=1, mt_percentage=60, batch_key="sample")
    assert_type(preview, FilterPreview)
    assert_type(preview.plot(), Figure)
    assert_type(preview.n_kept, int)
    # What is suggested goes straight into the arguments of a submission.
    plan = bc.accessor(adata).submit(batch_key="sample", dry_run=True, **preview.suggested)
    assert_type(plan, Plan)
    return {finding.code: finding.severity for finding in report.warnings + report.notes}


def send(adata: AnnData, study_id: str) -> Submission:
    submission = bc.accessor(adata).submit("personal", study_id=study_id, skip_dimred=True, wait=False)
    assert_type(submission, Submission)
    assert_type(submission.wait(timeout=120.0), Submission)
    assert_type(submission.status, str)
    assert_type(submission.url, str | None)
    return submission


async def send_beside_others(adata: AnnData) -> Study:
    submission = await bc.accessor(adata).submit(skip_dimred=True, wait=False)
    assert_type(submission, Submission)
    return submission.study()


def exchange(adata: AnnData, submission: Submission) -> list[str]:
    adata.obs["good"] = [True, False] * (adata.n_obs // 2)
    pushed = bc.accessor(adata).push_metadata(["good"], study=submission)
    assert_type(pushed, MatchReport)
    again = submission.study().to_anndata(fields=[])
    pulled = bc.accessor(again).pull_metadata("good", dtypes=pushed.dtypes)
    assert_type(pulled.matched, int)
    assert again.obs["good"].tolist() == adata.obs["good"].tolist()
    return list(pulled.written)


def fetch(study_id: str, folder: Path) -> AnnData:
    study = bc.study(study_id)
    assert_type(study, Study)
    assert_type(study.n_obs, int)
    assert_type(study.barcodes(), list[str])
    assert_type(study.metadata(study.fields[:1]), pd.DataFrame)
    plan = study.to_anndata(dry_run=True)
    assert_type(plan, FetchPlan)
    if not plan.fits:
        return study.to_anndata(backed=folder / "large.h5ad")
    assert_type(study.to_h5ad(folder / "study.h5ad", compression=None), Path)
    return study.to_anndata(genes=["CD3D"], unit="lognorm", layers=["counts"], format="csc")


def know(genes: list[str]) -> pd.DataFrame:
    assert_type(bc.groups(), pd.DataFrame)
    assert_type(bc.studies("personal", source="talk2data"), pd.DataFrame)
    together = bc.collection(["PBMC68k_reduced"], database=bc.database("human"))
    assert_type(together, Collection)
    assert_type([each.title for each in together], list[str])
    return bc.expression_summary(genes)


def name_clusters(adata: AnnData) -> pd.Series[str]:
    guess = bc.accessor(adata).annotate("sample", markers={"a": ["CD79A"], "b": ["NKG7"]})
    assert_type(guess, Annotation)
    return guess.best


def refused(adata: AnnData) -> list[str]:
    """What an editor knows of an error that was caught."""
    said: list[str] = []
    try:
        bc.accessor(adata).submit("no such group")
    except bc.errors.UnknownGroup as error:
        said.append(str(error))
    broken = adata.copy()
    broken.X = np.full(adata.shape, np.nan, np.float32)
    try:
        bc.accessor(broken).submit()
    except bc.errors.CheckFailed as error:
        assert_type(error.report, Report | None)
        said += [finding.code for finding in error.report.errors] if error.report else []
    return said


def main() -> None:
    adata = some_cells()
    with bc.settings.override(progress="off"):
        codes = look(adata)
        submission = send(adata, "TYPED")
        written = exchange(adata, submission)
        with tempfile.TemporaryDirectory() as folder:
            fetched = fetch("TYPED", Path(folder))
        summary = know(["CD79A", "LYZ"])
        said = refused(adata)
        clusters = name_clusters(adata)
    assert_type(bc.cache.info(), CacheInfo)
    assert set(codes.values()) <= {"warning", "note"}
    assert written == ["obs['good']"]
    assert fetched.shape == (12, 1)
    assert summary["gene"].unique().tolist() == ["CD79A", "LYZ"]
    assert len(said) == 2
    assert clusters.index.tolist() == ["a", "b"]


def connected_to(host: str, token: str) -> EConnector:
    return bc.connect(private_host=host, private_token=token, ssl="/path/to/ca.pem")


if __name__ == "__main__":
    with bc.sandbox() as server:
        connected_to(server.private_host, server.token)
        main()
