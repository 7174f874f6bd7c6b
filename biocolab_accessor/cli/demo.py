"""Demo: send real cells to a sandbox, fetch them, and plot them with scanpy."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from anndata import AnnData

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, ServerError
from biocolab_accessor.io.safe_files import target_path
from biocolab_accessor.messages import listing
from biocolab_accessor.sandbox.public_studies import celltypist_sample
from biocolab_accessor.submit.submission import Submission
from biocolab_accessor.submit.tables import to_anndata

Say = Callable[[str], object]

_CLUSTERS = "Leiden clustering"
_MARKERS = ("CD3D", "CD79A", "LYZ")


class DemoResult(NamedTuple):
    """The result of the demo."""

    n_obs: int
    n_vars: int
    n_counts: int  # compared
    exact: bool  # whether all counts, barcodes and features are equal and in the same order, on each way back
    picture: Path
    seconds: float


def run_demo(picture: Path, say: Say, stage: Say) -> DemoResult:
    """Submit and fetch real counts (CellTypist's packaged sample, extra ``demo``), and save a UMAP plot."""
    start = time.monotonic()
    _expect_picture(picture)
    stage("starting the sandbox")
    with bc.sandbox() as server, bc.settings.override(progress="off"):
        connector = server.connect().get_bbrowserx()
        connector.post_request("api/v1/test_connection")
        say(f"sandbox at {server.url}, connection successful")
        say(f"groups: {', '.join(bc.groups()['name'])}")
        stage("reading real counts")
        table = celltypist_sample()
        adata = to_anndata(table)
        adata.obs["half"] = np.where(np.arange(adata.n_obs) < adata.n_obs // 2, "first", "second")
        say(f"read {adata.n_obs:,} cells x {adata.n_vars:,} genes (CellTypist's sample)")
        by_table = table.biocolab.submit(group="personal", study_id="demo_table", wait=False)
        import scanpy.plotting  # noqa: F401 - takes seconds, and the worker is busy anyway

        _follow(by_table, stage)
        say("df.biocolab.submit: processed (filter, normalize, PCA, kNN, Leiden, UMAP, t-SNE)")
        by_adata = adata.biocolab.submit(group="personal", study_id="demo_adata", skip_dimred=True, wait=False)
        _follow(by_adata, stage)
        say("adata.biocolab.submit: processed (skip_dimred)")
        stage("fetching back")
        back = bc.study("demo_table", source="bbrowserx").to_anndata(layers=["lognorm"])
        ways = [back, by_adata.study().to_anndata(), bc.study("demo_table").to_anndata()]
        exact = all(_same(adata, other) for other in ways)
        exact = exact and list(ways[1].obs["half"]) == list(adata.obs["half"])
        say(f"fetched back through BBrowserX and BioFlex: {'exact' if exact else 'NOT the same'}")
        stage("scanpy: marker genes of the clusters, and the plot")
        genes = _draw(back, picture)
        say(f"scanpy: marker genes of the sandbox's Leiden clusters: {', '.join(genes)}")
        say(f"scanpy: the sandbox's UMAP plotted and saved to {picture}")
    return DemoResult(adata.n_obs, adata.n_vars, len(ways) * int(adata.X.nnz), exact, picture, time.monotonic() - start)


def _expect_picture(path: Path) -> None:
    """Reject an invalid path before the long work begins."""
    from matplotlib.figure import Figure

    known = Figure().canvas.get_supported_filetypes()
    if target_path(path).suffix.removeprefix(".").lower() not in known:
        msg = f"{path} is not an image file name: use .png, or one of {listing(known, limit=20)}"
        raise InvalidArgument(msg)


def _follow(submission: Submission, stage: Say) -> None:
    """Show the server's log until the task has ended."""
    try:
        while submission.status in ("PENDING", "RUNNING", "SUBMITTED"):
            lines = submission.log.rstrip().splitlines() or ["waiting"]
            stage(f"{submission.study_id}: {lines[-1].partition('] ')[2] or lines[-1]}")
            time.sleep(0.2)
    except ServerError:
        stage(f"{submission.study_id}: no answer")  # wait() raises the error
    submission.wait()


def _same(sent: AnnData, back: AnnData) -> bool:
    same_names = list(sent.obs_names) == list(back.obs_names) and list(sent.var_names) == list(back.var["feature"])
    same_shape = sent.shape == back.shape and sent.X.nnz == back.X.nnz
    return bool(same_names and same_shape and (sent.X != back.X).nnz == 0)


def _marker_genes(adata: AnnData) -> list[str]:
    """The gene with the largest mean difference for each cluster of the server."""
    import scanpy as sc

    adata.X = adata.layers["lognorm"]
    adata.obs["leiden"] = adata.obs[_CLUSTERS].astype("category")
    means = sc.get.aggregate(adata, "leiden", "mean")
    table = np.asarray(means.layers["mean"])
    above = table - (table.sum(axis=0) - table) / max(len(table) - 1, 1)
    return [
        f"{cluster} {means.var_names[best]}"
        for cluster, best in zip(means.obs_names, above.argmax(axis=1), strict=True)
    ]


def _draw(adata: AnnData, picture: Path) -> list[str]:
    import matplotlib as mpl

    mpl.use("Agg")
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from scanpy, about its dependencies
        genes = _marker_genes(adata)
        colors = ["leiden", *(gene for gene in _MARKERS if gene in adata.var_names)]
        figure = sc.pl.umap(adata, color=colors, ncols=2, show=False, return_fig=True, frameon=False)
    figure.savefig(picture, dpi=110, bbox_inches="tight")
    return genes
