"""Messages: no message shows the types of NumPy scalars, which indexing an array or an Index returns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import BiocolabError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.study import Study

X, N = np.str_("x"), np.int64(-3)
DTYPES, CAST = {np.str_("kind"): X}, {np.str_("kind"): np.str_("int8")}
LIST = [np.str_("x"), np.int64(3)]


@pytest.fixture(scope="module")
def sent(server: Sandbox) -> ad.AnnData:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(1.0, (30, 12)).astype(np.float32))
    adata.obs_names = [f"CELL{i}" for i in range(30)]
    adata.var_names = [f"GENE{i}" for i in range(12)]
    adata.obs["kind"] = pd.Categorical(np.where(np.arange(30) % 2, "a", "b"))
    adata.obsm["X_two"] = rng.normal(size=(30, 2)).astype(np.float32)
    adata.biocolab.submit(study_id="messages", skip_dimred=True)
    return adata


@pytest.fixture
def study(server: Sandbox, sent: ad.AnnData) -> Study:
    return bc.study("messages", source="bbrowserx")


def said(attempt: Callable[[], Any]) -> str:
    """All messages of a call: its warnings, its result and its error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            end = repr(attempt())
        except BiocolabError as error:
            end = f"{type(error).__name__}: {error}"
    return "\n".join([*(str(each.message) for each in caught), end])


def submitting(sent: ad.AnnData) -> Iterator[tuple[str, Callable[[], Any]]]:
    submit = sent.biocolab.submit
    for name in (
        "to", "group", "species", "input_matrix_type", "min_counts", "mt_percentage", "study_id", "authors", "obs",
        "check", "chunk_size",
    ):  # fmt: skip
        for value in (X, N, LIST, np.str_("")):
            yield f"submit({name}={value!r})", lambda name=name, value=value: submit(**{name: value}, dry_run=True)  # type: ignore[misc]
    yield "compression", lambda: sent.biocolab.to_h5ad("x.h5ad", compression=X)
    yield "wait", lambda: bc.submission(X).wait(timeout=N)
    yield "submission", lambda: bc.submission("1", to=X)
    yield "files", lambda: bc.submit([Path("a.h5ad")], study_type=X)
    yield "s3", lambda: bc.submit_from_s3(X, study_type=X)
    yield "preview", lambda: sent.biocolab.preview_filters(min_counts=N)
    yield "preview batch", lambda: sent.biocolab.preview_filters(batch_key=X)
    yield "preview of a batch", lambda: sent.biocolab.preview_filters(batch_key=np.str_("kind"), n_mads=N)


def looking() -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "study", lambda: bc.study(X)
    yield "study of a number", lambda: bc.study(N)
    yield "study group", lambda: bc.study("messages", group=X)
    yield "study species", lambda: bc.study("messages", species=X)
    yield "study source", lambda: bc.study("messages", source=X)
    yield "study source group", lambda: bc.study("messages", source="bioflex", group=X)
    yield "study source database", lambda: bc.study("messages", source=np.str_("bbrowserx"), database=X)
    yield "studies", lambda: bc.studies(X)
    yield "studies species", lambda: bc.studies(species=X)
    yield "studies source", lambda: bc.studies(source=X)
    yield "groups", lambda: bc.groups(source=X)
    yield "database", lambda: bc.database(X)
    yield "database version", lambda: bc.database("human", N)
    yield "collection", lambda: bc.collection(LIST)
    yield "collection twice", lambda: bc.collection([np.str_("messages"), np.str_("messages")]).to_anndata()
    yield "collection join", lambda: bc.collection(["messages"]).to_anndata(join=X)
    yield "collection label", lambda: bc.collection(["messages"]).to_anndata(label=np.str_("kind"))
    yield "summary", lambda: bc.expression_summary(X)
    yield "settings", lambda: setattr(bc.settings, "timeout", X)


