"""Disk: a study on disk or in Dask arrays equals the study in memory."""

from __future__ import annotations

import re
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, TooLarge, UnknownGene
from biocolab_accessor.io.transpose import PEAK
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import disk, fetch
from tests.builders import layer_names
from tests.conftest import assert_equal_objects


@pytest.fixture(scope="module", params=["bioflex", "bbrowserx"])
def study(server: Sandbox, request: pytest.FixtureRequest) -> object:
    import scanpy as sc

    if request.param == "bioflex":
        return bc.study("PBMC68k_reduced")
    adata = sc.datasets.pbmc68k_reduced().raw.to_adata()
    return adata.biocolab.submit(study_id="on_disk", skip_dimred=True).study()


def without_time(adata: ad.AnnData) -> ad.AnnData:
    adata.uns["biocolab"].pop("fetched_at")
    adata.uns["biocolab"] = {
        key: list(value) if isinstance(value, np.ndarray) else value for key, value in adata.uns["biocolab"].items()
    }
    return adata


@pytest.mark.smoke
@pytest.mark.parametrize("options", [{}, {"layers": ["lognorm"], "compression": None}, {"genes": ["CD3D", "LYZ"]}])
def test_the_file_equals_the_study_in_memory(study, tmp_path: Path, options: dict, monkeypatch) -> None:
    monkeypatch.setattr(disk, "_MOST", 40_000)
    path = study.to_h5ad(tmp_path / "x.h5ad", **options)
    options.pop("compression", None)
    assert_equal_objects(without_time(ad.read_h5ad(path)), without_time(study.to_anndata(cache=False, **options)))
    assert [item.name for item in tmp_path.iterdir()] == ["x.h5ad"]


def test_a_backed_study_reads_from_its_file(study, tmp_path: Path) -> None:
    adata = study.to_anndata(backed=tmp_path / "x.h5ad")
    assert adata.isbacked
    np.testing.assert_array_equal(adata.X[:].toarray(), study.to_anndata(cache=False).X.toarray())
    adata.file.close()
    with pytest.raises(InvalidArgument, match="a backed AnnData must have format='csr'"):
        study.to_anndata(backed=tmp_path / "x.h5ad", format="csc")


@pytest.mark.sweeps  # scanpy compiles its sums of sparse blocks for seconds
@pytest.mark.smoke
def test_scanpy_functions_work_on_a_lazy_study(study, tmp_path: Path) -> None:
    import scanpy as sc

    path = tmp_path / "x.h5ad"
    lazy, plain = study.lazy(path), study.to_anndata(cache=False)
    assert hasattr(lazy.X, "dask")
    sc.pp.normalize_total(lazy, target_sum=1e4)
    sc.pp.log1p(lazy)
    sc.pp.normalize_total(plain, target_sum=1e4)
    sc.pp.log1p(plain)
    np.testing.assert_allclose(lazy.X.compute().toarray(), plain.X.toarray(), rtol=1e-5)


def test_a_study_that_changes_needs_a_path(server: Sandbox, study) -> None:
    if study.source == "bioflex":
        assert study.lazy().shape == study.lazy().shape
        assert bc.cache.info().entries == 1
    else:
        with pytest.raises(InvalidArgument, match="give a path"):
            study.lazy()


def test_a_study_that_is_larger_than_the_cache_needs_a_path(server: Sandbox, tmp_path: Path) -> None:
    study = bc.study("PBMC68k_reduced")
    with bc.settings.override(cache_dir=tmp_path / "cache", cache_size=100_000):
        study.lazy(tmp_path / "x.h5ad", obsm=False)
        before = bc.cache.info()
        with pytest.raises(InvalidArgument, match=r"cache of bc\.settings\.cache_size=100,000 bytes: give a path"):
            study.lazy(obsm=False)
        assert bc.cache.info().entries == before.entries
        assert bc.cache.info().n_bytes <= 100_000


def test_a_study_larger_than_memory_is_refused_with_the_alternatives(tmp_path: Path) -> None:
    study = bc.study("PBMC68k_reduced")
    with bc.settings.override(memory_budget=500_000):
        with pytest.raises(TooLarge, match=r"needs about 2\.\d MB of memory.*0\.5 MB: use study\.to_h5ad"):
            study.to_anndata(cache=False)
        with pytest.raises(TooLarge, match="dense"):
            study.to_anndata(format="dense")
        plan = study.to_anndata(dry_run=True)
        assert not plan.fits
        assert "does not fit: use to_h5ad(path)" in repr(plan)
        assert study.to_anndata(genes=["CD3D"]).shape == (700, 1)
        whole = ad.read_h5ad(study.to_h5ad(tmp_path / "x.h5ad"))
    assert bc.study("PBMC68k_reduced").to_anndata(dry_run=True).fits
    needed = plan.memory
    assert needed is not None
    assert needed > (plan.n_bytes or needed)
    with bc.settings.override(memory_budget=needed - 1):
        assert not study.to_anndata(dry_run=True).fits
        with pytest.raises(TooLarge):
            study.to_anndata(cache=False)
    with bc.settings.override(memory_budget=needed):
        assert study.to_anndata(dry_run=True).fits
        assert study.to_anndata(cache=False).shape == (700, 765)
    np.testing.assert_array_equal(whole.X.toarray(), study.to_anndata().X.toarray())


