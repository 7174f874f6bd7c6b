"""Every name of ``surface.Design`` called with the arguments that were promised for it, and its answer looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.connection import default
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.submission import Submission
from tests.interop.surface import COMMANDS, Design

PBMC, DATABASE = "PBMC68k_reduced", "5010c7d573ae4ff2b9691422b99aa2cd"


@dataclass
class World:
    """A server of its own, an object, its submission, and a folder."""

    server: Sandbox
    adata: ad.AnnData
    submission: Submission
    folder: Path

    @property
    def study(self) -> Study:
        return self.submission.study()

    @property
    def counts(self) -> np.ndarray:
        return np.asarray(self.adata.X.toarray())

    def fetched(self) -> ad.AnnData:
        return self.study.to_anndata()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    rng = np.random.default_rng(3)
    obs = pd.DataFrame({"lane": pd.Categorical(["a"] * 16 + ["b"] * 14)}, index=[f"C{i}" for i in range(30)])
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(2.0, (30, 8)).astype(np.float32)), obs=obs)
    adata.var_names = ["CD3D", "CD79A", "NKG7", "LYZ", "CD3E", "GNLY", "MS4A1", "MT-CO1"]
    adata.obsm["X_own"] = rng.normal(size=(30, 2)).astype(np.float32)
    folder = tmp_path_factory.mktemp("design")
    adata.write_h5ad(folder / "x.h5ad")
    with bc.sandbox(folder / "sandbox") as server:
        server.add_bucket(folder, bucket_id="bucket")
        yield World(server, adata, adata.biocolab.submit(study_id="OWN", skip_dimred=True), folder)


def rows(table: pd.DataFrame, column: str) -> list[Any]:
    return table[column].tolist()


def connect(w: World) -> None:
    hosts = {"bioflex_host": w.server.bioflex_host, "public_host": w.server.public_host, "ssl": True}
    connector = bc.connect(w.server.token, w.server.token, w.server.private_host, w.server.token, **hosts)
    for source in ("bioflex", "bbrowserx", "talk2data"):
        assert connector.credentials(source).host.startswith(w.server.url)
    assert len(bc.groups()) == 2


def to_anndata(w: World) -> None:
    chosen = {"genes": ["LYZ", "CD3D"], "fields": ["lane"], "unit": "lognorm", "layers": ["raw"]}
    adata = w.study.to_anndata(**chosen, obsm=False, format="csc", cache=False)
    assert (adata.var_names.tolist(), list(adata.obs), list(adata.obsm)) == (["LYZ", "CD3D"], ["lane"], [])
    assert isinstance(adata.X, sparse.csc_matrix)
    np.testing.assert_array_equal(adata.layers["raw"].toarray(), w.counts[:, [3, 0]])
    plan = w.study.to_anndata(dry_run=True)
    assert (plan.n_obs, plan.n_vars) == (30, 8)
    whole = w.study.to_anndata()
    np.testing.assert_array_equal(whole.X.toarray(), w.counts)
    np.testing.assert_array_equal(whole.obsm["X_own"], w.adata.obsm["X_own"])
    assert whole.obs["lane"].tolist() == w.adata.obs["lane"].tolist()


def submit(w: World) -> None:
    done = w.adata.biocolab.submit(
        *("Personal workspace",),
        **{"study_id": "ALL", "name": "A title", "authors": ("Ada",), "abstract": "About", "species": "human"},
        **{"input_matrix_type": "raw", "min_counts": 1, "min_genes": 1, "max_counts": 1e6, "max_genes": 1e6},
        **{"mt_percentage": 100, "skip_dimred": True, "batch_key": "lane", "to": "talk2data", "chunk_size": 1 << 20},
        **{"wait": True, "dry_run": False},
    )
    study = done.study()
    assert (study.id, study.title, study.authors, study.source) == ("ALL", "A title", ["Ada"], "talk2data")
    np.testing.assert_array_equal(study.matrix("raw").toarray(), w.counts)
    assert study.metadata("Batch")["Batch"].tolist() == w.adata.obs["lane"].tolist()


def table_submit(w: World) -> None:
    done = w.adata.to_df().biocolab.submit("personal", skip_dimred=True)
    np.testing.assert_array_equal(done.study().matrix("raw").toarray(), w.counts)


def submit_files(w: World) -> None:
    done = bc.submit([w.folder / "x.h5ad"], group="personal", study_type="h5ad", skip_dimred=True)
    np.testing.assert_array_equal(done.study().matrix("raw").toarray(), w.counts)


def submit_from_s3(w: World) -> None:
    done = bc.submit_from_s3(["x.h5ad"], "personal", s3_id="bucket", skip_dimred=True)
    np.testing.assert_array_equal(done.study().matrix("raw").toarray(), w.counts)


def studies(w: World) -> None:
    for source in ("bbrowserx", "talk2data"):
        assert "OWN" in bc.studies("personal", species="human", source=source)["study_id"].tolist()


def faults(w: World) -> None:
    w.server.faults.add("v1/study/get", nth=1, kind="reset")
    assert bc.study(PBMC).id == PBMC  # asked once more
    assert [record.fault for record in w.server.requests.of("v1/study/get")][-2:] == ["reset", ""]


def push(w: World) -> None:
    adata = w.fetched()
    adata.obs["code"] = [f"{i:03d}" for i in range(30)]
    assert list(adata.biocolab.push_metadata(["code"]).written) == ["code"]
    assert w.study.metadata("code")["code"].tolist() == adata.obs["code"].tolist()


def pull(w: World) -> None:
    adata = w.adata.copy()
    del adata.obs["lane"], adata.obsm["X_own"]
    adata.biocolab.pull_metadata(["lane"], study=w.submission)
    adata.biocolab.pull_embeddings(study=w.submission)
    assert adata.obs["lane"].tolist() == w.adata.obs["lane"].tolist()
    np.testing.assert_array_equal(adata.obsm["X_own"], w.adata.obsm["X_own"])


def submit_metadata(w: World) -> None:
    table = pd.DataFrame({"score": [0.5, 1.5]}, index=["C7", "C2"])
    table.biocolab.submit_metadata(w.study, "personal")
    assert w.study.metadata("score")["score"].dropna().to_dict() == {"C2": 1.5, "C7": 0.5}


def annotate(w: World) -> None:
    guess = w.adata.biocolab.annotate("lane", markers={"a": ["CD79A", "MS4A1"], "b": ["NKG7", "GNLY"]})
    assert guess.best.to_dict() == {"a": "CD19+ B", "b": "CD56+ NK"}


def written(path: Path, counts: np.ndarray) -> None:
    adata = ad.read_h5ad(path)
    np.testing.assert_array_equal((adata.raw.X if adata.raw is not None else adata.X).toarray(), counts)


def add_study(w: World) -> None:
    w.server.add_study("MINE", w.adata, title="Mine", reference="https://mine.example")
    w.server.add_study("FILE", w.folder / "x.h5ad")
    study = bc.study("MINE")
    assert (study.title, study.reference) == ("Mine", "https://mine.example")
    np.testing.assert_array_equal(bc.study("FILE").matrix("raw").toarray(), w.counts)


def reset_and_close(w: World) -> None:
    server = Sandbox()
    with server:
        server.add_study("GONE", w.adata)
        server.reset()
        with pytest.raises(bc.errors.UnknownStudy):
            bc.study("GONE")
    server.close()
    with pytest.raises(bc.errors.TransportError), bc.settings.override(max_retries=0):
        server.connect().get_bbrowserx().get_user_groups()


def same(found: Any, wanted: Any) -> None:
    assert found == wanted


DATABASES = [("human", 1), ("human", 2), ("human", 3), ("mouse", 1), ("primate", 1)]
CALLS: dict[str, Callable[[World], None]] = {
    "bc.connect": connect,
    "bc.sandbox": lambda w: same(bc.sandbox(w.folder / "other", port=0).__enter__().close(), None),
    "bc.groups": lambda w: same(rows(bc.groups(), "name"), ["All members", "Personal workspace"]),
    "bc.databases": lambda w: same(
        [(d.id, d.species, d.version) for d in bc.databases()], [(DATABASE, *v) for v in DATABASES]
    ),
    "bc.database": lambda w: same([bc.database().version, bc.database("human", 1).version], [3, 1]),
    "bc.study": lambda w: same(
        [
            bc.study(PBMC, database=bc.database("human", 2), source="bioflex", species="human", group=None).n_obs,
            bc.study("OWN", source="bbrowserx", group="Personal workspace").n_obs,
            bc.study("OWN", source="talk2data", species="human").n_obs,
        ],
        [700, 30, 30],
    ),
    "bc.studies": lambda w: same(
        [
            "OWN" in rows(bc.studies("personal", species="human", source=source), "study_id")
            for source in ("bbrowserx", "talk2data")
        ],
        [True, True],
    ),
    "bc.collection": lambda w: same(bc.collection([PBMC]).to_anndata().shape, (700, 765)),
    "bc.expression_summary": lambda w: same(
        bc.expression_summary(["CD3D"], database=bc.database("human", 1)).iloc[0].tolist(),
        ["CD3D", "CD4+/CD25 T Reg", pytest.approx(181.388), pytest.approx(2.66747), 1.0, 68, 68],
    ),
    "bc.submit": submit_files,
    "bc.submit_from_s3": lambda w: np.testing.assert_array_equal(
        bc.submit_from_s3(["x.h5ad"], "personal", s3_id="bucket", skip_dimred=True).study().matrix("raw").toarray(),
        w.counts,
    ),
    "bc.check": lambda w: same([bc.check(w.adata).ok, bc.check(w.folder / "x.h5ad").ok], [True, True]),
    "Study.id": lambda w: same(w.study.id, "OWN"),
    "Study.title": lambda w: same(w.study.title, "OWN"),
    "Study.authors": lambda w: same(bc.study(PBMC).authors, ["Zheng et al."]),
    "Study.reference": lambda w: same(bc.study(PBMC).reference, "https://www.nature.com/articles/ncomms14049"),
    "Study.source": lambda w: same([w.study.source, bc.study(PBMC).source], ["bbrowserx", "bioflex"]),
    "Study.n_obs": lambda w: same(w.study.n_obs, 30),
    "Study.n_vars": lambda w: same(w.study.n_vars, 8),
    "Study.metalist": lambda w: same(
        repr(bc.study(PBMC).metalist[2]), 'Metadata(id=2,name="bulk_labels",type="Category")'
    ),
    "Study.fields": lambda w: same(w.study.fields[:3], ["Number of mRNA transcripts", "Number of genes", "lane"]),
    "Study.barcodes": lambda w: same(w.study.barcodes(), list(w.adata.obs_names)),
    "Study.features": lambda w: same(w.study.features(), list(w.adata.var_names)),
    "Study.query_genes": lambda w: np.testing.assert_array_equal(
        w.study.query_genes(["LYZ", "CD3D"], "raw").toarray(), w.counts[:, [3, 0]]
    ),
    "Study.matrix": lambda w: np.testing.assert_array_equal(w.study.matrix("raw").toarray(), w.counts),
    "Study.export_study": lambda w: same(w.study.export_study("h5ad")["study_hash_id"], "OWN"),
    "Study.metadata": lambda w: same(w.study.metadata(["lane"])["lane"].to_dict(), w.adata.obs["lane"].to_dict()),
    "Study.to_anndata": to_anndata,
    "Study.to_h5ad": lambda w: written(w.study.to_h5ad(w.folder / "in.h5ad"), w.counts),
    "Study.lazy": lambda w: np.testing.assert_array_equal(
        w.study.lazy(w.folder / "lazy.h5ad").X.compute().toarray(), w.counts
    ),
    "AnnDataAccessor.study": lambda w: same(w.fetched().biocolab.study.id, "OWN"),
    "AnnDataAccessor.check": lambda w: same(w.adata.biocolab.check().ok, True),
    "AnnDataAccessor.submit": submit,
    "AnnDataAccessor.to_h5ad": lambda w: written(w.adata.biocolab.to_h5ad(w.folder / "out.h5ad"), w.counts),
    "AnnDataAccessor.preview_filters": lambda w: same(
        w.adata.biocolab.preview_filters(min_genes=7).kept.tolist(), ((w.counts > 0).sum(axis=1) >= 7).tolist()
    ),
    "AnnDataAccessor.push_metadata": push,
    "AnnDataAccessor.pull_metadata": pull,
    "AnnDataAccessor.pull_embeddings": pull,
    "AnnDataAccessor.annotate": annotate,
    "DataFrameAccessor.to_anndata": lambda w: np.testing.assert_array_equal(
        w.adata.to_df().biocolab.to_anndata().X.toarray(), w.counts
    ),
    "DataFrameAccessor.submit": table_submit,
    "DataFrameAccessor.check": lambda w: same(w.adata.to_df().biocolab.check().ok, True),
    "DataFrameAccessor.submit_metadata": submit_metadata,
    "DataFrameAccessor.expression_summary": lambda w: same(
        list(pd.DataFrame({"gene": ["CD3D"]}).biocolab.expression_summary()),
        ["gene", "cell_type", "sum", "mean", "rate", "count", "total"],
    ),
    "Submission.study_id": lambda w: same(w.submission.study_id, "OWN"),
    "Submission.task_id": lambda w: same(bc.submission(w.submission.task_id).wait().study_id, "OWN"),
    "Submission.status": lambda w: same(w.submission.status, "SUCCESS"),
    "Submission.log": lambda w: same(w.submission.log.rstrip().endswith("DONE !!!"), True),
    "Submission.study_info": lambda w: same(w.submission.study_info["study_hash_id"], "OWN"),
    "Submission.wait": lambda w: same(w.submission.wait(timeout=5) is w.submission, True),
    "Submission.study": lambda w: same(w.submission.study().id, "OWN"),
    "Sandbox.url": lambda w: same(w.server.private_host, f"{w.server.url}/t2d_index_tool/"),
    "Sandbox.private_host": lambda w: same(w.server.private_host.startswith("http://127.0.0.1:"), True),
    "Sandbox.public_host": lambda w: same(w.server.connect().credentials("talk2data").host, w.server.public_host),
    "Sandbox.bioflex_host": lambda w: same(
        w.server.connect().credentials("bioflex").host.rstrip("/"), w.server.bioflex_host.rstrip("/")
    ),
    "Sandbox.token": lambda w: same(w.server.token in repr(w.server), False),
    "Sandbox.faults": faults,
    "Sandbox.requests": lambda w: same(w.server.requests.of("submit_study_from_local")[0].status, 200),
    "Sandbox.connect": lambda w: same(len(w.server.connect().get_talk2data().get_user_groups()), 2),
    "Sandbox.add_study": add_study,
    "Sandbox.reset": reset_and_close,
    "Sandbox.close": reset_and_close,
}


def test_every_name_is_called() -> None:
    promised = {
        f"{kind}.{name}"
        for kind, stub in vars(Design).items()
        if isinstance(stub, type)
        for name in (*vars(stub), *getattr(stub, "__annotations__", {}))
        if not name.startswith("_")
    }
    assert set(CALLS) == promised


@pytest.mark.parametrize("name", CALLS)
def test_it_gives_what_was_promised(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a call connects to is no concern of the calls that follow.
    monkeypatch.setattr(default, "_stack", [*default._stack])
    CALLS[name](world)


LINES: dict[str, tuple[list[str], Callable[[Any], object]]] = {
    "check": (["check", "x.h5ad", "--json"], lambda found: {row["severity"] for row in found} <= {"note", "warning"}),
    "submit": (["submit", "x.h5ad", "--skip-dimred", "--json"], lambda found: found["status"] == "SUCCESS"),
    "pull": (["pull", PBMC, "-o", "pulled.h5ad", "--unit", "lognorm", "--json"], lambda found: found["cells"] == 700),
    "groups": (["groups", "--json"], lambda found: [row["id"] for row in found] == ["all_members", "personal"]),
    "studies": (["studies", "personal", "--json"], lambda found: "OWN" in [row["study_id"] for row in found]),
    "summary": (["summary", "CD3D", "--json"], lambda found: {row["gene"] for row in found} == {"CD3D"}),
    "cache": (["cache", "info", "--json"], lambda found: found["entries"] >= 0),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_does_the_same(command: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    # Those without a line run for long, or look at the machine: their own tests start them.
    arguments, holds = LINES.get(command, ([command, "--help"], None))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    if holds is not None:
        assert holds(json.loads(done.stdout))
