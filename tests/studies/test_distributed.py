"""Distributed: studies are the same wherever they are fetched, and tasks contain no token."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import ConfigurationError, TooLarge
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import distributed
from biocolab_accessor.studies.selection import Selection
from tests.conftest import dask_client

from .test_collection import assert_same, serial


@pytest.fixture
def connected(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a worker."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def test_a_worker_without_access_to_the_folder_writes_nothing(studies: list[str], tmp_path: Path) -> None:
    origin = distributed.address_of(bc.study(studies[0]))
    distributed.write_part(origin, Selection.of(), str(tmp_path / "elsewhere" / "0.h5ad"))
    assert list(tmp_path.iterdir()) == []
    distributed.write_part(origin, Selection.of(), str(tmp_path / "0.h5ad"))
    np.testing.assert_array_equal(
        ad.read_h5ad(tmp_path / "0.h5ad").X.toarray(), serial(studies[:1], "inner").X.toarray()
    )


class TestCluster:
    @pytest.fixture
    def client(self, connected: None, tmp_path: Path) -> Iterator[object]:
        with dask_client(tmp_path, 2) as client:
            yield client

    @pytest.mark.sweeps  # a cluster of its own
    def test_two_workers_return_the_same_result_even_if_one_is_killed(self, client, studies: list[str]) -> None:
        plain = serial(studies, "inner")
        assert_same(bc.collection(studies).to_anndata(cache=False), plain)
        pids = client.run(os.getpid)
        assert len(set(pids.values())) == 2
        killed = []

        def kill() -> None:
            time.sleep(0.15)
            os.kill(next(iter(pids.values())), 9)
            killed.append(True)

        killer = threading.Thread(target=kill)
        killer.start()
        joined = bc.collection(studies).to_anndata(cache=False)
        killer.join()
        assert killed
        assert_same(joined, plain)

    @pytest.mark.long
    def test_workers_write_the_files_even_if_one_is_killed(
        self, client, studies: list[str], tmp_path: Path, server: Sandbox
    ) -> None:
        plain = serial(studies, "outer")
        mine = os.getpid()

        def unable(*arguments: object) -> None:
            raise AssertionError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "file_of_study", unable)  # here, and not in the workers
            joined = bc.collection(studies).lazy("outer", folder=tmp_path / "first")
            np.testing.assert_array_equal(joined.X.compute().toarray(), plain.X.toarray())
            pids = client.run(os.getpid)
            assert mine not in pids.values()
            killer = threading.Timer(0.15, os.kill, (next(iter(pids.values())), 9))
            killer.start()
            stored = bc.collection(studies).to_zarr(tmp_path / "joined.zarr", "outer")
            killer.join()
        assert_same(ad.read_zarr(stored), plain)
        assert sorted(path.name for path in tmp_path.glob("[!d]*")) == ["first", "joined.zarr"]
        written = sorted(path.name for path in (tmp_path / "first").iterdir())
        assert [name.split("-")[0] for name in written] == studies

    def test_files_that_workers_on_another_machine_cannot_write_are_written_locally(
        self, client, studies: list[str], tmp_path: Path
    ) -> None:
        def blind() -> None:
            from biocolab_accessor.studies import distributed

            distributed.file_of_study = lambda *arguments: None

        bc.collection(studies[:2]).lazy(folder=tmp_path)
        for path in tmp_path.glob("*.h5ad"):
            path.write_bytes(b"of another day")
        client.run(blind)
        joined = bc.collection(studies[:2]).lazy(folder=tmp_path)
        np.testing.assert_array_equal(joined.X.compute().toarray(), serial(studies[:2], "inner").X.toarray())

    @pytest.mark.sweeps
    def test_a_worker_refuses_a_study_larger_than_memory_in_the_same_words(self, client, studies: list[str]) -> None:
        def budget(n_bytes: int) -> None:
            bc.settings.memory_budget = n_bytes

        found = bc.collection(studies)
        client.run(budget, 1000)
        with pytest.raises(TooLarge, match=r"PART\d\d raw needs about .*: use collection.lazy\(folder=folder\) or"):
            found.to_anndata(cache=False)
        client.run(budget, 0)
        with bc.settings.override(memory_budget=50_000), pytest.raises(TooLarge, match=r"of 20 of 20 studies needs"):
            found.to_anndata(cache=False)
        assert_same(found.to_anndata(cache=False), serial(studies, "inner"))

    def test_the_error_names_a_worker_without_a_token(self, client, studies, tmp_path: Path) -> None:
        def forget() -> None:
            from biocolab_accessor.connection import default

            for name in [name for name in os.environ if name.startswith("BIOCOLAB_")]:
                del os.environ[name]
            bc.settings.reset()
            default._stack.clear()
            default._ambient = None

        client.run(forget)
        found = bc.collection(studies[:2])
        for call in (lambda: found.to_anndata(cache=False), lambda: found.lazy(folder=tmp_path)):
            with pytest.raises(ConfigurationError, match=r"a worker of the cluster .* bc\.share_credentials\(client\)"):
                call()
        bc.share_credentials(client)
        assert found.to_anndata(cache=False).n_obs == 61

    def test_the_graph_contains_no_token(self, client, studies: list[str], server: Sandbox) -> None:
        import pickle

        from dask.delayed import delayed

        origin, selection = distributed.address_of(bc.study(studies[0])), Selection.of()
        for graph in (
            delayed(distributed.fetch_part, pure=False)(origin, selection, False),
            delayed(distributed.write_part, pure=False)(origin, selection, "0.h5ad"),
        ):
            assert server.token.encode() not in pickle.dumps(dict(graph.dask))

    def test_shared_credentials_reach_workers_that_start_later(
        self, studies: list[str], server: Sandbox, tmp_path: Path
    ) -> None:
        with dask_client(tmp_path, 1) as client:
            with pytest.raises(Exception, match="token"):
                bc.collection(studies[:2]).to_anndata(cache=False)
            bc.share_credentials(client)
            client.cluster.scale(2)
            client.wait_for_workers(2)
            assert_same(bc.collection(studies[:4]).to_anndata(cache=False), serial(studies[:4], "inner"))