@pytest.mark.parametrize("format", ["csr", "dense"])
@pytest.mark.parametrize("layers", [["lognorm"], ["raw", "counts"], ["counts", "lognorm"]])
def test_every_layer_counts_against_the_budget(study, layers: list[str], format: str) -> None:
    asked = {"layers": layers, "format": format, "cache": False, "obsm": False}
    whole = study.to_anndata(**asked)
    taken = sum(fetch.bytes_of(matrix) for matrix in (whole.X, *(whole.layers[name] for name in layer_names(whole))))
    with bc.settings.override(memory_budget=taken - 1):
        # Of a group's study one matrix takes more than two, while its JSON is parsed.
        said = r"dense arrays|matrices \(X and layers\) needs .*: ask for fewer layers|query_genes needs .*to_h5ad"
        with pytest.raises(TooLarge, match=said):
            study.to_anndata(**asked)
        assert study.to_anndata(cache=False, fields=[], obsm=False, genes=["CD3D"]).n_vars == 1
    plan = study.to_anndata(**asked, dry_run=True)
    enough = plan.memory
    if format == "dense":
        # Each is made of a compressed one, of which the plan knows where the server announces its size.
        wire = [study._parts.source.matrix_bytes(unit) or 0 for unit in ("raw", "lognorm")]
        assert enough == taken + int(PEAK * max(wire))
        if plan.n_bytes is None:
            compressed = study.to_anndata(**{**asked, "layers": [], "format": "csr"}).X
            enough = taken + fetch.bytes_of(compressed)
            with (
                bc.settings.override(memory_budget=taken),
                pytest.raises(TooLarge, match="as dense arrays needs about"),
            ):
                study.to_anndata(**asked)
    elif enough is not None:
        assert taken <= enough < taken * 1.5
    if enough is not None:
        with bc.settings.override(memory_budget=enough):
            study.to_anndata(**asked)


