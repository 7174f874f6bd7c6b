"""Collection: joined studies equal what anndata makes of them one by one, wherever they are fetched."""

from __future__ import annotations

import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.connection.default import _arguments, _Credentials
from biocolab_accessor.errors import (
    InvalidArgument,
    MissingCredentials,
    TooLarge,
    UnknownEmbedding,
    UnknownField,
    UnknownGene,
    UnknownStudy,
)
from biocolab_accessor.io.transpose import PEAK
from biocolab_accessor.sandbox.server import Sandbox
from tests.conftest import assert_equal_objects
from tests.patience import PATIENCE


def serial(names: list[str], join: str) -> ad.AnnData:
    parts = [bc.study(name).to_anndata(cache=False) for name in names]
    joined = ad.concat(parts, join=join, label="study", keys=names, index_unique="-", fill_value=0)
    joined.var["feature"] = joined.var_names
    return joined


def assert_same(ours: ad.AnnData, plain: ad.AnnData) -> None:
    ours = ours.copy()
    assert list(ours.uns.pop("biocolab")["studies"]) == list(dict.fromkeys(plain.obs["study"]))
    assert_equal_objects(ours, plain)


@pytest.mark.smoke
@pytest.mark.parametrize("join", ["inner", "outer"])
def test_a_collection_equals_the_concatenation_by_anndata(studies: list[str], join: str) -> None:
    joined = bc.collection(studies[:5]).to_anndata(join=join)
    assert joined.n_vars == {"inner": 38, "outer": 42}[join]
    assert_same(joined, serial(studies[:5], join))
    assert joined.uns["biocolab"]["studies"]["PART03"]["study_id"] == "PART03"