def fetching(study: Study) -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in ("genes", "fields", "unit", "layers", "obsm", "format"):
        for value in (X, N, [X], LIST):
            yield f"to_anndata({name}={value!r})", lambda name=name, value=value: study.to_anndata(**{name: value})  # type: ignore[misc]
    yield "plot", lambda: study.plot(X)
    yield "plot a number", lambda: study.plot(N)
    yield "plot several", lambda: study.plot(LIST)
    yield "plot basis", lambda: study.plot("kind", basis=X)
    yield "plot a basis of numbers", lambda: study.plot("kind", basis=N)
    yield "plot palette", lambda: study.plot("kind", palette=X)
    yield "plot palette dict", lambda: study.plot("kind", palette={np.str_("a"): np.str_("red")})
    yield "plot palette colour", lambda: study.plot("kind", palette={np.str_("a"): X, np.str_("b"): X})
    yield "plot cmap", lambda: study.plot("GENE1", cmap=X)
    yield "plot size", lambda: study.plot("GENE1", size=N)
    yield "plot legend", lambda: study.plot("kind", legend_loc=X)


def exchanging(study: Study, sent: ad.AnnData) -> Iterator[tuple[str, Callable[[], Any]]]:
    own = ad.AnnData(obs=sent.obs.copy())
    own.obs[np.str_("none")] = np.nan
    own.obs[np.str_("some")] = np.where(np.arange(30) < 3, np.nan, 1.0)
    own.obs[np.str_("text")] = np.array([np.str_(f"t{i}") for i in range(30)], dtype=object)
    own.obs[np.str_("cell")] = "a"
    other = ad.AnnData(obs=own.obs.rename(index=lambda name: np.str_(f"s_{name}")))
    strange = ad.AnnData(obs=own.obs.rename(index={"CELL0": np.str_("strange")}))
    for column in (X, N, "none", "some", "cell", "kind", [X, N], np.str_("barcodes"), np.str_("a\0b")):
        yield f"push {column!r}", lambda column=column: own.biocolab.push_metadata(column, study=study)
        yield f"pull {column!r}", lambda column=column: own.biocolab.pull_metadata(column, study=study)
    yield "push missing", lambda: own.biocolab.push_metadata("some", study=study, missing=X)
    yield "push omit", lambda: own.biocolab.push_metadata(np.str_("some"), study=study, missing="omit")
    yield "push elsewhere", lambda: other.biocolab.push_metadata("text", study=study)
    yield "push stranger", lambda: strange.biocolab.push_metadata("text", study=study)
    yield "push on", lambda: own.biocolab.push_metadata("text", study=study, on=X)
    yield "push on a column", lambda: own.biocolab.push_metadata("text", study=study, on=np.str_("text"))
    yield "push group", lambda: own.biocolab.push_metadata("text", group=X)
    yield "push study", lambda: own.biocolab.push_metadata("text", study=X)
    yield "pull dtypes", lambda: own.biocolab.pull_metadata("kind", study=study, overwrite=True, dtypes=DTYPES)
    yield "pull cast", lambda: own.biocolab.pull_metadata("kind", study=study, overwrite=True, dtypes=CAST)
    yield "pull dtypes of none", lambda: own.biocolab.pull_metadata("kind", study=study, overwrite=True, dtypes={X: N})
    yield "pull prefix", lambda: own.biocolab.pull_metadata("kind", study=study, prefix=N)
    for name in (X, N, LIST):
        yield f"embedding {name!r}", lambda name=name: own.biocolab.pull_embeddings(name, study=study)
    yield "table", lambda: own.obs[["text"]].biocolab.submit_metadata(X)
    yield "table study", lambda: own.obs[["none"]].biocolab.submit_metadata(study)


def annotating(sent: ad.AnnData) -> Iterator[tuple[str, Callable[[], Any]]]:
    annotate = sent.biocolab.annotate
    markers = {"a": ["GENE1"]}
    yield "groupby", lambda: annotate(X)
    for name in ("markers", "n_genes", "gene_symbols", "key_added", "n_resamples", "seed"):
        for value in (X, N, np.str_("kind")):
            yield (
                f"annotate({name}={value!r})",
                lambda name=name, value=value: annotate(  # type: ignore[misc]
                    np.str_("kind"), **{"markers": markers, name: value}
                ),
            )
    yield "markers of another", lambda: annotate("kind", markers={X: [X]})
    yield "markers of none", lambda: annotate("kind", markers={np.str_("a"): [X]})
    yield "markers of numbers", lambda: annotate("kind", markers={np.str_("a"): [N]})
    table = pd.DataFrame(LIST, columns=["genes"])
    yield "summary column", lambda: table.biocolab.expression_summary(X)
    yield "summary of a number", lambda: table.biocolab.expression_summary("genes")
    yield "summary plot", lambda: sent.biocolab.plot_expression_summary([X, N])
    yield "summary plot cmap", lambda: sent.biocolab.plot_expression_summary("GENE1", cmap=X)
    yield "summary plot scale", lambda: sent.biocolab.plot_expression_summary("GENE1", standard_scale=X)