@pytest.mark.parametrize("unit", ["raw", "lognorm"])
@pytest.mark.parametrize("most", [1, 3000, 2 << 20])
def test_genes_are_fetched_in_groups(study, tmp_path: Path, monkeypatch, unit: str, most: int) -> None:
    genes = study.features()[16:0:-1]
    plain = study.to_anndata(genes=genes, unit=unit, cache=False)
    asked, source = [], type(study._parts.source)
    query = source.query_genes

    def counted(self, some, unit):
        asked.append(len(some))
        return query(self, some, unit)

    monkeypatch.setattr(source, "query_genes", counted)
    monkeypatch.setattr(disk, "_MOST", most)
    monkeypatch.setattr(disk, "_LEAST", 1)
    written = ad.read_h5ad(study.to_h5ad(tmp_path / "x.h5ad", genes=genes, unit=unit))
    assert_equal_objects(without_time(written), without_time(plain))
    assert sum(asked) == 16
    assert asked[0] == min(16, max(1, most // 700))
    assert max(asked) in {1: [1], 3000: range(4, 16), 2 << 20: [16]}[most]


def test_no_request_for_genes_exceeds_the_budget(
    server: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.random.default_rng(0).poisson(9, (400, 300)).astype(np.float32)  # hardly a zero in it
    adata = ad.AnnData(counts)
    adata.var_names = [f"GENE{i}" for i in range(300)]
    study = adata.biocolab.submit(study_id="dense", skip_dimred=True).study()
    source, sizes = study._parts.source, []
    query = source.query_genes

    def counted(some, unit):
        stripe = query(some, unit)
        sizes.append(stripe.nnz)
        return stripe

    monkeypatch.setattr(source, "query_genes", counted)
    monkeypatch.setattr(disk, "_MOST", 5000)
    monkeypatch.setattr(disk, "_LEAST", 1)
    written = ad.read_h5ad(study.to_h5ad(tmp_path / "x.h5ad", obsm=False))
    np.testing.assert_array_equal(written.X.toarray(), counts)
    assert sum(sizes) == np.count_nonzero(counts)
    assert max(sizes) <= 5000
    assert len(sizes) < 30


def test_the_suggested_alternatives_can_be_pasted(study, tmp_path: Path) -> None:
    """Every call that an error suggests, with a path for ``path``."""
    genes = study.features()
    refused = {
        "all": lambda: study.to_anndata(cache=False),
        "columns": lambda: study.to_anndata(cache=False, format="csc"),
        "genes": lambda: study.to_anndata(cache=False, genes=genes),
    }
    whole = study.to_anndata(cache=False).X.toarray()
    for way, call in refused.items():
        with bc.settings.override(memory_budget=900_000), pytest.raises(TooLarge, match=r"needs about .* MB") as caught:
            call()
        calls = re.findall(r"study\.\w+\([^)]*\)", str(caught.value))
        assert len(calls) == (1 if way == "genes" else 3)
        for number, written in enumerate(calls):
            path = tmp_path / f"{way}{number}.h5ad"
            made = eval(written.replace("genes=…", "genes=genes"), {"study": study, "path": path, "genes": genes})
            np.testing.assert_array_equal(ad.read_h5ad(path).X.toarray(), whole)
            if isinstance(made, ad.AnnData) and made.isbacked:
                made.file.close()


def test_a_lazy_study_never_replaces_the_file_of_another(study, tmp_path: Path) -> None:
    path = tmp_path / "x.h5ad"
    first = study.lazy(path)
    before = first.X.compute().toarray()
    other = bc.study("CellTypist_sample" if study.id == "PBMC68k_reduced" else "PBMC68k_reduced")
    for call in (
        lambda: study.lazy(path, unit="lognorm"),
        lambda: study.lazy(path, layers=["lognorm"]),
        lambda: study.lazy(path, genes=["CD3D"]),
        lambda: other.lazy(path),
    ):
        with pytest.raises(InvalidArgument, match=r"x\.h5ad exists, but does not hold study .*: give another"):
            call()
    again = study.lazy(path, fields=[], obsm=False)
    for joined in (first, again):
        np.testing.assert_array_equal(joined.X.compute().toarray(), before)
    some = tmp_path / "some.h5ad"
    for _ in range(2):
        few = study.lazy(some, genes=["LYZ", "CD3D"])
        np.testing.assert_array_equal(few.X.compute().toarray(), first[:, ["LYZ", "CD3D"]].X.compute().toarray())
    with pytest.raises(InvalidArgument, match=r"some\.h5ad exists, but does not hold"):
        study.lazy(some, genes=["CD3D", "LYZ"])
    path.write_text("notes")
    with pytest.raises(InvalidArgument, match="exists, but does not hold"):
        study.lazy(path)
    assert path.read_text() == "notes"


def test_a_backed_study_in_another_format_than_csr_is_refused_before_the_plan(study, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="a backed AnnData must have format='csr'"):
        study.to_anndata(backed=tmp_path / "x.h5ad", format="dense", dry_run=True)


def test_a_dry_run_fetches_no_values(server: Sandbox) -> None:
    study = bc.study("PBMC68k_reduced")
    plan = study.to_anndata(dry_run=True, fields=["bulk_labels"])
    assert (plan.n_obs, plan.n_vars, plan.fields) == (700, 765, ("bulk_labels",))
    folder_bytes = study._parts.source.matrix_bytes("raw")
    assert plan.n_bytes == folder_bytes > 500_000
    assert study.to_anndata(dry_run=True, genes=["CD3D"]).n_bytes is None


def test_a_failed_write_leaves_no_file(study, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UnknownGene):
        study.to_h5ad(tmp_path / "x.h5ad", genes=["nonsense"])
    monkeypatch.setattr(disk, "join_rows", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        study.to_h5ad(tmp_path / "x.h5ad")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidArgument, match="no folder"):
        study.to_h5ad(tmp_path / "no" / "x.h5ad")


def test_compressed_answers_are_read_in_parts(tmp_path: Path) -> None:
    from biocolab_accessor.clients.bioflex import stripes_of_file

    matrix = bc.study("PBMC68k_reduced").matrix("raw")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, dtype in (("data", "<f4"), ("indices", "<u4"), ("indptr", "<u8")):
            values = getattr(matrix, name).astype(dtype)
            file.create_dataset(name, data=values, chunks=(1000,) if name != "indptr" else None,
                                compression="gzip" if name != "indptr" else None)  # fmt: skip
        file["shape"] = np.array(matrix.shape, "<u8")
    stripes = list(stripes_of_file(path, "x", 3000))
    assert len(stripes) > 10
    from scipy import sparse

    np.testing.assert_array_equal(sparse.hstack(stripes).toarray(), matrix.toarray())
