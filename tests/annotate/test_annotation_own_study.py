from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.annotate.annotation import Annotation, OwnStudy
from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.sandbox.server import Sandbox
from tests.conftest import assert_equal_objects

_MARKERS = {"a": ["CD79A", "MS4A1"], "b": ["NKG7", "GNLY"]}
_SAID = "so the support is partly based on the cells' own labels"


def annotated(adata: ad.AnnData, database: Database) -> Annotation:
    """The annotation, after a check that it warns of the cells' own study exactly if it notes it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = adata.biocolab.annotate("cluster", markers=_MARKERS, database=database)
    said = [str(warning.message) for warning in caught if "own labels" in str(warning.message)]
    assert said == [str(own) for own in result.own_studies]
    for note in result.notes:
        assert note in repr(result)
    return result


def clustered(adata: ad.AnnData) -> ad.AnnData:
    result = adata.copy()
    result.obs["cluster"] = ["a", "b"] * (adata.n_obs // 2) + ["a"] * (adata.n_obs % 2)
    return result


def barcodes(number: int, seed: int) -> list[str]:
    """Different barcodes, as in 10x data."""
    letters = np.random.default_rng(seed).choice(list("ACGT"), (number, 16))
    return [f"{''.join(row)}-1" for row in letters]


def named(names: list[str], **uns: object) -> ad.AnnData:
    """Cells with these names and markers that the database knows."""
    genes = [gene for genes in _MARKERS.values() for gene in genes]
    counts = np.random.default_rng(len(names)).poisson(1.0, (len(names), len(genes))).astype(np.float32)
    obs = pd.DataFrame({"kind": "B"}, index=names)  # not a cell type, which the tests of this database would find
    return clustered(ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes), uns=dict(uns)))


@pytest.fixture(scope="module")
def half(database: Database) -> ad.AnnData:
    """All cells of the study in the database, fetched."""
    return clustered(bc.study("half_of_pbmc68k", database=database).to_anndata())


class TestProvenance:
    def test_names_the_study_and_counts_the_cells(self, half: ad.AnnData, database: Database) -> None:
        before = half.copy()
        result = annotated(half, database)
        own = OwnStudy("half_of_pbmc68k", "half_of_pbmc68k", 350, 350, "provenance")
        assert result.own_studies == (own,)
        text = "350 of 350 cells are in study 'half_of_pbmc68k' of this database (uns['biocolab'] names it)"
        assert result.notes == (f"{text}, {_SAID}",)
        assert repr(result).endswith(f"{text}, {_SAID}")
        assert "350 of 350 cells are in study &#x27;half_of_pbmc68k&#x27;" in result._repr_html_()
        assert_equal_objects(half, before)

    def test_costs_two_requests(self, half: ad.AnnData, database: Database, server: Sandbox) -> None:
        before = len(server.requests)
        annotated(half, database)
        routes = [record.route for record in list(server.requests)[before:]]
        assert routes == ["v1/expression/celltypes", "v1/study/get", "v1/study/get_barcodes"]

    def test_of_a_few_cells_among_others_counts_these(
        self, half: ad.AnnData, other: ad.AnnData, database: Database
    ) -> None:
        mixed = ad.concat([half[:20], clustered(other)], uns_merge="first")
        (own,) = annotated(mixed, database).own_studies
        assert (own.n_cells, own.n_obs, own.known_by) == (20, 370, "provenance")

    def test_outlasts_other_barcodes(self, half: ad.AnnData, database: Database) -> None:
        half = half.copy()
        half.obs_names = [f"{name}_mine" for name in half.obs_names]
        result = annotated(half, database)
        assert result.own_studies[0].n_cells == 0
        assert "the cells come from study 'half_of_pbmc68k' of this database" in result.notes[0]

    def test_of_an_earlier_version_of_the_database_is_enough(self, database: Database) -> None:
        earlier = clustered(bc.study("PBMC68k_reduced", database=bc.database("human", 1)).to_anndata()[:30])
        (own,) = annotated(earlier, bc.database("human", 3)).own_studies
        assert (own.study_id, own.n_cells, own.n_obs, own.known_by) == ("PBMC68k_reduced", 30, 30, "provenance")
        assert annotated(earlier, database).own_studies == ()

    @pytest.mark.parametrize(
        ("fact", "value"), [("server", "https://elsewhere.example/"), ("species", "human"), ("source", "talk2data")]
    )
    def test_of_a_namesake_elsewhere_is_no_alarm(
        self, half: ad.AnnData, other: ad.AnnData, database: Database, fact: str, value: str
    ) -> None:
        mine = clustered(other)
        mine.uns["biocolab"] = dict(half.uns["biocolab"])
        assert annotated(mine, database).own_studies[0].n_cells == 0
        mine.uns["biocolab"][fact] = value
        assert annotated(mine, database).own_studies == ()

    def test_of_several_studies_counts_each(self, server: Sandbox, database: Database, tmp_path: Path) -> None:
        server.add_study("own/first", named(barcodes(12, 1)), species="primate")
        server.add_study("own_second", named(barcodes(8, 2)), species="primate")
        joined = bc.collection(["own/first", "own_second"], database=database).to_anndata()
        joined.write_h5ad(tmp_path / "joined.h5ad")
        result = annotated(clustered(ad.read_h5ad(tmp_path / "joined.h5ad")), database)
        assert [(own.study_id, own.n_cells, own.n_obs) for own in result.own_studies] == [
            ("own/first", 12, 20),
            ("own_second", 8, 20),
        ]
        assert {own.known_by for own in result.own_studies} == {"provenance"}


class TestBarcodes:
    def test_tell_the_study_that_a_column_names(self, half: ad.AnnData, database: Database) -> None:
        mine = half[:200].copy()
        del mine.uns["biocolab"]
        mine.obs["Study"] = pd.array(["half_of_pbmc68k"] * 200, "string")
        assert annotated(mine, database).own_studies == (
            OwnStudy("half_of_pbmc68k", "half_of_pbmc68k", 200, 200, "barcodes"),
        )

    def test_tell_the_study_that_a_concatenation_names(
        self, half: ad.AnnData, other: ad.AnnData, database: Database
    ) -> None:
        parts = {"half_of_pbmc68k": half, "mine": clustered(other)}
        joined = ad.concat(parts, label="dataset", index_unique="_")
        (own,) = annotated(joined, database).own_studies
        assert (own.study_id, own.n_cells, own.n_obs, own.known_by) == ("half_of_pbmc68k", 350, 700, "barcodes")

    def test_tell_a_study_that_came_from_another_server(self, database: Database) -> None:
        study = bc.study("half_of_pbmc68k", source="bbrowserx", group="bioturing_public_studies", species="primate")
        fetched = clustered(study.to_anndata())
        assert fetched.uns["biocolab"]["source"] == "bbrowserx"
        (own,) = annotated(fetched, database).own_studies
        assert (own.study_id, own.n_cells, own.known_by) == ("half_of_pbmc68k", 350, "barcodes")
        # A few cells of it are enough where provenance names it and the study has each of them.
        (own,) = annotated(fetched[:10].copy(), database).own_studies
        assert (own.n_cells, own.n_obs) == (10, 10)

    def test_of_other_cells_are_no_alarm(self, other: ad.AnnData, database: Database) -> None:
        mine = clustered(other)
        mine.uns["study"] = "half_of_pbmc68k"
        result = annotated(mine, database)
        assert (result.own_studies, result.notes) == ((), ())

    def test_that_mostly_differ_are_no_alarm(self, server: Sandbox, database: Database) -> None:
        there = barcodes(100, 3)
        server.add_study("own_recurring", named(there), species="primate")
        mine = named([*there[:40], *barcodes(60, 4)], title="own_recurring")
        assert annotated(mine, database).own_studies == ()
        most = named([*there[:60], *barcodes(40, 4)], title="own_recurring")
        (own,) = annotated(most, database).own_studies
        assert (own.n_cells, own.n_obs) == (60, 100)

    def test_that_recur_in_a_much_larger_study_are_no_alarm(self, server: Sandbox, database: Database) -> None:
        there = barcodes(1_000, 5)
        server.add_study("own_large", named(there), species="primate")
        assert annotated(named(there[:90], title="own_large"), database).own_studies == ()
        (own,) = annotated(named(there[:100], title="own_large"), database).own_studies
        assert own.n_cells == 100

    def test_that_are_numbers_are_no_alarm(self, server: Sandbox, database: Database) -> None:
        for study_id, pattern in (("own_numbers", "{}"), ("own_numbered", "Cell_{}")):
            names = [pattern.format(number) for number in range(50)]
            server.add_study(study_id, named(names), species="primate")
            assert annotated(named(names, title=study_id), database).own_studies == ()

    def test_that_are_repeated_here_count_once(self, server: Sandbox, database: Database) -> None:
        there = barcodes(40, 6)
        server.add_study("own_repeated", named(there), species="primate")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine = named([*there[:2] * 20, *barcodes(20, 7)], title="own_repeated")
        assert annotated(mine, database).own_studies == ()


class TestNames:
    def test_that_an_object_lacks_cost_no_request(self, other: ad.AnnData, database: Database, server: Sandbox) -> None:
        before = len(server.requests)
        assert annotated(clustered(other), database).own_studies == ()
        assert [record.route for record in list(server.requests)[before:]] == ["v1/expression/celltypes"]

    def test_that_the_database_lacks_cost_one_request_each_and_four_at_most(
        self, other: ad.AnnData, database: Database, server: Sandbox
    ) -> None:
        mine = clustered(other)
        mine.obs["study"] = [f"GSE{number % 9}" for number in range(mine.n_obs)]
        before = len(server.requests)
        result = annotated(mine, database)
        routes = [record.route for record in list(server.requests)[before:]]
        assert routes == ["v1/expression/celltypes", *["v1/study/get"] * 4]
        assert result.notes == ("the object names more studies than the 4 that were looked up",)

    def test_that_are_not_text_are_passed_over(self, other: ad.AnnData, database: Database) -> None:
        mine = clustered(other)
        mine.uns["biocolab"] = {"study_id": 7, "studies": {"a": None, "b": 3}}
        mine.uns["study_id"], mine.uns["title"] = np.arange(3), " "
        mine.obs["dataset"] = [["a"], None, 3.5, pd.NA, "half_of_pbmc68k"] * (mine.n_obs // 5)
        result = annotated(mine, database)
        assert (result.own_studies, result.notes) == ((), ())

    def test_of_the_users_own_submission_are_no_alarm(self, half: ad.AnnData) -> None:
        mine = half.copy()
        del mine.uns["biocolab"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            submission = mine.biocolab.submit(study_id="own_private", skip_dimred=True)
        fetched = clustered(submission.study().to_anndata())
        assert fetched.uns["biocolab"]["study_id"] == "own_private"
        assert annotated(fetched, bc.database("human")).own_studies == ()


class TestFailures:
    @pytest.mark.parametrize("route", ["v1/study/get", "v1/study/get_barcodes"])
    def test_are_notes_and_the_annotation_is_there(
        self, half: ad.AnnData, database: Database, server: Sandbox, route: str
    ) -> None:
        expected = annotated(half, database)
        for kind in ("status", "reset"):
            fault = server.faults.add(route, nth=1, kind=kind, **({"status": 500} if kind == "status" else {}))
            with bc.settings.override(max_retries=0):
                result = annotated(half, database)
            server.faults.clear()
            assert fault.hits == 1
            assert result.own_studies == ()
            (note,) = result.notes
            assert note.startswith("could not check whether the cells are in study 'half_of_pbmc68k': ")
            pd.testing.assert_frame_equal(result.table, expected.table)


@pytest.fixture(scope="module")
def there(server: Sandbox) -> list[str]:
    names = barcodes(60, 30)
    server.add_study("own_sibling", named(names), species="primate")
    return names


class TestSiblings:
    """What people do to the cells of a study before they annotate them."""

    @pytest.mark.parametrize("column", ["Study", "study_id", "dataset", "dataset_id", "GSE", "Accession"])
    def test_of_a_column_that_names_it_whatever_its_case(
        self, there: list[str], database: Database, column: str
    ) -> None:
        mine = named(there)
        mine.obs[column] = pd.Categorical(["own_sibling"] * 60)
        (own,) = annotated(mine, database).own_studies
        assert (own.study_id, own.n_cells, own.n_obs, own.known_by) == ("own_sibling", 60, 60, "barcodes")

    def test_of_an_object_that_calls_it_otherwise_are_not_found(self, there: list[str], database: Database) -> None:
        """BioFlex has no list of its studies: nothing but a name can be looked up."""
        mine = named(there, title="my own name of it")
        assert annotated(mine, database).own_studies == ()

    @pytest.mark.parametrize("n_cells", [6, 10, 35])
    def test_a_subset_is_found_as_far_as_chance_is_ruled_out(
        self, there: list[str], database: Database, n_cells: int
    ) -> None:
        (own,) = annotated(named(there[:n_cells], study="own_sibling"), database).own_studies
        assert (own.n_cells, own.n_obs) == (n_cells, n_cells)

    @pytest.mark.parametrize("ending", ["-own_sibling", "_own_sibling", "-0", "_1", "-s1", "_sampleA"])
    def test_what_a_concatenation_put_behind_the_barcodes_is_taken_off(
        self, there: list[str], database: Database, ending: str
    ) -> None:
        mine = named([f"{name}{ending}" for name in there])
        mine.obs["study"] = "own_sibling"
        (own,) = annotated(mine, database).own_studies
        assert (own.n_cells, own.n_obs, own.known_by) == (60, 60, "barcodes")

    @pytest.mark.parametrize("start", ["S1_", "GSM1_", "sampleA:", "own_sibling-", "lane1#"])
    def test_what_stands_before_the_barcodes_is_taken_off(
        self, there: list[str], database: Database, start: str
    ) -> None:
        mine = named([f"{start}{name}" for name in there], study="own_sibling")
        (own,) = annotated(mine, database).own_studies
        assert (own.n_cells, own.n_obs) == (60, 60)

    def test_the_last_number_of_cell_ranger_may_be_gone(self, there: list[str], database: Database) -> None:
        mine = named([name.removesuffix("-1") for name in there], study="own_sibling")
        (own,) = annotated(mine, database).own_studies
        assert own.n_cells == 60

    @pytest.mark.parametrize("unique", ["-", "_"])
    def test_a_concatenation_of_numbered_parts_is_found(
        self, there: list[str], database: Database, unique: str
    ) -> None:
        parts = [named(there), named(barcodes(50, 31))]
        for part, study in zip(parts, ["own_sibling", "mine"], strict=True):
            part.obs["study"] = study
        joined = ad.concat(parts, index_unique=unique)
        (own,) = annotated(joined, database).own_studies
        assert (own.study_id, own.n_cells, own.n_obs) == ("own_sibling", 60, 110)

    def test_only_some_clusters_of_it_are_counted(self, there: list[str], database: Database) -> None:
        mine = named([*there[:20], *barcodes(80, 32)])
        mine.obs["study"] = ["own_sibling"] * 20 + ["mine"] * 80
        (own,) = annotated(mine, database).own_studies
        assert (own.n_cells, own.n_obs) == (20, 100)

    @pytest.mark.parametrize("shared", [0, 18, 30])
    def test_whitelists_share_barcodes_by_chance(self, there: list[str], database: Database, shared: int) -> None:
        """10x has a list of barcodes from which every sample draws."""
        mine = named([*there[:shared], *barcodes(60 - shared, 33)], study="own_sibling")
        assert annotated(mine, database).own_studies == ()

    def test_chance_is_not_helped_by_taking_endings_off(self, there: list[str], database: Database) -> None:
        drawn = [f"{name.removesuffix('-1')}-{2 + i % 3}" for i, name in enumerate(there[:18])]
        mine = named([*drawn, *barcodes(42, 34)], study="own_sibling")
        assert annotated(mine, database).own_studies == ()