def checking(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    rng = np.random.default_rng(0)
    names = [
        np.str_("nan"),
        np.str_("nan"),
        np.str_("2-Sep"),
        np.str_("a,b"),
        np.str_("GRCh38_CD3D"),
        np.str_("ENSG1.2"),
    ]

    def broken(**parts: Any) -> ad.AnnData:
        obs = pd.DataFrame(index=pd.Index([np.str_(f"c{i // 2}") for i in range(30)], dtype=object))
        var = pd.DataFrame(index=pd.Index([*names, *(np.str_(f"G{i}") for i in range(6))], dtype=object))
        matrix = parts.pop("X", rng.poisson(1.0, (30, 12)).astype(np.float32))
        made = ad.AnnData(matrix, obs=obs, var=var)
        for place, value in parts.items():
            if isinstance(value, dict):
                for key, each in value.items():
                    getattr(made, place)[np.str_(key)] = each
        return made

    columns = {
        "a/b": 1, "mixed": np.array([np.str_("a"), np.int64(1)] * 15, object), "none": np.nan, "barcodes": "x",
        "lists": [[np.int64(1)]] * 30, "days": pd.date_range("2020", periods=30), "big": np.uint64(2**64 - 1),
        "cut": pd.cut(np.arange(30), 3), "labels": pd.Categorical([np.str_("x"), np.str_("y ")] * 15),
        "numbers": pd.Categorical(np.arange(30) % 12), "infinite": np.inf, "score": rng.random(30),
        "complex": [1j] * 30, "a\0b": np.str_("c"), "nul": np.str_("a\0b"),
    }  # fmt: skip
    for key, value in columns.items():
        yield f"obs {key}", lambda key=key, value=value: broken(obs={key: value}).biocolab.check()
    yield "obsm", lambda: broken(obsm={"wide": rng.random((30, 3)), "words": np.full((30, 2), X)}).biocolab.check()
    yield "uns", lambda: broken(uns={"x": {X: [X, N], "y": object()}, "z": {N: 1}}).biocolab.check()
    yield "layers", lambda: broken(layers={"counts": rng.random((30, 12)), "raw": -np.ones((30, 12))}).biocolab.check()
    for value in (np.nan, np.inf, 2.0**53, -1.0, 0.5):
        yield f"X {value}", lambda value=value: broken(X=np.full((30, 12), value)).biocolab.check()
    yield "var kinds", lambda: broken(var={"feature_types": [np.str_("Gene Expression"), X] * 6}).biocolab.check()
    yield "genomes", lambda: broken(var={"genome": [X, np.str_("y")] * 6}).biocolab.check()
    yield "species", lambda: broken().biocolab.check(species=np.str_("mouse"))
    yield "file", lambda: bc.check(folder / X)


def tables() -> Iterator[tuple[str, Callable[[], Any]]]:
    rows = [np.str_(f"CELL{i}") for i in range(4)]
    for columns in ([X, X], [N, np.int64(4)], ["leiden", "GENE1"], [X, "Unnamed: 0"], [np.str_("cell_id"), "CD3D"]):
        frame = pd.DataFrame(np.arange(8).reshape(4, 2), index=pd.Index(rows, dtype=object), columns=columns)
        yield f"check of {columns}", frame.biocolab.check
        yield f"anndata of {columns}", frame.biocolab.to_anndata
    frame = pd.DataFrame({X: [X, "b"], np.str_("y"): [1, 2]})
    yield "text among the genes", frame.biocolab.to_anndata
    yield "values are missing", pd.DataFrame({X: [np.nan, 1], "y": [1, 2]}).biocolab.to_anndata


def doubles(server: Sandbox) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "add_group", lambda: server.add_group(np.str_(""), X)
    yield "add_group members", lambda: server.add_group(np.str_("messages"), X, [X, N])
    yield "add_folder", lambda: server.add_folder(X)
    yield "remove_bucket", lambda: server.remove_bucket(X)
    yield "add_study", lambda: server.add_study(X, ad.AnnData(np.ones((2, 2))), species=X)
    yield "add_study type", lambda: server.add_study(X, ad.AnnData(np.ones((2, 2))), cell_type=X)
    yield "faults", lambda: server.faults.add(X)
    yield "faults option", lambda: server.faults.add(np.str_("get_user_groups"), kind=np.str_("status"), x=N)
    yield "faults kind", lambda: server.faults.add(np.str_("get_user_groups"), kind=X)
    yield "faults turn", lambda: server.faults.add(np.str_("get_user_groups"), nth=N)


def test_no_message_shows_how_numpy_writes_its_scalars(
    server: Sandbox, study: Study, sent: ad.AnnData, tmp_path: Path
) -> None:
    attempts = [
        *submitting(sent), *looking(), *fetching(study), *exchanging(study, sent), *annotating(sent), *tables(),
        *checking(tmp_path),
        *doubles(server),
    ]  # fmt: skip
    words = {name: said(attempt) for name, attempt in attempts}
    assert {name: text for name, text in words.items() if "np." in text} == {}
    assert len(words) > 210


_ODD = {
    "a whole number": np.int64(3),
    "a fraction": np.float32(1.5),
    "NaN": np.float64("nan"),
    "a truth value": np.bool_(True),
    "NA": pd.NA,
    "a day": np.datetime64("2020-01-01"),
    "a timestamp": pd.Timestamp("2020-01-01"),
    "an array": np.array([1, 2]),
    "a column": pd.Series(["zz"]),
    "an index": pd.Index(["zz"]),
}
_TAKING: dict[str, Callable[[ad.AnnData, Any], object]] = {
    "batch_key of check": lambda adata, odd: adata.biocolab.check(batch_key=odd).raise_for_errors(),
    "batch_key of submit": lambda adata, odd: adata.biocolab.submit(dry_run=True, batch_key=odd),
    "species": lambda adata, odd: adata.biocolab.check(species=odd),
    "check": lambda adata, odd: adata.biocolab.submit(dry_run=True, check=odd),
    "input_matrix_type": lambda adata, odd: adata.biocolab.check(input_matrix_type=odd),
    "source": lambda adata, odd: bc.study("messages", source=odd),
    "study_id": lambda adata, odd: bc.study(odd),
    "groupby": lambda adata, odd: adata.biocolab.annotate(odd),
    "a host": lambda adata, odd: bc.connect(private_host=odd, private_token="x"),
    "a token": lambda adata, odd: bc.connect(private_host="https://company.example/", private_token=odd),
}


@pytest.mark.parametrize("kind", _ODD)
@pytest.mark.parametrize("argument", _TAKING)
def test_an_argument_that_cannot_be_meant_is_refused_in_our_words(argument: str, kind: str, sent: ad.AnnData) -> None:
    with pytest.raises(BiocolabError) as caught:
        _TAKING[argument](sent, _ODD[kind])
    assert "np." not in str(caught.value)
    assert "ambiguous" not in str(caught.value)
    assert "dtype: object" not in str(caught.value)


@pytest.mark.parametrize("kind", ["NA", "a day", "an array", "a column", "an index", "NaN", "a truth value"])
@pytest.mark.parametrize("name", ["min_genes", "max_counts", "mt_percentage"])
def test_a_bound_that_is_not_a_number_is_refused_in_our_words(name: str, kind: str, sent: ad.AnnData) -> None:
    with pytest.raises(BiocolabError, match=rf"^{name} is .*: must be a non-negative number, or None for no bound"):
        sent.biocolab.check(**{name: _ODD[kind]})


def test_bounds_that_are_numbers_of_numpy_are_taken(sent: ad.AnnData) -> None:
    plain = sent.biocolab.check(min_genes=3, mt_percentage=1.5)
    assert sent.biocolab.check(min_genes=np.int64(3), mt_percentage=np.float32(1.5)).to_frame().equals(plain.to_frame())
