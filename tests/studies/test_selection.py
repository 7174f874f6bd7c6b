"""Cells: a study fetched for some cells equals the whole study, subset afterwards."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.errors import (
    AmbiguousName,
    InvalidArgument,
    InvalidFilter,
    InvalidResponse,
    NoCells,
    TooLarge,
    UnknownCell,
    UnknownField,
)
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import disk
from biocolab_accessor.studies import selection as module
from biocolab_accessor.studies.study import Study, parts_of
from tests.conftest import assert_equal_objects

N = 40
LABELS = ["B", "T cell", "it's", "001", "1"]


def object_with_fields(seed: int) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    values = rng.poisson(1.5, (N, 12)).astype(np.float32)
    values[:, 0] += 1
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(rng.choice(LABELS, N), categories=LABELS),
            "cell type": pd.Categorical(rng.choice(["B", "T cell", "NK"], N)),
            "n": rng.integers(0, 6, N),
            "score.x": np.where(rng.random(N) < 0.2, np.nan, rng.integers(-4, 4, N) / 4),
            "flag": rng.random(N) < 0.5,
        },
        index=[f"ACGTACGT{''.join(rng.choice(list('ACGT'), 8))}-{i}" for i in range(N)],
    )
    obs.loc[obs.index[rng.random(N) < 0.2], "cell type"] = np.nan
    return ad.AnnData(values, obs, pd.DataFrame(index=[f"GENE{i}" for i in range(12)]))


@pytest.fixture(scope="module")
def pairs(server: Sandbox) -> dict[str, list[Study]]:
    found: dict[str, list[Study]] = {"bioflex": [], "bbrowserx": []}
    for number in (1, 2):
        adata = object_with_fields(number)
        found["bioflex"].append(server.add_study(f"CELLS{number}", adata))
        adata.obsm["X_own"] = np.arange(2 * N, dtype=np.float32).reshape(N, 2)
        submitted = adata.biocolab.submit(study_id=f"CELLS_OF_GROUP{number}", skip_dimred=True)
        found["bbrowserx"].append(submitted.study())
    return found


@pytest.fixture(scope="module", params=["bioflex", "bbrowserx"])
def study(pairs: dict[str, list[Study]], request: pytest.FixtureRequest) -> Study:
    return pairs[request.param][0]


def subset(whole: ad.AnnData, text: str) -> ad.AnnData:
    """What pandas selects; anndata drops unused labels."""
    return whole[whole.obs.index.isin(whole.obs.query(text, engine="python").index)].copy()


def assert_same(ours: ad.AnnData, expected: ad.AnnData, text: str | None) -> None:
    facts = ours.uns.pop("biocolab")
    for each in facts.get("studies", {"": facts}).values():
        assert each.get("obs_filter") == text
    ours.uns = dict(expected.uns)
    for name in [name for name, column in expected.obs.items() if column.isna().all() and hasattr(column, "cat")]:
        ours.obs[name] = ours.obs[name].astype(expected.obs[name].dtype)  # anndata reads no labels as labels of object
    assert_equal_objects(ours, expected)


FILTER = "label in ['B', '001'] and n > 0 and not `cell type`.isna()"


@pytest.mark.smoke
@pytest.mark.parametrize(
    "options",
    [
        {"layers": ["lognorm"]},
        pytest.param({}, marks=pytest.mark.sweeps),
        {"genes": ["GENE3", "GENE1"], "fields": ["flag"]},
    ],
)
def test_a_fetch_of_some_cells_equals_the_subset_of_all(
    study: Study, options: dict, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(disk, "_MOST", 20)
    monkeypatch.setattr(module, "_MOST", 20)
    whole = study.to_anndata(cache=False, **{**options, "fields": None})
    expected = subset(whole, FILTER)
    assert 3 < expected.n_obs < N
    if "fields" in options:
        expected.obs = expected.obs[options["fields"]]
    for format in ("csr",) if options else ("csr", "csc", "dense"):
        formatted = expected.copy()
        for key in [None, *options.get("layers", [])]:
            matrix = expected.X if key is None else expected.layers[key]
            matrix = matrix.toarray() if format == "dense" else matrix.asformat(format)
            if key is None:
                formatted.X = matrix
            else:
                formatted.layers[key] = matrix
        for cache in (True, False, True) if study.source == "bioflex" else (True,):  # the only one that is ever cached
            assert_same(study.to_anndata(obs_filter=FILTER, format=format, cache=cache, **options), formatted, FILTER)
    assert_same(ad.read_h5ad(study.to_h5ad(tmp_path / "a.h5ad", obs_filter=FILTER, **options)), expected, FILTER)
    backed = study.to_anndata(backed=tmp_path / "b.h5ad", obs_filter=FILTER, **options)
    assert_same(backed.to_memory(), expected, FILTER)
    backed.file.close()
    assert_same(study.lazy(tmp_path / "l.h5ad", obs_filter=FILTER, **options).to_memory(), expected, FILTER)


def test_metadata_and_genes_come_for_some_cells(study: Study) -> None:
    frame = study.metadata()
    expected = frame.query(FILTER, engine="python")
    pd.testing.assert_frame_equal(study.metadata(obs_filter=FILTER), expected)
    pd.testing.assert_frame_equal(study.metadata(["flag", "n"], obs_filter=FILTER), expected[["flag", "n"]])
    mine = study.metadata("n", obs_filter=FILTER)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine["twice"] = 2 * mine["n"]
    found = study.query_genes(["GENE2", "GENE0"], "raw", obs_filter=FILTER)
    every = study.query_genes(["GENE2", "GENE0"], "raw")
    np.testing.assert_array_equal(found.toarray(), every.toarray()[frame.index.isin(expected.index)])
    plan = study.to_anndata(obs_filter=FILTER, fields=["n"], dry_run=True)
    assert (plan.n_obs, plan.n_vars, plan.fields) == (len(expected), 12, ("n",))


def test_cells_come_by_barcode_in_the_order_of_the_study(study: Study) -> None:
    barcodes = study.barcodes()
    wanted = [barcodes[7], barcodes[30], barcodes[2], barcodes[7]]
    whole = study.to_anndata()
    found = study.to_anndata(cells=wanted)
    assert list(found.uns["biocolab"]["cells"]) == [barcodes[7], barcodes[30], barcodes[2]]
    assert_same(found, whole[[2, 7, 30]].copy(), None)
    assert list(study.metadata("n", cells=np.array(wanted)).index) == [barcodes[2], barcodes[7], barcodes[30]]
    both = study.metadata("n", cells=wanted, obs_filter=f"n == {whole.obs['n'].iloc[2]}")
    assert barcodes[2] in both.index
    assert set(both.index) <= set(wanted)
    assert study.query_genes("GENE0", cells=barcodes[5]).shape == (1, 1)


def test_an_unknown_cell_is_refused_with_near_barcodes(study: Study) -> None:
    barcode = study.barcodes()[3]
    bases = barcode.split("-")[0]
    for cell in (bases, f"sample_{barcode}", f"{bases}-1"):
        with pytest.raises(UnknownCell, match=rf"has no cell '{cell}' \(did you mean .*'{barcode}'"):
            study.to_anndata(cells=[cell])
    with pytest.raises(UnknownCell, match="2 more; its barcodes look like"):
        study.metadata(cells=["a", "b", "c", "d", "e"])
    with pytest.raises(InvalidArgument, match="cells is empty: give barcodes"):
        study.metadata(cells=[])
    with pytest.raises(InvalidArgument, match="cells contains 3"):
        study.metadata(cells=[3])


def test_a_barcode_of_several_cells_is_ambiguous_and_a_filter_tells_them_apart(pairs, monkeypatch) -> None:
    study = pairs["bbrowserx"][0]
    barcodes = ["A", "A", "A-1", *study.barcodes()[3:]]
    whole = study.to_anndata()
    monkeypatch.setitem(parts_of(study)._names, "barcodes", barcodes)
    monkeypatch.setattr(
        BBrowserXConnector, "get_metadata_columns", lambda *_: {"n": list(range(N))}
    )  # the server's own barcodes
    with pytest.raises(AmbiguousName, match=r"several cells named 'A': select them with obs_filter"):
        study.to_anndata(cells=["A"], fields=["n"])
    assert list(study.to_anndata(cells=["A-1"], fields=["n"]).obs["n"]) == [2]
    found = study.to_anndata(obs_filter="n in [1, 2]", fields=["n"])
    assert list(found.obs_names) == ["A-2", "A-1"]
    np.testing.assert_array_equal(found.X.toarray(), whole.X[1:3].toarray())


@pytest.mark.parametrize("study", ["bioflex", "bbrowserx"], indirect=True)
def test_no_matrix_is_requested_if_no_cell_is_left(server: Sandbox, study: Study, tmp_path: Path) -> None:
    text = "n > 1 and label == 'B' and (n < 0 or `score.x` > 99)"
    n, label = study.metadata(["n", "label"]).items()
    own = "\n".join(
        [
            f"  n > 1: {(n[1] > 1).sum()} cells",
            f"  label == 'B': {(label[1] == 'B').sum()} cells",
            "  n < 0: 0 cells",
            "  `score.x` > 99: 0 cells",
        ]
    )
    server.requests.clear()
    for call in (
        lambda: study.to_anndata(obs_filter=text, layers=["lognorm"]),
        lambda: study.to_anndata(obs_filter=text, dry_run=True),
        lambda: study.to_anndata(obs_filter=text, backed=tmp_path / "b.h5ad"),
        lambda: study.to_h5ad(tmp_path / "x.h5ad", obs_filter=text),
        lambda: study.lazy(tmp_path / "x.h5ad", obs_filter=text),
        lambda: study.metadata(obs_filter=text),
        lambda: study.query_genes("GENE1", obs_filter=text),
        lambda: bc.collection([study.id], **source_of(study)).to_anndata(obs_filter=text),
        lambda: bc.collection([study.id], **source_of(study)).to_anndata(obs_filter=text, dry_run=True),
        lambda: bc.collection([study.id], **source_of(study)).lazy(folder=tmp_path / "all", obs_filter=text),
    ):
        with pytest.raises(
            NoCells, match=re.escape(f"none of its {N} cells is selected. Each condition alone")
        ) as raised:
            call()
        assert own in str(raised.value)
    routes = {record.route for record in server.requests}
    assert not {route for route in routes if "matrix" in route or "genes" in route}, routes
    assert list(tmp_path.glob("*.h5ad")) == []


def source_of(study: Study) -> dict[str, str]:
    return {} if study.source == "bioflex" else {"source": "bbrowserx"}


def test_only_the_fields_that_are_needed_are_fetched_and_once(server: Sandbox, pairs, monkeypatch) -> None:
    asked: list[list[str]] = []
    send = BBrowserXConnector.get_metadata_columns

    def spy(self: BBrowserXConnector, species: str, study: str, group: str, fields: list[str]) -> object:
        asked.append(fields)
        return send(self, species, study, group, fields)

    monkeypatch.setattr(BBrowserXConnector, "get_metadata_columns", spy)
    options = {"obs_filter": "n > 1 and flag", "fields": ["label", "n"]}
    pairs["bbrowserx"][0].to_anndata(**options)
    assert asked == [["n", "flag"], ["label"]]
    asked.clear()
    pairs["bbrowserx"][0].to_anndata(**options, dry_run=True)
    assert asked == [["n", "flag"]]
    server.requests.clear()
    with bc.settings.override(cache_size=0):
        pairs["bioflex"][0].to_anndata(obs_filter="n > 1 and flag == 'True'", fields=["label", "n"])
    order = [record.route.rpartition("/")[2] for record in server.requests]
    assert order.count("fetch_metadata") == 3
    assert order.index("get_matrix") > order.index("fetch_metadata") + 1


def test_genes_terms_and_csc_come_for_some_cells_and_for_none_of_a_study(pairs) -> None:
    study = pairs["bbrowserx"][0]
    first_only = f"`Number of mRNA transcripts` in {counts_of_the_first_only(pairs['bbrowserx'])}"
    whole = study.to_anndata(fields=["label"])
    found = bc.Collection(pairs["bbrowserx"]).to_anndata(obs_filter=first_only, genes=["GENE3"], fields=["label"])
    chosen = whole[[name.rpartition("-")[0] for name in found.obs_names], ["GENE3"]]
    assert 0 < found.n_obs < N
    np.testing.assert_array_equal(found.X.toarray(), chosen.X.toarray())
    with pytest.warns(UserWarning, match="no ontology terms"):
        some = study.to_anndata(obs_filter="n > 1", format="csc", terms=True)
    assert some.X.format == "csc"
    np.testing.assert_array_equal(some.X.toarray(), whole[some.obs_names].X.toarray())


def test_an_embedding_with_rows_of_other_cells_is_refused(pairs, monkeypatch) -> None:
    study = pairs["bbrowserx"][0]
    monkeypatch.setattr(BBrowserXConnector, "retrieve_custom_embedding", lambda *_: np.zeros((3, 2), np.float32))
    with pytest.raises(InvalidResponse, match=f"has 3 rows for {N} cells"):
        study.to_anndata(obs_filter="n > 1")


def test_a_filter_selects_from_the_whole_study_in_the_cache(server: Sandbox, pairs) -> None:
    study = pairs["bioflex"][0]
    study.to_anndata(obs_filter="n > 1")
    server.requests.clear()
    study.to_anndata(obs_filter="n <= 1")
    study.to_anndata()
    assert {record.route.rpartition("/")[2] for record in server.requests} & {"get_matrix"} == set()


def test_cells_fit_where_the_whole_study_does_not(server: Sandbox, pairs, monkeypatch) -> None:
    study = pairs["bioflex"][1]
    monkeypatch.setattr(module, "_MOST", 50)
    expected = subset(study.to_anndata(), "n == 3")
    bc.cache.clear()
    with bc.settings.override(memory_budget=2000):
        with pytest.raises(TooLarge):
            study.to_anndata(fields=[])
        assert_same(study.to_anndata(obs_filter="n == 3"), expected, "n == 3")
        with pytest.raises(TooLarge, match=r"the selected cells of study CELLS2 needs .* study.lazy\(path\)"):
            study.to_anndata(obs_filter="n >= 0")


@pytest.fixture(scope="module")
def many_cells(server: Sandbox) -> dict[str, Study]:
    """A study on both protocols, whose matrix takes 14 MB."""
    rng = np.random.default_rng(0)
    counts = sparse.random(20_000, 300, 0.3, "csr", np.float32, rng)
    counts.data = np.ceil(5 * counts.data)
    obs = pd.DataFrame({"part": np.arange(20_000) % 100}, index=[f"CELL{i}" for i in range(20_000)])
    adata = ad.AnnData(counts, obs, pd.DataFrame(index=[f"GENE{i}" for i in range(300)]))
    submitted = adata.biocolab.submit(study_id="MANY_CELLS_OF_GROUP", skip_dimred=True)
    return {"bioflex": server.add_study("MANY_CELLS", adata), "bbrowserx": submitted.study()}


@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
def test_the_matrix_of_all_cells_is_never_in_memory_as_a_whole(
    many_cells: dict[str, Study], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 100_000)
    study = many_cells[source]
    peaks = {}
    for obs_filter in (None, "part == 7"):
        tracemalloc.start()  # which also measures the sandbox, in another thread
        try:
            found = study.to_anndata(obs_filter=obs_filter, cache=False)
            peaks[obs_filter] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found.n_obs == (20_000 if obs_filter is None else 200)
    whole = 20_000 * 300 * 0.3 * 8
    assert peaks[None] > whole
    assert peaks["part == 7"] < whole / 2


def test_a_lazy_file_of_other_cells_is_not_replaced(pairs, tmp_path: Path) -> None:
    study = pairs["bioflex"][0]
    study.lazy(tmp_path / "x.h5ad", obs_filter="n > 2")
    study.lazy(tmp_path / "x.h5ad", obs_filter="n > 2")
    for other in ({}, {"obs_filter": "n > 3"}, {"cells": study.barcodes()[:3]}):
        with pytest.raises(InvalidArgument, match="objects may be reading from it"):
            study.lazy(tmp_path / "x.h5ad", **other)
    n = study.metadata("n")["n"]
    cached = [study.lazy(obs_filter="n > 2").n_obs, study.lazy(obs_filter="n > 3").n_obs, study.lazy().n_obs]
    assert cached == [(n > 2).sum(), (n > 3).sum(), N]


@pytest.mark.parametrize(("source", "join"), [("bioflex", "inner"), ("bbrowserx", "outer")])
def test_a_collection_of_some_cells_equals_the_subset_of_all(pairs, source: str, join: str, tmp_path: Path) -> None:
    together = bc.Collection(pairs[source])
    whole = together.to_anndata(join)
    one_study = f"`Number of mRNA transcripts` in {counts_of_the_first_only(pairs[source])}"
    for text in (FILTER, one_study):
        expected = subset(whole, text)
        assert together.to_anndata(join, obs_filter=text, dry_run=True).n_obs == expected.n_obs
        assert_same(together.to_anndata(join, obs_filter=text), expected, text)
        assert_same(together.lazy(join, folder=tmp_path, obs_filter=text).to_memory(), expected, text)
    if join == "outer":
        path = together.to_zarr(tmp_path / "x.zarr", join, obs_filter=one_study)
        assert_same(ad.read_zarr(path), expected, one_study)
    names = list(whole.obs_names[[50, 3, 60]])
    assert list(together.to_anndata(join, cells=names).obs_names) == list(whole.obs_names[[3, 50, 60]])
    with pytest.raises(UnknownCell, match=f"did you mean '{names[1]}'"):
        together.to_anndata(cells=[names[1].rpartition("-")[0]])


def counts_of_the_first_only(studies: list[Study]) -> list[float]:
    first, second = (each.metadata("Number of mRNA transcripts").iloc[:, 0] for each in studies)
    return [float(value) for value in set(first) - set(second)]


def test_a_field_that_one_study_of_an_outer_join_lacks_is_missing_there(server: Sandbox, pairs) -> None:
    adata = object_with_fields(3)
    adata.obs["own"] = np.arange(N)
    together = bc.Collection([pairs["bioflex"][0], server.add_study("CELLS3", adata)])
    found = together.to_anndata("outer", obs_filter="own < 3 or n == 5 and own.isna()")
    assert set(found.obs["study"]) == {"CELLS1", "CELLS3"}
    assert (found.obs["study"] == "CELLS3").sum() == 3
    with pytest.raises(UnknownField, match="column 1: study 'CELLS1' has no metadata field 'own'"):
        together.to_anndata(obs_filter="own < 3")
    with pytest.raises(UnknownField, match="column 1: study 'CELLS1' has no metadata field 'nope'"):
        together.to_anndata("outer", obs_filter="nope < 3")


@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
def test_a_label_that_no_study_of_a_collection_has_is_refused(server: Sandbox, pairs, source: str, tmp_path) -> None:
    adata = object_with_fields(4)
    adata.obs["label"] = adata.obs["label"].cat.rename_categories({"B": "Plasma"})
    if source == "bioflex":
        other = server.add_study("CELLS4", adata)
    else:
        other = adata.biocolab.submit(study_id="CELLS_OF_GROUP4", skip_dimred=True).study()
    together = bc.Collection([pairs[source][0], other])
    n = [(each.metadata("label")["label"] == name).sum() for each, name in zip(together, ("B", "Plasma"), strict=True)]
    server.requests.clear()
    for call in (
        lambda text: together.to_anndata(obs_filter=text),
        lambda text: together.to_anndata("outer", obs_filter=text, dry_run=True),
        lambda text: together.lazy(folder=tmp_path, obs_filter=text),
    ):
        with pytest.raises(InvalidFilter) as raised:
            call("n > 7 or label in ['B', 'Plasm']")
        assert "column 25: field 'label' has no label 'Plasm' (did you mean 'Plasma'" in str(raised.value)
    assert not [record.route for record in server.requests if "matrix" in record.route or "genes" in record.route]
    assert list(tmp_path.glob("*.h5ad")) == []
    found = together.to_anndata(obs_filter="label in ['B', 'Plasma']")  # each of them is a label of one study
    assert found.obs["study"].value_counts().tolist() == sorted(n, reverse=True)
    assert set(found.obs["label"]) == {"B", "Plasma"}
    server.requests.clear()
    assert together.to_anndata(obs_filter="label == 'T cell'", genes=["GENE1"], fields=[]).n_obs > 0
    # BioFlex's are in the cache; of a group, the first study's labels are asked for once more.
    asked = [record for record in server.requests if record.route.endswith("/get_metadata")]
    assert len(asked) == {"bioflex": 0, "bbrowserx": 3}[source], [record.route for record in server.requests]


def test_a_wrong_filter_is_refused_before_any_request(server: Sandbox, pairs, tmp_path: Path) -> None:
    study, together = pairs["bioflex"][0], bc.Collection(pairs["bioflex"])
    server.requests.clear()
    for call in (study.to_anndata, study.metadata, study.lazy, together.to_anndata, together.lazy):
        with pytest.raises(InvalidFilter, match="column 5"):
            call(obs_filter="n > open('x')")
    assert len(server.requests) == 0


names = st.sampled_from(["label", "`cell type`"])
numbers = st.sampled_from(["n", "`score.x`"])
amounts = st.sampled_from(["-0.5", "0", "1", "2.5", "0.25", "+3", "-1", "1e3"])
comparisons = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def texts_of(labels: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([repr(label) for label in labels])


@st.composite
def clauses(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 7))
    field, labels = draw(st.sampled_from([("label", LABELS), ("`cell type`", ["B", "T cell", "NK"])]))
    if kind == 0:
        return f"{field} {draw(st.sampled_from(['==', '!=']))} {draw(texts_of(labels))}"
    if kind == 1:
        some = draw(st.lists(texts_of(labels), max_size=3))
        return f"{field} {draw(st.sampled_from(['in', 'not in']))} [{', '.join(some)}]"
    if kind == 2:
        return f"{draw(numbers)} {draw(comparisons)} {draw(amounts)}"
    if kind == 3:
        low, high = draw(amounts), draw(amounts)
        return f"{low} {draw(st.sampled_from(['<', '<=']))} {draw(numbers)} {draw(st.sampled_from(['<', '<=']))} {high}"
    if kind == 4:
        return f"{draw(st.sampled_from([field, draw(numbers)]))}.{draw(st.sampled_from(['isna', 'notna']))}()"
    if kind == 5:
        some = draw(st.lists(amounts.filter(lambda text: text[0] != "+"), min_size=1, max_size=3))
        return f"{draw(numbers)} {draw(st.sampled_from(['in', 'not in']))} [{', '.join(some)}]"
    if kind == 6:
        return f"n {draw(comparisons)} `score.x`"
    return f"{draw(texts_of(labels))} == {field}"


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, st.sampled_from([" and ", " or ", " & ", " | "]), inner).map("".join)
    return two | inner.map("not ({})".format) | inner.map("~({})".format) | two.map("({})".format)


expressions = st.recursive(clauses(), joined, max_leaves=6)


def assert_selects_as_pandas(studies: list[Study], wholes: list[ad.AnnData], text: str, folder: Path | None) -> None:
    """In memory, and with a folder also on disk, lazily and in a collection."""
    study = studies[0]
    expected = subset(wholes[0], text)
    if not expected.n_obs:
        with pytest.raises(NoCells):
            study.to_anndata(obs_filter=text)
    else:
        assert_same(study.to_anndata(obs_filter=text, unit="lognorm"), expected, text)
        frame = study.metadata(obs_filter=text)
        own = wholes[0].obs.rename_axis(frame.index.name)  # metadata keeps labels that no cell is left of
        pd.testing.assert_frame_equal(frame, own.query(text, engine="python"))
    if folder is None:
        return
    if expected.n_obs:
        options = {"obs_filter": text, "unit": "lognorm"}
        assert_same(study.to_anndata(cache=False, **options), expected, text)
        path = study.to_h5ad(folder / "x.h5ad", compression=None, **options)
        assert_same(ad.read_h5ad(path), expected, text)
        path.unlink()
        assert_same(study.lazy(folder / "l.h5ad", **options).to_memory(), expected, text)
        (folder / "l.h5ad").unlink()
    every = subset(wholes[1], text)
    if every.n_obs:
        assert_same(bc.Collection(studies).to_anndata("outer", obs_filter=text, unit="lognorm"), every, text)


def wholes_of(studies: list[Study]) -> list[ad.AnnData]:
    return [studies[0].to_anndata(unit="lognorm"), bc.Collection(studies).to_anndata("outer", unit="lognorm")]


@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
def test_cells_that_lack_all_labels_of_a_field_are_selected_in_every_form(pairs, source: str, tmp_path: Path) -> None:
    assert_selects_as_pandas(pairs[source], wholes_of(pairs[source]), "`cell type`.isna()", tmp_path)


@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
def test_random_filters_select_as_pandas_does(pairs, source: str) -> None:
    wholes = wholes_of(pairs[source])

    @examples(max_examples=8)
    @given(expressions)
    def each(text: str) -> None:
        assert_selects_as_pandas(pairs[source], wholes, text, None)

    each()


@pytest.mark.long
@pytest.mark.parametrize("source", ["bioflex", "bbrowserx"])
def test_250_random_filters_select_as_pandas_does_in_every_form(pairs, source: str, tmp_path: Path) -> None:
    wholes = wholes_of(pairs[source])

    @examples(max_examples=250)
    @given(expressions)
    def each(text: str) -> None:
        assert_selects_as_pandas(pairs[source], wholes, text, tmp_path)

    each()
