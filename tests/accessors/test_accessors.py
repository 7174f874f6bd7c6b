from __future__ import annotations

import gc
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
import weakref
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.accessors import AnnDataAccessor, DataFrameAccessor
from biocolab_accessor.connection import default
from biocolab_accessor.errors import ConfigurationError, MissingCredentials, UnknownGroup, UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.plan import Plan
from tests.conftest import assert_equal_objects

pytestmark = pytest.mark.smoke


class TestRegistration:
    def test_access_on_the_class_returns_the_accessor_class(self) -> None:
        assert ad.AnnData.biocolab is AnnDataAccessor
        assert pd.DataFrame.biocolab is DataFrameAccessor

    @pytest.mark.sweeps
    def test_importing_again_causes_no_warning(self) -> None:
        code = """
            import warnings; warnings.simplefilter("error", UserWarning)
            import importlib, biocolab_accessor.accessors as module
            importlib.reload(module)
            import anndata as ad, numpy as np
            print(type(ad.AnnData(np.ones((2, 2))).biocolab).__name__)
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "AnnDataAccessor"

    def test_views_copies_and_temporaries_have_the_accessor(self, counts: ad.AnnData) -> None:
        assert repr(counts[:5].biocolab).startswith("adata.biocolab of 5 cells")
        assert repr(counts.copy().biocolab).startswith("adata.biocolab of 60 cells")
        assert repr(ad.AnnData(np.ones((2, 3))).biocolab).startswith("adata.biocolab of 2 cells and 3 genes")
        assert repr(pd.DataFrame().biocolab).startswith("df.biocolab")


class TestNothingStaysOnTheObject:
    @pytest.fixture(autouse=True)
    def no_collector(self) -> object:
        gc.disable()
        yield
        gc.enable()

    def test_a_touched_anndata_is_freed_without_the_collector(self) -> None:
        adata = ad.AnnData(np.ones((5, 5), np.float32))
        watch = weakref.ref(adata)
        adata.biocolab.check()
        adata.biocolab.submit(dry_run=True)
        assert "biocolab" not in vars(adata)
        del adata
        assert watch() is None

    def test_a_submitted_anndata_is_freed_without_the_collector(self, server: Sandbox) -> None:
        adata = ad.AnnData(np.ones((5, 5), np.float32))
        watch = weakref.ref(adata)
        submission = adata.biocolab.submit(skip_dimred=True)
        del adata
        assert watch() is None
        assert submission.done

    def test_a_rejected_anndata_is_freed_without_the_collector(self) -> None:
        adata = ad.AnnData(np.full((5, 5), np.nan, np.float32))
        watch = weakref.ref(adata)
        with pytest.raises(ValueError, match="NaN"):
            adata.biocolab.submit()
        del adata
        gc.collect()  # pytest's own record of the error is a cycle
        assert watch() is None

    def test_a_touched_data_frame_is_freed_without_the_collector(self) -> None:
        table = pd.DataFrame({"A": [1, 2]})
        watch = weakref.ref(table)
        table.biocolab.to_anndata()
        del table
        assert watch() is None

    def test_no_token_is_pickled_with_it(self, counts: ad.AnnData, server: Sandbox) -> None:
        bc.connect(private_host=server.private_host, private_token=server.token)
        try:
            counts.biocolab.submit(skip_dimred=True)
            back = bc.studies("personal").study_id[0]
            adata = bc.study(back, source="bbrowserx").to_anndata()
            assert adata.biocolab.study.id == back
            for touched in (counts, adata):
                assert server.token.encode() not in pickle.dumps(touched)
        finally:
            default.drop_default(default.current())


class TestTheObjectOfTheCaller:
    @pytest.mark.parametrize("kind", ["whole", "view", "columns", "dense", "csc"])
    def test_is_not_changed_by_any_method(
        self, counts: ad.AnnData, kind: str, server: Sandbox, tmp_path: object
    ) -> None:
        counts.obs["text"] = [f"t{i % 4}" for i in range(60)]
        counts.layers["counts"] = counts.X.copy()
        counts.raw = counts
        adata = {
            "whole": lambda: counts,
            "view": lambda: counts[counts.obs["size"] % 2 == 0],
            "columns": lambda: counts[:, 5:30],
            "dense": lambda: ad.AnnData(counts.X.toarray(order="F"), obs=counts.obs),
            "csc": lambda: ad.AnnData(counts.X.tocsc(), obs=counts.obs),
        }[kind]()
        before = adata.copy()
        was_view = adata.is_view
        dtypes = adata.obs.dtypes.to_dict()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ad.ImplicitModificationWarning)
            adata.biocolab.check()
            adata.biocolab.submit(dry_run=True)
            adata.biocolab.to_h5ad(tmp_path / "x.h5ad")
            adata.biocolab.submit(skip_dimred=True, batch_key="sample")
        assert adata.is_view is was_view
        assert adata.obs.dtypes.to_dict() == dtypes
        assert adata.obs["text"].dtype == pd.Series(["text"]).dtype
        assert_equal_objects(adata.copy(), before)


class TestSubmit:
    def test_a_dry_run_returns_the_plan_and_needs_no_server(self, counts: ad.AnnData, no_connection: None) -> None:
        plan = counts.biocolab.submit(dry_run=True, batch_key="sample")
        assert isinstance(plan, Plan)
        assert [(batch.name, batch.n_obs) for batch in plan.batches] == [("s0", 20), ("s1", 20), ("s2", 20)]
        assert (plan.input_matrix_type, str(plan.slot)) == ("raw", "X")

    def test_a_dry_run_knows_a_wrong_group_once_the_groups_were_listed(
        self, counts: ad.AnnData, server: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = server.connect()
        monkeypatch.setattr(default, "_stack", [connection])
        counts.write_h5ad(tmp_path / "x.h5ad")
        before = len(server.requests.of("get_user_groups"))
        for submit in counts.biocolab.submit, partial(bc.submit, tmp_path / "x.h5ad"):
            assert submit(group="All membrs", dry_run=True).ok
        assert len(server.requests.of("get_user_groups")) == before
        bc.groups()
        for submit in counts.biocolab.submit, partial(bc.submit, tmp_path / "x.h5ad"):
            with pytest.raises(UnknownGroup, match="did you mean 'All members'") as caught:
                submit(group="All membrs", dry_run=True)
            assert caught.value.__notes__ == ["  bc.groups()"]
            assert submit(group="All members", dry_run=True).ok
        assert len(server.requests.of("get_user_groups")) == before + 1
        connection.close()

    def test_missing_credentials_list_every_place(self, counts: ad.AnnData, no_connection: None) -> None:
        with pytest.raises(MissingCredentials, match="BIOCOLAB_PRIVATE_HOST"):
            counts.biocolab.submit()

    def test_warnings_of_the_check_are_issued(self, counts: ad.AnnData, server: Sandbox) -> None:
        counts.X = counts.X.toarray() - 0.5
        with pytest.warns(UserWarning, match="looks scaled"):
            counts.biocolab.submit(skip_dimred=True)

    def test_to_h5ad_writes_the_file_that_is_sent(self, counts: ad.AnnData, tmp_path: object) -> None:
        path = counts.biocolab.to_h5ad(tmp_path / "x.h5ad")
        back = ad.read_h5ad(path)
        np.testing.assert_array_equal(back.raw.X.toarray(), counts.X.toarray())
        assert list(back.obs["code"]) == list(counts.obs["code"])


class TestStudy:
    @pytest.mark.parametrize("source", ["bioflex", "bbrowserx", "talk2data"])
    def test_an_object_of_another_server_says_how_to_reconnect(
        self, server: Sandbox, counts: ad.AnnData, source: str
    ) -> None:
        if source == "bioflex":
            adata = bc.study("PBMC68k_reduced").to_anndata(genes=["LYZ"], unit="lognorm")
        else:
            adata = counts.biocolab.submit(to=source, skip_dimred=True).study().to_anndata()
        with bc.sandbox():
            with pytest.raises(ConfigurationError, match="or fetch the study again") as caught:
                _ = adata.biocolab.study
            call = re.search(r"connect to that server again, (bc\.connect\(.*=…\)), or", str(caught.value))[1]
            connector = eval(call.replace("…", repr(server.token)))
            try:
                assert adata.biocolab.study.id == adata.uns["biocolab"]["study_id"]
            finally:
                default.drop_default(connector)

    def test_an_object_knows_its_study_even_from_h5ad(self, server: Sandbox, tmp_path: object) -> None:
        adata = bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D", "LYZ"], layers=["lognorm"])
        adata.write_h5ad(tmp_path / "x.h5ad")
        again = ad.read_h5ad(tmp_path / "x.h5ad")
        assert again.biocolab.study.id == "PBMC68k_reduced"
        facts = again.uns["biocolab"]
        assert (facts["unit"], list(facts["genes"]), int(facts["version"])) == ("raw", ["CD3D", "LYZ"], 3)
        assert facts["server"] == server.bioflex_host
        assert facts["packages"]["bioflex"] == "1.1.1"

    def test_an_object_without_a_study_is_an_error(self, counts: ad.AnnData) -> None:
        with pytest.raises(UnknownStudy, match="does not say which study"):
            _ = counts.biocolab.study

    def test_an_object_from_another_server_is_an_error(self, server: Sandbox) -> None:
        adata = bc.study("PBMC68k_reduced").to_anndata(genes=["LYZ"], fields=[])
        adata.uns["biocolab"]["server"] = "https://elsewhere.example/"
        with pytest.raises(ConfigurationError, match="came from https://elsewhere"):
            _ = adata.biocolab.study