@pytest.mark.smoke
def test_a_lazy_collection_computes_to_the_same_values(studies: list[str], tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        joined = bc.collection(studies[:3]).lazy("outer", folder=folder)
        assert hasattr(joined.X, "dask")
        computed = joined.to_memory()
        np.testing.assert_array_equal(computed.X.toarray(), serial(studies[:3], "outer").X.toarray())
        assert list(computed.obs_names) == list(serial(studies[:3], "outer").obs_names)


def test_a_shared_folder_keeps_the_files_of_other_lazy_collections(studies: list[str], tmp_path: Path) -> None:
    asked = [(studies[:2], "raw"), (studies[2:4], "raw"), (studies[:2], "lognorm")]
    lazy = [bc.collection(names).lazy(folder=tmp_path, unit=unit) for names, unit in asked]
    for (names, unit), joined in zip(asked, lazy, strict=True):
        now = bc.collection(names).to_anndata(unit=unit)
        np.testing.assert_array_equal(joined.X.compute().toarray(), now.X.toarray())
    assert len(list(tmp_path.iterdir())) == 6


def test_an_outer_join_has_the_genes_and_fields_of_any_study(
    server: Sandbox, studies: list[str], tmp_path: Path
) -> None:
    """PART00 and PART03 have GENE0, only PART02 has GENE41, and PART01 has neither."""
    names = studies[:4]
    plain = bc.collection(names).to_anndata("outer", layers=["lognorm"])[:, ["GENE41", "GENE0"]]
    joined = bc.collection(names).to_anndata("outer", genes=["GENE41", "GENE0"], layers=["lognorm"])
    assert list(joined.var_names) == list(joined.var["feature"]) == ["GENE41", "GENE0"]
    np.testing.assert_array_equal(joined.X.toarray(), plain.X.toarray())
    np.testing.assert_array_equal(joined.layers["lognorm"].toarray(), plain.layers["lognorm"].toarray())
    assert list(joined.obs_names) == list(plain.obs_names)
    folder = tmp_path / "lazy"
    lazy = bc.collection(names).lazy("outer", genes=["GENE41", "GENE0"], folder=folder)
    stored = ad.read_zarr(bc.collection(names).to_zarr(tmp_path / "x.zarr", "outer", genes=["GENE41", "GENE0"]))
    for same in (lazy, stored):
        assert list(same.var_names) == ["GENE41", "GENE0"]
        assert list(same.obs_names) == list(plain.obs_names)
    np.testing.assert_array_equal(lazy.X.compute().toarray(), plain.X.toarray())
    np.testing.assert_array_equal(stored.X.toarray(), plain.X.toarray())
    mixed = bc.collection([names[0], "PBMC68k_reduced"])
    for each in (
        mixed.to_anndata("outer", fields=["batch", "phase"]),
        mixed.lazy("outer", fields=["batch", "phase"], folder=tmp_path),
    ):
        assert list(each.obs) == ["batch", "phase", "study"]
        assert each.obs["batch"].notna().tolist() == [True] * 30 + [False] * 700
        assert each.obs["phase"].notna().tolist() == [False] * 30 + [True] * 700
    with pytest.raises(UnknownGene, match="the collection of 'PART00', 'PART01', … and 2 more has no gene 'GENE42'"):
        bc.collection(names).to_anndata("outer", genes=["GENE41", "GENE42"])
    with pytest.raises(UnknownField, match=r"the collection of 'PART00', .* has no metadata field 'batc'"):
        bc.collection(names).to_anndata("outer", fields=["batc"])
    with pytest.raises(UnknownGene, match=r"study 'PART0\d' has no gene 'GENE41'"):
        bc.collection(names[:1]).to_anndata("inner", genes=["GENE41"])


def test_a_lazy_collection_larger_than_the_cache_is_refused(studies: list[str], tmp_path: Path) -> None:
    with bc.settings.override(cache_dir=tmp_path / "cache", cache_size=60_000):
        several = bc.collection(studies[:3])
        with pytest.raises(InvalidArgument, match=r"is too small for all studies .* give a folder"):
            several.lazy()
        assert several.lazy(folder=tmp_path / "kept").to_memory().n_obs == 30 + 31 + 32


def test_a_lazy_collection_of_uncacheable_studies_needs_a_folder(server: Sandbox, counts: ad.AnnData) -> None:
    for name in ("kept_nowhere_1", "kept_nowhere_2"):
        counts.biocolab.submit(study_id=name, skip_dimred=True)
    of_groups = bc.collection(["kept_nowhere_1", "kept_nowhere_2"], source="bbrowserx")
    with pytest.raises(
        InvalidArgument, match=r"studies of groups can change\): give a folder for their files, lazy\(folder="
    ):
        of_groups.lazy()
    public = bc.collection(["PBMC68k_reduced"])
    with bc.settings.override(cache_size=0), pytest.raises(InvalidArgument, match=r"cache_size is 0\): give a folder"):
        public.lazy()


def test_an_impossible_folder_is_named(studies: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "in_it"):
        with pytest.raises(InvalidArgument, match="which is a file or inside one"):
            bc.collection(studies[:1]).lazy(folder=folder)
    assert bc.collection(studies[:1]).lazy(folder=tmp_path / "new" / "deeper").n_obs == 30


@pytest.mark.smoke
def test_a_zarr_store_holds_all_studies(studies: list[str], tmp_path: Path) -> None:
    path = bc.collection(studies[:3]).to_zarr(tmp_path / "all.zarr")
    read = ad.read_zarr(path)
    np.testing.assert_array_equal(read.X.toarray(), serial(studies[:3], "inner").X.toarray())
    assert read.uns["biocolab"]["studies"]["PART02"]["unit"] == "raw"
    assert [item.name for item in tmp_path.iterdir()] == ["all.zarr"]
    with pytest.raises(InvalidArgument, match="exists already"):
        bc.collection(studies[:3]).to_zarr(path)


def test_study_ids_that_files_cannot_store_are_escaped(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    server.add_study("lab/one", counts)
    server.add_study("lab/two", counts)
    found = bc.collection(["lab/one", "lab/two"])
    found.to_anndata().write_h5ad(tmp_path / "joined.h5ad")
    read = ad.read_h5ad(tmp_path / "joined.h5ad"), ad.read_zarr(found.to_zarr(tmp_path / "joined.zarr"))
    for joined in read:
        origins = joined.uns["biocolab"]["studies"]
        assert [origin["study_id"] for origin in origins.values()] == ["lab/one", "lab/two"]
        assert list(origins) == ["lab%2Fone~biocolab", "lab%2Ftwo~biocolab"]
        assert list(joined.obs["study"].cat.categories) == ["lab/one", "lab/two"]
        assert joined.obs_names[60] == "CELL0-1-lab/two"


def test_studies_that_share_an_id_get_numbers_and_a_study_listed_twice_is_refused(
    server: Sandbox, counts: ad.AnnData
) -> None:
    halves = counts[:30].copy(), counts[30:].copy()
    uuids = [half.biocolab.submit(study_id="namesake", skip_dimred=True).study_info["uuid"] for half in halves]
    joined = bc.collection(uuids, source="bbrowserx").to_anndata(genes=iter(["GENE1"]), fields="label")
    assert list(joined.obs["study"].cat.categories) == ["namesake", "namesake-1"]
    assert [origin["study_uuid"] for origin in joined.uns["biocolab"]["studies"].values()] == uuids
    counts.biocolab.submit(study_id="only_one", skip_dimred=True)
    uuid = bc.studies().set_index("study_id").loc["only_one", "uuid"]
    with pytest.raises(InvalidArgument, match="is listed twice"):
        bc.collection(["only_one", uuid], source="bbrowserx")


def test_a_table_is_not_taken_for_the_ids_in_its_header(studies: list[str]) -> None:
    table = pd.DataFrame({name: [1] for name in studies})
    with pytest.raises(InvalidArgument, match="ids is of type DataFrame: give a name, or a list of names"):
        bc.collection(table)  # type: ignore[arg-type]
    joined = bc.collection(pd.Series(studies[:2])).to_anndata(genes=pd.Index(["GENE5"]))  # type: ignore[arg-type]
    assert list(joined.obs["study"].cat.categories) == studies[:2]
    assert list(joined.var_names) == ["GENE5"]


def test_a_joined_object_has_no_single_study(studies: list[str]) -> None:
    joined = bc.collection(studies[:2]).to_anndata(genes="GENE5")
    for ask in (lambda: joined.biocolab.study, joined.biocolab.pull_metadata):
        with pytest.raises(UnknownStudy, match=r"contains 2 studies \('PART00', 'PART01'\): use bc.study"):
            ask()


def test_a_label_never_replaces_a_field(server: Sandbox, tmp_path: Path) -> None:
    found = bc.collection(["PBMC68k_reduced"])
    for join in (found.to_anndata, found.lazy, lambda **kw: found.to_zarr(tmp_path / "joined.zarr", **kw)):
        with pytest.raises(InvalidArgument, match="has a field 'bulk_labels', which label= would overwrite"):
            join(label="bulk_labels")
    assert list(found.to_anndata(label="bulk_labels", fields=["phase"]).obs) == ["phase", "bulk_labels"]


@pytest.mark.sweeps  # ten studies; test_disk has a single one that is larger than memory
def test_a_collection_larger_than_memory_is_refused_with_alternatives(studies: list[str], tmp_path: Path) -> None:
    # Which of two refusals comes first is a matter of the threads: of the next part, or of the parts and the whole.
    some = studies[:10]
    found, plain = bc.collection(some), serial(some, "inner").X.toarray()
    with bc.settings.override(memory_budget=50_000):
        assert all(study.to_anndata(cache=False).n_obs for study in found)
        with pytest.raises(
            TooLarge,
            match=r"(joined AnnData of \d+ of 10 studies|PART\d\d raw) needs about .* bc.settings.memory_budget is",
        ) as caught:
            found.to_anndata(cache=False)
        for written in ("collection.lazy(folder=folder)", "collection.to_zarr(path)"):
            assert written in str(caught.value)
            made = eval(written, {"collection": found, "folder": tmp_path, "path": tmp_path / "x.zarr"})
            joined = ad.read_zarr(made) if isinstance(made, Path) else made.to_memory()
            np.testing.assert_array_equal(joined.X.toarray(), plain)
        assert found.to_anndata(cache=False, genes=["GENE5"]).n_obs == len(plain)


def test_the_error_of_one_study_does_not_wait_for_another_that_hangs(server: Sandbox, studies: list[str]) -> None:
    found = bc.collection([studies[0], "PBMC68k_reduced"])
    server.faults.add("*query_genes", kind="hang", seconds=PATIENCE)
    began = time.monotonic()
    try:
        with pytest.raises(UnknownGene, match="study 'PBMC68k_reduced' has no gene 'GENE5'"):
            found.to_anndata(genes="GENE5", cache=False)
    finally:
        server.faults.clear()
    assert time.monotonic() - began < PATIENCE


def test_studies_fetched_in_parallel_share_one_budget(studies: list[str]) -> None:
    """Each of four studies fetched at once would fit on its own."""
    sizes = [PEAK * study._parts.source.matrix_bytes("raw") for study in bc.collection(studies[:4])]
    with bc.settings.override(memory_budget=int(1.5 * max(sizes))):
        with pytest.raises(
            TooLarge, match=r"for (what is fetched with it|other parts)|joined AnnData of \d of 4 studies"
        ):
            bc.collection(studies[:4]).to_anndata(cache=False)
        assert bc.collection(studies[:1]).to_anndata(cache=False).n_obs == 30


def test_bad_input_is_refused(studies: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="at least one"):
        bc.collection([])
    with pytest.raises(InvalidArgument, match="twice"):
        bc.collection(["PART01", "PART01"])
    with pytest.raises(UnknownStudy):
        bc.collection(["PART01", "nonsense"])
    with pytest.raises(InvalidArgument, match="'inner' or 'outer'"):
        bc.collection(["PART01"]).to_anndata(join="left")
    with pytest.raises(InvalidArgument, match="unit"):
        bc.collection(["PART01"]).to_anndata(unit="tpm")


def test_an_outer_join_takes_an_embedding_from_the_studies_that_have_it(
    server: Sandbox, counts: ad.AnnData, tmp_path: Path
) -> None:
    with_both, with_one = counts.copy(), counts.copy()
    with_both.obsm["X_extra"] = np.full((60, 2), 5, np.float32)
    ids = [
        each.biocolab.submit("All members", study_id=name, skip_dimred=True).study().id
        for name, each in (("OBSM2", with_both), ("OBSM1", with_one))
    ]
    joined = bc.collection(ids, source="bbrowserx", group="all_members")
    adata = joined.to_anndata("outer", obsm=["X_extra"])
    assert list(adata.obsm) == ["X_extra"]
    assert (adata.obsm["X_extra"][:60] == 5).all()
    assert np.isnan(adata.obsm["X_extra"][60:]).all()
    with pytest.raises(UnknownEmbedding, match="study 'OBSM1' has no embedding 'X_extra'"):
        joined.to_anndata(obsm=["X_extra"])
    with pytest.raises(UnknownEmbedding, match=r"'X_extr' \(did you mean 'X_extra'"):
        joined.to_zarr(tmp_path / "x.zarr", "outer", obsm=["X_extr"])
    assert list(tmp_path.iterdir()) == []


def test_a_collection_is_the_list_of_its_studies(server: Sandbox) -> None:
    collection = bc.collection(["PBMC68k_reduced"])
    assert len(collection) == 1
    assert [study.id for study in collection] == ["PBMC68k_reduced"]
    assert repr(collection) == "Collection(['PBMC68k_reduced'])"


class TestCredentialsOfACluster:
    def test_are_those_of_the_servers_that_there_is_a_token_for(self, no_connection: None) -> None:
        with bc.settings.override(private_host="http://127.0.0.1:9/", private_token="e3b0c44298fc1c149afb"):
            found = _arguments()
        assert found == {"private_host": "http://127.0.0.1:9/", "private_token": "e3b0c44298fc1c149afb"}

    def test_come_with_the_authorities_that_vouch_for_the_server(self, no_connection: None, tmp_path: Path) -> None:
        bundle = tmp_path / "ca.pem"
        bundle.touch()
        bc.connect(private_host="https://lab.example/", private_token="e3b0c44298fc1c149afb", ssl=bundle)
        assert _arguments() == {
            "private_host": "https://lab.example/",
            "private_token": "e3b0c44298fc1c149afb",
            "ssl": bundle,
        }

    def test_are_asked_for_where_there_are_none(self, no_connection: None) -> None:
        with pytest.raises(MissingCredentials):
            _arguments()

    def test_are_not_shown(self) -> None:
        assert repr(_Credentials({"private_token": "e3b0c44298fc1c149afb"})) == "Credentials(****)"


def test_a_collection_takes_studies_and_ids(studies: list[str]) -> None:
    first, second = studies[:2]
    joined = bc.collection([bc.study(first), second])
    assert [each.id for each in joined] == [first, second]
    assert_same(joined.to_anndata(), serial(studies[:2], "inner"))
    with pytest.raises(InvalidArgument, match="is listed twice"):
        bc.collection([bc.study(first), first])
    with pytest.raises(InvalidArgument, match="ids contains 5"):
        bc.collection([bc.study(first), 5])
